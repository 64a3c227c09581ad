//! Access patterns of campaigns, their messages and accounts at Twilio.

use table::keys::{GSI1, GSI2};

table::patterns! {
    CAMPAIGN "campaign.read" "analytics, campaign, campaign-scheduler, projector, jobs" [Get] None, "`CAMP#campaign` / `META`", "One campaign";
    CAMPAIGNS "campaign.list" "campaign" [Query] Some(GSI1), "`ACCTCAMPS#account` / `camp_…`", "The account's campaigns, oldest first";
    CAMPAIGN_WRITE "campaign.write" "campaign" [Put] None, "`CAMP#campaign` / `META`; `JOB#job`; `AUDIT#account`; `IDEM#…`", "Create, change, activate or pause a campaign, or request its deletion";
    CAMPAIGN_STATS "campaign.stats" "analytics, campaign" [Get] None, "`CAMP#campaign` / `STATS`", "How many messages of the campaign were refused, sent, delivered, read and redeemed?";
    CAMPAIGNS_TRIGGERED "campaign.triggered" "campaign-scheduler" [Query] Some(GSI2), "`TIMED`, `MILESTONES#program` / `camp_…`", "Which active campaigns have a date trigger, or are triggered by a milestone of this program?";
    CAMPAIGN_LOOKED "campaign.looked" "campaign-scheduler" [Put] None, "`CAMP#campaign` / `META`", "Record the time up to which a trigger was processed";
    CAMPAIGN_PURGE "campaign.purge" "jobs" [Query Delete] None, "`CAMP#campaign` / `META`, `STATS`; `SENDS#campaign#shard`", "Remove a deleted campaign and its messages";
    TWILIO "twilio.read" "campaign" [Get] None, "`ACCT#account` / `TWILIO`", "The account at Twilio";
    TWILIO_WRITE "twilio.write" "campaign" [Put Delete] None, "`ACCT#account` / `TWILIO`; `AUDIT#account`", "Set or remove the account at Twilio";
    SENDS_CREATE "send.create" "campaign, campaign-scheduler" [Put] None, "`SENDS#campaign#shard` / number; `JOB#job`; `IDEM#…`", "Create messages, each once";
    SENDS "send.list" "campaign, campaign-scheduler" [Query] None, "`SENDS#campaign#shard` / number, 4 shards", "A campaign's messages";
    SENDS_DUE "send.due" "campaign-scheduler" [Query] Some(GSI2), "`DUE#shard` / time", "Which messages are due to be sent again or given up?";
    SEND "send.read" "campaign, campaign-scheduler, message-sender" [BatchGet] None, "`SENDS#campaign#shard` / number; `CAMP#campaign` / `META`", "One message and its campaign";
    RECIPIENT "send.recipient" "message-sender" [BatchGet] None, "`CUST#customer` / `META`, `CARD#program`, `CAP`; `PROG#program` / `META`; `ACCT#account` / `SIGNING`, `TWILIO`", "Read everything that sending a message depends on, in one call";
    SEND_TAKE "send.take" "message-sender" [Put Check] None, "`SENDS#campaign#shard` / number; `CUST#customer` / `META`, `CAP`; `ORIGINS#pool#shard` / number", "Take a message for sending, if the customer is unchanged and had no campaign message within seven days";
    SEND_NOTE "send.note" "campaign-scheduler, message-sender" [Put] None, "`SENDS#campaign#shard` / number", "Record the outcome of a message";
    SEND_PARK "send.park" "campaign-scheduler" [Put Check] None, "`SENDS#campaign#shard` / number; `CAMP#campaign` / `META`", "Record that a message waits for its paused campaign to be resumed";
    SEND_WRITE "send.give-back" "campaign, campaign-scheduler, message-sender" [Put Delete] None, "`SENDS#campaign#shard` / number; `CUST#customer` / `CAP`", "Record the outcome of a message, and give back its cap or take the cap again";
    CAP "send.cap" "campaign, campaign-scheduler" [Get] None, "`CUST#customer` / `CAP`", "Which campaign message did the customer receive last?";
    SENDS_COUNT "projection.sends" "projector" [Put Add] None, "`CAMP#campaign` / `STATS`; `EVENTS#campaign`; `ROLLUP#topic`", "Record and count the outcomes of messages, each once";
}

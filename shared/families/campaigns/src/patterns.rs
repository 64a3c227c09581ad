//! What is asked of the table.

use table::keys::{GSI1, GSI2};

table::patterns! {
    CAMPAIGN "campaign.read" "analytics, campaign, campaign-scheduler, projector, jobs" [Get] None, "`CAMP#campaign` / `META`", "One campaign";
    CAMPAIGNS "campaign.list" "campaign" [Query] Some(GSI1), "`ACCTCAMPS#account` / `camp_…`", "The account's campaigns, oldest first";
    CAMPAIGN_WRITE "campaign.write" "campaign" [Put] None, "`CAMP#campaign` / `META`; `JOB#job`; `AUDIT#account`; `IDEM#…`", "Create or change a campaign, set it going, or ask for its deletion";
    CAMPAIGN_STATS "campaign.stats" "analytics, campaign" [Get] None, "`CAMP#campaign` / `STATS`", "What became of its messages?";
    CAMPAIGNS_TRIGGERED "campaign.triggered" "campaign-scheduler" [Query] Some(GSI2), "`TIMED`, `MILESTONES#program` / `camp_…`", "Which active campaigns does the calendar, or this program's milestone, trigger?";
    CAMPAIGN_LOOKED "campaign.looked" "campaign-scheduler" [Put] None, "`CAMP#campaign` / `META`", "Note up to when a trigger was looked after";
    CAMPAIGN_PURGE "campaign.purge" "jobs" [Query Delete] None, "`CAMP#campaign` / `META`, `STATS`; `SENDS#campaign#shard`", "Remove a deleted campaign and its messages";
    TWILIO "twilio.read" "campaign" [Get] None, "`ACCT#account` / `TWILIO`", "The account at Twilio";
    TWILIO_WRITE "twilio.write" "campaign" [Put Delete] None, "`ACCT#account` / `TWILIO`; `AUDIT#account`", "Set or forget the account at Twilio";
    SENDS_CREATE "send.create" "campaign, campaign-scheduler" [Put] None, "`SENDS#campaign#shard` / number; `JOB#job`; `IDEM#…`", "Make messages, each once";
    SENDS "send.list" "campaign, campaign-scheduler" [Query] None, "`SENDS#campaign#shard` / number, 4 shards", "A campaign's messages";
    SENDS_DUE "send.due" "campaign-scheduler" [Query] Some(GSI2), "`DUE#shard` / time", "Which messages have to be looked at again?";
    SEND "send.read" "campaign, campaign-scheduler, message-sender" [BatchGet] None, "`SENDS#campaign#shard` / number; `CAMP#campaign` / `META`", "One message and its campaign";
    RECIPIENT "send.recipient" "message-sender" [BatchGet] None, "`CUST#customer` / `META`, `CARD#program`, `CAP`; `PROG#program` / `META`; `ACCT#account` / `SIGNING`, `TWILIO`", "To whom does it go, from whom, and what does it say?";
    SEND_TAKE "send.take" "message-sender" [Put Check] None, "`SENDS#campaign#shard` / number; `CUST#customer` / `META`, `CAP`; `ORIGINS#pool#shard` / number", "Take a message for sending: wanted, and the only one in seven days";
    SEND_NOTE "send.note" "campaign-scheduler, message-sender" [Put] None, "`SENDS#campaign#shard` / number", "Note what became of a message";
    SEND_PARK "send.park" "campaign-scheduler" [Put Check] None, "`SENDS#campaign#shard` / number; `CAMP#campaign` / `META`", "Note that a message waits for its paused campaign to be resumed";
    SEND_WRITE "send.give-back" "campaign, campaign-scheduler, message-sender" [Put Delete] None, "`SENDS#campaign#shard` / number; `CUST#customer` / `CAP`", "The same, and give back the cap of one that was not sent or is given up, or take it again";
    CAP "send.cap" "campaign, campaign-scheduler" [Get] None, "`CUST#customer` / `CAP`", "Which campaign message did the customer have last?";
    SENDS_COUNT "projection.sends" "projector" [Put Add] None, "`CAMP#campaign` / `STATS`; `EVENTS#campaign`; `ROLLUP#topic`", "Note and count what becomes of messages once";
}

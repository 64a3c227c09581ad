//! What is asked of the table.

use table::keys::{GSI1, GSI2};

table::patterns! {
    WAITLIST "waitlist.read" "analytics, waitlist, subscriber, referral, feature-vote, jobs, message-sender, projector" [Get] None, "`WL#waitlist` / `META`", "One waitlist";
    WAITLISTS "waitlist.list" "waitlist" [Query] Some(GSI1), "`ACCTWLS#account` / `wl_…`", "The account's waitlists, oldest first";
    WAITLIST_WRITE "waitlist.write" "waitlist" [Put Delete] None, "`WL#waitlist` / `META`; `SLUG#account#slug`; `JOB#job`", "Create or change a waitlist, its slug unique, or ask for its deletion";
    WAITLIST_PURGE "waitlist.purge" "jobs" [Delete] None, "`WL#waitlist`; `SLUG#account#slug`; `LINE#waitlist…`; `SEATS#waitlist#shard`", "Remove a deleted waitlist and its line";
    WAITLIST_STATS "waitlist.stats" "analytics, waitlist, feature-vote" [BatchGet] None, "`WL#waitlist` / `STATS`; `LINE#waitlist` / `ROOT`", "Counts by status, without counting";
    JOIN_CONTEXT "subscriber.join-context" "subscriber" [BatchGet] None, "`ACCT#account`, `WL#waitlist` / `META`, `LEFT`; `EMAIL#waitlist#hash`; `CODE#code`", "All that joining depends on, in one read";
    LINE_NUMBER "subscriber.number" "subscriber" [Update] None, "`WL#waitlist` / `NUMBERS`", "The next number in line (gaps are fine)";
    LINE_NUMBER_WASTE "subscriber.number-wasted" "subscriber" [Add] None, "`WL#waitlist` / `LEFT`", "Give up a number that nobody will stand at";
    LINE_LEFT "subscriber.left" "subscriber" [Get] None, "`WL#waitlist` / `LEFT`", "How many numbers are not in line any more?";
    SEATS "subscriber.seats" "subscriber" [BatchGet] None, "`SEATS#waitlist#shard` / `META`, 16 shards; `WL#waitlist` / `STATS`", "Has a waitlist with a capacity a free seat?";
    SEATS_LEVEL "subscriber.seats-level" "subscriber" [Add] None, "`SEATS#waitlist#shard` / `META`", "Spread taken seats anew after the capacity became less";
    JOIN "subscriber.join" "subscriber" [Put Add] None, "`SUB#subscriber`; `EMAIL#waitlist#hash`; `CODE#code`; `REF#referral`; `SEATS#waitlist#shard`; `FILLER#…`; `IDEM#…`", "A new entry, its address and code unique, with a seat where the waitlist has a capacity; of a known address as many writes";
    SUBSCRIBER "subscriber.read" "subscriber, referral" [Query] None, "`SUB#subscriber` / `CORE#META`, `CORE#STANDING`", "One subscriber and where it stands";
    SUBSCRIBER_ALONE "subscriber.find" "subscriber, referral, feature-vote, jobs, message-sender, projector" [Get] None, "`SUB#subscriber` / `CORE#META`", "One subscriber";
    SUBSCRIBER_WRITE "subscriber.write" "subscriber" [Put Add] None, "`SUB#subscriber` / `CORE#META`; `REF#referral`; `SEATS#waitlist#shard`; `AUDIT#account`; `IDEM#…`", "Verify, invite, convert, unsubscribe, come back, ask for a mail";
    SUBSCRIBER_BY_EMAIL "subscriber.by-email" "subscriber" [Get] None, "`EMAIL#waitlist#hash` / `META`", "Who joined with this address?";
    SUBSCRIBERS "subscriber.list" "subscriber, jobs" [Query] Some(GSI1), "`WLSUBS#waitlist#shard` / `sub_…`, 4 shards merged", "The waitlist's subscribers, oldest first";
    SUBSCRIBERS_HOT "subscriber.hot" "subscriber" [Query] Some(GSI2), "`HOT#waitlist#shard` / score, 4 shards merged", "The waitlist's most engaged subscribers";
    SUBSCRIBER_BATCH "subscriber.batch" "subscriber, referral" [BatchGet] None, "`SUB#subscriber` / `CORE#META`", "These subscribers";
    ERASE "subscriber.erase" "subscriber" [Put Delete Add] None, "`SUB#subscriber`; `EMAIL#waitlist#hash`; `CODE#code`; `REF#referral`; `SEATS#waitlist#shard`; `JOB#job`", "Erase all that is personal about a subscriber, who gives back its seat";
    ERASE_WITH_WAITLIST "subscriber.erase-with-waitlist" "jobs" [Delete] None, "`SUB#subscriber`; `EMAIL#waitlist#hash`; `CODE#code`; `REF#referral`; `LEDGER#subscriber`", "Erase a subscriber of a waitlist that is being deleted";
    LINE_TREE "line.tree" "subscriber" [BatchGet] None, "`LINE#waitlist` / `ROOT`; `LINE#waitlist#branch` / `BRANCH`", "How many entries stand in each part of the line?";
    LINE_LEAF "line.leaf" "subscriber" [Query] None, "`LINE#waitlist#branch#leaf` / place", "Who stands in this leaf, or how many up to a place?";
    REFERRAL_CODE "referral.code" "referral" [BatchGet] None, "`CODE#code` / `META`; `ACCT#account` / `META`, `SIGNING`", "Whose code is this, and how often may a caller use one?";
    CLICK "referral.click" "referral" [Put Add] None, "`CLICK#click`; `SUB#subscriber` / `CLICKS`", "A visit through a link, counted once";
    CLICKS "referral.clicks" "referral" [Get] None, "`SUB#subscriber` / `CLICKS`", "How many visits did this link bring?";
    CLICKS_COUNT "projection.clicks" "projector" [Put Add] None, "`TALLY#fact`; `ROLLUP#topic`", "Count the visits through a waitlist's links once";
    REFERRAL "referral.read" "referral, subscriber, projector" [Get BatchGet] None, "`REF#referral` / `META`", "One referral";
    REFERRALS_BY_REFERRER "referral.by-referrer" "projector" [Query] Some(GSI1), "`REFERRER#subscriber` / `ref_…`, newest first", "Whom did this subscriber bring, and how lately?";
    REFERRALS "referral.list" "referral" [Query] Some(GSI2), "`WLREFS#waitlist#flag#shard` / `ref_…`, merged", "The waitlist's referrals, flagged or not";
    CREDIT "referral.credit" "projector, referral" [Put Add] None, "`REF#referral`; `SUB#referrer` / `CORE#META`; `LEDGER#referrer`; `EVENTS#…`; `ROLLUP#topic`", "Give, take back or give again a credit, with its ledger line";
    LEDGER "referral.ledger" "referral, jobs" [Query] None, "`LEDGER#subscriber` / `led_…`", "How did this subscriber's credits come about?";
    REWARDS "referral.rewards" "referral, projector, jobs" [Query] None, "`SUB#subscriber` / `REWARD#…`", "Which tiers did this subscriber reach?";
    LEADERBOARD "referral.leaderboard" "referral" [Query] Some(GSI1), "`TOP#waitlist` / referrals, descending", "Who brought the most?";
    STANDINGS "projection.standings" "projector" [BatchGet] None, "`SUB#subscriber` / `CORE#STANDING`; `ROLLUP#waitlist` / hour", "What has the projector counted of these subscribers, and which sources does the hour know?";
    PROJECT "projection.write" "projector" [Put Delete Add] None, "`CORE#STANDING`, `REWARD#…`, `LINE#…`, `STATS`, `EVENTS#…`, `ROLLUP#topic`", "Count a change: position, statistics, rewards, events";
    EXPORT "export.read" "subscriber, jobs" [Get] None, "`EXPORT#export` / `META`", "One export";
    EXPORT_WRITE "export.write" "subscriber, jobs" [Put] None, "`EXPORT#export` / `META`; `JOB#job`; `IDEM#…`", "Start an export, or note its progress";
    EXPORTS "export.list" "jobs" [Query] Some(GSI1), "`WLEXPORTS#waitlist` / `exp_…`", "Which exports hold this waitlist's people?";
}

//! Access patterns of waitlists, subscribers and referrals.

use table::keys::{GSI1, GSI2};

table::patterns! {
    WAITLIST "waitlist.read" "analytics, waitlist, subscriber, referral, feature-vote, jobs, message-sender, projector" [Get] None, "`WL#waitlist` / `META`", "One waitlist";
    WAITLISTS "waitlist.list" "waitlist" [Query] Some(GSI1), "`ACCTWLS#account` / `wl_…`", "The account's waitlists, oldest first";
    WAITLIST_WRITE "waitlist.write" "waitlist" [Put Delete] None, "`WL#waitlist` / `META`; `SLUG#account#slug`; `JOB#job`", "Create or change a waitlist with a unique slug, or request its deletion";
    WAITLIST_PURGE "waitlist.purge" "jobs" [Delete] None, "`WL#waitlist`; `SLUG#account#slug`; `LINE#waitlist…`; `SEATS#waitlist#shard`", "Remove a deleted waitlist and its line";
    WAITLIST_STATS "waitlist.stats" "analytics, waitlist, feature-vote" [BatchGet] None, "`WL#waitlist` / `STATS`; `LINE#waitlist` / `ROOT`", "How many subscribers of each status does the waitlist have, and how many entries are in line?";
    JOIN_CONTEXT "subscriber.join-context" "subscriber" [BatchGet] None, "`ACCT#account`, `WL#waitlist` / `META`, `LEFT`; `EMAIL#waitlist#hash`; `CODE#code`; `IDEM#…`", "Read everything that a join depends on, in one call";
    LINE_NUMBER "subscriber.number" "subscriber" [Update] None, "`WL#waitlist` / `NUMBERS`", "Take the next number in line (gaps are harmless)";
    LINE_NUMBER_WASTE "subscriber.number-wasted" "subscriber" [Add] None, "`WL#waitlist` / `LEFT`", "Record that a number in line stays unused";
    LINE_LEFT "subscriber.left" "subscriber" [Get] None, "`WL#waitlist` / `LEFT`", "How many of the numbers taken have no entry in line?";
    SEATS "subscriber.seats" "subscriber" [BatchGet] None, "`SEATS#waitlist#shard` / `META`, 16 shards; `WL#waitlist` / `STATS`", "Does a waitlist with a capacity have a free seat?";
    SEATS_LEVEL "subscriber.seats-level" "subscriber" [Add] None, "`SEATS#waitlist#shard` / `META`", "Redistribute taken seats over the counters after the capacity was lowered";
    JOIN "subscriber.join" "subscriber" [Put Add] None, "`SUB#subscriber`; `EMAIL#waitlist#hash`; `CODE#code`; `REF#referral`; `SEATS#waitlist#shard`; `FILLER#…`; `IDEM#…`", "Add a subscriber with a unique address and referral code, and take a seat if the waitlist has a capacity; a join with a known address makes as many writes";
    SUBSCRIBER "subscriber.read" "subscriber, referral" [Query] None, "`SUB#subscriber` / `CORE#META`, `CORE#STANDING`", "One subscriber with its standing";
    SUBSCRIBER_ALONE "subscriber.find" "subscriber, referral, feature-vote, jobs, message-sender, projector" [Get] None, "`SUB#subscriber` / `CORE#META`", "One subscriber";
    SUBSCRIBER_WRITE "subscriber.write" "subscriber" [Put Add] None, "`SUB#subscriber` / `CORE#META`; `REF#referral`; `SEATS#waitlist#shard`; `AUDIT#account`; `IDEM#…`", "Verify, invite, convert, unsubscribe or resubscribe a subscriber, or request a mail";
    SUBSCRIBER_BY_EMAIL "subscriber.by-email" "subscriber" [Get] None, "`EMAIL#waitlist#hash` / `META`", "Which subscriber has this email address?";
    SUBSCRIBERS "subscriber.list" "subscriber, jobs" [Query] Some(GSI1), "`WLSUBS#waitlist#shard` / `sub_…`, 4 shards merged", "The waitlist's subscribers, oldest first";
    SUBSCRIBERS_HOT "subscriber.hot" "subscriber" [Query] Some(GSI2), "`HOT#waitlist#shard` / score, 4 shards merged", "The waitlist's most engaged subscribers";
    SUBSCRIBER_BATCH "subscriber.batch" "subscriber, referral" [BatchGet] None, "`SUB#subscriber` / `CORE#META`", "Several subscribers by id";
    ERASE "subscriber.erase" "subscriber" [Put Delete Add] None, "`SUB#subscriber`; `EMAIL#waitlist#hash`; `CODE#code`; `REF#referral`; `SEATS#waitlist#shard`; `JOB#job`", "Erase a subscriber's personal data and give back the seat";
    ERASE_WITH_WAITLIST "subscriber.erase-with-waitlist" "jobs" [Delete] None, "`SUB#subscriber`; `EMAIL#waitlist#hash`; `CODE#code`; `REF#referral`; `LEDGER#subscriber`", "Erase a subscriber of a waitlist that is being deleted";
    LINE_TREE "line.tree" "subscriber" [BatchGet] None, "`LINE#waitlist` / `ROOT`; `LINE#waitlist#branch` / `BRANCH`", "How many entries are in each part of the line?";
    LINE_LEAF "line.leaf" "subscriber" [Query] None, "`LINE#waitlist#branch#leaf` / place", "Which entries are in this leaf, or how many are there up to a given one?";
    REFERRAL_CODE "referral.code" "referral" [BatchGet] None, "`CODE#code` / `META`; `ACCT#account` / `META`, `SIGNING`", "Which subscriber owns this referral code, and which rate limit applies to visits?";
    CLICK "referral.click" "referral" [Put Add] None, "`CLICK#click`; `SUB#subscriber` / `CLICKS`", "Record a visit through a referral link and count it once";
    CLICKS "referral.clicks" "referral" [Get] None, "`SUB#subscriber` / `CLICKS`", "How many visits came through this subscriber's link?";
    CLICKS_COUNT "projection.clicks" "projector" [Put Add] None, "`TALLY#fact`; `ROLLUP#topic`", "Add visits through a waitlist's referral links to its roll-ups, each once";
    REFERRAL "referral.read" "referral, subscriber, projector" [Get BatchGet] None, "`REF#referral` / `META`", "One referral";
    REFERRALS_BY_REFERRER "referral.by-referrer" "projector" [Query] Some(GSI1), "`REFERRER#subscriber` / `ref_…`, newest first", "Whom did this subscriber refer most recently?";
    REFERRALS "referral.list" "referral" [Query] Some(GSI2), "`WLREFS#waitlist#flag#shard` / `ref_…`, merged", "The waitlist's referrals: flagged ones, others, or all";
    CREDIT "referral.credit" "projector, referral" [Put Add] None, "`REF#referral`; `SUB#referrer` / `CORE#META`; `LEDGER#referrer`; `EVENTS#…`; `ROLLUP#topic`", "Give, revoke or restore the credit for a referral, and write the ledger entry";
    LEDGER "referral.ledger" "referral, jobs" [Query] None, "`LEDGER#subscriber` / `led_…`", "Which entries are in this subscriber's referral ledger?";
    REWARDS "referral.rewards" "referral, projector, jobs" [Query] None, "`SUB#subscriber` / `REWARD#…`", "Which reward tiers did this subscriber reach?";
    LEADERBOARD "referral.leaderboard" "referral" [Query] Some(GSI1), "`TOP#waitlist` / referrals, descending", "Which subscribers have the most referrals?";
    STANDINGS "projection.standings" "projector" [BatchGet] None, "`SUB#subscriber` / `CORE#STANDING`; `ROLLUP#waitlist` / hour", "What has the projector counted of these subscribers, and which sources does the roll-up of the hour have?";
    PROJECT "projection.write" "projector" [Put Delete Add] None, "`CORE#STANDING`, `REWARD#…`, `LINE#…`, `STATS`, `EVENTS#…`, `ROLLUP#topic`", "Count changes of subscribers: positions, statistics, rewards, events";
    EXPORT "export.read" "subscriber, jobs" [Get] None, "`EXPORT#export` / `META`", "One export";
    EXPORT_WRITE "export.write" "subscriber, jobs" [Put] None, "`EXPORT#export` / `META`; `JOB#job`; `IDEM#…`", "Start an export, or record its progress";
    EXPORTS "export.list" "jobs" [Query] Some(GSI1), "`WLEXPORTS#waitlist` / `exp_…`", "Which exports does this waitlist have?";
}

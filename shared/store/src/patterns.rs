//! Every question that is asked of the table.
//!
//! `docs/access-patterns.md` is generated from this list, a test proves that the
//! scenario suite exercises each of its rows, and [`crate::Table`] offers no way
//! around it.

use std::collections::BTreeSet;

use crate::keys::{GSI1, GSI2};

/// What is asked of DynamoDB. Writes are named one by one, because a function needs the
/// permission for each kind that its transactions hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Get,
    BatchGet,
    Query,
    /// Alone; the others are parts of a transaction.
    Update,
    Add,
    Check,
    Delete,
    Put,
}

impl Operation {
    /// The name of the permission.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GetItem",
            Self::BatchGet => "BatchGetItem",
            Self::Query => "Query",
            Self::Update | Self::Add => "UpdateItem",
            Self::Check => "ConditionCheckItem",
            Self::Delete => "DeleteItem",
            Self::Put => "PutItem",
        }
    }

    fn is_in_transaction(self) -> bool {
        matches!(self, Self::Add | Self::Check | Self::Delete | Self::Put)
    }
}

/// One access pattern.
#[derive(Debug)]
pub struct Pattern {
    pub id: &'static str,
    pub question: &'static str,
    pub caller: &'static str,
    pub operations: &'static [Operation],
    pub index: Option<&'static str>,
    pub keys: &'static str,
}

impl Pattern {
    /// The functions that ask it, by the names of their crates.
    pub fn callers(&self) -> impl Iterator<Item = &'static str> {
        self.caller.split(", ")
    }

    /// The calls as the document puts them.
    fn calls(&self) -> String {
        let names = |in_transaction| {
            let all = self.operations.iter().filter(move |one| one.is_in_transaction() == in_transaction);
            all.map(|operation| operation.name()).collect::<Vec<_>>().join(", ")
        };
        match (names(false), names(true)) {
            (alone, writes) if writes.is_empty() => alone,
            (alone, writes) if alone.is_empty() => format!("TransactWriteItems of {writes}"),
            (alone, writes) => format!("{alone}, TransactWriteItems of {writes}"),
        }
    }

    /// Base-table reads are strongly consistent, index reads can't be.
    fn consistency(&self) -> &'static str {
        match (self.index, self.operations) {
            (Some(_), _) => "eventual",
            (None, operations) if operations.iter().all(|operation| operation.is_in_transaction()) => {
                "transaction"
            }
            (None, _) => "strong",
        }
    }
}

macro_rules! patterns {
    ($($name:ident $id:literal $caller:literal [$($operation:ident)+] $index:expr, $keys:literal, $question:literal;)*) => {
        $(pub static $name: Pattern = Pattern {
            id: $id, question: $question, caller: $caller,
            operations: &[$(Operation::$operation),+], index: $index, keys: $keys,
        };)*
        /// All of them, in the order of the document.
        pub static ALL: &[&Pattern] = &[$(&$name),*];
    };
}

patterns! {
    PING "health.ping" "account" [Get] None, "`PING` / `PING`", "Does the table answer?";

    ACCOUNT "account.read" "account, analytics, campaign, code-distribution, code-import, feature-vote, message-sender, referral, stamp, subscriber" [BatchGet] None, "`ACCT#account` / `META`, `SIGNING`", "The account's settings and signing key";
    ACCOUNT_WRITE "account.write" "account, jobs" [Put] None, "`ACCT#account` / `META`; `KEY#key`; `AUDIT#account`", "Create an account with its first keys, or change it, with its audit entry";
    MEMBERS "account.members" "account, message-sender" [Query] None, "`ACCT#account` / `MEMBER#…`", "Who are the members?";
    MEMBER "account.member" "account, authorizer" [Get] None, "`ACCT#account` / `MEMBER#member`", "One member";
    LOGINS "account.logins" "authorizer" [Query] None, "`LOGIN#hash` / `ACCT#…`", "Which accounts may this verified address act for?";
    MEMBER_WRITE "account.member-write" "account" [Put Delete Check] None, "`ACCT#account` / `MEMBER#member`; `LOGIN#hash`; `AUDIT#account`", "Add, change or remove a member";
    MEMBER_BIND "account.member-bind" "authorizer" [Put] None, "`ACCT#account` / `MEMBER#member`", "Bind a member to who signed in first";
    API_KEY "key.read" "authorizer, account" [Get] None, "`KEY#key` / `META`", "The record that a presented key names";
    API_KEYS "key.list" "account" [Query] Some(GSI1), "`ACCTKEYS#account` / `key_…`", "The account's keys";
    API_KEY_WRITE "key.write" "account" [Put] None, "`KEY#key` / `META`; `AUDIT#account`", "Create, rotate or revoke a key";
    AUDIT_LOG "audit.list" "account" [Query] None, "`AUDIT#account` / `aud_…`, newest first", "Who did what, when?";

    IDEMPOTENCY "idempotency.read" "account, campaign, code-distribution, feature-vote, referral, stamp, subscriber, waitlist" [Get] None, "`IDEM#account#principal#key` / `META`", "What was answered to this Idempotency-Key?";
    RATE "rate.count" "account, analytics, campaign, code-distribution, feature-vote, message-sender, referral, stamp, subscriber" [Update] None, "`RATE#account#limit#caller` / META", "How often did this caller come within a minute?";
    SENDER_STOPPED "rate.stopped" "campaign-scheduler" [Get] None, "`RATE#sender#ses-account#all` / META", "Until when does SES take no mail?";

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
    EVENTS "event.list" "waitlist, feature-vote, code-distribution, stamp, campaign" [Query] None, "`EVENTS#topic#shard` / `evt_…`, 4 shards merged, newest first", "What happened on this waitlist, to this feature, in this code pool, program, campaign?";
    ROLLUP "rollup.read" "analytics" [Query] None, "`ROLLUP#topic` / hour, from one to another", "What happened here, by the quarter hour?";
    FUNNEL "rollup.account" "analytics" [Query] None, "`ROLLUP#account#shard` / hour, 4 shards", "What of it led from a visit to a redemption, in the whole account?";
    ROLLUP_PURGE "rollup.purge" "jobs" [Query Delete] None, "`ROLLUP#topic` / all", "Remove what was counted of something deleted";

    FEATURE "feature.read" "analytics, feature-vote, jobs, projector" [Get] None, "`FEAT#feature` / `META`", "One feature";
    FEATURE_BATCH "feature.batch" "feature-vote" [BatchGet] None, "`FEAT#feature` / `META`, `TALLY`", "These features, and how many want them";
    FEATURES "feature.list" "feature-vote, jobs" [Query] Some(GSI1), "`WLFEATS#waitlist` / `feat_…`, newest first", "The waitlist's features";
    FEATURES_BY_VOTES "feature.by-votes" "feature-vote" [Query] Some(GSI2), "`TOPFEATS#waitlist` / votes, descending", "The waitlist's most wanted features";
    FEATURE_WRITE "feature.write" "feature-vote" [Put Check] None, "`FEAT#feature` / `META`, `TALLY`; `JOB#job`; `AUDIT#account`; `IDEM#…`", "Create or change a feature, or ask for its merging or deletion";
    FEATURE_TALLY "feature.tally" "analytics, projector" [Get] None, "`FEAT#feature` / `TALLY`", "How many votes and comments are counted?";
    FEATURES_COUNT "projection.features" "projector" [Put Add] None, "`FEAT#feature` / `TALLY`; `EVENTS#feature`; `ROLLUP#topic`", "Note and count votes and comments once";
    FEATURE_PURGE "feature.purge" "jobs" [Delete] None, "`FEAT#feature` / `META`, `TALLY`", "Remove a deleted feature";
    BALLOT "vote.ballot" "feature-vote" [BatchGet] None, "`FEAT#feature` / `META`; `SUB#subscriber` / `CORE#META`; `VOICE#subscriber` / `VOTE#feature`", "All that a vote or a comment depends on, in one read";
    VOTE_WRITE "vote.write" "feature-vote" [Put] None, "`VOICE#subscriber` / `VOTE#feature`; `SUB#subscriber` / `CORE#META`; `IDEM#…`", "Cast a vote or take it back, with its voter's number";
    VOTES_OWN "vote.batch" "feature-vote" [BatchGet] None, "`VOICE#subscriber` / `VOTE#feature`", "For which of these does the subscriber vote?";
    VOTES "vote.list" "feature-vote, jobs" [Query] Some(GSI1), "`FEATVOTES#feature#shard` / `sub_…`, 4 shards", "Who votes for this feature?";
    VOTES_MOVE "vote.move" "jobs" [BatchGet Put Delete Check] None, "`VOICE#subscriber` / `VOTE#feature`; `SUB#subscriber` / `CORE#META`", "Give a vote to another feature, or remove it";
    VOICE_PURGE "vote.purge" "jobs" [Query Delete] None, "`VOICE#subscriber` / all; `CMT#comment`", "Remove what an erased subscriber voted for and said";
    COMMENT_WRITE "comment.write" "feature-vote" [Put Check] None, "`CMT#comment` / `META`; `VOICE#subscriber` / `COMMENT#comment`; `SUB#subscriber` / `CORE#META`; `AUDIT#account`; `IDEM#…`", "Add a comment, or moderate it, with its author's number";
    COMMENT "comment.read" "feature-vote" [Get] None, "`CMT#comment` / `META`", "One comment";
    COMMENTS "comment.list" "feature-vote, jobs" [Query] Some(GSI1), "`FEATCMTS#feature#status` / `cmt_…`, newest first", "What is said about a feature?";
    COMMENTS_PENDING "comment.pending" "feature-vote" [Query] Some(GSI2), "`MODERATION#waitlist` / `cmt_…`", "Which comments wait for a moderator?";
    COMMENT_PURGE "comment.purge" "jobs" [BatchGet Put Delete] None, "`CMT#comment`; `VOICE#subscriber` / `COMMENT#comment`; `SUB#subscriber` / `CORE#META`", "Remove a deleted feature's comments";

    EXPORT "export.read" "subscriber, jobs" [Get] None, "`EXPORT#export` / `META`", "One export";
    EXPORT_WRITE "export.write" "subscriber, jobs" [Put] None, "`EXPORT#export` / `META`; `JOB#job`; `IDEM#…`", "Start an export, or note its progress";
    EXPORTS "export.list" "jobs" [Query] Some(GSI1), "`WLEXPORTS#waitlist` / `exp_…`", "Which exports hold this waitlist's people?";
    CODE_POOL "pool.read" "analytics, code-distribution, code-import, jobs, projector" [Get] None, "`POOL#pool` / `META`", "One code pool";
    CODE_POOL_STATS "pool.stats" "analytics, code-distribution, projector" [Get] None, "`POOL#pool` / `STATS`", "How many codes came in, were claimed, redeemed?";
    CODE_POOLS "pool.list" "code-distribution" [Query] Some(GSI1), "`ACCTPOOLS#account` / `pool_…`", "The account's code pools, oldest first";
    CODE_POOLS_ALL "pool.all" "jobs" [Query] Some(GSI2), "`POOLS` / `pool_…`", "Which pools are there, for the daily work?";
    CODE_POOL_WRITE "pool.write" "code-distribution" [Put] None, "`POOL#pool` / `META`, `STATS`, `SHELF`; `JOB#job`; `AUDIT#account`", "Create, change or delete a code pool";
    CODE_POOL_PURGE "pool.purge" "jobs" [Query Delete] None, "`POOL#pool`; `CODES#pool#shard`; `STOCK#pool#platform#shard`; `CLAIMS#pool#shard`; `ORIGINS#pool#shard`", "Remove what a deleted pool held";

    CODE_LOAD "code.load" "code-import" [Put] None, "`CODES#pool#shard`; `STOCK#pool#platform#shard`", "Codes of a file, each unless it is there, with its place in the stock";
    CODES "code.list" "code-distribution, code-import" [Query BatchGet] None, "`CODES#pool#shard` / number; `STOCK#pool#platform#shard` / lot, number", "The pool's codes, and which of them are to be had";
    CODE "code.read" "code-distribution" [Get BatchGet] None, "`CODES#pool#shard` / number; `STOCK#pool#platform#shard` / lot, number", "One code";
    CODE_WRITE "code.write" "code-distribution" [Put] None, "`CODES#pool#shard` / number; `AUDIT#account`; `IDEM#…`", "Redeem or reveal a code";

    CLAIM_POOL "claim.pool" "campaign, code-distribution, message-sender" [BatchGet] None, "`ACCT#account` / `META`, `SIGNING`; `POOL#pool` / `META`", "The pool that is claimed from, and its account";
    CLAIM_CONTEXT "claim.context" "code-distribution, code-import, message-sender" [BatchGet] None, "`CLAIMS#pool#shard` / number; `POOL#pool` / `SHELF`", "What has this user claimed, and which lots may have codes?";
    STOCK "claim.stock" "code-distribution, message-sender" [Query] None, "`STOCK#pool#platform#shard` / lot, number, from a lot or a random number in it", "Codes that can be had now, soonest end first";
    LOT_EMPTY "claim.lot-empty" "code-distribution, message-sender" [Put] None, "`POOL#pool` / `SHELF`", "Take empty lots off the shelf";
    CLAIM_WRITE "claim.write" "code-distribution, message-sender" [Put Delete] None, "`CLAIMS#pool#shard` / number; `STOCK#pool#platform#shard` / lot, number; `IDEM#…`", "Give, hold, confirm or give back a code";
    CLAIM "claim.read" "code-distribution, message-sender" [Get] None, "`CLAIMS#pool#shard` / number", "One claim";

    IMPORT "import.read" "code-distribution, code-import" [Get] None, "`POOL#pool` / `IMPORT#import`", "One import";
    IMPORTS "import.list" "code-distribution" [Query] None, "`POOL#pool` / `IMPORT#…`", "The pool's imports";
    IMPORT_WRITE "import.write" "code-distribution, code-import" [Put Add] None, "`POOL#pool` / `IMPORT#import`; `AUDIT#account`; `EVENTS#pool`; `IDEM#…`; `ROLLUP#topic`", "Announce, begin or end an import";
    IMPORT_CHECKPOINT "import.checkpoint" "code-import" [BatchGet Put Check Add] None, "`POOL#pool` / `IMPORT#import`, `META`, `STATS`, `SHELF`; `EVENTS#pool`; `ROLLUP#topic`", "Note how far an import came, and put its lots on the shelf";

    CODES_USED "archive.used" "jobs" [Query] Some(GSI1), "`USED#pool#shard` / time", "Which codes were claimed long ago?";
    CODES_ARCHIVED "archive.write" "jobs" [BatchGet Put] None, "`CODES#pool#shard`; `CLAIMS#pool#shard`", "Leave of a used code only where its text is archived";
    CODES_COUNT "projection.codes" "projector" [Put Add] None, "`POOL#pool` / `STATS`; `EVENTS#pool`; `ROLLUP#topic`", "Count claims and redemptions once";
    CODE_ORIGIN "code.origin" "projector" [BatchGet] None, "`ORIGINS#pool#shard` / number", "Which message told somebody this code?";

    PROGRAM "program.read" "analytics, stamp, projector, jobs, campaign, campaign-scheduler" [Get] None, "`PROG#program` / `META`", "One program";
    PROGRAMS "program.list" "stamp" [Query] Some(GSI1), "`ACCTPROGS#account` / `prog_…`", "The account's programs, oldest first";
    PROGRAM_WRITE "program.write" "stamp" [Put] None, "`PROG#program` / `META`; `JOB#job`; `AUDIT#account`; `IDEM#…`", "Create or change a program, or ask for its deletion";
    PROGRAM_STATS "program.stats" "analytics, stamp" [Get] None, "`PROG#program` / `STATS`", "How much was ever collected and redeemed?";
    PROGRAM_MONTHS "program.months" "analytics, jobs" [Query] None, "`PROG#program` / `MONTH#…`", "Who came when, and again, and when for the last time?";
    PROGRAM_PURGE "program.purge" "jobs" [Delete] None, "`PROG#program` / `META`, `STATS`, `MONTH#…`", "Remove a deleted program";

    ENROL_CONTEXT "customer.enrol-context" "stamp" [BatchGet] None, "`ACCT#account` / `META`, `SIGNING`; `PROG#program` / `META`", "All that enrolling depends on, in one read";
    CUSTOMER_BY_PHONE "customer.by-phone" "campaign, stamp" [BatchGet] None, "`PHONE#account#pseudonym` / `META`, of each form of the number", "Whose number is this?";
    CUSTOMER "customer.read" "campaign, stamp" [Get] None, "`CUST#customer` / `META`", "One customer";
    CUSTOMERS "customer.batch" "stamp, campaign-scheduler" [BatchGet] None, "`CUST#customer` / `META`", "These customers";
    PROGRAM_CUSTOMERS "customer.list" "stamp, jobs, campaign-scheduler" [Query] Some(GSI1), "`PROGCUSTS#program#shard` / `cust_…`, 4 shards merged", "Who collects for a program, oldest first?";
    CUSTOMER_WRITE "customer.write" "stamp" [Put Delete Check] None, "`CUST#customer` / `META`, `CARD#program`; `PHONE#account#pseudonym`; `JOB#job`; `AUDIT#account`; `FILLER#…`; `IDEM#…`", "Enrol, change or erase a customer, the number unique";
    CONSENT "customer.consent" "campaign, message-sender" [Get Put] None, "`CUST#customer` / `META`, `CARD#program`; `AUDIT#account`", "Does the customer agree to messages?";
    CUSTOMER_PURGE "customer.purge" "jobs" [Query Delete] None, "`CUST#customer`, `STAMPS#customer` / all", "Remove what a customer had";

    TILL "stamp.till" "stamp" [BatchGet] None, "`ACCT#account` / `SIGNING`; `PROG#program` / `META`; `CUST#customer` / `META`, `CARD#program`", "All that a visit depends on, in one read";
    CARD "stamp.card" "campaign, campaign-scheduler, stamp" [Get] None, "`CUST#customer` / `CARD#program`", "One card";
    CARD_WATCH "stamp.watch" "jobs" [Get Put] None, "`CUST#customer` / `CARD#program`", "Judge a card by changed settings";
    STAMPS "stamp.list" "stamp" [Query] None, "`STAMPS#customer` / time, newest first or around a time", "A customer's stamps";
    STAMP "stamp.read" "stamp" [Get] None, "`STAMPS#customer` / time", "One visit's stamps";
    ONCE "stamp.once" "stamp" [Get] None, "`CUST#customer` / `ONCE#hash`", "Was this stamp taken in before?";
    STAMP_WRITE "stamp.write" "stamp" [Put] None, "`CUST#customer` / `META`, `CARD#program`, `REWARD#…`, `ONCE#hash`; `STAMPS#customer` / time; `AUDIT#account`; `IDEM#…`", "Give stamps or void them, the card as it was read, and confirm a customer who is seen";
    CARD_REWARDS "card-reward.list" "stamp" [Query] None, "`CUST#customer` / `REWARD#…`, newest first", "A customer's rewards";
    CARD_REWARD "card-reward.read" "stamp" [Get] None, "`CUST#customer` / `REWARD#…`", "One reward";
    CARD_REWARD_WRITE "card-reward.write" "stamp" [Put] None, "`CUST#customer` / `REWARD#…`; `IDEM#…`", "Redeem a reward, once";
    STAMPS_COUNT "projection.stamps" "projector" [Put Add] None, "`PROG#program` / `STATS`, `MONTH#…`; `EVENTS#program`; `TALLY#fact`; `ROLLUP#topic`", "Note and count what happens in a program once";

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

    WEBHOOK_ENDPOINTS "webhook.endpoints" "account, projector" [Query] None, "`ACCT#account` / `ENDPOINT#…`", "Who is told of the account's events?";
    WEBHOOK_ENDPOINT "webhook.endpoint" "account, message-sender" [Get] None, "`ACCT#account` / `ENDPOINT#endpoint`", "One endpoint";
    WEBHOOK_FENCE "webhook.fence" "account" [Get] None, "`ACCT#account` / `ENDPOINTS`", "Which endpoint was added last?";
    WEBHOOK_ENDPOINT_WRITE "webhook.write" "account" [Put Delete] None, "`ACCT#account` / `ENDPOINT#endpoint`, `ENDPOINTS`; `ENDPOINT#endpoint` / `FAILING`; `AUDIT#account`; `IDEM#…`", "Add, change or remove an endpoint";
    DELIVERIES "delivery.list" "account" [Query] None, "`DELIVERIES#endpoint#shard` / `dlv_…`, 4 shards merged, newest first", "What was the endpoint told?";
    DELIVERY "delivery.read" "account" [Get] None, "`DELIVERIES#endpoint#shard` / `dlv_…`", "One delivery";
    DELIVERY_ASK "delivery.ask" "account" [Put] None, "`DELIVERIES#endpoint#shard` / `dlv_…`; `JOB#job`; `AUDIT#account`; `IDEM#…`", "Have a delivery made by hand";
    DELIVERY_TARGET "delivery.target" "webhook-sender" [BatchGet] None, "`ACCT#account` / `ENDPOINT#endpoint`; `ENDPOINT#endpoint` / `FAILING`, `SLOW`; `DELIVERIES#endpoint#shard` / `dlv_…`", "Is it wanted still, where does it go, and was it made before?";
    DELIVERY_NOTE "delivery.note" "webhook-sender" [Put Delete] None, "`DELIVERIES#endpoint#shard` / `dlv_…`; `ENDPOINT#endpoint` / `FAILING`; `ACCT#account` / `ENDPOINT#endpoint`; `JOB#job`; `AUDIT#account`", "Note what came of an attempt, and disable an endpoint that takes nothing";
    ENDPOINT_SLOW "webhook.slow" "webhook-sender" [Put Delete] None, "`ENDPOINT#endpoint` / `SLOW`", "Note that an endpoint is slow to answer, or is no more";
    DELIVERIES_DUE "delivery.due" "webhook-sender" [Query] Some(GSI2), "`DELIVERDUE#shard` / time", "Which deliveries have to be tried again?";
    DELIVERY_QUEUED "delivery.queued" "webhook-sender" [Put Delete] None, "`DELIVERIES#endpoint#shard` / `dlv_…`", "Note that a delivery is on its way again, or forget one to an endpoint that was deleted";

    MESSAGE "message.state" "message-sender" [BatchGet] None, "`MSG#message` / `META`; `RATE#sender#ses-account#all` / META", "Was this mail sent, does somebody hold it, and does SES take any?";
    MESSAGE_NOTE "message.note" "campaign-scheduler, message-sender" [Put] None, "`MSG#message` / `META`", "Take a mail for sending, put it off, or note what became of it";
    MESSAGES_DUE "message.due" "campaign-scheduler" [Query] Some(GSI2), "`MAILDUE#shard` / time", "Which mails have to be queued again?";
}

/// What a function asks of the table (`None`) and of each index, all its patterns together.
pub fn permissions(function: &str) -> BTreeSet<(Option<&'static str>, &'static str)> {
    let own = ALL.iter().filter(|pattern| pattern.callers().any(|caller| caller == function));
    own.flat_map(|pattern| pattern.operations.iter().map(|operation| (pattern.index, operation.name())))
        .collect()
}

/// The document: one row a pattern.
pub fn document() -> String {
    let mut text = String::from(
        "# Access patterns\n\nGenerated from `shared/store/src/patterns.rs`; don't edit. One table; nothing scans. \
         `UPDATE=1 cargo test -p store` writes this page anew.\n\n\
         | id | question | caller | operation | index | keys | consistency |\n|---|---|---|---|---|---|---|\n",
    );
    for pattern in ALL {
        text.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} | {} |\n",
            pattern.id,
            pattern.question,
            pattern.caller,
            pattern.calls(),
            pattern.index.unwrap_or("table"),
            pattern.keys,
            pattern.consistency()
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_the_document_is_current() {
        let ids: std::collections::HashSet<_> = ALL.iter().map(|pattern| pattern.id).collect();
        assert_eq!(ids.len(), ALL.len());
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/access-patterns.md");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, document()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), document(), "run with UPDATE=1");
    }
}

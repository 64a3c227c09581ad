//! What is asked of the table.

use table::keys::GSI1;

table::patterns! {
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
}

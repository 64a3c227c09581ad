//! Access patterns of stamp programs, customers, cards, stamps and rewards.

use table::keys::GSI1;

table::patterns! {
    PROGRAM "program.read" "analytics, stamp, projector, jobs, campaign, campaign-scheduler" [Get] None, "`PROG#program` / `META`", "One program";
    PROGRAMS "program.list" "stamp" [Query] Some(GSI1), "`ACCTPROGS#account` / `prog_…`", "The account's programs, oldest first";
    PROGRAM_WRITE "program.write" "stamp" [Put] None, "`PROG#program` / `META`; `JOB#job`; `AUDIT#account`; `IDEM#…`", "Create or change a program, or ask for its deletion";
    PROGRAM_STATS "program.stats" "analytics, stamp" [Get] None, "`PROG#program` / `STATS`", "How many customers, visits, stamps and rewards has the program had?";
    PROGRAM_MONTHS "program.months" "analytics, jobs" [Query] None, "`PROG#program` / `MONTH#…`", "How many customers came for the first time, came again, came last and are at risk, by month and day?";
    PROGRAM_PURGE "program.purge" "jobs" [Delete] None, "`PROG#program` / `META`, `STATS`, `MONTH#…`", "Remove a deleted program";
    ENROL_CONTEXT "customer.enrol-context" "stamp" [BatchGet] None, "`ACCT#account` / `META`, `SIGNING`; `PROG#program` / `META`; `IDEM#…`", "Read everything that an enrolment depends on, in one call";
    CUSTOMER_BY_PHONE "customer.by-phone" "campaign, stamp" [BatchGet] None, "`PHONE#account#pseudonym` / `META`, of each form of the number", "Which customer has this phone number?";
    CUSTOMER "customer.read" "campaign, stamp" [Get] None, "`CUST#customer` / `META`", "One customer";
    CUSTOMERS "customer.batch" "stamp, campaign-scheduler" [BatchGet] None, "`CUST#customer` / `META`", "Several customers by id";
    PROGRAM_CUSTOMERS "customer.list" "stamp, jobs, campaign-scheduler" [Query] Some(GSI1), "`PROGCUSTS#program#shard` / `cust_…`, 4 shards merged", "The program's customers, oldest first";
    CUSTOMER_WRITE "customer.write" "stamp" [Put Delete Check] None, "`CUST#customer` / `META`, `CARD#program`; `PHONE#account#pseudonym`; `JOB#job`; `AUDIT#account`; `FILLER#…`; `IDEM#…`", "Enrol, change or erase a customer with a unique phone number";
    CONSENT "customer.consent" "campaign, message-sender" [Get Put] None, "`CUST#customer` / `META`, `CARD#program`; `AUDIT#account`", "Record whether the customer agrees to messages";
    CUSTOMER_PURGE "customer.purge" "jobs" [Query Delete] None, "`CUST#customer`, `STAMPS#customer` / all", "Remove the cards, stamps and rewards of a customer";
    TILL "stamp.till" "stamp" [BatchGet] None, "`ACCT#account` / `SIGNING`; `PROG#program` / `META`; `CUST#customer` / `META`, `CARD#program`; `IDEM#…`", "Read everything that a visit depends on, in one call";
    CARD "stamp.card" "campaign, campaign-scheduler, stamp" [Get] None, "`CUST#customer` / `CARD#program`", "One card";
    CARD_WATCH "stamp.watch" "jobs" [Get Put] None, "`CUST#customer` / `CARD#program`", "Recalculate a card after a change of the program's settings";
    STAMPS "stamp.list" "stamp" [Query] None, "`STAMPS#customer` / time, newest first or around a time", "A customer's stamps";
    STAMP "stamp.read" "stamp" [Get] None, "`STAMPS#customer` / time", "The stamps of one visit";
    ONCE "stamp.once" "stamp" [Get] None, "`CUST#customer` / `ONCE#hash`", "Was this offline stamp recorded before?";
    STAMP_WRITE "stamp.write" "stamp" [Put] None, "`CUST#customer` / `META`, `CARD#program`, `REWARD#…`, `ONCE#hash`; `STAMPS#customer` / time; `AUDIT#account`; `IDEM#…`", "Give or void stamps if the card is unchanged, and confirm the data of a customer who shows the card";
    CARD_REWARDS "card-reward.list" "stamp" [Query] None, "`CUST#customer` / `REWARD#…`, newest first", "A customer's rewards";
    CARD_REWARD "card-reward.read" "stamp" [Get] None, "`CUST#customer` / `REWARD#…`", "One reward";
    CARD_REWARD_WRITE "card-reward.write" "stamp" [Put] None, "`CUST#customer` / `REWARD#…`; `IDEM#…`", "Redeem a reward, once";
    STAMPS_COUNT "projection.stamps" "projector" [Put Add] None, "`PROG#program` / `STATS`, `MONTH#…`; `EVENTS#program`; `TALLY#fact`; `ROLLUP#topic`", "Record and count what happens in a program, each fact once";
}

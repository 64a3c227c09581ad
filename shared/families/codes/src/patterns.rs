//! What is asked of the table.

use table::keys::{GSI1, GSI2};

table::patterns! {
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
    CLAIM_POOL "claim.pool" "campaign, code-distribution, message-sender" [BatchGet] None, "`ACCT#account` / `META`, `SIGNING`; `POOL#pool` / `META`, `SHELF`", "The pool that is claimed from, what it may have, and its account";
    SHELF "claim.shelf" "code-import" [BatchGet] None, "`POOL#pool` / `SHELF`", "Which lots may have codes?";
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
}

//! Access patterns of code pools, codes, claims and imports.

use table::keys::{GSI1, GSI2};

table::patterns! {
    CODE_POOL "pool.read" "analytics, code-distribution, code-import, jobs, projector" [Get] None, "`POOL#pool` / `META`", "One code pool";
    CODE_POOL_STATS "pool.stats" "analytics, code-distribution, projector" [Get] None, "`POOL#pool` / `STATS`", "How many codes of the pool were imported, claimed and redeemed?";
    CODE_POOLS "pool.list" "code-distribution" [Query] Some(GSI1), "`ACCTPOOLS#account` / `pool_…`", "The account's code pools, oldest first";
    CODE_POOLS_ALL "pool.all" "jobs" [Query] Some(GSI2), "`POOLS` / `pool_…`", "Which pools do all accounts have, for the daily archive job?";
    CODE_POOL_WRITE "pool.write" "code-distribution" [Put] None, "`POOL#pool` / `META`, `STATS`, `SHELF`; `JOB#job`; `AUDIT#account`", "Create, change or delete a code pool";
    CODE_POOL_PURGE "pool.purge" "jobs" [Query Delete] None, "`POOL#pool`; `CODES#pool#shard`; `STOCK#pool#platform#shard`; `CLAIMS#pool#shard`; `ORIGINS#pool#shard`", "Remove the codes, stock and claims of a deleted pool, and the pool itself";
    CODE_LOAD "code.load" "code-import" [Put] None, "`CODES#pool#shard`; `STOCK#pool#platform#shard`", "Add codes of a file with their stock items, except codes that exist already";
    CODES "code.list" "code-distribution, code-import" [Query BatchGet] None, "`CODES#pool#shard` / number; `STOCK#pool#platform#shard` / lot, number", "Which codes does the pool have, and which of them can be claimed?";
    CODE "code.read" "code-distribution" [Get BatchGet] None, "`CODES#pool#shard` / number; `STOCK#pool#platform#shard` / lot, number", "One code, and whether it can be claimed";
    CODE_WRITE "code.write" "code-distribution" [Put] None, "`CODES#pool#shard` / number; `AUDIT#account`; `IDEM#…`", "Redeem or reveal a code";
    CLAIM_POOL "claim.pool" "campaign, code-distribution, message-sender" [BatchGet] None, "`ACCT#account` / `META`, `SIGNING`; `POOL#pool` / `META`, `SHELF`; `IDEM#…`", "The pool of a claim, with its shelf and its account";
    SHELF "claim.shelf" "code-import" [BatchGet] None, "`POOL#pool` / `SHELF`", "Which lots may have codes?";
    STOCK "claim.stock" "code-distribution, message-sender" [Query] None, "`STOCK#pool#platform#shard` / lot, number, from a lot or a random number in it", "Which codes can be claimed now, soonest end first?";
    LOT_EMPTY "claim.lot-empty" "code-distribution, message-sender" [Put] None, "`POOL#pool` / `SHELF`", "Remove empty lots from the shelf";
    CLAIM_WRITE "claim.write" "code-distribution, message-sender" [Put Delete] None, "`CLAIMS#pool#shard` / number; `STOCK#pool#platform#shard` / lot, number; `IDEM#…`", "Claim, reserve, confirm or release a code";
    CLAIM "claim.read" "code-distribution, message-sender" [Get] None, "`CLAIMS#pool#shard` / number", "One claim";
    IMPORT "import.read" "code-distribution, code-import" [Get] None, "`POOL#pool` / `IMPORT#import`", "One import";
    IMPORTS "import.list" "code-distribution" [Query] None, "`POOL#pool` / `IMPORT#…`", "The pool's imports";
    IMPORT_WRITE "import.write" "code-distribution, code-import" [Put Add] None, "`POOL#pool` / `IMPORT#import`; `AUDIT#account`; `EVENTS#pool`; `IDEM#…`; `ROLLUP#topic`", "Announce, start or finish an import";
    IMPORT_CHECKPOINT "import.checkpoint" "code-import" [BatchGet Put Check Add] None, "`POOL#pool` / `IMPORT#import`, `META`, `STATS`, `SHELF`; `EVENTS#pool`; `ROLLUP#topic`", "Record the progress of an import, and put its lots on the shelf";
    CODES_USED "archive.used" "jobs" [Query] Some(GSI1), "`USED#pool#shard` / time", "Which codes were claimed more than 30 days ago and are not archived?";
    CODES_ARCHIVED "archive.write" "jobs" [BatchGet Put] None, "`CODES#pool#shard`; `CLAIMS#pool#shard`", "Replace the text of a used code by its location in the archive";
    CODES_COUNT "projection.codes" "projector" [Put Add] None, "`POOL#pool` / `STATS`; `EVENTS#pool`; `ROLLUP#topic`", "Record and count claims and redemptions, each once";
    CODE_ORIGIN "code.origin" "projector" [BatchGet] None, "`ORIGINS#pool#shard` / number", "Which message told a customer this code?";
}

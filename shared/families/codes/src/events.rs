//! Kinds of events of a code pool.

domain::event_kinds! {
    CODE_CLAIMED "code.claimed" count "code_pool_id" Nobody "claim_id" [] "A user claimed a code.";
    CODE_REDEEMED "code.redeemed" step "code_pool_id" Nobody "code_id" [] "A code was redeemed.";
    CODE_POOL_LOW_STOCK "code_pool.low_stock" count "code_pool_id" Nobody "" ["remaining": Number, "threshold": Number] "The number of unclaimed codes in a pool fell to one of its thresholds, or below.";
    IMPORT_COMPLETED "import.completed" count "code_pool_id" Nobody "import_id" ["added": Number, "duplicates": Number, "rejected": Number] "An import of codes finished.";
    IMPORT_FAILED "import.failed" count "code_pool_id" Nobody "import_id" ["added": Number, "duplicates": Number, "rejected": Number] "An import of codes failed; codes that it added before the failure stay in the pool.";
}

//! What happens in a code pool.

domain::event_kinds! {
    CODE_CLAIMED "code.claimed" count "code_pool_id" Nobody "claim_id" [] "Somebody claimed a code.";
    CODE_REDEEMED "code.redeemed" step "code_pool_id" Nobody "code_id" [] "A code was redeemed.";
    CODE_POOL_LOW_STOCK "code_pool.low_stock" count "code_pool_id" Nobody "" ["remaining": Number, "threshold": Number] "A pool has fewer codes left than one of its thresholds.";
    IMPORT_COMPLETED "import.completed" count "code_pool_id" Nobody "import_id" ["added": Number, "duplicates": Number, "rejected": Number] "A file of codes was loaded.";
    IMPORT_FAILED "import.failed" count "code_pool_id" Nobody "import_id" ["added": Number, "duplicates": Number, "rejected": Number] "A file of codes could not be loaded.";
}

//! Problems with which requests about features are refused.

domain::problem_kinds! {
    FEATURE_CLOSED "feature-closed" 409 "Voting on the feature is closed";
    FEATURE_MERGED "feature-merged" 409 "The feature was merged into another one";
    FEATURE_DELETING "feature-deleting" 409 "The feature is being deleted";
}

//! What features refuse.

domain::problem_kinds! {
    FEATURE_CLOSED "feature-closed" 409 "Nobody votes on the feature any more";
    FEATURE_MERGED "feature-merged" 409 "The feature was merged into another one";
    FEATURE_DELETING "feature-deleting" 409 "The feature is being deleted";
}

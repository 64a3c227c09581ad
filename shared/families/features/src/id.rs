//! Ids of features and comments.

domain::ids! {
    /// Id of a feature that subscribers can vote for.
    FeatureId = "feat";
    /// Id of a comment on a feature.
    CommentId = "cmt";
}

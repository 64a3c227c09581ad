//! The ids of features and comments.

domain::ids! {
    /// Something that people may vote for.
    FeatureId = "feat";
    /// What somebody says about a feature.
    CommentId = "cmt";
}

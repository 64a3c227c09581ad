//! Kinds of events of a feature.

domain::event_kinds! {
    FEATURE_VOTED "feature.voted" count "feature_id" Subscriber "" [] "A subscriber voted for a feature.";
    FEATURE_UNVOTED "feature.unvoted" count "feature_id" Subscriber "" [] "A subscriber withdrew a vote for a feature.";
    COMMENT_POSTED "comment.posted" count "feature_id" Subscriber "comment_id" [] "A subscriber posted a comment, which waits for moderation.";
    COMMENT_APPROVED "comment.approved" count "feature_id" Subscriber "comment_id" [] "A comment was approved and is now public.";
    COMMENT_REJECTED "comment.rejected" count "feature_id" Subscriber "comment_id" [] "A comment was rejected.";
    COMMENT_ERASED "comment.erased" count "feature_id" Subscriber "comment_id" [] "A comment was removed because its author was erased or its feature was deleted.";
}

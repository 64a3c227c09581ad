//! What happens to a feature.

domain::event_kinds! {
    FEATURE_VOTED "feature.voted" count "feature_id" Subscriber "" [] "A subscriber voted for a feature.";
    FEATURE_UNVOTED "feature.unvoted" count "feature_id" Subscriber "" [] "A subscriber took a vote back.";
    COMMENT_POSTED "comment.posted" count "feature_id" Subscriber "comment_id" [] "A subscriber's comment waits for a moderator.";
    COMMENT_APPROVED "comment.approved" count "feature_id" Subscriber "comment_id" [] "A comment was approved, and can be read.";
    COMMENT_REJECTED "comment.rejected" count "feature_id" Subscriber "comment_id" [] "A comment was rejected.";
    COMMENT_ERASED "comment.erased" count "feature_id" Subscriber "comment_id" [] "A comment is gone with whoever wrote it.";
}

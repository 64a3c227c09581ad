//! Access patterns of features, votes and comments.

use table::keys::{GSI1, GSI2};

table::patterns! {
    FEATURE "feature.read" "analytics, feature-vote, jobs, projector" [Get] None, "`FEAT#feature` / `META`", "One feature";
    FEATURE_BATCH "feature.batch" "feature-vote" [BatchGet] None, "`FEAT#feature` / `META`, `TALLY`", "Several features with their numbers of votes and comments";
    FEATURES "feature.list" "feature-vote, jobs" [Query] Some(GSI1), "`WLFEATS#waitlist` / `feat_…`, newest first", "The waitlist's features";
    FEATURES_BY_VOTES "feature.by-votes" "feature-vote" [Query] Some(GSI2), "`TOPFEATS#waitlist` / votes, descending", "The waitlist's features, most votes first";
    FEATURE_WRITE "feature.write" "feature-vote" [Put Check] None, "`FEAT#feature` / `META`, `TALLY`; `JOB#job`; `AUDIT#account`; `IDEM#…`", "Create or change a feature, or request its merge or deletion";
    FEATURE_TALLY "feature.tally" "analytics, projector" [Get] None, "`FEAT#feature` / `TALLY`", "How many votes and approved comments does this feature have?";
    FEATURES_COUNT "projection.features" "projector" [Put Add] None, "`FEAT#feature` / `TALLY`; `EVENTS#feature`; `ROLLUP#topic`", "Record and count changes of votes and comments, each once";
    FEATURE_PURGE "feature.purge" "jobs" [Delete] None, "`FEAT#feature` / `META`, `TALLY`", "Remove a deleted feature";
    BALLOT "vote.ballot" "feature-vote" [BatchGet] None, "`FEAT#feature` / `META`; `SUB#subscriber` / `CORE#META`; `VOICE#subscriber` / `VOTE#feature`; `IDEM#…`; `ACCT#account` / `SIGNING`", "Read everything that a vote or a comment depends on, in one call";
    VOTE_WRITE "vote.write" "feature-vote" [Put] None, "`VOICE#subscriber` / `VOTE#feature`; `SUB#subscriber` / `CORE#META`; `IDEM#…`", "Cast or withdraw a vote, and update the subscriber's number of votes";
    VOTES_OWN "vote.batch" "feature-vote" [BatchGet] None, "`VOICE#subscriber` / `VOTE#feature`", "Which of these features does the subscriber vote for?";
    VOTES "vote.list" "feature-vote, jobs" [Query] Some(GSI1), "`FEATVOTES#feature#shard` / `sub_…`, 4 shards", "Who votes for this feature?";
    VOTES_MOVE "vote.move" "jobs" [BatchGet Put Delete Check] None, "`VOICE#subscriber` / `VOTE#feature`; `SUB#subscriber` / `CORE#META`", "Move a vote to another feature, or remove it";
    VOICE_PURGE "vote.purge" "jobs" [Query Delete] None, "`VOICE#subscriber` / all; `CMT#comment`", "Remove an erased subscriber's votes and comments";
    COMMENT_WRITE "comment.write" "feature-vote" [Put Check] None, "`CMT#comment` / `META`; `VOICE#subscriber` / `COMMENT#comment`; `SUB#subscriber` / `CORE#META`; `AUDIT#account`; `IDEM#…`", "Add or moderate a comment, and update the author's number of approved comments";
    COMMENT "comment.read" "feature-vote" [Get] None, "`CMT#comment` / `META`", "One comment";
    COMMENTS "comment.list" "feature-vote, jobs" [Query] Some(GSI1), "`FEATCMTS#feature#status` / `cmt_…`, newest first", "Which comments does this feature have?";
    COMMENTS_PENDING "comment.pending" "feature-vote" [Query] Some(GSI2), "`MODERATION#waitlist` / `cmt_…`", "Which comments wait for moderation?";
    COMMENT_PURGE "comment.purge" "jobs" [BatchGet Put Delete] None, "`CMT#comment`; `VOICE#subscriber` / `COMMENT#comment`; `SUB#subscriber` / `CORE#META`", "Remove a deleted feature's comments";
}

//! Reads and writes of comments on features, and their moderation.

use accounts::entities::AuditEntry;
use domain::id::AccountId;
use table::{Commit, CommitError, Cursor, Entity, Page, Query, Table, TableError, retried};
use waitlists::{entities::subscriber_key, id::WaitlistId, subscriber::Subscriber};

use crate::{
    entities::{CommentRef, comment_key, comments_of, moderation_of},
    feature::{Comment, CommentStatus},
    id::{CommentId, FeatureId},
    patterns,
};

/// Returns the writes that add a comment of a subscriber. The write with the label `subscriber` fails if the
/// subscriber has changed since it was read, or was erased.
pub fn create(comment: &Comment, subscriber: &Subscriber) -> Commit {
    Commit::new(&patterns::COMMENT_WRITE)
        .create("comment", comment)
        .create("comment ref", &CommentRef::of(comment))
        .expect("subscriber", &subscriber.key(), subscriber.rev)
}

/// Reads a comment of this account. Returns `None` if the comment does not exist or belongs to another account.
pub async fn read(table: &Table, account: &AccountId, id: &CommentId) -> Result<Option<Comment>, TableError> {
    let found: Option<Comment> = table.get(&patterns::COMMENT, &comment_key(id)).await?;
    Ok(found.filter(|comment| comment.account_id == *account))
}

/// Returns the writes that change a comment's status. `author` is the author with a new number of approved comments;
/// `None` if the number stays. The write with the label `comment` or `subscriber` fails if that item has changed
/// since it was read.
pub fn moderate(comment: &Comment, author: Option<&Subscriber>, audit: &AuditEntry) -> Commit {
    let commit = Commit::new(&patterns::COMMENT_WRITE)
        .replace("comment", comment, comment.rev - 1)
        .create("audit", audit);
    match author {
        Some(author) => commit.replace("subscriber", author, author.rev - 1),
        None => commit,
    }
}

/// Returns a page of a feature's comments of this status, newest first.
pub async fn list(
    table: &Table,
    feature: &FeatureId,
    status: CommentStatus,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<Comment>, TableError> {
    table.page(&patterns::COMMENTS, &[comments_of(feature, status)], true, after, limit).await
}

/// Returns a page of a waitlist's comments that wait for moderation, oldest first.
pub async fn pending(
    table: &Table,
    waitlist: &WaitlistId,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<Comment>, TableError> {
    table.page(&patterns::COMMENTS_PENDING, &[moderation_of(waitlist)], false, after, limit).await
}

/// Removes up to `limit` of a feature's comments of each status, and subtracts approved ones from their authors'
/// numbers of comments. Returns the number of comments.
///
/// # Errors
/// If the table is unavailable, or an author keeps changing.
pub async fn purge_some(table: &Table, feature: &FeatureId, limit: usize) -> Result<usize, TableError> {
    let mut removed = 0;
    for status in [CommentStatus::Pending, CommentStatus::Approved, CommentStatus::Rejected] {
        let query = Query { limit: Some(limit), ..Query::partition(comments_of(feature, status)) };
        let found: Vec<Comment> = table.query(&patterns::COMMENTS, query).await?;
        removed += found.len();
        for comment in &found {
            retried("comment", || remove(table, comment)).await?;
        }
    }
    Ok(removed)
}

async fn remove(table: &Table, listed: &Comment) -> Result<(), CommitError> {
    let keys = [listed.key(), subscriber_key(&listed.subscriber_id)];
    let mut found = table.batch_get(&patterns::COMMENT_PURGE, &keys).await?;
    // The index is eventually consistent, so comment and author are read again from the table.
    let Some(comment) = found.remove(&keys[0]).map(Comment::from_item).transpose()? else { return Ok(()) };
    let author = found.remove(&keys[1]).map(Subscriber::from_item).transpose()?;
    let commit = Commit::new(&patterns::COMMENT_PURGE)
        .delete("comment", &comment.key(), comment.rev)
        .purge("comment ref", &CommentRef::of(&comment).key());
    let commit = match author.filter(|_| comment.status == CommentStatus::Approved) {
        Some(author) => {
            let comments = author.comments.saturating_sub(1);
            let after = Subscriber { comments, rev: author.rev + 1, ..author.clone() };
            commit.replace("subscriber", &after, author.rev)
        }
        None => commit,
    };
    commit.apply(table).await
}

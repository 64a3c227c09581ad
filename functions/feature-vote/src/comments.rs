//! Comments on features. A comment becomes public when a moderator approves it.

use accounts::entities::AuditEntry;
use api::{
    App, Client, Committed, Json, List, PageQuery, PathId, Post, Principal, Problem, Query, created,
    existing, problems, rate_limited, require_origin, respond, retried,
};
use axum::{extract::State, response::Response};
use features::{
    comments,
    feature::{Comment, CommentStatus},
    id::CommentId,
};
use table::Answer;
use waitlists::{subscriber::Subscriber, subscribers};

use crate::{
    dto::{CommentFilter, CommentRequest, CommentView, Moderation},
    features::own,
    votes::{ballot_of, voter},
};

/// Maximum number of comments per subscriber and minute.
const COMMENTS_PER_MINUTE: u64 = 5;

/// Posts a comment on a feature.
///
/// The author is the owner of the `X-Subscriber-Token`, whose address must be verified. The comment is pending, and
/// not public, until a moderator approves it. A subscriber may post at most 5 comments per minute.
#[utoipa::path(post, path = "/api/v1/comments", tag = "feature-vote",
    params(("X-Subscriber-Token" = String, Header)),
    request_body = CommentRequest, responses((status = CREATED, body = CommentView)))]
pub async fn create(
    State(app): State<App>,
    principal: Principal,
    client: Client,
    post: Post<CommentRequest>,
) -> Result<Response, Problem> {
    if let Some(answer) = post.answered(&app).await? {
        return Ok(respond(said(&app, &principal, answer).await?));
    }
    let author = voter(&app, &principal, &client, &post.body.feature_id).await?;
    let account = &principal.account_id;
    let verdict = app.limit(account, "comments", author.as_str(), COMMENTS_PER_MINUTE).await?;
    let posted = retried(|| async {
        let ballot = ballot_of(&app, &principal, &client, &post.body.feature_id, &author).await?;
        let now = app.now();
        let comment = Comment {
            id: CommentId::new(now),
            account_id: account.clone(),
            waitlist_id: ballot.feature.waitlist_id,
            feature_id: ballot.feature.id,
            subscriber_id: author.clone(),
            author: ballot.subscriber.public_name(),
            text: post.body.text.clone(),
            status: CommentStatus::Pending,
            created_at: now,
            moderated_at: None,
            moderated_by: None,
            rev: 1,
        };
        let commit = comments::create(&comment, &ballot.subscriber);
        let location = format!("/api/v1/comments/{}", comment.id);
        let answer = created(location, &Said { id: comment.id.clone() })?;
        let answer = match post.commit(&app, commit, &answer).await? {
            Committed::Fresh => shown(answer, comment)?,
            Committed::Before(before) => said(&app, &principal, before).await?,
        };
        Ok(respond(answer))
    });
    Ok(rate_limited(posted.await?, Some(verdict)))
}

/// Body of the answer that is stored for repeated requests. The body has only the id of the comment, so that no
/// text remains when the author is erased.
#[derive(serde::Serialize, serde::Deserialize)]
struct Said {
    id: CommentId,
}

/// Completes a stored answer with the comment.
async fn said(app: &App, principal: &Principal, answer: Answer) -> Result<Answer, Problem> {
    let Said { id } = serde_json::from_str(&answer.body)?;
    let found = comments::read(&app.table, &principal.account_id, &id).await?;
    shown(
        answer,
        found.ok_or_else(|| Problem::because(problems::NOT_FOUND, "The comment no longer exists."))?,
    )
}

/// Returns the answer with the public view of the comment as its body.
fn shown(answer: Answer, comment: Comment) -> Result<Answer, Problem> {
    Ok(Answer { body: serde_json::to_string(&CommentView::public(comment))?, ..answer })
}

/// Lists the comments on a feature, or the pending comments of a waitlist.
///
/// The comments on a feature are listed newest first, those of a waitlist oldest first. With a publishable key,
/// only the approved comments on a feature can be listed.
#[utoipa::path(get, path = "/api/v1/comments", tag = "feature-vote", params(CommentFilter),
    responses((status = OK, body = List<CommentView>)))]
pub async fn list(
    State(app): State<App>,
    principal: Principal,
    Query(filter): Query<CommentFilter>,
    client: Client,
) -> Result<axum::Json<List<CommentView>>, Problem> {
    let page = PageQuery { cursor: filter.cursor, limit: filter.limit };
    let (cursor, limit) = (page.cursor()?, page.limit()?);
    let account = &principal.account_id;
    let status = filter.status.unwrap_or(CommentStatus::Approved);
    let hidden = status != CommentStatus::Approved || filter.waitlist_id.is_some();
    if principal.is_publishable() && hidden {
        return Err(problems::SECRET_KEY_REQUIRED.into());
    }
    let found = match (&filter.feature_id, &filter.waitlist_id) {
        (Some(feature), None) => {
            let feature = own(&app, account, feature).await?;
            if principal.is_publishable() {
                let waitlist =
                    existing(waitlists::read(&app.table, account, &feature.waitlist_id).await?, "waitlist")?;
                require_origin(&waitlist.settings.allowed_origins, &client.headers)?;
            }
            comments::list(&app.table, &feature.id, status, cursor, limit).await?
        }
        (None, Some(waitlist)) if filter.status.is_none_or(|status| status == CommentStatus::Pending) => {
            let waitlist = existing(waitlists::read(&app.table, account, waitlist).await?, "waitlist")?;
            comments::pending(&app.table, &waitlist.id, cursor, limit).await?
        }
        (None, Some(_)) => return Err(Problem::field("status", "must be `pending` with `waitlist_id`")),
        _ => {
            return Err(Problem::field(
                "feature_id",
                "is required without `waitlist_id`, and not allowed with `waitlist_id`",
            ));
        }
    };
    let view = if principal.is_publishable() { CommentView::public } else { CommentView::whole };
    Ok(axum::Json(found.map(view).into()))
}

/// Approves or rejects a comment. An earlier decision can be changed.
#[utoipa::path(put, path = "/api/v1/comments/{id}/moderate", tag = "feature-vote",
    params(("id" = CommentId, Path)), request_body = Moderation, responses((status = OK, body = CommentView)))]
pub async fn moderate(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<CommentId>,
    Json(moderation): Json<Moderation>,
) -> Result<axum::Json<CommentView>, Problem> {
    let status = CommentStatus::from(moderation.status);
    retried(|| async {
        let found = comments::read(&app.table, &principal.account_id, &id).await?;
        let old = existing(found, "comment")?;
        if old.status == status {
            return Ok(axum::Json(CommentView::whole(old)));
        }
        let now = app.now();
        let new = Comment {
            status,
            moderated_at: Some(now),
            moderated_by: Some(principal.id.clone()),
            rev: old.rev + 1,
            ..old.clone()
        };
        let author = author_of(&app, &old, status).await?;
        let audit = AuditEntry::new(
            &principal.account_id,
            &principal.id,
            &format!("comment.{}", status.name()),
            id.as_str(),
            now,
        );
        comments::moderate(&new, author.as_ref(), &audit).apply(&app.table).await?;
        Ok(axum::Json(CommentView::whole(new)))
    })
    .await
}

/// Returns the author with the new number of approved comments. Returns `None` if the number does not change, or if
/// the author was erased.
async fn author_of(
    app: &App,
    comment: &Comment,
    status: CommentStatus,
) -> Result<Option<Subscriber>, Problem> {
    let was = comment.status == CommentStatus::Approved;
    let is = status == CommentStatus::Approved;
    if was == is {
        return Ok(None);
    }
    let author = subscribers::find(&app.table, &comment.subscriber_id).await?;
    Ok(author.map(|author| {
        let comments = if is { author.comments + 1 } else { author.comments.saturating_sub(1) };
        Subscriber { comments, rev: author.rev + 1, ..author }
    }))
}

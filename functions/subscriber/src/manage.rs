//! Reading, converting, inviting and erasing subscribers, and their positions.

use api::{
    App, Client, List, PageQuery, PathId, Post, Principal, Problem, Query, existing, problems,
    require_subscriber, respond, retried,
};
use axum::{extract::State, http::StatusCode, response::Response};
use domain::{
    Invalid,
    email::Email,
    id::{AccountId, SubscriberId},
};
use jiff::Timestamp;
use table::{Answer, Page};
use waitlists::{
    erasure,
    id::WaitlistId,
    positions,
    subscriber::{Subscriber, SubscriberStatus},
    subscribers::{self, Found},
};

use crate::dto::{
    ConvertedView, InvitationRequest, InvitationView, PositionView, Sort, SubscriberFilter, SubscriberView,
};

/// Maximum number of invitations in one request. One transaction of at most 100 writes holds the invitations and
/// the stored answer.
const MAX_INVITATIONS: usize = 99;

/// Reads a subscriber of the account. A subscriber of another account is not found.
async fn own(app: &App, account: &AccountId, id: &SubscriberId) -> Result<Found, Problem> {
    subscribers::read(&app.table, account, id).await?.ok_or_else(|| problems::NOT_FOUND.into())
}

/// Lists the subscribers of a waitlist.
#[utoipa::path(get, path = "/api/v1/subscribers", tag = "subscriber", params(SubscriberFilter),
    responses((status = OK, body = List<SubscriberView>)))]
pub async fn list(
    State(app): State<App>,
    principal: Principal,
    Query(filter): Query<SubscriberFilter>,
) -> Result<axum::Json<List<SubscriberView>>, Problem> {
    let waitlist =
        existing(waitlists::read(&app.table, &principal.account_id, &filter.waitlist_id).await?, "waitlist")?;
    let page = PageQuery { cursor: filter.cursor, limit: filter.limit };
    let (cursor, limit) = (page.cursor()?, page.limit()?);
    let mut found = match (filter.email, filter.sort.unwrap_or(Sort::Joined)) {
        (Some(email), _) => Page { data: by_email(&app, &waitlist.id, email).await?, next: None },
        (None, Sort::Joined) => subscribers::list(&app.table, &waitlist.id, cursor, limit).await?,
        (None, Sort::Hot) => subscribers::list_hot(&app.table, &waitlist.id, cursor, limit).await?,
    };
    if let Some(status) = filter.status {
        found.data.retain(|subscriber| subscriber.status == status);
    }
    let view = |subscriber| SubscriberView::new(subscriber, &waitlist, app.public_url());
    Ok(axum::Json(found.map(view).into()))
}

/// Finds the subscriber of a waitlist with this email address.
async fn by_email(app: &App, waitlist: &WaitlistId, email: String) -> Result<Vec<Subscriber>, Problem> {
    let email = Email::try_from(email).map_err(|invalid: Invalid| Problem::invalid("email", &invalid))?;
    let Some(id) = subscribers::by_email(&app.table, waitlist, &email).await? else { return Ok(Vec::new()) };
    Ok(subscribers::batch(&app.table, &[id]).await?)
}

/// Returns a subscriber.
#[utoipa::path(get, path = "/api/v1/subscribers/{id}", tag = "subscriber",
    params(("id" = SubscriberId, Path)), responses((status = OK, body = SubscriberView)))]
pub async fn get(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<SubscriberId>,
) -> Result<axum::Json<SubscriberView>, Problem> {
    let found = own(&app, &principal.account_id, &id).await?;
    let waitlist = existing(
        waitlists::read(&app.table, &principal.account_id, &found.subscriber.waitlist_id).await?,
        "waitlist",
    )?;
    Ok(axum::Json(SubscriberView::new(found.subscriber, &waitlist, app.public_url())))
}

/// Erases a subscriber.
///
/// All personal data are removed. The subscriber's votes and comments, and the files of the waitlist's exports, are
/// removed after the response. Anonymous counts and the credits of other subscribers remain.
#[utoipa::path(delete, path = "/api/v1/subscribers/{id}", tag = "subscriber",
    params(("id" = SubscriberId, Path)), responses((status = NO_CONTENT)))]
pub async fn erase(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<SubscriberId>,
) -> Result<StatusCode, Problem> {
    retried(|| async {
        let found = own(&app, &principal.account_id, &id).await?;
        erasure::erase(&app.table, &found.subscriber, &principal.id, app.now()).await?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// Returns the position of a subscriber in line.
///
/// With a publishable key, the subscriber's own token is required in `X-Subscriber-Token`.
#[utoipa::path(get, path = "/api/v1/subscribers/{id}/position", tag = "subscriber",
    params(("id" = SubscriberId, Path), ("X-Subscriber-Token" = Option<String>, Header)),
    responses((status = OK, body = PositionView)))]
pub async fn position(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<SubscriberId>,
    client: Client,
) -> Result<axum::Json<PositionView>, Problem> {
    let (allowed, found) = tokio::join!(
        require_subscriber(&app, &principal, &client, &id),
        own(&app, &principal.account_id, &id)
    );
    allowed?;
    let found = found?;
    let position = found.position(&app.table).await?;
    Ok(axum::Json(PositionView {
        id,
        status: found.subscriber.status,
        position: position.map(|position| position.position),
        total: position.map(|position| position.total),
        referrals: found.subscriber.referrals,
    }))
}

/// Marks a subscriber as converted: the subscriber became a customer and leaves the line.
#[utoipa::path(post, path = "/api/v1/subscribers/{id}/convert", tag = "subscriber",
    params(("id" = SubscriberId, Path)), responses((status = OK, body = ConvertedView)))]
pub async fn convert(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<SubscriberId>,
    post: Post<serde_json::Value>,
) -> Result<Response, Problem> {
    if let Some(answer) = post.answered(&app).await? {
        return Ok(respond(answer));
    }
    // Retries if another request changed the subscriber, for example by a credit.
    retried(|| async {
        let found = own(&app, &principal.account_id, &id).await?.subscriber;
        if found.status == SubscriberStatus::Pending {
            return Err(Problem::because(
                waitlists::problems::NOT_IN_LINE,
                "The address has not been verified.",
            ));
        }
        let now = app.now();
        let rev = found.rev;
        let converted = Subscriber {
            status: SubscriberStatus::Converted,
            converted_at: found.converted_at.or(Some(now)),
            active_at: now,
            rev: rev + 1,
            ..found
        };
        let view =
            ConvertedView { id: id.clone(), status: converted.status, converted_at: converted.converted_at };
        let body = serde_json::to_string(&view)?;
        let answer = Answer { status: StatusCode::OK.as_u16(), body, location: None };
        let committed = post.commit(&app, subscribers::update(&converted, rev), &answer).await?;
        Ok(respond(committed.answer_or(answer)))
    })
    .await
}

/// Invites the first subscribers in line, or the named ones.
///
/// Invited subscribers leave the line and get a mail, unless they have unsubscribed. Either all of them are invited
/// or none. Named subscribers who are not in line are skipped.
#[utoipa::path(post, path = "/api/v1/waitlists/{id}/invitations", tag = "subscriber",
    params(("id" = WaitlistId, Path)), request_body = InvitationRequest,
    responses((status = OK, body = InvitationView)))]
pub async fn invite(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<WaitlistId>,
    post: Post<InvitationRequest>,
) -> Result<Response, Problem> {
    if let Some(answer) = post.answered(&app).await? {
        return Ok(respond(answer));
    }
    let waitlist = existing(waitlists::read(&app.table, &principal.account_id, &id).await?, "waitlist")?;
    if waitlist.deleting {
        return Err(waitlists::problems::WAITLIST_DELETING.into());
    }
    retried(|| async {
        let (candidates, wanted) = candidates(&app, &id, &post.body).await?;
        let (active, others): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|subscriber| subscriber.status == SubscriberStatus::Active);
        let now = app.now();
        let invited: Vec<_> =
            active.into_iter().take(wanted).map(|subscriber| invited(subscriber, now)).collect();
        let ids = |subscribers: &[Subscriber]| subscribers.iter().map(|entry| entry.id.clone()).collect();
        let named = post.body.subscriber_ids.is_some();
        let view =
            InvitationView { invited: ids(&invited), skipped: if named { ids(&others) } else { Vec::new() } };
        let body = serde_json::to_string(&view)?;
        let answer = Answer { status: StatusCode::OK.as_u16(), body, location: None };
        let committed = post.commit(&app, subscribers::update_all(&invited), &answer).await?;
        Ok(respond(committed.answer_or(answer)))
    })
    .await
}

/// Returns the candidates for an invitation in order, and the number of subscribers to invite.
async fn candidates(
    app: &App,
    waitlist: &WaitlistId,
    request: &InvitationRequest,
) -> Result<(Vec<Subscriber>, usize), Problem> {
    match (request.count, &request.subscriber_ids) {
        (Some(count), None) => {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            if !(1..=MAX_INVITATIONS).contains(&count) {
                return Err(Problem::field("count", format!("is not 1–{MAX_INVITATIONS}")));
            }
            // Subscribers at the front may have been invited already, while their positions are not yet updated.
            // Read more.
            let mut window = count + MAX_INVITATIONS;
            loop {
                let ids = positions::first(&app.table, waitlist, window).await?;
                let found = subscribers::batch(&app.table, &ids).await?;
                let active = found.iter().filter(|entry| entry.status == SubscriberStatus::Active).count();
                if active >= count || ids.len() < window {
                    return Ok((found, count));
                }
                window *= 2;
            }
        }
        (None, Some(ids)) => {
            if !(1..=MAX_INVITATIONS).contains(&ids.len()) {
                return Err(Problem::field(
                    "subscriber_ids",
                    format!("does not have 1–{MAX_INVITATIONS} ids"),
                ));
            }
            let mut ids = ids.clone();
            ids.sort();
            ids.dedup();
            let found = subscribers::batch(&app.table, &ids).await?;
            let strangers =
                found.len() < ids.len() || found.iter().any(|entry| entry.waitlist_id != *waitlist);
            if strangers {
                return Err(Problem::because(
                    problems::NOT_FOUND,
                    "At least one of `subscriber_ids` is not a subscriber of this waitlist.",
                ));
            }
            Ok((found, ids.len()))
        }
        _ => Err(Problem::field(
            "count",
            "is required without `subscriber_ids`, and not allowed with `subscriber_ids`",
        )),
    }
}

/// Returns the subscriber as invited, with a mail requested unless the subscriber has unsubscribed.
fn invited(subscriber: Subscriber, now: Timestamp) -> Subscriber {
    let mail = subscriber.unsubscribed_at.is_none();
    Subscriber {
        status: SubscriberStatus::Invited,
        invited_at: Some(now),
        mail_requests: subscriber.mail_requests + u32::from(mail),
        mail_requested_at: if mail { Some(now) } else { subscriber.mail_requested_at },
        rev: subscriber.rev + 1,
        ..subscriber
    }
}

//! Routes of stamps: giving stamps at a till, synchronising offline stamps, voiding.
//!
//! A visit counts once, however often it is sent. A repetition is recognised by the request's `Idempotency-Key`, by
//! the token of the customer's QR code, or by the till's own id of an offline visit. Two visits are at least the
//! program's cooldown apart, measured by the times at which they took place (`taken_at`).

use std::collections::BTreeMap;

use accounts::entities::AuditEntry;
use api::{App, PathId, Post, Principal, Problem, created, existing, problems, respond, retried};
use axum::{extract::State, http::StatusCode, response::Response};
use domain::{
    id::{CustomerId, ProgramId},
    token::{Shown, TokenError},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use stamps::{
    Given, Till, Visit, Voiding,
    id::StampId,
    stamp::{StampStatus, next_allowed},
};
use table::{
    Answer,
    lookup::{Lookup, Wanted},
};

use crate::dto::{
    GivenView, OfflineStamp, StampRequest, StampView, SyncOutcome, SyncRequest, SyncView, SyncedStamp,
};

/// Maximum number of offline stamps in one request.
const SYNCED_AT_ONCE: usize = 100;
/// Number of customers whose stamps are recorded concurrently. Stamps of different customers don't conflict.
const CUSTOMERS_AT_ONCE: usize = 8;
/// Maximum time by which `taken_at` may be in the future, because the clock of a till may be fast.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);
/// Maximum age of an offline stamp.
const LATE: SignedDuration = SignedDuration::from_hours(30 * 24);

async fn till(
    app: &App,
    principal: &Principal,
    program: &ProgramId,
    customer: &CustomerId,
) -> Result<Till, Problem> {
    let till = app.table.look_up(stamps::till(&principal.account_id, program, customer)).await?;
    existing(till, "program or customer")
}

/// Refuses a visit that is closer to another visit than the program's cooldown.
async fn require_cooled_down(app: &App, till: &Till, taken_at: Timestamp) -> Result<(), Problem> {
    let cooldown = till.program.settings.cooldown_seconds;
    if cooldown.get() == 0 {
        return Ok(());
    }
    let within = SignedDuration::from_secs(i64::from(cooldown.get()));
    let near = stamps::around(&app.table, &till.customer.id, &till.program.id, taken_at, within).await?;
    match next_allowed(taken_at, near.into_iter().map(|stamp| stamp.taken_at), cooldown) {
        None => Ok(()),
        Some(at) => Err(Problem::until(stamps::problems::STAMP_COOLDOWN, at)),
    }
}

/// Identification of a visit's program and customer: by the token of the customer's QR code, or by their ids.
struct Presented {
    program_id: ProgramId,
    customer_id: CustomerId,
    token: Option<String>,
}

impl Presented {
    fn of(request: &StampRequest) -> Result<Self, Problem> {
        match (&request.token, &request.program_id, &request.customer_id) {
            (Some(token), None, None) => {
                let (customer_id, program_id) = Shown::claimed(token)
                    .ok_or_else(|| Problem::field("token", "is not a customer's QR code"))?;
                Ok(Self { program_id, customer_id, token: Some(token.clone()) })
            }
            (None, Some(program_id), Some(customer_id)) => {
                Ok(Self { program_id: program_id.clone(), customer_id: customer_id.clone(), token: None })
            }
            (Some(_), _, _) => Err(Problem::field("token", "excludes program_id and customer_id")),
            (None, None, _) => Err(Problem::field("program_id", "is required without a token")),
            (None, _, None) => Err(Problem::field("customer_id", "is required without a token")),
        }
    }

    fn till(&self, principal: &Principal) -> Lookup<impl Wanted<Found = Option<Till>> + use<>> {
        stamps::till(&principal.account_id, &self.program_id, &self.customer_id)
    }

    /// Returns the key under which a token can be used only once; `None` for a visit without a token.
    fn once(&self, till: &Till, now: Timestamp) -> Result<Option<String>, Problem> {
        let Some(token) = &self.token else { return Ok(None) };
        match Shown::verify(&till.signing, token, now) {
            Ok(shown) => Ok(Some(format!("token:{}", shown.nonce))),
            Err(TokenError::Expired) => Err(stamps::problems::STAMP_TOKEN_EXPIRED.into()),
            Err(TokenError::Forged) => Err(Problem::field("token", "is not a customer's QR code")),
        }
    }
}

/// Records a visit and adds its stamps to the customer's card.
///
/// The visit names the customer by the `token` of the card's QR code, or by `program_id` and `customer_id`. A token
/// is shown by the customer in person. Therefore a visit with a token also confirms the customer's provisional data,
/// except for the email address.
#[utoipa::path(post, path = "/api/v1/stamps", tag = "stamp", request_body = StampRequest,
    responses((status = CREATED, body = GivenView)))]
pub async fn give(
    State(app): State<App>,
    principal: Principal,
    post: Post<StampRequest>,
) -> Result<Response, Problem> {
    let presented = &Presented::of(&post.body)?;
    let (till, answered) = post.look_up(&app, presented.till(&principal)).await?;
    if let Some(answer) = answered? {
        return Ok(respond(answer));
    }
    let mut first = Some(till);
    let (app, principal, post) = (&app, &principal, &post);
    retried(|| {
        let first = first.take();
        async move {
            let till = match first {
                Some(till) => till,
                None => app.table.look_up(presented.till(principal)).await?,
            };
            let till = existing(till, "program or customer")?;
            let now = app.now();
            let once = presented.once(&till, now)?;
            if till.program.settings.is_paused() {
                return Err(stamps::problems::PROGRAM_PAUSED.into());
            }
            let card = till.card.as_ref().ok_or(stamps::problems::NOT_ENROLLED)?;
            // The same request may have been sent twice at the same time: that is one visit, not two.
            if let Err(problem) = require_cooled_down(app, &till, now).await {
                return match post.answered(app).await? {
                    Some(answer) => Ok(respond(answer)),
                    None => Err(problem),
                };
            }
            let visit =
                Visit { count: post.body.count, taken_at: now, given_by: principal.id.clone(), once, now };
            let (given, commit) = stamps::give(&till.program, card, visit);
            let answer =
                created(format!("/api/v1/stamps/{}", given.stamp.id), &GivenView::of(&given, &till.program))?;
            let seen = till.customer.seen(now).filter(|_| presented.token.is_some());
            let commit = match &seen {
                Some(seen) => {
                    let id = seen.id.as_str();
                    let audit =
                        AuditEntry::new(&principal.account_id, &principal.id, "customer.confirmed", id, now);
                    stamps::confirming(commit, &till.customer, seen, &audit)
                }
                None => commit,
            };
            let committed = post.commit(app, commit, &answer).await;
            let committed = committed
                .map_err(|problem| problem.or(stamps::is_used, stamps::problems::STAMP_TOKEN_USED))?;
            Ok(respond(committed.answer_or(answer)))
        }
    })
    .await
    .map_err(Problem::or_unavailable)
}

/// Voids a visit and takes its stamps back.
///
/// If the stamps are spent on rewards, the newest rewards that can still be redeemed are withdrawn. If these rewards
/// do not cover the stamps, the request is refused (409 `stamp-spent`). Voiding a voided visit changes nothing.
#[utoipa::path(delete, path = "/api/v1/stamps/{id}", tag = "stamp", params(("id" = StampId, Path)),
    responses((status = OK, body = StampView)))]
pub async fn void(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<StampId>,
) -> Result<axum::Json<StampView>, Problem> {
    retried(|| async {
        let stamp = stamps::read(&app.table, &principal.account_id, &id).await?;
        let stamp = existing(stamp, "stamp")?;
        if stamp.status == StampStatus::Voided {
            return Ok(axum::Json(stamp.into()));
        }
        let till = till(&app, &principal, &stamp.program_id, &stamp.customer_id).await?;
        let card = till.card.as_ref().ok_or(stamps::problems::NOT_ENROLLED)?;
        let (voided, commit) = match stamps::void(&app.table, &till.program, card, &stamp, app.now()).await? {
            Voiding::Possible(voided, commit) => (voided, commit),
            Voiding::Spent => return Err(stamps::problems::STAMP_SPENT.into()),
            Voiding::Overtaken => return Err(Problem::contended()),
        };
        commit.apply(&app.table).await?;
        Ok(axum::Json((*voided).into()))
    })
    .await
    .map_err(Problem::or_unavailable)
}

/// Records visits that a till recorded while it was offline.
///
/// A request contains 1–100 visits in any order, and can be repeated: a visit that was recorded before has the
/// outcome `duplicate`. Each visit has its own outcome.
#[utoipa::path(post, path = "/api/v1/stamps/sync", tag = "stamp", request_body = SyncRequest,
    responses((status = OK, body = SyncView)))]
pub async fn sync(
    State(app): State<App>,
    principal: Principal,
    post: Post<SyncRequest>,
) -> Result<Response, Problem> {
    if let Some(answer) = post.answered(&app).await? {
        return Ok(respond(answer));
    }
    let stamps = &post.body.stamps;
    if !(1..=SYNCED_AT_ONCE).contains(&stamps.len()) {
        return Err(Problem::field("stamps", format!("is not a list of 1–{SYNCED_AT_ONCE} stamps")));
    }
    let mut customers: BTreeMap<CustomerId, Vec<(usize, OfflineStamp)>> = BTreeMap::new();
    for (position, stamp) in stamps.iter().enumerate() {
        customers.entry(stamp.customer_id.clone()).or_default().push((position, stamp.clone()));
    }
    let outcomes = stream::iter(customers.into_values())
        .map(|stamps| of_one_customer(&app, &principal, stamps))
        .buffer_unordered(CUSTOMERS_AT_ONCE)
        .try_collect::<Vec<_>>();
    let mut synced = outcomes.await?.concat();
    synced.sort_by_key(|(position, _)| *position);
    let view = SyncView { data: synced.into_iter().map(|(_, synced)| synced).collect() };
    let answer =
        Answer { status: StatusCode::OK.as_u16(), body: serde_json::to_string(&view)?, location: None };
    let committed = post.commit(&app, stamps::unchanged(), &answer).await?;
    Ok(respond(committed.answer_or(answer)))
}

/// Records the offline stamps of one customer, oldest first. The order of the request must not decide which of two
/// visits within the cooldown counts.
async fn of_one_customer(
    app: &App,
    principal: &Principal,
    mut stamps: Vec<(usize, OfflineStamp)>,
) -> Result<Vec<(usize, SyncedStamp)>, Problem> {
    stamps.sort_by(|(_, a), (_, b)| (a.taken_at, a.till_id.as_str()).cmp(&(b.taken_at, b.till_id.as_str())));
    let mut outcomes = Vec::with_capacity(stamps.len());
    for (position, stamp) in stamps {
        let outcome = one(app, principal, &stamp).await?;
        outcomes.push((position, SyncedStamp { till_id: stamp.till_id, outcome }));
    }
    Ok(outcomes)
}

/// Records one offline stamp and returns its outcome. A stamp that is not valid has the outcome `refused`; an
/// unavailable table fails the whole request.
async fn one(app: &App, principal: &Principal, stamp: &OfflineStamp) -> Result<SyncOutcome, Problem> {
    let now = app.now();
    if stamp.taken_at > now + AHEAD || stamp.taken_at < now - LATE {
        return Ok(SyncOutcome::refused(stamps::problems::STAMP_TIME_REFUSED, None));
    }
    let once = format!("till:{}", stamp.till_id.as_str());
    retried(|| async {
        let till = app
            .table
            .look_up(stamps::till(&principal.account_id, &stamp.program_id, &stamp.customer_id))
            .await?;
        let Some(till) = till else { return Ok(SyncOutcome::refused(problems::NOT_FOUND, None)) };
        let Some(card) = &till.card else {
            return Ok(SyncOutcome::refused(stamps::problems::NOT_ENROLLED, None));
        };
        // Duplicates are recognised before the cooldown is checked: a repeated stamp is too close to itself.
        if let Some(before) = stamps::used_for(&app.table, &stamp.customer_id, &once).await? {
            return Ok(SyncOutcome::Duplicate { stamp_id: before });
        }
        if !till.program.takes(stamp.taken_at) {
            return Ok(SyncOutcome::refused(stamps::problems::PROGRAM_PAUSED, None));
        }
        if let Err(problem) = require_cooled_down(app, &till, stamp.taken_at).await {
            return match problem.kind {
                stamps::problems::STAMP_COOLDOWN => Ok(SyncOutcome::refused(problem.kind, problem.detail)),
                _ => Err(problem),
            };
        }
        let visit = Visit {
            count: stamp.count,
            taken_at: stamp.taken_at,
            given_by: principal.id.clone(),
            once: Some(once.clone()),
            now,
        };
        let (Given { stamp: given, .. }, commit) = stamps::give(&till.program, card, visit);
        // This write fails, and is retried, if another till stamps the card or the same batch arrives twice at the
        // same time.
        commit.apply(&app.table).await?;
        Ok(SyncOutcome::Added { stamp_id: given.id })
    })
    .await
    .map_err(Problem::or_unavailable)
}

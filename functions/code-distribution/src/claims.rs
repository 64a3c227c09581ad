//! Routes of claims and reservations.
//!
//! A user gets at most one code per pool: a repeated claim returns the same code. Answers are stored for replays
//! without the code; [`with_code`] adds the code when an answer is sent. A reservation holds a code without revealing
//! it. When a reservation is released or expires, another user can get its code.

use api::{
    App, Client, Committed, PathId, Post, Principal, Problem, Query, created, existing, problems,
    rate_limited, require_origin, respond, retried,
};
use axum::{
    Extension,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use codes::{
    choice,
    claim::{Claim, ClaimStatus},
    claiming::{self, Look, Offer},
    claims::{self, Counter},
    code_pool::{ClaimPolicy, Closed, CodePool, Platform},
    id::{ClaimId, CodePoolId},
};
use domain::rate::Verdict;
use files::Bucket;
use futures_util::future::OptionFuture;
use jiff::{SignedDuration, Timestamp};
use table::{Answer, TableError};

use crate::{
    codes::text_of,
    dto::{AvailabilityQuery, AvailabilityView, ClaimRequest, ClaimView, Reserve},
};

/// Longest time for which a claim is retried while other claims take the chosen codes first. After that, the claim is
/// refused with 503. Each lost race is another user's successful claim, so the limit is reached only if very many
/// users compete for very few codes.
const PATIENCE: SignedDuration = SignedDuration::from_secs(5);

async fn counter(app: &App, principal: &Principal, id: &CodePoolId) -> Result<Counter, Problem> {
    let found = app.table.look_up(claims::counter(&principal.account_id, id)).await?;
    existing(found, "code pool")
}

fn platform_of(pool: &CodePool, asked: Option<Platform>) -> Result<Platform, Problem> {
    let platform = asked.unwrap_or(pool.settings.platform);
    if pool.settings.platform == Platform::Universal || platform == pool.settings.platform {
        return Ok(platform);
    }
    let detail = format!("The pool is for {}.", pool.settings.platform.name());
    Err(Problem::because(codes::problems::WRONG_PLATFORM, detail))
}

fn closed_problem(closed: Closed) -> Problem {
    match closed {
        Closed::Paused => codes::problems::CODE_POOL_PAUSED.into(),
        Closed::Completed => codes::problems::CODE_POOL_COMPLETED.into(),
        Closed::Expired => codes::problems::CODE_POOL_EXPIRED.into(),
    }
}

/// Refuses a publishable key if only servers may claim from the pool.
fn require_claimer(pool: &CodePool, principal: &Principal) -> Result<(), Problem> {
    match pool.settings.claims {
        ClaimPolicy::ServerOnly if principal.is_publishable() => {
            Err(Problem::because(problems::SERVER_ONLY, "Only servers claim from this code pool."))
        }
        _ => Ok(()),
    }
}

/// Refuses a publishable key on a claim or reservation that a server made. A page can name any user, so it must not
/// get the codes of a server's users.
fn require_own_kind(claim: &Claim, principal: &Principal) -> Result<(), Problem> {
    if claim.by_server && principal.is_publishable() {
        return Err(of_server());
    }
    Ok(())
}

fn of_server() -> Problem {
    Problem::because(problems::SERVER_ONLY, "A server claimed or reserved this user's code.")
}

/// Checks whether a code of the pool is available for a platform.
///
/// The request issues no code, because link scanners and crawlers send `GET` requests, too. The answer may be cached
/// for 5 seconds.
#[utoipa::path(get, path = "/api/v1/distribute/{id}", tag = "code-distribution",
    params(("id" = CodePoolId, Path), AvailabilityQuery), responses((status = OK, body = AvailabilityView)))]
pub async fn availability(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<CodePoolId>,
    Query(query): Query<AvailabilityQuery>,
    client: Client,
) -> Result<Response, Problem> {
    let Counter { pool, shelf, .. } = counter(&app, &principal, &id).await?;
    require_origin(&pool.settings.allowed_origins, &client.headers)?;
    let platform = platform_of(&pool, query.platform)?;
    let now = app.now();
    let available = match (pool.closed(now), shelf) {
        (None, Some(shelf)) => choice::is_available(&app.table, &shelf, platform, now).await?,
        _ => false,
    };
    let view = AvailabilityView {
        pool_id: id,
        name: pool.settings.name,
        status: pool.settings.status,
        platform,
        expires_at: pool.settings.expires_at,
        available,
    };
    let cache = [(header::CACHE_CONTROL, "private, max-age=5")];
    Ok((cache, axum::Json(view)).into_response())
}

/// Issues a code of the pool to a user, or reserves one with `reserve`.
///
/// Returns 201 for a new claim or reservation. Returns 200 if the user already has one in this pool, with the same
/// code. A request without `reserve` confirms the reservation that the user holds.
#[utoipa::path(post, path = "/api/v1/distribute/{id}", tag = "code-distribution",
    params(("id" = CodePoolId, Path)), request_body = ClaimRequest,
    responses((status = CREATED, body = ClaimView), (status = OK, body = ClaimView)))]
pub async fn claim(
    State(app): State<App>,
    Extension(bucket): Extension<Bucket>,
    principal: Principal,
    client: Client,
    PathId(id): PathId<CodePoolId>,
    post: Post<ClaimRequest>,
) -> Result<Response, Problem> {
    let (counter, answered) = post.look_up(&app, claims::counter(&principal.account_id, &id)).await?;
    let counter = existing(counter, "code pool")?;
    require_origin(&counter.pool.settings.allowed_origins, &client.headers)?;
    require_claimer(&counter.pool, &principal)?;
    let platform = platform_of(&counter.pool, post.body.platform);
    let request = platform.map(|platform| request(&principal, &post.body, &counter, platform));
    // The table is searched for the user's claim and for a code while the request is counted against its rate limit.
    let sought = match (&request, &answered) {
        (Ok(request), Ok(None)) => Some(claiming::look(&app.table, &counter, request, 1, app.now())),
        _ => None,
    };
    let (verdict, sought) =
        tokio::join!(limit(&app, &principal, &client, &counter), OptionFuture::from(sought));
    let (verdict, request) = (verdict?, request?);
    let (answer, claim) = match answered? {
        Some(answer) => (answer, None),
        None => allot(&app, &principal, &post, counter, &request, sought).await?,
    };
    let answer = with_code(&app, &bucket, &principal, answer, claim).await?;
    Ok(rate_limited(no_store(respond(answer)), verdict))
}

/// Counts a request with a publishable key against the rate limit of its IP address. Requests of servers are not
/// counted, because a server sends the requests of all its users from one address.
async fn limit(
    app: &App,
    principal: &Principal,
    client: &Client,
    counter: &Counter,
) -> Result<Option<Verdict>, Problem> {
    if !principal.is_publishable() {
        return Ok(None);
    }
    let caller = counter.signing.signing_key.pseudonym("ip", &client.line());
    let limit = counter.account.limits.claims_per_ip_per_minute;
    app.limit(&principal.account_id, "claim", &caller, limit).await.map(Some)
}

/// Answer about a claim, without the code, and the claim. The claim is `None` if the answer is a replay.
type Allotment = (Answer, Option<Claim>);

fn allotment(committed: Committed, answer: Answer, claim: Claim) -> Allotment {
    match committed {
        Committed::Fresh => (answer, Some(claim)),
        Committed::Before(before) => (before, None),
    }
}

/// Writes the claim that is offered. If another request takes the code first, searches for another code and retries
/// for up to [`PATIENCE`].
async fn allot(
    app: &App,
    principal: &Principal,
    post: &Post<ClaimRequest>,
    mut counter: Counter,
    request: &claiming::Request,
    look: Option<Result<Look, TableError>>,
) -> Result<Allotment, Problem> {
    let mut look = look.transpose()?;
    let began = app.now();
    let mut attempt = 0;
    while app.now() - PATIENCE < began {
        attempt += 1;
        let look = match look.take() {
            Some(look) => look,
            None => {
                counter = self::counter(app, principal, &request.id.pool()).await?;
                claiming::look(&app.table, &counter, request, attempt, app.now()).await?
            }
        };
        let offer = claiming::offer(&app.table, &counter, request, look, app.now()).await?;
        let (claim, writes, is_new) = match offer {
            Offer::Claim { claim, writes, is_new } => (*claim, writes, is_new),
            Offer::OfServer => return Err(of_server()),
            Offer::Closed(closed) => return Err(closed_problem(closed)),
            Offer::Gone => return Err(problems::NOT_FOUND.into()),
            Offer::Exhausted => {
                let detail =
                    format!("The pool has no available code for the platform {}.", request.platform.name());
                return Err(Problem::because(codes::problems::CODES_EXHAUSTED, detail));
            }
            Offer::Again => continue,
        };
        let answer = match is_new {
            true => created(format!("/api/v1/claims/{}", claim.id), &ClaimView::masked(&claim))?,
            false => ok(&claim)?,
        };
        match post.commit(app, writes, &answer).await {
            Ok(committed) => return Ok(allotment(committed, answer, claim)),
            // Another request took the code, or a second request of the same user changed the claim.
            Err(problem) if problem.is(claims::is_lost) => table::back_off(attempt).await,
            Err(problem) => return Err(problem.into()),
        }
    }
    Err(problems::UNAVAILABLE.into())
}

fn request(
    principal: &Principal,
    asked: &ClaimRequest,
    counter: &Counter,
    platform: Platform,
) -> claiming::Request {
    let key = &counter.signing.signing_key;
    claiming::Request {
        id: ClaimId::of(key, &counter.pool.id, asked.user.identity()),
        account_id: counter.account.id.clone(),
        user: key.pseudonym("user", asked.user.identity()),
        device: asked.fingerprint.as_ref().map(|device| key.pseudonym("device", device.as_str())),
        by_server: !principal.is_publishable(),
        platform,
        hold: hold(counter, principal, asked.reserve),
        with_text: false,
    }
}

/// Returns the duration of a reservation; `None` for a claim.
fn hold(counter: &Counter, principal: &Principal, reserve: Reserve) -> Option<SignedDuration> {
    let usual = counter.pool.settings.reservation_seconds.get();
    let seconds = match reserve {
        Reserve::No => return None,
        Reserve::Yes => usual,
        // A page can't reserve for longer than the pool's `reservation_seconds`.
        Reserve::For(seconds) if principal.is_publishable() => seconds.get().min(usual),
        Reserve::For(seconds) => seconds.get(),
    };
    Some(SignedDuration::from_secs(i64::from(seconds)))
}

/// Refuses a confirmation if the pool has ended or expired. A paused pool still allows confirmations, because the
/// reservation was promised before the pause.
fn require_promised(pool: &CodePool, now: Timestamp) -> Result<(), Problem> {
    match pool.closed(now) {
        None | Some(Closed::Paused) => Ok(()),
        Some(closed) => Err(closed_problem(closed)),
    }
}

fn ok(claim: &Claim) -> Result<Answer, Problem> {
    let body = serde_json::to_string(&ClaimView::masked(claim))?;
    Ok(Answer { status: StatusCode::OK.as_u16(), body, location: None })
}

fn no_store(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    response
}

async fn own(app: &App, principal: &Principal, id: &ClaimId) -> Result<Claim, Problem> {
    let found = claims::read(&app.table, &principal.account_id, id).await?;
    existing(found, "claim")
}

/// Adds the full code to an answer about a claimed code. Stored answers don't contain the code.
async fn with_code(
    app: &App,
    bucket: &Bucket,
    principal: &Principal,
    answer: Answer,
    claim: Option<Claim>,
) -> Result<Answer, Problem> {
    let mut view: ClaimView = serde_json::from_str(&answer.body)?;
    if view.status == ClaimStatus::Claimed {
        let claim = match claim {
            Some(claim) => claim,
            None => own(app, principal, &view.claim_id).await?,
        };
        view.code = Some(text_of(bucket, claim.code.as_ref(), claim.archived.as_ref()).await?);
    }
    Ok(Answer { body: serde_json::to_string(&view)?, ..answer })
}

/// Returns a claim, with its code masked.
#[utoipa::path(get, path = "/api/v1/claims/{id}", tag = "code-distribution",
    params(("id" = ClaimId, Path)), responses((status = OK, body = ClaimView)))]
pub async fn get(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<ClaimId>,
) -> Result<axum::Json<ClaimView>, Problem> {
    Ok(axum::Json(ClaimView::masked(&own(&app, &principal, &id).await?)))
}

/// Confirms a reservation and returns its code.
///
/// A confirmation can be repeated: it returns the same code. An expired or released reservation is refused (409).
#[utoipa::path(post, path = "/api/v1/claims/{id}/confirm", tag = "code-distribution",
    params(("id" = ClaimId, Path)), responses((status = OK, body = ClaimView)))]
pub async fn confirm(
    State(app): State<App>,
    Extension(bucket): Extension<Bucket>,
    principal: Principal,
    PathId(id): PathId<ClaimId>,
    post: Post<serde_json::Value>,
) -> Result<Response, Problem> {
    let (answer, claim) = match post.answered(&app).await? {
        Some(answer) => (answer, None),
        None => settle(&app, &principal, &id, &post, Settlement::Confirm).await?,
    };
    Ok(no_store(respond(with_code(&app, &bucket, &principal, answer, claim).await?)))
}

/// Releases a reservation, so that other users can get its code.
///
/// A release can be repeated. A confirmed claim can't be released (409).
#[utoipa::path(post, path = "/api/v1/claims/{id}/release", tag = "code-distribution",
    params(("id" = ClaimId, Path)), responses((status = OK, body = ClaimView)))]
pub async fn release(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<ClaimId>,
    post: Post<serde_json::Value>,
) -> Result<Response, Problem> {
    let (answer, _) = match post.answered(&app).await? {
        Some(answer) => (answer, None),
        None => settle(&app, &principal, &id, &post, Settlement::Release).await?,
    };
    Ok(respond(answer))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Settlement {
    Confirm,
    Release,
}

async fn settle(
    app: &App,
    principal: &Principal,
    id: &ClaimId,
    post: &Post<serde_json::Value>,
    settlement: Settlement,
) -> Result<Allotment, Problem> {
    retried(|| async {
        let claim = own(app, principal, id).await?;
        require_own_kind(&claim, principal)?;
        let pool = counter(app, principal, &id.pool()).await?.pool;
        require_claimer(&pool, principal)?;
        let now = app.now();
        let (settled, commit) = match (claim.status, settlement) {
            (ClaimStatus::Claimed, Settlement::Confirm) | (ClaimStatus::Released, Settlement::Release) => {
                (claim, claims::unchanged())
            }
            (ClaimStatus::Claimed, Settlement::Release) => {
                return Err(codes::problems::CLAIM_CONFIRMED.into());
            }
            (ClaimStatus::Released, Settlement::Confirm) => {
                return Err(Problem::because(
                    codes::problems::RESERVATION_LAPSED,
                    "The reservation was released.",
                ));
            }
            (ClaimStatus::Reserved, _) if !claim.is_current(now) => {
                return Err(codes::problems::RESERVATION_LAPSED.into());
            }
            (ClaimStatus::Reserved, Settlement::Confirm) => {
                require_promised(&pool, now)?;
                claims::confirm(&claim, now)
            }
            (ClaimStatus::Reserved, Settlement::Release) => {
                let text =
                    claim.code.clone().ok_or_else(|| Problem::unexpected("a reservation without a code"))?;
                claims::release(&claim, &text, now)
            }
        };
        let answer = ok(&settled)?;
        let committed = post.commit(app, commit, &answer).await?;
        Ok(allotment(committed, answer, settled))
    })
    .await
}

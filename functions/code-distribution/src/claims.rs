//! Codes given to people.
//!
//! One code a user and pool: asking again gives the same one. Answers are kept without the
//! code, and get it when they are sent. A reservation holds a code without showing it; what
//! was only held may go to somebody else.

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

/// How long a claimer who keeps losing to others goes on. Each loss is somebody else's gain,
/// so that it takes very many people at very few codes to come to that.
const PATIENCE: SignedDuration = SignedDuration::from_secs(5);

async fn counter(app: &App, principal: &Principal, id: &CodePoolId) -> Result<Counter, Problem> {
    let found = claims::counter(&app.table, &principal.account_id, id).await?;
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

/// Refuses a page where the pool's owner lets only servers claim.
fn require_claimer(pool: &CodePool, principal: &Principal) -> Result<(), Problem> {
    match pool.settings.claims {
        ClaimPolicy::ServerOnly if principal.is_publishable() => {
            Err(Problem::because(problems::SERVER_ONLY, "Only servers claim from this code pool."))
        }
        _ => Ok(()),
    }
}

/// Refuses a page that asks for what a server claimed or reserved: a page names whatever user it likes.
fn require_own_kind(claim: &Claim, principal: &Principal) -> Result<(), Problem> {
    if claim.by_server && principal.is_publishable() {
        return Err(of_server());
    }
    Ok(())
}

fn of_server() -> Problem {
    Problem::because(problems::SERVER_ONLY, "A server claimed or reserved this user's code.")
}

/// Whether there is a code to be had. Never gives one: links are followed by machines, too.
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
        (None, Some(shelf)) => claims::is_available(&app.table, &shelf, platform, now).await?,
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

/// Gives a user a code of the pool, or holds one with `reserve`.
///
/// 201: a code, or a reservation. 200: what the user has already. Asking without
/// `reserve` while one is reserved confirms it.
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
    let (counter, answered) = tokio::join!(counter(&app, &principal, &id), post.answered(&app));
    let counter = counter?;
    require_origin(&counter.pool.settings.allowed_origins, &client.headers)?;
    require_claimer(&counter.pool, &principal)?;
    let platform = platform_of(&counter.pool, post.body.platform);
    let request = platform.map(|platform| request(&principal, &post.body, &counter, platform));
    // What there is for the user is looked for while the request is counted.
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

/// A server that claims on behalf of people has one address for all of them.
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

/// An answer about a claim, without the code, and the claim unless it was made before.
type Allotment = (Answer, Option<Claim>);

fn allotment(committed: Committed, answer: Answer, claim: Claim) -> Allotment {
    match committed {
        Committed::Fresh => (answer, Some(claim)),
        Committed::Before(before) => (before, None),
    }
}

/// Makes the claim that is offered, or another one when somebody else was faster.
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
                let detail = format!("There is none for {} at the moment.", request.platform.name());
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
            // Somebody else took the code, or this user asked twice at once.
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

/// How long a reservation holds; `None` for a claim.
fn hold(counter: &Counter, principal: &Principal, reserve: Reserve) -> Option<SignedDuration> {
    let usual = counter.pool.settings.reservation_seconds.get();
    let seconds = match reserve {
        Reserve::No => return None,
        Reserve::Yes => usual,
        // A page holds no longer than the pool's owner would.
        Reserve::For(seconds) if principal.is_publishable() => seconds.get().min(usual),
        Reserve::For(seconds) => seconds.get(),
    };
    Some(SignedDuration::from_secs(i64::from(seconds)))
}

/// What was reserved was promised: a pause does not take it back.
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

/// Adds the code, which is not kept with answers, for its claimer to see.
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

/// A claim, with its code masked.
#[utoipa::path(get, path = "/api/v1/claims/{id}", tag = "code-distribution",
    params(("id" = ClaimId, Path)), responses((status = OK, body = ClaimView)))]
pub async fn get(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<ClaimId>,
) -> Result<axum::Json<ClaimView>, Problem> {
    Ok(axum::Json(ClaimView::masked(&own(&app, &principal, &id).await?)))
}

/// Makes a reservation a claim, and shows the code. Again, if it was done before.
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

/// Gives a reserved code back.
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
                    "The reservation was given back.",
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

//! Routes of customers and their cards.

use accounts::entities::AuditEntry;
use api::{
    App, Client, IfMatch, Json, List, PageQuery, PathId, Post, Principal, Problem, Query, created, etag,
    existing, merge_patch, problems, rate_limited, require_origin, respond, retried,
};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::{
    id::CustomerId,
    rate::Verdict,
    token::{SHOWN_FOR, Shown},
};
use stamps::{
    customer::Customer,
    customers::{self, EnrolContext, UpdateError},
    stamp::{Card, EnrolmentPolicy},
};
use table::Answer;

use crate::dto::{
    CardQuery, CardView, CustomerFilter, CustomerSettings, CustomerView, CustomerWithCard, EnrolledView,
    EnrolmentAccepted, EnrolmentRequest, ShownCardView, StampView,
};

/// Number of writes that enrol a new customer: customer, phone number and card.
const WRITES: usize = 3;

/// Reads a customer of the account. A customer of another account is not found (404).
pub async fn own(app: &App, principal: &Principal, id: &CustomerId) -> Result<Customer, Problem> {
    let found = customers::read(&app.table, &principal.account_id, id).await?;
    existing(found, "customer")
}

/// Enrols a customer in a program with a new card.
///
/// With a secret key or as a member: returns 201 for a new card and 200 if the customer already has a card of the
/// program.
///
/// With a publishable key: always returns the same 202, so that a page can't find out whether a number is enrolled.
/// The data from a page are provisional until they are confirmed. A page can't change the data of a known customer.
#[utoipa::path(post, path = "/api/v1/enrollments", tag = "stamp", request_body = EnrolmentRequest,
    responses((status = CREATED, body = EnrolledView), (status = OK, body = EnrolledView),
        (status = ACCEPTED, body = EnrolmentAccepted)))]
pub async fn enrol(
    State(app): State<App>,
    principal: Principal,
    client: Client,
    post: Post<EnrolmentRequest>,
) -> Result<Response, Problem> {
    let program = &post.body.program_id;
    let lookup = customers::enrol_context(&principal.account_id, program);
    let (context, answered) = post.look_up(&app, lookup).await?;
    let context = existing(context, "program")?;
    let settings = &context.program.settings;
    require_origin(&settings.allowed_origins, &client.headers)?;
    let by_page = principal.is_publishable();
    if by_page && settings.enrollment == EnrolmentPolicy::ServerOnly {
        return Err(Problem::because(problems::SERVER_ONLY, "Only servers enrol customers in this program."));
    }
    let verdict = limit(&app, &principal, &client, &context).await?;
    if let Some(answer) = answered? {
        return Ok(rate_limited(respond(answer), verdict));
    }
    if settings.is_paused() {
        return Err(stamps::problems::PROGRAM_PAUSED.into());
    }
    if !settings.countries.serve(&post.body.phone) {
        return Err(stamps::problems::COUNTRY_NOT_SERVED.into());
    }
    let enrolled = retried(|| async {
        let now = app.now();
        let (account, phone, said) =
            (context.account.id.clone(), post.body.phone.clone(), post.body.said(now));
        let new = match by_page {
            true => Customer::of_page(account, phone, said, program.clone(), now),
            false => Customer::new(account, phone, said, now),
        };
        let (known, there) = known(&app, &context, &post.body, by_page, &new.id).await?;
        let (commit, card, fresh) = match known {
            None => {
                let card = Card { provisional: by_page, ..Card::new(&context.program, new.id.clone(), now) };
                (customers::create(&context.signing, &new, &card), card, true)
            }
            Some(customer) => {
                let card = match &there {
                    None => {
                        Card { provisional: by_page, ..Card::new(&context.program, customer.id.clone(), now) }
                    }
                    Some(card) if card.provisional && !by_page => {
                        Card { provisional: false, updated_at: now, rev: card.rev + 1, ..card.clone() }
                    }
                    Some(card) => card.clone(),
                };
                // A page can't change the data of a known customer.
                let after = match by_page {
                    true => None,
                    false => customer.enrolled_again(post.body.said(now), now),
                };
                let audit = audit(&app, &principal, "customer.updated", &customer.id);
                let after = after.as_ref().map(|after| (after, &audit));
                let commit = customers::enrol(&customer, after, &card, there.as_ref());
                (commit, card, there.is_none())
            }
        };
        let answer = answer(&principal, &card, fresh)?;
        let commit = if by_page { commit.filled(WRITES) } else { commit };
        let committed = post.commit(&app, commit, &answer).await?;
        Ok(respond(committed.answer_or(answer)))
    });
    Ok(rate_limited(enrolled.await?, verdict))
}

/// Reads the customer with the phone number, and the customer's card of the program. For a page, known and unknown
/// numbers take the same calls, so that the response time does not reveal whether a number is enrolled. `nobody` is
/// an id that no customer has.
async fn known(
    app: &App,
    context: &EnrolContext,
    request: &EnrolmentRequest,
    by_page: bool,
    nobody: &CustomerId,
) -> Result<(Option<Customer>, Option<Card>), Problem> {
    let EnrolContext { account, signing, program } = context;
    if by_page {
        let found =
            customers::enrolled(&app.table, signing, &account.id, &request.phone, &program.id, nobody);
        return Ok(found.await?);
    }
    let known = customers::by_phone(&app.table, signing, &account.id, &request.phone).await?;
    let Some(customer) = known.into_iter().next() else { return Ok((None, None)) };
    let card = customers::card(&app.table, &customer.id, &program.id).await?;
    Ok((Some(customer), card))
}

/// Counts a request with a publishable key against the rate limit of its IP address. Requests of servers are not
/// counted, because a server sends the requests of all its customers from one address.
async fn limit(
    app: &App,
    principal: &Principal,
    client: &Client,
    context: &EnrolContext,
) -> Result<Option<Verdict>, Problem> {
    if !principal.is_publishable() {
        return Ok(None);
    }
    let caller = context.signing.pseudonym("ip", &client.line());
    let limit = context.account.limits.joins_per_ip_per_minute;
    app.limit(&principal.account_id, "enrol", &caller, limit).await.map(Some)
}

/// Returns the answer to an enrolment. The answer to a page does not tell whether the customer was enrolled before.
fn answer(principal: &Principal, card: &Card, fresh: bool) -> Result<Answer, Problem> {
    if principal.is_publishable() {
        let body = serde_json::to_string(&EnrolmentAccepted::new())?;
        return Ok(Answer { status: StatusCode::ACCEPTED.as_u16(), body, location: None });
    }
    let view = EnrolledView { customer_id: card.customer_id.clone(), program_id: card.program_id.clone() };
    if fresh {
        return created(format!("/api/v1/customers/{}", card.customer_id), &view);
    }
    Ok(Answer { status: StatusCode::OK.as_u16(), body: serde_json::to_string(&view)?, location: None })
}

/// Lists the customers of a program with their cards, oldest first.
///
/// With `phone`, the list contains only the customer with this phone number.
#[utoipa::path(get, path = "/api/v1/customers", tag = "stamp", params(CustomerFilter),
    responses((status = OK, body = List<CustomerWithCard>)))]
pub async fn list(
    State(app): State<App>,
    principal: Principal,
    Query(filter): Query<CustomerFilter>,
) -> Result<axum::Json<List<CustomerWithCard>>, Problem> {
    let page = PageQuery { cursor: filter.cursor, limit: filter.limit };
    let (cursor, limit) = (page.cursor()?, page.limit()?);
    let context =
        app.table.look_up(customers::enrol_context(&principal.account_id, &filter.program_id)).await?;
    let context = existing(context, "program")?;
    let cards = match &filter.phone {
        None => customers::of_program(&app.table, &filter.program_id, cursor, limit).await?,
        Some(phone) => {
            let mut cards = Vec::new();
            let known = customers::by_phone(&app.table, &context.signing, &context.account.id, phone).await?;
            for customer in known {
                cards.extend(customers::card(&app.table, &customer.id, &filter.program_id).await?);
            }
            table::Page { data: cards, next: None }
        }
    };
    let now = app.now();
    let ids: Vec<_> = cards.data.iter().map(|card| card.customer_id.clone()).collect();
    let mut found = customers::batch(&app.table, &ids).await?;
    // A customer who is being erased has a card, but no item of its own any more.
    let data = cards.data.iter().filter_map(|card| {
        let customer = found.remove(&card.customer_id)?;
        Some(CustomerWithCard { customer: customer.into(), card: CardView::of(card, &context.program, now) })
    });
    let data = data.collect();
    Ok(axum::Json(table::Page { data, next: cards.next }.into()))
}

/// Returns a customer.
#[utoipa::path(get, path = "/api/v1/customers/{id}", tag = "stamp", params(("id" = CustomerId, Path)),
    responses((status = OK, body = CustomerView)))]
pub async fn get(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<CustomerId>,
) -> Result<Response, Problem> {
    let customer = own(&app, &principal, &id).await?;
    Ok((etag(customer.rev), axum::Json(CustomerView::from(customer))).into_response())
}

/// Changes the data of a customer (RFC 7396 merge patch).
///
/// The fields in the patch replace provisional data of the same name. A phone number of another customer is refused
/// (409 `phone-taken`).
#[utoipa::path(patch, path = "/api/v1/customers/{id}", tag = "stamp",
    params(("id" = CustomerId, Path), ("If-Match" = String, Header)),
    request_body(content = Object, content_type = "application/merge-patch+json"),
    responses((status = OK, body = CustomerView)))]
pub async fn patch(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<CustomerId>,
    seen: IfMatch,
    Json(patch): Json<serde_json::Value>,
) -> Result<Response, Problem> {
    let old = own(&app, &principal, &id).await?;
    seen.check(old.rev)?;
    let settings: CustomerSettings = merge_patch(&CustomerSettings::of(&old), &patch)?;
    let new = settings.applied_to(&old, &patch, app.now());
    let signing = accounts::signing_key(&app.table, &principal.account_id).await?;
    let audit = audit(&app, &principal, "customer.updated", &id);
    match customers::update(&app.table, &signing, &old, &new, &audit).await {
        Ok(()) => Ok((etag(new.rev), axum::Json(CustomerView::from(new))).into_response()),
        Err(UpdateError::PhoneTaken) => Err(stamps::problems::PHONE_TAKEN.into()),
        Err(UpdateError::Commit(error)) if error.is_condition() => Err(problems::PRECONDITION_FAILED.into()),
        Err(UpdateError::Commit(error)) => Err(error.into()),
    }
}

fn audit(app: &App, principal: &Principal, action: &str, id: &CustomerId) -> AuditEntry {
    AuditEntry::new(&principal.account_id, &principal.id, action, id.as_str(), app.now())
}

/// Erases a customer with all cards, stamps and rewards.
///
/// From then on the customer is not found (404). The cards, stamps and rewards are removed in the background. The
/// phone number can be enrolled again immediately, as a new customer.
#[utoipa::path(delete, path = "/api/v1/customers/{id}", tag = "stamp", params(("id" = CustomerId, Path)),
    responses((status = NO_CONTENT)))]
pub async fn erase(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<CustomerId>,
) -> Result<StatusCode, Problem> {
    retried(|| async {
        let customer = own(&app, &principal, &id).await?;
        let signing = accounts::signing_key(&app.table, &principal.account_id).await?;
        let audit = audit(&app, &principal, "customer.erased", &id);
        customers::begin_erase(&app.table, &signing, &customer, &audit, app.now()).await?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// Returns a customer's card of a program, with a token for the customer's QR code.
///
/// A token is valid for one visit within two minutes.
#[utoipa::path(get, path = "/api/v1/customers/{id}/card", tag = "stamp",
    params(("id" = CustomerId, Path), CardQuery), responses((status = OK, body = ShownCardView)))]
pub async fn card_of(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<CustomerId>,
    Query(query): Query<CardQuery>,
) -> Result<Response, Problem> {
    let till = app.table.look_up(stamps::till(&principal.account_id, &query.program_id, &id)).await?;
    let till = existing(till, "program or customer")?;
    let card = till.card.as_ref().ok_or(stamps::problems::NOT_ENROLLED)?;
    let now = app.now();
    let expires = now + SHOWN_FOR;
    let view = ShownCardView {
        card: CardView::of(card, &till.program, now),
        token: Shown::new(id, query.program_id).sign(&till.signing, expires),
        token_expires_at: expires,
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], axum::Json(view)).into_response())
}

/// Lists a customer's stamps in all programs, newest first.
#[utoipa::path(get, path = "/api/v1/customers/{id}/stamps", tag = "stamp",
    params(("id" = CustomerId, Path), PageQuery), responses((status = OK, body = List<StampView>)))]
pub async fn stamps_of(
    State(app): State<App>,
    principal: Principal,
    PathId(id): PathId<CustomerId>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<List<StampView>>, Problem> {
    own(&app, &principal, &id).await?;
    let found = stamps::list(&app.table, &id, page.cursor()?, page.limit()?).await?;
    Ok(axum::Json(found.map(StampView::from).into()))
}

//! Joining a waitlist.
//!
//! All spellings of one mailbox are the same address. Joining again with the same address does not add a second
//! subscriber. Without double opt-in, the response to a repeated join is the existing subscriber without its token.
//! With double opt-in, the response is the same for known and new addresses.

use accounts::entities::Account;
use api::{
    App, Client, Committed, Post, Principal, Problem, created, problems, rate_limited, require_origin,
    respond,
};
use axum::{extract::State, http::StatusCode, response::Response};
use domain::{
    id::SubscriberId,
    rate::Verdict,
    token::{self, Purpose},
};
use futures_util::future::OptionFuture;
use table::Answer;
use waitlists::{
    fraud::{Assessment, Origin},
    id::ReferralId,
    referral_code::ReferralCode,
    seats::{self, Seating},
    subscriber::{Referral, ReferralStatus, ReturnRequest, Subscriber, SubscriberStatus},
    subscribers::{self, JoinContext, JoinRefusal},
    waitlist::{EmailPolicy, VerificationPolicy},
};

use crate::dto::{JoinRequest, JoinedView, PendingView};

/// Maximum number of attempts to write a join. An attempt fails if another subscriber takes the free seat first, if
/// the generated referral code is taken, or if another request adds or changes the subscriber.
const ATTEMPTS: u32 = 10;

/// Adds a subscriber to a waitlist.
///
/// Returns 201 for a new subscriber and 200 if the address is already on the list. With double opt-in, returns the
/// same 202 for new and known addresses, and sends everything else by mail. If an address that is on the list has
/// not been verified, the response is 202 as well.
#[utoipa::path(post, path = "/api/v1/subscribers", tag = "subscriber", request_body = JoinRequest,
    responses((status = CREATED, body = JoinedView), (status = OK, body = JoinedView),
        (status = ACCEPTED, body = PendingView)))]
pub async fn join(
    State(app): State<App>,
    principal: Principal,
    client: Client,
    post: Post<JoinRequest>,
) -> Result<Response, Problem> {
    let request = &post.body;
    if request.is_robot() {
        return Ok(respond(pending_answer()?));
    }
    let code = request.referral_code();
    let lookup =
        subscribers::join_context(&principal.account_id, &request.waitlist_id, &request.email, code.as_ref());
    let (context, answered) = post.look_up(&app, lookup).await?;
    let context =
        context.ok_or_else(|| Problem::because(problems::NOT_FOUND, "There is no such waitlist."))?;
    require_origin(&context.waitlist.settings.allowed_origins, &client.headers)?;
    let policy = context.waitlist.settings.email_policy;
    let disposable = policy != EmailPolicy::Allow && request.email.is_disposable();
    let blocked = disposable && policy == EmailPolicy::Block;
    let limit = Limit::of(&principal, &client, &context);
    let enters = !blocked && enters_at_once(&context) && matches!(answered, Ok(None));
    let ahead = enters && !limit.as_ref().is_some_and(|limit| limit.has_refused(&app));
    let counted = OptionFuture::from(limit.as_ref().map(|limit| limit.count(&app)));
    let (verdict, found) = tokio::join!(counted, place(&app, &context, enters, ahead));
    let (mut place, failed) = match found {
        Ok(place) => (place, None),
        Err(problem) => (Place { seating: Seating::Unlimited, number: None }, Some(problem)),
    };
    let joined = async {
        let verdict = verdict.transpose()?;
        if let Some(answer) = answered? {
            return Ok(rate_limited(respond(with_token(answer, &context)?), verdict));
        }
        if let Some(problem) = failed {
            return Err(problem);
        }
        if !context.waitlist.accepts_joins() {
            return Err(waitlists::problems::WAITLIST_NOT_OPEN.into());
        }
        if blocked {
            return Err(waitlists::problems::DISPOSABLE_EMAIL.into());
        }
        let response = match &context.existing {
            _ if !opts_in(&context) => ask(&app, &post, &context, &client, disposable).await?,
            Some(existing) => again(&app, &post, &context, existing).await?,
            None => first(&app, &post, &context, &client, disposable, &mut place).await?,
        };
        Ok(rate_limited(response, verdict))
    };
    let joined = joined.await;
    if place.number.is_some()
        && let Err(error) = subscribers::waste_number(&app.table, &context.waitlist.id).await
    {
        tracing::warn!(cause = %error, "unused number in line not recorded");
    }
    joined
}

/// Rate limit of joins per IP address. The limit applies to publishable keys only, because a server that joins
/// people on their behalf sends all requests from one address.
struct Limit<'a> {
    account: &'a Account,
    caller: String,
}

impl<'a> Limit<'a> {
    const NAME: &'static str = "join";

    fn of(principal: &Principal, client: &Client, context: &'a JoinContext) -> Option<Self> {
        let caller = || context.signing.signing_key.pseudonym("ip", &client.line());
        principal.is_publishable().then(|| Self { account: &context.account, caller: caller() })
    }

    fn has_refused(&self, app: &App) -> bool {
        app.has_refused(&self.account.id, Self::NAME, &self.caller)
    }

    async fn count(&self, app: &App) -> Result<Verdict, Problem> {
        let limit = self.account.limits.joins_per_ip_per_minute;
        app.limit(&self.account.id, Self::NAME, &self.caller, limit).await
    }
}

/// Seat and number in line that are set aside for a new subscriber.
struct Place {
    seating: Seating,
    /// Number in line that was taken from the counter and that certainly no subscriber has.
    number: Option<u64>,
}

/// Returns true if the join may put the subscriber in line at once.
fn enters_at_once(context: &JoinContext) -> bool {
    opts_in(context) && context.existing.is_none() && context.waitlist.accepts_joins()
}

/// Looks for a free seat if the join enters the line. If the waitlist has no capacity and `ahead` is true, also
/// takes a number in line, so that this call runs at the same time as the rate limit's.
async fn place(app: &App, context: &JoinContext, enters: bool, ahead: bool) -> Result<Place, Problem> {
    let seating = match enters {
        true => seats::find(&app.table, &context.waitlist).await?,
        false => Seating::Unlimited,
    };
    let number = match seating {
        Seating::Unlimited if ahead => {
            Some(subscribers::take_number(&app.table, &context.waitlist.id).await?)
        }
        _ => None,
    };
    Ok(Place { seating, number })
}

/// Returns true if subscribers enter the line without verifying their address.
fn opts_in(context: &JoinContext) -> bool {
    context.waitlist.settings.verification_policy == VerificationPolicy::None
}

/// Requests the confirmation mail of a double opt-in.
///
/// The response time must not reveal whether the address is known. A known address therefore takes the same calls
/// as a new one, with the same number of writes: a read of the subscriber, even if there is none, and a transaction
/// in which [fillers](table::Filler) replace the items that already exist.
async fn ask(
    app: &App,
    post: &Post<JoinRequest>,
    context: &JoinContext,
    client: &Client,
    disposable: bool,
) -> Result<Response, Problem> {
    let answer = pending_answer()?;
    let mut existing = context.existing.clone();
    for _ in 0..ATTEMPTS {
        let fresh = new_subscriber(app, &post.body, context, client, disposable, None);
        let referral = new_referral(&fresh);
        let commit = match subscribers::find(&app.table, existing.as_ref().unwrap_or(&fresh.id)).await? {
            None => subscribers::join(&fresh, referral.as_ref(), None),
            Some(known) => {
                let rev = known.rev;
                subscribers::join_again(asking(app, known, &post.body).as_ref(), rev, referral.is_some())
            }
        };
        match post.commit(app, commit, &answer).await {
            Ok(committed) => return Ok(respond(committed.answer_or(answer))),
            Err(problem) => match problem.refusal(JoinRefusal::of) {
                // The generated code is taken, which has a probability of about 1 in 10^11: the next attempt
                // generates another.
                Some(JoinRefusal::CodeTaken) => {}
                // Another request added, changed or erased the subscriber with this address in the meantime.
                Some(JoinRefusal::Known) => {
                    existing =
                        subscribers::by_email(&app.table, &context.waitlist.id, &post.body.email).await?;
                }
                Some(JoinRefusal::SeatTaken) | None => return Err(problem.into()),
            },
        }
    }
    Err(problems::UNAVAILABLE.into())
}

/// Adds a subscriber without verification. If another request has just added the address, responds as for a known
/// address.
async fn first(
    app: &App,
    post: &Post<JoinRequest>,
    context: &JoinContext,
    client: &Client,
    disposable: bool,
    place: &mut Place,
) -> Result<Response, Problem> {
    match enter(app, post, context, client, disposable, place).await? {
        Some(answer) => Ok(respond(with_token(answer, context)?)),
        // Another request has added the same address in the meantime.
        None => {
            let winner = subscribers::by_email(&app.table, &context.waitlist.id, &post.body.email).await?;
            again(app, post, context, &winner.ok_or(problems::CONFLICT)?).await
        }
    }
}

/// Adds the subscriber in line. Returns `None` if the address is already on the list.
///
/// `place.number` keeps its value only if the number was certainly not used.
async fn enter(
    app: &App,
    post: &Post<JoinRequest>,
    context: &JoinContext,
    client: &Client,
    disposable: bool,
    place: &mut Place,
) -> Result<Option<Answer>, Problem> {
    for _ in 0..ATTEMPTS {
        let seat = match place.seating {
            Seating::Unlimited => None,
            Seating::Free(seat) => Some(seat),
            Seating::Full => {
                // A concurrent request with this address may have taken the last seat.
                let winner =
                    subscribers::by_email(&app.table, &context.waitlist.id, &post.body.email).await?;
                return winner.map(|_| None).ok_or_else(|| waitlists::problems::WAITLIST_FULL.into());
            }
        };
        let number = match place.number {
            Some(number) => number,
            None => *place.number.insert(subscribers::take_number(&app.table, &context.waitlist.id).await?),
        };
        let subscriber = Subscriber {
            seated: seat.is_some(),
            ..new_subscriber(app, &post.body, context, client, disposable, Some(number))
        };
        let referral = new_referral(&subscriber);
        let position = Some(context.position_of(number));
        let view = JoinedView::new(&subscriber, &context.waitlist, app.public_url(), position, None);
        let answer = created(format!("/api/v1/subscribers/{}", subscriber.id), &view)?;
        match post.commit(app, subscribers::join(&subscriber, referral.as_ref(), seat), &answer).await {
            Ok(Committed::Fresh) => {
                place.number = None;
                return Ok(Some(answer));
            }
            Ok(Committed::Before(before)) => return Ok(Some(before)),
            Err(problem) => match problem.refusal(JoinRefusal::of) {
                Some(JoinRefusal::Known) => return Ok(None),
                // The generated code is taken, which has a probability of about 1 in 10^11: the next attempt
                // generates another.
                Some(JoinRefusal::CodeTaken) => {}
                Some(JoinRefusal::SeatTaken) => {
                    place.seating = seats::find(&app.table, &context.waitlist).await?;
                }
                None => {
                    if problem.may_be_applied() {
                        // The write may have been applied: the number may belong to a subscriber.
                        place.number = None;
                    }
                    return Err(problem.into());
                }
            },
        }
    }
    Err(problems::UNAVAILABLE.into())
}

fn new_subscriber(
    app: &App,
    request: &JoinRequest,
    context: &JoinContext,
    client: &Client,
    disposable: bool,
    number: Option<u64>,
) -> Subscriber {
    let now = app.now();
    let key = &context.signing.signing_key;
    let pending = number.is_none();
    Subscriber {
        id: SubscriberId::new(now),
        account_id: context.account.id.clone(),
        waitlist_id: context.waitlist.id.clone(),
        email: request.email.clone(),
        name: request.name.clone(),
        metadata: request.metadata.clone(),
        consent: request.consent.at(now),
        source: request.source.clone(),
        status: if pending { SubscriberStatus::Pending } else { SubscriberStatus::Active },
        referral_code: ReferralCode::generate(),
        referred_by: context.referrer.clone(),
        number,
        seated: false,
        referrals: 0,
        places: 0,
        votes: 0,
        comments: 0,
        disposable,
        origin: Origin {
            network: client.network().map(|network| key.pseudonym("network", &network)),
            device: request.fingerprint.as_ref().map(|device| key.pseudonym("device", device.as_str())),
        },
        joined_at: now,
        verified_at: None,
        invited_at: None,
        converted_at: None,
        unsubscribed_at: None,
        return_request: None,
        return_requested_at: None,
        active_at: now,
        mail_requests: u32::from(pending),
        mail_requested_at: pending.then_some(now),
        rev: 1,
    }
}

/// Creates the referral through which the subscriber joined. The referral is confirmed at once if the subscriber
/// needs no verification. Returns `None` without a referrer.
fn new_referral(subscriber: &Subscriber) -> Option<Referral> {
    let confirmed = subscriber.status == SubscriberStatus::Active;
    subscriber.referred_by.as_ref().map(|referrer| Referral {
        id: ReferralId::of_referee(&subscriber.id),
        account_id: subscriber.account_id.clone(),
        waitlist_id: subscriber.waitlist_id.clone(),
        referrer_id: referrer.clone(),
        referee_id: subscriber.id.clone(),
        status: if confirmed { ReferralStatus::Confirmed } else { ReferralStatus::Pending },
        places: 0,
        disposable: subscriber.disposable,
        origin: subscriber.origin.clone(),
        assessment: Assessment::default(),
        created_at: subscriber.joined_at,
        credited_at: None,
        rev: 1,
    })
}

/// Responds to a join with an address that is already on the list: 202 if the subscriber is pending, otherwise 200.
async fn again(
    app: &App,
    post: &Post<JoinRequest>,
    context: &JoinContext,
    id: &SubscriberId,
) -> Result<Response, Problem> {
    let found = subscribers::read(&app.table, &context.account.id, id).await?.ok_or(problems::CONFLICT)?;
    // A subscriber who joined under double opt-in has to verify the address, even if the policy has changed since.
    let reveals = found.subscriber.status != SubscriberStatus::Pending;
    let answer = match reveals {
        true => {
            let position = found.position(&app.table).await?;
            let view =
                JoinedView::new(&found.subscriber, &context.waitlist, app.public_url(), position, None);
            let body = serde_json::to_string(&view)?;
            Answer { status: StatusCode::OK.as_u16(), body, location: None }
        }
        false => pending_answer()?,
    };
    // Mail only if the response does not show the subscriber, or to ask an unsubscribed subscriber to confirm a
    // return.
    let mails = !reveals || found.subscriber.unsubscribed_at.is_some();
    let rev = found.subscriber.rev;
    let asking = if mails { asking(app, found.subscriber, &post.body) } else { None };
    let commit = match asking {
        Some(asking) => subscribers::update(&asking, rev),
        None => subscribers::unchanged(),
    };
    match post.commit(app, commit, &answer).await {
        // The stored answer may be the 201 of this request's first execution, which contained the token.
        Ok(committed) => Ok(respond(with_token(committed.answer_or(answer), context)?)),
        // Another request changed the subscriber in the meantime. No mail is sent; the next join sends one.
        Err(problem) if problem.refusal(JoinRefusal::of) == Some(JoinRefusal::Known) => Ok(respond(answer)),
        Err(problem) => Err(problem.into()),
    }
}

/// Returns the subscriber with one more mail requested, or `None` if no further mail may be sent yet.
///
/// Anybody can type anybody's address, so mails are limited: at most one confirmation mail in 10 minutes, and at
/// most one mail in 24 hours that asks an unsubscribed subscriber to confirm a return. Every join of an
/// unsubscribed subscriber requests the latter, whichever key sends the join.
fn asking(app: &App, subscriber: Subscriber, request: &JoinRequest) -> Option<Subscriber> {
    let now = app.now();
    let subscriber = if subscriber.unsubscribed_at.is_none() {
        subscribers::may_mail_again(&subscriber, now).then_some(subscriber)?
    } else if subscribers::may_ask_to_return(&subscriber, now) {
        let return_request =
            Some(ReturnRequest { consent: request.consent.at(now), source: request.source.clone() });
        Subscriber { return_request, return_requested_at: Some(now), ..subscriber }
    } else {
        return None;
    };
    let rev = subscriber.rev + 1;
    Some(Subscriber { rev, ..subscriber.asking_for_mail(now) })
}

/// Returns the 202 of a join whose result is sent by mail.
fn pending_answer() -> Result<Answer, Problem> {
    let body = serde_json::to_string(&PendingView { status: SubscriberStatus::Pending })?;
    Ok(Answer { status: StatusCode::ACCEPTED.as_u16(), body, location: None })
}

/// Adds the subscriber's token to a 201. The token is computed from the id and is not stored with the answer.
fn with_token(answer: Answer, context: &JoinContext) -> Result<Answer, Problem> {
    if answer.status != StatusCode::CREATED.as_u16() {
        return Ok(answer);
    }
    let mut view: JoinedView = serde_json::from_str(&answer.body)?;
    view.token = Some(token::issue(&context.signing.signing_key, Purpose::Subscriber, &view.id, None));
    Ok(Answer { body: serde_json::to_string(&view)?, ..answer })
}

//! Joining a waitlist.
//!
//! Joining again with the same address, however it is spelled, makes no second
//! entry. Without double opt-in the answer is then the entry, without its token.
//! With double opt-in the answer never tells a known address from a new one.

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

/// How often an entry is tried to be made: others may take the seat that was free.
const ATTEMPTS: u32 = 10;

/// Puts somebody on a waitlist.
///
/// 201: a new entry. 200: the entry that the address already has. 202: the
/// waitlist wants the address verified, and whatever there is to say comes by mail.
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
    let context = subscribers::join_context(
        &app.table,
        &principal.account_id,
        &request.waitlist_id,
        &request.email,
        code.as_ref(),
    );
    let (context, answered) = tokio::join!(context, post.answered(&app));
    let context =
        context?.ok_or_else(|| Problem::because(problems::NOT_FOUND, "There is no such waitlist."))?;
    require_origin(&context.waitlist.settings.allowed_origins, &client.headers)?;
    let disposable = request.email.is_disposable();
    let blocked = disposable && context.waitlist.settings.email_policy == EmailPolicy::Block;
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
        tracing::warn!(cause = %error, "a number in line is skipped");
    }
    joined
}

/// How often pages may join people from one address. A server that joins people on their behalf has one address for all of
/// them.
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

/// Where somebody may come to stand.
struct Place {
    seating: Seating,
    /// A number that was taken, and at which certainly nobody stands.
    number: Option<u64>,
}

/// Whether the join may lead into the line at once.
fn enters_at_once(context: &JoinContext) -> bool {
    opts_in(context) && context.existing.is_none() && context.waitlist.accepts_joins()
}

/// Looks for a seat when the join may take one. A number is taken ahead where there are seats for all.
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

/// Whether joining is all it takes to be in line.
fn opts_in(context: &JoinContext) -> bool {
    context.waitlist.settings.verification_policy == VerificationPolicy::None
}

/// Asks for the mail of a double opt-in.
///
/// A known address takes the same calls as a new one, with as many writes, so that the time that the answer takes tells
/// no more than the answer: a read of the entry, whether there is one, and a transaction in which
/// [fillers](table::Filler) stand for the items that are there already.
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
                // A code that is taken already is a matter of one in 10^11: another is drawn.
                Some(JoinRefusal::CodeTaken) => {}
                // The address joined, or the entry was changed or erased, a moment ago.
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
        // The same address joined a moment ago.
        None => {
            let winner = subscribers::by_email(&app.table, &context.waitlist.id, &post.body.email).await?;
            again(app, post, context, &winner.ok_or(problems::CONFLICT)?).await
        }
    }
}

/// Makes the entry; `None` when the address has one by now. The place keeps its number when certainly nobody came to stand
/// there.
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
                // Perhaps it was this very address that took the last seat, a moment ago.
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
                // A code that is taken already is a matter of one in 10^11: another is drawn.
                Some(JoinRefusal::CodeTaken) => {}
                Some(JoinRefusal::SeatTaken) => {
                    place.seating = seats::find(&app.table, &context.waitlist).await?;
                }
                None => {
                    if problem.may_be_applied() {
                        // The number is left to the entry that there may be.
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

/// The referral that brought the subscriber; confirmed at once when there is nothing to verify.
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

/// Answers whoever is on the list already.
async fn again(
    app: &App,
    post: &Post<JoinRequest>,
    context: &JoinContext,
    id: &SubscriberId,
) -> Result<Response, Problem> {
    let found = subscribers::read(&app.table, &context.account.id, id).await?.ok_or(problems::CONFLICT)?;
    // Who joined under double opt-in has to verify, also when the policy has changed since.
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
    // An entry that is shown is not mailed as well.
    let mails = !reveals || found.subscriber.unsubscribed_at.is_some();
    let rev = found.subscriber.rev;
    let asking = if mails { asking(app, found.subscriber, &post.body) } else { None };
    let commit = match asking {
        Some(asking) => subscribers::update(&asking, rev),
        None => subscribers::unchanged(),
    };
    match post.commit(app, commit, &answer).await {
        // A join of before, by this very request, showed the token as well.
        Ok(committed) => Ok(respond(with_token(committed.answer_or(answer), context)?)),
        // Somebody else changed the entry just now; the next attempt mails.
        Err(problem) if problem.refusal(JoinRefusal::of) == Some(JoinRefusal::Known) => Ok(respond(answer)),
        Err(problem) => Err(problem.into()),
    }
}

/// The subscriber with one more mail asked for, unless that would annoy: anybody may type anybody's address. Somebody
/// who unsubscribed is asked whether to come back, whoever it is that joins.
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

fn pending_answer() -> Result<Answer, Problem> {
    let body = serde_json::to_string(&PendingView { status: SubscriberStatus::Pending })?;
    Ok(Answer { status: StatusCode::ACCEPTED.as_u16(), body, location: None })
}

/// Adds the token, which follows from the id and is not kept, to the answer about a new entry.
fn with_token(answer: Answer, context: &JoinContext) -> Result<Answer, Problem> {
    if answer.status != StatusCode::CREATED.as_u16() {
        return Ok(answer);
    }
    let mut view: JoinedView = serde_json::from_str(&answer.body)?;
    view.token = Some(token::issue(&context.signing.signing_key, Purpose::Subscriber, &view.id, None));
    Ok(Answer { body: serde_json::to_string(&view)?, ..answer })
}

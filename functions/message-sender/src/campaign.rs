//! Campaign messages: prepares them, takes them, and sends them at the pace of their sender.
//!
//! A message that can't be sent for a reason of its own ends in the status `refused`, with the reason. A failure that
//! affects all messages (the table, Twilio's credentials) is reported to SQS, which delivers the message again and
//! finally moves it to the dead-letter queue.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use ::codes::id::CodeId;
use campaigns::{
    campaign::{
        Body, Campaign, CampaignStatus, ContentSid, FREQUENCY_CAP, QuietHours, Send, SendReason, SendStatus,
        Subject, Template, Variables, fill, status_callback, values,
    },
    entities::{Cap, TwilioAccount},
    sends::{self, Addressee, Recipient, Taken},
};
use domain::{email::Email, id::SendId, phone::Phone};
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use messages::senders::{self, Lease, Sender};
use stamps::customer::Customer;
use tokio::sync::Semaphore;

use crate::{
    MessageSender, SendError, codes,
    mail::Mail,
    twilio::{Form, SendOutcome},
};

/// Time between two messages of a sender: 77.5 messages per second. WhatsApp allows 80 per second, counted at
/// arrival. The margin absorbs differences in transit time of up to 30 ms. New connections can exceed this
/// difference, so the first second of a campaign may be denser at arrival.
const PACE: SignedDuration = SignedDuration::from_micros(12_903);
/// Maximum delay of a message after its turn. A later message would come too close to the message of the next turn,
/// so the turn is lost. For mails, the maximum is the time between two turns if that is longer, because the pace of
/// campaigns is only a share of the sending rate of SES.
const MISSED: SignedDuration = SignedDuration::from_millis(20);
/// Maximum time for which a message that was taken and missed its turn waits for the next turn. If the next turn is
/// later, the message is given back and taken again before that turn, because a customer's opt-out counts until just
/// before the message is sent.
const MOMENT: SignedDuration = SignedDuration::from_millis(250);
/// Maximum time for which a worker waits for a turn. For mails, this time is longer, because SES answers at once.
const HORIZON: SignedDuration = SignedDuration::from_secs(10);
const MAIL_HORIZON: SignedDuration = SignedDuration::from_secs(25);
/// Time after the arrival of a batch within which its messages can get a turn. The turn is up to 10 s away, the
/// provider may take 20 s to answer, and Lambda ends a worker after 60 s.
const LAST_CALL: Duration = Duration::from_secs(20);
/// Delay before a message that got no turn is due again.
const RECESS: SignedDuration = SignedDuration::from_secs(1);
/// Time for which a sender sends nothing after the provider reported too many messages without naming a delay.
const REST: Duration = Duration::from_secs(5);
/// Maximum delay that a provider can ask for.
const LONGEST_REST: Duration = Duration::from_secs(60 * 60);
/// Time after which the worker of a message that was taken and has no outcome counts as lost.
const HANDED_OVER: SignedDuration = SignedDuration::from_mins(2);
/// Time for which a message with an unknown outcome waits for a callback of its provider.
const HEARD_WITHIN: SignedDuration = SignedDuration::from_hours(24);
/// Text of a consent that is withdrawn because the provider reports an opt-out.
const OPTED_OUT: &str = "said stop to the provider";
/// Maximum number of attempts at a conditional write of a message.
const ATTEMPTS: u32 = 10;
/// Number of messages that a worker handles at a time. At most this many messages are with the provider if the worker
/// dies.
const IN_FLIGHT: usize = 10;
/// Number of messages of a sender that a worker has taken, or is about to take, and has not handed over. The worker
/// leases at most this many turns at a time: the fewer turns it leases, the sooner a message that missed its turn
/// gets another one.
const HANDS: usize = 3;

/// Message in the form that its provider accepts.
enum Outgoing {
    Twilio { account: TwilioAccount, form: Form },
    Mail(Mail),
}

/// Sender with the rules of its turns: the time between turns, the maximum delay after a turn, and how far ahead
/// turns are leased.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turns {
    sender: Sender,
    pace: SignedDuration,
    missed: SignedDuration,
    horizon: SignedDuration,
}

/// Time before its turn at which a message is taken: the recent duration of taking, and a quarter more. So a message
/// is taken immediately before its hand-over, and is ready for its turn even if the table is slow.
pub(crate) struct Lead(AtomicI64);

impl Default for Lead {
    fn default() -> Self {
        Self(AtomicI64::new(50_000))
    }
}

impl Lead {
    /// Lower and upper bound of the lead, in microseconds. If taking takes a second, the table is practically
    /// unavailable.
    const BOUNDS: (i64, i64) = (5_000, 1_000_000);

    fn get(&self) -> SignedDuration {
        SignedDuration::from_micros(self.0.load(Ordering::Relaxed))
    }

    /// Adapts the lead to the latest duration of taking. The lead grows immediately and shrinks gradually.
    fn learn(&self, took: SignedDuration) {
        let took = i64::try_from(took.as_micros()).unwrap_or(i64::MAX);
        let needed = took.saturating_mul(5).saturating_div(4).clamp(Self::BOUNDS.0, Self::BOUNDS.1);
        let lead = self.0.load(Ordering::Relaxed);
        // Of two concurrent updates, one is lost. The lead is an estimate, so this is harmless.
        self.0.store(needed.max(lead - (lead - needed) / 4), Ordering::Relaxed);
    }
}

/// Turns of one sender that a worker has leased for the messages of its batch. A turn belongs to the worker, not to a
/// message: a turn that a message misses is lost, and the message gets the worker's next turn.
struct Line {
    turns: Turns,
    last_call: Instant,
    hands: Semaphore,
    /// Latest value of the sender's clock that the worker has seen. The lock is held while turns are leased for all
    /// messages.
    clock: tokio::sync::Mutex<Option<Timestamp>>,
    pool: Mutex<Pool>,
}

struct Pool {
    /// Leased turns that no message uses.
    turns: BTreeSet<Timestamp>,
    /// Number of messages without a turn.
    messages: usize,
}

impl Line {
    fn new(turns: Turns, messages: usize, last_call: Instant) -> Self {
        let pool = Mutex::new(Pool { turns: BTreeSet::new(), messages });
        Self { turns, last_call, hands: Semaphore::new(HANDS), clock: tokio::sync::Mutex::default(), pool }
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Assigns the worker's first turn at or after `from` to a message.
    fn claim(&self, from: Timestamp) -> Option<Timestamp> {
        let mut pool = self.pool();
        let turn = pool.turns.range(from..).next().copied()?;
        pool.turns.remove(&turn);
        pool.messages = pool.messages.saturating_sub(1);
        Some(turn)
    }

    /// Records that a message missed its turn and needs another one.
    fn missed(&self) {
        self.pool().messages += 1;
    }

    /// Gives back the turn of a message that is not sent, so that another message can use the turn.
    fn release(&self, turn: Timestamp) {
        self.pool().turns.insert(turn);
    }
}

/// Message that may be sent and waits for its turn.
struct Ready {
    send: Send,
    turns: Turns,
    customer: Customer,
    /// Code in the message.
    code_id: Option<CodeId>,
    /// Quiet hours of the recipient, checked again when the message is taken.
    quiet: Option<(QuietHours, TimeZone)>,
    outgoing: Outgoing,
}

/// Message that this worker has taken.
struct Held {
    send: Send,
    cap: Option<Cap>,
}

/// Decision about a message.
enum Judgement {
    /// The message waits, because its campaign is not active. Resuming the campaign queues the message again.
    Wait,
    /// The message is not sent now. Only its new state is written.
    Note(Box<Send>),
    /// The message may be sent.
    Go(Box<Ready>),
}

impl MessageSender {
    /// Sends messages. Returns the messages that SQS must deliver again, each with its error.
    pub(crate) async fn send_all(&self, ids: &[SendId]) -> Vec<(SendId, SendError)> {
        let last_call = Instant::now() + LAST_CALL;
        let mut failed = Vec::new();
        for ids in ids.chunks(IN_FLIGHT) {
            let prepared = ids.iter().cloned().map(|id| async move {
                let outcome = self.prepare(&id).await;
                (id, outcome)
            });
            let mut ready = BTreeMap::<Turns, Vec<Ready>>::new();
            for (id, outcome) in join_all(prepared).await {
                match outcome {
                    Ok(Some(message)) => ready.entry(message.turns.clone()).or_default().push(message),
                    Ok(None) => {}
                    Err(error) => failed.push((id, error)),
                }
            }
            let sent = ready.into_iter().map(|(turns, messages)| self.send_of(turns, messages, last_call));
            failed.extend(join_all(sent).await.into_iter().flatten());
        }
        failed
    }

    /// Prepares a message from the current items; `None` if there is nothing to send.
    async fn prepare(&self, id: &SendId) -> Result<Option<Ready>, SendError> {
        for attempt in 1..=ATTEMPTS {
            let now = Timestamp::now();
            let Some(sends::Sending { send, campaign }) = sends::read(&self.table, id).await? else {
                return Ok(None);
            };
            if send.status != SendStatus::Queued {
                return Ok(None);
            }
            match self.judge(&send, campaign, now).await? {
                Judgement::Wait => return Ok(None),
                Judgement::Go(ready) => return Ok(Some(*ready)),
                Judgement::Note(after) if sends::update(&self.table, &after).await? => return Ok(None),
                Judgement::Note(_) => table::back_off(attempt).await,
            }
        }
        Err(SendError::Busy)
    }

    async fn judge(
        &self,
        send: &Send,
        campaign: Option<Campaign>,
        now: Timestamp,
    ) -> Result<Judgement, SendError> {
        let refuse = |reason| Ok(Judgement::Note(Box::new(send.refused(reason, now))));
        let Some(campaign) = campaign.filter(|campaign| !campaign.deleting) else {
            return refuse(SendReason::CampaignEnded);
        };
        if campaign.status != CampaignStatus::Active && !send.test {
            return Ok(Judgement::Wait);
        }
        let recipient = match sends::addressee(&self.table, send).await? {
            Addressee::Found(recipient) => recipient,
            Addressee::Gone(reason) => return refuse(reason),
        };
        if let Some(reason) = unwanted(&recipient) {
            return refuse(reason);
        }
        let zone = recipient.customer.time_zone.as_ref().unwrap_or(&campaign.settings.time_zone).zone();
        let quiet = campaign.settings.quiet_hours.filter(|_| !send.test).map(|hours| (hours, zone));
        if let Some(deferred) = put_off_by(&quiet, send, now) {
            return Ok(Judgement::Note(Box::new(deferred)));
        }
        // The address, the country and the cap are checked before a code is claimed, so that a message that is
        // refused for them uses up no code.
        let Some(route) = route(&campaign.settings.template, &recipient)? else {
            let provisional = recipient.customer.provisional.as_ref();
            let said = provisional.is_some_and(|provisional| provisional.email.is_some());
            return refuse(if said { SendReason::Unconfirmed } else { SendReason::NoAddress });
        };
        let countries = &recipient.program.settings.countries;
        if matches!(route, Route::Twilio { .. }) && !countries.serve(&recipient.customer.phone) {
            return refuse(SendReason::CountryNotServed);
        }
        let capped = recipient.cap.as_ref().is_some_and(|cap| cap.at + FREQUENCY_CAP > now);
        if capped && !send.test {
            return refuse(SendReason::FrequencyCap);
        }
        let code = match &campaign.settings.code_pool_id {
            None => None,
            Some(pool) => match codes::of(&self.table, send, pool).await? {
                Some(code) => Some(code),
                None => return refuse(SendReason::NoCode),
            },
        };
        let text = code.as_ref().map(|code| code.text.as_str());
        match self.compose(send, &recipient, route, text) {
            Ok((turns, outgoing)) => Ok(Judgement::Go(Box::new(Ready {
                send: Send { claim_id: code.as_ref().map(|code| code.claim_id.clone()), ..send.clone() },
                turns,
                customer: recipient.customer,
                code_id: code.map(|code| code.code_id),
                quiet,
                outgoing,
            }))),
            Err(reason) => refuse(reason),
        }
    }

    fn compose(
        &self,
        send: &Send,
        recipient: &Recipient,
        route: Route,
        code: Option<&str>,
    ) -> Result<(Turns, Outgoing), SendReason> {
        let customer = &recipient.customer;
        let values = values(customer, recipient.card.as_ref(), &recipient.program, code);
        let filled = |text: &str| fill(text, &values);
        let (account, sender, channel, content, text) = match route {
            Route::Mail { to, subject, text } => {
                let mail = Mail::of_campaign(
                    to.deliverable(),
                    &filled(subject.as_str()),
                    &filled(text.as_str()),
                    &recipient.signing,
                    &customer.id,
                    &self.public_url,
                );
                let sender = Sender::ses(self.from.clone());
                let pace = self.mail_pace;
                let turns = Turns { sender, pace, missed: pace.max(MISSED), horizon: MAIL_HORIZON };
                return Ok((turns, Outgoing::Mail(mail)));
            }
            Route::Twilio { account, sender, channel, content, text } => {
                (account, sender, channel, content, text)
            }
        };
        let from = format!("{channel}{}", sender.as_str());
        let sender = account.sender(from.clone());
        let turns = Turns { sender, pace: PACE, missed: MISSED, horizon: HORIZON };
        let mut form = vec![("From", from), ("To", format!("{channel}{}", customer.phone.as_str()))];
        if let Some((sid, variables)) = content {
            form.push(("ContentSid", sid.as_str().to_owned()));
            let variables: BTreeMap<&String, String> =
                variables.iter().map(|(name, value)| (name, filled(value))).collect();
            // Twilio refuses empty variables.
            if variables.values().any(|value| value.trim().is_empty()) {
                return Err(SendReason::EmptyVariable);
            }
            if !variables.is_empty() {
                form.push(("ContentVariables", serde_json::json!(variables).to_string()));
            }
        }
        if let Some(text) = text {
            form.push(("Body", filled(text.as_str())));
        }
        let callback = status_callback(&self.public_url, &send.account_id, &send.id, send.put_off);
        form.push(("StatusCallback", callback));
        Ok((turns, Outgoing::Twilio { account: account.clone(), form }))
    }

    /// Sends the messages of one sender, each at its turn.
    async fn send_of(
        &self,
        turns: Turns,
        messages: Vec<Ready>,
        last_call: Instant,
    ) -> Vec<(SendId, SendError)> {
        let line = &Line::new(turns, messages.len(), last_call);
        let sent = messages.into_iter().map(|message| async move {
            let id = message.send.id.clone();
            let outcome = self.send_one(message, line).await;
            outcome.err().map(|error| (id, error))
        });
        join_all(sent).await.into_iter().flatten().collect()
    }

    /// Returns the worker's first turn that is at least `from` away. If the worker has none, leases the next turns of
    /// the sender in one write, for as many messages as can be taken. After `last_call`, no new turns are leased.
    async fn turn(&self, line: &Line, from: SignedDuration) -> Result<Lease, SendError> {
        if let Some(turn) = line.claim(Timestamp::now() + from) {
            return Ok(Lease::From(turn));
        }
        let mut clock = line.clock.lock().await;
        let now = Timestamp::now();
        if let Some(turn) = line.claim(now + from) {
            return Ok(Lease::From(turn));
        }
        if Instant::now() > line.last_call {
            return Ok(Lease::Later(now + RECESS));
        }
        let Turns { sender, pace, missed, horizon } = &line.turns;
        let wanted = {
            let mut pool = line.pool();
            pool.turns = pool.turns.split_off(&(now - *missed));
            pool.messages.saturating_sub(pool.turns.len()).clamp(1, HANDS)
        };
        let count = i32::try_from(wanted).unwrap_or(i32::MAX);
        // Leasing takes a call to the table, and so does taking: the first turn is at least two leads away.
        let earliest = now + self.lead.get() * 2;
        let lease =
            senders::lease(&self.table, sender, *pace, count.unsigned_abs(), *horizon, earliest, *clock)
                .await;
        let lease = lease.map_err(|error| SendError::Pace(error.to_string()))?;
        let Lease::From(first) = lease else {
            if let Lease::Later(at) = lease {
                *clock = (*clock).max(Some(at));
            }
            return Ok(lease);
        };
        *clock = (*clock).max(Some(first + *pace * count));
        let mut pool = line.pool();
        pool.turns.extend((1..count).map(|position| first + *pace * position));
        pool.messages = pool.messages.saturating_sub(1);
        Ok(Lease::From(first))
    }

    /// Takes a message immediately before its turn and hands the message over at its turn. A message that misses its
    /// turn gets the next turn.
    async fn send_one(&self, mut message: Ready, line: &Line) -> Result<(), SendError> {
        // The semaphore is never closed, so this can't fail.
        let hand = line.hands.acquire().await;
        let mut held: Option<Held> = None;
        loop {
            // A message that is already taken can use a turn that is now, or was missed by less than the maximum
            // delay.
            let lead = self.lead.get();
            let from = if held.is_some() { -line.turns.missed } else { lead / 2 };
            let at = match self.turn(line, from).await {
                Ok(Lease::From(at)) => at,
                Ok(Lease::Later(at)) => return self.put_off(message.send, held, at).await,
                Err(error) => {
                    if let Some(taken) = held {
                        self.give_back(taken).await?;
                    }
                    return Err(error);
                }
            };
            if let Some(early) = held.take_if(|_| at.duration_since(Timestamp::now()) > MOMENT) {
                let Some(send) = self.give_back(early).await? else { return Ok(()) };
                message.send = send;
            }
            let is_gone = || Timestamp::now().duration_since(at) > line.turns.missed;
            if held.is_none() {
                let due = Timestamp::now().max(at - lead);
                until(due).await;
                if is_gone() {
                    line.missed();
                    continue;
                }
                let taken = self.take(&message).await;
                self.lead.learn(Timestamp::now().duration_since(due));
                match taken {
                    Ok(Some(taken)) => held = Some(taken),
                    other => {
                        line.release(at);
                        return other.map(drop);
                    }
                }
            }
            until(at).await;
            if let Some(taken) = held.take_if(|_| !is_gone()) {
                drop(hand);
                return self.hand_over(&message, taken).await;
            }
            line.missed();
        }
    }

    /// Takes a message if it may still be sent; otherwise writes the reason why not.
    async fn take(&self, message: &Ready) -> Result<Option<Held>, SendError> {
        let now = Timestamp::now();
        let send = &message.send;
        if let Some(deferred) = put_off_by(&message.quiet, send, now) {
            sends::update(&self.table, &deferred).await?;
            return Ok(None);
        }
        let code = message.code_id.as_ref();
        match sends::take(&self.table, send, &message.customer, code, now + HANDED_OVER, now).await? {
            Taken::Yes(send, cap) => Ok(Some(Held { send: *send, cap })),
            Taken::Capped => {
                sends::update(&self.table, &send.refused(SendReason::FrequencyCap, now)).await?;
                Ok(None)
            }
            // If another worker has the message, nothing is left to do. If the customer has changed, the message is
            // still queued, and SQS must deliver it again.
            Taken::Overtaken => match sends::read(&self.table, &send.id).await? {
                Some(found) if found.send.status == SendStatus::Queued => Err(SendError::Busy),
                _ => Ok(None),
            },
        }
    }

    async fn hand_over(&self, message: &Ready, held: Held) -> Result<(), SendError> {
        let answer = match &message.outgoing {
            Outgoing::Mail(mail) => self.hand_over_mail(mail).await,
            Outgoing::Twilio { account, form } => {
                self.twilio.send(&account.account_sid, account.auth_token.reveal(), form).await
            }
        };
        let now = Timestamp::now();
        match answer {
            SendOutcome::Taken { sid } => {
                let sent = Send { provider_id: Some(sid), sent_at: Some(now), ..held.send };
                self.settle(&sent, SendStatus::Sent).await
            }
            SendOutcome::Unknown(cause) => {
                tracing::warn!(send = %held.send.id, cause, "outcome of a campaign message unknown");
                self.settle(&held.send, SendStatus::Unknown).await
            }
            SendOutcome::Refused { code } => {
                let reason = code.map_or(SendReason::Provider, SendReason::of_provider);
                if reason == SendReason::OptedOut {
                    let customer = &held.send.customer_id;
                    let noted =
                        stamps::customers::set_consent(&self.table, customer, false, OPTED_OUT, now).await;
                    if let Err(error) = noted {
                        // SQS delivers the message again, and the provider reports the opt-out again.
                        self.give_back(held).await?;
                        return Err(error.into());
                    }
                }
                let refused = Send { provider_code: code, ..held.send.refused(reason, now) };
                self.finish(&refused, held.cap.as_ref()).await
            }
            SendOutcome::TooMany { retry_after } => {
                let rest = retry_after.unwrap_or(REST).min(LONGEST_REST);
                let rest = SignedDuration::try_from(rest).unwrap_or(HORIZON);
                let stopped = senders::stop_until(&self.table, &message.turns.sender, now + rest).await;
                let send = Send { put_off: held.send.put_off + 1, ..held.send.clone() };
                self.put_off(send.clone(), Some(Held { send, ..held }), now + rest).await?;
                Ok(stopped?)
            }
            SendOutcome::NotSent(cause) => {
                self.give_back(held).await?;
                Err(SendError::Refused(cause))
            }
        }
    }

    /// Defers a message that was not sent, and gives it back if it was taken. The schedule queues the message again,
    /// even if `until` has passed by now, because the queue message is acknowledged.
    async fn put_off(&self, send: Send, held: Option<Held>, until: Timestamp) -> Result<(), SendError> {
        let now = Timestamp::now();
        let (send, cap) = match held {
            Some(held) => (Send { put_off: send.put_off, ..held.send }, held.cap),
            None => (send, None),
        };
        let after = Send { due_at: Some(until), ..send.now(SendStatus::Deferred, now) };
        self.finish(&after, cap.as_ref()).await
    }

    /// Gives back a message that was taken, so that this worker or another one can take it again. Returns the message
    /// after that; `None` if a callback has changed the message meanwhile, which means that it was sent.
    async fn give_back(&self, held: Held) -> Result<Option<Send>, SendError> {
        let queued = held.send.now(SendStatus::Queued, Timestamp::now());
        let given = sends::give_back(&self.table, &queued, held.cap.as_ref()).await?;
        Ok(given.then_some(queued))
    }

    async fn finish(&self, after: &Send, cap: Option<&Cap>) -> Result<(), SendError> {
        // If the message has changed, a callback has arrived: the message was sent after all, and keeps its new
        // state.
        sends::give_back(&self.table, after, cap).await?;
        Ok(())
    }

    /// Writes the outcome of a hand-over. A callback may have written a more advanced status meanwhile, which stays.
    async fn settle(&self, send: &Send, status: SendStatus) -> Result<(), SendError> {
        let mut current = send.clone();
        for attempt in 1..=ATTEMPTS {
            let now = Timestamp::now();
            let later = current.status.later(status);
            let after = Send {
                provider_id: send.provider_id.clone().or(current.provider_id.clone()),
                sent_at: current.sent_at.or(send.sent_at),
                due_at: (later == SendStatus::Unknown).then(|| now + HEARD_WITHIN),
                ..current.now(later, now)
            };
            if sends::update(&self.table, &after).await? {
                return Ok(());
            }
            match sends::read(&self.table, &send.id).await? {
                // The outcome of an attempt that a callback has deferred meanwhile is ignored.
                Some(found) if found.send.put_off == send.put_off => current = found.send,
                _ => return Ok(()),
            }
            table::back_off(attempt).await;
        }
        Err(SendError::Busy)
    }
}

async fn until(at: Timestamp) {
    let wait = at.duration_since(Timestamp::now());
    tokio::time::sleep(Duration::try_from(wait).unwrap_or_default()).await;
}

/// Returns the reason why the customer gets no campaign messages, if there is one.
fn unwanted(recipient: &Recipient) -> Option<SendReason> {
    let customer = &recipient.customer;
    let by_page = recipient.card.as_ref().is_some_and(|card| card.provisional);
    match customer.consent.granted {
        true if by_page => Some(SendReason::Unconfirmed),
        true => None,
        false if customer.is_consent_unconfirmed() => Some(SendReason::Unconfirmed),
        false => Some(SendReason::OptedOut),
    }
}

/// Returns the message, deferred to the end of quiet hours; `None` outside of quiet hours.
fn put_off_by(quiet: &Option<(QuietHours, TimeZone)>, send: &Send, now: Timestamp) -> Option<Send> {
    let over = quiet.as_ref().and_then(|(hours, zone)| hours.over(now, zone))?;
    Some(Send { due_at: Some(over), ..send.now(SendStatus::Deferred, now) })
}

/// Route of a message, with its contents.
enum Route<'a> {
    Mail {
        to: &'a Email,
        subject: &'a Subject,
        text: &'a Body,
    },
    Twilio {
        account: &'a TwilioAccount,
        sender: &'a Phone,
        /// Prefix of phone numbers.
        channel: &'static str,
        content: Option<(&'a ContentSid, &'a Variables)>,
        text: Option<&'a Body>,
    },
}

/// Returns the route for a template's channel; `None` if the customer has no address for the channel.
///
/// # Errors
/// [`SendError::NoSender`] if the account has no sender for the channel. The message stays queued, so that it can be
/// sent once the account has a sender.
fn route<'a>(template: &'a Template, recipient: &'a Recipient) -> Result<Option<Route<'a>>, SendError> {
    let twilio = |number: fn(&TwilioAccount) -> Option<&Phone>| {
        let account = recipient.twilio.as_ref().ok_or(SendError::NoSender)?;
        Ok::<_, SendError>((account, number(account).ok_or(SendError::NoSender)?))
    };
    Ok(match template {
        Template::Email { subject, text } => {
            recipient.customer.email.as_ref().map(|to| Route::Mail { to, subject, text })
        }
        Template::Whatsapp { content_sid, variables } => {
            let (account, sender) = twilio(|account| account.whatsapp_sender.as_ref())?;
            let content = Some((content_sid, variables));
            Some(Route::Twilio { account, sender, channel: "whatsapp:", content, text: None })
        }
        Template::Sms { content_sid, variables, text } => {
            let (account, sender) = twilio(|account| account.sms_sender.as_ref())?;
            let content = content_sid.as_ref().map(|sid| (sid, variables));
            Some(Route::Twilio { account, sender, channel: "", content, text: text.as_ref() })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lead_follows_what_taking_takes() {
        let lead = Lead::default();
        let millis = SignedDuration::from_millis;
        lead.learn(millis(100));
        assert_eq!(lead.get(), millis(125), "at once");
        for _ in 0..40 {
            lead.learn(millis(10));
        }
        assert!(lead.get() >= millis(12) && lead.get() < millis(13), "{:?}", lead.get());
        for _ in 0..40 {
            lead.learn(SignedDuration::ZERO);
        }
        assert!(lead.get() >= millis(5) && lead.get() < millis(6), "{:?}", lead.get());
        lead.learn(SignedDuration::MAX);
        assert_eq!(lead.get(), millis(1000));
    }

    #[test]
    fn a_turn_goes_to_the_first_message_that_can_make_it() {
        let at = |millis: i64| Timestamp::from_millisecond(millis).unwrap();
        let turns = Turns {
            sender: Sender::ses("a@example.com".to_owned()),
            pace: PACE,
            missed: MISSED,
            horizon: HORIZON,
        };
        let line = Line::new(turns, 3, Instant::now());
        line.pool().turns.extend([at(10), at(20), at(30)]);
        // A message that must be taken first, and a message that is already taken.
        assert_eq!(line.claim(at(15)), Some(at(20)));
        assert_eq!(line.claim(at(5)), Some(at(10)));
        assert_eq!((line.claim(at(31)), line.pool().messages), (None, 1));
        line.missed();
        line.release(at(20));
        assert_eq!(line.pool().messages, 2);
        assert_eq!(
            (line.claim(at(0)), line.claim(at(0)), line.claim(at(0))),
            (Some(at(20)), Some(at(30)), None)
        );
    }
}

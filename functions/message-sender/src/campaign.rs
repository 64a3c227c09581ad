//! Messages of campaigns: prepared, taken, sent at the sender's pace.
//!
//! What is wrong with a message is its own fate, noted with a reason. What is wrong with everything (the table,
//! Twilio's credentials) is reported, so that the queue brings the message again, and in the end to the
//! dead-letter queue.

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

/// Between two messages of a sender: 77.5 a second. WhatsApp allows 80, counted where they arrive: what is
/// between absorbs that some are on their way for longer than others, as long as that differs by less than
/// 30 ms. It does when connections are new: a campaign's first second may be denser there.
const PACE: SignedDuration = SignedDuration::from_micros(12_903);
/// A turn that is missed by more is gone, or two messages would come at once. For mails it is a turn's length: the pace
/// of campaigns is a share of what SES takes.
const MISSED: SignedDuration = SignedDuration::from_millis(20);
/// A message that was taken and missed its turn waits no longer for another one: what the customer says until a moment
/// before a message goes out counts.
const MOMENT: SignedDuration = SignedDuration::from_millis(250);
/// A worker waits so long for its turn. For that of a mail it can wait longer: SES answers at once.
const HORIZON: SignedDuration = SignedDuration::from_secs(10);
const MAIL_HORIZON: SignedDuration = SignedDuration::from_secs(25);
/// So long after its batch came a message may be given a turn: that is up to ten seconds away, the provider
/// may take twenty to answer, and Lambda ends a worker after sixty.
const LAST_CALL: Duration = Duration::from_secs(20);
/// What was given none comes again after this.
const RECESS: SignedDuration = SignedDuration::from_secs(1);
/// How long a sender rests when the provider says that there are too many, if it doesn't say how long.
const REST: Duration = Duration::from_secs(5);
/// The longest rest that a provider can ask for.
const LONGEST_REST: Duration = Duration::from_secs(60 * 60);
/// A message that is handed over longer ago has lost its worker.
const HANDED_OVER: SignedDuration = SignedDuration::from_mins(2);
/// How long something may be heard of a message whose outcome is unknown.
const HEARD_WITHIN: SignedDuration = SignedDuration::from_hours(24);
/// The words of a consent that is withdrawn by the provider's word.
const OPTED_OUT: &str = "said stop to the provider";
const ATTEMPTS: u32 = 10;
/// Messages of a worker at a time, and so the most that can be with the provider when the worker dies.
const IN_FLIGHT: usize = 10;
/// Messages of a sender that a worker has taken, or is about to take, and not handed over yet. So many turns it leases at
/// a time: the fewer, the sooner a message that missed its turn gets another.
const HANDS: usize = 3;

/// What leaves the house.
enum Outgoing {
    Twilio { account: TwilioAccount, form: Form },
    Mail(Mail),
}

/// The sender whose turns messages wait for, how turns follow each other, how late a message may be for one, and how far ahead they
/// are leased.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turns {
    sender: Sender,
    pace: SignedDuration,
    missed: SignedDuration,
    horizon: SignedDuration,
}

/// How long before its turn a message is taken: as long as that took of late, and a quarter longer. So it is taken
/// immediately before it is handed over, and in time for its turn on a slow day as well.
pub(crate) struct Lead(AtomicI64);

impl Default for Lead {
    fn default() -> Self {
        Self(AtomicI64::new(50_000))
    }
}

impl Lead {
    /// Microseconds. When taking takes a second the table is as good as away.
    const BOUNDS: (i64, i64) = (5_000, 1_000_000);

    fn get(&self) -> SignedDuration {
        SignedDuration::from_micros(self.0.load(Ordering::Relaxed))
    }

    /// Gets longer at once, and shorter by and by.
    fn learn(&self, took: SignedDuration) {
        let took = i64::try_from(took.as_micros()).unwrap_or(i64::MAX);
        let needed = took.saturating_mul(5).saturating_div(4).clamp(Self::BOUNDS.0, Self::BOUNDS.1);
        let lead = self.0.load(Ordering::Relaxed);
        // Of two that learn at once one is forgotten.
        self.0.store(needed.max(lead - (lead - needed) / 4), Ordering::Relaxed);
    }
}

/// The turns of one sender that a worker has for the messages of a batch. A turn is the worker's, not a message's: one
/// that a message misses is lost, and that message gets the worker's next one.
struct Line {
    turns: Turns,
    last_call: Instant,
    hands: Semaphore,
    /// The latest time that the sender's clock was seen to show. Held by whoever leases turns, for all messages.
    clock: tokio::sync::Mutex<Option<Timestamp>>,
    pool: Mutex<Pool>,
}

struct Pool {
    /// Turns that no message has.
    turns: BTreeSet<Timestamp>,
    /// Messages that have no turn.
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

    /// The worker's first turn from then on, for a message.
    fn claim(&self, from: Timestamp) -> Option<Timestamp> {
        let mut pool = self.pool();
        let turn = pool.turns.range(from..).next().copied()?;
        pool.turns.remove(&turn);
        pool.messages = pool.messages.saturating_sub(1);
        Some(turn)
    }

    /// Takes note that a message missed its turn.
    fn missed(&self) {
        self.pool().messages += 1;
    }

    /// Takes note that a message which has a turn is not sent: another may have it.
    fn release(&self, turn: Timestamp) {
        self.pool().turns.insert(turn);
    }
}

/// A message that is wanted, and waits for its turn.
struct Ready {
    send: Send,
    turns: Turns,
    customer: Customer,
    /// That it tells.
    code_id: Option<CodeId>,
    /// Kept until the message is taken.
    quiet: Option<(QuietHours, TimeZone)>,
    outgoing: Outgoing,
}

/// A message that was taken.
struct Held {
    send: Send,
    cap: Option<Cap>,
}

/// What is to be done with a message.
enum Judgement {
    /// Nothing, until somebody asks again.
    Wait,
    /// Only to note it.
    Note(Box<Send>),
    Go(Box<Ready>),
}

impl MessageSender {
    /// Sends messages; gives those that have to come again, with why.
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

    /// What is wanted of a message as things are now; `None` when nothing more is.
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
        // Codes are for those who will get the message.
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
            // Twilio refuses them.
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

    /// The worker's first turn from then on. If there is none, the next turns of the sender are leased in one write, for
    /// as many messages as can be taken. Nothing is given a turn after the last call.
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
        // Leasing takes a call as taking does.
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

    /// Takes a message immediately before its turn, and hands it over when that comes. If the message misses the turn, it
    /// gets the next one.
    async fn send_one(&self, mut message: Ready, line: &Line) -> Result<(), SendError> {
        // It is never closed.
        let hand = line.hands.acquire().await;
        let mut held: Option<Held> = None;
        loop {
            // One that is taken already can go at once.
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

    /// Takes a message, if it still is wanted; otherwise notes why not.
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
            // Somebody else has it, or the customer has changed: then the queue brings it again.
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
                tracing::warn!(send = %held.send.id, cause, "outcome unknown");
                self.settle(&held.send, SendStatus::Unknown).await
            }
            SendOutcome::Refused { code } => {
                let reason = code.map_or(SendReason::Provider, SendReason::of_provider);
                if reason == SendReason::OptedOut {
                    let customer = &held.send.customer_id;
                    let noted =
                        stamps::customers::set_consent(&self.table, customer, false, OPTED_OUT, now).await;
                    if let Err(error) = noted {
                        // The message comes again, and the provider says it again.
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

    /// Puts a message off that was not sent, given back if it was taken. From then on it is the schedule that has
    /// it queued again, even if its time is over by now: the queue forgets it.
    async fn put_off(&self, send: Send, held: Option<Held>, until: Timestamp) -> Result<(), SendError> {
        let now = Timestamp::now();
        let (send, cap) = match held {
            Some(held) => (Send { put_off: send.put_off, ..held.send }, held.cap),
            None => (send, None),
        };
        let after = Send { due_at: Some(until), ..send.now(SendStatus::Deferred, now) };
        self.finish(&after, cap.as_ref()).await
    }

    /// Gives back a message that was taken, for whoever has it now or for the queue to bring again, as it is then;
    /// `None` when something was heard of it: then it was sent.
    async fn give_back(&self, held: Held) -> Result<Option<Send>, SendError> {
        let queued = held.send.now(SendStatus::Queued, Timestamp::now());
        let given = sends::give_back(&self.table, &queued, held.cap.as_ref()).await?;
        Ok(given.then_some(queued))
    }

    async fn finish(&self, after: &Send, cap: Option<&Cap>) -> Result<(), SendError> {
        // When it has changed, something was heard of it: then it was sent after all.
        sends::give_back(&self.table, after, cap).await?;
        Ok(())
    }

    /// Notes the outcome; the provider may have said more about it in the meantime.
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
                // Of an attempt that was put off nothing is wanted any more.
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

/// Why the customer gets no messages of campaigns, if so.
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

/// The message, put off to the end of quiet hours.
fn put_off_by(quiet: &Option<(QuietHours, TimeZone)>, send: &Send, now: Timestamp) -> Option<Send> {
    let over = quiet.as_ref().and_then(|(hours, zone)| hours.over(now, zone))?;
    Some(Send { due_at: Some(over), ..send.now(SendStatus::Deferred, now) })
}

/// Which way a message goes, and what it says there.
enum Route<'a> {
    Mail {
        to: &'a Email,
        subject: &'a Subject,
        text: &'a Body,
    },
    Twilio {
        account: &'a TwilioAccount,
        sender: &'a Phone,
        /// What stands before numbers.
        channel: &'static str,
        content: Option<(&'a ContentSid, &'a Variables)>,
        text: Option<&'a Body>,
    },
}

/// The way of a template's channel; `None` when the customer has no address there.
///
/// # Errors
/// Without anybody who sends. That is the account's trouble, not the message's: it is sent when there is somebody
/// again.
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
        // One that has to be taken first, and one that is taken already.
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

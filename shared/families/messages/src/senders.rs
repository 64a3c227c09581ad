//! Turns of senders: the pace at which a sender may send messages, and stops of senders.

use domain::secret;
use jiff::{SignedDuration, Timestamp};
use table::{
    Key, Table, TableError,
    counters::{Clock, Moved},
};

use crate::{entities::sender_key, patterns};

/// A sender: an account at a provider and one of its addresses. Several accounts of the platform can share a sender,
/// and then share its pace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sender {
    account: String,
    address: String,
}

impl Sender {
    /// Returns the sender of an address of an account at a provider. A hash of the account's token is part of the
    /// sender, because anybody can name a provider's account without having its token.
    pub fn at_provider(account: &str, token: &str, address: String) -> Self {
        let proof = secret::sha256(token.as_bytes());
        Self { account: format!("{account}:{}", &proof[..16]), address }
    }

    /// Returns the sender of all mails of campaigns: one address of one account at Amazon SES.
    pub fn ses(address: String) -> Self {
        Self { account: "ses".to_owned(), address }
    }

    /// Returns the sender that stands for the whole account at Amazon SES. It is stopped while SES accepts no mail
    /// from the account.
    pub fn ses_account() -> Self {
        Self { account: "ses-account".to_owned(), address: "all".to_owned() }
    }

    pub(crate) fn key(&self) -> Key {
        sender_key(&self.account, &self.address)
    }
}

/// Lease of turns, which are times at which a sender may send one message each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// Time of the first turn; the other turns follow at the sender's pace.
    From(Timestamp),
    /// No turn was leased, because all turns within the horizon are taken or the sender is stopped. Try again at
    /// this time.
    Later(Timestamp),
}

/// Leases the next `count` turns of a sender, if they begin within `horizon`.
///
/// Each sender has one clock, which all workers move forward, so no two workers lease the same turn. `seen` is the
/// latest time that the caller has seen on the clock. A clock never goes back. If `seen` is ahead of `now`, the
/// clock is too, and the lease usually takes one write. Without `seen`, the lease of a busy sender takes two writes:
/// the condition of the first one fails.
pub async fn lease(
    table: &Table,
    sender: &Sender,
    pace: SignedDuration,
    count: u32,
    horizon: SignedDuration,
    now: Timestamp,
    seen: Option<Timestamp>,
) -> Result<Lease, TableError> {
    let key = sender.key();
    let micros = |duration: SignedDuration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    let step = micros(pace).saturating_mul(i64::from(count));
    let at = |micros: i64| Timestamp::from_microsecond(micros).unwrap_or(now);
    let (start, latest) = (now.as_microsecond(), now.as_microsecond().saturating_add(micros(horizon)));
    if let Some(seen) = seen.filter(|seen| seen.as_microsecond() > latest) {
        return Ok(Lease::Later(seen));
    }
    let mut clock = match seen {
        Some(seen) if seen > now => Clock::GoesOn { latest },
        _ => Clock::Restarted { at: start },
    };
    loop {
        match table.move_clock(&table::patterns::RATE, &key, clock, step).await? {
            Moved::To(next) => return Ok(Lease::From(at(next - step))),
            Moved::Not { stands: next } if next > latest => return Ok(Lease::Later(at(next))),
            Moved::Not { stands: next } if next > start => clock = Clock::GoesOn { latest },
            Moved::Not { .. } => clock = Clock::Restarted { at: start },
        }
    }
}

/// Stops a sender: no turn is leased before `until`.
pub async fn stop_until(table: &Table, sender: &Sender, until: Timestamp) -> Result<(), TableError> {
    let clock = Clock::Restarted { at: until.as_microsecond() };
    table.move_clock(&table::patterns::RATE, &sender.key(), clock, 0).await.map(drop)
}

/// Returns the time until which a sender was stopped last, which may be in the past. Returns `None` if there was no
/// stop, or the clock has expired: it is kept for three minutes after that time.
pub async fn stopped_until(table: &Table, sender: &Sender) -> Result<Option<Timestamp>, TableError> {
    table.clock(&patterns::SENDER_STOPPED, &sender.key()).await
}

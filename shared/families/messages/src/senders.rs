//! Whose turn it is: the pace of a sender's messages, and senders that are stopped.

use domain::secret;
use jiff::{SignedDuration, Timestamp};
use table::{
    Key, Table, TableError,
    counters::{Clock, Moved},
};

use crate::{entities::sender_key, patterns};

/// Who sends: an account at a provider and one of its addresses, whoever uses it here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sender {
    account: String,
    address: String,
}

impl Sender {
    /// One of an account's addresses at a provider, of whoever has the account's token: its name alone can be used by
    /// anybody.
    pub fn at_provider(account: &str, token: &str, address: String) -> Self {
        let proof = secret::sha256(token.as_bytes());
        Self { account: format!("{account}:{}", &proof[..16]), address }
    }

    /// All mails of campaigns: one account at Amazon SES sends them.
    pub fn ses(address: String) -> Self {
        Self { account: "ses".to_owned(), address }
    }

    /// The account at Amazon SES, whatever it sends: stopped while SES takes no mail of it.
    pub fn ses_account() -> Self {
        Self { account: "ses-account".to_owned(), address: "all".to_owned() }
    }

    pub(crate) fn key(&self) -> Key {
        sender_key(&self.account, &self.address)
    }
}

/// Times at which a sender may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// The first of them; the others follow at the pace.
    From(Timestamp),
    /// All are taken for some time, or the sender is stopped: come back then.
    Later(Timestamp),
}

/// Takes the next `count` times at which a sender may send, if they begin within `horizon`.
///
/// There is one clock for each sender, which all workers move: no two of them have the same time. `seen` is a time that
/// the caller has seen the clock show. A clock never goes back, so one that was seen ahead of `now` still is, and the
/// lease is at most one write whose condition holds. Otherwise that of a busy sender is a failed write and a second one.
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

/// Lets a sender send nothing until then.
pub async fn stop_until(table: &Table, sender: &Sender, until: Timestamp) -> Result<(), TableError> {
    let clock = Clock::Restarted { at: until.as_microsecond() };
    table.move_clock(&table::patterns::RATE, &sender.key(), clock, 0).await.map(drop)
}

/// Until when a sender was stopped last; `None` when that is long over.
pub async fn stopped_until(table: &Table, sender: &Sender) -> Result<Option<Timestamp>, TableError> {
    table.clock(&patterns::SENDER_STOPPED, &sender.key()).await
}

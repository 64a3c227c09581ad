//! The seats of a waitlist with a capacity.
//!
//! A subscriber takes a seat in the transaction that brings it in line, and gives it back in the one that erases it:
//! whatever becomes of a request, seats and subscribers agree. The taken seats are counted by [`SHARDS`] counters,
//! because transactions that change one item conflict. Seats are alike: it is their sum that counts, each counter has
//! a bound, and the bounds add up to the capacity. See `docs/adr/0022-seats-in-the-transaction.md`.

use domain::secret;
use table::{Commit, CounterIs, Key, Table, TableError, back_off, counters::counters_of};

use crate::{
    counted::{SEATED, members},
    entities::{seats_key, waitlist_stats_key},
    id::WaitlistId,
    patterns,
    waitlist::Waitlist,
};

/// Counters of a waitlist's taken seats.
const SHARDS: usize = 16;
/// How often the counters may change while they are made level.
const ATTEMPTS: u32 = 10;
/// The attribute of a counter.
const TAKEN: &str = "taken";
/// The label of the write that takes a seat.
pub(crate) const LABEL: &str = "seat";

/// A seat that was free when it was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    shard: usize,
    /// The bound of its counter.
    below: i64,
}

/// The seat, if any, for a subscriber who wants to enter the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seating {
    /// The waitlist has no capacity.
    Unlimited,
    Free(Seat),
    Full,
}

/// Looks for a free seat.
///
/// Subscribers who came without a seat, because the waitlist had no capacity then, are known by the numbers that the
/// projector keeps.
pub async fn find(table: &Table, waitlist: &Waitlist) -> Result<Seating, TableError> {
    let Some(capacity) = waitlist.settings.capacity else { return Ok(Seating::Unlimited) };
    let id = &waitlist.id;
    let stats_key = waitlist_stats_key(id);
    let keys: Vec<Key> = keys(id).chain([stats_key.clone()]).collect();
    for attempt in 1..=ATTEMPTS {
        let found = table.batch_get(&patterns::SEATS, &keys).await?;
        let counters = |key: &Key| found.get(key).map(counters_of).unwrap_or_default();
        let stats = counters(&stats_key);
        let unseated = members(&stats) - stats.get(SEATED).copied().unwrap_or_default();
        let taken: Vec<Option<i64>> =
            keys[..SHARDS].iter().map(|key| counters(key).get(TAKEN).copied()).collect();
        let seats = i64::from(capacity.get()) - unseated;
        let counts: Vec<i64> = taken.iter().map(|taken| taken.unwrap_or_default()).collect();
        if counts.iter().sum::<i64>() >= seats {
            return Ok(Seating::Full);
        }
        let moves = level(&counts, seats);
        if moves.iter().all(|by| *by == 0) {
            let [high, low] = secret::random::<2>();
            return Ok(Seating::Free(pick(&counts, seats, u16::from_be_bytes([high, low]))));
        }
        if make_level(id, &taken, &moves).applies(table).await? {
            continue;
        }
        back_off(attempt).await;
    }
    let detail = "others keep taking seats".to_owned();
    Err(TableError::Unavailable { operation: "BatchGetItem", detail })
}

/// Seats in a commit.
pub(crate) trait Seats {
    /// Takes a seat; the label [`LABEL`] fails when it is taken by now.
    fn seat(self, waitlist: &WaitlistId, seat: Option<Seat>) -> Self;
    /// Gives a seat back. Any counter will do: it may fall below zero.
    fn unseat(self, waitlist: &WaitlistId) -> Self;
}

impl Seats for Commit {
    fn seat(self, waitlist: &WaitlistId, seat: Option<Seat>) -> Self {
        match seat {
            Some(Seat { shard, below }) => {
                self.add_when(LABEL, &seats_key(waitlist, shard), TAKEN, 1, CounterIs::Below(below))
            }
            None => self,
        }
    }

    fn unseat(self, waitlist: &WaitlistId) -> Self {
        let [byte] = secret::random::<1>();
        self.add(LABEL, &seats_key(waitlist, usize::from(byte) % SHARDS), &[(TAKEN, -1)])
    }
}

/// The keys of a waitlist's counters.
pub(crate) fn keys(waitlist: &WaitlistId) -> impl Iterator<Item = Key> {
    (0..SHARDS).map(|shard| seats_key(waitlist, shard))
}

/// The bounds of the counters, which add up to so many seats.
fn bounds(seats: i64) -> impl Iterator<Item = i64> {
    const COUNT: i64 = SHARDS as i64;
    (0..COUNT).map(move |shard| seats.div_euclid(COUNT) + i64::from(shard < seats.rem_euclid(COUNT)))
}

/// The seats to move from counters beyond their bounds to those below, when the capacity became less: none for
/// each as a rule. There are more seats than are taken.
fn level(taken: &[i64], seats: i64) -> Vec<i64> {
    let mut excess: i64 = taken.iter().zip(bounds(seats)).map(|(taken, bound)| (taken - bound).max(0)).sum();
    taken
        .iter()
        .zip(bounds(seats))
        .map(|(taken, bound)| {
            let room = bound - taken;
            if room < 0 {
                return room;
            }
            let by = room.min(excess);
            excess -= by;
            by
        })
        .collect()
}

/// The writes that move seats between counters, which must be as they were read.
fn make_level(waitlist: &WaitlistId, taken: &[Option<i64>], moves: &[i64]) -> Commit {
    let moved = moves.iter().enumerate().filter(|(_, by)| **by != 0);
    moved.fold(Commit::new(&patterns::SEATS_LEVEL), |commit, (shard, by)| {
        let is = taken[shard].map_or(CounterIs::Absent, CounterIs::At);
        commit.add_when(LABEL, &seats_key(waitlist, shard), TAKEN, *by, is)
    })
}

/// One of the free seats, at random: of counters with much room more often.
fn pick(taken: &[i64], seats: i64, random: u16) -> Seat {
    let rooms: Vec<(usize, i64, i64)> = taken
        .iter()
        .zip(bounds(seats))
        .enumerate()
        .map(|(shard, (taken, bound))| (shard, bound, (bound - taken).max(0)))
        .collect();
    let free: i64 = rooms.iter().map(|(_, _, room)| room).sum();
    let mut at = (i64::from(random) * free) >> u16::BITS;
    for (shard, below, room) in &rooms {
        if at < *room {
            return Seat { shard: *shard, below: *below };
        }
        at -= room;
    }
    unreachable!("a number below the sum of all rooms is in one of them")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Capacities from 0 to 99, with counters as joins, erasures and former capacities leave them.
    #[test]
    fn level_counters_keep_their_sum_and_their_bounds() {
        let mut state = 1u64;
        let mut below = |bound: i64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            i64::try_from(state >> 33).unwrap() % bound
        };
        for _ in 0..2000 {
            let seats = 1 + below(99);
            assert_eq!(bounds(seats).sum::<i64>(), seats);
            let taken: Vec<i64> = (0..SHARDS).map(|_| below(12) - 3).collect();
            let total: i64 = taken.iter().sum();
            if total >= seats {
                continue;
            }
            let moves = level(&taken, seats);
            let after: Vec<i64> = taken.iter().zip(&moves).map(|(taken, by)| taken + by).collect();
            assert_eq!(after.iter().sum::<i64>(), total, "{taken:?} {seats}");
            assert!(
                after.iter().zip(bounds(seats)).all(|(after, bound)| *after <= bound),
                "{taken:?} {seats}"
            );
            assert!(level(&after, seats).iter().all(|by| *by == 0));
            for random in [0, u16::MAX / 3, u16::MAX] {
                let Seat { shard, below } = pick(&after, seats, random);
                assert!(after[shard] < below && Some(below) == bounds(seats).nth(shard));
            }
        }
    }
}

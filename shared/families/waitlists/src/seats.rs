//! The seats of a waitlist with a capacity.
//!
//! A subscriber takes a seat in the transaction that adds it to the line, and gives the seat back in the transaction
//! that erases it. So the number of taken seats always matches the subscribers, even if a request fails halfway.
//!
//! Taken seats are counted by [`SHARDS`] counters, because concurrent transactions on the same item conflict. Seats
//! have no identity; only the sum of the counters matters. Each counter has a bound, and the bounds add up to the
//! number of seats. See `docs/adr/0022-seats-in-the-transaction.md`.

use domain::secret;
use table::{Commit, CounterIs, Key, Table, TableError, back_off, counters::counters_of};

use crate::{
    counted::{SEATED, members},
    entities::{seats_key, waitlist_stats_key},
    id::WaitlistId,
    patterns,
    waitlist::Waitlist,
};

/// Number of counters of a waitlist's taken seats.
const SHARDS: usize = 16;
/// Maximum number of attempts to read the counters and to level them while other requests change them.
const ATTEMPTS: u32 = 10;
/// Attribute that holds a counter's value.
const TAKEN: &str = "taken";
/// Label of the write that takes a seat.
pub(crate) const LABEL: &str = "seat";

/// A seat that was free when the counters were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    shard: usize,
    /// Bound of the counter: the seat can be taken while the counter is below this number.
    below: i64,
}

/// Outcome of the search for a seat for a subscriber who is about to enter the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seating {
    /// The waitlist has no capacity.
    Unlimited,
    Free(Seat),
    Full,
}

/// Finds a free seat.
///
/// Members who entered the line while the waitlist had no capacity hold no seat. Their number follows from the
/// counters that the projector keeps, and is subtracted from the capacity.
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
    let detail = "gave up after repeated write conflicts".to_owned();
    Err(TableError::Unavailable { operation: "BatchGetItem", detail })
}

/// Adds writes that take and give back seats to a commit.
pub(crate) trait Seats {
    /// Takes a seat. The write with the label [`LABEL`] fails if the seat was taken in the meantime.
    fn seat(self, waitlist: &WaitlistId, seat: Option<Seat>) -> Self;
    /// Gives a seat back. Subtracts from a random counter, which may fall below zero: only the sum matters.
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

/// Returns the keys of a waitlist's seat counters.
pub(crate) fn keys(waitlist: &WaitlistId) -> impl Iterator<Item = Key> {
    (0..SHARDS).map(|shard| seats_key(waitlist, shard))
}

/// Returns the bounds of the counters. They add up to `seats`.
fn bounds(seats: i64) -> impl Iterator<Item = i64> {
    const COUNT: i64 = SHARDS as i64;
    (0..COUNT).map(move |shard| seats.div_euclid(COUNT) + i64::from(shard < seats.rem_euclid(COUNT)))
}

/// Returns by how much each counter has to change so that none exceeds its bound. The changes add up to zero, and
/// are all zero unless the capacity was lowered. Fewer seats must be taken than there are.
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

/// Returns the writes that move taken seats between counters. Each is conditional on the counter's value that was
/// read.
fn make_level(waitlist: &WaitlistId, taken: &[Option<i64>], moves: &[i64]) -> Commit {
    let moved = moves.iter().enumerate().filter(|(_, by)| **by != 0);
    moved.fold(Commit::new(&patterns::SEATS_LEVEL), |commit, (shard, by)| {
        let is = taken[shard].map_or(CounterIs::Absent, CounterIs::At);
        commit.add_when(LABEL, &seats_key(waitlist, shard), TAKEN, *by, is)
    })
}

/// Returns a random free seat. A counter is chosen in proportion to its number of free seats.
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

    /// Tries 1 to 99 seats with counters as joins, erasures and former capacities can leave them.
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

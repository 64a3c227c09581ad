//! Table items of waitlists, their slugs and their counters.

use domain::{id::AccountId, text::Slug};
use serde::{Deserialize, Serialize};
use table::{Entity, IndexKey, Key, join, keys::GSI1};

use crate::{id::WaitlistId, waitlist::Waitlist};

pub fn waitlist_key(id: &WaitlistId) -> Key {
    Key::new(&["WL", id.as_str()], &["META"])
}

/// Returns the key of a waitlist's counters: subscribers by status, referrals, and members with a seat.
pub fn waitlist_stats_key(id: &WaitlistId) -> Key {
    Key::new(&["WL", id.as_str()], &["STATS"])
}

/// Returns the key of the counter `entered`, the last number in line that was taken. The item also holds marks of
/// recent calls, so that a repeated call takes no second number.
pub fn line_numbers_key(id: &WaitlistId) -> Key {
    Key::new(&["WL", id.as_str()], &["NUMBERS"])
}

/// Returns the key of one of the counters of taken seats; see [`crate::seats`].
pub fn seats_key(id: &WaitlistId, shard: usize) -> Key {
    Key::new(&["SEATS", id.as_str(), &shard.to_string()], &["META"])
}

/// Returns the key of the counter `left`: how many of the numbers taken have no entry in line.
pub fn line_left_key(id: &WaitlistId) -> Key {
    Key::new(&["WL", id.as_str()], &["LEFT"])
}

pub(crate) fn waitlists_of(account: &AccountId) -> String {
    join(&["ACCTWLS", account.as_str()])
}

impl Entity for Waitlist {
    const TYPE: &'static str = "waitlist";
    fn key(&self) -> Key {
        waitlist_key(&self.id)
    }
    fn index_keys(&self) -> Vec<IndexKey> {
        vec![IndexKey { index: GSI1, pk: waitlists_of(&self.account_id), sk: self.id.as_str().to_owned() }]
    }
}

/// Claim on a slug. Makes the slug unique within its account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlugClaim {
    pub account_id: AccountId,
    pub slug: Slug,
    pub waitlist_id: WaitlistId,
}

impl SlugClaim {
    pub fn of(waitlist: &Waitlist) -> Self {
        Self {
            account_id: waitlist.account_id.clone(),
            slug: waitlist.slug.clone(),
            waitlist_id: waitlist.id.clone(),
        }
    }
}

impl Entity for SlugClaim {
    const TYPE: &'static str = "slug";
    fn key(&self) -> Key {
        Key::new(&["SLUG", self.account_id.as_str(), self.slug.as_str()], &["META"])
    }
}

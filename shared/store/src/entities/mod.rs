//! Items as they lie in the table. An entity owns its keys.

mod account;
mod campaign;
mod code_pool;
mod feature;
mod referral;
mod stamp;
mod subscriber;
mod support;
mod waitlist;
mod webhook;

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, de::DeserializeOwned};

pub use account::{Account, AccountSigning, ApiKeyRecord, AuditEntry, KeyStatus, Limits, Login, Member};
pub use campaign::{CampaignStats, Cap, TwilioAccount, campaign_key, send_key};
pub(crate) use campaign::{TIMED, campaigns_of, due_at, due_partition, milestone_campaigns, sends_partition};
pub(crate) use code_pool::{
    ALL_CODE_POOLS, HELD_UNTIL, IMPORTS, LOT, VALID_UNTIL, code_pools_of, origins_partition, used_at,
    used_partition,
};
pub use code_pool::{
    CODE_SHARDS, CodeOrigin, CodePoolStats, Import, ImportStatus, Progress, Shelf, Stock, claim_key,
    claims_partition, code_key, code_pool_key, codes_partition,
};
pub use feature::{CommentRef, comment_key, feature_key, feature_tally_key, vote_key};
pub(crate) use feature::{
    comments_of, features_by_votes, features_of, moderation_of, voice_partition, votes_of,
};
pub(crate) use referral::list_partition as referral_list_partition;
pub use referral::{Click, clicks_key, ledger_partition, referral_key, referrals_of, rewards_partition};
pub(crate) use stamp::{
    MONTHS, REWARDS, program_customers, program_partition, programs_of, stamps_partition,
};
pub use stamp::{
    Once, PhoneClaim, ProgramStats, card_key, card_reward_key, customer_key, customer_partition, program_key,
    program_month_key, stamp_key,
};
pub use subscriber::{
    CodeClaim, EmailClaim, LineEntry, Standing, core_partition, leaf_partition, line_branch_key,
    line_root_key, standing_key, subscriber_key,
};
pub(crate) use subscriber::{
    hot_partition, leaderboard_partition, list_partition as subscriber_list_partition,
};
pub(crate) use support::mails_due;
pub use support::{
    Event, Export, ExportStatus, Filler, IdempotencyRecord, Job, JobKind, MailTask, MessageRecord,
    MessageState, Tally, rate_key, sender_key,
};
pub(crate) use waitlist::waitlists_of;
pub use waitlist::{SlugClaim, line_left_key, line_numbers_key, seats_key, waitlist_key, waitlist_stats_key};
pub(crate) use webhook::{ENDPOINTS, deliveries_due, deliveries_partitions};
pub use webhook::{EndpointFailing, EndpointSlow, EndpointsFence, delivery_key, webhook_endpoint_key};

use crate::{
    keys::{EXPIRES_AT, IndexKey, Key, PK, SK, TYPE},
    table::StoreError,
};

pub type Item = HashMap<String, AttributeValue>;

/// A change may be given to the projector again within this time, as may a task to a worker. Whatever tells that a change
/// was counted, or a message sent, is kept that long after it was noted, and so are the events that say so in public.
///
/// The stream reaches back 24 hours and an incremental export of the table 35 days, but what has to be replayed is
/// known from a dead-letter queue, which keeps it for 14 days.
pub const REPLAYED_WITHIN: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Something that is stored as one item.
pub trait Entity: Serialize + DeserializeOwned {
    /// The value of `_type`.
    const TYPE: &'static str;

    fn key(&self) -> Key;

    fn index_keys(&self) -> Vec<IndexKey> {
        Vec::new()
    }

    /// When DynamoDB may delete the item. It does so late, so that readers check too.
    fn expires(&self) -> Option<Timestamp> {
        None
    }

    /// The full stored item. Absent values are left out.
    fn to_item(&self) -> Item {
        #[expect(clippy::expect_used, reason = "entities are plain structs of strings, numbers and lists")]
        let mut item: Item = serde_dynamo::to_item(self).expect("an entity serialises");
        item.retain(|_, value| !matches!(value, AttributeValue::Null(_)));
        let mut set = |name: &str, value: String| item.insert(name.to_owned(), AttributeValue::S(value));
        let Key { pk, sk } = self.key();
        set(PK, pk);
        set(SK, sk);
        set(TYPE, Self::TYPE.to_owned());
        for IndexKey { index, pk, sk } in self.index_keys() {
            set(&format!("{index}PK"), pk);
            set(&format!("{index}SK"), sk);
        }
        if let Some(at) = self.expires() {
            item.insert(EXPIRES_AT.to_owned(), AttributeValue::N(at.as_second().to_string()));
        }
        item
    }

    /// # Errors
    /// [`StoreError::Malformed`] when the item is of another type or shape.
    fn from_item(item: Item) -> Result<Self, StoreError> {
        let malformed = |detail: String| StoreError::Malformed { entity: Self::TYPE, detail };
        let found = item.get(TYPE).and_then(|value| value.as_s().ok()).map(String::as_str);
        if found != Some(Self::TYPE) {
            return Err(malformed(format!("found {}", found.unwrap_or("no type"))));
        }
        let read = domain::text::stored(|| serde_dynamo::from_item(item));
        read.map_err(|error| malformed(error.to_string()))
    }
}

#[cfg(test)]
mod tests;

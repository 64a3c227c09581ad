//! What follows from claims and redemptions: events, numbers, and the word that stock is low.

use domain::{
    claim::{Claim, ClaimStatus, Code},
    event::EventKind,
    id::{AccountId, CodeId, CodePoolId},
};
use jiff::Timestamp;

use crate::{
    StoreError, Table,
    campaign_projection::Redemption,
    code_pools,
    entities::{CodeOrigin, Entity},
    facts::{Book, Fact, Kind, Numbers, Who},
    patterns,
};

/// A claim or a code as a stream record shows it, before and after.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Claim { before: Option<Box<Claim>>, after: Box<Claim> },
    Code { before: Option<Box<Code>>, after: Box<Code> },
}

impl Change {
    pub fn account_id(&self) -> &AccountId {
        match self {
            Self::Claim { after, .. } => &after.account_id,
            Self::Code { after, .. } => &after.account_id,
        }
    }

    pub fn pool_id(&self) -> &CodePoolId {
        match self {
            Self::Claim { after, .. } => &after.pool_id,
            Self::Code { after, .. } => &after.pool_id,
        }
    }

    /// The code that was redeemed by this, and when.
    fn redeemed(&self) -> Option<(&CodeId, Timestamp)> {
        let Self::Code { before, after } = self else { return None };
        let before = before.as_ref().and_then(|before| before.redeemed_at);
        after.redeemed_at.filter(|_| before.is_none()).map(|at| (&after.id, at))
    }

    fn fact(&self) -> Option<Fact> {
        let (kind, id, at, counter) = match self {
            Self::Claim { before, after } => {
                let is = |claim: &Claim| claim.status == ClaimStatus::Claimed;
                let fresh = is(after) && !before.as_deref().is_some_and(is);
                let at = after.claimed_at.filter(|_| fresh)?;
                (EventKind::CodeClaimed, after.id.as_str(), at, "claimed")
            }
            Self::Code { .. } => {
                let (id, at) = self.redeemed()?;
                (EventKind::CodeRedeemed, id.as_str(), at, "redeemed")
            }
        };
        Some(Fact {
            object_id: Some(id.to_owned()),
            counts: vec![(counter, 1)],
            ..Fact::new(Kind::Event(kind), Who::Nobody, at)
        })
    }
}

/// Notes and counts what changes of one pool amount to, as far as that has not been done before.
///
/// # Errors
/// When the table is out of reach, or others keep counting.
pub async fn count(table: &Table, pool: &CodePoolId, changes: &[Change]) -> Result<(), StoreError> {
    let facts: Vec<Fact> = changes.iter().filter_map(Change::fact).collect();
    if facts.is_empty() {
        return Ok(());
    }
    // Without a pool there is nothing to count for.
    let Some(pool) = code_pools::find(table, pool).await? else { return Ok(()) };
    let book = Book { pattern: &patterns::CODES_COUNT, account: &pool.account_id, topic: pool.id.as_str() };
    let numbers = || async {
        let stats = code_pools::stats(table, &pool.id).await?;
        Ok(stats.map(|stats| Numbers::Pool(stats, pool.settings.low_stock_thresholds.clone())))
    };
    book.note(table, &facts, numbers).await
}

/// Those of the changes that redeem a code which a campaign gave somebody.
///
/// # Errors
/// When the table is out of reach.
pub async fn redemptions(table: &Table, changes: &[Change]) -> Result<Vec<Redemption>, StoreError> {
    let redeemed: Vec<_> = changes.iter().filter_map(Change::redeemed).collect();
    if redeemed.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<_> = redeemed.iter().map(|(code, _)| CodeOrigin::key_of(code)).collect();
    let mut found = table.batch_get(&patterns::CODE_ORIGIN, &keys).await?;
    let redeemed = keys.iter().zip(redeemed).filter_map(|(key, (_, at))| Some((found.remove(key)?, at)));
    redeemed.map(|(item, at)| Ok(Redemption { origin: CodeOrigin::from_item(item)?, at })).collect()
}

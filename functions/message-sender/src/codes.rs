//! A code for a message: the customer's own.

use campaigns::campaign::Send;
use codes::{
    claim::{Claim, ClaimStatus},
    claims::{self, Claimant},
    code_pool::PromoCode,
};
use domain::id::{ClaimId, CodeId, CodePoolId};
use jiff::Timestamp;
use table::{Table, TableError, back_off};

/// How often it is tried again when somebody else takes the code that was chosen.
const ATTEMPTS: u32 = 20;

/// A code that is somebody's.
pub struct Own {
    pub claim_id: ClaimId,
    pub code_id: CodeId,
    pub text: PromoCode,
}

/// The code of a pool for the customer of a message: the one of before, or a new one. `None` when the pool has none
/// to give.
pub async fn of(table: &Table, send: &Send, pool: &CodePoolId) -> Result<Option<Own>, TableError> {
    let (account, customer) = (&send.account_id, &send.customer_id);
    let Some(counter) = claims::counter(table, account, pool).await? else { return Ok(None) };
    let key = &counter.signing.signing_key;
    let id = ClaimId::of(key, pool, customer.as_str());
    for attempt in 1..=ATTEMPTS {
        let (previous, shelf) = claims::context(table, &id).await?;
        let now = Timestamp::now();
        let current = previous.as_ref().filter(|claim| claim.is_current(now));
        if let Some(reserved) = current.filter(|claim| claim.status == ClaimStatus::Reserved) {
            // Or else what the message tells could lapse, and go to somebody else.
            let (claim, commit) = claims::confirm(&Claim { by_server: true, ..reserved.clone() }, now);
            if commit.applies(table).await? {
                return Ok(told(&claim));
            }
            back_off(attempt).await;
            continue;
        }
        if let Some(own) = current.and_then(told) {
            return Ok(Some(own));
        }
        let Some(shelf) = shelf.filter(|_| counter.pool.closed(now).is_none()) else { return Ok(None) };
        let platform = counter.pool.settings.platform;
        let Some(stock) = claims::pick(table, shelf, platform, attempt, now).await? else {
            // Perhaps another message to this very customer took the last one.
            match claims::read(table, account, &id).await?.filter(|claim| claim.is_current(now)) {
                Some(own) if own.status == ClaimStatus::Reserved => {
                    back_off(attempt).await;
                    continue;
                }
                own => return Ok(own.as_ref().and_then(told)),
            }
        };
        let claimant = Claimant {
            id: id.clone(),
            account_id: account.clone(),
            user: key.pseudonym("user", customer.as_str()),
            device: None,
            by_server: true,
            reserved_until: None,
            at: now,
        };
        let (claim, commit) = claims::take(claimant, previous.as_ref(), &stock);
        match commit.apply(table).await {
            Ok(()) => return Ok(told(&claim)),
            Err(error) if error.is_condition() => back_off(attempt).await,
            Err(table::CommitError::Table(error)) => return Err(error),
            Err(_) => unreachable!("a commit fails by a condition or by the store"),
        }
    }
    Err(TableError::Unavailable { operation: "claim", detail: "others keep taking the codes".to_owned() })
}

/// Of a code that was archived nothing is told: it was claimed long ago, and there is another.
fn told(claim: &Claim) -> Option<Own> {
    let text = claim.code.clone()?;
    Some(Own { claim_id: claim.id.clone(), code_id: claim.code_id.clone(), text })
}

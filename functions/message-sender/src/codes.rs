//! Codes in campaign messages: each customer gets a code of their own.

use campaigns::campaign::Send;
use codes::{
    claim::Claim,
    claiming::{self, Offer, Request},
    claims,
    code_pool::PromoCode,
    id::{ClaimId, CodeId, CodePoolId},
};
use jiff::Timestamp;
use table::{Table, TableError, back_off};

/// Maximum number of attempts while other claims take the chosen codes first.
const ATTEMPTS: u32 = 20;

/// Code that a customer has claimed.
pub struct Own {
    pub claim_id: ClaimId,
    pub code_id: CodeId,
    pub text: PromoCode,
}

/// Returns the code of a pool for the customer of a message: the customer's code, or a newly claimed one. `None` if
/// the pool issues no code.
///
/// A reservation of the customer is confirmed; otherwise the code in the message could expire and go to another user.
/// A code that was archived is not sent again: it was claimed long ago, and the customer gets a new one.
pub async fn of(table: &Table, send: &Send, pool: &CodePoolId) -> Result<Option<Own>, TableError> {
    let (account, customer) = (&send.account_id, &send.customer_id);
    for attempt in 1..=ATTEMPTS {
        if attempt > 1 {
            back_off(attempt - 1).await;
        }
        let Some(counter) = table.look_up(claims::counter(account, pool)).await? else { return Ok(None) };
        let key = &counter.signing.signing_key;
        let request = Request {
            id: ClaimId::of(key, pool, customer.as_str()),
            account_id: account.clone(),
            user: key.pseudonym("user", customer.as_str()),
            device: None,
            by_server: true,
            platform: counter.pool.settings.platform,
            hold: None,
            with_text: true,
        };
        let now = Timestamp::now();
        let look = claiming::look(table, &counter, &request, attempt, now).await?;
        match claiming::offer(table, &counter, &request, look, now).await? {
            Offer::Claim { claim, writes, .. } => {
                if writes.applies(table).await? {
                    return Ok(told(*claim));
                }
            }
            Offer::Again => {}
            Offer::OfServer | Offer::Closed(_) | Offer::Gone | Offer::Exhausted => return Ok(None),
        }
    }
    Err(TableError::Unavailable {
        operation: "claim",
        detail: "gave up after repeated write conflicts".to_owned(),
    })
}

fn told(claim: Claim) -> Option<Own> {
    Some(Own { claim_id: claim.id, code_id: claim.code_id, text: claim.code? })
}

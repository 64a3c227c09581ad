//! What the code family takes and gives. What a pool takes is [`CodePoolSettings`].

use std::collections::BTreeMap;

use codes::{
    claim::{Claim, ClaimStatus, Claimer, Code},
    code_pool::{self, CodePool, CodePoolSettings, CodePoolStatus, Platform, PromoCode, ReservationSeconds},
    entities::{CodePoolStats, Import, ImportStatus, Stock},
    id::{ClaimId, CodeId, CodePoolId, ImportId},
};
use domain::{
    Invalid,
    text::{Fingerprint, Metadata, Name},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
pub struct CodePoolView {
    pub id: CodePoolId,
    #[serde(flatten)]
    pub settings: CodePoolSettings,
    /// Being deleted: it gives nothing and takes nothing.
    pub deleting: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl From<CodePool> for CodePoolView {
    fn from(pool: CodePool) -> Self {
        let CodePool { id, settings, deleting, created_at, updated_at, .. } = pool;
        Self { id, settings, deleting, created_at, updated_at }
    }
}

/// How many codes there are; up to a second behind.
#[derive(Serialize, ToSchema)]
pub struct CodePoolCountsView {
    pub imported: u64,
    pub claimed: u64,
    pub redeemed: u64,
    /// Not claimed; among them those that are reserved at present, or have expired.
    pub remaining: u64,
}

impl From<CodePoolStats> for CodePoolCountsView {
    fn from(stats: CodePoolStats) -> Self {
        let remaining = stats.remaining();
        let CodePoolStats { imported, claimed, redeemed, .. } = stats;
        Self { imported, claimed, redeemed, remaining }
    }
}

#[derive(Serialize, ToSchema)]
pub struct CodePoolWithCounts {
    #[serde(flatten)]
    pub pool: CodePoolView,
    pub counts: CodePoolCountsView,
}

/// Whether there is a code to be had; asking gives none away.
#[derive(Serialize, ToSchema)]
pub struct AvailabilityView {
    pub pool_id: CodePoolId,
    pub name: Name,
    pub status: CodePoolStatus,
    pub platform: Platform,
    pub expires_at: Option<Timestamp>,
    pub available: bool,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AvailabilityQuery {
    /// What the code is wanted for; the pool's platform when left out.
    pub platform: Option<Platform>,
}

/// A reservation instead of a claim: `true`, or for how many seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "serde_json::Value")]
pub enum Reserve {
    #[default]
    No,
    /// For as long as the pool says.
    Yes,
    For(ReservationSeconds),
}

impl TryFrom<serde_json::Value> for Reserve {
    type Error = Invalid;
    fn try_from(value: serde_json::Value) -> Result<Self, Invalid> {
        match value {
            serde_json::Value::Null | serde_json::Value::Bool(false) => Ok(Self::No),
            serde_json::Value::Bool(true) => Ok(Self::Yes),
            serde_json::Value::Number(seconds) => {
                let seconds =
                    seconds.as_u64().ok_or_else(|| Invalid::new("is not true, false or 1–86400"))?;
                ReservationSeconds::try_from(seconds).map(Self::For)
            }
            _ => Err(Invalid::new("is not true, false or 1–86400")),
        }
    }
}

#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimRequest {
    /// Whom the code is for: one code a user, however often it is asked for. An address
    /// is the same user in all its spellings.
    pub user: Claimer,
    /// What the code is wanted for; the pool's platform when left out.
    pub platform: Option<Platform>,
    /// What the device is recognised by; kept as a pseudonym, for review.
    pub fingerprint: Option<Fingerprint>,
    /// `true`, or a number of seconds (1–86,400): hold a code instead of claiming it.
    #[serde(default)]
    #[schema(value_type = Option<serde_json::Value>)]
    pub reserve: Reserve,
}

/// What a user has of a pool.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct ClaimView {
    pub claim_id: ClaimId,
    pub status: ClaimStatus,
    /// Shown to its claimer; `null` while it is only reserved.
    #[schema(required)]
    pub code: Option<PromoCode>,
    pub masked_code: String,
    pub platform: Platform,
    /// Until when the code can be redeemed; `null` when it doesn't expire.
    #[schema(required)]
    pub expires_at: Option<Timestamp>,
    /// Until when the reservation has to be confirmed; `null` once it is.
    #[schema(required)]
    pub reserved_until: Option<Timestamp>,
}

impl ClaimView {
    /// Without the code.
    pub fn masked(claim: &Claim) -> Self {
        let reserved = claim.reserved_until.filter(|_| claim.status == ClaimStatus::Reserved);
        Self {
            claim_id: claim.id.clone(),
            status: claim.status,
            code: None,
            masked_code: claim.masked.clone(),
            platform: claim.platform,
            expires_at: code_pool::end(claim.valid_until),
            reserved_until: reserved,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CodeStatus {
    Available,
    Reserved,
    Claimed,
    Redeemed,
    /// Nobody claimed it in time.
    Expired,
}

impl CodeStatus {
    pub fn of(code: &Code, stock: Option<&Stock>, now: Timestamp) -> Self {
        match stock {
            _ if code.redeemed_at.is_some() => Self::Redeemed,
            None => Self::Claimed,
            _ if code.valid_until.is_some_and(|until| until <= now) => Self::Expired,
            Some(stock) if stock.is_held(now) => Self::Reserved,
            Some(_) => Self::Available,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct CodeView {
    pub id: CodeId,
    pub pool_id: CodePoolId,
    pub masked_code: String,
    pub status: CodeStatus,
    pub platform: Platform,
    pub expires_at: Option<Timestamp>,
    pub metadata: Metadata,
    /// The import that brought it, and the line of its file.
    pub import_id: ImportId,
    pub line: u64,
    pub redeemed_at: Option<Timestamp>,
}

impl CodeView {
    pub fn of(code: Code, stock: Option<&Stock>, now: Timestamp) -> Self {
        let status = CodeStatus::of(&code, stock, now);
        let Code {
            id, pool_id, masked, platform, valid_until, metadata, import_id, line, redeemed_at, ..
        } = code;
        Self {
            id,
            pool_id,
            masked_code: masked,
            status,
            platform,
            expires_at: code_pool::end(valid_until),
            metadata,
            import_id,
            line,
            redeemed_at,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct RevealedCode {
    pub id: CodeId,
    pub code: PromoCode,
}

/// Where to put the file.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct UploadView {
    pub id: ImportId,
    /// PUT the file here, with these headers.
    #[schema(required)]
    pub upload_url: Option<String>,
    pub headers: BTreeMap<String, String>,
    /// Until when the link works.
    pub expires_at: Timestamp,
}

/// How far an import is.
#[derive(Serialize, ToSchema)]
pub struct ImportView {
    pub id: ImportId,
    pub pool_id: CodePoolId,
    pub status: ImportStatus,
    /// The file's key in the bucket.
    pub object: String,
    /// Rows of the file, but for blank ones; `null` until it has been read through.
    #[schema(required)]
    pub rows: Option<u64>,
    /// Good rows dealt with so far: added, or duplicates.
    pub read: u64,
    pub added: u64,
    /// Codes that the pool has, or ever had.
    pub duplicates: u64,
    /// Rows that can't be loaded; the report says why.
    pub rejected: u64,
    pub rows_per_second: f64,
    /// Why the import failed. Nothing was loaded then, unless the file was taken away meanwhile:
    /// what was added before stays.
    #[schema(required)]
    pub failure: Option<String>,
    /// A CSV of `line,column,reason`; `null` when there is nothing to report.
    #[schema(required)]
    pub report_url: Option<String>,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

impl ImportView {
    pub fn new(import: Import, report_url: Option<String>) -> Self {
        let seconds = match (import.started_at, import.finished_at.or(import.checked_at)) {
            (Some(from), Some(to)) => to.duration_since(from).as_secs_f64(),
            _ => 0.0,
        };
        let Import { id, pool_id, status, object, progress, rows, rejected, failure, .. } = import;
        #[expect(clippy::cast_precision_loss, reason = "a rate, of at most 100,000 rows")]
        let rate = if seconds > 0.0 { progress.rows as f64 / seconds } else { 0.0 };
        Self {
            id,
            pool_id,
            status,
            object,
            rows,
            read: progress.rows,
            added: progress.added,
            duplicates: progress.duplicates,
            rejected,
            rows_per_second: (rate * 10.0).round() / 10.0,
            failure,
            report_url,
            created_at: import.created_at,
            started_at: import.started_at,
            finished_at: import.finished_at,
        }
    }
}

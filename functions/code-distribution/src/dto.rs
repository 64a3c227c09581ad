//! Request and response bodies of the code family. The settings of a pool are [`CodePoolSettings`].

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

/// Code pool with its settings.
#[derive(Serialize, ToSchema)]
pub struct CodePoolView {
    pub id: CodePoolId,
    #[serde(flatten)]
    pub settings: CodePoolSettings,
    /// True while the pool is being deleted. The pool then issues no codes and accepts no imports.
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

/// Numbers of codes of a pool. The numbers lag behind a change by up to one second.
#[derive(Serialize, ToSchema)]
pub struct CodePoolCountsView {
    pub imported: u64,
    pub claimed: u64,
    pub redeemed: u64,
    /// Codes that are not claimed, including codes that are reserved or expired.
    pub remaining: u64,
}

impl From<CodePoolStats> for CodePoolCountsView {
    fn from(stats: CodePoolStats) -> Self {
        let remaining = stats.remaining();
        let CodePoolStats { imported, claimed, redeemed, .. } = stats;
        Self { imported, claimed, redeemed, remaining }
    }
}

/// Code pool with its numbers of codes.
#[derive(Serialize, ToSchema)]
pub struct CodePoolWithCounts {
    #[serde(flatten)]
    pub pool: CodePoolView,
    pub counts: CodePoolCountsView,
}

/// Availability of codes for one platform. Reading it issues no code.
#[derive(Serialize, ToSchema)]
pub struct AvailabilityView {
    pub pool_id: CodePoolId,
    pub name: Name,
    pub status: CodePoolStatus,
    pub platform: Platform,
    pub expires_at: Option<Timestamp>,
    /// True if a code for `platform` can be claimed now.
    pub available: bool,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AvailabilityQuery {
    /// Platform on which the code will be redeemed. The default is the pool's platform.
    pub platform: Option<Platform>,
}

/// Value of `reserve`: `false` claims the code; `true` or a number of seconds reserves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "serde_json::Value")]
pub enum Reserve {
    #[default]
    No,
    /// For the pool's `reservation_seconds`.
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

/// Request for a code of a pool.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimRequest {
    /// Your identifier of the user. A user gets one code per pool; repeated claims return the same code. Email
    /// addresses are normalised: all spellings of one mailbox are the same user.
    pub user: Claimer,
    /// Platform on which the code will be redeemed. The default is the pool's platform.
    pub platform: Option<Platform>,
    /// Identifier of the user's device, for fraud review. Only a pseudonym of it is stored.
    pub fingerprint: Option<Fingerprint>,
    /// Reserves a code instead of claiming it: `true` for the pool's `reservation_seconds`, or a number of seconds
    /// (1–86,400). With a publishable key, the pool's `reservation_seconds` is the maximum.
    #[serde(default)]
    #[schema(value_type = Option<serde_json::Value>)]
    pub reserve: Reserve,
}

/// Claim or reservation of one user in one pool.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct ClaimView {
    pub claim_id: ClaimId,
    pub status: ClaimStatus,
    /// Full code, in the answer to a claim or a confirmation. `null` while the code is only reserved, and in all
    /// other answers.
    #[schema(required)]
    pub code: Option<PromoCode>,
    pub masked_code: String,
    pub platform: Platform,
    /// Time at which the code expires; `null` if the code never expires.
    #[schema(required)]
    pub expires_at: Option<Timestamp>,
    /// Time until which the reservation can be confirmed; `null` if `status` is not `reserved`.
    #[schema(required)]
    pub reserved_until: Option<Timestamp>,
}

impl ClaimView {
    /// Returns the view without the full code.
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

/// State of a code. `expired`: the code expired before a user claimed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CodeStatus {
    Available,
    Reserved,
    Claimed,
    Redeemed,
    /// The code expired before a user claimed it.
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

/// Code of a pool, masked.
#[derive(Serialize, ToSchema)]
pub struct CodeView {
    pub id: CodeId,
    pub pool_id: CodePoolId,
    pub masked_code: String,
    pub status: CodeStatus,
    pub platform: Platform,
    pub expires_at: Option<Timestamp>,
    pub metadata: Metadata,
    /// Import that added the code.
    pub import_id: ImportId,
    /// Line of the imported file on which the code's row begins.
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

/// Full code.
#[derive(Serialize, ToSchema)]
pub struct RevealedCode {
    pub id: CodeId,
    pub code: PromoCode,
}

/// Announced import with the link that accepts its file.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct UploadView {
    pub id: ImportId,
    /// Link that accepts the file. Send the file with `PUT` and with `headers`.
    #[schema(required)]
    pub upload_url: Option<String>,
    /// Headers that the upload must have.
    pub headers: BTreeMap<String, String>,
    /// Time at which the first link expires, 15 minutes after the announcement. A request that is repeated with the
    /// same `Idempotency-Key` returns a new link, which is valid for another 15 minutes.
    pub expires_at: Timestamp,
}

/// Import of a file of codes, with its progress.
#[derive(Serialize, ToSchema)]
pub struct ImportView {
    pub id: ImportId,
    pub pool_id: CodePoolId,
    pub status: ImportStatus,
    /// Key of the file in the bucket.
    pub object: String,
    /// Rows of the file, without blank rows and repeated headers; `null` until the file is validated.
    #[schema(required)]
    pub rows: Option<u64>,
    /// Valid rows processed so far: `added` and `duplicates` together.
    pub read: u64,
    /// Codes added to the pool so far.
    pub added: u64,
    /// Rows whose code the pool already has or once had, also from an earlier row of the same file.
    pub duplicates: u64,
    /// Rows that can't be loaded. The report contains the reason for each of them.
    pub rejected: u64,
    /// Valid rows processed per second since the import started, rounded to one decimal.
    pub rows_per_second: f64,
    /// Reason why the import failed. An import that fails during validation adds no codes. An import that fails while
    /// it loads rows (the file was deleted or replaced, or rows could not be stored) keeps the codes added before.
    #[schema(required)]
    pub failure: Option<String>,
    /// Link to the report, a CSV file with the columns `line`, `column` and `reason`, valid for 10 minutes. `null` in
    /// lists, and if there is nothing to report.
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

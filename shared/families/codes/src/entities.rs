//! Stored items of code pools: pools, stock, codes, claims and imports.
//!
//! A code that can be claimed is two items: the [`Code`], which stays for ever, and its item in the [`Stock`],
//! which a claim deletes. A consistent read of the stock shows what a pool can still give. The [`Code`] of a
//! claimed code stays, so no import can add that code again. The numbers in the ids of codes are evenly
//! distributed. The first character of a number, one of eight, names the partition.

use domain::id::{AccountId, SendId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use table::{Entity, IndexKey, Key, join, keys::GSI1, list_shard};

use crate::{
    claim::{Claim, Code},
    code_pool::{CodePool, Lot, Lots, PromoCode},
    id::{ClaimId, CodeId, CodePoolId, ImportId},
};

/// Shards of the codes, stock and claims of a pool. One partition takes 1,000 write units a second; a popular pool
/// needs more.
pub const CODE_SHARDS: [&str; 8] = ["0", "1", "2", "3", "4", "5", "6", "7"];

fn shard(number: &str) -> &str {
    number.get(..1).unwrap_or_default()
}

pub fn code_pool_key(id: &CodePoolId) -> Key {
    Key::new(&["POOL", id.as_str()], &["META"])
}

pub(crate) fn code_pools_of(account: &AccountId) -> String {
    join(&["ACCTPOOLS", account.as_str()])
}

/// Index partition that lists the pools of all accounts, for daily work on every pool.
pub(crate) const ALL_CODE_POOLS: &str = "POOLS";

impl Entity for CodePool {
    const TYPE: &'static str = "code_pool";
    fn key(&self) -> Key {
        code_pool_key(&self.id)
    }
    fn index_keys(&self) -> Vec<IndexKey> {
        let id = self.id.as_str();
        vec![
            IndexKey { index: GSI1, pk: code_pools_of(&self.account_id), sk: id.to_owned() },
            IndexKey { index: table::keys::GSI2, pk: ALL_CODE_POOLS.to_owned(), sk: id.to_owned() },
        ]
    }
}

/// Counters of a pool's codes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodePoolStats {
    pub pool_id: CodePoolId,
    pub imported: u64,
    pub claimed: u64,
    pub redeemed: u64,
    pub rev: u64,
}

impl CodePoolStats {
    pub fn key_of(pool: &CodePoolId) -> Key {
        Key::new(&["POOL", pool.as_str()], &["STATS"])
    }

    /// Returns the number of codes that nobody has claimed. Reserved and expired codes are included.
    pub fn remaining(&self) -> u64 {
        self.imported.saturating_sub(self.claimed)
    }
}

impl Entity for CodePoolStats {
    const TYPE: &'static str = "code_pool_stats";
    fn key(&self) -> Key {
        Self::key_of(&self.pool_id)
    }
}

/// Lots of a pool that may have codes to give.
///
/// An import adds a lot to the shelf after it loaded codes into the lot. A claimer that finds a lot empty removes
/// the lot, on condition that the shelf has not changed since it was read. Codes in a lot that is not on the shelf
/// therefore belong to an import that has not reached its next checkpoint. An empty lot may stay on the shelf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shelf {
    pub pool_id: CodePoolId,
    pub lots: Lots,
    pub rev: u64,
}

impl Shelf {
    pub fn key_of(pool: &CodePoolId) -> Key {
        Key::new(&["POOL", pool.as_str()], &["SHELF"])
    }
}

impl Entity for Shelf {
    const TYPE: &'static str = "shelf";
    fn key(&self) -> Key {
        Self::key_of(&self.pool_id)
    }
}

pub fn code_key(id: &CodeId) -> Key {
    Key { pk: codes_partition(&id.pool(), shard(id.number())), sk: id.number().to_owned() }
}

pub fn codes_partition(pool: &CodePoolId, shard: &str) -> String {
    join(&["CODES", pool.as_str(), shard])
}

impl Entity for Code {
    const TYPE: &'static str = "code";
    fn key(&self) -> Key {
        code_key(&self.id)
    }
}

/// Names of the attributes by which queries filter the stock and claimers choose from it.
pub(crate) const LOT: &str = "lot";
pub(crate) const HELD_UNTIL: &str = "held_until";
pub(crate) const VALID_UNTIL: &str = "valid_until";

/// Code that can be claimed now, or as soon as the reservation that holds it expires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stock {
    pub code_id: CodeId,
    pub code: PromoCode,
    pub lot: Lot,
    /// End of validity, in milliseconds since the epoch; `None` if the code does not expire.
    pub valid_until: Option<i64>,
    pub held_by: Option<ClaimId>,
    /// End of the hold, in milliseconds since the epoch. After that time the code can be claimed again.
    pub held_until: Option<i64>,
    pub rev: u64,
}

impl Stock {
    /// Returns the stock item of a new code.
    pub fn of(code: &Code, text: PromoCode) -> Self {
        Self {
            code_id: code.id.clone(),
            code: text,
            lot: code.lot,
            valid_until: code.valid_until.map(Timestamp::as_millisecond),
            held_by: None,
            held_until: None,
            rev: 1,
        }
    }

    pub fn partition(pool: &CodePoolId, lot: Lot, shard: &str) -> String {
        join(&["STOCK", pool.as_str(), &lot.section(), shard])
    }

    /// Returns the sort key of a code in its partition, which orders codes by lot and number. Given only the
    /// beginning of a number, the key sorts before all numbers with that beginning.
    pub fn sort_key(lot: Lot, number: &str) -> String {
        match lot.order() {
            Some(order) => join(&[&order, number]),
            None => number.to_owned(),
        }
    }

    pub fn key_of(code: &CodeId, lot: Lot) -> Key {
        let number = code.number();
        Key { pk: Self::partition(&code.pool(), lot, shard(number)), sk: Self::sort_key(lot, number) }
    }

    pub fn valid_until(&self) -> Option<Timestamp> {
        self.valid_until.and_then(|millis| Timestamp::from_millisecond(millis).ok())
    }

    pub fn is_held(&self, now: Timestamp) -> bool {
        self.held_until.is_some_and(|until| until > now.as_millisecond())
    }
}

impl Entity for Stock {
    const TYPE: &'static str = "stock";
    fn key(&self) -> Key {
        Self::key_of(&self.code_id, self.lot)
    }
}

pub fn claim_key(id: &ClaimId) -> Key {
    Key { pk: claims_partition(&id.pool(), shard(id.number())), sk: id.number().to_owned() }
}

pub fn claims_partition(pool: &CodePoolId, shard: &str) -> String {
    join(&["CLAIMS", pool.as_str(), shard])
}

/// Returns the index partition of the claims of a pool whose codes are not archived yet, in the order in which they
/// were claimed.
pub(crate) fn used_partition(pool: &CodePoolId, shard: u8) -> String {
    join(&["USED", pool.as_str(), &shard.to_string()])
}

/// Returns the beginning of a sort key in [`used_partition`]. All claims before this time sort before the key.
pub(crate) fn used_at(at: Timestamp) -> String {
    format!("{:015}", at.as_millisecond())
}

impl Entity for Claim {
    const TYPE: &'static str = "claim";
    fn key(&self) -> Key {
        claim_key(&self.id)
    }
    fn index_keys(&self) -> Vec<IndexKey> {
        let used = self.claimed_at.filter(|_| self.archived.is_none());
        let key = used.map(|at| IndexKey {
            index: GSI1,
            pk: used_partition(&self.pool_id, list_shard(self.id.as_str())),
            sk: join(&[&used_at(at), self.id.number()]),
        });
        key.into_iter().collect()
    }
}

/// Last message that told a customer this code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeOrigin {
    pub code_id: CodeId,
    pub send_id: SendId,
}

impl CodeOrigin {
    pub fn key_of(code: &CodeId) -> Key {
        let number = code.number();
        Key { pk: origins_partition(&code.pool(), shard(number)), sk: number.to_owned() }
    }
}

pub(crate) fn origins_partition(pool: &CodePoolId, shard: &str) -> String {
    join(&["ORIGINS", pool.as_str(), shard])
}

impl Entity for CodeOrigin {
    const TYPE: &'static str = "code_origin";
    fn key(&self) -> Key {
        Self::key_of(&self.code_id)
    }
}

/// State of an import.
///
/// - `awaiting_upload`: the file has not arrived.
/// - `validating`: the file is being checked. No code is loaded yet.
/// - `loading`: codes are being added to the pool.
/// - `completed`: the whole file was processed.
/// - `failed`: `failure` says why. Codes that were added before the failure stay in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImportStatus {
    /// The file has not arrived.
    AwaitingUpload,
    /// The file is being checked. No code is loaded yet.
    Validating,
    Loading,
    Completed,
    /// `failure` says why. Codes that were added before the failure stay in the pool.
    Failed,
}

/// Progress of an import through its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Offset in bytes at which the next row begins; `line` is the number of the line there.
    pub offset: u64,
    pub line: u64,
    /// Rows processed so far: `added` and `duplicates` together.
    pub rows: u64,
    pub added: u64,
    pub duplicates: u64,
    /// Number of parts of the report that list duplicates.
    #[serde(default)]
    pub reported: u32,
}

/// Import of a file of codes into a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    pub id: ImportId,
    pub account_id: AccountId,
    pub pool_id: CodePoolId,
    pub status: ImportStatus,
    /// Key of the file in the bucket.
    pub object: String,
    /// ETag of the content that is imported, because the object can be overwritten. Known once the file has
    /// arrived.
    pub etag: Option<String>,
    /// Names of the file's columns, in their order. Known once the file is validated.
    pub columns: Option<Vec<String>>,
    /// Separator between the columns.
    #[serde(default = "comma")]
    pub delimiter: char,
    pub progress: Progress,
    /// Number of rows in the file, without blank rows and repeated headers. Known once the file is validated.
    pub rows: Option<u64>,
    /// Number of rows that cannot be loaded. Known once the file is validated.
    pub rejected: u64,
    /// Reason why the import failed.
    pub failure: Option<String>,
    /// Key of the report in the bucket, if there is anything to report.
    pub report: Option<String>,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub checked_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub rev: u64,
}

/// Returns the delimiter of imports that were validated before other delimiters were supported.
fn comma() -> char {
    ','
}

/// Beginning of the sort keys of a pool's imports.
pub(crate) const IMPORTS: &str = "IMPORT#";

impl Import {
    pub fn new(id: ImportId, account: &AccountId, pool: &CodePoolId, object: String, now: Timestamp) -> Self {
        Self {
            id,
            account_id: account.clone(),
            pool_id: pool.clone(),
            status: ImportStatus::AwaitingUpload,
            object,
            etag: None,
            columns: None,
            delimiter: comma(),
            progress: Progress::default(),
            rows: None,
            rejected: 0,
            failure: None,
            report: None,
            created_at: now,
            started_at: None,
            checked_at: None,
            finished_at: None,
            rev: 1,
        }
    }

    pub fn key_of(pool: &CodePoolId, id: &ImportId) -> Key {
        Key::new(&["POOL", pool.as_str()], &["IMPORT", id.as_str()])
    }

    pub fn is_finished(&self) -> bool {
        matches!(self.status, ImportStatus::Completed | ImportStatus::Failed)
    }
}

impl Entity for Import {
    const TYPE: &'static str = "import";
    fn key(&self) -> Key {
        Self::key_of(&self.pool_id, &self.id)
    }
}

/// Job of the codes family: work that outlasts a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Task {
    DeleteCodePool {
        pool_id: CodePoolId,
    },
    /// Moves the texts of codes that were claimed more than 30 days ago from the table to a file.
    ArchiveCodes {
        pool_id: CodePoolId,
    },
}

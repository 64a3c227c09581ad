//! Code pools: the pools, their stock, codes, claims and imports.
//!
//! A code to be had is two items: the [`Code`], for ever, and its place in the [`Stock`],
//! which goes with the claim. So what is left of a pool can be asked consistently, and
//! what was given is never to be had again. The numbers in the ids of codes are evenly
//! spread: their first character, one of eight, is the partition.

use domain::id::{AccountId, SendId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use table::{Entity, IndexKey, Key, join, keys::GSI1, list_shard};

use crate::{
    claim::{Claim, Code},
    code_pool::{CodePool, Lot, Lots, PromoCode},
    id::{ClaimId, CodeId, CodePoolId, ImportId},
};

/// The partitions that codes, stock and claims of a pool are spread over: a partition
/// takes 1,000 write units a second, and a sought-after pool more.
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

/// All pools of all accounts, for work that concerns each of them.
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

/// What has become of a pool's codes, in numbers.
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

    /// Codes that nobody has claimed; among them those that are reserved or expired.
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

/// Which lots of a pool may have codes to give.
///
/// A lot is entered after codes were put into it, and taken out by a claimer who finds it empty
/// while the shelf has not changed. So codes in a lot that isn't on the shelf are those of
/// an import that has not come to its next checkpoint. An empty lot may stay.
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

/// Names of attributes that queries of the stock filter and choose by.
pub(crate) const LOT: &str = "lot";
pub(crate) const HELD_UNTIL: &str = "held_until";
pub(crate) const VALID_UNTIL: &str = "valid_until";

/// A code that can be had: now, or when the reservation that holds it lapses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stock {
    pub code_id: CodeId,
    pub code: PromoCode,
    pub lot: Lot,
    /// Milliseconds since the epoch.
    pub valid_until: Option<i64>,
    pub held_by: Option<ClaimId>,
    /// Milliseconds since the epoch. Later than that it can be had again.
    pub held_until: Option<i64>,
    pub rev: u64,
}

impl Stock {
    /// The place of a new code.
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

    /// Sorts a code of the lot among those of its partition; with a number's beginning: before all that have it.
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

/// The claims of a pool whose codes are not archived yet, in the order of time.
pub(crate) fn used_partition(pool: &CodePoolId, shard: u8) -> String {
    join(&["USED", pool.as_str(), &shard.to_string()])
}

/// Sorts claims in [`used_partition`]: everything before this time is less.
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

/// The last message that told somebody a code.
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImportStatus {
    /// The file has not arrived.
    AwaitingUpload,
    /// The file is being read through; nothing of it is loaded.
    Validating,
    Loading,
    Completed,
    /// `failure` says why. Nothing of the file was loaded, unless it was taken away meanwhile.
    Failed,
}

/// How far the reading of a file has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Where the next row begins: bytes, and the number of the line.
    pub offset: u64,
    pub line: u64,
    /// Rows read so far, of those added and those that were there before.
    pub rows: u64,
    pub added: u64,
    pub duplicates: u64,
    /// Parts of the report that name duplicates.
    #[serde(default)]
    pub reported: u32,
}

/// A file of codes on its way into a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    pub id: ImportId,
    pub account_id: AccountId,
    pub pool_id: CodePoolId,
    pub status: ImportStatus,
    /// The file's key in the bucket.
    pub object: String,
    /// Which of the contents that the object had or will have.
    pub etag: Option<String>,
    /// Which column of the file is what; known once it is validated.
    pub columns: Option<Vec<String>>,
    /// The separator between them.
    #[serde(default = "comma")]
    pub delimiter: char,
    pub progress: Progress,
    /// Rows of the file, but for blank ones; known once it is validated.
    pub rows: Option<u64>,
    /// Rows that can't be loaded; known once it is validated.
    pub rejected: u64,
    /// Why not all was loaded.
    pub failure: Option<String>,
    /// The key of the report in the bucket, if there is anything to report.
    pub report: Option<String>,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub checked_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub rev: u64,
}

/// The delimiter of all imports that were validated before there were others.
fn comma() -> char {
    ','
}

/// Sort keys of a pool's imports begin so.
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

/// Work that outlasts a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Task {
    DeleteCodePool {
        pool_id: CodePoolId,
    },
    /// Codes that were used long ago leave the table.
    ArchiveCodes {
        pool_id: CodePoolId,
    },
}

//! Storage of the codes of a pool: loading by imports, listing, redeeming and revealing.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use accounts::entities::AuditEntry;
use domain::{id::AccountId, secret::SigningKey, text::Metadata};
use jiff::Timestamp;
use table::{Commit, CommitError, Cursor, Entity, MAX_WRITES, Page, Query, Range, Table, TableError};

use crate::{
    claim::Code,
    code_pool::{Lot, Platform, PromoCode},
    entities::{CODE_SHARDS, Import, Stock, code_key, codes_partition},
    id::{CodeId, CodePoolId},
    patterns,
};

/// Number of codes that one transaction loads. Each code takes two writes.
pub const CODES_AT_ONCE: usize = MAX_WRITES / 2;

/// Row of a file that contains a code.
#[derive(Clone, Debug)]
pub struct NewCode {
    pub line: u64,
    pub code: PromoCode,
    pub platform: Platform,
    pub valid_until: Option<Timestamp>,
    pub metadata: Metadata,
    pub lot: Lot,
}

/// Row whose code the pool has, or once had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    pub line: u64,
    /// Line of the same file that added the code, if this file added it.
    pub first: Option<u64>,
}

/// Result of loading some rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    pub added: u64,
    pub duplicates: Vec<Duplicate>,
    /// Lots of all rows, duplicates included. The import that added a duplicate may have been interrupted before it
    /// put the lot on the shelf.
    pub lots: HashSet<Lot>,
}

/// Loads up to [`CODES_AT_ONCE`] rows. A row that this import already loaded before an interruption counts as
/// added. Any other code that the pool has, or once had, counts as a duplicate.
///
/// # Errors
/// When the table is unavailable.
pub async fn load(
    table: &Table,
    import: &Import,
    key: &SigningKey,
    rows: &[NewCode],
) -> Result<Loaded, TableError> {
    let mut loaded = Loaded::default();
    let mut seen = HashMap::new();
    let mut rows: Vec<(Code, &PromoCode)> =
        rows.iter().map(|row| (new_code(import, key, row), &row.code)).collect();
    // A transaction cannot write an item twice.
    rows.retain(|(code, _)| match seen.entry(code.id.clone()) {
        Entry::Vacant(new) => {
            new.insert(code.line);
            true
        }
        Entry::Occupied(first) => {
            loaded.duplicates.push(Duplicate { line: code.line, first: Some(*first.get()) });
            false
        }
    });
    while !rows.is_empty() {
        let mut commit = Commit::new(&patterns::CODE_LOAD);
        for (code, text) in &rows {
            // The stock item is written only together with a new code: a code that exists already has, or had, its
            // stock item.
            commit = commit.create("code", code).overwrite("stock", &Stock::of(code, (*text).clone()));
        }
        let failed = match commit.apply(table).await {
            Ok(()) => {
                loaded.added += rows.len() as u64;
                loaded.lots.extend(rows.iter().map(|(code, _)| code.lot));
                return Ok(loaded);
            }
            Err(CommitError::Table(error)) => return Err(error),
            Err(CommitError::Condition(failed)) => failed,
        };
        let mut there = HashSet::new();
        for failure in failed {
            let (code, _) = &rows[failure.position / 2];
            there.insert(code.id.clone());
            let found = failure.found.map(Code::from_item).transpose()?;
            loaded.lots.extend(found.as_ref().map(|found| found.lot));
            let first = found.filter(|found| found.import_id == import.id).map(|found| found.line);
            match first == Some(code.line) {
                true => loaded.added += 1,
                false => loaded.duplicates.push(Duplicate { line: code.line, first }),
            }
        }
        rows.retain(|(code, _)| !there.contains(&code.id));
    }
    Ok(loaded)
}

fn new_code(import: &Import, key: &SigningKey, row: &NewCode) -> Code {
    Code {
        id: CodeId::of(key, &import.pool_id, &row.code.identity()),
        account_id: import.account_id.clone(),
        pool_id: import.pool_id.clone(),
        masked: row.code.masked(),
        code: Some(row.code.clone()),
        platform: row.platform,
        valid_until: row.valid_until,
        lot: row.lot,
        metadata: row.metadata.clone(),
        import_id: import.id.clone(),
        line: row.line,
        redeemed_at: None,
        archived: None,
        rev: 1,
    }
}

/// Counts what an import has loaded, by reading all codes of the pool. Used for an import that cannot continue and
/// has loaded rows that it did not record.
pub async fn loaded_by(table: &Table, import: &Import) -> Result<Loaded, TableError> {
    let mut loaded = Loaded::default();
    let mut after = None;
    loop {
        let page = page(table, &import.pool_id, after, 1000).await?;
        for code in page.data.iter().filter(|code| code.import_id == import.id) {
            loaded.added += 1;
            loaded.lots.insert(code.lot);
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(loaded),
        }
    }
}

/// Code with its stock item. A code without a stock item has been claimed.
pub type Placed = (Code, Option<Stock>);

/// Reads a code of this account with its stock item. Returns `None` for a code of another account.
pub async fn read(table: &Table, account: &AccountId, id: &CodeId) -> Result<Option<Placed>, TableError> {
    let code: Option<Code> = table.get(&patterns::CODE, &code_key(id)).await?;
    match code.filter(|code| code.account_id == *account) {
        Some(code) => Ok(place(table, &patterns::CODE, vec![code]).await?.pop()),
        None => Ok(None),
    }
}

async fn place(
    table: &Table,
    pattern: &'static table::Pattern,
    codes: Vec<Code>,
) -> Result<Vec<Placed>, TableError> {
    let keys: Vec<_> = codes.iter().map(|code| Stock::key_of(&code.id, code.lot)).collect();
    let mut found = table.batch_get(pattern, &keys).await?;
    let placed = codes.into_iter().zip(keys);
    placed.map(|(code, key)| Ok((code, found.remove(&key).map(Stock::from_item).transpose()?))).collect()
}

/// Reads a page of a pool's codes with their stock items. The order has no meaning.
pub async fn list(
    table: &Table,
    pool: &CodePoolId,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<Placed>, TableError> {
    let page = page(table, pool, after, limit).await?;
    Ok(Page { data: place(table, &patterns::CODES, page.data).await?, next: page.next })
}

async fn page(
    table: &Table,
    pool: &CodePoolId,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<Code>, TableError> {
    let after = after.map(|cursor| cursor.0);
    let mut found: Vec<Code> = Vec::new();
    // The name of a shard is the first character of the numbers in it, so shard after shard gives the order of all
    // numbers.
    let begins = after.as_ref().and_then(|after| after.get(..1)).unwrap_or_default();
    for shard in CODE_SHARDS.into_iter().filter(|shard| *shard >= begins) {
        let query = Query {
            range: match &after {
                Some(after) => Range::After(after.clone()),
                None => Range::All,
            },
            limit: Some(limit + 1 - found.len()),
            consistent: true,
            ..Query::partition(codes_partition(pool, shard))
        };
        found.extend(table.query::<Code>(&patterns::CODES, query).await?);
        if found.len() > limit {
            break;
        }
    }
    Ok(Page::cut(found, limit, |code| code.id.number().to_owned()))
}

/// Returns the writes that mark a claimed code as redeemed, once.
pub fn redeem(code: &Code, audit: &AuditEntry, now: Timestamp) -> (Code, Commit) {
    let redeemed = Code { redeemed_at: Some(now), rev: code.rev + 1, ..code.clone() };
    let commit =
        Commit::new(&patterns::CODE_WRITE).replace("code", &redeemed, code.rev).create("audit", audit);
    (redeemed, commit)
}

/// Returns the write that records in the audit log who was shown a code.
pub fn reveal(audit: &AuditEntry) -> Commit {
    Commit::new(&patterns::CODE_WRITE).create("audit", audit)
}

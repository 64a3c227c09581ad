//! Storage of code pools: settings, lists, counters and deletion.

use accounts::entities::AuditEntry;
use domain::id::AccountId;
use jiff::Timestamp;
use projection::{job::Job, rollups};
use table::{
    Commit, CommitError, Cursor, Entity, Item, Key, Page, Query, Range, Table, TableError, key_of, purge,
};

use crate::{
    claim::Code,
    code_pool::{CodePool, Lots},
    entities::{
        ALL_CODE_POOLS, CODE_SHARDS, CodePoolStats, Shelf, Stock, Task, claims_partition, code_pool_key,
        code_pools_of, codes_partition, origins_partition,
    },
    id::CodePoolId,
    patterns,
};

/// Reads a pool of this account. Returns `None` for a pool of another account.
pub async fn read(
    table: &Table,
    account: &AccountId,
    id: &CodePoolId,
) -> Result<Option<CodePool>, TableError> {
    Ok(find(table, id).await?.filter(|pool| pool.account_id == *account))
}

/// Reads a pool of any account, for the platform's own work.
pub async fn find(table: &Table, id: &CodePoolId) -> Result<Option<CodePool>, TableError> {
    table.get(&patterns::CODE_POOL, &code_pool_key(id)).await
}

/// Reads the counters of a pool, which may be up to one second behind. Returns `None` if there is no such pool.
pub async fn stats(table: &Table, id: &CodePoolId) -> Result<Option<CodePoolStats>, TableError> {
    table.get(&patterns::CODE_POOL_STATS, &CodePoolStats::key_of(id)).await
}

/// Returns the writes that add a pool.
pub fn create(pool: &CodePool, audit: &AuditEntry) -> Commit {
    let pool_id = pool.id.clone();
    let stats = CodePoolStats { pool_id: pool_id.clone(), imported: 0, claimed: 0, redeemed: 0, rev: 1 };
    Commit::new(&patterns::CODE_POOL_WRITE)
        .create("pool", pool)
        .create("stats", &stats)
        .create("shelf", &Shelf { pool_id, lots: Lots::default(), rev: 1 })
        .create("audit", audit)
}

/// Replaces the pool that was read at revision `rev`.
pub async fn update(table: &Table, pool: &CodePool, rev: u64, audit: &AuditEntry) -> Result<(), CommitError> {
    Commit::new(&patterns::CODE_POOL_WRITE)
        .replace("pool", pool, rev)
        .create("audit", audit)
        .apply(table)
        .await
}

pub async fn list(
    table: &Table,
    account: &AccountId,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<CodePool>, TableError> {
    table.page(&patterns::CODE_POOLS, &[code_pools_of(account)], false, after, limit).await
}

/// Reads the pools of all accounts.
pub async fn all(table: &Table) -> Result<Vec<CodePool>, TableError> {
    table.query(&patterns::CODE_POOLS_ALL, Query::partition(ALL_CODE_POOLS.to_owned())).await
}

/// Marks a pool as being deleted and creates the job that deletes it. If the pool is marked already, the job is
/// created again.
pub async fn begin_delete(
    table: &Table,
    pool: &CodePool,
    audit: &AuditEntry,
    now: Timestamp,
) -> Result<(), CommitError> {
    let marked = CodePool { deleting: true, updated_at: now, rev: pool.rev + 1, ..pool.clone() };
    let job = Job::new(pool.id.as_str().to_owned(), &Task::DeleteCodePool { pool_id: pool.id.clone() }, now);
    Commit::new(&patterns::CODE_POOL_WRITE)
        .replace("pool", &marked, pool.rev)
        .overwrite("job", &job)
        .create("audit", audit)
        .apply(table)
        .await
}

/// Deletes up to `limit` codes, claims and code origins of a pool. Returns how many it deleted.
pub async fn purge_some(table: &Table, id: &CodePoolId, limit: usize) -> Result<usize, TableError> {
    let mut removed = 0;
    for shard in CODE_SHARDS {
        for partition in
            [codes_partition(id, shard), claims_partition(id, shard), origins_partition(id, shard)]
        {
            let query = Query {
                consistent: true,
                limit: Some((limit - removed).max(1)),
                ..Query::partition(partition)
            };
            let found = table.query_items(&patterns::CODE_POOL_PURGE, query).await?;
            removed += found.len();
            let keys: Vec<Key> = found.into_iter().flat_map(doomed).collect();
            purge(table, &patterns::CODE_POOL_PURGE, keys).await?;
            if removed >= limit {
                return Ok(removed);
            }
        }
    }
    Ok(removed)
}

/// Returns the key of an item of a pool. For a code, also returns the key of the stock item that the code may have.
fn doomed(item: Item) -> Vec<Key> {
    let mut keys: Vec<Key> = key_of(&item).into_iter().collect();
    if let Ok(code) = Code::from_item(item) {
        keys.push(Stock::key_of(&code.id, code.lot));
    }
    keys
}

/// Deletes the imports of a pool and the pool itself, once the pool holds no codes. The pool's own item is deleted
/// last: as long as that item exists, the work can be repeated.
pub async fn finish_delete(table: &Table, pool: &CodePool) -> Result<(), TableError> {
    rollups::forget(table, pool.id.as_str()).await?;
    let key = code_pool_key(&pool.id);
    let query = Query { consistent: true, range: Range::All, ..Query::partition(key.pk.clone()) };
    let found = table.query_items(&patterns::CODE_POOL_PURGE, query).await?;
    let rest: Vec<Key> = found.iter().filter_map(key_of).filter(|found| *found != key).collect();
    purge(table, &patterns::CODE_POOL_PURGE, rest).await?;
    purge(table, &patterns::CODE_POOL_PURGE, vec![key]).await
}

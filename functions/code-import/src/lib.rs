//! Files of codes that arrive in the bucket become codes of a pool.
//!
//! The key of a file says what it is: `imports/<pool>/<name>.csv`. A file that was announced
//! is named after its import; any other is an import of its own, known by its key and its
//! content. The event may come twice, and the work may be cut off at any point: the same
//! content loads nothing twice.
//!
//! Access patterns: `import.*`, `code.load`, `code.list`, `pool.read`, `account.read`, `claim.context`.

mod import;
mod rows;

use api::StartError;
use codes::code_pool::CodePool;
use codes::{
    code_pools,
    entities::{Import, ImportStatus},
    id::{CodePoolId, ImportId},
    imports,
};
use files::{Bucket, FilesError};
use jiff::Timestamp;
use serde::Deserialize;
use table::{Table, TableError};

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(transparent)]
    Store(#[from] TableError),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error("the report can't be written: {0}")]
    Report(#[from] csv::Error),
}

/// EventBridge's word that an object was created. Its key is plain, not URL-encoded.
#[derive(Clone, Debug, Deserialize)]
pub struct ObjectCreated {
    pub detail: Detail,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Detail {
    pub object: Object,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Object {
    pub key: String,
    pub etag: String,
}

pub struct Importer {
    table: Table,
    bucket: Bucket,
}

impl Importer {
    /// # Errors
    /// When a variable is missing.
    pub fn from_env(env: &aws::Env) -> Result<Self, StartError> {
        Ok(Self { table: Table::from_env(env)?, bucket: Bucket::from_env(env)? })
    }

    /// Imports a file, unless that was done before.
    ///
    /// # Errors
    /// When the table or the bucket is out of reach: the event has to come again. What is
    /// wrong with the file itself is no error, but the outcome of the import.
    pub async fn handle(&self, event: ObjectCreated) -> Result<(), ImportError> {
        let Object { key, etag } = event.detail.object;
        let Some(id) = pool_of(&key) else {
            tracing::warn!("an object under imports/ names no pool");
            return Ok(());
        };
        let Some(pool) = code_pools::find(&self.table, &id).await? else {
            tracing::warn!(pool_id = %id, "a file for a pool that is not there");
            return Ok(());
        };
        let etag = etag.trim_matches('"').to_owned();
        let import = self.import_of(&pool, &key, &etag).await?;
        let import_id = import.id.clone();
        self.run(&pool, import, &etag).await.inspect_err(|error| {
            tracing::error!(%import_id, cause = %error, "import cut off");
        })
    }

    /// The import that this content of this object is.
    async fn import_of(&self, pool: &CodePool, key: &str, etag: &str) -> Result<Import, ImportError> {
        if let Some(id) = announced(key)
            && let Some(import) = imports::read(&self.table, &pool.id, &id).await?
            && import.object == key
        {
            // Its link takes as many files as are put to it, until its time is over: one of them is imported.
            return match import.etag.as_deref().is_none_or(|known| known == etag) {
                true => Ok(import),
                false => self.surplus(import).await,
            };
        }
        let id = ImportId::of_object(key, etag);
        loop {
            if let Some(import) = imports::read(&self.table, &pool.id, &id).await? {
                return Ok(import);
            }
            let import =
                Import::new(id.clone(), &pool.account_id, &pool.id, key.to_owned(), Timestamp::now());
            if imports::adopt(&self.table, &import).await? {
                return Ok(import);
            }
        }
    }

    /// A failed import that says that more than one file came by the link of this import: one for all of them.
    async fn surplus(&self, import: Import) -> Result<Import, ImportError> {
        let now = Timestamp::now();
        let id = ImportId::of_object(&import.object, "surplus");
        let surplus = Import {
            status: ImportStatus::Failed,
            failure: Some("the link was used before: announce an import for each file".to_owned()),
            started_at: Some(now),
            finished_at: Some(now),
            ..Import::new(id, &import.account_id, &import.pool_id, import.object, now)
        };
        imports::adopt(&self.table, &surplus).await?;
        Ok(surplus)
    }
}

/// The pool in `imports/<pool>/…`.
fn pool_of(key: &str) -> Option<CodePoolId> {
    let (pool, name) = key.strip_prefix("imports/")?.split_once('/')?;
    pool.parse().ok().filter(|_| !name.is_empty())
}

/// The import in `imports/<pool>/<import>.csv`.
fn announced(key: &str) -> Option<ImportId> {
    key.rsplit('/').next()?.strip_suffix(".csv")?.parse().ok()
}

//! Import worker: loads files of codes from the bucket into code pools.
//!
//! The key of a file names its pool: `imports/<pool>/<name>.csv`. The file of an announced import has the import's id
//! as its name. Any other file becomes an import of its own, whose id follows from the file's key and ETag. Imports
//! are idempotent: the event of a file may arrive twice, and a worker may be stopped at any point, but each code is
//! loaded once.
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

/// EventBridge event about an object that was created in the bucket. The object's key is not URL-encoded.
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
    /// Creates the worker from its environment.
    ///
    /// # Errors
    /// When an environment variable is missing.
    pub fn from_env(env: &aws::Env) -> Result<Self, StartError> {
        Ok(Self { table: Table::from_env(env)?, bucket: Bucket::from_env(env)? })
    }

    /// Imports a file, unless its import is finished.
    ///
    /// # Errors
    /// When the table or the bucket is unavailable: Lambda must deliver the event again. A defect of the file is not
    /// an error: the import fails, and its `failure` holds the reason.
    pub async fn handle(&self, event: ObjectCreated) -> Result<(), ImportError> {
        let Object { key, etag } = event.detail.object;
        let Some(id) = pool_of(&key) else {
            tracing::warn!("object under imports/ ignored: its key has no pool id");
            return Ok(());
        };
        let Some(pool) = code_pools::find(&self.table, &id).await? else {
            tracing::warn!(pool_id = %id, "file ignored: the pool does not exist");
            return Ok(());
        };
        let etag = etag.trim_matches('"').to_owned();
        let import = self.import_of(&pool, &key, &etag).await?;
        let import_id = import.id.clone();
        self.run(&pool, import, &etag).await.inspect_err(|error| {
            tracing::error!(%import_id, cause = %error, "import cut off");
        })
    }

    /// Returns the import to which this version of the object belongs. Adds the import if the file was not announced.
    async fn import_of(&self, pool: &CodePool, key: &str, etag: &str) -> Result<Import, ImportError> {
        if let Some(id) = announced(key)
            && let Some(import) = imports::read(&self.table, &pool.id, &id).await?
            && import.object == key
        {
            // The upload link accepts any number of files until it expires. Only the first of them is imported.
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

    /// Returns a failed import for further files that were uploaded with the link of this import. All further files
    /// of one link share one failed import.
    async fn surplus(&self, import: Import) -> Result<Import, ImportError> {
        let now = Timestamp::now();
        let id = ImportId::of_object(&import.object, "surplus");
        let surplus = Import {
            status: ImportStatus::Failed,
            failure: Some(
                "the upload link was already used: announce a separate import for each file".to_owned(),
            ),
            started_at: Some(now),
            finished_at: Some(now),
            ..Import::new(id, &import.account_id, &import.pool_id, import.object, now)
        };
        imports::adopt(&self.table, &surplus).await?;
        Ok(surplus)
    }
}

/// Returns the id of the pool in a key `imports/<pool>/…`.
fn pool_of(key: &str) -> Option<CodePoolId> {
    let (pool, name) = key.strip_prefix("imports/")?.split_once('/')?;
    pool.parse().ok().filter(|_| !name.is_empty())
}

/// Returns the id of the import in a key `imports/<pool>/<import>.csv`.
fn announced(key: &str) -> Option<ImportId> {
    key.rsplit('/').next()?.strip_suffix(".csv")?.parse().ok()
}

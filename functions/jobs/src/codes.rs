//! The archive of used codes, and the deletion of code pools.

use domain::{
    claim::{Archived, Claim, Code},
    code_pool,
    id::CodePoolId,
};
use jiff::{Timestamp, ToSpan};
use store::{
    archive::{self, Used},
    code_pools,
    entities::JobKind,
};

use crate::{JobError, Jobs, pause};

/// Codes stay in the table for so long after they were claimed.
const ARCHIVE_AFTER_DAYS: i64 = 30;
const ARCHIVED_AT_ONCE: usize = 1000;
/// Codes and claims deleted before the job makes room for others.
const DELETED_AT_ONCE: usize = 2000;
/// No import or claim that began before the mark lasts longer.
const STRAGGLERS: i32 = 15;

const HEADER: [&str; 9] = [
    "code",
    "code_id",
    "platform",
    "expires_at",
    "metadata",
    "claim_id",
    "user",
    "claimed_at",
    "redeemed_at",
];

impl Jobs {
    /// Asks for the archiving of every pool.
    pub(crate) async fn archive_all(&self) -> Result<(), JobError> {
        for pool in code_pools::all(&self.table).await? {
            self.queue(&JobKind::ArchiveCodes { pool_id: pool.id }, 0).await?;
        }
        Ok(())
    }

    /// Moves the codes that were claimed long ago into files. First the file: cut off after
    /// that, the next time writes another one, and what was moved stays moved.
    pub(crate) async fn archive(&self, pool: &CodePoolId) -> Result<(), JobError> {
        let before = Timestamp::now() - (ARCHIVE_AFTER_DAYS * 24).hours();
        let due = archive::due(&self.table, pool, before, ARCHIVED_AT_ONCE).await?;
        // The index may lag behind, and show what has been moved already.
        let due: Vec<_> = due.into_iter().filter(|(claim, _)| claim.archived.is_none()).collect();
        if due.is_empty() {
            return Ok(());
        }
        let (csv, used) = written(pool, due)?;
        // Whoever writes the same codes at the same time, before or after one was redeemed,
        // writes another file.
        let Some((_, _, Archived { object, .. })) = used.first() else { return Ok(()) };
        self.bucket.write(object, csv).await?;
        archive::settle(&self.table, &used).await?;
        self.queue(&JobKind::ArchiveCodes { pool_id: pool.clone() }, 1).await
    }

    pub(crate) async fn delete_code_pool(&self, id: &CodePoolId) -> Result<(), JobError> {
        let Some(pool) = code_pools::find(&self.table, id).await? else { return Ok(()) };
        if !pool.deleting {
            return Ok(());
        }
        let again = JobKind::DeleteCodePool { pool_id: id.clone() };
        let removed = code_pools::purge_some(&self.table, id, DELETED_AT_ONCE).await?;
        if removed > 0 {
            return self.queue(&again, pause(removed, DELETED_AT_ONCE, STRAGGLERS)).await;
        }
        if Timestamp::now() < pool.updated_at + i64::from(STRAGGLERS).seconds() {
            return self.queue(&again, STRAGGLERS).await;
        }
        for folder in ["imports", "reports", "archive"] {
            self.bucket.delete_all(&format!("{folder}/{id}/")).await?;
        }
        Ok(code_pools::finish_delete(&self.table, &pool).await?)
    }
}

/// The file, and where in it each code lies. It is named after its content.
fn written(pool: &CodePoolId, due: Vec<(Claim, Code)>) -> Result<(Vec<u8>, Vec<Used>), JobError> {
    let line = |cells: [String; 9]| -> Result<Vec<u8>, JobError> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&cells)?;
        writer.into_inner().map_err(|error| JobError::Row(error.into_error().into()))
    };
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
    let mut csv = line(HEADER.map(str::to_owned))?;
    let mut places = Vec::with_capacity(due.len());
    for (claim, code) in &due {
        let text = code.code.as_ref().map(|code| code.as_str().to_owned()).unwrap_or_default();
        let row = line([
            text,
            code.id.to_string(),
            code.platform.name().to_owned(),
            time(code_pool::end(code.valid_until)),
            serde_json::to_string(&code.metadata)?,
            claim.id.to_string(),
            files::csv::neutral(&claim.user),
            time(claim.claimed_at),
            time(code.redeemed_at),
        ])?;
        places.push((csv.len() as u64, row.len() as u64 - 1));
        csv.extend_from_slice(&row);
    }
    let object = format!("archive/{pool}/{}.csv", domain::secret::sha256(&csv));
    let used = due.into_iter().zip(places).map(|((claim, code), (offset, length))| {
        (claim, code, Archived { object: object.clone(), offset, length })
    });
    let used = used.collect();
    Ok((csv, used))
}

//! Jobs of the codes family: the archive of used codes, and the deletion of code pools.

use jiff::{Timestamp, ToSpan};
use projection::job::{self, JobError, Jobs, Runner, Work, Worker, Workshop, pause};

use crate::{
    archive::{self, Used},
    claim::{Archived, Claim, Code},
    code_pool, code_pools,
    entities::Task,
    id::CodePoolId,
};

pub const JOBS: &[Jobs] = &[Jobs { kinds: &["delete_code_pool", "archive_codes"], by: Worker::Jobs }];

pub const RUNNERS: &[Runner] =
    &[Runner { kinds: &["delete_code_pool", "archive_codes"], run: job::run::<Task> }];

impl Work for Task {
    async fn work(self, workshop: &Workshop) -> Result<(), JobError> {
        match self {
            Task::DeleteCodePool { pool_id } => delete_code_pool(workshop, &pool_id).await,
            Task::ArchiveCodes { pool_id } => archive(workshop, &pool_id).await,
        }
    }
}

/// Number of days after a claim at which the text of the code moves from the table to the archive.
const ARCHIVE_AFTER_DAYS: i64 = 30;
const ARCHIVED_AT_ONCE: usize = 1000;
/// Number of codes and claims that one run deletes, before other jobs can run.
const DELETED_AT_ONCE: usize = 2000;
/// Seconds to wait after a pool was marked as being deleted. No import or claim that began before the mark takes
/// longer.
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

/// Queues an archive job for every pool.
pub async fn archive_all(workshop: &Workshop) -> Result<(), JobError> {
    for pool in code_pools::all(&workshop.table).await? {
        workshop.again(&Task::ArchiveCodes { pool_id: pool.id }, 0).await?;
    }
    Ok(())
}

/// Moves the texts of codes that were claimed long ago to a file. The file is written before the table. If the job
/// is interrupted in between, the next run writes another file, and codes that were moved stay moved.
async fn archive(workshop: &Workshop, pool: &CodePoolId) -> Result<(), JobError> {
    let before = Timestamp::now() - (ARCHIVE_AFTER_DAYS * 24).hours();
    let due = archive::due(&workshop.table, pool, before, ARCHIVED_AT_ONCE).await?;
    // The index is eventually consistent and may still list claims that are archived.
    let due: Vec<_> = due.into_iter().filter(|(claim, _)| claim.archived.is_none()).collect();
    if due.is_empty() {
        return Ok(());
    }
    let (csv, used) = written(pool, due)?;
    // The file is named after its content. A concurrent run that reads a code before or after its redemption writes
    // another file.
    let Some((_, _, Archived { object, .. })) = used.first() else { return Ok(()) };
    workshop.bucket.write(object, csv).await?;
    archive::settle(&workshop.table, &used).await?;
    workshop.again(&Task::ArchiveCodes { pool_id: pool.clone() }, 1).await
}

async fn delete_code_pool(workshop: &Workshop, id: &CodePoolId) -> Result<(), JobError> {
    let Some(pool) = code_pools::find(&workshop.table, id).await? else { return Ok(()) };
    if !pool.deleting {
        return Ok(());
    }
    let again = Task::DeleteCodePool { pool_id: id.clone() };
    let removed = code_pools::purge_some(&workshop.table, id, DELETED_AT_ONCE).await?;
    if removed > 0 {
        return workshop.again(&again, pause(removed, DELETED_AT_ONCE, STRAGGLERS)).await;
    }
    if Timestamp::now() < pool.updated_at + i64::from(STRAGGLERS).seconds() {
        return workshop.again(&again, STRAGGLERS).await;
    }
    for folder in ["imports", "reports", "archive"] {
        workshop.bucket.delete_all(&format!("{folder}/{id}/")).await?;
    }
    Ok(code_pools::finish_delete(&workshop.table, &pool).await?)
}

/// Returns the file and the location of each code in it. The file is named after its content.
fn written(pool: &CodePoolId, due: Vec<(Claim, Code)>) -> Result<(Vec<u8>, Vec<Used>), JobError> {
    let line = |cells: [String; 9]| -> Result<Vec<u8>, JobError> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&cells).map_err(std::io::Error::from)?;
        writer.into_inner().map_err(|error| JobError::Written(error.into_error()))
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

//! CSV files of exports. A file is uploaded to S3 in parts, so memory use does not grow with the waitlist.

use std::io;

use crate::{
    entities::{Export, ExportStatus},
    exports,
    id::{ExportId, WaitlistId},
    subscriber::Subscriber,
    subscribers,
};
use files::{PART, Upload, csv::neutral};
use jiff::Timestamp;
use projection::job::{JobError, Workshop};
use table::{CommitError, LIST_SHARDS};

/// Number of subscribers read in one query.
const ROWS_AT_ONCE: usize = 500;

const HEADER: [&str; 15] = [
    "id",
    "email",
    "name",
    "status",
    "referral_code",
    "referrals",
    "referred_by",
    "source",
    "consent_granted",
    "consent_text",
    "joined_at",
    "verified_at",
    "invited_at",
    "converted_at",
    "unsubscribed_at",
];

/// Writes the file of a running export, and marks the export as completed. A completed export stays unchanged. The
/// file of an expired export is deleted.
pub(crate) async fn write_file(workshop: &Workshop, id: &ExportId) -> Result<(), JobError> {
    let Some(export) = exports::read(&workshop.table, id).await? else { return Ok(()) };
    match export.status {
        ExportStatus::Running => {}
        ExportStatus::Completed => return Ok(()),
        // An earlier attempt of this job may have written the file before it was interrupted.
        ExportStatus::Expired => return remove(workshop, &export).await,
    }
    let rows = write(workshop, &export).await?;
    let completed = Export {
        status: ExportStatus::Completed,
        rows,
        completed_at: Some(Timestamp::now()),
        rev: export.rev + 1,
        ..export.clone()
    };
    match exports::update(&workshop.table, &completed, export.rev).await {
        Ok(()) => Ok(()),
        // The export has expired because a subscriber was erased, or another worker did the same job: read it again.
        Err(CommitError::Condition(_)) => Box::pin(write_file(workshop, id)).await,
        Err(error) => Err(error.into()),
    }
}

async fn write(workshop: &Workshop, export: &Export) -> Result<u64, JobError> {
    let mut upload = workshop.bucket.begin(&export.object).await?;
    let written = write_parts(workshop, export, &mut upload).await;
    // Aborting the upload is best effort.
    if written.is_err()
        && let Err(error) = upload.abort().await
    {
        tracing::warn!(cause = %error, "upload not aborted");
    }
    written
}

async fn write_parts(workshop: &Workshop, export: &Export, upload: &mut Upload) -> Result<u64, JobError> {
    let mut rows = 0;
    let mut writer = part();
    writer.write_record(HEADER).map_err(io::Error::from)?;
    for shard in 0..LIST_SHARDS {
        let mut after = None;
        loop {
            let page =
                subscribers::list_shard(&workshop.table, &export.waitlist_id, shard, after, ROWS_AT_ONCE)
                    .await?;
            for subscriber in &page {
                writer.write_record(row(subscriber)).map_err(io::Error::from)?;
                rows += 1;
            }
            if writer.get_ref().len() >= PART {
                upload.part(bytes(std::mem::replace(&mut writer, part()))?).await?;
            }
            after = page.last().map(|subscriber| subscriber.id.clone());
            if page.len() < ROWS_AT_ONCE {
                break;
            }
        }
    }
    upload.part(bytes(writer)?).await?;
    upload.finish().await?;
    Ok(rows)
}

/// Marks all exports of a waitlist as expired and deletes their files.
pub(crate) async fn purge_exports(workshop: &Workshop, waitlist: &WaitlistId) -> Result<(), JobError> {
    for listed in exports::all(&workshop.table, waitlist).await? {
        // The index is eventually consistent, so the export is read again from the table.
        while let Some(export) = exports::read(&workshop.table, &listed.id).await? {
            // The mark comes before the deletion: a worker that is still writing the file then finds the export
            // expired and deletes the file.
            if export.status != ExportStatus::Expired {
                let expired = Export { status: ExportStatus::Expired, rev: export.rev + 1, ..export.clone() };
                match exports::update(&workshop.table, &expired, export.rev).await {
                    Ok(()) => {}
                    Err(CommitError::Condition(_)) => continue,
                    Err(error) => return Err(error.into()),
                }
            }
            // The file of an export that was already marked is deleted too: the job that marked it may have been
            // interrupted.
            remove(workshop, &export).await?;
            break;
        }
    }
    Ok(())
}

async fn remove(workshop: &Workshop, export: &Export) -> Result<(), JobError> {
    Ok(workshop.bucket.delete(&export.object).await?)
}

fn part() -> csv::Writer<Vec<u8>> {
    csv::Writer::from_writer(Vec::with_capacity(PART + PART / 4))
}

fn bytes(part: csv::Writer<Vec<u8>>) -> Result<Vec<u8>, JobError> {
    part.into_inner().map_err(|error| JobError::Written(error.into_error()))
}

fn row(subscriber: &Subscriber) -> Vec<String> {
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let status = match serde_json::to_value(subscriber.status) {
        Ok(serde_json::Value::String(status)) => status,
        _ => String::new(),
    };
    [
        subscriber.id.to_string(),
        subscriber.email.as_str().to_owned(),
        text(subscriber.name.as_ref().map(domain::text::Name::as_str)),
        status,
        subscriber.referral_code.as_str().to_owned(),
        subscriber.referrals.to_string(),
        text(subscriber.referred_by.as_ref().map(domain::id::SubscriberId::as_str)),
        text(subscriber.source.as_ref().map(domain::text::Word::as_str)),
        subscriber.consent.granted.to_string(),
        text(subscriber.consent.text.as_ref().map(domain::text::Line::as_str)),
        subscriber.joined_at.to_string(),
        time(subscriber.verified_at),
        time(subscriber.invited_at),
        time(subscriber.converted_at),
        time(subscriber.unsubscribed_at),
    ]
    .into_iter()
    .map(|cell| neutral(&cell))
    .collect()
}

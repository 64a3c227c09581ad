//! Work that outlasts a request: exports, the deletion of a waitlist, the
//! deletion of exports that hold somebody who was erased.
//!
//! A job is an SQS message that names what to work on. It may come twice and may
//! be cut off at any point: doing it again goes on where it stands, or from the
//! start, with the same result.
//!
//! Access patterns: `export.*`, `subscriber.list`, `subscriber.erase`, `waitlist.write`.

mod deletion;
mod export;

use api::StartError;
use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use store::{CommitError, StoreError, Table, entities::JobKind};

#[derive(Debug, thiserror::Error)]
pub enum JobError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error("S3: {0}")]
    Files(String),
    #[error("SQS: {0}")]
    Queue(String),
    #[error("the message can't be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error("a row can't be written: {0}")]
    Row(#[from] csv::Error),
}

pub struct Jobs {
    table: Table,
    s3: aws_sdk_s3::Client,
    bucket: String,
    sqs: aws_sdk_sqs::Client,
    queue: String,
}

impl Jobs {
    /// # Errors
    /// When a variable is missing.
    pub fn from_env(env: &aws::Env) -> Result<Self, StartError> {
        Ok(Self {
            table: Table::from_env(env)?,
            s3: aws::client!(aws_sdk_s3, env, "S3", force_path_style = env.endpoint("S3").is_some())?,
            bucket: env.require("BUCKET_NAME")?.to_owned(),
            sqs: aws::client!(aws_sdk_sqs, env, "SQS")?,
            queue: env.require("JOBS_QUEUE_URL")?.to_owned(),
        })
    }

    /// Does the jobs of a batch; what failed is reported and comes again.
    ///
    /// # Errors
    /// Never: the type is that of all workers.
    pub async fn handle(&self, event: SqsEvent) -> Result<SqsBatchResponse, JobError> {
        let mut response = SqsBatchResponse::default();
        for message in event.records {
            let done = match serde_json::from_str(message.body.as_deref().unwrap_or_default()) {
                Ok(job) => self.work(job).await,
                Err(error) => Err(error.into()),
            };
            if let Err(error) = done {
                let id = message.message_id.unwrap_or_default();
                tracing::error!(cause = %error, queue_message_id = id, "job failed");
                response.add_failure(id);
            }
        }
        Ok(response)
    }

    async fn work(&self, job: JobKind) -> Result<(), JobError> {
        match job {
            JobKind::ExportSubscribers { export_id } => self.export(&export_id).await,
            JobKind::DeleteWaitlist { waitlist_id } => self.delete_waitlist(&waitlist_id).await,
            JobKind::PurgeExports { waitlist_id } => self.purge_exports(&waitlist_id).await,
        }
    }
}

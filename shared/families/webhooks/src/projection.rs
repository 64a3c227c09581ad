//! Each of an account's endpoints is told of what it wants to know.

use projection::{Context, Event, Record, stream::FollowError};
use table::{Entity, TableError};

use crate::{
    store,
    tasks::{self, WebhookTask},
};

/// Something that happened.
pub struct Happened(Event);

impl projection::Change for Happened {
    const READS: &'static [&'static str] = &[Event::TYPE];
    const SENDS_TO: &'static [&'static str] = &[tasks::QUEUE];

    /// An event is written once. Its item expires later, which is nothing to tell.
    fn read(record: &Record) -> Result<Option<Self>, TableError> {
        Ok(record.after()?.map(|event| Self(*event)))
    }

    /// Events count nowhere, so that they need not wait for what is counted of their account.
    fn lane(&self) -> String {
        format!("{} {}", Event::TYPE, self.0.account_id)
    }

    fn group(&self) -> String {
        self.0.account_id.to_string()
    }

    async fn follow(context: &Context, happened: &[Self]) -> Result<(), FollowError> {
        let Some(Self(first)) = happened.first() else { return Ok(()) };
        let endpoints = store::endpoints(&context.table, &first.account_id).await?;
        let mut told = Vec::new();
        for Self(event) in happened {
            let kind = context.kind(&event.kind)?;
            for endpoint in endpoints.iter().filter(|endpoint| endpoint.wants(&event.kind)) {
                let message = store::message_of(event, kind);
                told.push(WebhookTask::tell(event.account_id.clone(), endpoint.id.clone(), message));
            }
        }
        Ok(context.send_all(tasks::QUEUE, told).await?)
    }
}

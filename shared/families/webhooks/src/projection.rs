//! Projection of events to webhooks: sends each event to the account's endpoints that want it.

use projection::{Context, Event, Record, stream::FollowError};
use table::{Entity, TableError};

use crate::{
    store,
    tasks::{self, WebhookTask},
};

/// Event that was recorded.
pub struct Happened(Event);

impl projection::Change for Happened {
    const READS: &'static [&'static str] = &[Event::TYPE];
    const SENDS_TO: &'static [&'static str] = &[tasks::QUEUE];

    /// Reads the event of a new item. An event is written once; the later expiry of its item is ignored.
    fn read(record: &Record) -> Result<Option<Self>, TableError> {
        Ok(record.after()?.map(|event| Self(*event)))
    }

    /// Returns a lane of its own for the events of an account. Telling endpoints changes no counters, so events
    /// need not wait for the other changes of the account.
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

//! Event sources that invoke functions besides requests: the table's stream, queues, events and schedules. A
//! failed invocation is retried, and no record, message or event is skipped because the process was killed.

mod event;
mod queue;
mod schedule;
mod stream;

use std::{path::Path, time::Duration};

pub use event::EventPoller;
pub use queue::QueuePoller;
pub use schedule::SchedulePoller;
pub use stream::StreamPoller;

use crate::{
    error::PlatformError,
    sqs::{Received, Sqs},
};

/// Maximum number of concurrent invocations of a function for the messages of a queue or for events. A
/// development machine has few processors; Lambda allows a thousand invocations.
const MAX_CONCURRENCY: u32 = 8;

/// Waits for the next messages of a queue, without a time-out.
async fn next_messages(sqs: &Sqs, queue: &str, max: u32) -> Vec<Received> {
    loop {
        match sqs.receive(queue, max, Duration::from_secs(20)).await {
            Ok(messages) if messages.is_empty() => {}
            Ok(messages) => return messages,
            Err(error) => {
                tracing::error!(queue, cause = %error, "can't receive");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

fn read_checkpoint(file: &Path) -> Option<String> {
    std::fs::read_to_string(file).ok().filter(|text| !text.is_empty())
}

/// Replaces the file by a rename: a process that is killed here leaves the old file or the new one.
fn write_checkpoint(file: &Path, position: &str) -> Result<(), PlatformError> {
    let fresh = file.with_extension("new");
    std::fs::write(&fresh, position)
        .and_then(|()| std::fs::rename(&fresh, file))
        .map_err(|source| PlatformError::File { path: file.to_owned(), source })
}

//! Mails that are due again: put off because SES took none, of unknown outcome, or of a worker that was lost.

use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use messages::{
    mails,
    senders::{self, Sender},
    tasks::MessageTask,
};
use table::LIST_SHARDS;

use crate::{CampaignScheduler, SchedulerError};

/// Mails that are noted together, and then queued: what a crash in between leaves comes again.
const TOGETHER: usize = 10;
/// A mail that was queued so long ago, and that no worker has taken, is queued once more.
const QUEUED_WITHIN: SignedDuration = SignedDuration::from_mins(15);
/// From one look to the next, in seconds.
const BETWEEN_LOOKS: u32 = 60;

/// When mails of campaigns that are due in one look may be queued. All of them at once would be put off by workers one by
/// one, and all be due again at the same time.
pub(crate) struct MailTurns {
    stopped_until: Option<Timestamp>,
    per_second: u32,
    given: AtomicU32,
}

impl MailTurns {
    /// `None`: now. Otherwise about the time at which the mail can be sent.
    pub(crate) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let before = self.given.fetch_add(1, Ordering::Relaxed);
        let at_pace = SignedDuration::from_millis(i64::from(before) * 1000 / i64::from(self.per_second));
        match self.stopped_until {
            Some(stopped) => Some(stopped + at_pace),
            None => (at_pace.as_secs() >= i64::from(BETWEEN_LOOKS)).then(|| now + at_pace),
        }
    }
}

impl CampaignScheduler {
    pub(crate) async fn mail_turns(&self, now: Timestamp) -> Result<MailTurns, SchedulerError> {
        let stopped_until = senders::stopped_until(&self.table, &Sender::ses_account()).await?;
        let stopped_until = stopped_until.filter(|until| *until > now);
        Ok(MailTurns { stopped_until, per_second: self.mails_per_second.get(), given: AtomicU32::new(0) })
    }

    /// Queues mails that are due, no more than can be sent until the next look: after a day without SES there may be
    /// a hundred thousand of them, and a mail that is asked for now must not wait behind them. While SES takes none,
    /// none is queued.
    pub(crate) async fn look_at_mails(
        &self,
        turns: &MailTurns,
        now: Timestamp,
    ) -> Result<(), SchedulerError> {
        if turns.stopped_until.is_some() {
            return Ok(());
        }
        let each = (self.mails_per_second.get() * BETWEEN_LOOKS / u32::from(LIST_SHARDS)) as usize;
        let looks = (0..LIST_SHARDS).map(|shard| self.queue_mails(shard, now, each));
        join_all(looks).await.into_iter().collect()
    }

    async fn queue_mails(&self, shard: u8, now: Timestamp, most: usize) -> Result<(), SchedulerError> {
        let due = mails::due(&self.table, shard, now, most).await?;
        for together in due.chunks(TOGETHER) {
            let noted = join_all(together.iter().map(async |mail| {
                let noted = mails::write(&self.table, &mail.queued(now + QUEUED_WITHIN, now)).await?;
                Ok::<_, SchedulerError>(noted.then(|| MessageTask::Mail { message_id: mail.id.clone() }))
            }));
            let (noted, failed): (Vec<_>, Vec<_>) = noted.await.into_iter().partition(Result::is_ok);
            let tasks = noted.into_iter().flatten().flatten().map(|task| (None, task));
            self.mails.send_all(tasks.collect()).await?;
            failed.into_iter().collect::<Result<Vec<_>, _>>()?;
        }
        Ok(())
    }
}

//! Mails that are due again: deferred mails, mails with an unknown outcome, mails of lost workers.

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

/// Number of mails that are marked as queued, and then queued, together. If the worker stops in between, these mails
/// are due again after [`QUEUED_WITHIN`].
const TOGETHER: usize = 10;
/// Time after which a queued mail that no worker has taken is queued again.
const QUEUED_WITHIN: SignedDuration = SignedDuration::from_mins(15);
/// Time between two runs of the schedule, in seconds.
const BETWEEN_LOOKS: u32 = 60;

/// Times at which the mails of campaigns that are due in one run may be queued. If all of them were queued at once,
/// workers would defer them one by one, and all of them would be due again at the same time.
pub(crate) struct MailTurns {
    stopped_until: Option<Timestamp>,
    per_second: u32,
    given: AtomicU32,
}

impl MailTurns {
    /// Returns `None` if the mail may be queued now, and otherwise the approximate time at which it can be sent.
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

    /// Queues mails that are due, at most as many as can be sent until the next run. After a day without SES, a
    /// hundred thousand mails may be due, and a mail that is requested now must not wait behind them. While SES
    /// accepts no mail, none is queued.
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

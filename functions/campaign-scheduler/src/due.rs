//! Work that is due: deferred messages, unknown outcomes, triggers by inactivity and birthday.

use std::time::{Duration, Instant};

use campaigns::{
    campaign::{Campaign, CampaignStatus, Send, SendReason, SendStatus, Template},
    sends::{self, Sending},
};
use domain::id::SendId;
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use table::{LIST_SHARDS, TableError};

use crate::{CampaignScheduler, SchedulerError, mails::MailTurns};

/// Number of due messages that are read from a shard at once.
const AT_ONCE: usize = 100;
/// Number of messages that are marked as queued, and then queued, together. If the worker stops in between, these
/// messages are due again after [`QUEUED_WITHIN`].
const TOGETHER: usize = 10;
/// Time after which a run handles no further messages. The next run handles the rest.
const PATIENCE: Duration = Duration::from_secs(40);
/// Time after which a message that was queued again and not sent is queued once more.
const QUEUED_WITHIN: SignedDuration = SignedDuration::from_mins(15);
/// Time for which a message whose worker was lost waits for a callback of its provider. Then the message is given up.
const HEARD_WITHIN: SignedDuration = SignedDuration::from_hours(24);

impl CampaignScheduler {
    pub(crate) async fn look(&self, now: Timestamp) -> Result<(), SchedulerError> {
        let turns = self.mail_turns(now).await?;
        let mails = self.look_at_mails(&turns, now).await;
        let due = self.look_at_messages(&turns, now).await;
        let timed = self.look_at_campaigns(now).await;
        mails.and(due).and(timed)
    }

    async fn look_at_messages(&self, turns: &MailTurns, now: Timestamp) -> Result<(), SchedulerError> {
        let began = Instant::now();
        let looks = (0..LIST_SHARDS).map(|shard| self.look_at_shard(shard, turns, now, began));
        join_all(looks).await.into_iter().collect()
    }

    async fn look_at_shard(
        &self,
        shard: u8,
        turns: &MailTurns,
        now: Timestamp,
        began: Instant,
    ) -> Result<(), SchedulerError> {
        loop {
            let due = sends::due(&self.table, shard, now, AT_ONCE).await?;
            let mut outcome = Ok(());
            for together in due.chunks(TOGETHER) {
                if began.elapsed() > PATIENCE {
                    return outcome;
                }
                let moved =
                    join_all(together.iter().map(|send| self.move_on(send.id.clone(), turns, now))).await;
                let (queued, failed): (Vec<_>, Vec<_>) = moved.into_iter().partition(Result::is_ok);
                let queued: Vec<SendId> = queued.into_iter().flatten().flatten().collect();
                self.queue(&queued).await?;
                // The failure of one message does not stop the others.
                let failed = failed.into_iter().collect::<Result<Vec<_>, _>>();
                outcome = failed.map_err(SchedulerError::from).map(drop).and(outcome);
            }
            if due.len() < AT_ONCE || outcome.is_err() {
                return outcome;
            }
        }
    }

    /// Moves a due message to its next state. Returns the id of a message that must be sent now.
    async fn move_on(
        &self,
        id: SendId,
        turns: &MailTurns,
        now: Timestamp,
    ) -> Result<Option<SendId>, TableError> {
        // The index is eventually consistent: the item itself decides.
        let Some(Sending { send, campaign }) = sends::read(&self.table, &id).await? else { return Ok(None) };
        let Some(after) = next(&send, now) else { return Ok(None) };
        let by_mail = campaign.as_ref().is_some_and(|campaign| {
            !send.test && matches!(campaign.settings.template, Template::Email { .. })
        });
        let paused = campaign.filter(|campaign| !send.test && campaign.status != CampaignStatus::Active);
        let turn =
            (by_mail && paused.is_none() && after.status == SendStatus::Queued).then(|| turns.next(now));
        let after = match turn.flatten() {
            Some(turn) => Send { due_at: Some(turn), ..send.now(SendStatus::Deferred, now) },
            None => after,
        };
        match (after.status, paused) {
            (SendStatus::Queued, Some(paused)) => {
                sends::park(&self.table, &Send { due_at: None, ..after }, &paused).await?;
                Ok(None)
            }
            // The message may never have been sent: it gives back its cap, so that other campaigns may send to the
            // customer.
            (SendStatus::Refused, _) => {
                let cap = sends::cap_of(&self.table, &send).await?;
                sends::give_back(&self.table, &after, cap.as_ref()).await?;
                Ok(None)
            }
            (status, _) => {
                let moved = sends::update(&self.table, &after).await?;
                Ok((moved && status == SendStatus::Queued).then_some(id))
            }
        }
    }

    async fn look_at_campaigns(&self, now: Timestamp) -> Result<(), SchedulerError> {
        let mut outcome = Ok(());
        for listed in campaigns::timed(&self.table).await? {
            if is_another_day(&listed, now)
                && let Err(error) = self.look_at(&listed, now).await
            {
                // The failure of one campaign does not stop the others.
                tracing::error!(cause = %error, campaign = %listed.id, "trigger of a campaign not checked");
                outcome = Err(error);
            }
        }
        outcome
    }

    async fn look_at(&self, listed: &Campaign, now: Timestamp) -> Result<(), SchedulerError> {
        // The index is eventually consistent: the item itself decides.
        let Some(campaign) = self.going(&listed.id, listed.run).await? else { return Ok(()) };
        if is_another_day(&campaign, now) {
            // The tasks are queued first: if the worker stops before the note, the next run queues them again.
            self.look_after(&campaign, campaign.swept_until, now).await?;
            campaigns::looked(&self.table, &campaign, now).await?;
        }
        Ok(())
    }
}

/// True if the campaign's trigger has not been checked yet on the current day of the campaign's time zone. Triggers
/// are checked once a day.
fn is_another_day(campaign: &Campaign, now: Timestamp) -> bool {
    let zone = campaign.settings.time_zone.zone();
    let date = |at: Timestamp| at.to_zoned(zone.clone()).date();
    campaign.swept_until.is_none_or(|looked| date(looked) < date(now))
}

/// Returns the next state of a message that is due; `None` if the message is not due.
fn next(send: &Send, now: Timestamp) -> Option<Send> {
    if send.due_at.is_none_or(|due| due > now) {
        return None;
    }
    match send.status {
        SendStatus::Queued | SendStatus::Deferred => {
            Some(Send { due_at: Some(now + QUEUED_WITHIN), ..send.now(SendStatus::Queued, now) })
        }
        SendStatus::Sending => {
            Some(Send { due_at: Some(now + HEARD_WITHIN), ..send.now(SendStatus::Unknown, now) })
        }
        SendStatus::Unknown => Some(send.refused(SendReason::OutcomeUnknown, now)),
        _ => None,
    }
}

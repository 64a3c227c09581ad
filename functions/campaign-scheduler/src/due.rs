//! What time brings: quiet hours that are over, outcomes that nobody tells, absences and birthdays.

use std::time::{Duration, Instant};

use domain::{
    campaign::{Campaign, CampaignStatus, Send, SendReason, SendStatus},
    id::SendId,
};
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use store::{
    StoreError, campaigns,
    sends::{self, Sending},
};

use crate::{CampaignScheduler, SchedulerError};

/// Messages of each shard that are looked at in one go.
const AT_ONCE: usize = 100;
/// Messages that are looked at together, and then queued: what a crash in between leaves comes again.
const TOGETHER: usize = 10;
/// How long a look may go on; what is left is looked at by the next one.
const PATIENCE: Duration = Duration::from_secs(40);
/// A message that was queued again so long ago, and not sent, is queued once more.
const QUEUED_WITHIN: SignedDuration = SignedDuration::from_mins(15);
/// How long something may be heard of a message whose worker was lost.
const HEARD_WITHIN: SignedDuration = SignedDuration::from_hours(24);

impl CampaignScheduler {
    pub(crate) async fn look(&self, now: Timestamp) -> Result<(), SchedulerError> {
        let due = self.look_at_messages(now).await;
        let timed = self.look_at_campaigns(now).await;
        due.and(timed)
    }

    async fn look_at_messages(&self, now: Timestamp) -> Result<(), SchedulerError> {
        let began = Instant::now();
        loop {
            let due = sends::due(&self.table, now, AT_ONCE).await?;
            for together in due.chunks(TOGETHER) {
                if began.elapsed() > PATIENCE {
                    return Ok(());
                }
                let moved = join_all(together.iter().map(|send| self.move_on(send.id.clone(), now))).await;
                let (queued, failed): (Vec<_>, Vec<_>) = moved.into_iter().partition(Result::is_ok);
                let queued: Vec<SendId> = queued.into_iter().flatten().flatten().collect();
                self.queue(&queued).await?;
                failed.into_iter().collect::<Result<Vec<_>, _>>()?;
            }
            if due.len() < AT_ONCE {
                return Ok(());
            }
        }
    }

    /// Moves a message on whose time has come; its id, if it is to be sent.
    async fn move_on(&self, id: SendId, now: Timestamp) -> Result<Option<SendId>, StoreError> {
        // The index may lag behind: the item itself decides.
        let Some(sending) = sends::read(&self.table, &id).await? else { return Ok(None) };
        let Some(after) = next(&sending, now) else { return Ok(None) };
        let moved = sends::update(&self.table, &after).await?;
        Ok((moved && after.due_at.is_some() && after.status == SendStatus::Queued).then_some(id))
    }

    async fn look_at_campaigns(&self, now: Timestamp) -> Result<(), SchedulerError> {
        let mut outcome = Ok(());
        for listed in campaigns::timed(&self.table).await? {
            if is_another_day(&listed, now)
                && let Err(error) = self.look_at(&listed, now).await
            {
                // One campaign's trouble is not the others'.
                tracing::error!(cause = %error, campaign = %listed.id, "campaign not looked at");
                outcome = Err(error);
            }
        }
        outcome
    }

    async fn look_at(&self, listed: &Campaign, now: Timestamp) -> Result<(), SchedulerError> {
        // The index may lag behind: the item itself decides.
        let Some(campaign) = self.going(&listed.id, listed.run).await? else { return Ok(()) };
        if is_another_day(&campaign, now) {
            // First the tasks: cut off in between, they are asked for again.
            self.look_after(&campaign, campaign.looked_until, now).await?;
            campaigns::looked(&self.table, &campaign, now).await?;
        }
        Ok(())
    }
}

/// Triggers are looked after once a day, by the campaign's calendar.
fn is_another_day(campaign: &Campaign, now: Timestamp) -> bool {
    let zone = campaign.settings.time_zone.zone();
    let date = |at: Timestamp| at.to_zoned(zone.clone()).date();
    campaign.looked_until.is_none_or(|looked| date(looked) < date(now))
}

/// What becomes of a message whose time has come.
fn next(Sending { send, campaign }: &Sending, now: Timestamp) -> Option<Send> {
    if send.due_at.is_none_or(|due| due > now) {
        return None;
    }
    let goes =
        send.test || campaign.as_ref().is_none_or(|campaign| campaign.status == CampaignStatus::Active);
    match send.status {
        SendStatus::Queued | SendStatus::Deferred => {
            let queued = send.now(SendStatus::Queued, now);
            // Of a paused campaign it waits until that is resumed.
            Some(if goes { Send { due_at: Some(now + QUEUED_WITHIN), ..queued } } else { queued })
        }
        SendStatus::Sending => {
            Some(Send { due_at: Some(now + HEARD_WITHIN), ..send.now(SendStatus::Unknown, now) })
        }
        SendStatus::Unknown => Some(send.refused(SendReason::OutcomeUnknown, now)),
        _ => None,
    }
}

//! Audiences of campaigns: pages of a program's customers.

use campaigns::{
    campaign::{Campaign, Send, SendStatus, Trigger},
    sends,
    tasks::CampaignTask,
};
use domain::id::{CampaignId, CustomerId, ProgramId, SendId};
use jiff::{SignedDuration, Timestamp, civil::Date};
use stamps::{customer::Customer, programs, stamp::Card};
use table::LIST_SHARDS;

use crate::{CampaignScheduler, SchedulerError};

/// Number of customers, or of messages, in a page.
const PAGE: usize = 100;

/// Page of a fan-out: the customers of one shard after `after`, for the period from `since` to `until`.
pub(crate) struct Page {
    pub run: u32,
    pub shard: u8,
    pub after: Option<CustomerId>,
    pub since: Option<Timestamp>,
    pub until: Timestamp,
}

impl CampaignScheduler {
    /// Reads a campaign; `None` if it is paused, is being deleted, or was started again since this run.
    pub(crate) async fn going(&self, id: &CampaignId, run: u32) -> Result<Option<Campaign>, SchedulerError> {
        let found = campaigns::find(&self.table, id).await?;
        Ok(found.filter(|campaign| campaign.is_going() && campaign.run == run))
    }

    pub(crate) async fn start(&self, id: &CampaignId, run: u32) -> Result<(), SchedulerError> {
        let Some(campaign) = self.going(id, run).await? else { return Ok(()) };
        for shard in 0..LIST_SHARDS {
            // Messages that were created before a pause and not sent are queued again.
            self.ask(&CampaignTask::Requeue { campaign_id: id.clone(), run, shard, after: None }).await?;
        }
        let now = Timestamp::now();
        self.look_after(&campaign, None, now).await?;
        // A conflict is harmless: another worker has checked the trigger, too, or the campaign was paused.
        campaigns::looked(&self.table, &campaign, now).await?;
        Ok(())
    }

    /// Queues the first page of each shard of a campaign's audience. Milestone campaigns have no audience to go
    /// through.
    pub(crate) async fn look_after(
        &self,
        campaign: &Campaign,
        since: Option<Timestamp>,
        until: Timestamp,
    ) -> Result<(), SchedulerError> {
        if let Trigger::Milestone { .. } = campaign.settings.trigger {
            return Ok(());
        }
        for shard in 0..LIST_SHARDS {
            let task = CampaignTask::FanOut {
                campaign_id: campaign.id.clone(),
                run: campaign.run,
                shard,
                after: None,
                since,
                until,
            };
            self.ask(&task).await?;
        }
        Ok(())
    }

    pub(crate) async fn fan_out(&self, id: &CampaignId, page: Page) -> Result<(), SchedulerError> {
        let Page { run, shard, after, since, until } = page;
        let Some(campaign) = self.going(id, run).await? else { return Ok(()) };
        let program_id = &campaign.settings.program_id;
        let program = programs::find(&self.table, program_id).await?.filter(|program| !program.deleting);
        let Some(program) = program else { return Ok(()) };
        let cards = sends::audience(&self.table, program_id, shard, after.as_ref(), PAGE).await?;
        let next = cards.last().filter(|_| cards.len() >= PAGE).map(|card| card.customer_id.clone());
        let wanted = match &campaign.settings.trigger {
            Trigger::Birthday => self.born(&campaign, cards, since, until).await?,
            trigger => {
                // The program's settings may have changed since the card was written.
                let inactivity = program.settings.inactivity_days;
                let has = |card: &Card| has(trigger, &card.clone().watched(inactivity), since, until);
                cards.into_iter().filter(has).map(|card| (card, None)).collect()
            }
        };
        let message = |(card, birthday): &(Card, Option<Date>)| {
            Send::new(&campaign, card, &campaign.occasion(card, *birthday), until)
        };
        let queued = sends::create(&self.table, wanted.iter().map(message).collect()).await?;
        self.queue(&queued).await?;
        match next {
            None => Ok(()),
            after => {
                let task = CampaignTask::FanOut { campaign_id: id.clone(), run, shard, after, since, until };
                self.ask(&task).await
            }
        }
    }

    /// Returns the cards of customers whose birthday was in the period, with the date of the birthday.
    async fn born(
        &self,
        campaign: &Campaign,
        cards: Vec<Card>,
        since: Option<Timestamp>,
        until: Timestamp,
    ) -> Result<Vec<(Card, Option<Date>)>, SchedulerError> {
        let ids: Vec<_> = cards.iter().map(|card| card.customer_id.clone()).collect();
        let customers = sends::customers(&self.table, &ids).await?;
        let zone = campaign.settings.time_zone.zone();
        let date = |at: Timestamp| at.to_zoned(zone.clone()).date();
        let (from, today) = (since.map(date), date(until));
        let born = |card: Card| {
            let birthday =
                customers.get(&card.customer_id).and_then(|customer: &Customer| customer.birthday)?;
            came(birthday, from, today).map(|on| (card, Some(on)))
        };
        Ok(cards.into_iter().filter_map(born).collect())
    }

    pub(crate) async fn requeue(
        &self,
        id: &CampaignId,
        run: u32,
        shard: u8,
        after: Option<SendId>,
    ) -> Result<(), SchedulerError> {
        if self.going(id, run).await?.is_none() {
            return Ok(());
        }
        let page = sends::shard(&self.table, id, shard, after.as_ref(), PAGE).await?;
        let queued = page.iter().filter(|send| send.status == SendStatus::Queued && !send.test);
        let queued: Vec<SendId> = queued.map(|send| send.id.clone()).collect();
        self.queue(&queued).await?;
        match page.last().filter(|_| page.len() >= PAGE) {
            None => Ok(()),
            Some(last) => {
                let after = Some(last.id.clone());
                self.ask(&CampaignTask::Requeue { campaign_id: id.clone(), run, shard, after }).await
            }
        }
    }

    pub(crate) async fn milestone(
        &self,
        program: &ProgramId,
        customer: &CustomerId,
        reached: u64,
    ) -> Result<(), SchedulerError> {
        let now = Timestamp::now();
        let Some(card) = stamps::customers::card(&self.table, customer, program).await? else {
            return Ok(());
        };
        for campaign in campaigns::of_milestones(&self.table, program).await? {
            // The index is eventually consistent: the item itself decides.
            let found = campaigns::find(&self.table, &campaign.id).await?;
            let Some(campaign) = found.filter(Campaign::is_going) else { continue };
            let wanted = matches!(&campaign.settings.trigger,
                Trigger::Milestone { visits } if u64::from(visits.get()) == reached);
            if wanted {
                let message = Send::new(&campaign, &card, &campaign.occasion(&card, None), now);
                let queued = sends::create(&self.table, vec![message]).await?;
                self.queue(&queued).await?;
            }
        }
        Ok(())
    }
}

/// True if the trigger selects the card: for a segment at `until`, for inactivity in the period from `since` to
/// `until`.
fn has(trigger: &Trigger, card: &Card, since: Option<Timestamp>, until: Timestamp) -> bool {
    match trigger {
        Trigger::Segment { segment } => segment.has(card, until),
        Trigger::Inactivity { days } => {
            let absent = SignedDuration::from_hours(24 * i64::from(days.get()));
            let at = card.last_visit_at.unwrap_or(card.enrolled_at) + absent;
            at <= until && since.is_none_or(|since| since < at)
        }
        Trigger::Birthday | Trigger::Milestone { .. } => false,
    }
}

/// Returns the date of a birthday that is after `from` and not after `today`. Without `from`, only `today` counts.
fn came(birthday: Date, from: Option<Date>, today: Date) -> Option<Date> {
    let on = |year: i16| {
        let day = Date::new(year, birthday.month(), birthday.day());
        // 29 February in a year without that day: 28 February.
        day.or_else(|_| Date::new(year, 2, 28))
    };
    let after = from.unwrap_or_else(|| today.yesterday().unwrap_or(today));
    let days = [after.year(), today.year()].into_iter().filter_map(|year| on(year).ok());
    days.into_iter().find(|day| after < *day && *day <= today)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_birthday_comes_once_a_year() {
        let date = |text: &str| text.parse::<Date>().unwrap();
        for (birthday, from, today, comes) in [
            ("1990-11-21", None, "2026-11-21", true),
            ("1990-11-21", None, "2026-11-22", false),
            ("1990-11-21", Some("2026-11-20"), "2026-11-21", true),
            ("1990-11-21", Some("2026-11-21"), "2026-11-22", false),
            // No check took place for three days, over New Year.
            ("1990-12-31", Some("2026-12-30"), "2027-01-02", true),
            ("1990-01-02", Some("2026-12-30"), "2027-01-02", true),
            ("1990-01-03", Some("2026-12-30"), "2027-01-02", false),
            ("2000-02-29", None, "2027-02-28", true),
            ("2000-02-29", None, "2028-02-28", false),
            ("2000-02-29", None, "2028-02-29", true),
        ] {
            let came = came(date(birthday), from.map(date), date(today));
            assert_eq!(came.is_some(), comes, "{birthday} {from:?} {today}");
            // A birthday that is found late belongs to the year in which it was.
            assert!(came.is_none_or(|on| on.year() == 2026 || birthday != "1990-12-31"));
        }
    }
}

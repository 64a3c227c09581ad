//! Active, returning and at-risk customers of a program, computed from its monthly counters.

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use stamps::{programs::ProgramMonth, stamp::Month};

use crate::dto::{Cohort, MonthView};

/// Number of months in a response, including the current one.
const MONTHS: i32 = 12;
/// Days, including today, for which a customer is active after a visit.
const ACTIVE_DAYS: i64 = 30;

/// Monthly counters of a program, evaluated at the time `now`.
pub struct Visitors<'a> {
    months: &'a [ProgramMonth],
    now: Timestamp,
}

impl<'a> Visitors<'a> {
    pub fn new(months: &'a [ProgramMonth], now: Timestamp) -> Self {
        Self { months, now }
    }

    fn today(&self) -> Date {
        self.now.to_zoned(TimeZone::UTC).date()
    }

    /// Counts the customers whose last visit was within the last [`ACTIVE_DAYS`] days.
    pub fn active(&self) -> u64 {
        let since = self.today().saturating_sub((ACTIVE_DAYS - 1).days());
        self.on_days(|month| &month.seen, |day| day >= since)
    }

    /// Counts the customers who are at risk today.
    pub fn at_risk(&self) -> u64 {
        let today = self.today();
        self.on_days(|month| &month.at_risk, |day| day <= today)
    }

    /// Sums one of the counters by day over all days for which `wanted` returns true.
    fn on_days(
        &self,
        counts: impl Fn(&ProgramMonth) -> &std::collections::BTreeMap<i32, u64>,
        wanted: impl Fn(Date) -> bool,
    ) -> u64 {
        let days = self.months.iter().flat_map(|month| {
            let days = counts(month).iter();
            days.filter_map(|(day, count)| Some((month.month.day(i8::try_from(*day).ok()?)?, *count)))
        });
        days.filter(|(day, _)| wanted(*day)).map(|(_, count)| count).sum()
    }

    /// Returns the last [`MONTHS`] months, oldest first. The current month is the last one.
    fn last(&self) -> impl Iterator<Item = Month> {
        let this = Month::of(self.now);
        (1 - MONTHS..=0).map(move |months| this.plus(months))
    }

    pub fn months(&self) -> Vec<MonthView> {
        let view = |month: Month| {
            let came = |cohort: &ProgramMonth| cohort.came.get(&month.since(cohort.month)).copied();
            let active = self.months.iter().filter_map(came).sum();
            let own = self.months.iter().find(|cohort| cohort.month == month);
            let new = own.and_then(came).unwrap_or_default();
            MonthView { month, active, new, returning: active.saturating_sub(new) }
        };
        self.last().map(view).collect()
    }

    pub fn cohorts(&self) -> Vec<Cohort> {
        let this = Month::of(self.now);
        let cohort = |month: Month| {
            let found = self.months.iter().find(|cohort| cohort.month == month);
            let came =
                |later: i32| found.and_then(|cohort| cohort.came.get(&later).copied()).unwrap_or_default();
            Cohort { month, came: (0..=this.since(month)).map(came).collect() }
        };
        self.last().map(cohort).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn month(text: &str, came: &[(i32, u64)], seen: &[(i32, u64)], at_risk: &[(i32, u64)]) -> ProgramMonth {
        let map = |counts: &[(i32, u64)]| counts.iter().copied().collect::<BTreeMap<_, _>>();
        ProgramMonth {
            month: Month::try_from(text.to_owned()).unwrap(),
            came: map(came),
            seen: map(seen),
            at_risk: map(at_risk),
        }
    }

    #[test]
    fn days_count_up_to_today_and_months_up_to_this_one() {
        let months = [
            month("2025-10", &[(0, 9), (13, 2)], &[], &[(1, 4)]),
            month("2026-10", &[(0, 5), (1, 3)], &[(23, 1), (24, 2)], &[]),
            month("2026-11", &[(0, 4)], &[(22, 7)], &[(22, 1), (23, 10)]),
        ];
        let visitors = Visitors::new(&months, "2026-11-22T00:00:00Z".parse().unwrap());
        assert_eq!(visitors.active(), 2 + 7, "from 24 October on");
        assert_eq!(visitors.at_risk(), 4 + 1, "from midnight on");
        let views = visitors.months();
        assert_eq!((views.len(), views[0].month.to_string()), (12, "2025-12".to_owned()));
        let last = &views[11];
        assert_eq!((last.active, last.new, last.returning), (4 + 3 + 2, 4, 5));
        let cohorts = visitors.cohorts();
        assert_eq!((&cohorts[10].came, &cohorts[11].came), (&vec![5, 3], &vec![4]));
        assert_eq!(cohorts[0].came, vec![0; 12]);
    }
}

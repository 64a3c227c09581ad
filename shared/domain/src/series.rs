//! Time series: a range of time in steps of an hour or a day, in the local time of a time zone.
//!
//! Facts are counted per quarter hour. Every offset from UTC in use is a multiple of a quarter hour, so the hours
//! and days of any zone consist of whole quarters, even on days with a clock change.

use jiff::{SignedDuration, Timestamp, ToSpan, Unit, Zoned, ZonedRound, civil::Date, tz::TimeZone};

use crate::{Invalid, text::TimeZoneName};

/// Length of a quarter hour.
const QUARTER: SignedDuration = SignedDuration::from_mins(15);
/// Maximum number of days in a series by the hour.
const MOST_DAYS_BY_HOUR: i64 = 31;
/// Maximum number of days in a series by the day.
const MOST_DAYS: i64 = 366;

/// Quarter hour, identified by its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quarter(Timestamp);

impl Quarter {
    /// Returns the quarter hour that contains this time.
    pub fn of(at: Timestamp) -> Self {
        let seconds = at.as_second();
        let start = seconds - seconds.rem_euclid(QUARTER.as_secs());
        Self(Timestamp::from_second(start).unwrap_or(at))
    }

    /// Returns the quarter hour `number`, 0–3, of the UTC hour that begins at `hour`.
    pub fn of_hour(hour: Timestamp, number: u8) -> Self {
        Self::of(hour + QUARTER * i32::from(number))
    }

    /// Returns the number of the quarter within its hour, 0–3.
    pub fn number(self) -> u8 {
        let within = self.0.as_second().rem_euclid(3600) / QUARTER.as_secs();
        u8::try_from(within).unwrap_or_default()
    }

    pub fn start(self) -> Timestamp {
        self.0
    }
}

/// Length of the steps in a time series.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Granularity {
    Hour,
    #[default]
    Day,
}

impl Granularity {
    /// Returns the start of the step that contains this time.
    fn floor(self, at: &Zoned) -> Option<Zoned> {
        match self {
            Self::Hour => at.round(ZonedRound::new().smallest(Unit::Hour).mode(jiff::RoundMode::Trunc)).ok(),
            Self::Day => at.start_of_day().ok(),
        }
    }

    /// Returns the start of the next step.
    fn next(self, start: &Zoned) -> Option<Zoned> {
        match self {
            Self::Hour => {
                let later = start.checked_add(1.hour()).ok()?;
                // Where clocks change by half an hour, one hour of that day is shorter or longer.
                Some(self.floor(&later).filter(|floor| floor > start).unwrap_or(later))
            }
            Self::Day => start.tomorrow().ok()?.start_of_day().ok(),
        }
    }

    fn most_days(self) -> i64 {
        match self {
            Self::Hour => MOST_DAYS_BY_HOUR,
            Self::Day => MOST_DAYS,
        }
    }
}

/// Start or end of a range: a time, or a day in the time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    At(Timestamp),
    Day(Date),
}

impl std::str::FromStr for Bound {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new("is neither a date such as 2026-11-22 nor an RFC 3339 time");
        match text.len() {
            10 => text.parse().map(Self::Day).map_err(|_| invalid()),
            _ => text.parse().map(Self::At).map_err(|_| invalid()),
        }
    }
}

/// Consecutive steps of time without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    zone: TimeZone,
    /// Start of each step.
    starts: Vec<Timestamp>,
    end: Timestamp,
}

/// End of the range (`from` or `to`) that is invalid, with the reason.
pub type Unfit = (&'static str, Invalid);

impl Series {
    /// Returns the steps from the one that contains `from` to the one that contains the last moment before `to`. If
    /// `to` is a day, that whole day is included. Without `to`, the series ends with the step that contains `now`.
    /// Without `from`, it has 24 steps of an hour or 30 steps of a day.
    ///
    /// # Errors
    /// When an end is outside the years 1970–2999, or the range is empty or too long.
    pub fn new(
        from: Option<Bound>,
        to: Option<Bound>,
        granularity: Granularity,
        zone: &TimeZoneName,
        now: Timestamp,
    ) -> Result<Self, Unfit> {
        let zone = zone.zone();
        let end = match to {
            Some(to) => end_of(to, &zone).ok_or_else(|| beyond("to"))?,
            None => now.checked_add(1.nanosecond()).map_err(|_| beyond("to"))?,
        };
        let from = match from {
            Some(from) => start_of(from, &zone).ok_or_else(|| beyond("from"))?,
            None => {
                let last = end.checked_sub(1.nanosecond()).ok().map(|last| last.to_zoned(zone.clone()));
                let steps = match granularity {
                    Granularity::Hour => 23.hours(),
                    Granularity::Day => 29.days(),
                };
                let first = last.and_then(|last| last.checked_sub(steps).ok());
                first.ok_or_else(|| beyond("from"))?.timestamp()
            }
        };
        if from >= end {
            return Err(("from", Invalid::new("is not before `to`")));
        }
        let days = granularity.most_days();
        if from.duration_until(end) > SignedDuration::from_hours(24 * days + 1) {
            return Err(("from", Invalid::new(format!("is more than {days} days before `to`"))));
        }
        let mut starts = Vec::new();
        let mut start = granularity.floor(&from.to_zoned(zone.clone())).ok_or_else(|| beyond("from"))?;
        while start.timestamp() < end {
            starts.push(start.timestamp());
            start = granularity.next(&start).ok_or_else(|| beyond("to"))?;
        }
        Ok(Self { end: start.timestamp(), zone, starts })
    }

    /// Returns the start of the first step.
    pub fn start(&self) -> Timestamp {
        self.starts.first().copied().unwrap_or(self.end)
    }

    /// Returns the end of the last step.
    pub fn end(&self) -> Timestamp {
        self.end
    }

    /// Returns the start of each step, with the offset of the zone at that time.
    pub fn starts(&self) -> impl ExactSizeIterator<Item = Zoned> {
        self.starts.iter().map(|start| start.to_zoned(self.zone.clone()))
    }

    /// Returns the index of the step that contains this quarter hour.
    pub fn step(&self, quarter: Quarter) -> Option<usize> {
        let at = quarter.start();
        (at < self.end).then(|| self.starts.partition_point(|start| *start <= at).checked_sub(1)).flatten()
    }
}

fn beyond(end: &'static str) -> Unfit {
    (end, Invalid::new("is not between the years 1970 and 2999"))
}

fn start_of(bound: Bound, zone: &TimeZone) -> Option<Timestamp> {
    let at = match bound {
        Bound::At(at) => at,
        Bound::Day(day) => day.to_zoned(zone.clone()).ok()?.start_of_day().ok()?.timestamp(),
    };
    (1970..=2999).contains(&at.to_zoned(TimeZone::UTC).year()).then_some(at)
}

fn end_of(bound: Bound, zone: &TimeZone) -> Option<Timestamp> {
    match bound {
        Bound::At(_) => start_of(bound, zone),
        Bound::Day(day) => start_of(Bound::Day(day.tomorrow().ok()?), zone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(from: &str, to: &str, granularity: Granularity, zone: &str) -> Result<Series, Unfit> {
        let zone = TimeZoneName::try_from(zone.to_owned()).unwrap();
        let bound = |text: &str| Some(text.parse::<Bound>().unwrap());
        Series::new(bound(from), bound(to), granularity, &zone, Timestamp::UNIX_EPOCH)
    }

    fn hours_of_days(from: &str, to: &str, zone: &str) -> Vec<i64> {
        let days = series(from, to, Granularity::Day, zone).unwrap();
        let ends = days.starts[1..].iter().chain([&days.end]);
        days.starts.iter().zip(ends).map(|(start, end)| start.duration_until(*end).as_secs() / 3600).collect()
    }

    #[test]
    fn a_day_is_as_long_as_the_zone_says() {
        assert_eq!(hours_of_days("2026-03-28", "2026-03-30", "Europe/Berlin"), [24, 23, 24]);
        assert_eq!(hours_of_days("2026-10-24", "2026-10-26", "Europe/Berlin"), [24, 25, 24]);
        assert_eq!(hours_of_days("2026-10-24", "2026-10-26", "UTC"), [24, 24, 24]);
        // Samoa skipped one of these days. In São Paulo, a day began at one o'clock.
        assert_eq!(hours_of_days("2011-12-29", "2011-12-31", "Pacific/Apia"), [24, 24]);
        assert_eq!(hours_of_days("2018-11-03", "2018-11-05", "America/Sao_Paulo"), [24, 23, 24]);
    }

    fn clocks(from: &str, to: &str, zone: &str) -> Vec<String> {
        let hours = series(from, to, Granularity::Hour, zone).unwrap();
        hours.starts().map(|start| start.strftime("%H:%M%:z").to_string()).collect()
    }

    #[test]
    fn hours_are_those_of_the_clock_on_the_wall() {
        let berlin = |from, to| clocks(from, to, "Europe/Berlin");
        assert_eq!(
            berlin("2026-10-25T00:10:00Z", "2026-10-25T02:00:00Z"),
            ["02:00+02:00", "02:00+01:00"],
            "there are two hours that begin at two"
        );
        assert_eq!(berlin("2026-03-29T00:00:00Z", "2026-03-29T02:00:00Z"), ["01:00+01:00", "03:00+02:00"]);
        assert_eq!(
            clocks("2026-11-22T00:00:00Z", "2026-11-22T01:00:00Z", "Asia/Kathmandu"),
            ["05:00+05:45", "06:00+05:45"]
        );
        // Half an hour is skipped, and repeated.
        let howe = |from, to| clocks(from, to, "Australia/Lord_Howe");
        assert_eq!(
            howe("2026-10-03T14:30:00Z", "2026-10-03T17:00:00Z"),
            ["01:00+10:30", "02:30+11:00", "03:00+11:00"]
        );
        assert_eq!(
            howe("2026-04-04T14:00:00Z", "2026-04-04T16:30:00Z"),
            ["01:00+11:00", "01:30+10:30", "02:00+10:30"]
        );
    }

    #[test]
    fn each_quarter_is_in_one_step() {
        for zone in ["UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns"] {
            for granularity in [Granularity::Hour, Granularity::Day] {
                for from in ["2026-03-20", "2026-04-01", "2026-10-01", "2026-10-20"] {
                    let from = from.parse::<Date>().unwrap();
                    let to = from.checked_add(12.days()).unwrap();
                    let series = series(&from.to_string(), &to.to_string(), granularity, zone).unwrap();
                    let mut at = series.start();
                    let mut steps = Vec::new();
                    while at < series.end() {
                        assert_eq!(Quarter::of(at).start(), at, "steps begin with a quarter");
                        steps.push(series.step(Quarter::of(at)).unwrap());
                        at += QUARTER;
                    }
                    assert!(steps.is_sorted(), "{zone}");
                    steps.dedup();
                    assert_eq!(steps, (0..series.starts.len()).collect::<Vec<_>>(), "{zone}");
                    assert_eq!(series.step(Quarter::of(series.end())), None);
                    assert_eq!(series.step(Quarter::of(series.start() - QUARTER)), None);
                }
            }
        }
    }

    #[test]
    fn a_range_is_bounded() {
        let reason = |from, to, granularity| {
            let (end, reason) = series(from, to, granularity, "UTC").unwrap_err();
            format!("{end} {reason}")
        };
        assert!(reason("2026-11-22", "2026-11-21", Granularity::Day).contains("from is not before"));
        assert!(reason("2026-01-01", "2027-01-02", Granularity::Day).contains("366 days"));
        assert!(reason("2026-01-01", "2026-02-01", Granularity::Hour).contains("31 days"));
        for far in ["9999-12-31", "-009999-01-02T01:59:59Z", "0099-01-01", "3000-01-01"] {
            assert!(reason("2026-11-22", far, Granularity::Day).contains("to is not between"), "{far}");
            assert!(reason(far, "2026-11-22", Granularity::Day).contains("from is not between"), "{far}");
        }
        assert!("yesterday".parse::<Bound>().unwrap_err().to_string().contains("neither"));
        assert!(series("2024-01-01", "2024-12-31", Granularity::Day, "UTC").is_ok(), "a leap year");
        // A month that is one hour longer.
        assert!(series("2026-10-01", "2026-10-31", Granularity::Hour, "Europe/Berlin").is_ok());
    }

    #[test]
    fn left_out_bounds_are_up_to_now() {
        let now: Timestamp = "2026-11-22T23:50:00Z".parse().unwrap();
        let of = |granularity, zone: &str| {
            let zone = TimeZoneName::try_from(zone.to_owned()).unwrap();
            Series::new(None, None, granularity, &zone, now).unwrap()
        };
        let days = of(Granularity::Day, "Europe/Berlin");
        assert_eq!((days.starts.len(), days.step(Quarter::of(now))), (30, Some(29)));
        let hours = of(Granularity::Hour, "UTC");
        assert_eq!((hours.starts.len(), hours.step(Quarter::of(now))), (24, Some(23)));
        let zone = TimeZoneName::utc();
        let until = Series::new(None, Some(Bound::At(now)), Granularity::Day, &zone, Timestamp::UNIX_EPOCH);
        assert_eq!(until.unwrap().starts.len(), 30);
    }

    #[test]
    fn quarters_are_numbered_within_their_hour() {
        let at = |text: &str| Quarter::of(text.parse().unwrap());
        assert_eq!((at("2026-11-22T10:44:59Z").number(), at("2026-11-22T10:45:00Z").number()), (2, 3));
        assert_eq!(Quarter::of_hour("2026-11-22T10:00:00Z".parse().unwrap(), 2), at("2026-11-22T10:30:00Z"));
        assert_eq!(at("1969-12-31T23:59:59Z").number(), 3);
    }
}

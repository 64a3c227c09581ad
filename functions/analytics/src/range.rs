//! Time range of an analytics request, and the response over that range.

use api::{App, Principal, Problem, problems, rate_limited};
use axum::response::{IntoResponse, Response};
use domain::{
    Invalid,
    series::{Bound, Granularity, Series},
    text::TimeZoneName,
};
use jiff::Timestamp;
use projection::rollups::{Activity, Counts};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Query parameters of every analytics request.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RangeQuery {
    /// Start of the range: an RFC 3339 time, or a date, which stands for the start of that day. If left out, the
    /// range has 30 days, or 24 hours with the granularity `hour`.
    pub from: Option<String>,
    /// End of the range: an RFC 3339 time, or a date, which stands for the end of that day. Default: now.
    pub to: Option<String>,
    /// Length of a step: `day`, for at most 366 days, or `hour`, for at most 31 days. Default: `day`.
    #[serde(default)]
    #[param(inline)]
    pub granularity: Granularity,
    /// Time zone in which days and hours are counted: a name of the IANA time zone database. Default: `UTC`.
    #[param(example = "Europe/Berlin")]
    pub time_zone: Option<String>,
}

/// Accepted analytics request: its range, and the state of the account's rate limit.
pub struct Asked {
    pub series: Series,
    granularity: Granularity,
    zone: TimeZoneName,
    verdict: domain::rate::Verdict,
}

impl RangeQuery {
    /// Counts the request against the account's rate limit and returns the steps of the range.
    ///
    /// # Errors
    /// [`problems::RATE_LIMITED`], or a problem that names the invalid parameter.
    pub async fn asked(self, app: &App, principal: &Principal) -> Result<Asked, Problem> {
        let account = accounts::read(&app.table, &principal.account_id).await?;
        let (account, _) = account.ok_or(problems::NOT_FOUND)?;
        let limit = account.limits.analytics_per_minute;
        let verdict = app.limit(&account.id, "analytics", "account", limit).await?;
        let bound = |name: &'static str, text: Option<String>| {
            let bound = text.map(|text| text.parse::<Bound>()).transpose();
            bound.map_err(|invalid| Problem::invalid(name, &invalid))
        };
        let (from, to) = (bound("from", self.from)?, bound("to", self.to)?);
        let zone = self.time_zone.map_or_else(|| Ok(TimeZoneName::utc()), TimeZoneName::try_from);
        let zone = zone.map_err(|invalid: Invalid| Problem::invalid("time_zone", &invalid))?;
        let series = Series::new(from, to, self.granularity, &zone, app.now());
        let series = series.map_err(|(end, invalid)| Problem::invalid(end, &invalid))?;
        Ok(Asked { series, granularity: self.granularity, zone, verdict })
    }
}

/// Step of a timeline.
#[derive(Serialize, ToSchema)]
pub struct TimelineStep<T> {
    /// Start of the step, with the time zone's UTC offset at that time. The step ends where the next one starts.
    #[schema(format = DateTime)]
    pub start: String,
    #[serde(flatten)]
    pub counts: T,
}

/// Activity in a time range, in total and by step. The range is widened to whole steps.
#[derive(Serialize, ToSchema)]
pub struct Timeline<T> {
    /// Start of the range.
    pub from: Timestamp,
    /// End of the range; not part of it.
    pub to: Timestamp,
    pub granularity: Granularity,
    pub time_zone: TimeZoneName,
    /// Sums over all steps.
    pub totals: T,
    /// Steps in order of time.
    pub series: Vec<TimelineStep<T>>,
}

impl Asked {
    /// Converts activity, one set of counters per step, into a timeline with totals.
    pub fn timeline<T: From<Counts>>(&self, activity: Activity) -> Timeline<T> {
        let totals = activity.total().into();
        let steps = self.series.starts().zip(activity.steps);
        let series = steps.map(|(start, counts)| TimelineStep {
            start: start.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
            counts: counts.into(),
        });
        Timeline {
            from: self.series.start(),
            to: self.series.end(),
            granularity: self.granularity,
            time_zone: self.zone.clone(),
            totals,
            series: series.collect(),
        }
    }

    /// Returns the response, with headers that show the state of the account's rate limit.
    pub fn answer(self, view: impl Serialize) -> Response {
        rate_limited(axum::Json(view).into_response(), Some(self.verdict))
    }
}

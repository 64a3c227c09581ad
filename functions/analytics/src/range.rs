//! The range that a caller asks for, and the answer over it.

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

/// The parameters of every question.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RangeQuery {
    /// An RFC 3339 time, or a date: the start of that day. When left out, there are 30 days, or 24 hours.
    pub from: Option<String>,
    /// An RFC 3339 time, or a date: the end of that day. Up to now, when left out.
    pub to: Option<String>,
    /// `day`, at most 366 of them, or `hour`, at most 31 days of them; `day` when left out.
    #[serde(default)]
    #[param(inline)]
    pub granularity: Granularity,
    /// A name of the IANA time zone database; `UTC` when left out.
    #[param(example = "Europe/Berlin")]
    pub time_zone: Option<String>,
}

/// A question that may be asked: a range, and whose data.
pub struct Asked {
    pub series: Series,
    granularity: Granularity,
    zone: TimeZoneName,
    verdict: domain::rate::Verdict,
}

impl RangeQuery {
    /// The steps of the range; counts the question against the account's limit.
    ///
    /// # Errors
    /// A problem that names the parameter, or [`problems::RATE_LIMITED`].
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

/// A step of a series.
#[derive(Serialize, ToSchema)]
pub struct TimelineStep<T> {
    /// Where it begins, with the zone's offset there. It ends where the next one begins.
    #[schema(format = DateTime)]
    pub start: String,
    #[serde(flatten)]
    pub counts: T,
}

/// What happened, and when. The range is that of whole steps.
#[derive(Serialize, ToSchema)]
pub struct Timeline<T> {
    pub from: Timestamp,
    /// The first moment after the range.
    pub to: Timestamp,
    pub granularity: Granularity,
    pub time_zone: TimeZoneName,
    pub totals: T,
    pub series: Vec<TimelineStep<T>>,
}

impl Asked {
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

    /// The answer, with where the account's limit stands.
    pub fn answer(self, view: impl Serialize) -> Response {
        rate_limited(axum::Json(view).into_response(), Some(self.verdict))
    }
}

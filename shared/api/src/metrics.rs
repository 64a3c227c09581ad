//! Measurements in CloudWatch's embedded metric format: log lines from which CloudWatch creates metrics, in the
//! namespace `Groundswell`, by environment and function.
//!
//! Source: the format's specification,
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.
//! Nothing is written outside Lambda.

use std::sync::OnceLock;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Environment and function of this process. Unset outside Lambda.
static DIMENSIONS: OnceLock<[String; 2]> = OnceLock::new();

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Count,
    Milliseconds,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Milliseconds => "Milliseconds",
        }
    }
}

/// Sets the dimensions of this process's measurements.
pub(crate) fn init(env: &aws::Env) {
    if let (Some(environment), Some(function)) = (env.get("ENVIRONMENT"), env.get("AWS_LAMBDA_FUNCTION_NAME"))
    {
        // A second initialisation has no effect.
        let _ = DIMENSIONS.set([environment.to_owned(), function.to_owned()]);
    }
}

/// Writes measurements that belong together. The properties are searchable in the log and create no metrics.
pub fn record(metrics: &[(&'static str, Unit, f64)], properties: &[(&'static str, Value)]) {
    if let Some(dimensions) = DIMENSIONS.get() {
        println!("{}", line(dimensions, metrics, properties, Timestamp::now()));
    }
}

fn line(
    [environment, function]: &[String; 2],
    metrics: &[(&'static str, Unit, f64)],
    properties: &[(&'static str, Value)],
    now: Timestamp,
) -> Value {
    let declared: Vec<_> =
        metrics.iter().map(|(name, unit, _)| json!({ "Name": name, "Unit": unit.name() })).collect();
    let mut line = Map::from_iter([
        (
            "_aws".to_owned(),
            json!({
                "Timestamp": now.as_millisecond(),
                "CloudWatchMetrics": [{
                    "Namespace": "Groundswell",
                    "Dimensions": [["Environment", "Function"]],
                    "Metrics": declared,
                }],
            }),
        ),
        ("Environment".to_owned(), json!(environment)),
        ("Function".to_owned(), json!(function)),
    ]);
    line.extend(metrics.iter().map(|(name, _, value)| ((*name).to_owned(), json!(value))));
    line.extend(properties.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    Value::Object(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_declares_its_metrics_and_holds_them_beside() {
        let dimensions = ["prod".to_owned(), "groundswell-prod-Projector".to_owned()];
        let metrics = [("Lag", Unit::Milliseconds, 12.5), ("Records", Unit::Count, 3.0)];
        let now = Timestamp::from_millisecond(1_790_000_000_000).unwrap();
        let line = line(&dimensions, &metrics, &[("route", json!("/api/v1/account"))], now);
        assert_eq!(
            line,
            json!({
                "_aws": {
                    "Timestamp": 1_790_000_000_000_u64,
                    "CloudWatchMetrics": [{
                        "Namespace": "Groundswell",
                        "Dimensions": [["Environment", "Function"]],
                        "Metrics": [
                            { "Name": "Lag", "Unit": "Milliseconds" },
                            { "Name": "Records", "Unit": "Count" },
                        ],
                    }],
                },
                "Environment": "prod",
                "Function": "groundswell-prod-Projector",
                "Lag": 12.5,
                "Records": 3.0,
                "route": "/api/v1/account",
            })
        );
    }
}

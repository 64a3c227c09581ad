//! EventBridge's default bus: an event goes to each function that has a rule for it.
//!
//! Whoever puts an event goes on when the queue of each of those functions has it, and a queue loses
//! nothing when the process is killed. [`EventPoller`](crate::pollers::EventPoller) delivers it.

use domain::secret;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    pattern::Pattern,
    sqs::{Sqs, SqsError},
    template::{Function, Source},
};

#[derive(Clone)]
pub struct EventBridge {
    sqs: Sqs,
    /// What each rule wants and the queue that it goes to.
    rules: Vec<(Pattern, String)>,
}

impl EventBridge {
    pub fn new(functions: &[Function], sqs: Sqs) -> Self {
        let rules = functions.iter().flat_map(|function| {
            function.sources.iter().filter_map(|source| match source {
                Source::Rule { pattern } => Some((pattern.clone(), function.event_queue()?.name)),
                _ => None,
            })
        });
        Self { sqs, rules: rules.collect() }
    }

    /// A rule that has it already gets it again when another's queue fails and the caller tries once
    /// more: events are delivered at least once.
    pub fn put(
        &self,
        source: &str,
        detail_type: &str,
        resource: &str,
        detail: &Value,
    ) -> Result<(), SqsError> {
        let event = json!({
            "version": "0",
            "id": uuid(),
            "detail-type": detail_type,
            "source": source,
            "account": "000000000000",
            "time": format!("{:.0}", Timestamp::now()),
            "region": "us-east-1",
            "resources": [resource],
            "detail": detail,
        });
        let mut wanting = self.rules.iter().filter(|(pattern, _)| pattern.matches(&event));
        wanting.try_for_each(|(_, queue)| self.sqs.send(queue, &event.to_string()))
    }
}

/// A random one, which is version 4.
fn uuid() -> String {
    let random = u128::from_be_bytes(secret::random());
    let bits = random & !(0xf000 << 64) & !(0xc000 << 48) | 0x4000 << 64 | 0x8000 << 48;
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

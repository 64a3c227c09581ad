//! EventBridge's default bus, which delivers an event to each function that has a rule for the event.
//!
//! [`EventBridge::put`] returns once the queue of each of those functions holds the event. A queue loses nothing
//! when the process is killed. [`EventPoller`](crate::pollers::EventPoller) delivers the event.

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
    /// Pattern of each rule and the name of its queue.
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

    /// Adds an event to the queue of each rule that matches it. Delivery is at least once: if one queue fails and
    /// the caller retries, the other queues get the event again.
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

/// Returns a random UUID (version 4).
fn uuid() -> String {
    let random = u128::from_be_bytes(secret::random());
    let bits = random & !(0xf000 << 64) & !(0xc000 << 48) | 0x4000 << 64 | 0x8000 << 48;
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

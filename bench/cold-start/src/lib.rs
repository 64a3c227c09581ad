//! Cold starts of the Lambda functions, side by side with peers on Node.js.
//!
//! A process is started as Lambda starts it, is handed an event by the Lambda Runtime API
//! ([`runtime`]), and reaches a DynamoDB over TLS ([`dynamodb`]) that answers from a record
//! ([`canned`]). Whoever makes other calls, or answers otherwise than the record, fails.

pub mod canned;
pub mod contest;
pub mod dynamodb;
pub mod package;
pub mod process;
pub mod report;
pub mod runtime;

/// Why there is nothing to report.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

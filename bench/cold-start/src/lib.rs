//! Benchmark of the Lambda functions' cold starts, beside peers on Node.js.
//!
//! A process is started as Lambda starts it, gets an event from the Lambda Runtime API ([`runtime`]), and calls a
//! DynamoDB over TLS ([`dynamodb`]) that answers from a recording ([`canned`]). A process that makes other calls
//! or answers differently from the recording fails.

pub mod canned;
pub mod contest;
pub mod dynamodb;
pub mod package;
pub mod process;
pub mod report;
pub mod runtime;

/// Reason why the benchmark has no result.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

//! The scenarios: what the platform promises, over HTTP, against the running thing.

#![expect(clippy::unwrap_used, reason = "a panic is how a scenario reports")]

include!(concat!(env!("OUT_DIR"), "/scenarios.rs"));

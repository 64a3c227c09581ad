//! The scenarios: tests of the platform's documented behaviour, over HTTP against the running platform.

#![expect(clippy::unwrap_used, reason = "a panic is how a scenario reports")]

include!(concat!(env!("OUT_DIR"), "/scenarios.rs"));

//! What things cost: operations, as the scenarios count them, times AWS's list prices.
//!
//! `docs/cost.md` and `docs/scaling.md` show the tables that are made here; the scenarios hold the operations
//! against what the recorder counts.

use std::fmt::Write as _;

use crate::actions::Action;

/// What an action makes AWS do, done once with nothing else going on.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub action: Action,
    /// Through API Gateway.
    pub requests: f64,
    /// Of functions: for the requests, to authorize them, and for what follows.
    pub invocations: f64,
    /// Calls of DynamoDB but for transactions.
    pub calls: f64,
    pub transactions: f64,
    /// Messages sent to a queue.
    pub messages: f64,
    pub mails: f64,
    /// Units of the table and its indexes.
    pub reads: f64,
    pub writes: f64,
    /// Bytes that stay, indexes included.
    pub bytes: f64,
}

/// Dollars a month, or for a million of something.
#[derive(Clone, Copy, Debug, Default)]
struct Price {
    gateway: f64,
    lambda: f64,
    dynamodb: f64,
    mail: f64,
    logs: f64,
}

const MILLION: f64 = 1e6;
/// Prices in us-east-1, in dollars; `docs/cost.md` says where they are from.
const REQUEST: f64 = 3.50 / MILLION;
const INVOCATION: f64 = 0.20 / MILLION;
const GB_SECOND: f64 = 0.000_016_666_7;
const READ: f64 = 0.125 / MILLION;
const WRITE: f64 = 0.625 / MILLION;
const QUEUE_REQUEST: f64 = 0.40 / MILLION;
const MAIL: f64 = 0.10 / 1000.0;
/// Taken in, and kept for a month.
const LOG_GB: f64 = 0.50 + 0.03;
const TRACE: f64 = 5.00 / MILLION;
/// A GB of the table for a month, and of its backup to any point in time.
const STORED_GB: f64 = 0.25 + 0.20;
const GB: f64 = 1e9;

/// The memory of the functions.
const MEMORY_GB: f64 = 0.5;
/// What a function is billed for, besides waiting.
const OWN_SECONDS: f64 = 0.003;
/// How long it waits for AWS, each time.
const CALL_SECONDS: f64 = 0.005;
const TRANSACTION_SECONDS: f64 = 0.012;
const MESSAGE_SECONDS: f64 = 0.010;
const MAIL_SECONDS: f64 = 0.050;
/// Bytes of log: the gateway's line about a request, and what a function and Lambda itself write.
const ACCESS_LOG: f64 = 350.0;
const FUNCTION_LOG: f64 = 1600.0;
/// Send, receive, delete.
const REQUESTS_A_MESSAGE: f64 = 3.0;

/// Dollars a month that are there without anybody: the key, its use by DynamoDB, 14 metrics, Lambda's waiting
/// at two queues.
const FIXED: f64 = 1.00 + 0.27 + 14.0 * 0.30 + 2.0 * 5.0 * (SECONDS_A_MONTH / 20.0) * QUEUE_REQUEST;
const SECONDS_A_MONTH: f64 = 730.0 * 3600.0;

impl Cost {
    fn price(&self) -> Price {
        let seconds = self.invocations * OWN_SECONDS
            + self.calls * CALL_SECONDS
            + self.transactions * TRANSACTION_SECONDS
            + self.messages * MESSAGE_SECONDS
            + self.mails * MAIL_SECONDS;
        let log = self.requests * ACCESS_LOG + self.invocations * FUNCTION_LOG;
        Price {
            gateway: self.requests * REQUEST,
            lambda: self.invocations * INVOCATION + seconds * MEMORY_GB * GB_SECOND,
            dynamodb: self.reads * READ + self.writes * WRITE,
            mail: self.messages * REQUESTS_A_MESSAGE * QUEUE_REQUEST + self.mails * MAIL,
            logs: log / GB * LOG_GB,
        }
    }
}

impl Price {
    fn total(self) -> f64 {
        self.gateway + self.lambda + self.dynamodb + self.mail + self.logs
    }
}

//! Costs of the actions: operations, as the scenarios count them, multiplied by AWS's list prices.
//!
//! `docs/cost.md` and `docs/scaling.md` contain the tables that are made here. The scenarios compare the
//! operations with those that the recorder counts.

use std::fmt::Write as _;

use crate::actions::Action;

/// Operations of AWS that one action causes when nothing else is going on.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub action: Action,
    /// Requests through API Gateway.
    pub requests: f64,
    /// Round trips to AWS for which a request waits, including its authorization.
    pub trips: f64,
    /// Invocations of functions: for the requests, for their authorization and for their effects.
    pub invocations: f64,
    /// Calls of DynamoDB other than transactions.
    pub calls: f64,
    pub transactions: f64,
    /// Messages sent to a queue.
    pub messages: f64,
    pub mails: f64,
    /// Capacity units of the table and its indexes.
    pub reads: f64,
    pub writes: f64,
    /// Bytes that are stored permanently, including indexes.
    pub bytes: f64,
}

/// Price in dollars, for a month or for a million actions.
#[derive(Clone, Copy, Debug, Default)]
struct Price {
    gateway: f64,
    lambda: f64,
    dynamodb: f64,
    mail: f64,
    logs: f64,
}

const MILLION: f64 = 1e6;
/// Prices in us-east-1, in dollars. `docs/cost.md` names their sources.
const REQUEST: f64 = 3.50 / MILLION;
const INVOCATION: f64 = 0.20 / MILLION;
const GB_SECOND: f64 = 0.000_016_666_7;
const READ: f64 = 0.125 / MILLION;
const WRITE: f64 = 0.625 / MILLION;
const QUEUE_REQUEST: f64 = 0.40 / MILLION;
const MAIL: f64 = 0.10 / 1000.0;
/// Transfer to the internet.
const TRANSFER_GB: f64 = 0.09;
/// Ingestion of logs, and their storage for a month.
const LOG_GB: f64 = 0.50 + 0.03;
const TRACE: f64 = 5.00 / MILLION;
/// Storage of 1 GB of the table for a month, and of its point-in-time backup.
const STORED_GB: f64 = 0.25 + 0.20;
const GB: f64 = 1e9;

/// Memory of a function.
const MEMORY_GB: f64 = 0.5;
/// Billed time of an invocation in seconds, without its waiting for AWS.
const OWN_SECONDS: f64 = 0.003;
/// Waiting time of a function for each call of AWS, in seconds.
const CALL_SECONDS: f64 = 0.005;
const TRANSACTION_SECONDS: f64 = 0.012;
const MESSAGE_SECONDS: f64 = 0.010;
const MAIL_SECONDS: f64 = 0.050;
/// Size of a response with its headers, in bytes. Most responses are smaller; a list is larger.
const ANSWER: f64 = 1500.0;
/// Bytes of log: the gateway's line for a request, and the lines of a function and of Lambda for an invocation.
const ACCESS_LOG: f64 = 350.0;
const FUNCTION_LOG: f64 = 1600.0;
/// Send, receive and delete.
const REQUESTS_A_MESSAGE: f64 = 3.0;

/// Fixed costs in dollars a month: the key and DynamoDB's use of it, 26 metrics, the 64 metrics that the
/// functions' alarms watch and the 25 of the other alarms, the dashboard, Lambda's polling of six queues, and two
/// schedules each minute.
const FIXED: f64 = 1.00
    + 0.27
    + 26.0 * 0.30
    + (64.0 + 25.0) * 0.10
    + 3.00
    + 6.0 * 5.0 * (SECONDS_A_MONTH / 20.0) * QUEUE_REQUEST
    + SECONDS_A_MONTH / 60.0 * LOOKS;
/// Schedules each minute: they query four shards of waiting messages, four shards of waiting deliveries, and the
/// campaigns that the calendar triggers.
const LOOKS: f64 =
    2.0 * (1.00 / MILLION + INVOCATION) + 9.0 * (0.5 * READ + CALL_SECONDS * MEMORY_GB * GB_SECOND);
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
            gateway: self.requests * (REQUEST + ANSWER / GB * TRANSFER_GB),
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

/// Actions of one subscriber in the month of joining. The negative join leaves only the additional cost of a
/// referral.
const MONTH: [(Action, f64); 10] = [
    (Action::JoinPending, 1.0),
    (Action::Verify, 1.0),
    (Action::JoinReferred, 0.3),
    (Action::Join, -0.3),
    (Action::Position, 5.0),
    (Action::Click, 1.0),
    (Action::Leaderboard, 1.0),
    (Action::Import, 0.2),
    (Action::Claim, 0.2),
    (Action::Redeem, 0.1),
];

/// Name of a table in its document, and the table's text.
pub type Table = (&'static str, String);

/// Returns the tables of `docs/cost.md`.
pub fn cost_tables() -> [Table; 3] {
    [("operations", operations()), ("million", million()), ("month", month())]
}

fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut text = format!("| {} |\n|---|{}\n", head.join(" | "), "--:|".repeat(head.len() - 1));
    for row in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

/// Formats a number without insignificant digits.
fn number(value: f64) -> String {
    let text = match value {
        value if value.abs() >= 100.0 => format!("{value:.0}"),
        value if value.abs() >= 0.1 => format!("{value:.1}"),
        value => format!("{value:.3}"),
    };
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    text.to_owned()
}

fn dollars(value: f64) -> String {
    let text = if value < 100.0 { return format!("{value:.2}") } else { format!("{value:.0}") };
    let (thousands, rest) = text.split_at(text.len() - 3);
    if thousands.is_empty() { text } else { format!("{thousands},{rest}") }
}

fn operations() -> String {
    let head = [
        "",
        "requests",
        "round trips each",
        "invocations",
        "reads, single writes",
        "transactions",
        "queued",
        "mails",
        "read units",
        "write units",
        "bytes stored",
    ];
    let rows = COSTS.iter().map(|cost| {
        let Cost {
            action,
            requests,
            trips,
            invocations,
            calls,
            transactions,
            messages,
            mails,
            reads,
            writes,
            bytes,
        } = *cost;
        let numbers =
            [requests, trips, invocations, calls, transactions, messages, mails, reads, writes, bytes]
                .map(number);
        std::iter::once(action.name().to_owned()).chain(numbers).collect()
    });
    table(&head, rows)
}

fn million() -> String {
    let head = ["a million times", "API Gateway", "Lambda", "DynamoDB", "SQS, SES", "logs", "dollars"];
    let rows = COSTS.iter().map(|cost| {
        let price = cost.price();
        let Price { gateway, lambda, dynamodb, mail, logs } = price;
        let parts = [gateway, lambda, dynamodb, mail, logs, price.total()];
        let parts = parts.map(|part| dollars(part * MILLION));
        std::iter::once(cost.action.name().to_owned()).chain(parts).collect()
    });
    table(&head, rows)
}

/// Returns the number of traces for requests spread over a month: one a second, and 5% of the others.
fn traces(requests: f64) -> f64 {
    requests.min(SECONDS_A_MONTH) + 0.05 * (requests - SECONDS_A_MONTH).max(0.0)
}

fn month() -> String {
    let mut one = Price::default();
    let (mut bytes, mut requests, mut workers) = (0.0, 0.0, 0.0);
    for (action, times) in MONTH {
        let Some(cost) = COSTS.iter().find(|cost| cost.action == action) else { continue };
        let Price { gateway, lambda, dynamodb, mail, logs } = cost.price();
        one.gateway += times * gateway;
        one.lambda += times * lambda;
        one.dynamodb += times * dynamodb;
        one.mail += times * mail;
        one.logs += times * logs;
        bytes += times * cost.bytes;
        requests += times * cost.requests;
        // The API has no trace, so the authorizer and the function have one each.
        workers += times * (cost.invocations - 2.0 * cost.requests).max(0.0);
    }
    let sizes = [10_000.0, MILLION, 10.0 * MILLION];
    let row = |name: &str, price: &dyn Fn(f64) -> f64| {
        std::iter::once(name.to_owned()).chain(sizes.map(|people| dollars(price(people)))).collect()
    };
    let stored = |people: f64| people * bytes / GB * STORED_GB;
    let traced = |people: f64| (2.0 * traces(people * requests) + traces(people * workers)) * TRACE;
    let all = |people: f64| people * one.total() + stored(people) + traced(people) + FIXED;
    let rows = [
        row("API Gateway", &|people| people * one.gateway),
        row("Lambda", &|people| people * one.lambda),
        row("DynamoDB, reads and writes", &|people| people * one.dynamodb),
        row("DynamoDB, storage and backup", &stored),
        row("SES and SQS", &|people| people * one.mail),
        row("logs", &|people| people * one.logs),
        row("X-Ray", &traced),
        row("there without anybody", &|_| FIXED),
        row("**the month in which they join**", &all),
        row("**a month in which nothing happens**", &|people| stored(people) + FIXED),
    ];
    table(&["dollars a month", "10,000 subscribers", "1 million", "10 million"], rows)
}

/// Highest rate a second and the partition that limits it; `None` if no two actions share a partition.
pub type Bound = Option<(f64, &'static str)>;

/// Rates at which an action makes a partition hot.
#[derive(Clone, Copy, Debug)]
pub struct Heat {
    pub action: Action,
    /// Rate if each change is projected alone, which is the worst case.
    pub alone: Bound,
    /// Rate as recorded with 32 requests in flight.
    pub rush: Bound,
    /// Rate with 32 requests in flight, once DynamoDB has given each hot item a partition.
    pub items: Bound,
}

const NEW_TABLE_WRITES: f64 = 4000.0;
const NEW_TABLE_READS: f64 = 12_000.0;

/// Returns the table of `docs/scaling.md`.
pub fn scaling_tables() -> [Table; 1] {
    let head = ["", "a second, one by one", "in batches", "with hot items apart", "a new table"];
    let rows = HEAT.iter().map(|heat| {
        let cost = COSTS.iter().find(|cost| cost.action == heat.action);
        // An index has a capacity of its own. The units here are the sum of the table's and the indexes', so the
        // result is a lower bound.
        let new = cost.map_or(0.0, |cost| {
            (NEW_TABLE_WRITES / cost.writes.max(0.001)).min(NEW_TABLE_READS / cost.reads.max(0.001))
        });
        let cell = |bound: Bound| {
            bound.map_or_else(|| "no limit".to_owned(), |(rate, partition)| format!("{rate:.0}: {partition}"))
        };
        vec![
            heat.action.name().to_owned(),
            cell(heat.alone),
            cell(heat.rush),
            cell(heat.items),
            format!("{:.0}", (new / 10.0).round() * 10.0),
        ]
    });
    [("limits", table(&head, rows))]
}

/// Returns a document with these tables in their places, each between `<!-- table: name -->` and `<!-- end -->`.
pub fn with_tables(document: &str, tables: &[Table]) -> String {
    tables.iter().fold(document.to_owned(), |document, (name, table)| {
        let begin = format!("<!-- table: {name} -->\n");
        let (before, rest) = document.split_once(&begin).unwrap_or_else(|| panic!("no table {name}"));
        let (_, after) = rest.split_once("<!-- end -->").unwrap_or_else(|| panic!("table {name} has no end"));
        format!("{before}{begin}\n{table}\n<!-- end -->{after}")
    })
}

/// Operations of each action, as printed by `cargo bench --bench capacity`.
pub const COSTS: &[Cost] = &[
    Cost {
        action: Action::Join,
        requests: 1.0,
        trips: 4.0,
        invocations: 4.0,
        calls: 6.0,
        transactions: 2.0,
        messages: 0.0,
        mails: 0.0,
        reads: 8.0,
        writes: 26.0,
        bytes: 3651.333,
    },
    Cost {
        action: Action::JoinReferred,
        requests: 1.0,
        trips: 4.0,
        invocations: 4.5,
        calls: 13.5,
        transactions: 4.0,
        messages: 0.0,
        mails: 0.0,
        reads: 15.833,
        writes: 59.333,
        bytes: 7293.333,
    },
    Cost {
        action: Action::JoinThroughOneLink,
        requests: 1.0,
        trips: 4.0,
        invocations: 4.5,
        calls: 13.5,
        transactions: 4.0,
        messages: 0.0,
        mails: 0.0,
        reads: 15.667,
        writes: 57.833,
        bytes: 7024.5,
    },
    Cost {
        action: Action::JoinPending,
        requests: 1.0,
        trips: 5.0,
        invocations: 5.0,
        calls: 10.0,
        transactions: 4.0,
        messages: 1.0,
        mails: 1.0,
        reads: 15.0,
        writes: 24.0,
        bytes: 3119.25,
    },
    Cost {
        action: Action::Verify,
        requests: 1.0,
        trips: 7.0,
        invocations: 3.0,
        calls: 8.0,
        transactions: 2.0,
        messages: 0.0,
        mails: 0.0,
        reads: 8.0,
        writes: 21.0,
        bytes: 1589.333,
    },
    Cost {
        action: Action::Position,
        requests: 1.0,
        trips: 3.0,
        invocations: 2.0,
        calls: 5.0,
        transactions: 0.0,
        messages: 0.0,
        mails: 0.0,
        reads: 16.0,
        writes: 0.0,
        bytes: 0.0,
    },
    Cost {
        action: Action::Click,
        requests: 1.0,
        trips: 4.0,
        invocations: 3.0,
        calls: 4.0,
        transactions: 2.0,
        messages: 0.0,
        mails: 0.0,
        reads: 5.0,
        writes: 11.0,
        bytes: 908.0,
    },
    Cost {
        action: Action::Leaderboard,
        requests: 1.0,
        trips: 4.0,
        invocations: 2.0,
        calls: 4.0,
        transactions: 0.0,
        messages: 0.0,
        mails: 0.0,
        reads: 23.5,
        writes: 0.0,
        bytes: 0.0,
    },
    Cost {
        action: Action::List,
        requests: 1.0,
        trips: 3.0,
        invocations: 2.0,
        calls: 6.0,
        transactions: 0.0,
        messages: 0.0,
        mails: 0.0,
        reads: 32.0,
        writes: 0.0,
        bytes: 0.0,
    },
    Cost {
        action: Action::Claim,
        requests: 1.0,
        trips: 4.0,
        invocations: 4.0,
        calls: 8.083,
        transactions: 2.0,
        messages: 0.0,
        mails: 0.0,
        reads: 10.083,
        writes: 12.0,
        bytes: 1622.083,
    },
    Cost {
        action: Action::Reserve,
        requests: 2.0,
        trips: 4.0,
        invocations: 7.0,
        calls: 11.083,
        transactions: 3.0,
        messages: 0.0,
        mails: 0.0,
        reads: 16.0,
        writes: 16.0,
        bytes: 1511.833,
    },
    Cost {
        action: Action::Redeem,
        requests: 1.0,
        trips: 4.0,
        invocations: 4.0,
        calls: 7.0,
        transactions: 2.0,
        messages: 0.0,
        mails: 0.0,
        reads: 7.0,
        writes: 12.0,
        bytes: 933.833,
    },
    Cost {
        action: Action::Import,
        requests: 0.001,
        trips: 5.0,
        invocations: 0.004,
        calls: 0.011,
        transactions: 0.025,
        messages: 0.0,
        mails: 0.0,
        reads: 0.016,
        writes: 4.029,
        bytes: 783.402,
    },
    Cost {
        action: Action::Export,
        requests: 0.01,
        trips: 3.0,
        invocations: 0.04,
        calls: 0.07,
        transactions: 0.02,
        messages: 0.01,
        mails: 0.0,
        reads: 0.11,
        writes: 0.1,
        bytes: 18.06,
    },
    Cost {
        action: Action::Erase,
        requests: 1.0,
        trips: 3.0,
        invocations: 6.0,
        calls: 6.0,
        transactions: 2.0,
        messages: 1.0,
        mails: 0.0,
        reads: 5.5,
        writes: 32.0,
        bytes: -1305.667,
    },
    Cost {
        action: Action::Enrol,
        requests: 1.0,
        trips: 7.0,
        invocations: 4.0,
        calls: 8.0,
        transactions: 2.0,
        messages: 0.0,
        mails: 0.0,
        reads: 10.0,
        writes: 18.0,
        bytes: 2917.667,
    },
    Cost {
        action: Action::Stamp,
        requests: 1.0,
        trips: 4.0,
        invocations: 4.0,
        calls: 5.0,
        transactions: 2.0,
        messages: 0.0,
        mails: 0.0,
        reads: 8.0,
        writes: 17.0,
        bytes: 1928.667,
    },
    Cost {
        action: Action::StampFull,
        requests: 1.0,
        trips: 4.0,
        invocations: 4.0,
        calls: 5.0,
        transactions: 2.0,
        messages: 0.0,
        mails: 0.0,
        reads: 8.0,
        writes: 21.0,
        bytes: 2839.0,
    },
    Cost {
        action: Action::RedeemReward,
        requests: 1.0,
        trips: 3.0,
        invocations: 4.0,
        calls: 4.0,
        transactions: 2.0,
        messages: 0.0,
        mails: 0.0,
        reads: 4.0,
        writes: 10.0,
        bytes: 560.25,
    },
    Cost {
        action: Action::Vote,
        requests: 1.0,
        trips: 4.0,
        invocations: 4.0,
        calls: 8.0,
        transactions: 3.0,
        messages: 0.0,
        mails: 0.0,
        reads: 10.0,
        writes: 19.0,
        bytes: 1537.833,
    },
    Cost {
        action: Action::VoteTold,
        requests: 1.0,
        trips: 4.0,
        invocations: 5.0,
        calls: 9.0,
        transactions: 4.0,
        messages: 1.0,
        mails: 0.0,
        reads: 14.0,
        writes: 21.0,
        bytes: 2360.25,
    },
    Cost {
        action: Action::Analytics,
        requests: 1.0,
        trips: 6.0,
        invocations: 2.0,
        calls: 6.0,
        transactions: 0.0,
        messages: 0.0,
        mails: 0.0,
        reads: 6.5,
        writes: 1.0,
        bytes: 64.667,
    },
    Cost {
        action: Action::Message,
        requests: 2.01,
        trips: 3.5,
        invocations: 2.49,
        calls: 8.87,
        transactions: 4.24,
        messages: 0.22,
        mails: 0.0,
        reads: 16.625,
        writes: 24.1,
        bytes: 2470.64,
    },
];
/// Limits of each action, as printed by `cargo bench --bench capacity`.
pub const HEAT: &[Heat] = &[
    Heat {
        action: Action::Join,
        alone: Some((334.0, "`WL#waitlist`")),
        rush: Some((840.0, "`WL#waitlist`")),
        items: Some((1008.0, "`WL#waitlist`")),
    },
    Heat {
        action: Action::JoinReferred,
        alone: Some((200.0, "`WL#waitlist`")),
        rush: Some((81.0, "`LINE#waitlist#branch#leaf`")),
        items: Some((436.0, "`ROLLUP#topic`")),
    },
    Heat {
        action: Action::JoinThroughOneLink,
        alone: Some((200.0, "`WL#waitlist`")),
        rush: Some((500.0, "`LEDGER#referrer`")),
        items: Some((1000.0, "`WL#waitlist`")),
    },
    Heat {
        action: Action::JoinPending,
        alone: Some((504.0, "`ROLLUP#account#shard`")),
        rush: Some((716.0, "`ACCT#account`")),
        items: Some((1512.0, "`ACCT#account`")),
    },
    Heat {
        action: Action::Verify,
        alone: Some((336.0, "`WL#waitlist`")),
        rush: Some((864.0, "`WL#waitlist`")),
        items: Some((1008.0, "`WL#waitlist`")),
    },
    Heat {
        action: Action::Position,
        alone: Some((1512.0, "`ACCT#account`")),
        rush: Some((776.0, "`LINE#waitlist#branch#leaf`")),
        items: Some((776.0, "`LINE#waitlist#branch#leaf`")),
    },
    Heat {
        action: Action::Click,
        alone: Some((500.0, "`ROLLUP#account#shard`")),
        rush: Some((1512.0, "`ACCT#account`")),
        items: Some((1512.0, "`ACCT#account`")),
    },
    Heat {
        action: Action::Leaderboard,
        alone: Some((2016.0, "`TOP#waitlist` in GSI1")),
        rush: Some((2016.0, "`TOP#waitlist` in GSI1")),
        items: Some((2016.0, "`TOP#waitlist` in GSI1")),
    },
    Heat {
        action: Action::List,
        alone: Some((400.0, "`WLSUBS#waitlist#shard` in GSI1")),
        rush: Some((400.0, "`WLSUBS#waitlist#shard` in GSI1")),
        items: Some((400.0, "`WLSUBS#waitlist#shard` in GSI1")),
    },
    Heat {
        action: Action::Claim,
        alone: Some((504.0, "`POOL#pool`")),
        rush: Some((1392.0, "`POOL#pool`")),
        items: Some((2832.0, "`POOL#pool`")),
    },
    Heat {
        action: Action::Reserve,
        alone: Some((504.0, "`POOL#pool`")),
        rush: Some((736.0, "`ACCT#account`")),
        items: Some((1440.0, "`POOL#pool`")),
    },
    Heat {
        action: Action::Redeem,
        alone: Some((504.0, "`AUDIT#account`")),
        rush: Some((500.0, "`AUDIT#account`")),
        items: Some((3024.0, "`KEY#key`")),
    },
    Heat {
        action: Action::Import,
        alone: Some((3456.0, "`CODES#pool#shard`")),
        rush: Some((3552.0, "`CODES#pool#shard`")),
        items: Some((111616.0, "`POOL#pool`")),
    },
    Heat { action: Action::Export, alone: Some((50176.0, "`AUDIT#account`")), rush: None, items: None },
    Heat {
        action: Action::Erase,
        alone: Some((250.0, "`WL#waitlist`")),
        rush: Some((500.0, "`AUDIT#account`")),
        items: Some((3024.0, "`KEY#key`")),
    },
    Heat {
        action: Action::Enrol,
        alone: Some((250.0, "`PROG#program`")),
        rush: Some((1464.0, "`ACCT#account`")),
        items: Some((2832.0, "`PROG#program`")),
    },
    Heat {
        action: Action::Stamp,
        alone: Some((250.0, "`PROG#program`")),
        rush: Some((1872.0, "`EVENTS#topic#shard`")),
        items: Some((2880.0, "`PROG#program`")),
    },
    Heat {
        action: Action::StampFull,
        alone: Some((250.0, "`PROG#program`")),
        rush: Some((968.0, "`EVENTS#topic#shard`")),
        items: Some((2848.0, "`PROG#program`")),
    },
    Heat {
        action: Action::RedeemReward,
        alone: Some((500.0, "`PROG#program`")),
        rush: Some((1776.0, "`EVENTS#topic#shard`")),
        items: Some((3024.0, "`KEY#key`")),
    },
    Heat {
        action: Action::Vote,
        alone: Some((504.0, "`FEAT#feature`")),
        rush: Some((1856.0, "`EVENTS#topic#shard`")),
        items: Some((2880.0, "`FEAT#feature`")),
    },
    Heat {
        action: Action::VoteTold,
        alone: Some((504.0, "`FEAT#feature`")),
        rush: Some((1472.0, "`ACCT#account`")),
        items: Some((2864.0, "`FEAT#feature`")),
    },
    Heat {
        action: Action::Analytics,
        alone: Some((1512.0, "`ACCT#account`")),
        rush: Some((1512.0, "`ACCT#account`")),
        items: Some((3024.0, "`ACCT#account`")),
    },
    Heat {
        action: Action::Message,
        alone: Some((372.0, "`SENDS#campaign#shard`")),
        rush: Some((374.0, "`SENDS#campaign#shard`")),
        items: Some((732.0, "`CAMP#campaign`")),
    },
];

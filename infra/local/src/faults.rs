//! Injected faults of DynamoDB and of Amazon SES.
//!
//! Faults of DynamoDB are throttles, conflicts of transactions, lost answers and network latency, none of which
//! the emulator has. These faults are injected in a seeded sequence into the HTTP client that all SDK clients
//! share, below the SDK's own retries.
//!
//! Faults of SES are its limits, a paused account and failures ([`Ses`]). The outbox answers with these
//! faults, which can be switched while the platform runs.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
            SharedHttpConnector,
        },
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    http::StatusCode,
    shared::IntoShared,
};
use aws_smithy_types::body::SdkBody;

/// Rates of faults per 1,000 calls to DynamoDB, and the faults of SES.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    throttled: u64,
    /// Transactions of 1,000 that are cancelled because another transaction holds an item.
    conflicted: u64,
    /// Calls of 1,000 that are carried out but whose answer is lost.
    unanswered: u64,
    /// Delay before each call.
    delay: Duration,
    state: Arc<AtomicU64>,
    /// Faults of Amazon SES.
    pub ses: Ses,
}

/// Amazon SES as the outbox emulates it. All clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Ses {
    state: Arc<Mutex<(SesTrouble, u64)>>,
}

/// Faults of Amazon SES; none by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SesTrouble {
    /// Maximum number of mails that SES accepts within a second, and within 24 hours. As in SES, refused mails do
    /// not count.
    pub per_second: Option<u32>,
    pub per_day: Option<u32>,
    /// True if SES has paused the account: all mails are refused.
    pub paused: bool,
    /// Failure that SES answers with status 500, if any.
    pub broken: Option<Broken>,
    /// Time that an answer takes. SES accepts the mail after half of it.
    pub delay: Duration,
}

/// Moment at which SES fails. A client cannot distinguish the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    BeforeTaking,
    AfterTaking,
}

impl Ses {
    pub fn set(&self, trouble: SesTrouble) {
        self.state().0 = trouble;
    }

    /// Returns the number of mails that SES was asked to send.
    pub fn asked(&self) -> u64 {
        self.state().1
    }

    /// Counts a request and returns the present faults.
    pub(crate) fn ask(&self) -> SesTrouble {
        let mut state = self.state();
        state.1 += 1;
        state.0
    }

    fn state(&self) -> MutexGuard<'_, (SesTrouble, u64)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Faults {
    /// Makes faults with these rates per 1,000 calls, in a sequence that the seed determines.
    pub fn seeded(seed: u64, throttled: u64, conflicted: u64, unanswered: u64) -> Self {
        let state = Arc::new(AtomicU64::new(seed));
        Self { throttled, conflicted, unanswered, state, ..Self::default() }
    }

    /// Returns these faults with a delay before each call to DynamoDB.
    pub fn delayed(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Returns the client with these faults injected, or the client itself if there are none.
    pub(crate) fn wrap(&self, client: SharedHttpClient, dynamodb: &str) -> SharedHttpClient {
        if self.throttled + self.conflicted + self.unanswered == 0 && self.delay.is_zero() {
            return client;
        }
        FaultyClient { client, faults: self.clone(), dynamodb: dynamodb.to_owned() }.into_shared()
    }

    /// Returns the next number of the sequence, below 1,000 (SplitMix64).
    fn draw(&self) -> u64 {
        let mut z = self.state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % 1000
    }
}

#[derive(Debug)]
struct FaultyClient {
    client: SharedHttpClient,
    faults: Faults,
    dynamodb: String,
}

impl HttpClient for FaultyClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(FaultyConnector {
            connector: self.client.http_connector(settings, components),
            faults: self.faults.clone(),
            dynamodb: self.dynamodb.clone(),
        })
    }
}

#[derive(Debug)]
struct FaultyConnector {
    connector: SharedHttpConnector,
    faults: Faults,
    dynamodb: String,
}

impl HttpConnector for FaultyConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        if !request.uri().starts_with(&self.dynamodb) {
            return self.connector.call(request);
        }
        let operation = request.headers().get("x-amz-target").unwrap_or_default().to_owned();
        let writes = operation.ends_with("TransactWriteItems");
        let Faults { throttled, conflicted, unanswered, delay, .. } = self.faults;
        let drawn = self.faults.draw();
        if drawn < throttled {
            return answer(
                r#"{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"injected"}"#,
            );
        }
        if writes && drawn < throttled + conflicted {
            return answer(
                r#"{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException","Message":"injected","CancellationReasons":[{"Code":"TransactionConflict","Message":"injected"}]}"#,
            );
        }
        let lost = drawn >= throttled + conflicted && drawn < throttled + conflicted + unanswered;
        let connector = self.connector.clone();
        HttpConnectorFuture::new(async move {
            tokio::time::sleep(delay).await;
            let answer = connector.call(request).await?;
            match lost {
                true => Err(ConnectorError::io("injected: the answer is lost".into())),
                false => Ok(answer),
            }
        })
    }
}

fn answer(body: &'static str) -> HttpConnectorFuture {
    let status = StatusCode::try_from(400).map_err(|error| ConnectorError::other(error.into(), None));
    HttpConnectorFuture::ready(status.map(|status| HttpResponse::new(status, SdkBody::from(body))))
}

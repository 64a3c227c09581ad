//! Faults on the way to DynamoDB that the emulator never has: throttles,
//! conflicts of transactions, answers that get lost, the time that a network takes. And those of Amazon SES: its limits, a paused account,
//! failures ([`Ses`]).
//!
//! Faults of DynamoDB are injected into the HTTP client that all SDK clients share, below the
//! SDK's own retries, from a seeded sequence. Those of SES are the outbox's answers, and can be switched while the
//! platform runs.

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

/// How often what goes wrong, per 1,000 calls to DynamoDB.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    throttled: u64,
    /// Of transactions: cancelled because another one holds an item.
    conflicted: u64,
    /// The call is carried out and its answer is lost.
    unanswered: u64,
    /// By how much each call comes later.
    delay: Duration,
    state: Arc<AtomicU64>,
    /// Trouble at Amazon SES.
    pub ses: Ses,
}

/// Amazon SES as the outbox plays it. Clones are one SES.
#[derive(Clone, Debug, Default)]
pub struct Ses {
    state: Arc<Mutex<(SesTrouble, u64)>>,
}

/// Trouble at Amazon SES; none by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SesTrouble {
    /// Mails that SES takes within a second, and within 24 hours. As in SES, what is refused does not count.
    pub per_second: Option<u32>,
    pub per_day: Option<u32>,
    /// Nothing of the account is taken until somebody has seen to it.
    pub paused: bool,
    /// SES answers with a status of 500.
    pub broken: Option<Broken>,
    /// How long an answer takes; the mail is taken in the middle of it.
    pub delay: Duration,
}

/// A client can't tell one from the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    BeforeTaking,
    AfterTaking,
}

impl Ses {
    pub fn set(&self, trouble: SesTrouble) {
        self.state().0 = trouble;
    }

    /// How many mails SES was asked to send.
    pub fn asked(&self) -> u64 {
        self.state().1
    }

    /// Counts a request; what is wrong when it comes.
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
    /// Faults in these parts per thousand, in a sequence that the seed decides.
    pub fn seeded(seed: u64, throttled: u64, conflicted: u64, unanswered: u64) -> Self {
        let state = Arc::new(AtomicU64::new(seed));
        Self { throttled, conflicted, unanswered, state, ..Self::default() }
    }

    /// The same, with this delay before each call to DynamoDB.
    pub fn delayed(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// The client with these faults; the client itself when there are none.
    pub(crate) fn wrap(&self, client: SharedHttpClient, dynamodb: &str) -> SharedHttpClient {
        if self.throttled + self.conflicted + self.unanswered == 0 && self.delay.is_zero() {
            return client;
        }
        FaultyClient { client, faults: self.clone(), dynamodb: dynamodb.to_owned() }.into_shared()
    }

    /// The next of a sequence of numbers below 1,000 (SplitMix64).
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

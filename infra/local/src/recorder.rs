//! Records the functions' invocations, their calls to AWS, and the capacity units that DynamoDB would charge to
//! each partition for each call (see [`crate::capacity`]).
//!
//! The recorder is part of the HTTP client below the SDKs and is off until [`Recorder::record`]. While it is on,
//! writes to the table run one after another, so that the recorder can read each item before and after its write.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
            SharedHttpConnector,
        },
        orchestrator::HttpRequest,
        runtime_components::RuntimeComponents,
    },
    shared::IntoShared,
};
use futures_util::future::join_all;
use serde_json::Value;

use crate::{
    capacity::{Charge, Item, Schema},
    dynamodb::Items,
};

/// Idle time after which all effects of messages in queues are complete.
const QUIET: Duration = Duration::from_millis(400);

/// Recorded invocation or call.
#[derive(Clone, Debug)]
pub enum Record {
    Invocation(Invocation),
    Call(Call),
}

/// Invocation of a function.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// Sequence number of the invocation in this process.
    pub number: u64,
    /// Logical id of the function.
    pub function: String,
    /// Number of records or messages in the event; 0 for a request.
    pub records: usize,
    pub took: Duration,
}

/// Call of a function to AWS.
#[derive(Clone, Debug)]
pub struct Call {
    pub function: String,
    /// Number of the invocation that made the call; `None` if a background task made it.
    pub invocation: Option<u64>,
    pub sent_at: Instant,
    pub answered_at: Instant,
    /// Service and operation, for example `DynamoDB.GetItem`, `SQS.SendMessage`, `S3.GET`.
    pub operation: String,
    pub charges: Vec<Charge>,
    pub took: Duration,
}

/// Recorder of invocations and calls. Clones share their state.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    on: AtomicBool,
    records: Mutex<Vec<Record>>,
    table: OnceLock<(Schema, Items)>,
    /// Held while an item is read, written and read again.
    writing: tokio::sync::Mutex<()>,
    /// Number of recorded invocations so far.
    invocations: AtomicU64,
    /// Number of invocations and calls in progress.
    busy: AtomicU64,
    last: Mutex<Option<Instant>>,
    /// Time of the last read of the stream that found no undelivered records.
    read_out: Mutex<Option<Instant>>,
}

tokio::task_local! {
    /// Number of the invocation that the task works for.
    static INVOCATION: u64;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorder {
    /// Makes a recorder that can read the items of this table.
    pub(crate) fn of(schema: Option<Schema>, items: Items) -> Self {
        let recorder = Self::default();
        if let Some(schema) = schema {
            // The cell is empty, so `set` cannot fail.
            let _ = recorder.0.table.set((schema, items));
        }
        recorder
    }

    /// Starts recording and discards earlier records.
    pub fn record(&self) {
        lock(&self.0.records).clear();
        self.0.on.store(true, Ordering::Relaxed);
    }

    /// Returns the records so far and removes them.
    pub fn take(&self) -> Vec<Record> {
        std::mem::take(&mut lock(&self.0.records))
    }

    /// Waits until the platform is idle: the stream has delivered all writes, and no queue has delivered a
    /// message for 400 ms since.
    pub async fn quiet(&self) {
        loop {
            let (last, read_out) = (*lock(&self.0.last), *lock(&self.0.read_out));
            let idle = last.is_none_or(|last| last.elapsed() >= QUIET && read_out > Some(last));
            if idle && self.0.busy.load(Ordering::Relaxed) == 0 {
                return;
            }
            tokio::time::sleep(QUIET / 20).await;
        }
    }

    /// Records that the stream had no undelivered records at this time.
    pub(crate) fn stream_read_out(&self, at: Instant) {
        *lock(&self.0.read_out) = Some(at);
    }

    fn is_on(&self) -> bool {
        self.0.on.load(Ordering::Relaxed)
    }

    fn add(&self, record: Record) {
        lock(&self.0.records).push(record);
        *lock(&self.0.last) = Some(Instant::now());
    }

    /// Records an invocation and runs it.
    pub(crate) async fn invocation<T>(
        &self,
        function: &str,
        records: usize,
        invoked: impl Future<Output = T>,
    ) -> T {
        if !self.is_on() {
            return invoked.await;
        }
        let _busy = Busy::with(self);
        let number = self.0.invocations.fetch_add(1, Ordering::Relaxed);
        let started = Instant::now();
        let answer = INVOCATION.scope(number, invoked).await;
        let took = started.elapsed();
        self.add(Record::Invocation(Invocation { number, function: function.to_owned(), records, took }));
        answer
    }

    /// Returns a client that records a function's calls. `services` are the names of the services with their
    /// endpoints.
    pub(crate) fn wrap(
        &self,
        client: SharedHttpClient,
        function: &str,
        services: &[(&'static str, String)],
    ) -> SharedHttpClient {
        let context =
            Context { recorder: self.clone(), function: function.into(), services: services.into() };
        Recording { inner: client, context }.into_shared()
    }
}

/// Marks an invocation or call as in progress until dropped.
struct Busy(Recorder);

impl Busy {
    fn with(recorder: &Recorder) -> Self {
        recorder.0.busy.fetch_add(1, Ordering::Relaxed);
        Self(recorder.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Clone, Debug)]
struct Context {
    recorder: Recorder,
    function: Arc<str>,
    services: Arc<[(&'static str, String)]>,
}

/// Client or connector whose calls are recorded.
#[derive(Debug)]
struct Recording<T> {
    inner: T,
    context: Context,
}

impl HttpClient for Recording<SharedHttpClient> {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(Recording { inner, context: self.context.clone() })
    }
}

impl HttpConnector for Recording<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Context { recorder, function, services } = self.context.clone();
        let uri = request.uri();
        let service = services.iter().find(|(_, endpoint)| uri.starts_with(endpoint)).map(|(name, _)| *name);
        let Some(service) = service.filter(|_| recorder.is_on()) else { return self.inner.call(request) };
        let target = request.headers().get("x-amz-target").and_then(|target| target.rsplit('.').next());
        let verb = target.unwrap_or(request.method()).to_owned();
        let body = request.body().bytes().filter(|_| service == "DynamoDB");
        let body: Value = body.and_then(|body| serde_json::from_slice(body).ok()).unwrap_or_default();
        let inner = self.inner.clone();
        let (invocation, sent_at) = (INVOCATION.try_with(|number| *number).ok(), Instant::now());
        HttpConnectorFuture::new(async move {
            let _busy = Busy::with(&recorder);
            let writing = Writing::of(&verb, &body);
            let held = match writing {
                Some(_) => Some(recorder.0.writing.lock().await),
                None => None,
            };
            let table = recorder.0.table.get();
            let before = match table.zip(writing.as_ref()) {
                Some(((schema, items), writing)) => Some(found(items, writing.keys(schema)).await),
                None => None,
            };
            let started = Instant::now();
            let answer = inner.call(request).await;
            let answered_at = Instant::now();
            let took = answered_at - started;
            let done = answer.as_ref().is_ok_and(|answer| answer.status().is_success());
            let charges = match (table, writing, before) {
                (Some((schema, items)), Some(writing), Some(before)) => {
                    written(schema, items, &writing, before, done).await
                }
                (Some((schema, items)), None, _) => read(schema, items, &verb, &body).await,
                _ => Vec::new(),
            };
            drop(held);
            let operation = format!("{service}.{verb}");
            let function = function.to_string();
            recorder.add(Record::Call(Call {
                function,
                invocation,
                sent_at,
                answered_at,
                operation,
                charges,
                took,
            }));
            answer
        })
    }
}

/// Writes of a request.
struct Writing<'a> {
    /// Key or item of each write, and true if the write only checks a condition.
    targets: Vec<(&'a Item, bool)>,
    transaction: bool,
}

impl<'a> Writing<'a> {
    fn of(verb: &str, body: &'a Value) -> Option<Self> {
        let target = |write: &'a Value| write["Item"].as_object().or_else(|| write["Key"].as_object());
        let targets = match verb {
            "PutItem" | "UpdateItem" | "DeleteItem" => vec![(target(body)?, false)],
            "TransactWriteItems" => body["TransactItems"]
                .as_array()?
                .iter()
                .filter_map(|write| {
                    let (kind, write) = write.as_object()?.iter().next()?;
                    Some((target(write)?, kind == "ConditionCheck"))
                })
                .collect(),
            _ => return None,
        };
        Some(Self { targets, transaction: verb == "TransactWriteItems" })
    }

    fn keys(&self, schema: &Schema) -> Vec<Item> {
        self.targets.iter().map(|(target, _)| schema.key_of(target)).collect()
    }
}

/// Reads the items with these keys.
async fn found(items: &Items, keys: Vec<Item>) -> Vec<(Option<Item>, Item)> {
    join_all(keys.into_iter().map(|key| async { (items.get(&key).await, key) })).await
}

async fn written(
    schema: &Schema,
    items: &Items,
    writing: &Writing<'_>,
    before: Vec<(Option<Item>, Item)>,
    done: bool,
) -> Vec<Charge> {
    let each = writing.targets.iter().zip(before).map(|((_, checks), (before, key))| async move {
        if *checks || !done {
            return vec![schema.checked(&key, before.as_ref(), writing.transaction)];
        }
        let after = items.get(&key).await;
        schema.write(&key, before.as_ref(), after.as_ref(), writing.transaction)
    });
    join_all(each).await.concat()
}

async fn read(schema: &Schema, items: &Items, verb: &str, body: &Value) -> Vec<Charge> {
    let get = async |key: &Value, consistent: &Value| {
        let key = key.as_object()?;
        Some(schema.get(key, items.get(key).await.as_ref(), consistent == true))
    };
    match verb {
        "GetItem" => get(&body["Key"], &body["ConsistentRead"]).await.into_iter().collect(),
        "BatchGetItem" => {
            let tables = body["RequestItems"].as_object().into_iter().flatten().map(|(_, table)| table);
            let keys = tables.flat_map(|table| {
                let keys = table["Keys"].as_array().into_iter().flatten();
                keys.map(|key| get(key, &table["ConsistentRead"]))
            });
            join_all(keys).await.into_iter().flatten().collect()
        }
        "Query" => {
            let partition = body["ExpressionAttributeValues"][":pk"]["S"].as_str().unwrap_or_default();
            let index = body["IndexName"].as_str();
            let seen = items.seen_by(body).await;
            vec![schema.query(index, partition, &seen, body["ConsistentRead"] == true)]
        }
        _ => Vec::new(),
    }
}

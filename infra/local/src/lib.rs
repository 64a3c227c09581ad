//! The whole platform in one process, for development and for the tests.
//!
//! The functions are the ones that run on Lambda. They reach DynamoDB, S3, SQS and SES through the AWS SDKs, and
//! Twilio over HTTP, at local endpoints that their environment names. The functions themselves are the same as on
//! AWS. The routes, the table, the bucket, the queues and the event sources are read from the project's own
//! templates.
//!
//! All data is in a data directory. A process that is killed at any moment loses nothing that it acknowledged;
//! `dynamodb/embedded.rs` explains why.

pub mod capacity;
mod client;
mod credentials;
mod dynamodb;
mod error;
mod event_bridge;
pub mod faults;
mod functions;
mod gateway;
pub mod oidc;
mod outbox;
mod pattern;
mod pollers;
pub mod recorder;
mod s3;
mod sqs;
mod template;
mod twilio;

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use aws::{Env, Meter};
use axum::Router;
use tokio::{net::TcpListener, runtime::Handle, sync::Notify, task::AbortHandle};

pub use credentials::Credentials;
pub use error::PlatformError;
pub use functions::{apis, routes};
pub use sqs::Depth;

use crate::{
    capacity::Schema,
    credentials::{ACCESS_KEY, REGION},
    dynamodb::{DynamoDb, Place},
    event_bridge::EventBridge,
    faults::Faults,
    functions::Functions,
    gateway::Gateway,
    oidc::Oidc,
    outbox::Outbox,
    pollers::{EventPoller, QueuePoller, SchedulePoller, StreamPoller},
    recorder::Recorder,
    s3::S3,
    sqs::Sqs,
    template::{Declaration, Function, Source, Surroundings},
};

const OIDC_AUDIENCE: &str = "groundswell";
/// Function whose environment names both the table and the bucket.
const IMPORTER: &str = "CodeImportFunction";

/// Options of the platform.
#[derive(Clone, Debug)]
pub struct Options {
    /// Port of the API; 0 selects a free port. The bucket is at the next port, or at a free port if that one is
    /// taken.
    pub port: u16,
    pub data_dir: PathBuf,
    /// Address of an external DynamoDB emulator; `None` starts the embedded one.
    pub dynamodb: Option<String>,
    /// Address of another emulation of Twilio, such as a test's; `None` selects the outbox.
    pub twilio: Option<String>,
    /// True if the table's stream is kept, so that it can be replayed. Otherwise the stream is trimmed.
    pub keep_stream: bool,
    /// True if event sources are polled. Otherwise writes have no derived effects, and schedules do not run.
    pub event_sources: bool,
    /// Injected faults of DynamoDB and of SES.
    pub faults: Faults,
}

/// Running platform. Dropping it stops the platform.
pub struct Platform {
    /// Base URL of the API, the outbox and the OIDC issuer: `http://127.0.0.1:<port>`.
    pub url: String,
    pub credentials: Credentials,
    pub oidc: Oidc,
    /// Counts the calls of all functions to DynamoDB by access pattern.
    pub meter: Meter,
    /// Counts the calls of each function, by the name of its binary.
    pub meters: HashMap<String, Meter>,
    /// Records the calls of the functions, and the capacity that DynamoDB would charge for them. Off at first.
    pub recorder: Recorder,
    /// Table and bucket, opened as the functions open them.
    pub table: table::Table,
    pub bucket: files::Bucket,
    /// Environments of the functions by logical id.
    variables: HashMap<String, HashMap<String, String>>,
    sqs: Sqs,
    functions: Functions,
    dynamodb: DynamoDb,
    tasks: Vec<AbortHandle>,
    _lock: std::fs::File,
}

impl Drop for Platform {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Platform {
    /// Starts the platform. All servers listen on loopback. On Unix, files that the process creates from then on
    /// are accessible only to their owner.
    ///
    /// # Errors
    /// Fails if the directory or the port is taken, if a file cannot be used, or if the templates declare
    /// something that the local platform does not support.
    pub async fn start(options: Options) -> Result<Self, PlatformError> {
        let data = &options.data_dir;
        let lock = lock(data)?;
        let known = credentials::known(data)?;
        let aws_secret = credentials::aws_secret_of(known.as_ref());
        let address = SocketAddr::from(([127, 0, 0, 1], options.port));
        let port = |source| PlatformError::Port { port: options.port, source };
        let listener = TcpListener::bind(address).await.map_err(port)?;
        let url = format!("http://{}", listener.local_addr().map_err(port)?);
        let mut tasks = Vec::new();

        let sqs_listener = loopback().await?;
        let place = Place::of(data, options.dynamodb.as_deref())?;
        let surroundings = Surroundings {
            parameters: parameters(&url),
            queue_base_url: url_of(&sqs_listener)?,
            table: place.table().to_owned(),
        };
        let declaration = Declaration::embedded(&surroundings)?;

        let dynamodb = DynamoDb::start(place, &declaration.table).await?;
        let mut queues = declaration.queues.clone();
        queues.extend(declaration.functions.iter().filter_map(Function::event_queue));
        let sqs = Sqs::open(&data.join("queues.db"), &surroundings.queue_base_url, queues)
            .map_err(|error| PlatformError::part("SQS")(&error))?;
        tasks.push(serve(sqs_listener, sqs.router()));
        let events = EventBridge::new(&declaration.functions, sqs.clone());
        let bucket = &declaration.bucket;
        let s3 = S3::open(&data.join("s3"), ACCESS_KEY, &aws_secret, &bucket.name, events)
            .map_err(|error| PlatformError::part("S3")(&error))?;
        let s3_listener = next_to(options.port).await?;
        let s3_url = url_of(&s3_listener)?;
        tasks.push(serve(s3_listener, s3.router()));
        tasks.push(tokio::spawn(s3.keep_expiring(bucket.clone())).abort_handle());
        let outbox =
            Outbox::open(&data.join("outbox.db")).map_err(|error| PlatformError::part("outbox")(&error))?;
        let outbox = outbox.with_ses(options.faults.ses.clone());
        let ses_listener = loopback().await?;
        let ses_url = url_of(&ses_listener)?;
        tasks.push(serve(ses_listener, outbox.ses_router()));
        let twilio_url = match &options.twilio {
            Some(url) => url.clone(),
            None => {
                let listener = loopback().await?;
                let url = url_of(&listener)?;
                tasks.push(serve(listener, twilio::router(outbox.clone())));
                url
            }
        };

        let meter = Meter::default();
        let recorder = Recorder::of(Schema::of(&declaration.table.json), dynamodb.items());
        let services = [
            ("DynamoDB", dynamodb.endpoint.clone()),
            ("SQS", surroundings.queue_base_url.clone()),
            ("S3", s3_url.clone()),
            ("SES", ses_url.clone()),
        ];
        let endpoints = [
            ("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.endpoint.clone()),
            ("AWS_ENDPOINT_URL_SQS", surroundings.queue_base_url.clone()),
            ("AWS_ENDPOINT_URL_S3", s3_url.clone()),
            ("AWS_ENDPOINT_URL_SESV2", ses_url),
            ("TWILIO_URL", twilio_url),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", aws_secret.clone()),
            ("AWS_REGION", REGION.to_owned()),
        ];
        let http = options.faults.wrap(client::in_runtime(Handle::current()), &dynamodb.endpoint);
        let variables = declaration.functions.iter().map(|function| {
            let mut variables = function.environment.clone();
            variables.extend(endpoints.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
            (function.logical_id.clone(), variables)
        });
        let variables: HashMap<String, HashMap<String, String>> = variables.collect();
        environment_files(data, &variables)?;
        let environment = |function: &str, meter: Meter| {
            let variables = variables.get(function).cloned().unwrap_or_default();
            let http = recorder.wrap(http.clone(), function, &services);
            Env::new(variables, http).with_meter(meter)
        };
        let binaries = declaration.functions.iter().map(|function| function.binary.clone());
        let meters: HashMap<String, Meter> = binaries.map(|binary| (binary, meter.part())).collect();
        let start = |function: &Function| environment(&function.logical_id, meters[&function.binary].clone());
        let functions = Functions::start(&declaration.functions, start, recorder.clone())?;
        let importer = environment(IMPORTER, meter.clone());
        let table =
            table::Table::from_env(&importer).map_err(|error| PlatformError::part("table")(&error))?;
        let files =
            files::Bucket::from_env(&importer).map_err(|error| PlatformError::part("bucket")(&error))?;

        let issuer = format!("{url}/oidc");
        // The ports may differ from those of the last start.
        let credentials = Credentials {
            api: format!("{url}/api/v1"),
            oidc_issuer: issuer.clone(),
            s3_endpoint: s3_url,
            bucket: bucket.name.clone(),
            aws_access_key_id: ACCESS_KEY.to_owned(),
            aws_secret_access_key: aws_secret,
            ..credentials::demo(known, &table).await?
        };
        credentials::write(data, &credentials)?;
        let password = credentials.oidc_password.clone();
        let oidc = Oidc::open(&data.join("oidc-key.pkcs8"), issuer, OIDC_AUDIENCE.to_owned(), password)
            .map_err(|error| PlatformError::part("OIDC issuer")(&error))?;

        let written = Arc::new(Notify::new());
        if options.event_sources {
            tasks.extend(poll(&declaration, &functions, &dynamodb, &sqs, &written, &options).await?);
        }
        let gateway = Gateway::new(&declaration, functions.clone(), written);
        let router = gateway.router().merge(outbox.page_router()).nest("/oidc", oidc.router());
        tasks.push(serve(listener, router));
        Ok(Self {
            url,
            credentials,
            oidc,
            meter,
            recorder,
            meters,
            table,
            bucket: files,
            variables,
            sqs,
            functions,
            dynamodb,
            tasks,
            _lock: lock,
        })
    }

    /// Creates another account on this platform.
    ///
    /// # Errors
    /// Fails if the name or the address is invalid, or if the table refuses the write.
    pub async fn make_account(&self, name: &str, owner: &str) -> Result<Credentials, PlatformError> {
        let made = credentials::make_account(&self.table, name, owner).await;
        let made = made.map_err(|error| PlatformError::part("account")(&error))?;
        let Credentials { account_id, publishable_key, secret_key, oidc_username, .. } = made;
        let here = self.credentials.clone();
        Ok(Credentials { account_id, publishable_key, secret_key, oidc_username, ..here })
    }

    /// Returns the environment of a function by its logical id, to run the function as a process of its own.
    pub fn environment(&self, function: &str) -> Option<HashMap<String, String>> {
        self.variables.get(function).cloned()
    }

    /// Returns the endpoint of DynamoDB, to measure DynamoDB by itself.
    pub fn dynamodb_endpoint(&self) -> &str {
        &self.dynamodb.endpoint
    }

    /// Returns the number of messages in a queue.
    ///
    /// # Errors
    /// Fails if there is no such queue.
    pub fn queue_depth(&self, queue: &str) -> Result<Depth, PlatformError> {
        self.sqs.depth(queue).map_err(|error| PlatformError::part("SQS")(&error))
    }

    /// Returns all records of the table's stream that are still kept, oldest first.
    ///
    /// # Errors
    /// Fails if the emulator fails.
    pub async fn stream_records(&self) -> Result<Vec<serde_json::Value>, PlatformError> {
        self.dynamodb.stream().await?.all().await
    }

    /// Invokes a function by its logical id, as the event sources do.
    ///
    /// # Errors
    /// Fails if the function fails.
    pub async fn invoke(
        &self,
        function: &str,
        event: serde_json::Value,
    ) -> Result<serde_json::Value, String> {
        self.functions.invoke(function, event).await
    }
}

/// Writes the environments that functions need to run outside this process: one file for
/// `cargo lambda watch --env-file`, one for `sam local invoke --env-vars`.
fn environment_files(
    data: &Path,
    variables: &HashMap<String, HashMap<String, String>>,
) -> Result<(), PlatformError> {
    // A variable has the same value in all functions that have it.
    let all: BTreeMap<_, _> = variables.values().flatten().collect();
    let lines: String = all.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    let by_function = serde_json::to_string_pretty(variables).unwrap_or_default();
    for (name, text) in [("functions.env", lines), ("functions.json", by_function)] {
        let path = data.join(name);
        credentials::write_private(&path, text.as_bytes())
            .map_err(|source| PlatformError::File { path, source })?;
    }
    Ok(())
}

/// Returns the values of the template's parameters, which `sam deploy` gets from its caller.
fn parameters(url: &str) -> HashMap<String, String> {
    [
        ("PublicUrl", url.to_owned()),
        ("MailFrom", "groundswell@localhost".to_owned()),
        ("OidcIssuer", format!("{url}/oidc")),
        ("OidcJwksUri", format!("{url}/oidc/.well-known/jwks.json")),
        ("OidcAudience", OIDC_AUDIENCE.to_owned()),
        // A developer's webhook receiver runs on the same machine.
        ("WebhookNetworks", "127.0.0.0/8,::1/128".to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// Locks the data directory for as long as the returned file is open, and makes its contents accessible only to
/// their owner.
fn lock(data: &Path) -> Result<std::fs::File, PlatformError> {
    let file = |path: PathBuf| move |source| PlatformError::File { path, source };
    // SQLite and other libraries will create files with subscribers' addresses, codes and keys, with the
    // process's umask.
    #[cfg(unix)]
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    std::fs::create_dir_all(data).map_err(file(data.to_owned()))?;
    let path = data.join("lock");
    #[cfg(unix)]
    if path.exists() {
        // Files of an earlier start may be accessible to other users. A private directory makes them unreachable.
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(data, private).map_err(file(data.to_owned()))?;
    }
    let lock = std::fs::File::create(&path).map_err(file(path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(_) => Err(PlatformError::InUse(data.to_owned())),
    }
}

async fn loopback() -> Result<TcpListener, PlatformError> {
    TcpListener::bind("127.0.0.1:0").await.map_err(|source| PlatformError::Port { port: 0, source })
}

/// Listens on the port after `port`, so that the address is the same at each start. Listens on a free port if
/// that one is taken or if `port` is 0.
async fn next_to(port: u16) -> Result<TcpListener, PlatformError> {
    if let Some(next) = port.checked_add(1).filter(|_| port != 0)
        && let Ok(listener) = TcpListener::bind(("127.0.0.1", next)).await
    {
        return Ok(listener);
    }
    loopback().await
}

fn url_of(listener: &TcpListener) -> Result<String, PlatformError> {
    let address = listener.local_addr().map_err(|source| PlatformError::Port { port: 0, source })?;
    Ok(format!("http://{address}"))
}

fn serve(listener: TcpListener, router: Router) -> AbortHandle {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, service).await {
            tracing::error!(cause = %error, "server stopped");
        }
    })
    .abort_handle()
}

/// Starts the event sources that the functions declare.
async fn poll(
    declaration: &Declaration,
    functions: &Functions,
    dynamodb: &DynamoDb,
    sqs: &Sqs,
    written: &Arc<Notify>,
    options: &Options,
) -> Result<Vec<AbortHandle>, PlatformError> {
    let mut tasks = Vec::new();
    for function in &declaration.functions {
        for source in &function.sources {
            match source.clone() {
                Source::Stream { batch_size, filters, bisect, max_retries, dead_letters } => {
                    let name = format!("stream-{}.checkpoint", function.binary);
                    let poller = StreamPoller {
                        stream: dynamodb.stream().await?,
                        functions: functions.clone(),
                        function: function.logical_id.clone(),
                        batch_size,
                        filters,
                        bisect,
                        max_retries,
                        dead_letters,
                        sqs: sqs.clone(),
                        written: written.clone(),
                        checkpoint: options.data_dir.join(name),
                        keep: options.keep_stream,
                    };
                    tasks.push(tokio::spawn(poller.run()).abort_handle());
                }
                Source::Queue { queue, batch_size, report_failures, max_concurrency } => {
                    let poller = QueuePoller {
                        sqs: sqs.clone(),
                        functions: functions.clone(),
                        function: function.logical_id.clone(),
                        queue,
                        batch_size,
                        report_failures,
                        written: written.clone(),
                    };
                    tasks.extend(poller.spawn(max_concurrency));
                }
                // The events of all rules arrive through the function's event queue below.
                Source::Rule { .. } => {}
                Source::Schedule { name, interval, input } => {
                    let name = format!("schedule-{}-{name}.checkpoint", function.binary);
                    let poller = SchedulePoller {
                        functions: functions.clone(),
                        function: function.logical_id.clone(),
                        interval,
                        input,
                        written: written.clone(),
                        checkpoint: options.data_dir.join(name),
                    };
                    tasks.push(tokio::spawn(poller.run()).abort_handle());
                }
            }
        }
        if let Some(queue) = function.event_queue() {
            let poller = EventPoller {
                sqs: sqs.clone(),
                functions: functions.clone(),
                function: function.logical_id.clone(),
                queue: queue.name,
                config: function.event_invoke_config.clone(),
                written: written.clone(),
            };
            tasks.extend(poller.spawn());
        }
    }
    Ok(tasks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_bucket_is_at_a_free_port_when_the_next_one_is_taken() {
        let holder = loopback().await.unwrap();
        let taken = holder.local_addr().unwrap();
        for port in [0, taken.port() - 1, u16::MAX] {
            let found = next_to(port).await.unwrap().local_addr().unwrap();
            assert!(found.ip().is_loopback() && found != taken);
        }
    }
}

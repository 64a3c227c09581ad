//! AWS clients of all functions: one HTTP client, settings from the environment.
//!
//! Start-up makes no requests. The region and the credentials come from the variables that Lambda sets. The trust
//! store holds the Amazon roots. `AWS_ENDPOINT_URL` or `AWS_ENDPOINT_URL_<SERVICE>` changes the endpoint of a
//! service.

mod meter;
mod outcome;
mod resolver;

use std::{collections::HashMap, str::FromStr, sync::Arc, time::Duration};

use aws_smithy_http_client::{
    Builder, Connector, ConnectorBuilder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{
    http::{HttpConnectorSettings, SharedHttpClient, SharedHttpConnector},
    result::ConnectorError,
};

pub use aws_credential_types::Credentials;
pub use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
pub use aws_smithy_types::{retry::RetryConfig, timeout::TimeoutConfig};
pub use meter::Meter;
pub use outcome::Outcome;

use resolver::Resolver;

/// Allocator of every binary that links this crate (see `docs/adr/0017-mimalloc.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Root certificates of all AWS endpoints (Amazon Trust Services).
const AMAZON_ROOTS: &[u8] = include_bytes!("amazon-trust-services.pem");

/// Environment variable that is missing or has an invalid value.
#[derive(Debug, thiserror::Error)]
#[error("environment variable {name} {problem}")]
pub struct EnvError {
    name: String,
    problem: &'static str,
}

/// Environment of one function: its variables, its HTTP client and its meter.
#[derive(Clone)]
pub struct Env {
    variables: Arc<HashMap<String, String>>,
    http: SharedHttpClient,
    meter: Meter,
}

impl Env {
    /// Reads the environment of this process.
    ///
    /// # Errors
    /// When `AWS_CA_BUNDLE` names a file that can't be read or holds no certificate.
    pub fn from_process() -> Result<Self, EnvError> {
        let variables: HashMap<_, _> = std::env::vars().collect();
        let http = http_client(&variables)?;
        Ok(Self::new(variables, http))
    }

    /// Builds an environment from other variables and another HTTP client. The embedded platform runs many
    /// functions in one process and builds their environments in this way.
    pub fn new(variables: HashMap<String, String>, http: SharedHttpClient) -> Self {
        Self { variables: Arc::new(variables), http, meter: Meter::default() }
    }

    /// Returns the environment with a meter that it shares with others.
    pub fn with_meter(self, meter: Meter) -> Self {
        Self { meter, ..self }
    }

    /// Returns the value of a variable.
    ///
    /// # Errors
    /// When the variable is unset or empty.
    pub fn require(&self, name: &str) -> Result<&str, EnvError> {
        self.get(name).ok_or_else(|| EnvError { name: name.to_owned(), problem: "is not set" })
    }

    /// Returns the value of a variable. `None` if the variable is unset or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Parses the value of a variable. An unset variable is parsed as an empty string.
    ///
    /// # Errors
    /// When the value does not have the expected form.
    pub fn parse<T: FromStr>(&self, name: &str) -> Result<T, EnvError> {
        let value = self.get(name).unwrap_or_default().parse();
        value.map_err(|_| EnvError { name: name.to_owned(), problem: "is not of the form that is expected" })
    }

    pub fn http(&self) -> SharedHttpClient {
        self.http.clone()
    }

    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    pub fn region(&self) -> String {
        self.get("AWS_REGION").or(self.get("AWS_DEFAULT_REGION")).unwrap_or("us-east-1").to_owned()
    }

    /// Returns the endpoint of a service, if it is not the public one.
    pub fn endpoint(&self, service: &str) -> Option<&str> {
        self.get(&format!("AWS_ENDPOINT_URL_{service}")).or(self.get("AWS_ENDPOINT_URL"))
    }

    /// Returns the credentials that Lambda sets.
    ///
    /// # Errors
    /// When Lambda's credential variables are missing.
    pub fn credentials(&self) -> Result<Credentials, EnvError> {
        Ok(Credentials::new(
            self.require("AWS_ACCESS_KEY_ID")?,
            self.require("AWS_SECRET_ACCESS_KEY")?,
            self.get("AWS_SESSION_TOKEN").map(str::to_owned),
            None,
            "environment",
        ))
    }
}

/// Builds an HTTP client that trusts the Amazon roots, or the roots in `AWS_CA_BUNDLE`.
fn http_client(variables: &HashMap<String, String>) -> Result<SharedHttpClient, EnvError> {
    let unfit = |problem| EnvError { name: "AWS_CA_BUNDLE".to_owned(), problem };
    let roots = match variables.get("AWS_CA_BUNDLE").filter(|path| !path.is_empty()) {
        Some(path) => std::fs::read(path).map_err(|_| unfit("names a file that can't be read"))?,
        None => AMAZON_ROOTS.to_vec(),
    };
    let tls = TlsContext::builder()
        .with_trust_store(TrustStore::empty().with_pem_certificate(roots))
        .build()
        .map_err(|_| unfit("holds no certificate"))?;
    Ok(Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(tls)
        .build_with_resolver(Resolver::default()))
}

/// Builds an HTTP client without TLS, for endpoints on this machine.
pub fn plain_http_client() -> SharedHttpClient {
    Builder::new().build_http()
}

/// Builds a connector to servers outside AWS, e.g. an OIDC issuer, which trusts the roots of the system. Reading
/// these roots takes milliseconds, so build the connector when it is first needed, not at start.
pub fn web_connector(uri: &str) -> SharedHttpConnector {
    SharedHttpConnector::new(if uri.starts_with("http://") {
        web_connector_builder().build_http()
    } else {
        web_connector_builder().tls_provider(Provider::Rustls(CryptoMode::Ring)).build()
    })
}

fn web_connector_builder() -> ConnectorBuilder {
    // A request that could not connect was never sent, unlike a request whose response is missing. The time-out for
    // connecting tells the two apart.
    let settings = HttpConnectorSettings::builder().connect_timeout(Duration::from_secs(3)).build();
    Connector::builder().connector_settings(settings)
}

/// True if a failed request was certainly never sent, because there was no connection.
pub fn was_never_sent(error: &ConnectorError) -> bool {
    let first: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    let mut causes = std::iter::successors(first, |error| error.source());
    error.is_user()
        || causes.any(|cause| {
            cause.downcast_ref::<hyper_util::client::legacy::Error>().is_some_and(|cause| cause.is_connect())
        })
}

/// Returns the time-outs of all SDK clients: 1 s to connect, 5 s per attempt. A stuck connection must not outlast
/// the request that needs it.
pub fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(1))
        .operation_attempt_timeout(Duration::from_secs(5))
        .build()
}

/// Returns the configuration of an SDK crate's client: `config!(aws_sdk_sqs, env, "SQS")`.
///
/// The value is a `Result<Config, EnvError>`. `config!` is a macro because each SDK crate has its own `Config`, and
/// a function links only the SDK crates that it uses.
#[macro_export]
macro_rules! config {
    ($sdk:ident, $env:expr, $service:literal $(, $set:ident = $value:expr)*) => {{
        let env: &$crate::Env = $env;
        env.credentials().map(|credentials| {
            let mut config = $sdk::Config::builder()
                .behavior_version($sdk::config::BehaviorVersion::latest())
                .region($sdk::config::Region::new(env.region()))
                .credentials_provider(credentials)
                .http_client(env.http())
                .sleep_impl($crate::SharedAsyncSleep::new($crate::TokioSleep::new()))
                .retry_config($crate::RetryConfig::standard().with_max_attempts(5))
                .timeout_config($crate::timeouts())
                $(.$set($value))*;
            config.set_endpoint_url(env.endpoint($service).map(str::to_owned));
            config.build()
        })
    }};
}

/// Builds the client of an SDK crate as a `Result<Client, EnvError>`. Takes the arguments of [`config!`].
#[macro_export]
macro_rules! client {
    ($sdk:ident, $($rest:tt)*) => { $crate::config!($sdk, $($rest)*).map($sdk::Client::from_conf) };
}

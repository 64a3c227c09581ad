//! Functions of the platform, invoked as on Lambda: JSON in, JSON out.

use std::{collections::HashMap, sync::Arc, time::Duration};

use api::{Routes, StartError};
use aws::Env;
use axum::Router;
use lambda_runtime::Error;
use serde_json::Value;
use tokio::{runtime::Handle, sync::Semaphore};

use crate::{error::PlatformError, recorder::Recorder, template::Function};

/// Handler of a function's binary.
enum Handler {
    Http(Router),
    Authorizer(Box<authorizer::Authorizer>),
    Projector(projector::Projector),
    MessageSender(message_sender::MessageSender),
    Jobs(jobs::Jobs),
    CampaignScheduler(campaign_scheduler::CampaignScheduler),
    CodeImport(code_import::Importer),
    WebhookSender(webhook_sender::WebhookSender),
    #[cfg(test)]
    Played(tests::Played),
}

/// Function that answers HTTP requests.
struct Api {
    binary: &'static str,
    app: fn(&Env) -> Result<Router, StartError>,
    routes: fn() -> Routes,
}

/// API functions in the order of the OpenAPI document.
const APIS: &[Api] = &[
    Api { binary: "account", app: account::app, routes: account::routes },
    Api { binary: "waitlist", app: waitlist::app, routes: waitlist::routes },
    Api { binary: "subscriber", app: subscriber::app, routes: subscriber::routes },
    Api { binary: "referral", app: referral::app, routes: referral::routes },
    Api { binary: "feature-vote", app: feature_vote::app, routes: feature_vote::routes },
    Api { binary: "code-distribution", app: code_distribution::app, routes: code_distribution::routes },
    Api { binary: "stamp", app: stamp::app, routes: stamp::routes },
    Api { binary: "campaign", app: campaign::app, routes: campaign::routes },
    Api { binary: "analytics", app: analytics::app, routes: analytics::routes },
];

/// Returns the routes of the whole API, function by function.
pub fn routes() -> impl Iterator<Item = Routes> {
    APIS.iter().map(|api| (api.routes)())
}

/// Returns the names of the functions that answer HTTP requests.
pub fn apis() -> impl Iterator<Item = &'static str> {
    APIS.iter().map(|api| api.binary)
}

impl Handler {
    fn new(binary: &str, env: &Env) -> Result<Option<Self>, StartError> {
        if let Some(api) = APIS.iter().find(|api| api.binary == binary) {
            return (api.app)(env).map(Self::Http).map(Some);
        }
        Ok(Some(match binary {
            "authorizer" => Self::Authorizer(Box::new(authorizer::Authorizer::from_env(env)?)),
            "projector" => Self::Projector(projector::Projector::from_env(env)?),
            "message-sender" => Self::MessageSender(message_sender::MessageSender::from_env(env)?),
            "jobs" => Self::Jobs(jobs::Jobs::from_env(env)?),
            "campaign-scheduler" => {
                Self::CampaignScheduler(campaign_scheduler::CampaignScheduler::from_env(env)?)
            }
            "code-import" => Self::CodeImport(code_import::Importer::from_env(env)?),
            "webhook-sender" => Self::WebhookSender(webhook_sender::WebhookSender::from_env(env)?),
            _ => return Ok(None),
        }))
    }

    async fn handle(&self, event: Value) -> Result<Value, Error> {
        let answer = match self {
            Self::Http(router) => api::handle(router, event).await,
            Self::Authorizer(function) => return Ok(function.handle(serde_json::from_value(event)?).await?),
            Self::Projector(function) => {
                serde_json::to_value(function.handle(serde_json::from_value(event)?).await?)
            }
            Self::MessageSender(function) => {
                serde_json::to_value(function.handle(serde_json::from_value(event)?).await?)
            }
            Self::Jobs(function) => {
                serde_json::to_value(function.handle(serde_json::from_value(event)?).await?)
            }
            Self::CampaignScheduler(function) => {
                serde_json::to_value(function.handle(serde_json::from_value(event)?).await?)
            }
            Self::CodeImport(function) => {
                serde_json::to_value(function.handle(serde_json::from_value(event)?).await?)
            }
            Self::WebhookSender(function) => {
                serde_json::to_value(function.handle(serde_json::from_value(event)?).await?)
            }
            #[cfg(test)]
            Self::Played(function) => return function(event).await.map_err(Error::from),
        };
        Ok(answer?)
    }
}

/// Functions by logical id. Cheap to clone.
#[derive(Clone)]
pub struct Functions {
    running: Arc<HashMap<String, Running>>,
    pub recorder: Recorder,
    /// Runtime of all invocations, whichever runtime the caller uses. The functions keep connections for the next
    /// invocation.
    runtime: Handle,
}

struct Running {
    handler: Arc<Handler>,
    timeout: Duration,
    /// Permits for concurrent invocations, if the function reserves concurrency. Further invocations wait.
    reserved: Option<Semaphore>,
}

impl Functions {
    /// Starts each declared function in its own environment, in the runtime of the caller.
    pub fn start(
        declared: &[Function],
        environment: impl Fn(&Function) -> Env,
        recorder: Recorder,
    ) -> Result<Self, PlatformError> {
        let mut functions = HashMap::new();
        for function in declared {
            let failed = |reason| PlatformError::Function { name: function.logical_id.clone(), reason };
            let handler = Handler::new(&function.binary, &environment(function))
                .map_err(|error| failed(error.to_string()))?
                .ok_or_else(|| failed(format!("runs `{}`, which is no known function", function.binary)))?;
            let reserved = function.reserved_concurrency.map(|count| Semaphore::new(count as usize));
            let running = Running { handler: Arc::new(handler), timeout: function.timeout, reserved };
            functions.insert(function.logical_id.clone(), running);
        }
        Ok(Self { running: Arc::new(functions), recorder, runtime: Handle::current() })
    }

    /// Invokes a function. Returns an error if the function exceeds its time-out or panics.
    pub async fn invoke(&self, name: &str, event: Value) -> Result<Value, String> {
        let Running { handler, timeout, reserved } =
            self.running.get(name).ok_or_else(|| format!("there is no function {name}"))?;
        let _held = match reserved {
            Some(reserved) => Some(reserved.acquire().await.map_err(|closed| closed.to_string())?),
            None => None,
        };
        let (handler, timeout) = (handler.clone(), *timeout);
        let recorder = self.recorder.clone();
        let called = name.to_owned();
        let mut invocation = self.runtime.spawn(async move {
            let records = event["Records"].as_array().map_or(0, Vec::len);
            recorder.invocation(&called, records, handler.handle(event)).await
        });
        match tokio::time::timeout(timeout, &mut invocation).await {
            Ok(Ok(answer)) => answer.map_err(|error| error.to_string()),
            Ok(Err(panic)) => Err(format!("{name} panicked: {panic}")),
            Err(_) => {
                invocation.abort();
                Err(format!("{name} took longer than {} s", timeout.as_secs()))
            }
        }
    }
}

#[cfg(test)]
pub mod tests {
    use futures_util::future::BoxFuture;

    use super::*;

    pub type Played = Box<dyn Fn(Value) -> BoxFuture<'static, Result<Value, String>> + Send + Sync>;

    impl Functions {
        /// Makes one function that a test implements.
        pub fn of(name: &str, reserved: Option<usize>, function: Played) -> Self {
            let handler = Arc::new(Handler::Played(function));
            let reserved = reserved.map(Semaphore::new);
            let running = Running { handler, timeout: Duration::from_secs(60), reserved };
            Self {
                running: Arc::new([(name.to_owned(), running)].into()),
                recorder: Recorder::default(),
                runtime: Handle::current(),
            }
        }
    }
}

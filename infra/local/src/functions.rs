//! The functions of the platform, invoked as Lambda invokes them: JSON in, JSON out.

use std::{collections::HashMap, sync::Arc, time::Duration};

use aws::Env;
use axum::Router;
use lambda_runtime::Error;
use serde_json::Value;

use crate::{PlatformError, template::Function};

/// What a function's binary does.
enum Handler {
    Http(Router),
    Authorizer(Box<authorizer::Authorizer>),
    Projector(projector::Projector),
    MessageSender(message_sender::MessageSender),
    Jobs(jobs::Jobs),
}

impl Handler {
    fn new(binary: &str, env: &Env) -> Result<Option<Self>, api::StartError> {
        Ok(Some(match binary {
            "account" => Self::Http(account::app(env)?),
            "referral" => Self::Http(referral::app(env)?),
            "subscriber" => Self::Http(subscriber::app(env)?),
            "waitlist" => Self::Http(waitlist::app(env)?),
            "authorizer" => Self::Authorizer(Box::new(authorizer::Authorizer::from_env(env)?)),
            "projector" => Self::Projector(projector::Projector::from_env(env)?),
            "message-sender" => Self::MessageSender(message_sender::MessageSender::from_env(env)?),
            "jobs" => Self::Jobs(jobs::Jobs::from_env(env)?),
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
        };
        Ok(answer?)
    }
}

/// The functions by their logical ids. Cheap to clone.
#[derive(Clone)]
pub struct Functions(Arc<HashMap<String, (Arc<Handler>, Duration)>>);

impl Functions {
    /// Starts each declared function in its own environment.
    pub fn start(
        declared: &[Function],
        environment: impl Fn(&Function) -> Env,
    ) -> Result<Self, PlatformError> {
        let mut functions = HashMap::new();
        for function in declared {
            let failed = |reason| PlatformError::Function { name: function.logical_id.clone(), reason };
            let handler = Handler::new(&function.binary, &environment(function))
                .map_err(|error| failed(error.to_string()))?
                .ok_or_else(|| failed(format!("runs `{}`, which is no function of ours", function.binary)))?;
            functions.insert(function.logical_id.clone(), (Arc::new(handler), function.timeout));
        }
        Ok(Self(Arc::new(functions)))
    }

    /// Invokes a function: within its time limit, and surviving its panics.
    pub async fn invoke(&self, name: &str, event: Value) -> Result<Value, String> {
        let (handler, timeout) = self.0.get(name).cloned().ok_or_else(|| format!("there is no {name}"))?;
        let mut invocation = tokio::spawn(async move { handler.handle(event).await });
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

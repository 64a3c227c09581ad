//! Shared state of a family's handlers.

use aws::{Env, EnvError};
use axum::response::Response;
use domain::{id::AccountId, rate::Verdict};
use jiff::{SignedDuration, Timestamp};
use table::{Table, TableError};

use crate::{Problem, limits, problems, refused::Refused};

/// Failure to start a function.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Environment(#[from] EnvError),
    #[error(transparent)]
    Store(#[from] TableError),
    #[error("the runtime stopped: {0}")]
    Runtime(String),
}

/// The table and the public URL of the platform. Cheap to clone.
#[derive(Clone)]
pub struct App {
    pub table: Table,
    public_url: String,
    refused: Refused,
}

impl App {
    /// Builds the state from the environment of the function.
    ///
    /// # Errors
    /// When a variable is missing.
    pub fn from_env(env: &Env) -> Result<Self, StartError> {
        Ok(Self {
            table: Table::from_env(env)?,
            public_url: env.require("PUBLIC_URL")?.trim_end_matches('/').to_owned(),
            refused: Refused::default(),
        })
    }

    /// URL at which browsers reach the API, without a slash at the end.
    pub fn public_url(&self) -> &str {
        &self.public_url
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// Counts a request against a limit of `limit` requests per minute.
    ///
    /// # Errors
    /// [`problems::RATE_LIMITED`] if the limit is exceeded.
    pub async fn limit(
        &self,
        account: &AccountId,
        name: &str,
        caller: &str,
        limit: u64,
    ) -> Result<Verdict, Problem> {
        let now = self.now();
        let verdict = table::rates::count(&self.table, account, name, caller, limit, now).await?;
        if verdict.allowed {
            return Ok(verdict);
        }
        let until = now + SignedDuration::from_secs(i64::try_from(verdict.retry_after).unwrap_or(60));
        self.refused.note(format!("{account} {name} {caller}"), until, now);
        let detail = format!("At most {limit} a minute; try again in {} s.", verdict.retry_after);
        Err(Problem { rate: Some(Box::new(verdict)), ..Problem::because(problems::RATE_LIMITED, detail) })
    }

    /// True if this process knows that the limit refuses the caller at present. A handler that writes while the
    /// request is being counted skips these writes for such a caller, so that a caller who is refused repeatedly
    /// causes no writes.
    pub fn has_refused(&self, account: &AccountId, name: &str, caller: &str) -> bool {
        self.refused.has(&format!("{account} {name} {caller}"), self.now())
    }
}

/// Returns the object that was looked for. An object of another account is not found.
///
/// # Errors
/// [`problems::NOT_FOUND`], with a text that names the type of the object.
pub fn existing<T>(found: Option<T>, what: &str) -> Result<T, Problem> {
    found.ok_or_else(|| Problem::because(problems::NOT_FOUND, format!("There is no such {what}.")))
}

/// Adds the headers with the state of the caller's limit.
pub fn rate_limited(mut response: Response, verdict: Option<Verdict>) -> Response {
    if let Some(verdict) = verdict {
        limits::rate_headers(response.headers_mut(), &verdict);
    }
    response
}

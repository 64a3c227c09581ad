//! POST bodies with their `Idempotency-Key`, and commits that store the response.

use axum::{
    extract::{FromRequest, Request},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::secret;
use serde::{Serialize, de::DeserializeOwned};
use table::{
    Answer, Commit, CommitError, Idempotency, Replay, TableError,
    lookup::{Lookup, Wanted},
};

use crate::{App, Principal, Problem, ProblemKind, extract, problems};

/// Body of a POST request, with its `Idempotency-Key` if there is one.
pub struct Post<T> {
    pub body: T,
    idempotency: Option<Idempotency>,
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Post<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let key = match request.headers().get("idempotency-key") {
            None => None,
            Some(value) => {
                let key = value.to_str().unwrap_or_default();
                let legal = (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
                if !legal {
                    return Err(Problem::field("Idempotency-Key", "is not 1–255 visible ASCII characters"));
                }
                Some(key.to_owned())
            }
        };
        let caller = request.extensions().get::<Principal>().cloned();
        // Subscribers who use the same API key are different callers.
        let subscriber = request.headers().get("x-subscriber-token");
        let subscriber = subscriber.map(|token| format!(":{}", secret::sha256(token.as_bytes())));
        let target = format!("{} {}", request.method(), request.uri().path());
        let bytes = extract::json_body(request, state).await?;
        let idempotency = caller.zip(key).map(|(principal, key)| Idempotency {
            account_id: principal.account_id,
            principal: format!("{}{}", principal.id, subscriber.unwrap_or_default()),
            key,
            request: secret::sha256(&[target.as_bytes(), b"\n", &bytes].concat()),
        });
        Ok(Self { body: extract::parse(&bytes)?, idempotency })
    }
}

/// Result of a commit.
pub enum Committed {
    /// The writes were applied now.
    Fresh,
    /// The same request was applied before, with this response.
    Before(Answer),
}

impl Committed {
    /// Returns the stored response of the earlier request, or else this response.
    pub fn answer_or(self, answer: Answer) -> Answer {
        match self {
            Self::Fresh => answer,
            Self::Before(answer) => answer,
        }
    }
}

fn answer_of(replay: Replay) -> Result<Option<Answer>, Problem> {
    match replay {
        Replay::Fresh => Ok(None),
        Replay::Answered(answer) => Ok(Some(answer)),
        Replay::Mismatch => Err(problems::IDEMPOTENCY_KEY_REUSED.into()),
    }
}

impl<T> Post<T> {
    /// Returns the stored response if the same request was answered before.
    ///
    /// # Errors
    /// [`problems::IDEMPOTENCY_KEY_REUSED`] if the key belongs to a different request.
    pub async fn answered(&self, app: &App) -> Result<Option<Answer>, Problem> {
        match &self.idempotency {
            None => Ok(None),
            Some(idempotency) => answer_of(idempotency.replay(&app.table).await?),
        }
    }

    /// Reads what a handler needs, and in the same call what [`answered`](Self::answered) returns.
    ///
    /// # Errors
    /// When the table is unavailable, or an item is malformed.
    pub async fn look_up<W: Wanted>(
        &self,
        app: &App,
        lookup: Lookup<W>,
    ) -> Result<(W::Found, Result<Option<Answer>, Problem>), TableError> {
        let record = self.idempotency.as_ref().map(Idempotency::wanted);
        let (found, replay) = app.table.look_up(lookup.and(record)).await?;
        Ok((found, replay.map_or(Ok(None), answer_of)))
    }

    /// Applies the writes and stores the response in the same transaction. The response is stored as given: it must
    /// contain no secrets.
    ///
    /// # Errors
    /// The failure of the commit, or [`problems::IDEMPOTENCY_KEY_REUSED`] through [`CommitProblem`].
    pub async fn commit(
        &self,
        app: &App,
        commit: Commit,
        answer: &Answer,
    ) -> Result<Committed, CommitProblem> {
        match commit.answering(self.idempotency.as_ref(), answer, app.now()).apply(&app.table).await {
            Ok(()) => Ok(Committed::Fresh),
            Err(error) if error.lost_idempotency_race() => match self.answered(app).await {
                Ok(Some(answer)) => Ok(Committed::Before(answer)),
                Ok(None) => Err(CommitProblem::Problem(problems::CONFLICT.into())),
                Err(problem) => Err(CommitProblem::Problem(problem)),
            },
            Err(error) => Err(CommitProblem::Commit(error)),
        }
    }
}

/// Failure of a commit that stores its response.
pub enum CommitProblem {
    Commit(CommitError),
    Problem(Problem),
}

impl CommitProblem {
    /// Converts the failure into the problem `kind` if `refusal` recognises it, and into its usual problem
    /// otherwise.
    #[must_use]
    pub fn or(self, refusal: impl Fn(&CommitError) -> bool, kind: ProblemKind) -> Problem {
        if self.is(refusal) { kind.into() } else { self.into() }
    }

    /// True if `refusal` recognises the failure.
    pub fn is(&self, refusal: impl Fn(&CommitError) -> bool) -> bool {
        matches!(self, Self::Commit(error) if refusal(error))
    }

    /// Returns the family's refusal that `of` recognises in the failure.
    pub fn refusal<R>(&self, of: impl Fn(&CommitError) -> Option<R>) -> Option<R> {
        match self {
            Self::Commit(error) => of(error),
            Self::Problem(_) => None,
        }
    }

    /// True if the writes may have been applied although the commit failed.
    pub fn may_be_applied(&self) -> bool {
        matches!(self, Self::Commit(error) if error.may_be_applied())
    }
}

impl From<CommitProblem> for Problem {
    fn from(problem: CommitProblem) -> Self {
        match problem {
            CommitProblem::Commit(error) => error.into(),
            CommitProblem::Problem(problem) => problem,
        }
    }
}

/// Returns the response for a new object: 201, with the object and its location.
///
/// # Errors
/// When the object can't be written as JSON.
pub fn created<T: Serialize>(location: String, body: &T) -> Result<Answer, Problem> {
    Ok(Answer {
        status: StatusCode::CREATED.as_u16(),
        body: serde_json::to_string(body)?,
        location: Some(location),
    })
}

/// Converts a stored response to an HTTP response.
pub fn respond(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = (status, answer.body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(location) = answer.location.and_then(|location| HeaderValue::try_from(location).ok()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

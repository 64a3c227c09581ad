//! POST bodies with their `Idempotency-Key`, and commits that remember their answer.

use axum::{
    extract::{FromRequest, Request},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::secret;
use serde::{Serialize, de::DeserializeOwned};
use table::{Answer, Commit, CommitError, Idempotency, Replay};

use crate::{App, Principal, Problem, ProblemKind, extract, problems};

/// The body of a POST, together with its `Idempotency-Key` if it has one.
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
        // Subscribers who come with one key are different callers.
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

/// What became of a commit.
pub enum Committed {
    /// It happened now.
    Fresh,
    /// It happened before, with this answer.
    Before(Answer),
}

impl Committed {
    /// The answer to send: the one of before, or this one.
    pub fn answer_or(self, answer: Answer) -> Answer {
        match self {
            Self::Fresh => answer,
            Self::Before(answer) => answer,
        }
    }
}

impl<T> Post<T> {
    /// What was answered to this very request before, if it was.
    ///
    /// # Errors
    /// [`problems::IDEMPOTENCY_KEY_REUSED`] when the key belongs to another request.
    pub async fn answered(&self, app: &App) -> Result<Option<Answer>, Problem> {
        let Some(idempotency) = &self.idempotency else { return Ok(None) };
        match idempotency.replay(&app.table).await? {
            Replay::Fresh => Ok(None),
            Replay::Answered(answer) => Ok(Some(answer)),
            Replay::Mismatch => Err(problems::IDEMPOTENCY_KEY_REUSED.into()),
        }
    }

    /// Makes the writes and remembers the answer with them. The answer is kept as
    /// it is given here: leave secrets out of it.
    ///
    /// # Errors
    /// The commit's own, and [`problems::IDEMPOTENCY_KEY_REUSED`] through [`CommitProblem`].
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

/// Why a remembered commit did not happen.
pub enum CommitProblem {
    Commit(CommitError),
    Problem(Problem),
}

impl CommitProblem {
    /// Turns a refusal, as its family tells it, into the problem it means.
    #[must_use]
    pub fn or(self, refusal: impl Fn(&CommitError) -> bool, kind: ProblemKind) -> Problem {
        if self.is(refusal) { kind.into() } else { self.into() }
    }

    /// Whether it is this refusal.
    pub fn is(&self, refusal: impl Fn(&CommitError) -> bool) -> bool {
        matches!(self, Self::Commit(error) if refusal(error))
    }

    /// Which of its family's refusals it is, if it is one.
    pub fn refusal<R>(&self, of: impl Fn(&CommitError) -> Option<R>) -> Option<R> {
        match self {
            Self::Commit(error) => of(error),
            Self::Problem(_) => None,
        }
    }

    /// Whether the writes may have been made all the same.
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

/// The answer to a creation: 201, the representation and where it is.
///
/// # Errors
/// When the representation can't be written as JSON.
pub fn created<T: Serialize>(location: String, body: &T) -> Result<Answer, Problem> {
    Ok(Answer {
        status: StatusCode::CREATED.as_u16(),
        body: serde_json::to_string(body)?,
        location: Some(location),
    })
}

/// Sends an answer.
pub fn respond(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = (status, answer.body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(location) = answer.location.and_then(|location| HeaderValue::try_from(location).ok()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

//! API Gateway authorizer: authenticates the caller of a request.
//!
//! The authorizer accepts an API key (`X-Api-Key`, or `Authorization: Bearer`) or a JWT of the OIDC issuer. For
//! valid credentials the response is an Allow that names the principal. Otherwise the response is a Deny that names
//! the problem, and the gateway responds with 401. The authorizer does not decide what a principal may do: each
//! route declares that.
//!
//! Access patterns: `key.read`, `account.logins`, `account.member`, `account.member-bind`.

mod jwks;
mod jwt;
mod refusal;
mod ring_crypto;

use accounts::api_key::{ApiKey, KeyKind};
use accounts::entities::{KeyStatus, Member};
use api::{ProblemKind, StartError, problems};
use domain::{id::AccountId, scope::Grant};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use table::Table;

use crate::jwt::{Claims, Issuer};

pub use crate::refusal::Refusal;

/// Maximum number of attempts to bind a membership while other requests change it.
const BINDINGS: u32 = 3;

/// Fields of the gateway's event that the authorizer reads.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizerRequest {
    method_arn: String,
    #[serde(default)]
    headers: Option<std::collections::HashMap<String, String>>,
}

impl AuthorizerRequest {
    fn header(&self, name: &str) -> Option<&str> {
        let headers = self.headers.as_ref()?;
        let (_, value) = headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(value.trim()).filter(|value| !value.is_empty())
    }

    fn credentials(&self) -> Option<&str> {
        let bearer = self.header("authorization").map(|value| {
            let (scheme, rest) = value.split_once(' ').unwrap_or(("", value));
            if scheme.eq_ignore_ascii_case("bearer") { rest.trim() } else { value }
        });
        bearer.or(self.header("x-api-key"))
    }
}

pub struct Authorizer {
    table: Table,
    issuer: Option<Issuer>,
}

impl Authorizer {
    /// Creates an authorizer from the environment variables.
    ///
    /// # Errors
    /// If an environment variable is missing.
    pub fn from_env(env: &aws::Env) -> Result<Self, StartError> {
        Ok(Self { table: Table::from_env(env)?, issuer: Issuer::from_env(env)? })
    }

    /// Authenticates the caller of one request and returns the policy for the gateway.
    ///
    /// # Errors
    /// If the table or the issuer is not reachable. The gateway then responds with 500.
    pub async fn handle(&self, request: AuthorizerRequest) -> Result<Value, Refusal> {
        match self.authenticate(&request).await {
            Ok(principal) => Ok(policy(&request.method_arn, "Allow", &principal["principal_id"], &principal)),
            Err(Refusal::Problem(kind)) => {
                let context = json!({
                    "problem_type": kind.uri(),
                    "problem_title": kind.title(),
                    "problem_detail": detail(kind),
                });
                Ok(policy(&request.method_arn, "Deny", &json!("anonymous"), &context))
            }
            Err(error) => {
                tracing::error!(cause = %error, "can't authenticate");
                Err(error)
            }
        }
    }

    async fn authenticate(&self, request: &AuthorizerRequest) -> Result<Value, Refusal> {
        let credentials = request.credentials().ok_or(problems::UNAUTHORIZED)?;
        let now = Timestamp::now();
        if credentials.starts_with("gs_") {
            return self.by_key(credentials, now).await;
        }
        let issuer = self.issuer.as_ref().ok_or(problems::INVALID_TOKEN)?;
        let claims = issuer.verify(credentials, now).await?;
        self.by_claims(claims, request.header("x-account-id")).await
    }

    async fn by_key(&self, text: &str, now: Timestamp) -> Result<Value, Refusal> {
        let key = ApiKey::parse(text).ok_or(problems::INVALID_API_KEY)?;
        let record = accounts::api_key(&self.table, &key.id).await?.ok_or(problems::INVALID_API_KEY)?;
        if !key.matches(&record.hash) || key.kind != record.kind {
            return Err(problems::INVALID_API_KEY.into());
        }
        let over = record.valid_until.is_some_and(|until| until <= now);
        if record.status == KeyStatus::Revoked || over {
            return Err(problems::REVOKED_API_KEY.into());
        }
        let scopes: Vec<String> = record.scopes.into_iter().map(Grant::into).collect();
        Ok(json!({
            "account_id": record.account_id,
            "principal_id": record.id,
            "principal_kind": match record.kind {
                KeyKind::Publishable => "publishable_key",
                KeyKind::Secret => "secret_key",
            },
            "role": "",
            "scopes": scopes.join(" "),
        }))
    }

    async fn by_claims(&self, claims: Claims, wanted: Option<&str>) -> Result<Value, Refusal> {
        let email = claims.verified_email().ok_or(problems::NOT_A_MEMBER)?;
        let logins = accounts::logins(&self.table, &accounts::login_of(&email)).await?;
        let wanted: Option<AccountId> =
            wanted.map(str::parse).transpose().map_err(|_| problems::NOT_A_MEMBER)?;
        let login = match (wanted, logins.as_slice()) {
            (_, []) => return Err(problems::NOT_A_MEMBER.into()),
            (None, [login]) => login,
            (None, _) => return Err(problems::ACCOUNT_REQUIRED.into()),
            (Some(account), logins) => {
                logins.iter().find(|login| login.account_id == account).ok_or(problems::NOT_A_MEMBER)?
            }
        };
        let member = accounts::member(&self.table, &login.account_id, &login.member_id).await?;
        let member = self.bound(member.ok_or(problems::NOT_A_MEMBER)?, &claims.sub).await?;
        Ok(json!({
            "account_id": member.account_id,
            "principal_id": member.id,
            "principal_kind": "member",
            "role": member.role,
            "scopes": "",
        }))
    }

    /// Binds a membership to the first subject that signs in with the member's email address.
    ///
    /// A person who is assigned the same address later has another subject, and does not get the membership.
    async fn bound(&self, mut member: Member, subject: &str) -> Result<Member, Refusal> {
        for _ in 0..BINDINGS {
            match &member.subject {
                Some(bound) if bound == subject => return Ok(member),
                Some(_) => break,
                None => {
                    if let Some(bound) = accounts::bind_member(&self.table, &member, subject).await? {
                        return Ok(bound);
                    }
                }
            }
            // Another request bound or changed the membership in the meantime: read it again.
            let found = accounts::member(&self.table, &member.account_id, &member.id).await?;
            member = found.ok_or(problems::NOT_A_MEMBER)?;
        }
        Err(problems::NOT_A_MEMBER.into())
    }
}

fn detail(kind: ProblemKind) -> &'static str {
    match kind {
        problems::UNAUTHORIZED => "Send an API key as X-Api-Key, or a key or token as Authorization: Bearer.",
        problems::ACCOUNT_REQUIRED => "Send X-Account-Id: the token's owner is a member of several accounts.",
        _ => "See the page at the URL in `type`.",
    }
}

fn policy(arn: &str, effect: &str, principal: &Value, context: &Value) -> Value {
    json!({
        "principalId": principal,
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [{ "Action": "execute-api:Invoke", "Effect": effect, "Resource": arn }],
        },
        "context": context,
    })
}

//! Verification of the ID tokens of the OIDC issuer.

use aws::Env;
use domain::email::Email;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, TokenData, Validation, decode, decode_header, errors::ErrorKind};
use serde::Deserialize;

use api::{StartError, problems};

use crate::{jwks::Jwks, refusal::Refusal, ring_crypto};

/// Seconds by which the clocks of the issuer and of this function may differ.
const LEEWAY: u64 = 30;

/// Claims of a token about the person who signed in.
#[derive(Debug, Deserialize)]
pub struct Claims {
    pub sub: String,
    email: Option<String>,
    /// Boolean, or a string: Cognito sends a string for some user pools.
    email_verified: Option<serde_json::Value>,
    /// Cognito's claim for the purpose of the token, such as `id`.
    token_use: Option<String>,
}

impl Claims {
    /// Returns the email address if the issuer has verified it.
    pub fn verified_email(&self) -> Option<Email> {
        let verified = match &self.email_verified {
            Some(serde_json::Value::Bool(verified)) => *verified,
            Some(serde_json::Value::String(text)) => text == "true",
            _ => false,
        };
        if !verified {
            return None;
        }
        Email::try_from(self.email.clone()?).ok()
    }
}

/// OIDC issuer whose tokens are accepted.
pub struct Issuer {
    validation: Validation,
    jwks: Jwks,
}

impl Issuer {
    /// Reads the issuer from the environment variables. Returns `None` if no issuer is set; only API keys are
    /// accepted then.
    ///
    /// # Errors
    /// If an issuer is set, but not its audience or the address of its keys.
    pub fn from_env(env: &Env) -> Result<Option<Self>, StartError> {
        let Some(issuer) = env.get("OIDC_ISSUER") else { return Ok(None) };
        ring_crypto::install();
        // Only these algorithms are accepted, whichever algorithm the header of a token names.
        let mut validation = Validation::new(Algorithm::RS256);
        validation.algorithms = vec![Algorithm::RS256, Algorithm::ES256];
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[env.require("OIDC_AUDIENCE")?]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY;
        let jwks = Jwks::new(env.require("OIDC_JWKS_URI")?.to_owned());
        Ok(Some(Self { validation, jwks }))
    }

    /// Verifies the signature, issuer, audience and validity period of a token, and returns its claims.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, Refusal> {
        let header = decode_header(token).map_err(|_| problems::INVALID_TOKEN)?;
        if !self.validation.algorithms.contains(&header.alg) {
            return Err(problems::INVALID_TOKEN.into());
        }
        let kid = header.kid.ok_or(problems::INVALID_TOKEN)?;
        let key = self.jwks.key(&kid, now).await?.ok_or(problems::INVALID_TOKEN)?;
        // The library requires that all listed algorithms belong to the family of the key.
        let validation = Validation { algorithms: vec![header.alg], ..self.validation.clone() };
        match decode::<Claims>(token, &key, &validation) {
            // Only an ID token identifies the person who signed in. An access token identifies a client.
            Ok(TokenData { claims, .. }) if claims.token_use.as_deref().is_some_and(|kind| kind != "id") => {
                Err(problems::INVALID_TOKEN.into())
            }
            Ok(TokenData { claims, .. }) => Ok(claims),
            Err(error) if matches!(error.kind(), ErrorKind::ExpiredSignature) => {
                Err(problems::EXPIRED_TOKEN.into())
            }
            Err(error) => {
                // The signature is valid, but the issuer or audience differs. The function may be misconfigured.
                if matches!(error.kind(), ErrorKind::InvalidIssuer | ErrorKind::InvalidAudience) {
                    tracing::warn!(cause = %error, "token with a valid signature refused: wrong issuer or audience");
                }
                Err(problems::INVALID_TOKEN.into())
            }
        }
    }
}

//! Tokens of the OIDC issuer.

use aws::Env;
use domain::email::Email;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, TokenData, Validation, decode, decode_header, errors::ErrorKind};
use serde::Deserialize;

use api::{StartError, problems};

use crate::{jwks::Jwks, refusal::Refusal, ring_crypto};

/// Seconds that the issuer's clock may differ from ours.
const LEEWAY: u64 = 30;

/// What a token says of its owner.
#[derive(Debug, Deserialize)]
pub struct Claims {
    pub sub: String,
    email: Option<String>,
    /// Cognito writes it as text for some user pools.
    email_verified: Option<serde_json::Value>,
    /// Cognito's word for what a token is for.
    token_use: Option<String>,
}

impl Claims {
    /// The address, if the issuer vouches for it.
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

/// The one issuer whose tokens count.
pub struct Issuer {
    validation: Validation,
    jwks: Jwks,
}

impl Issuer {
    /// `None` when no issuer is set: then only API keys count.
    ///
    /// # Errors
    /// When an issuer is set and its audience or keys are not.
    pub fn from_env(env: &Env) -> Result<Option<Self>, StartError> {
        let Some(issuer) = env.get("OIDC_ISSUER") else { return Ok(None) };
        ring_crypto::install();
        // The algorithms that the issuer may use, never those that a token wishes for.
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

    /// Checks signature, issuer, audience and time.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, Refusal> {
        let header = decode_header(token).map_err(|_| problems::INVALID_TOKEN)?;
        if !self.validation.algorithms.contains(&header.alg) {
            return Err(problems::INVALID_TOKEN.into());
        }
        let kid = header.kid.ok_or(problems::INVALID_TOKEN)?;
        let key = self.jwks.key(&kid, now).await?.ok_or(problems::INVALID_TOKEN)?;
        // A key serves one family of algorithms: the library wants no other in the list.
        let validation = Validation { algorithms: vec![header.alg], ..self.validation.clone() };
        match decode::<Claims>(token, &key, &validation) {
            // An access token speaks of a client, not of who signed in.
            Ok(TokenData { claims, .. }) if claims.token_use.as_deref().is_some_and(|kind| kind != "id") => {
                Err(problems::INVALID_TOKEN.into())
            }
            Ok(TokenData { claims, .. }) => Ok(claims),
            Err(error) if matches!(error.kind(), ErrorKind::ExpiredSignature) => {
                Err(problems::EXPIRED_TOKEN.into())
            }
            Err(error) => {
                // Rightly signed and made out to another: that may be how this function is set up.
                if matches!(error.kind(), ErrorKind::InvalidIssuer | ErrorKind::InvalidAudience) {
                    tracing::warn!(cause = %error, "a token of the issuer was refused");
                }
                Err(problems::INVALID_TOKEN.into())
            }
        }
    }
}

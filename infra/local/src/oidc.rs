//! OIDC issuer of the local platform, which stands in for the issuer that members sign in through. A client that
//! knows the developer password gets tokens for any email address. Discovery, the JWKS and ES256 follow the
//! standard, so verifiers of the tokens need no special case.
//!
//! Invariants:
//!
//! - The key is stored, so that a restart invalidates no token. The key file is complete or absent, and on Unix
//!   only its owner can read it.
//! - The subject depends only on the email address in lower case. A user who signs in again is the same member,
//!   also on another machine.
//! - The comparison of passwords takes the same time for every wrong password.
//!
//! Not implemented: the authorization endpoint, clients, refresh tokens and a user-info endpoint. `curl` and the
//! tests need only the password grant.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, body::Bytes};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde::Deserialize;
use serde_json::{Value, json};

const LIFETIME_SECONDS: u64 = 3_600;
const MAX_LIFETIME_SECONDS: u64 = 86_400;
const MAX_REQUEST_BYTES: usize = 16 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    #[error("the issuer's key file can't be read or written")]
    File(#[from] std::io::Error),
    #[error("the issuer's key file does not contain a P-256 key: {0}")]
    Key(ring::error::KeyRejected),
    #[error("the operating system has no randomness")]
    Randomness,
}

/// OIDC issuer. Clones share its key.
#[derive(Clone)]
pub struct Oidc {
    inner: Arc<Inner>,
}

struct Inner {
    issuer: String,
    audience: String,
    password: hmac::Key,
    key: EcdsaKeyPair,
    jwk: Value,
}

impl Oidc {
    /// Opens the issuer with the key in `key_file`, and creates the key if there is none. `issuer` is the URL at
    /// which [`router`](Self::router) is served.
    pub fn open(
        key_file: &Path,
        issuer: String,
        audience: String,
        password: String,
    ) -> Result<Self, OidcError> {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        if !key_file.try_exists()? {
            let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(|_| OidcError::Randomness)?;
            write_private(key_file, key.as_ref())?;
        }
        let key = std::fs::read(key_file)?;
        let key = EcdsaKeyPair::from_pkcs8(algorithm, &key, &random).map_err(OidcError::Key)?;
        let (jwk, password) = (jwk(&key), password_key(&password));
        let issuer = issuer.trim_end_matches('/').to_owned();
        Ok(Self { inner: Arc::new(Inner { issuer, audience, password, key, jwk }) })
    }

    /// Returns the routes of discovery, of the JWKS and of the token endpoint.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/.well-known/jwks.json", get(jwks))
            .route("/token", post(token))
            .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
            .with_state(self.clone())
    }

    /// Returns the issuer's URL without a slash at its end.
    pub fn issuer(&self) -> &str {
        &self.inner.issuer
    }

    /// Returns an ID token as the token endpoint issues it.
    pub fn id_token(&self, email: &str, lifetime: Duration) -> String {
        self.token(email, lifetime.as_secs(), "id")
    }

    /// Signs arbitrary claims. Tests make expired and misdirected tokens with it.
    ///
    /// # Panics
    /// Panics if the operating system has no randomness.
    pub fn mint(&self, claims: &Value) -> String {
        let Inner { key, jwk, .. } = &*self.inner;
        let header = json!({ "alg": "ES256", "kid": jwk["kid"], "typ": "JWT" }).to_string();
        let signed = format!("{}.{}", encode(header), encode(claims.to_string()));
        let signature = key.sign(&SystemRandom::new(), signed.as_bytes());
        format!("{signed}.{}", encode(signature.expect("the operating system has randomness")))
    }

    /// Makes a token. Amazon Cognito distinguishes its ID tokens from its access tokens by `token_use`.
    fn token(&self, email: &str, seconds: u64, token_use: &str) -> String {
        let email = email.to_lowercase();
        let subject = digest(&SHA256, email.as_bytes());
        let subject: String = subject.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let now = Timestamp::now().as_second();
        self.mint(&json!({
            "iss": self.inner.issuer,
            "aud": self.inner.audience,
            "sub": subject,
            "email": email,
            "email_verified": true,
            "iat": now,
            "nbf": now,
            "exp": now.saturating_add_unsigned(seconds),
            "token_use": token_use,
        }))
    }

    fn grant(&self, body: &[u8]) -> Result<Value, Refused> {
        let request: TokenRequest =
            serde_urlencoded::from_bytes(body).map_err(|error| Refused::request(error.to_string()))?;
        if request.grant_type != "password" {
            return Err(Refused("unsupported_grant_type", "the grant type is not password".to_owned()));
        }
        let seconds = request.expires_in.unwrap_or(LIFETIME_SECONDS);
        if !(1..=MAX_LIFETIME_SECONDS).contains(&seconds) {
            return Err(Refused::request(format!("expires_in is not in 1 to {MAX_LIFETIME_SECONDS}")));
        }
        let given = hmac::sign(&password_key(&request.password), &[]);
        let known = hmac::verify(&self.inner.password, &[], given.as_ref()).is_ok();
        if !known || !request.username.contains('@') {
            let description = "the password is wrong or the username is not an email address";
            return Err(Refused("invalid_grant", description.to_owned()));
        }
        Ok(json!({
            "id_token": self.token(&request.username, seconds, "id"),
            "access_token": self.token(&request.username, seconds, "access"),
            "token_type": "Bearer",
            "expires_in": seconds,
        }))
    }
}

/// Token request of RFC 6749, section 4.3.2, with the requested lifetime. As the RFC demands, unknown parameters
/// are ignored and repeated ones are refused. A request with another grant type may have no username.
#[derive(Deserialize)]
struct TokenRequest {
    grant_type: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    expires_in: Option<u64>,
}

/// Error code and its description, as in RFC 6749, section 5.2.
struct Refused(&'static str, String);

impl Refused {
    fn request(description: String) -> Self {
        Self("invalid_request", description)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.0, "error_description": self.1 });
        (StatusCode::BAD_REQUEST, Json(body)).into_response()
    }
}

async fn discovery(State(oidc): State<Oidc>) -> Json<Value> {
    let issuer = oidc.issuer();
    Json(json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
        "token_endpoint": format!("{issuer}/token"),
        "token_endpoint_auth_methods_supported": ["none"],
        "grant_types_supported": ["password"],
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }))
}

async fn jwks(State(oidc): State<Oidc>) -> Json<Value> {
    Json(json!({ "keys": [oidc.inner.jwk] }))
}

async fn token(State(oidc): State<Oidc>, body: Result<Bytes, BytesRejection>) -> impl IntoResponse {
    let body = body.map_err(|error| Refused::request(error.body_text()));
    ([("cache-control", "no-store")], body.and_then(|body| oidc.grant(&body)).map(Json))
}

/// Returns the public key as a JWK whose key id is its RFC 7638 thumbprint.
fn jwk(key: &EcdsaKeyPair) -> Value {
    // The first byte marks an uncompressed point; its two coordinates follow.
    let (x, y) = key.public_key().as_ref()[1..].split_at(32);
    let (x, y) = (encode(x), encode(y));
    let thumbprint = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    let kid = encode(digest(&SHA256, thumbprint.as_bytes()));
    json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid, "alg": "ES256", "use": "sig" })
}

/// Returns the HMAC key for a password. Two passwords are compared by their tags of an empty message, which takes
/// constant time for passwords of any length.
fn password_key(password: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, digest(&SHA256, password.as_bytes()).as_ref())
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Writes a new file and renames it. A truncated key file would keep the platform from starting.
fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let unfinished = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(unfinished, path)
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    use tempfile::TempDir;
    use tower::ServiceExt as _;

    use super::*;

    const ISSUER: &str = "http://127.0.0.1:3000/oidc";
    const GRANT: &str = "grant_type=password&username=Ada%40example.com&password=a+secret";

    fn open(directory: &TempDir) -> Oidc {
        let file = directory.path().join("oidc-key.pkcs8");
        Oidc::open(&file, format!("{ISSUER}/"), "groundswell".to_owned(), "a secret".to_owned()).unwrap()
    }

    async fn call(oidc: &Oidc, request: Request<Body>) -> (StatusCode, Value) {
        let response = oidc.router().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn grant(oidc: &Oidc, form: &str) -> (StatusCode, Value) {
        call(oidc, Request::post("/token").body(form.to_owned().into()).unwrap()).await
    }

    fn decode(text: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    /// Returns the claims of a token whose signature matches the issuer's JWKS.
    async fn verify(oidc: &Oidc, token: &str) -> Value {
        let (_, jwks) = call(oidc, Request::get("/.well-known/jwks.json").body(Body::empty()).unwrap()).await;
        let [x, y] = ["x", "y"].map(|name| decode(jwks["keys"][0][name].as_str().unwrap()));
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, [vec![4], x, y].concat());
        key.verify(signed.as_bytes(), &decode(signature)).unwrap();
        let (header, claims) = signed.split_once('.').unwrap();
        let header: Value = serde_json::from_slice(&decode(header)).unwrap();
        assert_eq!(header, json!({ "alg": "ES256", "kid": jwks["keys"][0]["kid"], "typ": "JWT" }));
        serde_json::from_slice(&decode(claims)).unwrap()
    }

    #[tokio::test]
    async fn a_granted_token_verifies_and_says_who_signed_in() {
        let oidc = open(&TempDir::new().unwrap());
        let (status, granted) = grant(&oidc, &format!("{GRANT}&expires_in=60&scope=openid")).await;
        assert_eq!((status, &granted["expires_in"]), (StatusCode::OK, &json!(60)));
        for (field, token_use) in [("id_token", "id"), ("access_token", "access")] {
            let mut claims = verify(&oidc, granted[field].as_str().unwrap()).await;
            let [issued, valid, expires] = ["iat", "nbf", "exp"].map(|name| claims[name].take());
            assert_eq!((&issued, expires), (&valid, json!(issued.as_i64().unwrap() + 60)));
            let subject = "b5fc85e55755f9e0d030a10ab4429b6b2944855f9a0d60077fe832becbc41d72";
            let expected = json!({
                "iss": ISSUER, "aud": "groundswell", "iat": null, "nbf": null, "exp": null,
                "sub": subject, "email": "ada@example.com", "email_verified": true, "token_use": token_use,
            });
            assert_eq!(claims, expected);
        }
    }

    #[tokio::test]
    async fn refusals_are_those_of_the_rfc() {
        let oidc = open(&TempDir::new().unwrap());
        let long = format!("grant_type={}", "x".repeat(MAX_REQUEST_BYTES));
        for (form, error) in [
            ("", "invalid_request"),
            (long.as_str(), "invalid_request"),
            ("grant_type=client_credentials", "unsupported_grant_type"),
            ("grant_type=password&username=ada%40example.com&password=A+secret", "invalid_grant"),
            ("grant_type=password&username=ada&password=a+secret", "invalid_grant"),
            (&format!("{GRANT}&password=a+secret"), "invalid_request"),
            (&format!("{GRANT}&expires_in=86401"), "invalid_request"),
        ] {
            let (status, body) = grant(&oidc, form).await;
            assert_eq!((status, body["error"].as_str()), (StatusCode::BAD_REQUEST, Some(error)), "{form}");
        }
    }

    #[tokio::test]
    async fn the_key_outlives_the_process_and_is_private() {
        let directory = TempDir::new().unwrap();
        let token = open(&directory).mint(&json!({ "iss": "someone else" }));
        assert_eq!(verify(&open(&directory), &token).await, json!({ "iss": "someone else" }));
        #[cfg(unix)]
        {
            let file = std::fs::metadata(directory.path().join("oidc-key.pkcs8")).unwrap();
            assert_eq!(std::os::unix::fs::PermissionsExt::mode(&file.permissions()) & 0o777, 0o600);
        }
    }
}

//! Public keys of the OIDC issuer, fetched on demand and cached.

use std::{collections::HashMap, sync::Arc, time::Duration};

use aws_smithy_runtime_api::client::{http::HttpConnector, orchestrator::HttpRequest};
use jiff::Timestamp;
use jsonwebtoken::{DecodingKey, jwk::JwkSet};
use tokio::sync::Mutex;

use crate::refusal::Refusal;

/// Minimum number of seconds between two fetches because of an unknown key id. Anybody can send tokens with
/// invented key ids, and must not cause a fetch with each of them.
const LOOK_AGAIN_AFTER: i64 = 30;
/// Seconds after a failed fetch before the next one. Otherwise requests with tokens would each wait for the
/// time-out, and hold up requests with API keys.
const REST: i64 = 10;
/// Time-out of a fetch.
const PATIENCE: Duration = Duration::from_secs(3);
/// Seconds after which the cached keys expire and are fetched again, so that keys that the issuer withdrew are no
/// longer accepted.
const TRUST_FOR: i64 = 3600;

#[derive(Default)]
struct Known {
    keys: HashMap<String, Arc<DecodingKey>>,
    fetched_at: Option<Timestamp>,
    failed_at: Option<Timestamp>,
}

pub struct Jwks {
    uri: String,
    known: Mutex<Known>,
}

impl Jwks {
    pub fn new(uri: String) -> Self {
        Self { uri, known: Mutex::default() }
    }

    /// Returns the key with this id; `None` if the issuer does not have it.
    ///
    /// # Errors
    /// [`Refusal::Issuer`] if the keys have to be fetched and cannot be, or if the last fetch failed less than
    /// [`REST`] seconds ago.
    pub async fn key(&self, id: &str, now: Timestamp) -> Result<Option<Arc<DecodingKey>>, Refusal> {
        let mut known = self.known.lock().await;
        let since = |at: Option<Timestamp>| at.map_or(i64::MAX, |at| now.as_second() - at.as_second());
        let age = since(known.fetched_at);
        if age >= TRUST_FOR || (age >= LOOK_AGAIN_AFTER && !known.keys.contains_key(id)) {
            if since(known.failed_at) < REST {
                return Err(Refusal::Issuer("the previous attempt failed less than 10 s ago".to_owned()));
            }
            let fetched = tokio::time::timeout(PATIENCE, self.fetch()).await;
            match fetched.unwrap_or_else(|_| Err(Refusal::Issuer("no answer in time".to_owned()))) {
                Ok(keys) => *known = Known { keys, fetched_at: Some(now), failed_at: None },
                Err(error) => {
                    known.failed_at = Some(now);
                    return Err(error);
                }
            }
        }
        Ok(known.keys.get(id).cloned())
    }

    async fn fetch(&self) -> Result<HashMap<String, Arc<DecodingKey>>, Refusal> {
        let out_of_reach = |error: &dyn std::fmt::Display| Refusal::Issuer(error.to_string());
        let connector = aws::web_connector(&self.uri);
        let request = HttpRequest::get(&self.uri).map_err(|error| out_of_reach(&error))?;
        let response = connector.call(request).await.map_err(|error| out_of_reach(&error))?;
        if !response.status().is_success() {
            return Err(Refusal::Issuer(format!("status {}", response.status().as_u16())));
        }
        let body = aws_smithy_types::byte_stream::ByteStream::new(response.into_body());
        let bytes = body.collect().await.map_err(|error| out_of_reach(&error))?.into_bytes();
        let set: JwkSet = serde_json::from_slice(&bytes).map_err(|error| out_of_reach(&error))?;
        Ok(set
            .keys
            .iter()
            .filter_map(|jwk| {
                let key = DecodingKey::from_jwk(jwk).ok()?;
                Some((jwk.common.key_id.clone()?, Arc::new(key)))
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    const KEYS: &str = r#"{"keys": [{"kty": "RSA", "kid": "known", "n": "AQAB", "e": "AQAB"}]}"#;

    /// Starts an issuer that answers each request with the next of these statuses and its keys. Returns the key
    /// cache and the number of requests.
    fn issuer(statuses: &'static [u16]) -> (Jwks, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let jwks = Jwks::new(format!("http://{}/keys", listener.local_addr().unwrap()));
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        std::thread::spawn(move || {
            for status in statuses {
                let (mut stream, _) = listener.accept().unwrap();
                counter.fetch_add(1, Ordering::SeqCst);
                let _ = stream.read(&mut [0; 4096]).unwrap();
                let head =
                    format!("HTTP/1.1 {status} Well\r\nConnection: close\r\nContent-Length: {}", KEYS.len());
                stream.write_all(format!("{head}\r\n\r\n{KEYS}").as_bytes()).unwrap();
            }
        });
        (jwks, asked)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[tokio::test]
    async fn invented_key_ids_ask_the_issuer_twice_a_minute_at_most() {
        let (jwks, asked) = issuer(&[200, 200]);
        assert!(jwks.key("known", at(0)).await.unwrap().is_some());
        assert!(jwks.key("invented", at(LOOK_AGAIN_AFTER - 1)).await.unwrap().is_none());
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        assert!(jwks.key("invented", at(LOOK_AGAIN_AFTER)).await.unwrap().is_none());
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn an_issuer_that_fails_is_left_alone_for_a_while() {
        let (jwks, asked) = issuer(&[200, 500, 200]);
        assert!(jwks.key("known", at(0)).await.unwrap().is_some());
        for second in [40, 41, 40 + REST - 1] {
            assert!(matches!(jwks.key("invented", at(second)).await, Err(Refusal::Issuer(_))));
            assert!(jwks.key("known", at(second)).await.unwrap().is_some(), "what is known serves");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        assert!(jwks.key("invented", at(40 + REST)).await.unwrap().is_none());
        assert_eq!(asked.load(Ordering::SeqCst), 3);
    }
}

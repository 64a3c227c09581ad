//! The issuer's public keys, fetched when they are needed and kept.

use std::{collections::HashMap, sync::Arc};

use aws_smithy_runtime_api::client::{http::HttpConnector, orchestrator::HttpRequest};
use jiff::Timestamp;
use jsonwebtoken::{DecodingKey, jwk::JwkSet};
use tokio::sync::Mutex;

use crate::Refusal;

/// An unknown key id makes us look again, but not more often than this: anybody
/// may send tokens with key ids of their invention.
const LOOK_AGAIN_AFTER: i64 = 30;
/// Keys that the issuer withdrew are forgotten after this.
const TRUST_FOR: i64 = 3600;

#[derive(Default)]
struct Known {
    keys: HashMap<String, Arc<DecodingKey>>,
    fetched_at: Option<Timestamp>,
}

pub struct Jwks {
    uri: String,
    known: Mutex<Known>,
}

impl Jwks {
    pub fn new(uri: String) -> Self {
        Self { uri, known: Mutex::default() }
    }

    /// The key with this id, if the issuer has it.
    pub async fn key(&self, id: &str, now: Timestamp) -> Result<Option<Arc<DecodingKey>>, Refusal> {
        let mut known = self.known.lock().await;
        let age = known.fetched_at.map_or(i64::MAX, |at| now.as_second() - at.as_second());
        if age >= TRUST_FOR || (age >= LOOK_AGAIN_AFTER && !known.keys.contains_key(id)) {
            known.keys = self.fetch().await?;
            known.fetched_at = Some(now);
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

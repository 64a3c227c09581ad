//! DNS lookups of the HTTP client.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use tokio::sync::Mutex;

/// Time for which an answer is used again. The records of DynamoDB's endpoints have the same time to live.
const FRESH: Duration = Duration::from_secs(5);

/// Resolver of the system, asked once for connections that open at the same time. A function that makes several calls
/// in its first request opens several, and a lookup of the system takes a thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resolver {
    answers: Arc<Mutex<HashMap<String, Answer>>>,
}

#[derive(Debug)]
struct Answer {
    addresses: Vec<IpAddr>,
    at: Instant,
}

impl ResolveDns for Resolver {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move {
            // The lock is held during the lookup, so that others wait for its answer.
            let mut answers = self.answers.lock().await;
            if let Some(answer) = answers.get(name).filter(|answer| answer.at.elapsed() < FRESH) {
                return Ok(answer.addresses.clone());
            }
            let found = tokio::net::lookup_host((name, 0)).await.map_err(ResolveDnsError::new)?;
            let addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
            answers.insert(name.to_owned(), Answer { addresses: addresses.clone(), at: Instant::now() });
            Ok(addresses)
        })
    }
}

//! DNS lookups of the HTTP client.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use tokio::sync::Mutex;

/// Time for which an answer is used again: long enough for connections that open together, and short enough for a retry
/// after a connect time-out ([`timeouts`](crate::timeouts)) to look up again.
const FRESH: Duration = Duration::from_secs(1);

/// Resolver of the system, asked once for connections that open together. The first request of a function opens several
/// connections, and each lookup of the system takes a thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resolver {
    answers: Arc<Mutex<HashMap<String, Slot>>>,
}

/// Last answer for a name; locked during a lookup.
type Slot = Arc<Mutex<Option<Answer>>>;

#[derive(Debug)]
struct Answer {
    addresses: Vec<IpAddr>,
    /// Time of the lookup by the wall clock, which goes on while Lambda freezes the process.
    at: SystemTime,
}

impl Resolver {
    /// Returns the addresses of a name, from `look_up` unless an answer is fresh. Failures are not kept.
    async fn addresses<F>(&self, name: &str, look_up: F) -> std::io::Result<Vec<IpAddr>>
    where
        F: Future<Output = std::io::Result<Vec<IpAddr>>>,
    {
        let answer = self.answers.lock().await.entry(name.to_owned()).or_default().clone();
        // The lock is held during the lookup, so concurrent callers wait for its answer.
        let mut answer = answer.lock().await;
        let fresh = |answer: &&Answer| answer.at.elapsed().is_ok_and(|age| age < FRESH);
        if let Some(answer) = answer.as_ref().filter(fresh) {
            return Ok(answer.addresses.clone());
        }
        let addresses = look_up.await?;
        *answer = Some(Answer { addresses: addresses.clone(), at: SystemTime::now() });
        Ok(addresses)
    }
}

impl ResolveDns for Resolver {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        let look_up = async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        };
        DnsFuture::new(async move { self.addresses(name, look_up).await.map_err(ResolveDnsError::new) })
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, io, net::Ipv4Addr};

    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn connections_that_open_together_wait_for_one_lookup() {
        let (resolver, lookups) = (Resolver::default(), Cell::new(0));
        let ask = || {
            resolver.addresses("dynamodb", async {
                lookups.set(lookups.get() + 1);
                tokio::task::yield_now().await;
                Ok(vec![ADDRESS])
            })
        };
        let (first, second, third) = tokio::join!(ask(), ask(), ask());
        assert_eq!([first.unwrap(), second.unwrap(), third.unwrap()], [const { [ADDRESS] }; 3]);
        assert_eq!(lookups.get(), 1);
    }

    #[tokio::test]
    async fn a_failed_or_abandoned_lookup_leaves_no_answer() {
        let resolver = Resolver::default();
        let failed = resolver.addresses("sqs", async { Err(io::Error::other("no answer")) }).await;
        assert!(failed.is_err());
        let abandoned = resolver.addresses("sqs", std::future::pending());
        assert!(tokio::time::timeout(Duration::from_millis(1), abandoned).await.is_err());
        assert_eq!(resolver.addresses("sqs", async { Ok(vec![ADDRESS]) }).await.unwrap(), [ADDRESS]);
    }

    #[tokio::test]
    async fn an_old_answer_is_not_used() {
        let resolver = Resolver::default();
        let old = Answer { addresses: Vec::new(), at: SystemTime::now() - FRESH };
        resolver.answers.lock().await.insert("s3".to_owned(), Arc::new(Mutex::new(Some(old))));
        assert_eq!(resolver.addresses("s3", async { Ok(vec![ADDRESS]) }).await.unwrap(), [ADDRESS]);
    }
}

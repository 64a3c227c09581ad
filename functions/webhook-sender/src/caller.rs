//! One attempt: a POST to somebody else's server, of whom nothing is expected.
//!
//! The address is judged where it is used: by the resolver whose answer the connection is made to, so that a name
//! can't lead elsewhere between a check and the call. Redirects are not followed; what is read of an answer, and how
//! long it may take, is bounded.

use std::time::{Duration, Instant};

use aws_smithy_runtime_api::client::{
    dns::{DnsFuture, ResolveDns, ResolveDnsError, SharedDnsResolver},
    http::{HttpConnector, SharedHttpConnector},
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use domain::{
    network::Networks,
    webhook::{Attempt, Message, WebhookEndpoint},
};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::OnceCell;

/// How much of an answer is kept, in bytes, and how long it may take to come once the status is there.
const EXCERPT: usize = 512;
const EXCERPT_WITHIN: Duration = Duration::from_millis(500);
/// The longest reason that is kept, in characters.
const REASON: usize = 200;
/// What has to be said of a name by which no permitted address is reached.
const NOT_PERMITTED: &str = "the host's name leads to no public address";

/// Names as the system resolves them.
#[derive(Clone, Debug)]
struct System;

impl ResolveDns for System {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move {
            let found = tokio::net::lookup_host((name, 0)).await.map_err(ResolveDnsError::new)?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Of what a name leads to, what may be called.
#[derive(Clone, Debug)]
struct Guard {
    resolver: SharedDnsResolver,
    networks: Networks,
}

impl ResolveDns for Guard {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move {
            let mut found = self.resolver.resolve_dns(name).await?;
            found.retain(|address| self.networks.permit(*address));
            if found.is_empty() { Err(ResolveDnsError::new(NOT_PERMITTED)) } else { Ok(found) }
        })
    }
}

/// What came of a call.
pub struct Called {
    pub attempt: Attempt,
    /// Whether there was an answer, or a reason for none, while somebody waited for it.
    pub in_time: bool,
    /// How long the endpoint asks us to wait.
    pub retry_after: Option<SignedDuration>,
}

/// A client of other people's servers, with its connections.
pub struct Caller {
    guard: Guard,
    https: OnceCell<SharedHttpConnector>,
    http: OnceCell<SharedHttpConnector>,
}

impl Caller {
    pub fn new(networks: Networks) -> Self {
        let resolver = SharedDnsResolver::new(System);
        Self { guard: Guard { resolver, networks }, https: OnceCell::new(), http: OnceCell::new() }
    }

    /// Sends a message, once. The endpoint has `patience` to answer, from the look-up of its name on.
    pub async fn call(
        &self,
        endpoint: &WebhookEndpoint,
        message: &Message,
        patience: Duration,
        now: Timestamp,
    ) -> Called {
        let began = Instant::now();
        let posted = tokio::time::timeout(patience, self.post(endpoint, message, now)).await;
        let in_time = posted.is_ok();
        let answer = posted.unwrap_or_else(|_| Err(format!("no answer within {} s", patience.as_secs())));
        let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut attempt = Attempt { at: now, duration_ms, status_code: None, error: None, response: None };
        let mut retry_after = None;
        match answer {
            Ok(answer) => {
                let seconds = answer.headers().get("retry-after").and_then(|text| text.parse().ok());
                retry_after = seconds.map(SignedDuration::from_secs);
                attempt.status_code = Some(answer.status().as_u16());
                attempt.response = excerpt(answer).await;
            }
            Err(reason) => attempt.error = Some(reason.chars().take(REASON).collect()),
        }
        Called { attempt, in_time, retry_after }
    }

    /// The answer as soon as its status is there, or why there is none.
    async fn post(
        &self,
        endpoint: &WebhookEndpoint,
        message: &Message,
        now: Timestamp,
    ) -> Result<HttpResponse, String> {
        let url =
            endpoint.url.permitted(&self.guard.networks).map_err(|invalid| format!("the URL {invalid}"))?;
        let connector = self.connector(url.scheme()).await;
        let mut request = HttpRequest::get(url.as_str()).map_err(|error| error.to_string())?;
        request.set_method("POST").map_err(|error| error.to_string())?;
        let headers = request.headers_mut();
        headers.insert("content-type", "application/json");
        headers.insert("content-length", message.body.len().to_string());
        headers.insert("user-agent", concat!("Groundswell-Webhooks/", env!("CARGO_PKG_VERSION")));
        headers.insert("webhook-id", message.id.to_string());
        headers.insert("webhook-timestamp", now.as_second().to_string());
        headers.insert("webhook-signature", endpoint.signature(message.id.as_str(), now, &message.body));
        *request.body_mut() = SdkBody::from(message.body.as_str());
        connector.call(request).await.map_err(|error| reason(&error))
    }

    /// Reading the system's roots takes milliseconds: not before they are needed.
    async fn connector(&self, scheme: &str) -> &SharedHttpConnector {
        match scheme {
            // A plain URL is of this machine, or names an address that is permitted.
            "http" => self.http.get_or_init(async || aws::web_connector("http://")).await,
            _ => self.https.get_or_init(async || aws::web_connector_resolving(self.guard.clone())).await,
        }
    }
}

/// How the body of an answer begins, if it comes in time.
async fn excerpt(answer: HttpResponse) -> Option<String> {
    let mut body = ByteStream::new(answer.into_body());
    let mut read = Vec::new();
    let all = async {
        while read.len() < EXCERPT {
            match body.next().await {
                Some(Ok(bytes)) => read.extend_from_slice(&bytes[..bytes.len().min(EXCERPT)]),
                _ => break,
            }
        }
    };
    // What came until then is enough.
    let _ = tokio::time::timeout(EXCERPT_WITHIN, all).await;
    read.truncate(EXCERPT);
    let text: String =
        String::from_utf8_lossy(&read).chars().filter(|c| !c.is_control() || *c == '\n').collect();
    (!text.is_empty()).then_some(text)
}

/// The innermost cause: what is around it speaks of our client.
fn reason(error: &ConnectorError) -> String {
    let first: &(dyn std::error::Error + 'static) = error;
    let causes = std::iter::successors(Some(first), |error| error.source());
    causes.last().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{
        net::IpAddr,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use domain::{
        id::{AccountId, EventId},
        webhook::{EndpointUrl, TEST},
    };
    use tokio::net::TcpListener;

    use super::*;
    use crate::PATIENCE;

    /// A name server that gives another answer each time.
    #[derive(Clone, Debug)]
    struct Changing {
        answers: Vec<IpAddr>,
        asked: Arc<AtomicUsize>,
    }

    impl ResolveDns for Changing {
        fn resolve_dns<'a>(&'a self, _: &'a str) -> DnsFuture<'a> {
            let asked = self.asked.fetch_add(1, Ordering::Relaxed);
            DnsFuture::ready(Ok(vec![self.answers[asked % self.answers.len()]]))
        }
    }

    fn endpoint(url: &str) -> WebhookEndpoint {
        let now = Timestamp::now();
        let url = EndpointUrl::parse(url, &Networks::default()).unwrap();
        WebhookEndpoint::new(AccountId::new(now), url, None, Vec::new(), now)
    }

    fn message() -> Message {
        Message { id: EventId::in_order(Timestamp::now()), kind: TEST.to_owned(), body: "{}".to_owned() }
    }

    fn resolving(answers: &[&str]) -> Caller {
        let answers = answers.iter().map(|address| address.parse().unwrap()).collect();
        let resolver = SharedDnsResolver::new(Changing { answers, asked: Arc::default() });
        let guard = Guard { resolver, networks: Networks::default() };
        Caller { guard, ..Caller::new(Networks::default()) }
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_not_called_even_if_it_led_outside_before() {
        let inside = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = inside.local_addr().unwrap().port();
        for address in
            ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1", "169.254.169.254", "fd00:ec2::254"]
        {
            let caller = resolving(&[address]);
            let called = caller
                .call(
                    &endpoint(&format!("https://rebind.example:{port}/")),
                    &message(),
                    PATIENCE,
                    Timestamp::now(),
                )
                .await;
            assert_eq!(called.attempt.error.as_deref(), Some(NOT_PERMITTED), "{address}");
        }
        // Whoever checks first, by a look-up of its own, gets the public address, and whoever calls then the other.
        let caller = resolving(&["1.1.1.1", "127.0.0.1"]);
        let checked = caller.guard.resolve_dns("rebind.example").await.unwrap();
        assert_eq!(checked, ["1.1.1.1".parse::<IpAddr>().unwrap()]);
        let url = format!("https://rebind.example:{port}/");
        let called = caller.call(&endpoint(&url), &message(), PATIENCE, Timestamp::now()).await;
        assert_eq!(called.attempt.error.as_deref(), Some(NOT_PERMITTED));
        // Nobody ever knocked.
        let knocked = tokio::time::timeout(Duration::from_millis(50), inside.accept()).await;
        assert!(knocked.is_err());
    }

    #[tokio::test]
    async fn an_address_that_is_not_permitted_any_more_is_not_called() {
        // It was, when the endpoint was made.
        let networks: Networks = "127.0.0.0/8".parse().unwrap();
        let inside = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", inside.local_addr().unwrap());
        let url = EndpointUrl::parse(&url, &networks).unwrap();
        let endpoint = WebhookEndpoint { url, ..endpoint("https://example.com/") };
        let called =
            Caller::new(Networks::default()).call(&endpoint, &message(), PATIENCE, Timestamp::now()).await;
        assert_eq!(called.attempt.error.as_deref(), Some("the URL is not at a public address"));
    }
}

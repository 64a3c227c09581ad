//! One delivery attempt: a `POST` to the server of an endpoint, which is not trusted.
//!
//! Invariants:
//! - The address is checked where it is used: by the resolver whose result the connection uses. So a name can't
//!   resolve to another address between the check and the call (DNS rebinding). Redirects are not followed.
//! - One deadline covers the whole exchange: DNS look-up, connection, TLS, request, informational answers, head and
//!   body.
//! - The exchange reads a bounded number of bytes from the socket. So an endpoint can control neither the memory that
//!   the client uses nor the time between two checks of the deadline. (A server that sends `103` without end keeps a
//!   client that reads without a bound so busy that its timers don't fire.)
//! - Nothing of an exchange outlives it: a connection serves one message and is driven by the call itself.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use domain::network::Networks;
use futures_util::future::{BoxFuture, Either, select};
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::{
    client::legacy::connect::{HttpConnector, dns::Name},
    rt::TokioIo,
};
use jiff::{SignedDuration, Timestamp};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OnceCell,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsConnector;
use tower::{Service, ServiceExt};
use url::{Host, Position, Url};
use webhooks::webhook::{Attempt, Message, WebhookEndpoint};

/// Maximum length of the excerpt of an answer's body, in bytes.
const EXCERPT: usize = 512;
/// Maximum time to wait for the excerpt after the status has arrived.
const EXCERPT_WITHIN: Duration = Duration::from_millis(500);
/// Maximum number of bytes that an exchange reads from the socket: some 10 KiB of certificates, and an answer's head.
const MOST_READ: usize = 64 * 1024;
/// Maximum length of the head of an answer, in bytes.
const MOST_HEAD: usize = 16 * 1024;
/// Maximum length of the stored reason of a failure, in characters.
const REASON: usize = 200;
/// Connection time-out. hyper divides it evenly among the IPv4 addresses of a name, and among the IPv6 addresses.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// Error for a name that resolves to no permitted address.
const NOT_PERMITTED: &str = "the host's name leads to no public address";
/// Error for an endpoint that sends without end.
const TOO_MUCH: &str = "the answer has no end within 64 KiB";

/// Function that resolves a name to addresses.
type LookUp = dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync;

/// Resolves a name with the system's resolver.
async fn system(name: String) -> io::Result<Vec<IpAddr>> {
    Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
}

/// Resolver that returns only permitted addresses.
#[derive(Clone)]
struct Guard {
    look_up: Arc<LookUp>,
    networks: Networks,
}

impl Guard {
    async fn resolve(self, name: String) -> io::Result<std::vec::IntoIter<SocketAddr>> {
        let mut found = (self.look_up)(name).await?;
        found.retain(|address| self.networks.permit(*address));
        if found.is_empty() {
            return Err(io::Error::other(NOT_PERMITTED));
        }
        // The connector takes the port from the URL.
        let found: Vec<_> = found.into_iter().map(|address| SocketAddr::new(address, 0)).collect();
        Ok(found.into_iter())
    }
}

impl Service<Name> for Guard {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(self.clone().resolve(name.as_str().to_owned()))
    }
}

/// Connection from which at most `left` more bytes are read.
struct Bounded {
    stream: TcpStream,
    left: usize,
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::Error::other(TOO_MUCH)));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.left = self.left.saturating_sub(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Result of a call.
pub struct Called {
    pub attempt: Attempt,
    /// True if the call ended, with an answer or an error, within the time that the caller waits.
    pub in_time: bool,
    /// Delay that the endpoint asks for before the next attempt.
    pub retry_after: Option<SignedDuration>,
}

/// The parts of an endpoint's answer that are used.
struct EndpointReply {
    status: u16,
    retry_after: Option<SignedDuration>,
    /// Time at which the status arrived.
    at: Instant,
    excerpt: Option<String>,
}

/// HTTP client for webhook endpoints.
pub struct Caller {
    guard: Guard,
    tls: OnceCell<TlsConnector>,
}

impl Caller {
    pub fn new(networks: Networks) -> Self {
        Self::resolving(|name| Box::pin(system(name)), networks)
    }

    fn resolving(
        look_up: impl Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync + 'static,
        networks: Networks,
    ) -> Self {
        Self { guard: Guard { look_up: Arc::new(look_up), networks }, tls: OnceCell::new() }
    }

    /// Sends a message, without a retry. The exchange may take at most `patience`, including the DNS look-up.
    pub async fn call(
        &self,
        endpoint: &WebhookEndpoint,
        message: &Message,
        patience: Duration,
        now: Timestamp,
    ) -> Called {
        let began = Instant::now();
        let exchanged = timeout(patience, self.exchange(endpoint, message, began + patience, now)).await;
        let in_time = exchanged.is_ok();
        let answer =
            exchanged.unwrap_or_else(|_| Err(format!("no answer within {} s", patience.as_secs_f32())));
        let ended = answer.as_ref().map_or_else(|_| Instant::now(), |answer| answer.at);
        let duration_ms = u64::try_from(ended.duration_since(began).as_millis()).unwrap_or(u64::MAX);
        let mut attempt = Attempt { at: now, duration_ms, status_code: None, error: None, response: None };
        let mut retry_after = None;
        match answer {
            Ok(answer) => {
                retry_after = answer.retry_after;
                attempt.status_code = Some(answer.status);
                attempt.response = answer.excerpt;
            }
            Err(reason) => attempt.error = Some(reason.chars().take(REASON).collect()),
        }
        Called { attempt, in_time, retry_after }
    }

    /// Sends the request and reads the answer. Returns the answer, or the reason why there is none.
    async fn exchange(
        &self,
        endpoint: &WebhookEndpoint,
        message: &Message,
        deadline: Instant,
        now: Timestamp,
    ) -> Result<EndpointReply, String> {
        let url =
            endpoint.url.permitted(&self.guard.networks).map_err(|invalid| format!("the URL {invalid}"))?;
        let request = request(&url, endpoint, message, now).map_err(|error| reason(&error))?;
        let stream = self.connect(&url).await?;
        if url.scheme() == "http" {
            return answer(stream, request, deadline).await;
        }
        let name = match url.host() {
            Some(Host::Domain(name)) => ServerName::try_from(name.trim_end_matches('.').to_owned()),
            Some(Host::Ipv4(address)) => Ok(ServerName::from(IpAddr::from(address))),
            Some(Host::Ipv6(address)) => Ok(ServerName::from(IpAddr::from(address))),
            None => return Err("the URL has no host".to_owned()),
        };
        let name = name.map_err(|error| reason(&error))?;
        let stream = self.tls().await?.connect(name, stream).await.map_err(|error| reason(&error))?;
        answer(stream, request, deadline).await
    }

    async fn connect(&self, url: &Url) -> Result<Bounded, String> {
        let uri: Uri = url.as_str().parse().map_err(|error| reason(&error))?;
        let mut connector = HttpConnector::new_with_resolver(self.guard.clone());
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_WITHIN));
        let stream = connector.oneshot(uri).await.map_err(|error| reason(&error))?;
        Ok(Bounded { stream: stream.into_inner(), left: MOST_READ })
    }

    /// Returns the TLS connector. The connector is made when it is first needed, because reading the system's root
    /// certificates takes milliseconds.
    async fn tls(&self) -> Result<&TlsConnector, String> {
        self.tls.get_or_try_init(async || tls().map_err(|error| reason(&error))).await
    }
}

/// Builds a TLS connector for HTTP/1.1 that trusts the system's root certificates.
fn tls() -> Result<TlsConnector, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn request(
    url: &Url,
    endpoint: &WebhookEndpoint,
    message: &Message,
    now: Timestamp,
) -> Result<Request<Full<Bytes>>, http::Error> {
    Request::post(&url[Position::BeforePath..Position::AfterQuery])
        .header(header::HOST, &url[Position::BeforeHost..Position::AfterPort])
        .header(header::CONNECTION, "close")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("Groundswell-Webhooks/", env!("CARGO_PKG_VERSION")))
        .header("webhook-id", message.id.as_str())
        .header("webhook-timestamp", now.as_second())
        .header("webhook-signature", endpoint.signature(message.id.as_str(), now, &message.body))
        .body(Full::from(message.body.clone()))
}

/// Sends a request over a connection of its own. Returns the answer with its status, and with the excerpt of its body
/// as far as the excerpt arrives in time.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    request: Request<Full<Bytes>>,
    deadline: Instant,
) -> Result<EndpointReply, String> {
    let handshake = http1::Builder::new().max_buf_size(MOST_HEAD).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| reason(&error))?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(|error| reason(&error))?;
        let at = Instant::now();
        let status = answer.status().as_u16();
        let seconds =
            answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let excerpt = excerpt(answer.into_body(), deadline.min(at + EXCERPT_WITHIN)).await;
        Ok(EndpointReply { status, retry_after: seconds.map(SignedDuration::from_secs), at, excerpt })
    };
    // The exchange makes progress only while the connection is polled. If the connection ends first, the exchange
    // completes with an answer or an error.
    match select(pin!(exchange), pin!(connection)).await {
        Either::Left((answer, _)) => answer,
        Either::Right((_, exchange)) => exchange.await,
    }
}

/// Reads the beginning of an answer's body, as far as it arrives before `until`.
async fn excerpt(mut body: Incoming, until: Instant) -> Option<String> {
    let mut read = Vec::new();
    let all = async {
        while read.len() < EXCERPT {
            match body.frame().await {
                Some(Ok(frame)) => {
                    let bytes = frame.into_data().unwrap_or_default();
                    read.extend_from_slice(&bytes[..bytes.len().min(EXCERPT)]);
                }
                _ => break,
            }
        }
    };
    // A time-out is no error: the bytes that arrived until then are enough.
    let _ = timeout_at(until, all).await;
    read.truncate(EXCERPT);
    let text: String =
        String::from_utf8_lossy(&read).chars().filter(|c| !c.is_control() || *c == '\n').collect();
    (!text.is_empty()).then_some(text)
}

/// Returns the innermost cause of an error. The outer ones only describe this client.
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.last().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use domain::id::{AccountId, EventId};
    use tokio::{io::AsyncWriteExt, net::TcpListener};
    use webhooks::webhook::{EndpointUrl, TEST};

    use super::*;
    use crate::PATIENCE;

    fn endpoint(url: &str) -> WebhookEndpoint {
        let now = Timestamp::now();
        let url = EndpointUrl::parse(url, &Networks::default()).unwrap();
        WebhookEndpoint::new(AccountId::new(now), url, None, Vec::new(), now)
    }

    fn message() -> Message {
        Message { id: EventId::in_order(Timestamp::now()), kind: TEST.to_owned(), body: "{}".to_owned() }
    }

    /// Returns a caller whose name server gives these answers in turn, one per look-up.
    fn resolving(answers: &[&str], networks: Networks) -> Caller {
        let answers: Vec<IpAddr> = answers.iter().map(|address| address.parse().unwrap()).collect();
        let asked = AtomicUsize::new(0);
        let look_up = move |_| -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
            let answer = answers[asked.fetch_add(1, Ordering::Relaxed) % answers.len()];
            Box::pin(std::future::ready(Ok(vec![answer])))
        };
        Caller::resolving(look_up, networks)
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_not_called_even_if_it_led_outside_before() {
        let inside = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = inside.local_addr().unwrap().port();
        for address in
            ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1", "169.254.169.254", "fd00:ec2::254"]
        {
            let caller = resolving(&[address], Networks::default());
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
        // A separate check before the call would get the public address, and the call would get the other one.
        let caller = resolving(&["1.1.1.1", "127.0.0.1"], Networks::default());
        let checked = caller.guard.clone().resolve("rebind.example".to_owned()).await.unwrap();
        assert_eq!(checked.as_slice(), ["1.1.1.1:0".parse::<SocketAddr>().unwrap()]);
        let url = format!("https://rebind.example:{port}/");
        let called = caller.call(&endpoint(&url), &message(), PATIENCE, Timestamp::now()).await;
        assert_eq!(called.attempt.error.as_deref(), Some(NOT_PERMITTED));
        // No connection ever reached the server inside.
        let knocked = timeout(Duration::from_millis(50), inside.accept()).await;
        assert!(knocked.is_err());
    }

    #[tokio::test]
    async fn an_address_that_is_not_permitted_any_more_is_not_called() {
        // The address was permitted when the endpoint was created.
        let networks: Networks = "127.0.0.0/8".parse().unwrap();
        let inside = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", inside.local_addr().unwrap());
        let url = EndpointUrl::parse(&url, &networks).unwrap();
        let endpoint = WebhookEndpoint { url, ..endpoint("https://example.com/") };
        let called =
            Caller::new(Networks::default()).call(&endpoint, &message(), PATIENCE, Timestamp::now()).await;
        assert_eq!(called.attempt.error.as_deref(), Some("the URL is not at a public address"));
    }

    /// Starts a server that sends `first`, and then sends `then` again and again, each time after a pause. Returns
    /// its port and the number of bytes written.
    async fn server(first: &'static [u8], then: &'static [u8], pause: Duration) -> (u16, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let written = Arc::new(AtomicUsize::new(0));
        let count = written.clone();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = first;
            while stream.write_all(bytes).await.is_ok() {
                count.fetch_add(bytes.len(), Ordering::Relaxed);
                bytes = then;
                if !pause.is_zero() || bytes.is_empty() {
                    tokio::time::sleep(pause.max(Duration::from_millis(1))).await;
                }
            }
        });
        (port, written)
    }

    /// Runs on one thread, as in Lambda: an endpoint that keeps the thread busy keeps timers from firing.
    #[tokio::test]
    async fn no_endpoint_takes_more_than_its_time_and_its_bytes() {
        const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n";
        const EARLY: &[u8] = b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n";
        let slowly = Duration::from_millis(20);
        let patience = Duration::from_millis(300);
        let late = "no answer within 0.3 s";
        let head = "message head is too large";
        for (what, url, first, then, pause, error) in [
            ("informational answers without end", "http", EARLY, EARLY, Duration::ZERO, TOO_MUCH),
            ("informational answers now and then", "http", EARLY, EARLY, slowly, late),
            ("a header that trickles", "http", HEAD, b"x", slowly, late),
            ("a header without end", "http", HEAD, b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", Duration::ZERO, head),
            ("headers without end", "http", HEAD, b"a: b\r\n", Duration::ZERO, head),
            ("silence", "http", b"", b"", slowly, late),
            ("silence instead of TLS", "https", b"", b"", slowly, late),
            // The record of a handshake that announces a long message.
            ("TLS that trickles", "https", b"\x16\x03\x03\x3f\xff\x02", b"\0", slowly, late),
        ] {
            let (port, written) = server(first, then, pause).await;
            let caller = resolving(&["127.0.0.1"], "127.0.0.0/8".parse().unwrap());
            let url = match url {
                "http" => EndpointUrl::parse(&format!("http://127.0.0.1:{port}/"), &caller.guard.networks),
                _ => EndpointUrl::parse(&format!("https://slow.example:{port}/"), &caller.guard.networks),
            };
            let endpoint = WebhookEndpoint { url: url.unwrap(), ..endpoint("https://example.com/") };
            let called = caller.call(&endpoint, &message(), patience, Timestamp::now()).await;
            let found = called.attempt.error.unwrap_or_default();
            assert!(found.contains(error), "{what}: {found}");
            assert_eq!(called.in_time, error != late, "{what}");
            // The bytes in the sockets' buffers count as written, although they were not read.
            let written = written.load(Ordering::Relaxed);
            assert!(written < MOST_READ + 16 * 1024 * 1024, "{what}: {written} bytes");
        }
        // A status is an answer, even if its body never ends.
        for (first, then, pause) in [
            (&b"HTTP/1.1 204 No Content\r\n\r\n"[..], EARLY, Duration::ZERO),
            (b"HTTP/1.1 200 OK\r\n\r\nx", b"x", slowly),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", Duration::ZERO),
        ] {
            let (port, _) = server(first, then, pause).await;
            let caller = Caller::new("127.0.0.0/8".parse().unwrap());
            let url = EndpointUrl::parse(&format!("http://127.0.0.1:{port}/"), &caller.guard.networks);
            let endpoint = WebhookEndpoint { url: url.unwrap(), ..endpoint("https://example.com/") };
            let called = caller.call(&endpoint, &message(), patience, Timestamp::now()).await;
            assert!(called.attempt.was_taken() && called.in_time, "{:?}", called.attempt);
            assert!(called.attempt.response.unwrap_or_default().len() <= EXCERPT);
        }
    }
}

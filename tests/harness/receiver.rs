//! Receiver of webhooks that keeps its requests and answers as the test decides.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::AbortHandle,
};

use crate::server::{Request, answer, listen};

/// Answer of the receiver.
#[derive(Clone, Debug)]
pub enum Reply {
    Status(u16),
    /// Status and complete header lines.
    With(u16, String),
    /// Status and a JSON body, to imitate another service.
    Json(u16, Value),
    /// Status, sent once it is [released](Receiver::release).
    Held(u16),
    /// No answer, until the client gives up.
    Hang,
    /// Reset of the connection.
    Drop,
    /// Status and a body without an end.
    Endless(u16),
    /// First bytes, then other bytes again and again with a pause after each: never a valid answer.
    Raw(&'static str, &'static str, Duration),
}

type Behave = dyn Fn(&Request, usize) -> Reply + Send + Sync;

struct Inner {
    behave: Box<Behave>,
    told: Mutex<Vec<Request>>,
    released: watch::Sender<bool>,
}

/// Server on this machine. Stops on drop.
pub struct Receiver {
    pub url: String,
    inner: Arc<Inner>,
    listening: AbortHandle,
}

impl Receiver {
    /// Starts a receiver. `behave` decides about a request by the number of earlier requests with the same
    /// `webhook-id`.
    pub async fn start(behave: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let inner = Arc::new(Inner {
            behave: Box::new(behave),
            told: Mutex::default(),
            released: watch::Sender::new(false),
        });
        let serving = inner.clone();
        Self { url, inner, listening: listen(listener, move |stream| serve(stream, serving.clone())) }
    }

    /// Starts a receiver that accepts every request.
    pub async fn willing() -> Self {
        Self::start(|_, _| Reply::Status(200)).await
    }

    /// Returns all requests in the order of their arrival.
    pub fn told(&self) -> Vec<Request> {
        self.inner.told.lock().expect("nobody panicked").clone()
    }

    /// Returns the requests whose event has this type.
    pub fn told_of(&self, kind: &str) -> Vec<Request> {
        let told = self.told().into_iter();
        told.filter(|request| request.json()["type"] == kind).collect()
    }

    /// Returns the number of requests for each message id.
    pub fn ids(&self) -> BTreeMap<String, usize> {
        let mut ids = BTreeMap::new();
        for request in self.told() {
            *ids.entry(request.header("webhook-id").to_owned()).or_default() += 1;
        }
        ids
    }

    /// Sends the answers that are held.
    pub fn release(&self) {
        self.inner.released.send_replace(true);
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Request {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    /// Returns true if the request has a valid signature with this secret, by a receiver's check.
    pub fn is_signed_by(&self, secret: &str) -> bool {
        let headers = ["webhook-id", "webhook-timestamp", "webhook-signature"]
            .map(|name| (name.parse().expect("a name"), self.header(name).parse().expect("a value")));
        let webhook = standardwebhooks::Webhook::new(secret).expect("a secret");
        webhook.verify(self.body.as_bytes(), &headers.into_iter().collect()).is_ok()
    }
}

async fn serve(mut stream: TcpStream, inner: Arc<Inner>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4096);
    while let Some(request) = Request::read(&mut stream, &mut buffer).await? {
        let id = request.header("webhook-id").to_owned();
        let before = {
            let mut told = inner.told.lock().expect("nobody panicked");
            let before = told.iter().filter(|other| other.header("webhook-id") == id).count();
            told.push(request.clone());
            before
        };
        let mut body = "noted".to_owned();
        let (status, headers) = match (inner.behave)(&request, before) {
            Reply::Status(status) => (status, String::new()),
            Reply::With(status, headers) => (status, headers),
            Reply::Json(status, json) => {
                body = json.to_string();
                (status, String::new())
            }
            Reply::Held(status) => {
                // An error means that the sender is gone, which also releases the answer.
                let _ = inner.released.subscribe().wait_for(|released| *released).await;
                (status, String::new())
            }
            Reply::Hang => {
                let mut rest = [0; 256];
                while stream.read(&mut rest).await? > 0 {}
                return Ok(());
            }
            Reply::Drop => return stream.set_zero_linger(),
            Reply::Raw(first, then, pause) => {
                stream.write_all(first.as_bytes()).await?;
                while stream.write_all(then.as_bytes()).await.is_ok() {
                    if !pause.is_zero() {
                        tokio::time::sleep(pause).await;
                    }
                }
                return Ok(());
            }
            Reply::Endless(status) => {
                let head = format!("HTTP/1.1 {status} Well\r\nContent-Length: 1000000000000\r\n\r\n");
                stream.write_all(head.as_bytes()).await?;
                while stream.write_all(&[b'x'; 1024]).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                return Ok(());
            }
        };
        stream.write_all(answer(status, "text/plain", &headers, &body).as_bytes()).await?;
        if request.closes {
            break;
        }
    }
    Ok(())
}

//! Minimal HTTP for the tests' own servers. An HTTP library would not let a connection break.

use std::{collections::HashMap, future::Future, io, time::Duration};

use jiff::Timestamp;
use reqwest::StatusCode;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};

/// Serves each connection in a task until the returned handle is aborted.
pub fn listen<F: Future<Output = io::Result<()>> + Send + 'static>(
    listener: TcpListener,
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> AbortHandle {
    let serving = async move {
        // The set's connections end with this task.
        let mut connections = JoinSet::new();
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream));
                }
                // For example, too many open files.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
            while connections.try_join_next().is_some() {}
        }
    };
    tokio::spawn(serving).abort_handle()
}

/// Writes a response. `headers` are complete header lines.
pub fn answer(status: u16, content_type: &str, headers: &str, body: &str) -> String {
    let status = StatusCode::from_u16(status).expect("a status");
    let reason = status.canonical_reason().unwrap_or_default();
    format!(
        "HTTP/1.1 {} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        status.as_u16(),
        body.len(),
    )
}

/// Request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    /// Time at which the whole request had arrived.
    pub at: Timestamp,
    pub method: String,
    pub path: String,
    /// Headers by their names in lower case.
    headers: HashMap<String, String>,
    pub body: String,
    /// True if this is the last request on its connection.
    pub closes: bool,
}

impl Request {
    /// Returns the value of a header, or an empty string if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }

    /// Reads the next request of a connection. `buffer` holds the bytes that were read before. Returns `None` at
    /// the end of the connection.
    pub async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Self>> {
        let head = loop {
            if let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(buffer).await? == 0 {
                return Ok(None);
            }
        };
        let text = String::from_utf8_lossy(&buffer[..head]).into_owned();
        let mut lines = text.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let headers: HashMap<String, String> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut request =
            Self { at: Timestamp::now(), method, path, headers, body: String::new(), closes: false };
        assert_eq!(request.header("transfer-encoding"), "", "a body says how long it is");
        let length: usize = request.header("content-length").parse().unwrap_or_default();
        while buffer.len() < head + length {
            if stream.read_buf(buffer).await? == 0 {
                return Ok(None);
            }
        }
        request.body = String::from_utf8_lossy(&buffer[head..head + length]).into_owned();
        request.closes = request.header("connection").eq_ignore_ascii_case("close");
        request.at = Timestamp::now();
        buffer.drain(..head + length);
        Ok(Some(request))
    }
}

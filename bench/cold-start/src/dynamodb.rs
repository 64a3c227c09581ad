//! DynamoDB over TLS that answers from the recording.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::Value;
use tokio::{net::TcpListener, task::AbortHandle};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

use crate::{
    Failure,
    canned::{Canned, name_of},
};

/// Makes a certificate authority, writes its certificate to the file that clients trust, and issues a certificate
/// for this machine.
///
/// # Errors
/// Fails if the file cannot be written.
pub fn authority(file: &Path) -> Result<TlsAcceptor, Failure> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "Cold starts");
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    std::fs::write(file, issuer.pem())?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &issuer)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    // DynamoDB does not offer HTTP/2 either.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Calls that were made, by name, with their requests.
type Made = Arc<Mutex<Vec<(String, Value)>>>;

/// Running server. Stops when dropped.
pub struct DynamoDb {
    pub endpoint: String,
    made: Made,
    task: AbortHandle,
}

impl Drop for DynamoDb {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl DynamoDb {
    /// Starts the server.
    ///
    /// # Errors
    /// Fails if no port is free.
    pub async fn start(canned: &Canned, acceptor: TlsAcceptor, delay: Duration) -> Result<Self, Failure> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let endpoint = format!("https://localhost:{}", listener.local_addr()?.port());
        let made = Made::default();
        let answers =
            canned.calls.iter().map(|call| (call.name.clone(), Bytes::from(call.answer.to_string())));
        let answers: Arc<HashMap<String, Bytes>> = Arc::new(answers.collect());
        let task = tokio::spawn(accept(listener, acceptor, answers, made.clone(), delay)).abort_handle();
        Ok(Self { endpoint, made, task })
    }

    /// Returns the calls since the last call of this function.
    pub fn take_made(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    answers: Arc<HashMap<String, Bytes>>,
    made: Made,
    delay: Duration,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let (acceptor, answers, made) = (acceptor.clone(), answers.clone(), made.clone());
        tokio::spawn(async move {
            let stream = match acceptor.accept(stream).await {
                Ok(stream) => stream,
                Err(error) => return eprintln!("no TLS: {error}"),
            };
            let service = service_fn(|request| answer(request, &answers, &made, delay));
            // A process that is killed closes its connections, which is an error here.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Returns the answer of an update of a counter, with the number in the slot that the caller chose. The recorded
/// call chose another slot.
fn in_slot(answer: &Bytes, asked: &Value) -> Bytes {
    let Some(slot) = asked["ExpressionAttributeNames"]["#number"].as_str() else { return answer.clone() };
    let Ok(mut answer) = serde_json::from_slice::<Value>(answer) else { return answer.clone() };
    let counter = asked["ExpressionAttributeNames"]["#counter"].as_str().unwrap_or_default();
    let number = answer["Attributes"][counter].clone();
    answer["Attributes"][slot] = number;
    answer.to_string().into()
}

async fn answer(
    request: Request<Incoming>,
    answers: &HashMap<String, Bytes>,
    made: &Made,
    delay: Duration,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let target = request.headers().get("x-amz-target").and_then(|value| value.to_str().ok());
    let target = target.unwrap_or_default().to_owned();
    let body =
        request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let name = name_of(&target, &asked);
    let found = answers.get(&name).map(|answer| in_slot(answer, &asked));
    made.lock().unwrap_or_else(PoisonError::into_inner).push((name, asked));
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    let (status, answer) = match found {
        Some(answer) => (StatusCode::OK, answer),
        // This error is not retried.
        None => (
            StatusCode::BAD_REQUEST,
            Bytes::from_static(
                br#"{"__type":"com.amazon.coral.validate#ValidationException","message":"not on record"}"#,
            ),
        ),
    };
    let checksum = crc32fast::hash(&answer);
    let mut response = Response::new(Full::new(answer));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        ("server", "Server"),
        ("content-type", "application/x-amz-json-1.0"),
        ("x-amzn-requestid", "7B0QV6R0M4P0T2T8J2H3J5K6L7VV4KQNSO5AEMVJF66Q9ASUAAJG"),
    ] {
        headers.insert(name, hyper::header::HeaderValue::from_static(value));
    }
    headers.insert("x-amz-crc32", checksum.into());
    Ok(response)
}

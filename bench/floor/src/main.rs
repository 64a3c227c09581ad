//! The minimal function: fetches an event, makes one TLS handshake with DynamoDB, sends the requests of its
//! script byte for byte, reads the answers, and returns the script's answer. The program does not look at the
//! contents of any of these.
//!
//! A contestant of `bench/cold-start`. The difference between a real function's time and this program's time is
//! the function's own.

use std::{
    env,
    error::Error,
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

/// Environment variable with the path of the script: the requests and, last, the answer, each preceded by its
/// length as four bytes in network order.
const SCRIPT: &str = "FLOOR_SCRIPT";

/// Reads a message from a connection. Returns the value of the header `wanted`, and the body.
fn receive(from: &mut impl BufRead, wanted: &str) -> Result<(String, Vec<u8>), Box<dyn Error>> {
    let (mut length, mut found) = (0, String::new());
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            if line.trim_end().is_empty() {
                break;
            }
            continue;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse()?;
        } else if name.eq_ignore_ascii_case(wanted) {
            value.clone_into(&mut found);
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok((found, body))
}

fn main() -> Result<(), Box<dyn Error>> {
    let script = fs::read(env::var(SCRIPT)?)?;
    let mut rest = script.as_slice();
    let mut parts = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (part, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        parts.push(part);
        rest = after;
    }
    let (answer, requests) = parts.split_last().ok_or("an empty script")?;

    let api = env::var("AWS_LAMBDA_RUNTIME_API")?;
    let mut runtime = BufReader::new(TcpStream::connect(&api)?);
    let next = format!("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: {api}\r\n\r\n");
    runtime.get_mut().write_all(next.as_bytes())?;
    let (id, _) = receive(&mut runtime, "lambda-runtime-aws-request-id")?;

    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(env::var("AWS_CA_BUNDLE")?)? {
        roots.add(certificate?)?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let endpoint = env::var("AWS_ENDPOINT_URL_DYNAMODB")?;
    let authority = endpoint.strip_prefix("https://").ok_or("no https")?;
    let host = authority.split(':').next().unwrap_or_default().to_owned();
    let socket = TcpStream::connect(authority)?;
    socket.set_nodelay(true)?;
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from(host)?)?;
    let mut dynamodb = BufReader::new(StreamOwned::new(connection, socket));
    for request in requests {
        dynamodb.get_mut().write_all(request)?;
        receive(&mut dynamodb, "")?;
    }

    let head = format!(
        "POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nHost: {api}\r\nContent-Length: {}\r\n\r\n",
        answer.len()
    );
    runtime.get_mut().write_all(&[head.as_bytes(), answer].concat())?;
    receive(&mut runtime, "")?;
    Ok(())
}

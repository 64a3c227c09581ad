use std::collections::{BTreeMap, HashMap};

use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Region};
use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier,
};
use axum::body::Body;
use axum::http::{Request, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use ring::hmac;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;

use super::*;
use crate::pattern::Pattern;
use crate::sqs::Sqs;
use crate::template::{EventInvokeConfig, Function, Source};

const BUCKET: &str = "groundswell";
const KEY: &str = "exports/one two+three.csv";

fn open(directory: &TempDir) -> S3 {
    open_with_events(directory).0
}

/// Opens S3 with the queue of a function that gets an event for each created object.
fn open_with_events(directory: &TempDir) -> (S3, Sqs) {
    let pattern = json!({ "source": ["aws.s3"], "detail-type": ["Object Created"] });
    let function = Function {
        logical_id: "Import".to_owned(),
        binary: "import".to_owned(),
        environment: HashMap::new(),
        timeout: Duration::from_secs(60),
        reserved_concurrency: None,
        event_invoke_config: EventInvokeConfig { max_retries: 2, on_failure: None },
        routes: Vec::new(),
        sources: vec![Source::Rule { pattern: Pattern::parse("", &pattern).unwrap() }],
    };
    let queues = function.event_queue().into_iter().collect();
    let sqs = Sqs::open(&directory.path().join("queues.db"), "http://127.0.0.1:1", queues).unwrap();
    let events = EventBridge::new(&[function], sqs.clone());
    (S3::open(&directory.path().join("s3"), "local", "secret", BUCKET, events).unwrap(), sqs)
}

/// Returns the events that are in the queue now, without waiting for more.
async fn events(sqs: &Sqs) -> Vec<Value> {
    let messages = sqs.receive("Import.events", 100, Duration::ZERO).await.unwrap();
    messages
        .iter()
        .map(|message| {
            sqs.delete("Import.events", &message.receipt_handle).unwrap();
            serde_json::from_str(&message.body).unwrap()
        })
        .collect()
}

async fn event(sqs: &Sqs) -> Value {
    let mut events = events(sqs).await;
    assert_eq!(events.len(), 1);
    events.remove(0)
}

/// Returns the names of the files beside the bucket.
fn beside_the_bucket(directory: &TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(directory.path().join("s3")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != BUCKET).collect()
}

/// Returns an SDK client with default checksums that calls the router on a port of its own.
async fn client(s3: &S3, secret: &str) -> Client {
    let (router, listener) = (s3.router(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(router.clone());
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", secret, None, None, "test"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(url);
    Client::from_conf(config.build())
}

async fn put(client: &Client, body: ByteStream) {
    client.put_object().bucket(BUCKET).key(KEY).body(body).send().await.unwrap();
}

async fn get(client: &Client) -> Vec<u8> {
    let object = client.get_object().bucket(BUCKET).key(KEY).send().await.unwrap();
    object.body.collect().await.unwrap().to_vec()
}

#[tokio::test]
async fn objects_are_put_in_one_piece_or_many_and_outlive_the_process() {
    let directory = TempDir::new().unwrap();
    let s3 = client(&open(&directory), "secret").await;
    let file = directory.path().join("streamed");
    std::fs::write(&file, "streamed").unwrap();
    put(&s3, ByteStream::from_path(file).await.unwrap()).await;
    assert_eq!(get(&s3).await, b"streamed");
    put(&s3, ByteStream::from_static(b"small")).await;
    assert_eq!(get(&s3).await, b"small");

    let upload = s3.create_multipart_upload().bucket(BUCKET).key(KEY).send().await.unwrap();
    let id = upload.upload_id().unwrap();
    let mut completed = CompletedMultipartUpload::builder();
    for (number, size) in [(1, 5 << 20), (2, 1)] {
        let part = s3.upload_part().bucket(BUCKET).key(KEY).upload_id(id).part_number(number);
        let tag = part.body(vec![b'x'; size].into()).send().await.unwrap().e_tag;
        completed = completed.parts(CompletedPart::builder().part_number(number).set_e_tag(tag).build());
    }
    let complete = s3.complete_multipart_upload().bucket(BUCKET).key(KEY).upload_id(id);
    complete.multipart_upload(completed.build()).send().await.unwrap();

    let s3 = client(&open(&directory), "secret").await;
    assert_eq!(get(&s3).await.len(), (5 << 20) + 1);
    s3.delete_object().bucket(BUCKET).key(KEY).send().await.unwrap();
    let gone = s3.get_object().bucket(BUCKET).key(KEY).send().await.unwrap_err();
    assert!(gone.into_service_error().is_no_such_key());
}

/// Returns the code of a refusal.
fn code<T: std::fmt::Debug, E, R>(outcome: Result<T, aws_sdk_s3::error::SdkError<E, R>>) -> String
where
    aws_sdk_s3::error::SdkError<E, R>: aws_sdk_s3::error::ProvideErrorMetadata,
{
    outcome.map(drop).err().and_then(|error| error.code().map(str::to_owned)).unwrap_or_default()
}

/// Clients that send checksums only where one is required send parts without any.
#[tokio::test]
async fn a_part_needs_no_checksum() {
    let directory = TempDir::new().unwrap();
    let s3 = client(&open(&directory), "secret").await;
    let created = s3.create_multipart_upload().bucket(BUCKET).key(KEY).send().await.unwrap();
    let id = created.upload_id().unwrap();
    let plain = aws_sdk_s3::Config::builder()
        .request_checksum_calculation(aws_sdk_s3::config::RequestChecksumCalculation::WhenRequired);
    let part = s3.upload_part().bucket(BUCKET).key(KEY).upload_id(id).part_number(1);
    let part = part.body(b"a part".to_vec().into()).customize().config_override(plain).send().await.unwrap();
    assert_eq!(part.checksum_crc32, None);
    let part = CompletedPart::builder().part_number(1).set_e_tag(part.e_tag).build();
    let parts = CompletedMultipartUpload::builder().parts(part).build();
    let complete = s3.complete_multipart_upload().bucket(BUCKET).key(KEY).upload_id(id);
    complete.multipart_upload(parts).send().await.unwrap();
    assert_eq!(get(&s3).await, b"a part");
}

/// Listed parts must have the checksums that the upload declared and the parts were sent with. Reports of clients
/// show that S3 requires this.
#[tokio::test]
async fn parts_are_listed_with_the_checksums_that_their_upload_declared() {
    let directory = TempDir::new().unwrap();
    let s3 = client(&open(&directory), "secret").await;
    let crc32 = Some(ChecksumAlgorithm::Crc32);
    let sha256 = Some(ChecksumAlgorithm::Sha256);
    // Algorithm that the upload declares, algorithm that the part is sent with, and checksum in the list: the
    // part's own, none, or another.
    for (declared, sent, listed, upload, completion) in [
        (&crc32, &crc32, "sent", "", ""),
        (&crc32, &crc32, "none", "", "InvalidRequest"),
        (&crc32, &crc32, "another", "", "InvalidPart"),
        (&crc32, &sha256, "sent", "InvalidRequest", ""),
        (&None, &crc32, "sent", "", "InvalidPart"),
        (&None, &crc32, "none", "", ""),
    ] {
        let case = format!("{declared:?} {sent:?} {listed}");
        let created = s3.create_multipart_upload().bucket(BUCKET).key(KEY);
        let created = created.set_checksum_algorithm(declared.clone()).send().await.unwrap();
        let id = created.upload_id().unwrap();
        assert_eq!(created.checksum_algorithm(), declared.as_ref());
        let part = s3.upload_part().bucket(BUCKET).key(KEY).upload_id(id).part_number(1);
        let part = part.set_checksum_algorithm(sent.clone()).body(case.clone().into_bytes().into());
        let part = match part.send().await {
            Ok(part) if upload.is_empty() => part,
            outcome => {
                assert_eq!(code(outcome), upload, "{case}");
                continue;
            }
        };
        let sum = match listed {
            "sent" => Some(part.checksum_crc32.unwrap()),
            "another" => Some("AAAAAA==".to_owned()),
            _ => None,
        };
        let part = CompletedPart::builder().part_number(1).set_e_tag(part.e_tag).set_checksum_crc32(sum);
        let parts = CompletedMultipartUpload::builder().parts(part.build()).build();
        let complete = s3.complete_multipart_upload().bucket(BUCKET).key(KEY).upload_id(id);
        let completed = complete.multipart_upload(parts).send().await;
        assert_eq!(code(completed), completion, "{case}");
        if completion.is_empty() {
            assert_eq!(get(&s3).await, case.as_bytes());
        }
    }
    let tagged = |tag: &str| CompletedPart::builder().part_number(1).e_tag(tag).build();
    let created = s3.create_multipart_upload().bucket(BUCKET).key(KEY).send().await.unwrap();
    let id = created.upload_id().unwrap();
    let complete = async |part| {
        let parts = CompletedMultipartUpload::builder().parts(part).build();
        let complete = s3.complete_multipart_upload().bucket(BUCKET).key(KEY).upload_id(id);
        complete.multipart_upload(parts).send().await
    };
    assert_eq!(code(complete(tagged("never sent")).await), "InvalidPart");
    let part = s3.upload_part().bucket(BUCKET).key(KEY).upload_id(id).part_number(1);
    let sent = part.body(b"x".to_vec().into()).send().await.unwrap();
    assert_eq!(code(complete(tagged("another")).await), "InvalidPart");
    complete(tagged(sent.e_tag().unwrap())).await.unwrap();
    assert_eq!(get(&s3).await, b"x");
}

#[tokio::test]
async fn an_object_has_the_checksum_of_what_is_in_it_now() {
    let directory = TempDir::new().unwrap();
    let s3 = client(&open(&directory), "secret").await;
    let sum = async || {
        let head = s3.head_object().bucket(BUCKET).key(KEY);
        let head = head.checksum_mode(aws_sdk_s3::types::ChecksumMode::Enabled).send().await.unwrap();
        (head.checksum_crc32, head.checksum_type.map(|kind| kind.as_str().to_owned()))
    };
    put(&s3, ByteStream::from_static(b"small")).await;
    assert_eq!(sum().await, (Some("dUXqEw==".to_owned()), Some("FULL_OBJECT".to_owned())));
    let quiet = s3.head_object().bucket(BUCKET).key(KEY).send().await.unwrap();
    assert_eq!(quiet.checksum_crc32, None, "nobody asked");

    let wrong = s3.put_object().bucket(BUCKET).key(KEY).checksum_crc32("AAAAAA==");
    assert_eq!(code(wrong.body(b"damaged".to_vec().into()).send().await), "BadDigest");
    assert_eq!(get(&s3).await, b"small", "what is refused replaces nothing");

    for declared in [Some(ChecksumAlgorithm::Crc32), None] {
        let created = s3.create_multipart_upload().bucket(BUCKET).key(KEY);
        let created = created.set_checksum_algorithm(declared.clone()).send().await.unwrap();
        let id = created.upload_id().unwrap();
        let part = s3.upload_part().bucket(BUCKET).key(KEY).upload_id(id).part_number(1);
        let sent = part.body(b"small".to_vec().into()).send().await.unwrap();
        let listed = sent.checksum_crc32.filter(|_| declared.is_some());
        let part = CompletedPart::builder().part_number(1).set_e_tag(sent.e_tag).set_checksum_crc32(listed);
        let parts = CompletedMultipartUpload::builder().parts(part.build()).build();
        let complete = s3.complete_multipart_upload().bucket(BUCKET).key(KEY).upload_id(id);
        complete.multipart_upload(parts).send().await.unwrap();
        let composite = declared.map(|_| "COMPOSITE".to_owned());
        let (found, kind) = sum().await;
        assert_eq!((found.is_some_and(|sum| sum.ends_with("-1")), kind), (composite.is_some(), composite));
        assert_eq!(get(&s3).await, b"small");
    }
}

#[tokio::test]
async fn only_signed_requests_are_served_and_a_signed_url_names_the_download() {
    let directory = TempDir::new().unwrap();
    let s3 = open(&directory);
    put(&client(&s3, "secret").await, ByteStream::from_static(b"small")).await;
    for (secret, status, name) in [("secret", 200, Some("attachment")), ("wrong", 403, None)] {
        let object = client(&s3, secret).await.get_object().bucket(BUCKET).key(KEY);
        let minute = PresigningConfig::expires_in(Duration::from_secs(60)).unwrap();
        let signed = object.response_content_disposition("attachment").presigned(minute).await.unwrap();
        let uri: Uri = signed.uri().parse().unwrap();
        let get = |target: &str| {
            let host = uri.authority().unwrap().as_str();
            s3.router().oneshot(Request::get(target).header("host", host).body(Body::empty()).unwrap())
        };
        let response = get(uri.path_and_query().unwrap().as_str()).await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers().get("content-disposition").map(|value| value.to_str().unwrap()), name);
        assert_eq!(get(uri.path()).await.unwrap().status(), 403);
    }
}

#[tokio::test]
async fn an_object_has_its_event_when_it_is_acknowledged() {
    let directory = TempDir::new().unwrap();
    let (s3, sqs) = open_with_events(&directory);
    let client = client(&s3, "secret").await;
    for key in ["imports/x/file.csv", "imports/one two+three%20%.csv", "imports/\u{fc}ber/\u{1f600}&=?#.csv"]
    {
        client.put_object().bucket(BUCKET).key(key).body(b"hello".to_vec().into()).send().await.unwrap();
        let event = event(&sqs).await;
        let object = &event["detail"]["object"];
        let expected = json!({
            "version": "0",
            "id": event["id"],
            "detail-type": "Object Created",
            "source": "aws.s3",
            "account": "000000000000",
            "time": event["time"],
            "region": "us-east-1",
            "resources": ["arn:aws:s3:::groundswell"],
            "detail": {
                "version": "0",
                "bucket": { "name": "groundswell" },
                "object": {
                    "key": key,
                    "size": 5,
                    "etag": "5d41402abc4b2a76b9719d911017c592",
                    "sequencer": object["sequencer"],
                },
                "request-id": event["detail"]["request-id"],
                "requester": "000000000000",
                "source-ip-address": "127.0.0.1",
                "reason": "PutObject",
            },
        });
        assert_eq!(event, expected);
        assert_eq!(event["id"].as_str().unwrap().len(), 36);
        assert_eq!(event["time"].as_str().unwrap().len(), "2026-01-01T00:00:00Z".len());
        assert_eq!(object["sequencer"].as_str().unwrap().len(), 18);
    }
}

#[tokio::test]
async fn whatever_creates_an_object_is_the_reason_of_its_event() {
    let directory = TempDir::new().unwrap();
    let (s3, sqs) = open_with_events(&directory);
    let client = client(&s3, "secret").await;
    let summary = |event: Value| {
        let detail = &event["detail"];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&detail["reason"]), text(&detail["object"]["key"]), detail["object"]["size"].as_u64().unwrap())
    };
    let created = |reason: &str, key: &str, size| (reason.to_owned(), key.to_owned(), size);
    put(&client, ByteStream::from_static(b"small")).await;
    assert_eq!(summary(event(&sqs).await), created("PutObject", KEY, 5));

    let source = "groundswell/exports/one%20two%2Bthree.csv";
    client.copy_object().bucket(BUCKET).key("copy").copy_source(source).send().await.unwrap();
    assert_eq!(summary(event(&sqs).await), created("CopyObject", "copy", 5));

    let upload = client.create_multipart_upload().bucket(BUCKET).key(KEY).send().await.unwrap();
    let id = upload.upload_id().unwrap();
    let part = client.upload_part().bucket(BUCKET).key(KEY).upload_id(id).part_number(1);
    let tag = part.body(b"in parts".to_vec().into()).send().await.unwrap().e_tag;
    assert_eq!(events(&sqs).await, [] as [Value; 0]);
    let part = CompletedPart::builder().part_number(1).set_e_tag(tag).build();
    let parts = CompletedMultipartUpload::builder().parts(part).build();
    let complete = client.complete_multipart_upload().bucket(BUCKET).key(KEY).upload_id(id);
    complete.multipart_upload(parts).send().await.unwrap();
    let event_of_parts = event(&sqs).await;
    assert!(event_of_parts["detail"]["object"]["etag"].as_str().unwrap().ends_with("-1"));
    assert_eq!(summary(event_of_parts), created("CompleteMultipartUpload", KEY, 8));

    let response = s3.router().oneshot(form("imports/from a browser.csv", "posted")).await.unwrap();
    assert_eq!(response.status(), 204);
    assert_eq!(summary(event(&sqs).await), created("POST Object", "imports/from a browser.csv", 6));
}

/// Makes the request that a browser sends for a form with a signed policy.
fn form(key: &str, content: &str) -> Request<Body> {
    let date = &jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let credential = &format!("local/{}/us-east-1/s3/aws4_request", &date[..8]);
    let policy = BASE64.encode(
        json!({
            "expiration": "2999-01-01T00:00:00.000Z",
            "conditions": [
                { "bucket": BUCKET }, { "key": key }, { "x-amz-algorithm": "AWS4-HMAC-SHA256" },
                { "x-amz-credential": credential }, { "x-amz-date": date },
            ],
        })
        .to_string(),
    );
    let sign = |key: &[u8], text: &str| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
    };
    let scope = [&date[..8], "us-east-1", "s3", "aws4_request"];
    let signing_key = scope.into_iter().fold(b"AWS4secret".to_vec(), |key, part| sign(&key, part));
    let signature: String = sign(&signing_key, &policy).iter().map(|byte| format!("{byte:02x}")).collect();
    let fields = BTreeMap::from([
        ("key", key),
        ("policy", &policy),
        ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
        ("x-amz-credential", credential),
        ("x-amz-date", date),
        ("x-amz-signature", &signature),
    ]);
    let part = |name: &str, more: &str, value: &str| {
        format!("--boundary\r\nContent-Disposition: form-data; name=\"{name}\"{more}\r\n\r\n{value}\r\n")
    };
    let mut body: String = fields.into_iter().map(|(name, value)| part(name, "", value)).collect();
    body += &part("file", "; filename=\"file.csv\"", content);
    body += "--boundary--\r\n";
    Request::post(format!("/{BUCKET}"))
        .header("host", "127.0.0.1")
        .header("content-type", "multipart/form-data; boundary=boundary")
        .header("content-length", body.len())
        .body(Body::from(body))
        .unwrap()
}

#[tokio::test]
async fn what_fails_or_breaks_off_has_no_event_and_leaves_no_object() {
    let directory = TempDir::new().unwrap();
    let (s3, sqs) = open_with_events(&directory);
    let unsigned = client(&s3, "wrong").await;
    unsigned.put_object().bucket(BUCKET).key(KEY).body(b"x".to_vec().into()).send().await.unwrap_err();

    let client = client(&s3, "secret").await;
    let minute = PresigningConfig::expires_in(Duration::from_secs(60)).unwrap();
    let signed = client.put_object().bucket(BUCKET).key(KEY).presigned(minute).await.unwrap();
    let uri: Uri = signed.uri().parse().unwrap();
    let host = uri.authority().unwrap();
    let target = uri.path_and_query().unwrap();
    let upload = async |sent: &str, announced: usize| {
        let mut connection = TcpStream::connect(host.as_str()).await.unwrap();
        let head = format!("PUT {target} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {announced}\r\n");
        let request = format!("{head}connection: close\r\n\r\n{sent}");
        connection.write_all(request.as_bytes()).await.unwrap();
        if sent.len() < announced {
            connection.shutdown().await.unwrap();
        }
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let broken_off = upload("only this", 100).await;
    assert!(!broken_off.starts_with("HTTP/1.1 200"), "{broken_off}");
    client.head_object().bucket(BUCKET).key(KEY).send().await.unwrap_err();
    assert_eq!(events(&sqs).await, [] as [Value; 0]);
    let complete = upload("all of it", 9).await;
    assert!(complete.starts_with("HTTP/1.1 200"), "{complete}");
    assert_eq!(get(&client).await, b"all of it");
    event(&sqs).await;

    put(&client, ByteStream::from_static(b"small")).await;
    event(&sqs).await;
    let again = client.put_object().bucket(BUCKET).key(KEY).if_none_match("*");
    again.body(b"again".to_vec().into()).send().await.unwrap_err();
    client.copy_object().bucket(BUCKET).key("copy").copy_source("groundswell/none").send().await.unwrap_err();
    assert_eq!(events(&sqs).await, [] as [Value; 0]);
}

#[tokio::test]
async fn keys_may_be_as_long_as_those_of_s3() {
    let directory = TempDir::new().unwrap();
    let (s3, sqs) = open_with_events(&directory);
    let client = client(&s3, "secret").await;
    let long = |length: usize, start: &str| format!("{start}{}", "ü".repeat((length - start.len()) / 2));
    let keys = [
        "a".to_owned(),
        long(118, "b/"),
        long(120, "b/"),
        long(260, "b/c/"),
        long(1024, "b/c/"),
        long(1024, "d/"),
    ];
    for (n, key) in keys.iter().enumerate() {
        let put = client.put_object().bucket(BUCKET).key(key).body(vec![b'x'; n + 1].into());
        put.content_type("text/plain").send().await.unwrap();
        assert_eq!(event(&sqs).await["detail"]["object"]["key"], *key);
    }
    let too_long =
        client.put_object().bucket(BUCKET).key("x".repeat(1025)).body(vec![b'x'].into()).send().await;
    assert!(too_long.is_err());
    // A multipart upload and a copy.
    let key = &keys[4];
    let upload = client.create_multipart_upload().bucket(BUCKET).key(key).send().await.unwrap();
    assert_eq!(upload.key(), Some(key.as_str()));
    let id = upload.upload_id().unwrap();
    let part = client.upload_part().bucket(BUCKET).key(key).upload_id(id).part_number(1);
    let tag = part.body(vec![b'y'; 9].into()).send().await.unwrap().e_tag;
    let part = CompletedPart::builder().part_number(1).set_e_tag(tag).build();
    let parts = CompletedMultipartUpload::builder().parts(part).build();
    let complete = client.complete_multipart_upload().bucket(BUCKET).key(key).upload_id(id);
    let completed = complete.multipart_upload(parts).send().await.unwrap();
    assert_eq!(completed.key(), Some(key.as_str()));
    assert_eq!(event(&sqs).await["detail"]["object"]["key"], *key);
    let source = format!("{BUCKET}/{}", keys[3].replace('ü', "%C3%BC"));
    client.copy_object().bucket(BUCKET).key(&keys[5]).copy_source(source).send().await.unwrap();
    assert_eq!(event(&sqs).await["detail"]["object"]["size"], 4);

    // All objects outlive the process and are listed as S3 lists them.
    let client = self::client(&open(&directory), "secret").await;
    for (key, length) in keys.iter().zip([1, 2, 3, 4, 9, 4]) {
        let object = client.get_object().bucket(BUCKET).key(key).send().await.unwrap();
        assert_eq!(object.body.collect().await.unwrap().to_vec().len(), length, "{key}");
        assert_eq!(
            client.head_object().bucket(BUCKET).key(key).send().await.unwrap().content_length(),
            Some(length as i64)
        );
    }
    let listed = |page: &aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output| {
        page.contents().iter().filter_map(|object| object.key.clone()).collect::<Vec<_>>()
    };
    let list = || client.list_objects_v2().bucket(BUCKET);
    let mut sorted = keys.to_vec();
    sorted.sort();
    assert_eq!(listed(&list().send().await.unwrap()), sorted);
    let page = list().prefix("b/").max_keys(2).send().await.unwrap();
    let next = list()
        .prefix("b/")
        .set_continuation_token(page.next_continuation_token.clone())
        .send()
        .await
        .unwrap();
    let whole: Vec<_> = listed(&page).into_iter().chain(listed(&next)).collect();
    let under: Vec<_> = sorted.iter().filter(|key| key.starts_with("b/")).cloned().collect();
    assert_eq!((listed(&page).len(), whole), (2, under));
    let folders = list().delimiter("/").send().await.unwrap();
    let folders: Vec<_> = folders.common_prefixes().iter().filter_map(|folder| folder.prefix()).collect();
    assert_eq!(folders, ["b/", "d/"]);
    let old = client.list_objects().bucket(BUCKET).prefix("d/").send().await.unwrap();
    assert_eq!(old.contents()[0].key(), Some(keys[5].as_str()));

    let objects = keys[3..].iter().map(|key| ObjectIdentifier::builder().key(key).build().unwrap());
    let delete = Delete::builder().set_objects(Some(objects.collect())).build().unwrap();
    let deleted = client.delete_objects().bucket(BUCKET).delete(delete).send().await.unwrap();
    assert_eq!(
        deleted.deleted().iter().filter_map(|object| object.key.clone()).collect::<Vec<_>>(),
        keys[3..]
    );
    for key in &keys[..3] {
        client.delete_object().bucket(BUCKET).key(key).send().await.unwrap();
    }
    assert_eq!(listed(&list().send().await.unwrap()), [] as [String; 0]);
    assert_eq!(beside_the_bucket(&directory), [".long-keys"]);
    assert_eq!(std::fs::read_dir(directory.path().join("s3/.long-keys")).unwrap().count(), 0);
}

#[tokio::test]
async fn objects_expire_by_prefix_and_leave_nothing_behind() {
    let directory = TempDir::new().unwrap();
    let s3 = open(&directory);
    let client = client(&s3, "secret").await;
    for key in [KEY, "imports/one two.csv"] {
        client.put_object().bucket(BUCKET).key(key).body(b"x".to_vec().into()).send().await.unwrap();
    }
    let (now, day) = (SystemTime::now(), Duration::from_secs(24 * 60 * 60));
    let keys = async || {
        let listed = client.list_objects_v2().bucket(BUCKET).send().await.unwrap();
        listed.contents().iter().filter_map(|object| object.key.clone()).collect::<Vec<_>>()
    };
    s3.objects.expire(BUCKET, "exports/", 7 * day, now + 6 * day).await.unwrap();
    assert_eq!(keys().await, [KEY, "imports/one two.csv"]);
    s3.objects.expire(BUCKET, "exports/", 7 * day, now + 8 * day).await.unwrap();
    assert_eq!(keys().await, ["imports/one two.csv"]);
    assert_eq!(beside_the_bucket(&directory).len(), 2);

    client.delete_object().bucket(BUCKET).key("imports/one two.csv").send().await.unwrap();
    assert_eq!(beside_the_bucket(&directory), [] as [String; 0]);
}

//! The S3 of the local platform: `s3s` speaks the protocol, `s3s-fs` keeps the objects as files.
//!
//! Invariants:
//!
//! - Nothing is served unsigned: every request carries a signature by the one key pair, in its
//!   header or in a pre-signed URL, and `s3s` verifies it.
//! - An object is written to a file of its own and then renamed, so that a killed process leaves
//!   the old object or the new one. Nothing is synced: a power loss may lose the last few.
//!
//! Not imitated by `s3s-fs`: versions, conditional reads (304), the checksums of parts, a key that
//! is another key's folder (`a` and `a/b`), and keys of more than some 120 bytes, because the file
//! with an object's metadata is named after the key's base64. A multipart upload that was being
//! completed when the process was killed has to start again.

use std::path::Path;

use axum::Router;
use axum::error_handling::HandleError;
use axum::http::StatusCode;
use axum::middleware::map_response;
use axum::response::Response;
use s3s::HttpError;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;

#[derive(Debug, thiserror::Error)]
pub enum S3Error {
    #[error("the bucket's directory can't be made")]
    Directory(#[from] std::io::Error),
    /// Which `s3s-fs` has logged; as an error it only has a debug form.
    #[error("the object store can't be opened: {0:?}")]
    Store(s3s_fs::Error),
}

/// One bucket under a directory, open to one key pair.
pub struct S3 {
    service: S3Service,
}

impl S3 {
    /// Creates the root and the bucket if they are missing.
    pub fn open(root: &Path, access_key: &str, secret_key: &str, bucket: &str) -> Result<Self, S3Error> {
        std::fs::create_dir_all(root.join(bucket))?;
        let mut builder = S3ServiceBuilder::new(FileSystem::new(root).map_err(S3Error::Store)?);
        builder.set_auth(SimpleAuth::from_single(access_key, secret_key));
        Ok(Self { service: builder.build() })
    }

    /// The S3 API with path-style addresses, to be served at `/` of its own port.
    pub fn router(&self) -> Router {
        let service = HandleError::new(self.service.clone(), failed);
        Router::new().fallback_service(service).layer(map_response(without_checksums))
    }
}

/// Errors of S3 are answers by now; this one is of the transport.
async fn failed(error: HttpError) -> StatusCode {
    tracing::error!(?error, "S3 failed to answer");
    StatusCode::INTERNAL_SERVER_ERROR
}

/// `s3s-fs` keeps the checksum of an object that a multipart upload has replaced since, and the
/// SDKs would refuse to read what does not match it.
async fn without_checksums(mut response: Response) -> Response {
    for algorithm in ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"] {
        response.headers_mut().remove(format!("x-amz-checksum-{algorithm}"));
    }
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_credential_types::Credentials;
    use aws_sdk_s3::Client;
    use aws_sdk_s3::config::{BehaviorVersion, Region};
    use aws_sdk_s3::presigning::PresigningConfig;
    use aws_sdk_s3::primitives::ByteStream;
    use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
    use axum::body::Body;
    use axum::http::{Request, Uri};
    use hyper::server::conn::http1;
    use hyper_util::{rt::TokioIo, service::TowerToHyperService};
    use tempfile::TempDir;
    use tokio::net::TcpListener;
    use tower::ServiceExt as _;

    use super::*;

    const BUCKET: &str = "groundswell";
    const KEY: &str = "exports/one two+three.csv";

    fn open(directory: &TempDir) -> S3 {
        S3::open(&directory.path().join("s3"), "local", "secret", BUCKET).unwrap()
    }

    /// The SDK with its default checksums, against the router on a port of its own.
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
            assert_eq!(
                response.headers().get("content-disposition").map(|value| value.to_str().unwrap()),
                name
            );
            assert_eq!(get(uri.path()).await.unwrap().status(), 403);
        }
    }
}

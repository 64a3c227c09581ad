//! S3 of the local platform: `s3s` implements the protocol, and `s3s-fs` stores the objects as files.
//!
//! Invariants:
//!
//! - Every request has a signature by the one key pair, in its header or in a pre-signed URL, and `s3s` verifies
//!   the signature. Unsigned requests are refused.
//! - An object is written to a new file, which is then renamed, so that a killed process leaves the old object or
//!   the new one. Files are not synced: a power failure may lose the last few objects.
//! - The bus has an event for every object whose creation was acknowledged. A request that fails or breaks off
//!   causes no event.
//! - Content and parts have the checksum that came with them, or are refused (`objects.rs`).
//!
//! Not implemented: versions, conditional reads (304), the checksum that S3 adds to an object which came without
//! one, checksums of whole multipart objects other than CRC-64, a key that is a folder of another key (`a` and
//! `a/b`), events of deletions, and forms that were signed more than a quarter of an hour ago. A multipart upload
//! that was being completed when the process was killed has to start again.

mod checksums;
mod keys;
mod objects;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::error_handling::HandleError;
use axum::http::StatusCode;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{HttpError, S3Response, S3Result};

use self::objects::Objects;
use crate::event_bridge::EventBridge;
use crate::template::{Bucket, Expiration};

/// Return type of the methods of `s3s::S3`, as `async_trait` generates it.
type Answer<'f, T> = Pin<Box<dyn Future<Output = S3Result<S3Response<T>>> + Send + 'f>>;

/// Defines methods of `s3s::S3` that call the same method of the field `files`.
macro_rules! forwarded {
    ($($method:ident($input:ident) -> $output:ident;)*) => {$(
        fn $method<'s, 'f>(&'s self, request: s3s::S3Request<$input>) -> Answer<'f, $output>
        where
            's: 'f,
            Self: 'f,
        {
            self.files.$method(request)
        }
    )*};
}
use forwarded;

const EXPIRE_EVERY: Duration = Duration::from_secs(60 * 60);

#[derive(Debug, thiserror::Error)]
pub enum S3Error {
    #[error("the bucket's directory can't be created")]
    Directory(#[from] std::io::Error),
    /// `s3s-fs` has logged this error, which only has a debug form.
    #[error("the object store can't be opened: {0:?}")]
    Store(s3s_fs::Error),
}

/// One bucket in a directory, accessible with one key pair.
pub struct S3 {
    objects: Objects,
    service: S3Service,
}

impl S3 {
    /// Opens the bucket. Creates the root directory and the bucket if they are missing.
    pub fn open(
        root: &Path,
        access_key: &str,
        secret_key: &str,
        bucket: &str,
        events: EventBridge,
    ) -> Result<Self, S3Error> {
        std::fs::create_dir_all(root.join(bucket))?;
        let objects = Objects::new(root, events).map_err(S3Error::Store)?;
        let mut builder = S3ServiceBuilder::new(objects.clone());
        builder.set_auth(SimpleAuth::from_single(access_key, secret_key));
        Ok(Self { objects, service: builder.build() })
    }

    /// Returns the S3 API with path-style addresses, to be served at `/` of a port of its own.
    pub fn router(&self) -> Router {
        let service = HandleError::new(self.service.clone(), failed);
        Router::new().fallback_service(service)
    }

    /// Deletes, once an hour and for ever, the objects that the bucket's lifecycle expires.
    pub async fn keep_expiring(self, bucket: Bucket) {
        let mut hours = tokio::time::interval(EXPIRE_EVERY);
        loop {
            hours.tick().await;
            for Expiration { prefix, age } in &bucket.expirations {
                let expired = self.objects.expire(&bucket.name, prefix, *age, SystemTime::now()).await;
                if let Err(error) = expired {
                    tracing::warn!(prefix, ?error, "objects not expired");
                }
            }
        }
    }
}

/// Answers a failure of the transport. Errors of S3 are already responses here.
async fn failed(error: HttpError) -> StatusCode {
    tracing::error!(?error, "S3 failed to answer");
    StatusCode::INTERNAL_SERVER_ERROR
}

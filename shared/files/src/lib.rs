//! Access to the S3 bucket: presigned links, and objects that are read and written.

pub mod csv;

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use aws::{Env, EnvError};
use aws_sdk_s3::{
    Client,
    error::{DisplayErrorContext, SdkError},
    operation::get_object::{GetObjectError, GetObjectOutput},
    presigning::PresigningConfig,
    primitives::ByteStream,
    types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart},
};

/// Time for which a download link is valid.
pub const DOWNLOAD_LIFETIME: Duration = Duration::from_secs(600);
/// Time for which an upload link is valid.
pub const UPLOAD_LIFETIME: Duration = Duration::from_secs(900);

/// Minimum size of a part of a multipart upload in bytes. Only the last part may be smaller.
pub const PART: usize = 5 * 1024 * 1024;

/// Media type of the files that are uploaded and downloaded.
pub const CSV: &str = "text/csv";
const CSV_UTF8: &str = "text/csv; charset=utf-8";

#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("there is no such object")]
    NotFound,
    /// The object's content has changed since the ETag was read.
    #[error("the object has changed")]
    Changed,
    #[error("the object has no such byte")]
    PastEnd,
    #[error("S3: {0}")]
    S3(String),
}

impl FilesError {
    pub fn s3(error: impl std::error::Error) -> Self {
        Self::S3(DisplayErrorContext(error).to_string())
    }
}

impl From<SdkError<GetObjectError>> for FilesError {
    fn from(error: SdkError<GetObjectError>) -> Self {
        match &error {
            SdkError::ServiceError(service) if service.err().is_no_such_key() => Self::NotFound,
            SdkError::ServiceError(service) => match service.raw().status().as_u16() {
                412 => Self::Changed,
                416 => Self::PastEnd,
                _ => Self::s3(error),
            },
            _ => Self::s3(error),
        }
    }
}

/// The bucket, with the client of one function. Cheap to clone.
#[derive(Clone)]
pub struct Bucket {
    client: Arc<LazyLock<Client, Box<dyn FnOnce() -> Client + Send>>>,
    pub name: String,
}

impl Bucket {
    /// Opens the bucket that `BUCKET_NAME` names.
    ///
    /// # Errors
    /// When `BUCKET_NAME` or the credentials are missing.
    pub fn from_env(env: &Env) -> Result<Self, EnvError> {
        // Other endpoints than Amazon's need path style, because the bucket is not part of their host name.
        let config = aws::config!(aws_sdk_s3, env, "S3", force_path_style = env.endpoint("S3").is_some())?;
        let client = Box::new(|| Client::from_conf(config)) as Box<dyn FnOnce() -> Client + Send>;
        Ok(Self { client: Arc::new(LazyLock::new(client)), name: env.require("BUCKET_NAME")?.to_owned() })
    }

    /// Returns the client. Built on first use, because building it takes time and most requests need no object.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Signs a link for downloading a CSV file under this file name. The link is valid for [`DOWNLOAD_LIFETIME`].
    ///
    /// # Errors
    /// When the link can't be signed.
    pub async fn download_link(&self, key: &str, file_name: &str) -> Result<String, FilesError> {
        let signing = PresigningConfig::expires_in(DOWNLOAD_LIFETIME).map_err(FilesError::s3)?;
        let request = self
            .client()
            .get_object()
            .bucket(&self.name)
            .key(key)
            .response_content_type(CSV_UTF8)
            .response_content_disposition(format!("attachment; filename=\"{file_name}\""))
            .presigned(signing)
            .await
            .map_err(FilesError::s3)?;
        Ok(request.uri().to_owned())
    }

    /// Signs a link for uploading a CSV file with [`CSV`] as its `Content-Type`. The link is valid for
    /// [`UPLOAD_LIFETIME`].
    ///
    /// # Errors
    /// When the link can't be signed.
    pub async fn upload_link(&self, key: &str) -> Result<String, FilesError> {
        let signing = PresigningConfig::expires_in(UPLOAD_LIFETIME).map_err(FilesError::s3)?;
        let put = self.client.put_object().bucket(&self.name).key(key).content_type(CSV);
        Ok(put.presigned(signing).await.map_err(FilesError::s3)?.uri().to_owned())
    }

    /// Opens an object from byte `from` on. With an ETag, the object must still have that ETag.
    ///
    /// # Errors
    /// [`FilesError::NotFound`] if there is no such object, [`FilesError::Changed`] if its ETag is different, and
    /// [`FilesError::PastEnd`] if it has no byte `from`.
    pub async fn open(
        &self,
        key: &str,
        from: u64,
        etag: Option<&str>,
    ) -> Result<GetObjectOutput, FilesError> {
        let request = self
            .client()
            .get_object()
            .bucket(&self.name)
            .key(key)
            .set_range((from > 0).then(|| format!("bytes={from}-")))
            .set_if_match(etag.map(|etag| format!("\"{etag}\"")));
        let object = request.send().await?;
        // Not every implementation of S3 supports If-Match.
        let found = object.e_tag().map(|etag| etag.trim_matches('"'));
        if etag.is_some() && found != etag { Err(FilesError::Changed) } else { Ok(object) }
    }

    /// Reads `length` bytes of an object from `offset` on.
    ///
    /// # Errors
    /// [`FilesError::NotFound`] if there is no such object.
    pub async fn read(&self, key: &str, offset: u64, length: u64) -> Result<Vec<u8>, FilesError> {
        let range = format!("bytes={offset}-{}", offset + length.saturating_sub(1));
        let object = self.client.get_object().bucket(&self.name).key(key).range(range).send().await?;
        Ok(object.body.collect().await.map_err(FilesError::s3)?.to_vec())
    }

    /// Reads a whole object.
    ///
    /// # Errors
    /// [`FilesError::NotFound`] if there is no such object.
    pub async fn read_all(&self, key: &str) -> Result<Vec<u8>, FilesError> {
        let object = self.open(key, 0, None).await?;
        Ok(object.body.collect().await.map_err(FilesError::s3)?.to_vec())
    }

    /// Writes a CSV file in one request.
    ///
    /// # Errors
    /// When S3 is unavailable.
    pub async fn write(&self, key: &str, csv: Vec<u8>) -> Result<(), FilesError> {
        let put = self.client.put_object().bucket(&self.name).key(key).content_type(CSV_UTF8);
        put.body(ByteStream::from(csv)).send().await.map(drop).map_err(FilesError::s3)
    }

    /// Begins a multipart upload of a CSV file.
    ///
    /// # Errors
    /// When S3 is unavailable.
    pub async fn begin(&self, key: &str) -> Result<Upload, FilesError> {
        let create = self.client.create_multipart_upload().bucket(&self.name).key(key);
        let create = create.content_type(CSV_UTF8).checksum_algorithm(Upload::CHECKSUM);
        let id = create.send().await.map_err(FilesError::s3)?.upload_id.unwrap_or_default();
        Ok(Upload { bucket: self.clone(), key: key.to_owned(), id, parts: Vec::new() })
    }

    /// Deletes an object if it exists.
    ///
    /// # Errors
    /// When S3 is unavailable.
    pub async fn delete(&self, key: &str) -> Result<(), FilesError> {
        let request = self.client.delete_object().bucket(&self.name).key(key);
        request.send().await.map(drop).map_err(FilesError::s3)
    }

    /// Deletes all objects whose keys begin with `prefix`.
    ///
    /// # Errors
    /// When S3 is unavailable.
    pub async fn delete_all(&self, prefix: &str) -> Result<(), FilesError> {
        loop {
            let list = self.client.list_objects_v2().bucket(&self.name).prefix(prefix);
            let page = list.send().await.map_err(FilesError::s3)?;
            let keys: Vec<_> = page.contents().iter().filter_map(|object| object.key()).collect();
            if keys.is_empty() {
                return Ok(());
            }
            for key in keys {
                self.delete(key).await?;
            }
        }
    }
}

/// Multipart upload of an object, in parts of at least [`PART`] bytes. The object becomes visible when the upload
/// is finished.
pub struct Upload {
    bucket: Bucket,
    key: String,
    id: String,
    parts: Vec<CompletedPart>,
}

impl Upload {
    /// Checksum algorithm of the upload, which all three calls must name. The SDK sends a checksum with each part.
    /// S3 keeps a part's checksum only if the upload was created with the algorithm, and refuses to complete an
    /// upload by checksums that it does not have (`InvalidPart`).
    const CHECKSUM: ChecksumAlgorithm = ChecksumAlgorithm::Crc32;

    /// Uploads the next part.
    ///
    /// # Errors
    /// When S3 is unavailable.
    pub async fn part(&mut self, bytes: Vec<u8>) -> Result<(), FilesError> {
        let number = i32::try_from(self.parts.len() + 1).map_err(FilesError::s3)?;
        let Self { bucket, key, id, .. } = &*self;
        let part =
            bucket.client.upload_part().bucket(&bucket.name).key(key).upload_id(id).part_number(number);
        let part = part.checksum_algorithm(Self::CHECKSUM).body(ByteStream::from(bytes));
        let sent = part.send().await.map_err(FilesError::s3)?;
        let part = CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag);
        self.parts.push(part.set_checksum_crc32(sent.checksum_crc32).build());
        Ok(())
    }

    /// Completes the upload: the parts become one object.
    ///
    /// # Errors
    /// When S3 is unavailable.
    pub async fn finish(&mut self) -> Result<(), FilesError> {
        let Self { bucket, key, id, parts } = self;
        let parts = CompletedMultipartUpload::builder().set_parts(Some(std::mem::take(parts))).build();
        let complete = bucket.client.complete_multipart_upload().bucket(&bucket.name).key(&*key);
        let completed = complete.upload_id(&*id).multipart_upload(parts).send().await;
        completed.map(drop).map_err(FilesError::s3)
    }

    /// Aborts the upload.
    ///
    /// # Errors
    /// When S3 is unavailable. A lifecycle rule of the bucket then deletes the parts after one day.
    pub async fn abort(self) -> Result<(), FilesError> {
        let Self { bucket, key, id, .. } = self;
        let abort = bucket.client.abort_multipart_upload().bucket(&bucket.name).key(key).upload_id(id);
        abort.send().await.map(drop).map_err(FilesError::s3)
    }
}

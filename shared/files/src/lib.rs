//! The bucket: links that need no credentials, and objects read and written.

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

/// How long links work.
pub const DOWNLOAD_LIFETIME: Duration = Duration::from_secs(600);
pub const UPLOAD_LIFETIME: Duration = Duration::from_secs(900);

/// S3 takes no smaller part of an object, except for the last one.
pub const PART: usize = 5 * 1024 * 1024;

/// The type of the files that are taken and given.
pub const CSV: &str = "text/csv";
const CSV_UTF8: &str = "text/csv; charset=utf-8";

#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("there is no such object")]
    NotFound,
    /// The object's content is no longer the one that was asked for.
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

/// The bucket, as one function sees it. Cheap to clone.
#[derive(Clone)]
pub struct Bucket {
    client: Arc<LazyLock<Client, Box<dyn FnOnce() -> Client + Send>>>,
    pub name: String,
}

impl Bucket {
    /// # Errors
    /// When `BUCKET_NAME` or the credentials are missing.
    pub fn from_env(env: &Env) -> Result<Self, EnvError> {
        // Path style when the endpoint is not Amazon's: a bucket is no host name there.
        let config = aws::config!(aws_sdk_s3, env, "S3", force_path_style = env.endpoint("S3").is_some())?;
        let client = Box::new(|| Client::from_conf(config)) as Box<dyn FnOnce() -> Client + Send>;
        Ok(Self { client: Arc::new(LazyLock::new(client)), name: env.require("BUCKET_NAME")?.to_owned() })
    }

    /// Made when it is first needed: most requests need no object, and it takes its time.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A link under which a CSV is downloaded, for [`DOWNLOAD_LIFETIME`], under this name.
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

    /// A link to which a CSV is put, for [`UPLOAD_LIFETIME`]; with [`CSV`] as its `Content-Type`.
    ///
    /// # Errors
    /// When the link can't be signed.
    pub async fn upload_link(&self, key: &str) -> Result<String, FilesError> {
        let signing = PresigningConfig::expires_in(UPLOAD_LIFETIME).map_err(FilesError::s3)?;
        let put = self.client.put_object().bucket(&self.name).key(key).content_type(CSV);
        Ok(put.presigned(signing).await.map_err(FilesError::s3)?.uri().to_owned())
    }

    /// The object from this byte on, as long as it is still the one with this ETag.
    ///
    /// # Errors
    /// [`FilesError::NotFound`] or [`FilesError::Changed`] when it isn't, and
    /// [`FilesError::PastEnd`] when it ends before that byte.
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
        // Not every S3 knows If-Match.
        let found = object.e_tag().map(|etag| etag.trim_matches('"'));
        if etag.is_some() && found != etag { Err(FilesError::Changed) } else { Ok(object) }
    }

    /// Some bytes of an object.
    ///
    /// # Errors
    /// [`FilesError::NotFound`] when there is no such object.
    pub async fn read(&self, key: &str, offset: u64, length: u64) -> Result<Vec<u8>, FilesError> {
        let range = format!("bytes={offset}-{}", offset + length.saturating_sub(1));
        let object = self.client.get_object().bucket(&self.name).key(key).range(range).send().await?;
        Ok(object.body.collect().await.map_err(FilesError::s3)?.to_vec())
    }

    /// All of an object.
    ///
    /// # Errors
    /// [`FilesError::NotFound`] when there is no such object.
    pub async fn read_all(&self, key: &str) -> Result<Vec<u8>, FilesError> {
        let object = self.open(key, 0, None).await?;
        Ok(object.body.collect().await.map_err(FilesError::s3)?.to_vec())
    }

    /// Writes a CSV in one piece.
    ///
    /// # Errors
    /// When S3 is out of reach.
    pub async fn write(&self, key: &str, csv: Vec<u8>) -> Result<(), FilesError> {
        let put = self.client.put_object().bucket(&self.name).key(key).content_type(CSV_UTF8);
        put.body(ByteStream::from(csv)).send().await.map(drop).map_err(FilesError::s3)
    }

    /// Begins a CSV that is written in parts.
    ///
    /// # Errors
    /// When S3 is out of reach.
    pub async fn begin(&self, key: &str) -> Result<Upload, FilesError> {
        let create = self.client.create_multipart_upload().bucket(&self.name).key(key);
        let create = create.content_type(CSV_UTF8).checksum_algorithm(Upload::CHECKSUM);
        let id = create.send().await.map_err(FilesError::s3)?.upload_id.unwrap_or_default();
        Ok(Upload { bucket: self.clone(), key: key.to_owned(), id, parts: Vec::new() })
    }

    /// Deletes an object, if it is there.
    ///
    /// # Errors
    /// When S3 is out of reach.
    pub async fn delete(&self, key: &str) -> Result<(), FilesError> {
        let request = self.client.delete_object().bucket(&self.name).key(key);
        request.send().await.map(drop).map_err(FilesError::s3)
    }

    /// Deletes everything whose key begins so.
    ///
    /// # Errors
    /// When S3 is out of reach.
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

/// An object that is written in parts of at least [`PART`] bytes. Readers see nothing of it before it is finished.
pub struct Upload {
    bucket: Bucket,
    key: String,
    id: String,
    parts: Vec<CompletedPart>,
}

impl Upload {
    /// The SDK sends a checksum with each part. S3 keeps a part's checksum only if the upload has declared the
    /// algorithm, and refuses to complete an upload by checksums that it doesn't have (`InvalidPart`). So all three
    /// calls name the same one.
    const CHECKSUM: ChecksumAlgorithm = ChecksumAlgorithm::Crc32;

    /// Adds the next part.
    ///
    /// # Errors
    /// When S3 is out of reach.
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

    /// Makes the parts one object.
    ///
    /// # Errors
    /// When S3 is out of reach.
    pub async fn finish(&mut self) -> Result<(), FilesError> {
        let Self { bucket, key, id, parts } = self;
        let parts = CompletedMultipartUpload::builder().set_parts(Some(std::mem::take(parts))).build();
        let complete = bucket.client.complete_multipart_upload().bucket(&bucket.name).key(&*key);
        let completed = complete.upload_id(&*id).multipart_upload(parts).send().await;
        completed.map(drop).map_err(FilesError::s3)
    }

    /// Gives the upload up.
    ///
    /// # Errors
    /// When S3 is out of reach. Then a rule of the bucket removes the parts after a day.
    pub async fn abort(self) -> Result<(), FilesError> {
        let Self { bucket, key, id, .. } = self;
        let abort = bucket.client.abort_multipart_upload().bucket(&bucket.name).key(key).upload_id(id);
        abort.send().await.map(drop).map_err(FilesError::s3)
    }
}

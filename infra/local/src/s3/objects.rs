//! The operations of S3 on the files of `s3s-fs`, with what S3 does besides: the event of an object
//! that was created, and nothing left of one that was deleted.
//!
//! Operations on buckets are left out, because the template makes the one that there is.

use std::{
    io::ErrorKind,
    path::Path,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::secret;
use s3s::{S3, S3Error, S3Request, S3Response, S3Result, dto::*};
use s3s_fs::FileSystem;
use serde_json::json;

use crate::event_bridge::EventBridge;

/// Clones share the files.
#[derive(Clone)]
pub struct Objects {
    files: Arc<FileSystem>,
    /// Where the files are.
    root: Arc<Path>,
    events: EventBridge,
}

/// What methods of the trait return, as `async_trait` puts it.
type Answer<'f, T> = Pin<Box<dyn Future<Output = S3Result<S3Response<T>>> + Send + 'f>>;

macro_rules! left_to_the_files {
    ($($method:ident($input:ident) -> $output:ident;)*) => {$(
        fn $method<'s, 'f>(&'s self, request: S3Request<$input>) -> Answer<'f, $output>
        where
            's: 'f,
            Self: 'f,
        {
            self.files.$method(request)
        }
    )*};
}

/// Each with the reason that S3 gives for its event. Once begun it is done to its end: a client that hangs
/// up with its last byte must not leave an object without its event.
macro_rules! creating_an_object {
    ($($method:ident($input:ident) -> $output:ident: $reason:literal;)*) => {$(
        fn $method<'s, 'f>(&'s self, request: S3Request<$input>) -> Answer<'f, $output>
        where
            's: 'f,
            Self: 'f,
        {
            let objects = self.clone();
            let creating = async move {
                let (bucket, key) = (request.input.bucket.clone(), request.input.key.clone());
                let response = objects.files.$method(request).await?;
                objects.created(bucket, key, $reason).await?;
                Ok(response)
            };
            Box::pin(async { tokio::spawn(creating).await.map_err(S3Error::internal_error)? })
        }
    )*};
}

impl S3 for Objects {
    left_to_the_files! {
        abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput;
        create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput;
        get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput;
        get_object(GetObjectInput) -> GetObjectOutput;
        head_bucket(HeadBucketInput) -> HeadBucketOutput;
        head_object(HeadObjectInput) -> HeadObjectOutput;
        list_buckets(ListBucketsInput) -> ListBucketsOutput;
        list_objects(ListObjectsInput) -> ListObjectsOutput;
        list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output;
        list_parts(ListPartsInput) -> ListPartsOutput;
        upload_part(UploadPartInput) -> UploadPartOutput;
        upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput;
    }

    creating_an_object! {
        complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput:
            "CompleteMultipartUpload";
        copy_object(CopyObjectInput) -> CopyObjectOutput: "CopyObject";
        post_object(PostObjectInput) -> PostObjectOutput: "POST Object";
        put_object(PutObjectInput) -> PutObjectOutput: "PutObject";
    }

    fn delete_object<'s, 'f>(
        &'s self,
        request: S3Request<DeleteObjectInput>,
    ) -> Answer<'f, DeleteObjectOutput>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            self.forget(&request.input.bucket, &request.input.key)?;
            self.files.delete_object(request).await
        })
    }

    fn delete_objects<'s, 'f>(
        &'s self,
        request: S3Request<DeleteObjectsInput>,
    ) -> Answer<'f, DeleteObjectsOutput>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let DeleteObjectsInput { bucket, delete, .. } = &request.input;
            delete.objects.iter().try_for_each(|object| self.forget(bucket, &object.key))?;
            self.files.delete_objects(request).await
        })
    }
}

impl Objects {
    pub fn new(root: &Path, events: EventBridge) -> Result<Self, s3s_fs::Error> {
        Ok(Self { files: Arc::new(FileSystem::new(root)?), root: root.into(), events })
    }

    /// Puts the event of an object that is there now. Whoever created it is answered afterwards, so
    /// that no object is acknowledged whose event a killed process could lose.
    async fn created(&self, bucket: String, key: String, reason: &str) -> S3Result<()> {
        // To `s3s-fs` a folder, and no object.
        if key.ends_with('/') {
            return Ok(());
        }
        let input = HeadObjectInput { bucket: bucket.clone(), key: key.clone(), ..Default::default() };
        let object = self.files.head_object(request(input)).await?.output;
        let detail = json!({
            "version": "0",
            "bucket": { "name": bucket },
            "object": {
                "key": key,
                "size": object.content_length,
                "etag": object.e_tag.as_ref().map(ETag::value),
                // Of two events of one key the later has the greater.
                "sequencer": format!("{:018X}", jiff::Timestamp::now().as_nanosecond()),
            },
            "request-id": format!("{:016X}", u64::from_be_bytes(secret::random())),
            "requester": "000000000000",
            "source-ip-address": "127.0.0.1",
            "reason": reason,
        });
        let put = self.events.put("aws.s3", "Object Created", &format!("arn:aws:s3:::{bucket}"), &detail);
        put.map_err(S3Error::internal_error)
    }

    /// Removes what `s3s-fs` keeps beside an object and would leave behind when the object goes.
    /// Before the object: a process that is killed in between leaves one that can still be deleted.
    fn forget(&self, bucket: &str, key: &str) -> S3Result<()> {
        let (bucket, key) = (URL_SAFE_NO_PAD.encode(bucket), URL_SAFE_NO_PAD.encode(key));
        for kind in ["internal", "metadata"] {
            let file = self.root.join(format!(".bucket-{bucket}.object-{key}.{kind}.json"));
            match std::fs::remove_file(file) {
                // A key that is too long for a name is no object's.
                Err(error) if ![ErrorKind::NotFound, ErrorKind::InvalidFilename].contains(&error.kind()) => {
                    return Err(S3Error::internal_error(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Deletes the objects under a prefix that are of some age by now.
    pub async fn expire(&self, bucket: &str, prefix: &str, age: Duration, now: SystemTime) -> S3Result<()> {
        let Some(until) = now.checked_sub(age).map(Timestamp::from) else { return Ok(()) };
        let input = ListObjectsV2Input {
            bucket: bucket.to_owned(),
            prefix: Some(prefix.to_owned()),
            max_keys: Some(i32::MAX),
            ..Default::default()
        };
        let listed = self.files.list_objects_v2(request(input)).await?.output.contents;
        for object in listed.into_iter().flatten() {
            let (Some(key), Some(modified)) = (object.key, object.last_modified) else { continue };
            if modified < until {
                tracing::info!(key, "object expired");
                let input = DeleteObjectInput { bucket: bucket.to_owned(), key, ..Default::default() };
                self.delete_object(request(input)).await?;
            }
        }
        Ok(())
    }
}

/// A request of the platform's own.
fn request<T>(input: T) -> S3Request<T> {
    S3Request {
        input,
        method: http::Method::GET,
        uri: http::Uri::default(),
        headers: http::HeaderMap::new(),
        extensions: http::Extensions::new(),
        credentials: None,
        region: None,
        service: None,
        trailing_headers: None,
    }
}

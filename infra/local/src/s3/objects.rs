//! Operations of S3 on the files of `s3s-fs`, with three additions: the event of a created object, the complete
//! deletion of an object's files, and the checksums of content and parts.
//!
//! Operations on buckets are not implemented, because the template creates the only bucket.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::secret;
use md5::{Digest as _, Md5};
use s3s::{S3, S3Error, S3Request, S3Response, S3Result, dto::*, s3_error};
use serde_json::{Map, Value, json};
use tokio::io::AsyncReadExt as _;

use super::{
    Answer,
    checksums::{Algorithm, verified},
    forwarded,
    keys::{self, Files},
};
use crate::event_bridge::EventBridge;

/// S3's message about a part that does not exist or does not match the list of parts.
const NO_SUCH_PART: &str = "One or more of the specified parts could not be found. The part may not have been uploaded, \
                            or the specified entity tag may not match the part's entity tag.";

/// Objects of one bucket. Clones share the files.
#[derive(Clone)]
pub struct Objects {
    files: Arc<Files>,
    /// Directory of the files.
    root: Arc<Path>,
    events: EventBridge,
}

/// Defines operations that create an object, each with the reason that S3 gives in its event. The operation runs
/// in a task of its own, which continues if the client disconnects: a client that disconnects after its last byte
/// must not leave an object without its event.
macro_rules! creating_an_object {
    ($($method:ident($input:ident) -> $output:ident by $act:ident: $reason:literal;)*) => {$(
        fn $method<'s, 'f>(&'s self, request: S3Request<$input>) -> Answer<'f, $output>
        where
            's: 'f,
            Self: 'f,
        {
            let objects = self.clone();
            let creating = async move {
                let (bucket, key) = (request.input.bucket.clone(), request.input.key.clone());
                let response = objects.$act(request).await?;
                objects.created(bucket, key, $reason).await?;
                Ok(response)
            };
            Box::pin(async { tokio::spawn(creating).await.map_err(S3Error::internal_error)? })
        }
    )*};
}

/// Defines operations that return an object's checksums if the request asks for them.
macro_rules! showing_an_object {
    ($($method:ident($input:ident) -> $output:ident;)*) => {$(
        fn $method<'s, 'f>(&'s self, request: S3Request<$input>) -> Answer<'f, $output>
        where
            's: 'f,
            Self: 'f,
        {
            Box::pin(async move {
                let asked = request.input.checksum_mode.is_some();
                let mut response = self.files.$method(request).await?;
                let output = &mut response.output;
                let sums = [
                    &mut output.checksum_crc32,
                    &mut output.checksum_crc32c,
                    &mut output.checksum_crc64nvme,
                    &mut output.checksum_sha1,
                    &mut output.checksum_sha256,
                ];
                for sum in sums.into_iter().filter(|sum| sum.is_some()) {
                    let of_parts = sum.as_ref().is_some_and(|sum| sum.contains('-'));
                    let kind = if of_parts { ChecksumType::COMPOSITE } else { ChecksumType::FULL_OBJECT };
                    output.checksum_type = asked.then(|| ChecksumType::from_static(kind));
                    if !asked {
                        *sum = None;
                    }
                }
                Ok(response)
            })
        }
    )*};
}

impl S3 for Objects {
    showing_an_object! {
        get_object(GetObjectInput) -> GetObjectOutput;
        head_object(HeadObjectInput) -> HeadObjectOutput;
    }

    forwarded! {
        abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput;
        get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput;
        head_bucket(HeadBucketInput) -> HeadBucketOutput;
        list_buckets(ListBucketsInput) -> ListBucketsOutput;
        list_objects(ListObjectsInput) -> ListObjectsOutput;
        list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output;
        list_parts(ListPartsInput) -> ListPartsOutput;
        upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput;
    }

    creating_an_object! {
        complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput by complete:
            "CompleteMultipartUpload";
        copy_object(CopyObjectInput) -> CopyObjectOutput by copy: "CopyObject";
        post_object(PostObjectInput) -> PostObjectOutput by post: "POST Object";
        put_object(PutObjectInput) -> PutObjectOutput by put: "PutObject";
    }

    fn create_multipart_upload<'s, 'f>(
        &'s self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> Answer<'f, CreateMultipartUploadOutput>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(self.begin(request))
    }

    fn upload_part<'s, 'f>(&'s self, request: S3Request<UploadPartInput>) -> Answer<'f, UploadPartOutput>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(self.part(request))
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
            self.forget(&request.input.bucket, &request.input.key, &["internal", "metadata"])?;
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
            let kinds = ["internal", "metadata"];
            delete.objects.iter().try_for_each(|object| self.forget(bucket, &object.key, &kinds))?;
            self.files.delete_objects(request).await
        })
    }
}

impl Objects {
    pub fn new(root: &Path, events: EventBridge) -> Result<Self, s3s_fs::Error> {
        Ok(Self { files: Arc::new(Files::new(root)?), root: root.into(), events })
    }

    /// Puts the event of a created object. The client is answered afterwards, so that an acknowledged object has
    /// its event even if the process is killed.
    async fn created(&self, bucket: String, key: String, reason: &str) -> S3Result<()> {
        // `s3s-fs` stores this key as a folder, not as an object.
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
                // The later of two events of one key has the greater sequencer.
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

    /// Returns the file in which `s3s-fs` stores data about an object.
    fn beside(&self, bucket: &str, key: &str, kind: &str) -> PathBuf {
        let (bucket, key) = (URL_SAFE_NO_PAD.encode(bucket), URL_SAFE_NO_PAD.encode(keys::name(key)));
        self.root.join(format!(".bucket-{bucket}.object-{key}.{kind}.json"))
    }

    /// Removes the files that `s3s-fs` stores about an object, before the object itself is deleted or replaced.
    /// If the process is killed in between, the object can still be deleted, and no object has the checksum of
    /// another one, which would make SDKs refuse to read it.
    fn forget(&self, bucket: &str, key: &str, kinds: &[&str]) -> S3Result<()> {
        for kind in kinds {
            match std::fs::remove_file(self.beside(bucket, key, kind)) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(S3Error::internal_error(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn put(&self, mut request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let mut verdict = None;
        if let Some(algorithm) = Algorithm::of(&request.headers)
            && let Some(body) = request.input.body.take()
        {
            let (body, told) = verified(body, algorithm, &request.headers, request.trailing_headers.clone());
            request.input.body = Some(body);
            verdict = Some(told);
        }
        let PutObjectInput { bucket, key, if_match, if_none_match, .. } = &request.input;
        if if_match.is_none() && if_none_match.is_none() {
            self.forget(bucket, key, &["internal"])?;
        }
        let outcome = self.files.put_object(request).await;
        match verdict.and_then(|verdict| verdict.take()) {
            Some(Err(refused)) => Err(refused),
            _ => outcome,
        }
    }

    async fn post(&self, request: S3Request<PostObjectInput>) -> S3Result<S3Response<PostObjectOutput>> {
        self.forget(&request.input.bucket, &request.input.key, &["internal"])?;
        self.files.post_object(request).await
    }

    async fn copy(&self, request: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
        let CopyObjectInput { bucket, key, copy_source, .. } = &request.input;
        let onto_itself = matches!(copy_source, CopySource::Bucket { bucket: from, key: source, .. }
            if **from == **bucket && **source == **key);
        if !onto_itself {
            self.forget(bucket, key, &["internal"])?;
        }
        self.files.copy_object(request).await
    }

    /// Returns the file that stores the checksum algorithm which an upload declared. `s3s-fs` removes the file
    /// when the upload is aborted.
    fn declaration(&self, upload: &str) -> S3Result<PathBuf> {
        if !upload.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') {
            return Err(s3_error!(NoSuchUpload));
        }
        Ok(self.root.join(format!(".upload_id-{upload}.checksum")))
    }

    async fn declared(&self, upload: &str) -> S3Result<Option<Algorithm>> {
        match tokio::fs::read_to_string(self.declaration(upload)?).await {
            Ok(name) => Ok(Algorithm::named(&name)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(S3Error::internal_error(error)),
        }
    }

    async fn begin(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let declared = request.input.checksum_algorithm.clone();
        let algorithm = declared.as_ref().map(|name| {
            Algorithm::named(name.as_str()).ok_or_else(|| s3_error!(NotImplemented, "Unsupported checksum"))
        });
        let algorithm = algorithm.transpose()?;
        let mut response = self.files.create_multipart_upload(request).await?;
        if let (Some(algorithm), Some(upload)) = (algorithm, &response.output.upload_id) {
            let kept = tokio::fs::write(self.declaration(upload)?, algorithm.name()).await;
            kept.map_err(S3Error::internal_error)?;
            response.output.checksum_algorithm = declared;
        }
        Ok(response)
    }

    async fn part(&self, mut request: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let declared = self.declared(&request.input.upload_id).await?;
        let sent = Algorithm::of(&request.headers);
        if declared.is_some() && sent != declared {
            let name = |algorithm: Option<Algorithm>| algorithm.map_or("null", Algorithm::name);
            return Err(s3_error!(
                InvalidRequest,
                "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
                name(declared),
                name(sent)
            ));
        }
        let Some(algorithm) = sent else { return self.files.upload_part(request).await };
        let Some(body) = request.input.body.take() else { return self.files.upload_part(request).await };
        let (body, verdict) = verified(body, algorithm, &request.headers, request.trailing_headers.clone());
        request.input.body = Some(body);
        let outcome = self.files.upload_part(request).await;
        let sum = match verdict.take() {
            Some(Err(refused)) => return Err(refused),
            Some(Ok(sum)) => sum,
            None => return outcome,
        };
        let checksum = algorithm.filled(sum);
        outcome.map(|response| {
            response.map_output(|output| UploadPartOutput {
                checksum_crc32: checksum.checksum_crc32,
                checksum_crc32c: checksum.checksum_crc32c,
                checksum_crc64nvme: checksum.checksum_crc64nvme,
                checksum_sha1: checksum.checksum_sha1,
                checksum_sha256: checksum.checksum_sha256,
                ..output
            })
        })
    }

    async fn complete(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let CompleteMultipartUploadInput { bucket, key, upload_id, multipart_upload, .. } = &request.input;
        let (bucket, key, upload) = (bucket.clone(), key.clone(), upload_id.clone());
        let declared = self.declared(&upload).await?;
        let parts = multipart_upload.as_ref().and_then(|parts| parts.parts.as_deref()).unwrap_or_default();
        let checksum = self.checked(&upload, declared, parts).await?;
        self.forget(&bucket, &key, &["internal"])?;
        let response = self.files.complete_multipart_upload(request).await?;
        if let Some((algorithm, sum)) = checksum {
            self.note(&bucket, &key, algorithm, sum).map_err(S3Error::internal_error)?;
        }
        // A failure only leaves an unused file behind.
        let _ = tokio::fs::remove_file(self.declaration(&upload)?).await;
        Ok(response)
    }

    /// Refuses the completions that S3 refuses: those that list missing or different parts, that lack a declared
    /// checksum, or that have a checksum which was not declared. Returns the object's checksum if one was
    /// declared.
    async fn checked(
        &self,
        upload: &str,
        declared: Option<Algorithm>,
        parts: &[CompletedPart],
    ) -> S3Result<Option<(Algorithm, String)>> {
        let mut whole = declared.map(Algorithm::hasher).unwrap_or_default();
        let mut sums = Vec::new();
        for part in parts {
            let number = part.part_number.unwrap_or_default();
            let file = self.root.join(format!(".upload_id-{upload}.part-{number}"));
            let mut file = match tokio::fs::File::open(file).await {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return Err(s3_error!(InvalidPart, "{NO_SUCH_PART}"));
                }
                Err(error) => return Err(S3Error::internal_error(error)),
            };
            let (mut md5, mut hasher) = (Md5::new(), declared.map(Algorithm::hasher).unwrap_or_default());
            let mut chunk = vec![0; 64 * 1024];
            loop {
                let length = file.read(&mut chunk).await.map_err(S3Error::internal_error)?;
                if length == 0 {
                    break;
                }
                md5.update(&chunk[..length]);
                hasher.update(&chunk[..length]);
                whole.update(&chunk[..length]);
            }
            let tag: String = md5.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            let listed = Algorithm::listed(part);
            let sum = declared.map(|algorithm| (algorithm, algorithm.sum(hasher)));
            if let Some((algorithm, _)) = sum
                && listed.is_empty()
                && algorithm != Algorithm::Crc64Nvme
            {
                return Err(s3_error!(
                    InvalidRequest,
                    "The upload was created using a {} checksum. The complete request must include the checksum for \
                     each part. It was missing for part {number} in the request.",
                    algorithm.name()
                ));
            }
            let kept = sum.as_ref().map(|(algorithm, sum)| (*algorithm, &**sum));
            if part.e_tag.as_ref().map(ETag::value) != Some(&*tag)
                || listed.into_iter().any(|listed| Some(listed) != kept)
            {
                return Err(s3_error!(InvalidPart, "{NO_SUCH_PART}"));
            }
            sums.extend(sum.map(|(_, sum)| sum));
        }
        Ok(declared.map(|algorithm| (algorithm, algorithm.of_parts(whole, &sums))))
    }

    /// Writes the checksum of an object to the file in which `s3s-fs` looks for it.
    fn note(&self, bucket: &str, key: &str, algorithm: Algorithm, sum: String) -> std::io::Result<()> {
        let file = self.beside(bucket, key, "internal");
        let mut known: Map<String, Value> = serde_json::from_slice(&std::fs::read(&file)?)?;
        known.insert(format!("checksum_{}", algorithm.name()), sum.into());
        let fresh = file.with_extension("new");
        std::fs::write(&fresh, serde_json::to_vec(&known)?)?;
        std::fs::rename(fresh, file)
    }

    /// Deletes the objects under a prefix that are older than `age`.
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

/// Makes a request of the platform itself.
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

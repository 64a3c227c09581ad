//! Keys of up to 1,024 bytes, as S3 allows, on the files of `s3s-fs`.
//!
//! `s3s-fs` names files after keys, and a file name has at most 255 bytes. An object whose key is longer than
//! [`LONGEST`] is stored under the hash of its key, and a file beside the bucket stores the key.

use std::{
    io,
    path::{Path, PathBuf},
    pin::Pin,
};

use domain::secret;
use s3s::{S3, S3Error, S3Request, S3Result, dto::*};
use s3s_fs::FileSystem;

use super::{Answer, forwarded};

/// Maximum length in bytes of a key that names its own file. The longest file name is that of an upload's
/// metadata, which has the key in base64 and 95 other characters.
const LONGEST: usize = 118;
/// Folder of the bucket for objects with longer keys.
const FOLDER: &str = ".long-keys/";

pub struct Files {
    files: FileSystem,
    /// Directory with a file for each long key, named after the key's hash.
    keys: PathBuf,
}

/// Defines operations on one object. The method after `after` runs first if the operation creates the object.
macro_rules! on_an_object {
    ($($method:ident($input:ident) -> $output:ident $(after $first:ident)?;)*) => {$(
        fn $method<'s, 'f>(&'s self, mut request: S3Request<$input>) -> Answer<'f, $output>
        where
            's: 'f,
            Self: 'f,
        {
            Box::pin(async move {
                $(self.$first(&request.input.key)?;)?
                request.input.key = name(&request.input.key);
                self.files.$method(request).await
            })
        }
    )*};
}

/// Defines operations whose response contains the object's key.
macro_rules! naming_an_object {
    ($($method:ident($input:ident) -> $output:ident;)*) => {$(
        fn $method<'s, 'f>(&'s self, mut request: S3Request<$input>) -> Answer<'f, $output>
        where
            's: 'f,
            Self: 'f,
        {
            Box::pin(async move {
                let key = request.input.key.clone();
                request.input.key = name(&key);
                let response = self.files.$method(request).await?;
                Ok(response.map_output(|output| $output { key: Some(key), ..output }))
            })
        }
    )*};
}

impl S3 for Files {
    on_an_object! {
        abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput;
        get_object(GetObjectInput) -> GetObjectOutput;
        head_object(HeadObjectInput) -> HeadObjectOutput;
        post_object(PostObjectInput) -> PostObjectOutput after keep;
        put_object(PutObjectInput) -> PutObjectOutput after keep;
        upload_part(UploadPartInput) -> UploadPartOutput;
    }

    naming_an_object! {
        create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput;
        list_parts(ListPartsInput) -> ListPartsOutput;
    }

    forwarded! {
        get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput;
        head_bucket(HeadBucketInput) -> HeadBucketOutput;
        list_buckets(ListBucketsInput) -> ListBucketsOutput;
    }

    fn complete_multipart_upload<'s, 'f>(
        &'s self,
        mut request: S3Request<CompleteMultipartUploadInput>,
    ) -> Answer<'f, CompleteMultipartUploadOutput>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let key = request.input.key.clone();
            self.keep(&key)?;
            request.input.key = name(&key);
            let mut response = self.files.complete_multipart_upload(request).await?;
            let answer = response.output.future.take();
            response.output.future = answer.map(|answer| {
                let named = async {
                    let output = answer.await?;
                    Ok(CompleteMultipartUploadOutput { key: Some(key), ..output })
                };
                Box::pin(named) as Pin<Box<dyn Future<Output = _> + Send>>
            });
            Ok(response)
        })
    }

    fn copy_object<'s, 'f>(&'s self, mut request: S3Request<CopyObjectInput>) -> Answer<'f, CopyObjectOutput>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            self.keep(&request.input.key)?;
            request.input.key = name(&request.input.key);
            rename(&mut request.input.copy_source);
            self.files.copy_object(request).await
        })
    }

    fn upload_part_copy<'s, 'f>(
        &'s self,
        mut request: S3Request<UploadPartCopyInput>,
    ) -> Answer<'f, UploadPartCopyOutput>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            request.input.key = name(&request.input.key);
            rename(&mut request.input.copy_source);
            self.files.upload_part_copy(request).await
        })
    }

    fn delete_object<'s, 'f>(
        &'s self,
        mut request: S3Request<DeleteObjectInput>,
    ) -> Answer<'f, DeleteObjectOutput>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let key = std::mem::take(&mut request.input.key);
            request.input.key = name(&key);
            let response = self.files.delete_object(request).await?;
            self.forget(&key)?;
            Ok(response)
        })
    }

    fn delete_objects<'s, 'f>(
        &'s self,
        mut request: S3Request<DeleteObjectsInput>,
    ) -> Answer<'f, DeleteObjectsOutput>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let objects = &mut request.input.delete.objects;
            let keys: Vec<String> = objects.iter().map(|object| object.key.clone()).collect();
            objects.iter_mut().for_each(|object| object.key = name(&object.key));
            let mut response = self.files.delete_objects(request).await?;
            // The response lists the objects in the order of the request.
            for (deleted, key) in response.output.deleted.iter_mut().flatten().zip(keys) {
                self.forget(&key)?;
                deleted.key = Some(key);
            }
            Ok(response)
        })
    }

    fn list_objects<'s, 'f>(&'s self, request: S3Request<ListObjectsInput>) -> Answer<'f, ListObjectsOutput>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let response = self.list_objects_v2(request.map_input(Into::into)).await?;
            Ok(response.map_output(|page| ListObjectsOutput {
                contents: page.contents,
                common_prefixes: page.common_prefixes,
                delimiter: page.delimiter,
                encoding_type: page.encoding_type,
                name: page.name,
                prefix: page.prefix,
                max_keys: page.max_keys,
                is_truncated: page.is_truncated,
                next_marker: page.next_continuation_token,
                ..Default::default()
            }))
        })
    }

    fn list_objects_v2<'s, 'f>(
        &'s self,
        request: S3Request<ListObjectsV2Input>,
    ) -> Answer<'f, ListObjectsV2Output>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            // While no object has a long key, `s3s-fs` lists the bucket itself.
            if !self.keys.exists() {
                return self.files.list_objects_v2(request).await;
            }
            let asked = request.input.clone();
            let all = request.map_input(|input| ListObjectsV2Input {
                bucket: input.bucket,
                max_keys: Some(i32::MAX),
                ..Default::default()
            });
            let response = self.files.list_objects_v2(all).await?;
            let objects = response.output.contents.clone().into_iter().flatten();
            let objects = objects.filter_map(|object| {
                let key = self.key_of(object.key.as_deref()?)?;
                Some((key.clone(), Object { key: Some(key), ..object }))
            });
            let objects = objects.collect();
            Ok(response.map_output(|_| page(asked, objects)))
        })
    }
}

/// Returns the name of a key in the file system.
pub fn name(key: &str) -> String {
    if key.len() <= LONGEST && !key.starts_with(FOLDER) {
        return key.to_owned();
    }
    format!("{FOLDER}{}", secret::sha256(key.as_bytes()))
}

fn rename(source: &mut CopySource) {
    if let CopySource::Bucket { key, .. } = source {
        *key = name(key).into();
    }
}

impl Files {
    pub fn new(root: &Path) -> Result<Self, s3s_fs::Error> {
        Ok(Self { files: FileSystem::new(root)?, keys: root.join(".long-keys") })
    }

    /// Returns the file that stores a long key. Returns `None` if the object's file is named by the key itself.
    fn file_of(&self, key: &str) -> Option<PathBuf> {
        Some(self.keys.join(name(key).strip_prefix(FOLDER)?))
    }

    fn keep(&self, key: &str) -> S3Result<()> {
        let Some(file) = self.file_of(key).filter(|file| !file.exists()) else { return Ok(()) };
        // Renamed, so that a process that is killed leaves no partial file.
        let part = self.keys.join(format!("{:016x}.part", u64::from_be_bytes(secret::random())));
        let written = std::fs::create_dir_all(&self.keys)
            .and_then(|()| std::fs::write(&part, key))
            .and_then(|()| std::fs::rename(&part, &file));
        written.map_err(S3Error::internal_error)
    }

    fn forget(&self, key: &str) -> S3Result<()> {
        match self.file_of(key).map(std::fs::remove_file) {
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
                Err(S3Error::internal_error(error))
            }
            _ => Ok(()),
        }
    }

    /// Returns the key of an object by its name in the file system. Returns `None` for a long key that is being
    /// deleted.
    fn key_of(&self, name: &str) -> Option<String> {
        match name.strip_prefix(FOLDER) {
            Some(hash) => std::fs::read_to_string(self.keys.join(hash)).ok(),
            None => Some(name.to_owned()),
        }
    }
}

/// Returns the requested page of a bucket's objects.
fn page(asked: ListObjectsV2Input, mut objects: Vec<(String, Object)>) -> ListObjectsV2Output {
    let prefix = asked.prefix.clone().unwrap_or_default();
    let after = asked.continuation_token.clone().max(asked.start_after.clone());
    let most = usize::try_from(asked.max_keys.unwrap_or(1000)).unwrap_or_default();
    objects.retain(|(key, _)| key.starts_with(&prefix));
    objects.sort_by(|(one, _), (other, _)| one.cmp(other));
    let (mut contents, mut common_prefixes) = (Vec::new(), Vec::new());
    let mut last = after;
    let mut truncated = false;
    for (key, object) in objects {
        let common =
            asked.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty()).and_then(|delimiter| {
                let end = key[prefix.len()..].find(delimiter)? + prefix.len() + delimiter.len();
                Some(key[..end].to_owned())
            });
        let entry = common.clone().unwrap_or(key);
        if last.as_ref().is_some_and(|last| entry <= *last) {
            continue;
        }
        if contents.len() + common_prefixes.len() == most {
            truncated = true;
            break;
        }
        match common {
            Some(prefix) => common_prefixes.push(CommonPrefix { prefix: Some(prefix) }),
            None => contents.push(object),
        }
        last = Some(entry);
    }
    ListObjectsV2Output {
        key_count: i32::try_from(contents.len() + common_prefixes.len()).ok(),
        max_keys: Some(asked.max_keys.unwrap_or(1000)),
        is_truncated: Some(truncated),
        next_continuation_token: last.filter(|_| truncated),
        contents: (!contents.is_empty()).then_some(contents),
        common_prefixes: (!common_prefixes.is_empty()).then_some(common_prefixes),
        continuation_token: asked.continuation_token,
        delimiter: asked.delimiter,
        encoding_type: asked.encoding_type,
        name: Some(asked.bucket),
        prefix: asked.prefix,
        start_after: asked.start_after,
        ..Default::default()
    }
}

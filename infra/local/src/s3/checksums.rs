//! Checksums of S3: finds the checksum that comes with a request and compares it with the content.

use std::sync::{Arc, Mutex};

use axum::http::{HeaderMap, HeaderName};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use s3s::{
    S3Error, TrailingHeaders,
    checksum::ChecksumHasher,
    dto::{Checksum, CompletedPart, StreamingBlob},
    s3_error,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// Returns the algorithm's name in lower case, as it ends the name of a header.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "crc32",
            Self::Crc32c => "crc32c",
            Self::Crc64Nvme => "crc64nvme",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    fn header(self) -> HeaderName {
        match self {
            Self::Crc32 => HeaderName::from_static("x-amz-checksum-crc32"),
            Self::Crc32c => HeaderName::from_static("x-amz-checksum-crc32c"),
            Self::Crc64Nvme => HeaderName::from_static("x-amz-checksum-crc64nvme"),
            Self::Sha1 => HeaderName::from_static("x-amz-checksum-sha1"),
            Self::Sha256 => HeaderName::from_static("x-amz-checksum-sha256"),
        }
    }

    /// Returns the algorithm of the checksum that comes with a request, in a header or in a trailer.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let announced = headers.get("x-amz-trailer").and_then(|trailer| trailer.to_str().ok());
        Self::ALL.into_iter().find(|algorithm| {
            let header = algorithm.header();
            announced == Some(header.as_str()) || headers.contains_key(header)
        })
    }

    pub fn hasher(self) -> ChecksumHasher {
        let mut hasher = ChecksumHasher::default();
        match self {
            Self::Crc32 => hasher.crc32 = Some(Default::default()),
            Self::Crc32c => hasher.crc32c = Some(Default::default()),
            Self::Crc64Nvme => hasher.crc64nvme = Some(Default::default()),
            Self::Sha1 => hasher.sha1 = Some(Default::default()),
            Self::Sha256 => hasher.sha256 = Some(Default::default()),
        }
        hasher
    }

    /// Returns the checksum of a finished hasher of this algorithm as text.
    pub fn sum(self, hasher: ChecksumHasher) -> String {
        let Checksum {
            checksum_crc32,
            checksum_crc32c,
            checksum_crc64nvme,
            checksum_sha1,
            checksum_sha256,
            ..
        } = hasher.finalize();
        let sums = [checksum_crc32, checksum_crc32c, checksum_crc64nvme, checksum_sha1, checksum_sha256];
        sums.into_iter().flatten().next().unwrap_or_default()
    }

    /// Returns the checksum of an object in parts. CRC-64 covers the content; the other algorithms cover the
    /// checksums of the parts.
    pub fn of_parts(self, whole: ChecksumHasher, parts: &[String]) -> String {
        if self == Self::Crc64Nvme {
            return self.sum(whole);
        }
        let mut hasher = self.hasher();
        for part in parts {
            hasher.update(&BASE64.decode(part).unwrap_or_default());
        }
        format!("{}-{}", self.sum(hasher), parts.len())
    }

    /// Returns the checksum in the fields of a response.
    pub fn filled(self, sum: String) -> Checksum {
        let mut checksum = Checksum::default();
        match self {
            Self::Crc32 => checksum.checksum_crc32 = Some(sum),
            Self::Crc32c => checksum.checksum_crc32c = Some(sum),
            Self::Crc64Nvme => checksum.checksum_crc64nvme = Some(sum),
            Self::Sha1 => checksum.checksum_sha1 = Some(sum),
            Self::Sha256 => checksum.checksum_sha256 = Some(sum),
        }
        checksum
    }

    /// Returns the checksums that a completed upload lists for a part.
    pub fn listed(part: &CompletedPart) -> Vec<(Self, &str)> {
        let sums = [
            &part.checksum_crc32,
            &part.checksum_crc32c,
            &part.checksum_crc64nvme,
            &part.checksum_sha1,
            &part.checksum_sha256,
        ];
        let sums = Self::ALL.into_iter().zip(sums);
        sums.filter_map(|(algorithm, sum)| Some((algorithm, sum.as_deref()?))).collect()
    }
}

/// Verdict on a body, known at the body's end: its checksum, or the reason for a refusal.
#[derive(Clone, Default)]
pub struct Verdict(Arc<Mutex<Option<Result<String, S3Error>>>>);

impl Verdict {
    pub fn take(&self) -> Option<Result<String, S3Error>> {
        self.0.lock().ok()?.take()
    }
}

/// Returns a body that fails at its end unless its content has the checksum that came with the request. Refused
/// content therefore never replaces an object.
pub fn verified(
    body: StreamingBlob,
    algorithm: Algorithm,
    headers: &HeaderMap,
    trailers: Option<TrailingHeaders>,
) -> (StreamingBlob, Verdict) {
    let verdict = Verdict::default();
    let text = move |headers: &HeaderMap| {
        headers.get(algorithm.header()).and_then(|sum| sum.to_str().ok()).map(str::to_owned)
    };
    let before = text(headers);
    let hasher = Arc::new(Mutex::new(Some(algorithm.hasher())));
    let (counted, told) = (hasher.clone(), verdict.clone());
    let chunks = body.map_err(std::io::Error::other).inspect_ok(move |chunk| {
        if let Ok(mut hasher) = counted.lock()
            && let Some(hasher) = hasher.as_mut()
        {
            hasher.update(chunk);
        }
    });
    let end = stream::once(async move {
        let claimed = before.or_else(|| trailers.and_then(|trailers| trailers.read(text).flatten()));
        let hasher = hasher.lock().ok().and_then(|mut hasher| hasher.take()).unwrap_or_default();
        let sum = algorithm.sum(hasher);
        let same = claimed.as_deref() == Some(&*sum);
        let name = algorithm.name().to_uppercase();
        let outcome = match same {
            true => Ok(sum),
            false => {
                Err(s3_error!(BadDigest, "The {name} you specified did not match the calculated checksum."))
            }
        };
        if let Ok(mut verdict) = told.0.lock() {
            *verdict = Some(outcome);
        }
        if same { Ok(Default::default()) } else { Err(std::io::Error::other("the checksum is another")) }
    });
    (StreamingBlob::wrap(chunks.chain(end)), verdict)
}

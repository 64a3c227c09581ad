//! Opaque cursors: where a list goes on.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::Invalid;

/// One page of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    pub data: Vec<T>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// Cuts a page of `limit` from entries of which one more than `limit` was read.
    pub fn cut(mut data: Vec<T>, limit: usize, key: impl Fn(&T) -> String) -> Self {
        let more = data.len() > limit;
        data.truncate(limit);
        let next = data.last().filter(|_| more).map(|last| Cursor(key(last)));
        Self { data, next }
    }

    pub fn map<U>(self, convert: impl FnMut(T) -> U) -> Page<U> {
        Page { data: self.data.into_iter().map(convert).collect(), next: self.next }
    }
}

/// The sort key after which a page begins. Opaque to callers, and versioned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub String);

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(format!("1|{}", self.0)))
    }
}

impl std::str::FromStr for Cursor {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        // An index sort key is at most 1,024 bytes.
        Some(text)
            .filter(|text| text.len() <= 1400)
            .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .and_then(|text| text.strip_prefix("1|").map(str::to_owned))
            .filter(|key| !key.is_empty() && key.len() <= 1024)
            .map(Self)
            .ok_or_else(|| Invalid::new("is not a cursor that this list gave"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_other_text_does_not() {
        let cursor = Cursor("sub_1".to_owned());
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for text in ["", "x", "sub_1", &URL_SAFE_NO_PAD.encode("2|sub_1"), &URL_SAFE_NO_PAD.encode("1|"), "é"]
        {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }
}

//! Opaque cursors: the position at which a list continues.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::Invalid;

/// Page of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    pub data: Vec<T>,
    /// Cursor of the next page, or `None` if this page is the last one.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// Cuts a page of `limit` entries from up to `limit + 1` entries that were read.
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

/// Sort key after which a page begins. Callers see it as opaque text with a version number.
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
        // The sort key of an index has at most 1,024 bytes.
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

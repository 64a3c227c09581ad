//! What the rows of a file mean: which column is what, and which rows are good.
//!
//! Reasons never repeat what is in a cell, since codes are worth money.

use domain::{
    code_pool::{CodePool, Lot, PromoCode},
    text::Metadata,
};
use jiff::{Timestamp, ToSpan, civil, tz::TimeZone};
use store::codes::NewCode;

/// The columns that are known, in the order that a file without a header has them in.
const KNOWN: [&str; 4] = ["code", "platform", "expires_at", "metadata"];

/// Why a row can't be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Empty when it is about the whole row.
    pub column: &'static str,
    pub reason: String,
}

fn rejection(column: &'static str, reason: impl Into<String>) -> Rejection {
    Rejection { column, reason: reason.into() }
}

/// Which column is what, by name; unknown ones are passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns(Vec<String>);

/// What the first row of a file is.
#[derive(Debug, PartialEq, Eq)]
pub enum FirstRow {
    Header(Columns),
    /// The first code. There is no header: the columns are those of [`KNOWN`].
    Code(Columns),
}

impl Columns {
    pub fn named(names: Vec<String>) -> Self {
        Self(names)
    }

    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// # Errors
    /// What is wrong with the file, in words for its owner.
    pub fn first_row(fields: &[Vec<u8>]) -> Result<FirstRow, String> {
        let texts: Option<Vec<&str>> = fields.iter().map(|field| std::str::from_utf8(field).ok()).collect();
        let texts = texts.ok_or("the header is not UTF-8")?;
        let names: Vec<String> = texts.iter().map(|text| text.trim().to_lowercase()).collect();
        let count = |name: &str| names.iter().filter(|found| *found == name).count();
        if let Some(twice) = KNOWN.into_iter().find(|name| count(name) > 1) {
            return Err(format!("the header has two columns `{twice}`"));
        }
        if count("code") == 1 {
            return Ok(FirstRow::Header(Self(names)));
        }
        let headerless = texts.len() <= KNOWN.len()
            && texts.first().is_some_and(|text| is_surely_a_code(text))
            && KNOWN.iter().all(|name| count(name) == 0);
        match headerless {
            true => {
                Ok(FirstRow::Code(Self(KNOWN[..texts.len()].iter().map(|&name| name.to_owned()).collect())))
            }
            false => Err("the header has no column `code`".to_owned()),
        }
    }

    /// The code in a row, in a lot of its own; `None` when the row is blank. `now` is the time of the import.
    ///
    /// # Errors
    /// Why the row can't be loaded.
    pub fn read(
        &self,
        line: u64,
        fields: &[Vec<u8>],
        pool: &CodePool,
        now: Timestamp,
    ) -> Result<Option<NewCode>, Rejection> {
        if fields.iter().all(|field| field.trim_ascii().is_empty()) {
            return Ok(None);
        }
        if fields.len() > self.0.len() {
            let reason = format!("has {} columns, and the header has {}", fields.len(), self.0.len());
            return Err(rejection("", reason));
        }
        let code = self.cell(fields, "code")?.unwrap_or_default();
        let code = PromoCode::try_from(code.to_owned()).map_err(|invalid| rejection("code", invalid.0))?;
        let platform = match self.cell(fields, "platform")? {
            None => pool.settings.platform,
            Some(text) => {
                text.parse().map_err(|invalid: domain::Invalid| rejection("platform", invalid.0))?
            }
        };
        if !pool.holds(platform) {
            let reason = format!("is not that of the pool, which is for {}", pool.settings.platform.name());
            return Err(rejection("platform", reason));
        }
        let valid_until = self.cell(fields, "expires_at")?.map(end_of).transpose()?;
        if valid_until.is_some_and(|until| until <= now) {
            return Err(rejection("expires_at", "has passed"));
        }
        let metadata = self.cell(fields, "metadata")?.map(metadata).transpose()?.unwrap_or_default();
        let lot = Lot::new(platform, valid_until);
        Ok(Some(NewCode { line, code, platform, valid_until, metadata, lot }))
    }

    /// The trimmed text in the column of this name; `None` when it is blank, or there is none.
    fn cell<'a>(&self, fields: &'a [Vec<u8>], name: &'static str) -> Result<Option<&'a str>, Rejection> {
        let at = self.0.iter().position(|column| column == name);
        let Some(field) = at.and_then(|at| fields.get(at)) else { return Ok(None) };
        let text = std::str::from_utf8(field).map_err(|_| rejection(name, "is not UTF-8"))?.trim();
        Ok(Some(text).filter(|text| !text.is_empty()))
    }
}

/// Names of columns seldom have two digits, and codes nearly always do: what can't be told
/// apart must not be given to people as a code.
fn is_surely_a_code(text: &str) -> bool {
    let text = text.trim();
    text.len() >= 4
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        && text.bytes().filter(u8::is_ascii_digit).count() >= 2
}

/// A time (RFC 3339; UTC when it names no offset), or a date: then the code is valid
/// until that day is over in UTC. The last days that there are stand for "never".
fn end_of(text: &str) -> Result<Timestamp, Rejection> {
    let utc = |time: civil::DateTime| time.to_zoned(TimeZone::UTC).map(|time| time.timestamp()).ok();
    let refused = || rejection("expires_at", "is not a date or a time such as 2030-01-31T12:00:00Z");
    // More is understood than is meant here: zones in brackets, years of six digits.
    if !text.bytes().all(|byte| byte.is_ascii_digit() || b"-:.TtZz+ ".contains(&byte))
        || text.starts_with('+')
    {
        return Err(refused());
    }
    if text.starts_with("9999-12-3") {
        return Ok(Timestamp::MAX);
    }
    let parsed = text.parse::<Timestamp>().ok().or_else(|| match text.parse::<civil::Date>() {
        Ok(date) if text.len() <= 10 => {
            date.checked_add(1.day()).ok().and_then(|next| utc(next.to_datetime(civil::Time::midnight())))
        }
        _ => text.parse::<civil::DateTime>().ok().and_then(utc),
    });
    parsed.ok_or_else(refused)
}

fn metadata(text: &str) -> Result<Metadata, Rejection> {
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text)
        .map_err(|_| rejection("metadata", "is not a JSON object"))
        .and_then(|map| Metadata::try_from(map).map_err(|invalid| rejection("metadata", invalid.0)))
}

#[cfg(test)]
mod tests {
    use domain::{code_pool::Platform, id::AccountId};
    use serde_json::json;

    use super::*;

    fn pool(platform: Platform) -> CodePool {
        let settings = serde_json::from_value(json!({ "name": "x", "platform": platform.name() })).unwrap();
        CodePool::new(AccountId::new(Timestamp::UNIX_EPOCH), settings, Timestamp::UNIX_EPOCH)
    }

    fn fields(row: &[&str]) -> Vec<Vec<u8>> {
        row.iter().map(|text| text.as_bytes().to_vec()).collect()
    }

    #[test]
    fn the_first_row_is_a_header_a_code_or_a_mistake() {
        let first = |row: &[&str]| Columns::first_row(&fields(row));
        let columns = |names: &[&str]| Columns(names.iter().map(|&name| name.to_owned()).collect());
        assert_eq!(first(&[" Code ", "Note"]), Ok(FirstRow::Header(columns(&["code", "note"]))));
        assert_eq!(first(&["SAVE10"]), Ok(FirstRow::Code(columns(&["code"]))));
        assert_eq!(first(&["AB-12", "ios"]), Ok(FirstRow::Code(columns(&["code", "platform"]))));
        for row in [
            &["coupon"][..],
            &["coupon", "platform"],
            &["1234", "platform"],
            &["code", "CODE"],
            &[""],
            &["Column1"],
            &["<b>404</b>"],
            &["AAAA1111;ios"],
        ] {
            assert!(first(row).is_err(), "{row:?}");
        }
        assert!(Columns::first_row(&[vec![0xff]]).is_err());
    }

    #[test]
    fn cells_are_read_or_refused_by_name() {
        let columns = Columns(KNOWN.iter().map(|&name| name.to_owned()).collect());
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let read = |platform, row: &[&str]| columns.read(2, &fields(row), &pool(platform), now);
        let good = |row: &[&str]| read(Platform::Universal, row).unwrap().unwrap();
        assert_eq!(good(&[" AbC "]).code.as_str(), "AbC");
        assert_eq!(good(&["A", "IOS"]).platform, Platform::Ios);
        for (text, until) in [
            ("2030-01-31", "2030-02-01T00:00:00Z"),
            ("2030-01-31T12:00:00+02:00", "2030-01-31T10:00:00Z"),
            ("2030-01-31 12:00:00", "2030-01-31T12:00:00Z"),
        ] {
            assert_eq!(good(&["A", "", text]).valid_until, Some(until.parse().unwrap()), "{text}");
        }
        assert_ne!(good(&["A", "", "", r#"{"a": 1}"#]).metadata, Metadata::default());
        assert!(good(&["A", "", "9999-12-31"]).valid_until > Some("9000-01-01T00:00:00Z".parse().unwrap()));
        for text in ["2030-01-31[Europe/Berlin]", "+002030-01-31", "31.1.2030", "2030-02-30"] {
            assert!(read(Platform::Universal, &["A", "", text]).is_err(), "{text}");
        }
        assert!(read(Platform::Universal, &["", " ", ""]).unwrap().is_none(), "a blank row");
        for (platform, row, column) in [
            (Platform::Universal, &["", "ios"][..], "code"),
            (Platform::Universal, &["=cmd()"], "code"),
            (Platform::Universal, &["A\0B"], "code"),
            (Platform::Universal, &["A", "windows"], "platform"),
            (Platform::Ios, &["A", "android"], "platform"),
            (Platform::Universal, &["A", "", "soon"], "expires_at"),
            (Platform::Universal, &["A", "", "2025-01-01"], "expires_at"),
            (Platform::Universal, &["A", "", "", "[1]"], "metadata"),
            (Platform::Universal, &["A", "", "", "", ""], ""),
        ] {
            assert_eq!(read(platform, row).unwrap_err().column, column, "{row:?}");
        }
        assert!(read(Platform::Ios, &["A", "universal"]).is_ok());
        let latin = columns.read(2, &[vec![b'A', 0xe9]], &pool(Platform::Web), now);
        assert_eq!(latin.unwrap_err(), rejection("code", "is not UTF-8"));
    }
}

//! Rows of a file of codes: recognises the columns and validates the rows.
//!
//! Reasons in the report never contain the contents of a cell, because codes are worth money.

use codes::{
    NewCode,
    code_pool::{CodePool, Lot, Platform, PromoCode},
};
use domain::text::{Metadata, name_key};
use files::csv::{
    Cells, Header, HeaderRow, Known, MAX_FIELDS, Remark, damage, looks_like_a_date, unclear, unwrapped,
};
use jiff::{Timestamp, ToSpan, civil, tz::TimeZone};

/// Known columns, in the order in which a file without a header has them.
const KNOWN: [Known; 4] = [
    Known { name: "code", words: &["code", "coupon", "voucher", "promo", "gutschein"] },
    Known { name: "platform", words: &["platform", "plattform", "plateforme", "plataforma", "os"] },
    Known {
        name: "expires_at",
        words: &[
            "expir",
            "exp",
            "until",
            "valid",
            "end",
            "ends",
            "ending",
            "deadline",
            "ablauf",
            "gültig",
            "gueltig",
            "fin",
            "vence",
            "vencimiento",
            "caduc",
            "scad",
            "validade",
        ],
    },
    Known { name: "metadata", words: &["metadata", "meta", "metadaten"] },
];

/// Words in names of columns that contain start dates. Such a column is not mistaken for `expires_at`.
const BEGINNINGS: [&str; 12] = [
    "created",
    "updated",
    "issued",
    "modified",
    "generated",
    "added",
    "imported",
    "start",
    "from",
    "since",
    "begin",
    "purchased",
];

/// Row of a file, classified.
#[derive(Debug)]
pub enum Row {
    Blank,
    /// Repetition of the file's header.
    Header,
    /// Header whose columns differ from those of the file's header.
    AnotherHeader,
    /// Code with a lot for exactly its platform and end, and a remark if the code was not read exactly as written.
    Code(Box<NewCode>, Option<Remark>),
}

/// Columns of a file by name. Unknown columns are ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns(Header);

/// First row of a file, classified.
#[derive(Debug, PartialEq, Eq)]
pub enum FirstRow {
    Header(Columns, Vec<Remark>),
    /// Row with the first code. The file has no header; its columns are those of [`KNOWN`], in that order.
    Code(Columns),
}

impl Columns {
    pub fn named(names: Vec<String>) -> Self {
        Self(Header::named(names))
    }

    pub fn names(&self) -> &[String] {
        self.0.names()
    }

    /// Rates the row as the first row of a file of codes: 2 for a header with a column `code`, 1 for a code without a
    /// header, 0 for anything else.
    pub fn rank(cells: &Cells) -> u8 {
        let is_code =
            |cell: &Vec<u8>| std::str::from_utf8(cell).is_ok_and(|text| name_key(text) == KNOWN[0].name);
        if cells.iter().any(is_code) { 2 } else { u8::from(is_headerless(cells)) }
    }

    /// Reads the first row of a file.
    ///
    /// # Errors
    /// The reason why the file can't be read, as text for its owner.
    pub fn first_row(cells: &Cells) -> Result<FirstRow, String> {
        if Self::rank(cells) == 1 {
            let names = KNOWN.iter().take(cells.len()).map(|known| known.name.to_owned());
            return Ok(FirstRow::Code(Self::named(names.collect())));
        }
        Header::read(cells, &KNOWN).map(|(header, remarks)| FirstRow::Header(Self(header), remarks))
    }

    /// Reads a row. `now` is the time of the import.
    ///
    /// # Errors
    /// The reason why the row can't be loaded.
    pub fn read(&self, line: u64, cells: &Cells, pool: &CodePool, now: Timestamp) -> Result<Row, Remark> {
        if cells.is_blank() {
            return Ok(Row::Blank);
        }
        match self.0.row(cells, &KNOWN) {
            Some(HeaderRow::Again) => return Ok(Row::Header),
            Some(HeaderRow::Another) => return Ok(Row::AnotherHeader),
            None => self.0.check(cells)?,
        }
        let (code, remark) = self.code(cells)?;
        let platform = match self.text(cells, "platform")? {
            None => pool.settings.platform,
            Some(text) => {
                text.parse().map_err(|invalid: domain::Invalid| Remark::new("platform", invalid.0))?
            }
        };
        if !pool.holds(platform) {
            let reason =
                format!("does not match the platform of the pool, {}", pool.settings.platform.name());
            return Err(Remark::new("platform", reason));
        }
        let valid_until = self.text(cells, "expires_at")?.map(end_of).transpose()?.flatten();
        if valid_until.is_some_and(|until| until <= now) {
            return Err(Remark::new("expires_at", "has passed"));
        }
        let metadata = self.text(cells, "metadata")?.map(metadata).transpose()?.unwrap_or_default();
        let lot = Lot::new(platform, valid_until);
        Ok(Row::Code(Box::new(NewCode { line, code, platform, valid_until, metadata, lot }), remark))
    }

    /// Returns the code of a row. Refuses a code that a spreadsheet may have changed or that may contain other
    /// columns.
    fn code(&self, cells: &Cells) -> Result<(PromoCode, Option<Remark>), Remark> {
        let refused = |reason: &str| Err(Remark::new("code", reason));
        let (text, quoted) = self.0.cell(cells, "code")?.unwrap_or_default();
        if let Some(reason) = damage(text) {
            return refused(reason);
        }
        if name_key(text) == KNOWN[0].name {
            return refused("is the name of its column");
        }
        if !quoted
            && let Some(separator) = text.chars().find(|character| matches!(character, ',' | ';' | '|'))
        {
            let reason = format!("has a `{separator}`: put the code in quotes if that is part of it");
            return refused(&reason);
        }
        let unwrapped = unwrapped(text);
        let code = PromoCode::try_from(unwrapped.unwrap_or(text).to_owned());
        let remark = unwrapped.map(|_| Remark::new("code", "is read without the =\"\" around it"));
        Ok((code.map_err(|invalid| Remark::new("code", invalid.0))?, remark))
    }

    /// Returns the trimmed text in the column of this name; `None` if the cell is blank or the column is missing.
    fn text<'a>(&self, cells: &'a Cells, name: &'static str) -> Result<Option<&'a str>, Remark> {
        Ok(self.0.cell(cells, name)?.map(|(text, _)| text))
    }
}

/// Statistics of the ignored columns, which show whether an ignored column was meant to be a known one.
pub struct PassedOver {
    /// For each column: number of cells that are not blank, of cells with a platform's name, of cells with a date.
    counts: [[u64; 3]; MAX_FIELDS],
}

impl PassedOver {
    pub fn new() -> Self {
        Self { counts: [[0; 3]; MAX_FIELDS] }
    }

    /// Counts the ignored cells of a row. Returns true if one of them contains a line break: an unclosed quote may
    /// have swallowed the rows that follow.
    pub fn look(&mut self, columns: &Columns, cells: &Cells) -> bool {
        let mut broken = false;
        let passed_over = |name: &String| KNOWN.iter().all(|known| known.name != name);
        let columns = columns.names().iter().zip(cells.iter()).zip(&mut self.counts);
        for ((_, cell), counts) in columns.filter(|((name, _), _)| passed_over(name)) {
            let text = String::from_utf8_lossy(cell);
            let text = text.trim();
            counts[0] += u64::from(!text.is_empty());
            counts[1] += u64::from(text.parse::<Platform>().is_ok());
            counts[2] += u64::from(looks_like_a_date(text));
            broken |= text.contains(['\n', '\r']);
        }
        broken
    }

    /// Returns the reason to refuse the file if an ignored column contains only platforms or only dates, and the file
    /// has no column `platform` or `expires_at`, respectively. Columns named after a start date are not suspicious.
    pub fn suspicion(&self, columns: &Columns) -> Option<String> {
        for (index, (name, [cells, platforms, dates])) in columns.names().iter().zip(self.counts).enumerate()
        {
            let began = || {
                let name = name.to_lowercase();
                BEGINNINGS.iter().any(|word| name.contains(word))
            };
            let meant = match () {
                () if cells == 0 => continue,
                () if platforms == cells => "platform",
                () if dates == cells && !began() => "expires_at",
                () => continue,
            };
            if !columns.0.has(meant) {
                return Some(unclear(index, name, meant));
            }
        }
        None
    }
}

/// True if the first row of a file is certainly a code and not a header.
fn is_headerless(cells: &Cells) -> bool {
    let texts: Vec<&str> = cells.iter().filter_map(|cell| std::str::from_utf8(cell).ok()).collect();
    texts.len() == cells.len()
        && texts.len() <= KNOWN.len()
        && !cells.stray
        && texts.first().is_some_and(|text| is_surely_a_code(text))
        && texts.iter().all(|text| KNOWN.iter().all(|known| name_key(text) != name_key(known.name)))
}

/// True if the text is certainly a code: at least four letters, digits, `-` or `_`, with at least two digits. Names
/// of columns seldom have two digits, and codes nearly always do. If a text could be either, it must not be issued as
/// a code.
fn is_surely_a_code(text: &str) -> bool {
    let text = text.trim();
    text.len() >= 4
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        && text.bytes().filter(u8::is_ascii_digit).count() >= 2
}

/// Reads the end of a code. A time is RFC 3339, in UTC if it has no offset. A date means the end of that day in UTC.
/// 9999-12-30 and 9999-12-31 mean "never" (`None`).
fn end_of(text: &str) -> Result<Option<Timestamp>, Remark> {
    let utc = |time: civil::DateTime| time.to_zoned(TimeZone::UTC).map(|time| time.timestamp()).ok();
    let refused = || Remark::new("expires_at", "is not a date or a time such as 2030-01-31T12:00:00Z");
    // The parser below also accepts zones in brackets and years of six digits, which are not allowed here.
    if !text.bytes().all(|byte| byte.is_ascii_digit() || b"-:.TtZz+ ".contains(&byte))
        || text.starts_with('+')
    {
        return Err(refused());
    }
    if text.starts_with("9999-12-3") {
        return Ok(None);
    }
    let parsed = text.parse::<Timestamp>().ok().or_else(|| match text.parse::<civil::Date>() {
        Ok(date) if text.len() <= 10 => {
            date.checked_add(1.day()).ok().and_then(|next| utc(next.to_datetime(civil::Time::midnight())))
        }
        _ => text.parse::<civil::DateTime>().ok().and_then(utc),
    });
    parsed.map(Some).ok_or_else(refused)
}

fn metadata(text: &str) -> Result<Metadata, Remark> {
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text)
        .map_err(|_| Remark::new("metadata", "is not a JSON object"))
        .and_then(|map| Metadata::try_from(map).map_err(|invalid| Remark::new("metadata", invalid.0)))
}

#[cfg(test)]
mod tests {
    use domain::id::AccountId;
    use serde_json::json;

    use super::*;

    fn pool(platform: Platform) -> CodePool {
        let settings = serde_json::from_value(json!({ "name": "x", "platform": platform.name() })).unwrap();
        CodePool::new(AccountId::new(Timestamp::UNIX_EPOCH), settings, Timestamp::UNIX_EPOCH)
    }

    fn cells(row: &[&str]) -> Cells {
        row.iter().copied().collect()
    }

    fn columns(names: &[&str]) -> Columns {
        Columns::named(names.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn the_first_row_is_a_header_a_code_or_a_mistake() {
        let first = |row: &[&str]| Columns::first_row(&cells(row));
        let Ok(FirstRow::Header(header, remarks)) = first(&[" Code ", "Note"]) else { panic!("no header") };
        assert_eq!((header, remarks.len()), (columns(&["code", "Note"]), 1));
        assert_eq!(first(&["SAVE10"]), Ok(FirstRow::Code(columns(&["code"]))));
        assert_eq!(first(&["AB-12", "ios"]), Ok(FirstRow::Code(columns(&["code", "platform"]))));
        for row in [
            &["coupon"][..],
            &["coupon", "platform"],
            &["1234", "platform"],
            &["code", "CODE"],
            &["code", "valid_until"],
            &[""],
            &["Column1"],
            &["<b>404</b>"],
            &["AAAA1111;ios"],
        ] {
            assert!(first(row).is_err(), "{row:?}");
        }
        assert!(Columns::first_row(&[vec![0xff]].into_iter().collect()).is_err());
    }

    #[test]
    fn cells_are_read_or_refused_by_name() {
        let columns = columns(&KNOWN.map(|known| known.name));
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let read = |platform, row: &[&str]| columns.read(2, &cells(row), &pool(platform), now);
        let good = |row: &[&str]| match read(Platform::Universal, row) {
            Ok(Row::Code(code, _)) => code,
            other => panic!("{row:?}: {other:?}"),
        };
        assert_eq!(good(&[" AbC "]).code.as_str(), "AbC");
        assert_eq!(good(&["A", "IOS"]).platform, Platform::Ios);
        for (text, until) in [
            ("2030-01-31", "2030-02-01T00:00:00Z"),
            ("2030-01-31T12:00:00+02:00", "2030-01-31T10:00:00Z"),
            ("2030-01-31 12:00:00", "2030-01-31T12:00:00Z"),
            ("9999-12-29", "9999-12-30T00:00:00Z"),
        ] {
            assert_eq!(good(&["A", "", text]).valid_until, Some(until.parse().unwrap()), "{text}");
        }
        assert_ne!(good(&["A", "", "", r#"{"a": 1}"#]).metadata, Metadata::default());
        for text in ["9999-12-31", "9999-12-31T23:59:59Z", ""] {
            assert_eq!(good(&["A", "", text]).valid_until, None, "{text}");
        }
        for text in ["2030-01-31[Europe/Berlin]", "+002030-01-31", "31.1.2030", "2030-02-30"] {
            assert!(read(Platform::Universal, &["A", "", text]).is_err(), "{text}");
        }
        assert!(matches!(read(Platform::Universal, &["", " ", ""]), Ok(Row::Blank)));
        assert!(matches!(read(Platform::Universal, &["code", "Platform"]), Ok(Row::Header)));
        assert!(matches!(read(Platform::Universal, &["platform", "code"]), Ok(Row::AnotherHeader)));
        assert!(matches!(read(Platform::Universal, &["A", "", "", "", ""]), Ok(Row::Code(_, None))));
        match read(Platform::Universal, &["=\"00123\""]) {
            Ok(Row::Code(code, Some(remark))) => {
                assert_eq!((code.code.as_str(), &*remark.column), ("00123", "code"));
            }
            other => panic!("{other:?}"),
        }
        for (platform, row, column) in [
            (Platform::Universal, &["", "ios"][..], "code"),
            (Platform::Universal, &["=cmd()"], "code"),
            (Platform::Universal, &["＝cmd()"], "code"),
            (Platform::Universal, &["A\0B"], "code"),
            (Platform::Universal, &["A;ios"], "code"),
            (Platform::Universal, &["A,ios"], "code"),
            (Platform::Universal, &["1.23E+10"], "code"),
            (Platform::Universal, &["#NAME?"], "code"),
            (Platform::Universal, &["1-Mar"], "code"),
            (Platform::Universal, &["CODE", "ios"], "code"),
            (Platform::Universal, &["A", "windows"], "platform"),
            (Platform::Ios, &["A", "android"], "platform"),
            (Platform::Universal, &["A", "", "soon"], "expires_at"),
            (Platform::Universal, &["A", "", "2025-01-01"], "expires_at"),
            (Platform::Universal, &["A", "", "", "[1]"], "metadata"),
            (Platform::Universal, &["A", "", "", "", "x"], ""),
        ] {
            assert_eq!(read(platform, row).unwrap_err().column, column, "{row:?}");
        }
        assert!(read(Platform::Ios, &["A", "universal"]).is_ok());
        let latin = columns.read(2, &[vec![b'A', 0xe9]].into_iter().collect(), &pool(Platform::Web), now);
        assert_eq!(latin.unwrap_err(), Remark::new("code", "is not UTF-8"));
    }

    #[test]
    fn a_column_of_platforms_or_ends_is_not_passed_over() {
        let suspicion = |names: &[&str], rows: &[&[&str]]| {
            let columns = columns(names);
            let mut passed_over = PassedOver::new();
            for row in rows {
                passed_over.look(&columns, &cells(row));
            }
            passed_over.suspicion(&columns)
        };
        let meant = |names: &[&str], rows: &[&[&str]], column: &str| {
            suspicion(names, rows).is_some_and(|reason| reason.contains(column))
        };
        assert!(meant(&["code", "Kanal"], &[&["A", "iOS"], &["B", " "], &["C", "web"]], "platform"));
        assert!(meant(&["code", "Frist"], &[&["A", "31.12.2099"], &["B", "2020-01-01"]], "expires_at"));
        for (names, rows) in [
            (&["code", "channel"][..], &[&["A", "web"][..], &["B", "mail"]][..]),
            (&["code", "platform", "os"], &[&["A", "ios", "ios"]]),
            (&["code", "created_at"], &[&["A", "2020-01-01"]]),
            (&["code", "expires_at", "Frist"], &[&["A", "", "2020-01-01"]]),
            (&["code", "note"], &[&["A", ""]]),
            (&["code", "note"], &[]),
        ] {
            assert_eq!(suspicion(names, rows), None, "{names:?}");
        }
    }
}

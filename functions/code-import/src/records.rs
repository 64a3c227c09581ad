//! The records of a CSV file that arrives in chunks.
//!
//! The format is RFC 4180, read as leniently as [`csv_core`] reads it: fields are separated by commas
//! and may be quoted, a quote inside quotes is doubled, records may differ in their number of fields.
//! Lines end with `\n`, `\r\n` or `\r`. Blank lines aren't records, but count as lines.
//!
//! - Memory is constant: one record of limited size is held, whatever the file is made of.
//! - How the file is cut into chunks makes no difference.
//! - Each record tells where it ends, and nothing before that position matters any more: reading
//!   resumed there gives the same remaining records, with the same line numbers.

use csv_core::{ReadRecordResult, Reader};

/// How many bytes the fields of a record may have together, their quoting undone.
pub const MAX_RECORD: usize = 16 * 1024;

/// How many fields a record may have.
pub const MAX_FIELDS: usize = 64;

/// Where a record ends and the next may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// In bytes from the file's beginning.
    pub offset: u64,
    /// The line there, as an editor numbers it: the first is 1.
    pub line: u64,
}

/// The file's beginning.
impl Default for Position {
    fn default() -> Self {
        Self { offset: 0, line: 1 }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    /// The line on which it begins.
    pub line: u64,
    /// Where to go on after it.
    pub end: Position,
    pub content: Content,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Content {
    /// At least one field. None need be UTF-8.
    Fields(Vec<Vec<u8>>),
    /// More than [`MAX_RECORD`] or [`MAX_FIELDS`] allow: skipped to its end.
    TooLong,
    /// The file ends inside quotes. They were perhaps opened by mistake, and all that follows is lost.
    Unclosed,
}

/// Splits a file into records.
pub struct Records {
    reader: Reader,
    /// What has been read ends here.
    at: Position,
    /// Whether it ends with `\r`, of which a `\n` would be the second half.
    after_cr: bool,
    /// On which line the record being read began. Between records there is none.
    begun: Option<u64>,
    /// A record that ended with `\r`, until it is known whether a `\n` belongs to it.
    ended: Option<Record>,
    too_long: bool,
    /// The fields of the record being read, one after another. Here and in `field_ends` is room for one
    /// more than is allowed: that it is used tells that the record is too long.
    content: Box<[u8]>,
    content_len: usize,
    field_ends: [usize; MAX_FIELDS + 1],
    fields: usize,
}

impl Records {
    /// Reads from a position on. It is the file's beginning, or the end of a record.
    pub fn resume(at: Position) -> Self {
        let mut reader = Reader::new();
        // The reader would take a byte order mark off the first bytes that it sees. They may be any
        // record's, for which it would matter whether reading was resumed there. Having seen the end
        // of an empty file, it doesn't.
        reader.read_record(&[], &mut [], &mut []);
        Self {
            reader,
            at,
            after_cr: false,
            begun: None,
            ended: None,
            too_long: false,
            content: vec![0; MAX_RECORD + 1].into(),
            content_len: 0,
            field_ends: [0; MAX_FIELDS + 1],
            fields: 0,
        }
    }

    /// The records that are complete with the file's next bytes. The bytes are read as records are
    /// taken: all have to be, before more is fed.
    pub fn feed(&mut self, mut chunk: &[u8]) -> impl Iterator<Item = Record> {
        std::iter::from_fn(move || self.next(&mut chunk))
    }

    /// The last record, if the end of the file is what completes it.
    pub fn finish(mut self) -> Option<Record> {
        if self.ended.is_some() {
            return self.ended;
        }
        let line = self.begun?;
        // The reader doesn't tell its state, but a line break does: only inside quotes would it not
        // end the record.
        let (complete, _) = self.read(b"\n");
        let content = if complete { self.take_content() } else { Content::Unclosed };
        Some(Record { line, end: self.at, content })
    }

    fn next(&mut self, chunk: &mut &[u8]) -> Option<Record> {
        while let Some(&byte) = chunk.first() {
            if let Some(record) = self.ended.take() {
                if byte == b'\n' {
                    self.advance(chunk, 1);
                }
                return Some(Record { end: self.at, ..record });
            }
            // The reader would skip blank lines too, but not tell where the record begins.
            if self.begun.is_none() && matches!(byte, b'\n' | b'\r') {
                self.advance(chunk, 1);
                continue;
            }
            let line = *self.begun.get_or_insert(self.at.line);
            let (complete, read) = self.read(chunk);
            self.advance(chunk, read);
            if complete {
                self.begun = None;
                let record = Record { line, end: self.at, content: self.take_content() };
                if !self.after_cr {
                    return Some(record);
                }
                self.ended = Some(record);
            }
        }
        None
    }

    /// Reads on in the record. Tells whether it is complete, and how many bytes were read.
    fn read(&mut self, input: &[u8]) -> (bool, usize) {
        let content = &mut self.content[self.content_len..];
        let field_ends = &mut self.field_ends[self.fields..];
        let (result, read, content_len, fields) = self.reader.read_record(input, content, field_ends);
        self.content_len += content_len;
        self.fields += fields;
        self.too_long |= self.content_len > MAX_RECORD || self.fields > MAX_FIELDS;
        if self.too_long {
            self.content_len = 0;
            self.fields = 0;
        }
        (result == ReadRecordResult::Record, read)
    }

    /// Leaves room for the next record's.
    fn take_content(&mut self) -> Content {
        let (content_len, fields) = (std::mem::take(&mut self.content_len), std::mem::take(&mut self.fields));
        if std::mem::take(&mut self.too_long) {
            return Content::TooLong;
        }
        let content = &self.content[..content_len];
        let ends = &self.field_ends[..fields];
        let starts = std::iter::once(&0).chain(ends);
        Content::Fields(starts.zip(ends).map(|(&start, &end)| content[start..end].to_vec()).collect())
    }

    /// Moves on by so many bytes of the chunk.
    fn advance(&mut self, chunk: &mut &[u8], count: usize) {
        let (read, rest) = chunk.split_at(count);
        for &byte in read {
            self.at.line += u64::from(byte == b'\r' || byte == b'\n' && !self.after_cr);
            self.after_cr = byte == b'\r';
        }
        self.at.offset += count as u64;
        *chunk = rest;
    }
}

/// What a file is, when it isn't text in UTF-8 or another superset of ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCsv {
    /// Or UTF-32.
    Utf16,
    Gzip,
    /// Spreadsheets (.xlsx, .ods) are zip files too.
    Zip,
}

impl std::fmt::Display for NotCsv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Utf16 => "UTF-16 text",
            Self::Gzip => "a gzip archive",
            Self::Zip => "a zip archive or a spreadsheet",
        })
    }
}

/// How long the UTF-8 byte order mark is that the file begins with: 3 bytes or none.
///
/// # Errors
/// When its first bytes, of which 4 tell all, show that the file isn't CSV.
pub fn sniff(first_bytes: &[u8]) -> Result<usize, NotCsv> {
    match first_bytes {
        [0xEF, 0xBB, 0xBF, ..] => Ok(3),
        // UTF-32's marks are the last, and the first with two NULs after it.
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] | [0, 0, 0xFE, 0xFF, ..] => Err(NotCsv::Utf16),
        // Without a mark, an ASCII character has its NULs before or after it.
        [0, _, 0, _, ..] | [_, 0, _, 0, ..] | [0, _] | [_, 0] => Err(NotCsv::Utf16),
        [0x1F, 0x8B, ..] => Err(NotCsv::Gzip),
        [b'P', b'K', 3, 4, ..] => Err(NotCsv::Zip),
        _ => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The file's records from a position on, when it comes in chunks of these sizes, over and over.
    fn read(file: &[u8], at: Position, sizes: &[usize]) -> Vec<Record> {
        let mut records = Records::resume(at);
        let mut rest = &file[at.offset as usize..];
        let mut read = Vec::new();
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, after) = rest.split_at(rest.len().min(*size));
            read.extend(records.feed(chunk));
            rest = after;
        }
        read.extend(records.finish());
        read
    }

    /// A record in the form `line–offset:line field|field`.
    fn show(record: &Record) -> String {
        let content = match &record.content {
            Content::Fields(fields) => String::from_utf8_lossy(&fields.join(&b'|')).into_owned(),
            other => format!("{other:?}"),
        };
        format!("{}–{}:{} {content}", record.line, record.end.offset, record.end.line)
    }

    fn assert_records(file: &[u8], expected: &[&str]) {
        for size in [1, 2, 3, MAX_RECORD, usize::MAX] {
            let records = read(file, Position::default(), &[size]);
            let shown: Vec<_> = records.iter().map(show).collect();
            let start = &file[..file.len().min(60)];
            assert_eq!(shown, expected, "{:?} in chunks of {size}", start.escape_ascii().to_string());
        }
    }

    #[test]
    fn files_are_split_into_records() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            ("\n\r\n\r", &[]),
            ("a", &["1–1:1 a"]),
            ("a,b\nc", &["1–4:2 a|b", "2–5:2 c"]),
            // However lines end.
            ("a\nb\n", &["1–2:2 a", "2–4:3 b"]),
            ("a\r\nb\r\n", &["1–3:2 a", "2–6:3 b"]),
            ("a\rb\r", &["1–2:2 a", "2–4:3 b"]),
            ("a\r\r\nb\n\r", &["1–2:2 a", "3–6:4 b"]),
            ("\n\r\n\r\ra\n\n\nb", &["5–7:6 a", "8–10:8 b"]),
            // Nothing but line ends makes a line blank.
            (" \n\"\"\n,\n", &["1–2:2  ", "2–5:3 ", "3–7:4 |"]),
            ("a,\n,", &["1–3:2 a|", "2–4:2 |"]),
            // Quotes.
            ("\"a,\"\"b\"\"\",c\n", &["1–12:2 a,\"b\"|c"]),
            ("\"a\nb\r\nc\rd\"\ne", &["1–11:5 a\nb\r\nc\rd", "5–12:5 e"]),
            ("ab\"c\nd", &["1–5:2 ab\"c", "2–6:2 d"]),
            ("\"ab\"cd\ne", &["1–7:2 abcd", "2–8:2 e"]),
            ("\"ab\"c\"d\ne", &["1–8:2 abc\"d", "2–9:2 e"]),
            // How the last record ends.
            ("ab\"c", &["1–4:1 ab\"c"]),
            ("ab\"", &["1–3:1 ab\""]),
            (" \"ab", &["1–4:1  \"ab"]),
            ("\"ab\"", &["1–4:1 ab"]),
            ("\"ab\"cd", &["1–6:1 abcd"]),
            ("\"ab\"\"\"", &["1–6:1 ab\""]),
            ("\"ab\"\"", &["1–5:1 Unclosed"]),
            ("\"ab\n", &["1–4:2 Unclosed"]),
            ("\"", &["1–1:1 Unclosed"]),
            ("a\n\nx,\"ab\r", &["1–2:2 a", "3–9:4 Unclosed"]),
            // A byte order mark left in is content.
            ("\u{feff}a\n\u{feff}b", &["1–5:2 \u{feff}a", "2–9:2 \u{feff}b"]),
        ];
        for (file, expected) in cases {
            assert_records(file.as_bytes(), expected);
        }
    }

    #[test]
    fn a_record_that_is_too_long_is_skipped() {
        let longest = "x".repeat(MAX_RECORD);
        let fields = ",".repeat(MAX_FIELDS - 1);
        let shown_fields = format!("1–64:2 {}", "|".repeat(MAX_FIELDS - 1));
        for (file, expected) in [
            (format!("{longest}\na"), [&*format!("1–16385:2 {longest}"), "2–16386:2 a"]),
            (format!("\"{longest}\"\na"), [&*format!("1–16387:2 {longest}"), "2–16388:2 a"]),
            (format!("{longest}x\r\na"), ["1–16387:2 TooLong", "2–16388:2 a"]),
            (format!("x,{longest}\na"), ["1–16387:2 TooLong", "2–16388:2 a"]),
            (format!("\"{longest}\n\n\",{longest}{longest}\na"), ["1–49158:4 TooLong", "4–49159:4 a"]),
            (format!("{fields}\na"), [&*shown_fields, "2–65:2 a"]),
            (format!("{fields},\na"), ["1–65:2 TooLong", "2–66:2 a"]),
            (format!("{fields}{fields}{fields},x\na"), ["1–192:2 TooLong", "2–193:2 a"]),
            // Up to the file's end.
            (format!("a\n{longest}"), ["1–2:2 a", &*format!("2–16386:2 {longest}")]),
            (format!("a\n{longest}x"), ["1–2:2 a", "2–16387:2 TooLong"]),
            (format!("a\n{fields},"), ["1–2:2 a", "2–66:2 TooLong"]),
            (format!("a\n\"{longest}{longest}"), ["1–2:2 a", "2–32771:2 Unclosed"]),
            (format!("a\n{fields}{fields},\""), ["1–2:2 a", "2–130:2 Unclosed"]),
        ] {
            assert_records(file.as_bytes(), &expected);
        }
    }

    #[test]
    fn first_bytes_tell_what_a_file_is() {
        for (first_bytes, expected) in [
            (&b""[..], Ok(0)),
            (b"a", Ok(0)),
            (b"\0", Ok(0)),
            (b"ab", Ok(0)),
            (b"PK", Ok(0)),
            (b"email", Ok(0)),
            (b"\xEF\xBB", Ok(0)),
            (b"\xEF\xBB\xBF", Ok(3)),
            (b"\xEF\xBB\xBFemail", Ok(3)),
            (b"\xFF\xFE", Err(NotCsv::Utf16)),
            (b"\xFE\xFF\0e", Err(NotCsv::Utf16)),
            (b"\xFF\xFE\0\0e\0\0\0", Err(NotCsv::Utf16)),
            (b"\0\0\xFE\xFF\0\0\0e", Err(NotCsv::Utf16)),
            (b"e\0", Err(NotCsv::Utf16)),
            (b"\0e", Err(NotCsv::Utf16)),
            (b"e\0m\0a\0", Err(NotCsv::Utf16)),
            (b"\0e\0m\0a", Err(NotCsv::Utf16)),
            (b"e\0\0\0m\0\0\0", Err(NotCsv::Utf16)),
            (b"\x1F\x8B\x08", Err(NotCsv::Gzip)),
            (b"PK\x03\x04\x14", Err(NotCsv::Zip)),
        ] {
            assert_eq!(sniff(first_bytes), expected, "{}", first_bytes.escape_ascii());
        }
    }

    /// The records by the `csv` crate, but for the mark that it would take off a file's beginning.
    fn by_csv(file: &[u8]) -> Vec<Vec<Vec<u8>>> {
        let file = [b"\n", file].concat();
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(&file[..]);
        let records = reader.byte_records().map(|record| record.unwrap());
        records.map(|record| record.iter().map(<[u8]>::to_vec).collect()).collect()
    }

    /// The line on which the bytes after these are.
    fn line_after(bytes: &[u8]) -> u64 {
        let crlf = bytes.windows(2).filter(|pair| pair == b"\r\n").count();
        (1 + bytes.iter().filter(|byte| b"\r\n".contains(byte)).count() - crlf) as u64
    }

    fn file() -> impl Strategy<Value = Vec<u8>> {
        let short: &[&[u8]] =
            &[b"a", b",", b"\"", b"\n", b"\r", b"\r\n", b" ", b"\xC3\xA9", b"\xFF", b"\xEF\xBB\xBF"];
        let long: &[&[u8]] = &[&[b'x'; MAX_RECORD / 2], &[b','; MAX_FIELDS / 2]];
        let piece = prop_oneof![40 => prop::sample::select(short), 1 => prop::sample::select(long)];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    fn sizes() -> impl Strategy<Value = Vec<usize>> {
        prop::collection::vec(prop_oneof![4 => 1..8usize, 1 => Just(MAX_RECORD)], 1..10)
    }

    proptest! {
        #[test]
        fn records_are_those_of_the_csv_crate(file in file(), sizes in sizes()) {
            let records = read(&file, Position::default(), &sizes);
            let fields = by_csv(&file);
            let unclosed = by_csv(&[&file, &b"\na"[..]].concat()).len() == fields.len() && !fields.is_empty();
            prop_assert_eq!(records.len(), fields.len());
            for (index, (record, fields)) in records.iter().zip(fields).enumerate() {
                let expected = if unclosed && index + 1 == records.len() {
                    Content::Unclosed
                } else if fields.len() > MAX_FIELDS || fields.concat().len() > MAX_RECORD {
                    Content::TooLong
                } else {
                    Content::Fields(fields)
                };
                prop_assert_eq!(&record.content, &expected);
            }
        }

        #[test]
        fn reading_can_be_resumed_after_any_record(file in file(), sizes in sizes(), others in sizes()) {
            let records = read(&file, Position::default(), &sizes);
            let mut from = 0;
            for (index, record) in records.iter().enumerate() {
                let end = record.end.offset as usize;
                let blank = file[from..].iter().take_while(|byte| b"\r\n".contains(byte)).count();
                prop_assert_eq!(record.line, line_after(&file[..from + blank]));
                prop_assert_eq!(record.end.line, line_after(&file[..end]));
                prop_assert!(!(file[..end].ends_with(b"\r") && file[end..].starts_with(b"\n")));
                prop_assert_eq!(by_csv(&file[from..end]).len(), 1);
                prop_assert_eq!(&read(&file, record.end, &others)[..], &records[index + 1..]);
                from = end;
            }
        }
    }
}

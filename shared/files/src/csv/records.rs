//! Records of a CSV file that arrives in chunks.
//!
//! The format is RFC 4180, read leniently: cells are separated by one of several delimiters and may be quoted. A
//! quote inside quotes is doubled. Blanks around a quoted cell are not part of the cell. Records may differ in
//! their number of cells. Lines end with `\n`, `\r\n` or `\r`. Blank lines are not records, but count as lines.
//!
//! - Memory is bounded: the reader holds one record of limited size, whatever the file contains.
//! - The boundaries of the chunks have no effect on the records.
//! - Each record has the position at which it ends. Reading resumed at that position returns the same remaining
//!   records, with the same line numbers.

use super::Delimiter;

/// Maximum number of bytes in the cells of a record, after unquoting.
pub const MAX_RECORD: usize = 16 * 1024;

/// Maximum number of cells in a record.
pub const MAX_FIELDS: usize = 64;

/// Position at which a record ends and the next one may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Offset in bytes from the beginning of the file.
    pub offset: u64,
    /// Number of the line, as an editor shows it: the first line is 1.
    pub line: u64,
}

/// The beginning of the file.
impl Default for Position {
    fn default() -> Self {
        Self { offset: 0, line: 1 }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    /// Line on which the record begins.
    pub line: u64,
    /// Position after the record, at which reading continues.
    pub end: Position,
    pub content: Content,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Content {
    Cells(Cells),
    /// Longer than [`MAX_RECORD`] or [`MAX_FIELDS`] allow. The record was skipped up to its end.
    TooLong,
    /// The file ends inside quotes. The opening quote may be a mistake; all text after it is lost.
    Unclosed,
}

/// Cells of a record, at least one. A cell need not be UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cells {
    cells: Vec<Vec<u8>>,
    /// Bit set of the quoted cells.
    quoted: u64,
    /// True if text follows the closing quote of a cell. Such text may or may not belong to the cell.
    pub stray: bool,
}

impl Cells {
    pub fn is_quoted(&self, index: usize) -> bool {
        self.quoted >> index & 1 == 1
    }

    /// True if all cells are blank.
    pub fn is_blank(&self) -> bool {
        self.iter().all(|cell| cell.trim_ascii().is_empty())
    }
}

impl std::ops::Deref for Cells {
    type Target = [Vec<u8>];
    fn deref(&self) -> &[Vec<u8>] {
        &self.cells
    }
}

/// Collects unquoted cells.
impl<T: Into<Vec<u8>>> FromIterator<T> for Cells {
    fn from_iter<I: IntoIterator<Item = T>>(cells: I) -> Self {
        Self { cells: cells.into_iter().map(Into::into).collect(), ..Self::default() }
    }
}

/// Position of the reader within a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Beginning,
    /// In blanks that a quote may follow.
    Blanks,
    Unquoted,
    Quoted,
    /// After a quote inside quotes. The quote closes the cell unless another quote follows.
    Quote,
    /// In blanks after the closing quote of a cell.
    Closed,
}

/// Reader that splits a file into records.
pub struct Records {
    delimiter: u8,
    state: State,
    /// End of the bytes that were read.
    at: Position,
    /// True if the last byte was `\r`. A `\n` after it belongs to the same line end.
    after_cr: bool,
    /// Line on which the current record began. `None` between records.
    begun: Option<u64>,
    /// Record that ended with `\r`, kept until the next byte shows whether a `\n` belongs to it.
    ended: Option<Record>,
    too_long: bool,
    /// Content of the cells of the current record, without separators.
    content: Vec<u8>,
    ends: Vec<usize>,
    quoted: u64,
    stray: bool,
}

impl Records {
    /// Starts reading at a position: the beginning of the file's text, or the end of a record.
    pub fn resume(at: Position, delimiter: Delimiter) -> Self {
        Self {
            delimiter: delimiter.byte(),
            state: State::Beginning,
            at,
            after_cr: false,
            begun: None,
            ended: None,
            too_long: false,
            content: Vec::new(),
            ends: Vec::new(),
            quoted: 0,
            stray: false,
        }
    }

    /// Returns the records that are complete with the next bytes of the file. The bytes are read as the records are
    /// taken, so take all records before feeding more bytes.
    pub fn feed(&mut self, mut chunk: &[u8]) -> impl Iterator<Item = Record> {
        std::iter::from_fn(move || self.next(&mut chunk))
    }

    /// Returns the last record if the end of the file completes it.
    pub fn finish(mut self) -> Option<Record> {
        if self.ended.is_some() {
            return self.ended;
        }
        let line = self.begun?;
        let content = match self.state {
            State::Quoted => Content::Unclosed,
            _ => self.take_content(),
        };
        Some(Record { line, end: self.at, content })
    }

    fn next(&mut self, chunk: &mut &[u8]) -> Option<Record> {
        while let Some((&byte, rest)) = chunk.split_first() {
            if let Some(record) = self.ended.take() {
                if byte == b'\n' {
                    self.advance(byte);
                    *chunk = rest;
                }
                return Some(Record { end: self.at, ..record });
            }
            *chunk = rest;
            let line = self.at.line;
            self.advance(byte);
            let ends_line = matches!(byte, b'\n' | b'\r');
            if self.begun.is_none() && ends_line {
                continue;
            }
            let line = *self.begun.get_or_insert(line);
            if !ends_line || self.state == State::Quoted {
                self.read(byte);
                continue;
            }
            self.begun = None;
            let record = Record { line, end: self.at, content: self.take_content() };
            if byte == b'\n' {
                return Some(record);
            }
            self.ended = Some(record);
        }
        None
    }

    /// Reads a byte that does not end the record.
    fn read(&mut self, byte: u8) {
        let blank = byte == b' ' || byte == b'\t';
        self.state = match self.state {
            State::Quoted if byte == b'"' => State::Quote,
            State::Quoted => self.keep(byte, State::Quoted),
            _ if byte == self.delimiter => {
                self.end_cell();
                State::Beginning
            }
            State::Beginning | State::Blanks if byte == b'"' => {
                self.content.truncate(self.ends.last().copied().unwrap_or_default());
                self.quoted |=
                    1_u64.checked_shl(u32::try_from(self.ends.len()).unwrap_or(u32::MAX)).unwrap_or(0);
                State::Quoted
            }
            State::Beginning | State::Blanks if blank => self.keep(byte, State::Blanks),
            State::Beginning | State::Blanks | State::Unquoted => self.keep(byte, State::Unquoted),
            State::Quote if byte == b'"' => self.keep(byte, State::Quoted),
            State::Quote | State::Closed if blank => State::Closed,
            State::Quote | State::Closed => {
                self.stray = true;
                self.keep(byte, State::Unquoted)
            }
        };
    }

    fn keep(&mut self, byte: u8, next: State) -> State {
        if self.content.len() == MAX_RECORD {
            self.too_long = true;
        }
        if !self.too_long {
            self.content.push(byte);
        }
        next
    }

    fn end_cell(&mut self) {
        if self.ends.len() == MAX_FIELDS {
            self.too_long = true;
        }
        if !self.too_long {
            self.ends.push(self.content.len());
        }
    }

    /// Takes the content of the current record and clears the buffers for the next one.
    fn take_content(&mut self) -> Content {
        self.end_cell();
        self.state = State::Beginning;
        let (quoted, stray) = (std::mem::take(&mut self.quoted), std::mem::take(&mut self.stray));
        let content = if std::mem::take(&mut self.too_long) {
            Content::TooLong
        } else {
            let starts = std::iter::once(&0).chain(&self.ends);
            let cells =
                starts.zip(&self.ends).map(|(&start, &end)| self.content[start..end].to_vec()).collect();
            Content::Cells(Cells { cells, quoted, stray })
        };
        self.content.clear();
        self.ends.clear();
        content
    }

    /// Advances the position by one byte.
    fn advance(&mut self, byte: u8) {
        self.at.line += u64::from(byte == b'\r' || byte == b'\n' && !self.after_cr);
        self.after_cr = byte == b'\r';
        self.at.offset += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads the records of a file from a position on, in chunks of these sizes, which are repeated.
    fn read(file: &[u8], at: Position, sizes: &[usize]) -> Vec<Record> {
        let mut records = Records::resume(at, Delimiter::Comma);
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

    /// Formats a record as `line–offset:line field|field`.
    fn show(record: &Record) -> String {
        let content = match &record.content {
            Content::Cells(cells) => {
                let mark = if cells.stray { "!" } else { "" };
                mark.to_owned() + &String::from_utf8_lossy(&cells.join(&b'|'))
            }
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
            // All line ends.
            ("a\nb\n", &["1–2:2 a", "2–4:3 b"]),
            ("a\r\nb\r\n", &["1–3:2 a", "2–6:3 b"]),
            ("a\rb\r", &["1–2:2 a", "2–4:3 b"]),
            ("a\r\r\nb\n\r", &["1–2:2 a", "3–6:4 b"]),
            ("\n\r\n\r\ra\n\n\nb", &["5–7:6 a", "8–10:8 b"]),
            // Only a line without any character is blank.
            (" \n\"\"\n,\n", &["1–2:2  ", "2–5:3 ", "3–7:4 |"]),
            ("a,\n,", &["1–3:2 a|", "2–4:2 |"]),
            // Quotes.
            ("\"a,\"\"b\"\"\",c\n", &["1–12:2 a,\"b\"|c"]),
            ("\"a\nb\r\nc\rd\"\ne", &["1–11:5 a\nb\r\nc\rd", "5–12:5 e"]),
            ("ab\"c\nd", &["1–5:2 ab\"c", "2–6:2 d"]),
            ("\"ab\"cd\ne", &["1–7:2 !abcd", "2–8:2 e"]),
            ("\"ab\"c\"d\ne", &["1–8:2 !abc\"d", "2–9:2 e"]),
            ("\"ab\" c,d\ne", &["1–9:2 !abc|d", "2–10:2 e"]),
            // Blanks around quotes.
            (" \"a\" ,  \"b,\"\t\n \"\n", &["1–14:2 a|b,", "2–17:3 Unclosed"]),
            (" a , \"b", &["1–7:1 Unclosed"]),
            ("x \"a\", b ", &["1–9:1 x \"a\"| b "]),
            // The end of the last record.
            ("ab\"c", &["1–4:1 ab\"c"]),
            ("ab\"", &["1–3:1 ab\""]),
            (" \"ab", &["1–4:1 Unclosed"]),
            ("\"ab\"", &["1–4:1 ab"]),
            ("\"ab\"cd", &["1–6:1 !abcd"]),
            ("\"ab\"\"\"", &["1–6:1 ab\""]),
            ("\"ab\"\"", &["1–5:1 Unclosed"]),
            ("\"ab\n", &["1–4:2 Unclosed"]),
            ("\"", &["1–1:1 Unclosed"]),
            ("a\n\nx,\"ab\r", &["1–2:2 a", "3–9:4 Unclosed"]),
            // A byte order mark that was not removed is content.
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
            // Records up to the end of the file.
            (format!("a\n{longest}"), ["1–2:2 a", &*format!("2–16386:2 {longest}")]),
            (format!("a\n{longest}x"), ["1–2:2 a", "2–16387:2 TooLong"]),
            (format!("a\n{fields},"), ["1–2:2 a", "2–66:2 TooLong"]),
            (format!("a\n\"{longest}{longest}"), ["1–2:2 a", "2–32771:2 Unclosed"]),
            (format!("a\n{fields}{fields},\""), ["1–2:2 a", "2–130:2 Unclosed"]),
        ] {
            assert_records(file.as_bytes(), &expected);
        }
    }

    /// Reads the records with the `csv` crate, but keeps the byte order mark that the crate removes from the
    /// beginning of a file.
    fn by_csv(file: &[u8]) -> Vec<Vec<Vec<u8>>> {
        let file = [b"\n", file].concat();
        let mut reader = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(&file[..]);
        let records = reader.byte_records().map(|record| record.unwrap());
        records.map(|record| record.iter().map(<[u8]>::to_vec).collect()).collect()
    }

    /// Returns the number of the line after these bytes.
    fn line_after(bytes: &[u8]) -> u64 {
        let crlf = bytes.windows(2).filter(|pair| pair == b"\r\n").count();
        (1 + bytes.iter().filter(|byte| b"\r\n".contains(byte)).count() - crlf) as u64
    }

    /// Generates files with or without blanks. The `csv` crate keeps the blanks around quotes.
    fn file(blanks: bool) -> impl Strategy<Value = Vec<u8>> {
        let short: &[&[u8]] =
            &[b" ", b"\t", b"a", b",", b"\"", b"\n", b"\r", b"\r\n", b"\xC3\xA9", b"\xFF", b"\xEF\xBB\xBF"];
        let short = if blanks { short } else { &short[2..] };
        let long: &[&[u8]] = &[&[b'x'; MAX_RECORD / 2], &[b','; MAX_FIELDS / 2]];
        let piece = prop_oneof![40 => prop::sample::select(short), 1 => prop::sample::select(long)];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    fn sizes() -> impl Strategy<Value = Vec<usize>> {
        prop::collection::vec(prop_oneof![4 => 1..8usize, 1 => Just(MAX_RECORD)], 1..10)
    }

    proptest! {
        #[test]
        fn records_are_those_of_the_csv_crate(file in file(false), sizes in sizes()) {
            let records = read(&file, Position::default(), &sizes);
            let fields = by_csv(&file);
            let unclosed = by_csv(&[&file, &b"\na"[..]].concat()).len() == fields.len() && !fields.is_empty();
            prop_assert_eq!(records.len(), fields.len());
            for (index, (record, fields)) in records.iter().zip(fields).enumerate() {
                match &record.content {
                    Content::Unclosed => prop_assert!(unclosed && index + 1 == records.len()),
                    Content::TooLong => {
                        prop_assert!(fields.len() > MAX_FIELDS || fields.concat().len() > MAX_RECORD);
                    }
                    Content::Cells(cells) => prop_assert_eq!(&cells[..], &fields[..]),
                }
                prop_assert!(record.content == Content::Unclosed || !(unclosed && index + 1 == records.len()));
            }
        }

        #[test]
        fn reading_can_be_resumed_after_any_record(file in file(true), sizes in sizes(), others in sizes()) {
            let records = read(&file, Position::default(), &sizes);
            let mut from = 0;
            for (index, record) in records.iter().enumerate() {
                let end = record.end.offset as usize;
                let blank = file[from..].iter().take_while(|byte| b"\r\n".contains(byte)).count();
                prop_assert_eq!(record.line, line_after(&file[..from + blank]));
                prop_assert_eq!(record.end.line, line_after(&file[..end]));
                prop_assert!(!(file[..end].ends_with(b"\r") && file[end..].starts_with(b"\n")));
                prop_assert_eq!(read(&file[from..end], Position::default(), &others).len(), 1);
                prop_assert_eq!(&read(&file, record.end, &others)[..], &records[index + 1..]);
                from = end;
            }
        }
    }
}

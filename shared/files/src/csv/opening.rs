//! Beginning of a file: detects other formats, and the delimiter.

use super::{
    Delimiter,
    records::{Cells, Content, Position, Records},
};

/// Number of bytes to read before opening a file. A shorter file is read completely.
pub const HEAD: usize = 64 * 1024;

/// Format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    pub delimiter: Delimiter,
    /// Start of the first row, after a byte order mark and a line `sep=`.
    pub start: Position,
}

/// Format of a file that is not text in UTF-8 or another superset of ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCsv {
    /// UTF-16 or UTF-32 text.
    Utf16,
    Gzip,
    /// Zip archive. Spreadsheets (.xlsx, .ods) are zip archives as well.
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

/// Detects the format of a file. A line `sep=` names the delimiter. Otherwise, the delimiter is the one with which
/// the first row has the highest rank, and among equal ranks the most cells. `rank` rates how much a row looks like
/// the header of the expected kind of file.
///
/// # Errors
/// When the file is not CSV.
pub fn open(head: &[u8], rank: impl Fn(&Cells) -> u8) -> Result<Opening, NotCsv> {
    let mark = byte_order_mark(head)?;
    let text = &head[mark..];
    if let Some((delimiter, length)) = named(text) {
        let start = Position { offset: (mark + length) as u64, line: 2 };
        return Ok(Opening { delimiter, start });
    }
    let rank = |delimiter: &Delimiter| {
        let mut records = Records::resume(Position::default(), *delimiter);
        let first = records.feed(text).next();
        let first = first.or_else(|| records.finish());
        match first.map(|record| record.content) {
            Some(Content::Cells(cells)) => (rank(&cells), cells.len()),
            _ => (0, 0),
        }
    };
    // Of equal candidates, the first delimiter wins: a file with a single column has none.
    let best = Delimiter::ALL.into_iter().rev().max_by_key(rank);
    let start = Position { offset: mark as u64, line: 1 };
    Ok(Opening { delimiter: best.unwrap_or_default(), start })
}

/// Returns the delimiter that a first line such as `sep=;` names, and the length of that line.
fn named(text: &[u8]) -> Option<(Delimiter, usize)> {
    let length = text.iter().position(|byte| matches!(byte, b'\n' | b'\r'))?;
    let line = std::str::from_utf8(&text[..length]).ok()?;
    let line = line.strip_prefix('"').and_then(|line| line.strip_suffix('"')).unwrap_or(line);
    let separator = line.split_at_checked(4).filter(|(sep, _)| sep.eq_ignore_ascii_case("sep="))?.1;
    let mut characters = separator.chars();
    let delimiter = Delimiter::new(characters.next()?)?;
    let ending = if text[length..].starts_with(b"\r\n") { 2 } else { 1 };
    characters.next().is_none().then_some((delimiter, length + ending))
}

/// Returns the length of the UTF-8 byte order mark at the beginning of the file: 3 bytes or 0.
///
/// # Errors
/// When the first 4 bytes show that the file is not CSV.
fn byte_order_mark(first_bytes: &[u8]) -> Result<usize, NotCsv> {
    match first_bytes {
        [0xEF, 0xBB, 0xBF, ..] => Ok(3),
        // The marks of UTF-32 are the last one here, and the first one followed by two NUL bytes.
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] | [0, 0, 0xFE, 0xFF, ..] => Err(NotCsv::Utf16),
        // Without a mark, an ASCII character has NUL bytes before or after it.
        [0, _, 0, _, ..] | [_, 0, _, 0, ..] | [0, _] | [_, 0] => Err(NotCsv::Utf16),
        [0x1F, 0x8B, ..] => Err(NotCsv::Gzip),
        [b'P', b'K', 3, 4, ..] => Err(NotCsv::Zip),
        _ => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Opens a file whose header should have a column `code`.
    fn opened(head: &[u8]) -> (char, u64, u64) {
        let rank = |cells: &Cells| u8::from(cells.iter().any(|cell| cell.eq_ignore_ascii_case(b"code")));
        let Opening { delimiter, start } = open(head, rank).unwrap();
        (delimiter.into(), start.offset, start.line)
    }

    #[test]
    fn the_delimiter_is_the_one_by_which_the_first_row_is_a_header() {
        for (head, expected) in [
            (&b"code,platform\nA,ios\n"[..], (',', 0, 1)),
            (b"code;platform\nA;ios\n", (';', 0, 1)),
            (b"platform\tcode", ('\t', 0, 1)),
            (b"\xEF\xBB\xBFcode|platform\r\n", ('|', 3, 1)),
            (b"\n\r\n\"code\"; \"platform\"\n", (';', 0, 1)),
            // The names of this header contain other delimiters.
            (b"code,a;b;c;d\n", (',', 0, 1)),
            (b"\"a,b,c\";code\n", (';', 0, 1)),
            (b"code", (',', 0, 1)),
            (b"", (',', 0, 1)),
            (b"x;y\n", (';', 0, 1)),
            // Files that name their delimiter.
            (b"sep=;\ncode;platform\n", (';', 6, 2)),
            (b"\xEF\xBB\xBFSEP=,\r\ncode\r\n", (',', 10, 2)),
            (b"\"sep=\t\"\rcode\r", ('\t', 8, 2)),
            (b"sep=x\ncode\n", (',', 0, 1)),
            (b"sep=;;\ncode\n", (';', 0, 1)),
        ] {
            assert_eq!(opened(head), expected, "{}", head.escape_ascii());
        }
    }

    #[test]
    fn first_bytes_tell_what_a_file_is() {
        for (first_bytes, expected) in [
            (&b""[..], Ok(0)),
            (b"a", Ok(0)),
            (b"id,email", Ok(0)),
            (b"\xE9t\xE9", Ok(0)),
            (b"\xEF\xBB", Ok(0)),
            (b"\xEF\xBB\xBF", Ok(3)),
            (b"\xEF\xBB\xBFid", Ok(3)),
            (b"\xFF\xFEe\0", Err(NotCsv::Utf16)),
            (b"\xFE\xFF\0e", Err(NotCsv::Utf16)),
            (b"\xFF\xFE\0\0e\0\0\0", Err(NotCsv::Utf16)),
            (b"\0\0\xFE\xFF", Err(NotCsv::Utf16)),
            (b"e\0m\0a\0", Err(NotCsv::Utf16)),
            (b"\0e\0m\0a", Err(NotCsv::Utf16)),
            (b"e\0\0\0m\0\0\0", Err(NotCsv::Utf16)),
            (b"\x1F\x8B\x08", Err(NotCsv::Gzip)),
            (b"PK\x03\x04\x14", Err(NotCsv::Zip)),
        ] {
            assert_eq!(byte_order_mark(first_bytes), expected, "{}", first_bytes.escape_ascii());
        }
    }
}

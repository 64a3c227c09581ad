//! CSV files as people and spreadsheets write them: one reader for all files that the platform accepts, and
//! escaping for the cells of the files that it returns.
//!
//! The reader accepts every unambiguous file: four delimiters, a first line `sep=`, blanks before a quoted cell, a
//! byte order mark, and column names in any case with any separators. A [`Report`] names everything that was read
//! differently from how it is written. Cells and columns that can't be meant as they are written are refused.

mod cells;
mod header;
mod opening;
mod records;
mod report;

pub use cells::{damage, looks_like_a_date, neutral, unwrapped};
pub use header::{Header, HeaderRow, Known, unclear};
pub use opening::{HEAD, NotCsv, Opening, open};
pub use records::{Cells, Content, MAX_FIELDS, MAX_RECORD, Position, Record, Records};
pub use report::{Remark, Report};

/// Separator between the cells of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delimiter {
    #[default]
    Comma,
    Semicolon,
    Tab,
    Bar,
}

impl Delimiter {
    pub const ALL: [Self; 4] = [Self::Comma, Self::Semicolon, Self::Tab, Self::Bar];

    /// Returns the delimiter with this character, if there is one.
    pub fn new(character: char) -> Option<Self> {
        Self::ALL.into_iter().find(|delimiter| char::from(*delimiter) == character)
    }

    fn byte(self) -> u8 {
        match self {
            Self::Comma => b',',
            Self::Semicolon => b';',
            Self::Tab => b'\t',
            Self::Bar => b'|',
        }
    }
}

impl From<Delimiter> for char {
    fn from(delimiter: Delimiter) -> Self {
        char::from(delimiter.byte())
    }
}

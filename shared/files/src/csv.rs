//! CSV as people and their spreadsheets write it: one reader for all files that the platform takes, and what makes a
//! cell of a file that it gives harmless.
//!
//! The reader takes everything unambiguous: any of four delimiters, a line `sep=`, blanks before a quoted cell, a byte order mark,
//! column names in any case and with any separators. What is not as it seems is named in a [`Report`], and what
//! can't be meant is refused.

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

/// The separator between the cells of a row.
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

    /// The delimiter that the character is, if it is one.
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

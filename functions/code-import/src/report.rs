//! What is wrong with a file, row by row, as a CSV that its owner can open.

use crate::rows::Rejection;

/// Lines of `line,column,reason`. Nothing of the file itself is repeated.
pub struct Report {
    csv: csv::Writer<Vec<u8>>,
    lines: u64,
}

impl Report {
    pub fn new() -> Self {
        Self { csv: csv::Writer::from_writer(Vec::new()), lines: 0 }
    }

    pub fn add(&mut self, line: u64, rejection: &Rejection) -> Result<(), csv::Error> {
        if self.lines == 0 {
            self.csv.write_record(["line", "column", "reason"])?;
        }
        self.lines += 1;
        self.csv.write_record([line.to_string().as_str(), rejection.column, &rejection.reason])
    }

    /// The file; `None` when there is nothing to report.
    pub fn finish(self) -> Result<Option<Vec<u8>>, csv::Error> {
        let lines = self.lines;
        let csv = self.csv.into_inner().map_err(|error| error.into_error())?;
        Ok((lines > 0).then_some(csv))
    }
}

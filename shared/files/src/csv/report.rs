//! Report about a file, line by line, as a CSV file for the owner of the file.

use std::borrow::Cow;

use super::neutral;

/// Remark about a row or a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Name of the column. Empty if the remark is about the whole row.
    pub column: Cow<'static, str>,
    /// Reason as the rest of a sentence whose subject is the column, the row or the file.
    pub reason: String,
}

impl Remark {
    pub fn new(column: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        Self { column: column.into(), reason: reason.into() }
    }

    pub fn row(reason: impl Into<String>) -> Self {
        Self::new("", reason)
    }
}

/// Lines of `line,column,reason`. The report repeats the names of columns and no other content of the file.
pub struct Report {
    csv: ::csv::Writer<Vec<u8>>,
    lines: u64,
}

impl Default for Report {
    fn default() -> Self {
        Self { csv: ::csv::Writer::from_writer(Vec::new()), lines: 0 }
    }
}

impl Report {
    /// Adds a remark on a line.
    ///
    /// # Errors
    /// Never, because the report is in memory.
    pub fn add(&mut self, line: u64, remark: &Remark) -> Result<(), ::csv::Error> {
        self.write([line.to_string().as_str(), &neutral(&remark.column), &neutral(&remark.reason)])
    }

    fn write(&mut self, cells: [&str; 3]) -> Result<(), ::csv::Error> {
        if self.lines == 0 {
            self.csv.write_record(["line", "column", "reason"])?;
        }
        self.lines += 1;
        self.csv.write_record(cells)
    }

    /// Merges several reports into one, ordered by line.
    ///
    /// # Errors
    /// When one of them is not a report.
    pub fn merged(reports: &[Vec<u8>]) -> Result<Self, ::csv::Error> {
        let mut rows = Vec::new();
        for report in reports {
            for row in ::csv::Reader::from_reader(report.as_slice()).into_records() {
                let row = row?;
                rows.push((row.get(0).and_then(|line| line.parse::<u64>().ok()).unwrap_or_default(), row));
            }
        }
        rows.sort_by_key(|(line, _)| *line);
        let mut merged = Self::default();
        for (_, row) in rows {
            let cell = |index| row.get(index).unwrap_or_default();
            merged.write([cell(0), cell(1), cell(2)])?;
        }
        Ok(merged)
    }

    /// Returns the report as a file. `None` if there are no remarks.
    ///
    /// # Errors
    /// Never, because the report is in memory.
    pub fn finish(self) -> Result<Option<Vec<u8>>, ::csv::Error> {
        let lines = self.lines;
        let csv = self.csv.into_inner().map_err(|error| error.into_error())?;
        Ok((lines > 0).then_some(csv))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_merged_by_line_and_run_in_no_spreadsheet() {
        let report = |lines: &[(u64, &'static str, &str)]| {
            let mut report = Report::default();
            for (line, column, reason) in lines {
                report.add(*line, &Remark::new(*column, *reason)).unwrap();
            }
            report.finish().unwrap()
        };
        assert_eq!(report(&[]), None);
        let one = report(&[(1, "=cmd()", "is passed over"), (10, "", "a, \"b\"")]).unwrap();
        let other = report(&[(2, "code", "x"), (10, "code", "y")]).unwrap();
        let merged = Report::merged(&[one, other]).unwrap().finish().unwrap().unwrap();
        assert_eq!(
            String::from_utf8(merged).unwrap(),
            "line,column,reason\n1,'=cmd(),is passed over\n2,code,x\n10,,\"a, \"\"b\"\"\"\n10,code,y\n"
        );
    }
}

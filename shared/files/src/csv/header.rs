//! Header of a file: the meaning of each column.

use domain::text::{Line, name_key};

use super::{Cells, Remark};

/// Column that a kind of file may have.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    pub name: &'static str,
    /// Beginnings of words by which other systems name the column, folded in case. If the column is missing, a
    /// column with such a word in its name is refused as a probable mistake. A beginning of up to three letters
    /// matches only the whole word.
    pub words: &'static [&'static str],
}

/// Columns of a file. Each is the name of a known column, or the file's own name for a column that is ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header(Vec<String>);

/// Header row in the middle of a file, as in files that were concatenated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderRow {
    /// Same columns as in the header of the file.
    Again,
    /// Other columns, which the following rows have as well.
    Another,
}

impl Header {
    /// Returns the header of a file with these columns, whose header was read before or which has no header row.
    pub fn named(names: Vec<String>) -> Self {
        Self(names)
    }

    /// Reads a header. A column is recognised by the letters and digits of its name, in any case. Remarks name the
    /// columns that are written differently, and the columns that are ignored.
    ///
    /// # Errors
    /// Reason for refusing the header, in words for the owner of the file. The first column of `known` is required.
    pub fn read(cells: &Cells, known: &[Known]) -> Result<(Self, Vec<Remark>), String> {
        if cells.stray {
            return Err("the header has text after a closing quote".to_owned());
        }
        let texts: Option<Vec<&str>> = cells.iter().map(|cell| std::str::from_utf8(cell).ok()).collect();
        let texts = texts.ok_or("the header is not UTF-8")?;
        let keys: Vec<String> = texts.iter().map(|text| name_key(text)).collect();
        let column = |known: &Known| keys.iter().position(|key| *key == name_key(known.name));
        for known in known {
            if keys.iter().filter(|key| **key == name_key(known.name)).count() > 1 {
                return Err(format!("the header has two columns `{}`", known.name));
            }
        }
        if let Some(required) = known.first().filter(|known| column(known).is_none()) {
            let meant = texts.iter().position(|text| resembles(text, required));
            let hint = meant.map(|at| format!("; is it column {}?", at + 1)).unwrap_or_default();
            return Err(format!("the header has no column `{}`{hint}", required.name));
        }
        let mut names = Vec::new();
        let mut remarks = Vec::new();
        for (index, (text, key)) in texts.iter().zip(&keys).enumerate() {
            if let Some(known) = known.iter().find(|known| *key == name_key(known.name)) {
                if text.trim().to_lowercase() != known.name {
                    let reason = format!("is read from the column `{}`", shown(text));
                    remarks.push(Remark::new(known.name, reason));
                }
                names.push(known.name.to_owned());
                continue;
            }
            if key.is_empty() && !text.chars().any(char::is_alphanumeric) {
                names.push(String::new());
                continue;
            }
            let missing = known.iter().filter(|known| column(known).is_none());
            if let Some(meant) = missing.into_iter().find(|known| resembles(text, known)) {
                return Err(unclear(index, text, meant.name));
            }
            let listed: Vec<&str> = known.iter().map(|known| known.name).collect();
            let reason =
                format!("is an unknown column and is ignored: the known columns are {}", listed.join(", "));
            remarks.push(Remark::new(shown(text), reason));
            names.push(shown(text));
        }
        Ok((Self(names), remarks))
    }

    pub fn names(&self) -> &[String] {
        &self.0
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|column| column == name)
    }

    /// Returns the kind of header row if a row in the middle of the file is one. `known` holds the columns with
    /// which the file's header was read.
    pub fn row(&self, cells: &Cells, known: &[Known]) -> Option<HeaderRow> {
        let required = known.first()?.name;
        // Most rows are not headers, so this check must be fast.
        let may_be = |cell: &[u8]| {
            cell.len() <= 3 * required.len() + 8
                && cell.windows(required.len()).any(|part| part.eq_ignore_ascii_case(required.as_bytes()))
        };
        if !cells.iter().any(|cell| may_be(cell)) {
            return None;
        }
        let key = |cell: &[u8]| name_key(&String::from_utf8_lossy(cell));
        let keys: Vec<String> = cells.iter().map(|cell| key(cell)).collect();
        if !keys.contains(&name_key(required)) {
            return None;
        }
        let own = |index: usize| self.0.get(index).map(|name| name_key(name)).unwrap_or_default();
        if keys.iter().enumerate().all(|(index, key)| key.is_empty() || *key == own(index)) {
            return Some(HeaderRow::Again);
        }
        let own_names: Vec<String> = self.0.iter().map(|name| name_key(name)).collect();
        // A similar name counts only where the required column is in its place, because the row could hold a code
        // otherwise.
        let in_place = own_names.iter().position(|name| *name == name_key(required));
        let in_place = in_place.is_some_and(|at| keys.get(at) == own_names.get(at));
        let is_name = |(key, cell): (&String, &Vec<u8>)| {
            let is = |known: &Known| {
                *key == name_key(known.name) || in_place && resembles(&String::from_utf8_lossy(cell), known)
            };
            key.is_empty() || own_names.contains(key) || known.iter().any(is)
        };
        keys.iter().zip(cells.iter()).all(is_name).then_some(HeaderRow::Another)
    }

    /// Checks that each cell of a row belongs to a column.
    ///
    /// # Errors
    /// Reason why the row can't be read.
    pub fn check(&self, cells: &Cells) -> Result<(), Remark> {
        if cells.stray {
            return Err(Remark::row("has text after a closing quote"));
        }
        let used = cells.iter().rposition(|cell| !cell.trim_ascii().is_empty()).map_or(0, |last| last + 1);
        if used > self.0.len() {
            let reason = format!("has {used} columns, and the header has {}", self.0.len());
            return Err(Remark::row(reason));
        }
        let unnamed = |index: &usize| self.0[*index].is_empty() && !cells[*index].trim_ascii().is_empty();
        match (0..used).find(unnamed) {
            Some(index) => {
                Err(Remark::row(format!("has something in column {}, which has no name", index + 1)))
            }
            None => Ok(()),
        }
    }

    /// Returns the trimmed text in a known column, and true if the cell is quoted. `None` if the cell is blank or
    /// absent.
    ///
    /// # Errors
    /// When the cell is not UTF-8.
    pub fn cell<'a>(&self, cells: &'a Cells, name: &'static str) -> Result<Option<(&'a str, bool)>, Remark> {
        let Some(index) = self.0.iter().position(|column| column == name) else { return Ok(None) };
        let Some(cell) = cells.get(index) else { return Ok(None) };
        let text = std::str::from_utf8(cell).map_err(|_| Remark::new(name, "is not UTF-8"))?.trim();
        Ok((!text.is_empty()).then(|| (text, cells.is_quoted(index))))
    }
}

/// Returns the reason for refusing a file with a column that is probably a known column under another name.
pub fn unclear(index: usize, text: &str, meant: &str) -> String {
    let called = match shown(text) {
        name if name.is_empty() => format!("column {}", index + 1),
        name => format!("the column `{name}`"),
    };
    format!("{called} seems to be `{meant}`: rename or remove the column")
}

/// Returns a name in a form that may be repeated to the user: one line of at most 60 characters.
fn shown(text: &str) -> String {
    let start: String = text.trim().chars().take(60).collect();
    Line::try_from(start).map(String::from).unwrap_or_default()
}

/// True if a column of this name may be meant as the known column, because of a word in its name or a typing error.
fn resembles(text: &str, known: &Known) -> bool {
    let key = name_key(text);
    let name = name_key(known.name);
    distance(&key, &name) <= name.len() / 4
        || words(text).iter().any(|word| {
            known
                .words
                .iter()
                .any(|known| if known.chars().count() <= 3 { word == known } else { word.starts_with(known) })
        })
}

/// Splits a name into words: `Valid-until` and `validUntil` become `valid`, `until`.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut before: Option<char> = None;
    for character in text.chars() {
        if character.is_alphanumeric() {
            let inside = before.is_some_and(|before| {
                before.is_alphanumeric() && !(before.is_lowercase() && character.is_uppercase())
            });
            if !inside {
                words.push(String::new());
            }
            if let Some(word) = words.last_mut() {
                word.push(character);
            }
        }
        before = Some(character);
    }
    words.iter().map(|word| name_key(word)).collect()
}

/// Returns the number of letters to add, leave out, change or swap (optimal string alignment).
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().take(30).collect(), other.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=other.len()).collect()];
    for (i, letter) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, wanted) in other.iter().enumerate() {
            let changed = rows[i][j] + usize::from(letter != wanted);
            let mut least = changed.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *letter == other[j - 1] && one[i - 1] == *wanted {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [Known; 3] = [
        Known { name: "code", words: &["coupon"] },
        Known { name: "platform", words: &["os"] },
        Known { name: "expires_at", words: &["expir", "until", "end"] },
    ];

    fn read(cells: &[&str]) -> Result<(Vec<String>, Vec<String>), String> {
        let (header, remarks) = Header::read(&cells.iter().copied().collect(), &KNOWN)?;
        Ok((header.0, remarks.into_iter().map(|remark| remark.column.into_owned()).collect()))
    }

    #[test]
    fn columns_are_known_by_their_letters() {
        for (cells, names, remarks) in [
            (&["code", "Expires_At "][..], "code expires_at", ""),
            (&["CODE", "Expires At"], "code expires_at", "expires_at"),
            (&["code", "expires-at"], "code expires_at", "expires_at"),
            (&["code", "expiresAt"], "code expires_at", "expires_at"),
            (&["code", "\u{200b}expires_at"], "code expires_at", "expires_at"),
            (&["\u{feff}code", "ｐｌａｔｆｏｒｍ"], "code platform", "code platform"),
            (&["code", "note", "", " ", "x"], "code note   x", "note x"),
            (&["code", "platform", "os"], "code platform os", "os"),
            (&["code", "Vendor", "sender"], "code Vendor sender", "Vendor sender"),
        ] {
            let (found, remarked) = read(cells).unwrap();
            assert_eq!(
                (found.join(" ").as_str(), remarked.join(" ").as_str()),
                (names, remarks),
                "{cells:?}"
            );
        }
        for (cells, reason) in [
            (&["code", "expiry_date"][..], "`expiry_date` seems to be `expires_at`"),
            (&["code", "Valid until"], "`Valid until` seems to be `expires_at`"),
            (&["code", "endDate"], "`endDate` seems to be `expires_at`"),
            (&["code", "end"], "`end` seems to be `expires_at`"),
            (&["code", "expries_at"], "`expries_at` seems to be `expires_at`"),
            (&["code", "platfrom"], "`platfrom` seems to be `platform`"),
            (&["code", "OS"], "`OS` seems to be `platform`"),
            (&["x", "Coupon"], "the header has no column `code`; is it column 2?"),
            (&["codes"], "the header has no column `code`; is it column 1?"),
            (&["code", "Code"], "two columns `code`"),
            (&["code", "expires at", "expires_at"], "two columns `expires_at`"),
        ] {
            let found = read(cells).unwrap_err();
            assert!(found.contains(reason), "{cells:?}: {found}");
        }
        assert!(Header::read(&[vec![0xff]].into_iter().collect(), &KNOWN).is_err());
    }

    #[test]
    fn a_header_in_the_middle_is_no_row() {
        let header = Header::named(["code", "platform", "note"].map(str::to_owned).to_vec());
        let row = |cells: &[&str]| header.row(&cells.iter().copied().collect(), &KNOWN);
        for cells in [&["code", "platform", "note"][..], &["\u{feff}Code", "PLATFORM"], &["code"]] {
            assert_eq!(row(cells), Some(HeaderRow::Again), "{cells:?}");
        }
        for cells in [
            &["platform", "code"][..],
            &["code", "expires_at"],
            &["note", "code"],
            &["note", "", "code"],
            &["code", "Valid until"],
        ] {
            assert_eq!(row(cells), Some(HeaderRow::Another), "{cells:?}");
        }
        for cells in [&["CODE-1", "ios"][..], &["A", "code"], &["code", "ios"], &["", "platform"]] {
            assert_eq!(row(cells), None, "{cells:?}");
        }
    }

    #[test]
    fn every_cell_has_its_column() {
        let header = Header::named(["code", "", "note"].map(str::to_owned).to_vec());
        let check = |cells: &[&str]| header.check(&cells.iter().copied().collect());
        assert!(check(&["A", "", "x", "", " "]).is_ok() && check(&["A"]).is_ok());
        assert!(check(&["A", "x"]).unwrap_err().reason.contains("column 2"));
        assert!(check(&["A", "", "x", "", "y"]).unwrap_err().reason.contains("has 5 columns"));
        let mut stray: Cells = ["A"].into_iter().collect();
        stray.stray = true;
        assert!(header.check(&stray).is_err());
    }
}

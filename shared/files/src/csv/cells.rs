//! Cells that a spreadsheet has damaged, and cells that are dangerous in a spreadsheet.

use domain::text::begins_like_a_formula;

/// Returns the cell with a `'` wherever a spreadsheet would run the text that follows as a formula (OWASP, CSV
/// injection): at the beginning of the cell, and after a character that separates cells or rows in a spreadsheet
/// that assumes another delimiter and ignores the quotes.
pub fn neutral(cell: &str) -> String {
    let mut safe = String::with_capacity(cell.len());
    let mut begins = true;
    for (at, character) in cell.char_indices() {
        if begins && begins_like_a_formula(cell[at..].trim_start_matches([' ', '"'])) {
            safe.push('\'');
        }
        safe.push(character);
        begins = matches!(character, ';' | '\t' | '\n' | '\r');
    }
    safe
}

/// Returns the text inside `="…"`, which spreadsheets write so that the text is not read as a number.
pub fn unwrapped(cell: &str) -> Option<&str> {
    cell.strip_prefix("=\"")?.strip_suffix('"').filter(|text| !text.is_empty() && !text.contains('"'))
}

/// Describes the damage if a spreadsheet has converted the text to something else. The original text is lost.
pub fn damage(cell: &str) -> Option<&'static str> {
    if is_error(cell) {
        Some("is an error value of a spreadsheet; the original text is lost")
    } else if is_float(cell) {
        Some("is a number that a spreadsheet has made of it: format the column as text")
    } else if looks_like_a_date(cell) || is_short_date(cell) {
        Some("is a date that a spreadsheet has made of it: format the column as text")
    } else if cell.contains('\u{fffd}') {
        Some("has a character that was lost when the file was saved: save it as UTF-8")
    } else {
        None
    }
}

/// True for error values such as `#NAME?`, `#REF!`, `#DIV/0!`, `#N/A` and the German `#NV`, and for `####`, which
/// is shown for a value that is too wide.
fn is_error(cell: &str) -> bool {
    let Some(name) = cell.strip_prefix('#') else { return false };
    let shouted =
        name.chars().all(|character| character.is_uppercase() || matches!(character, '/' | '0' | '_'));
    let ends = name.strip_suffix(['!', '?']).is_some_and(|name| {
        !name.is_empty()
            && name.chars().all(|character| character.is_uppercase() || matches!(character, '/' | '0' | '_'))
    });
    ends || (shouted && matches!(name, "N/A" | "NV" | "N/D" | "GETTING_DATA"))
        || (!name.is_empty() && name.bytes().all(|byte| byte == b'#'))
}

/// True for `1.23E+10`, `1,23E+10` and `1234.0`, and for a number of 18 digits or more of which only the first 15
/// are left.
fn is_float(cell: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((mantissa, exponent)) = cell.split_once(['E', 'e'])
        && let Some(exponent) = exponent.strip_prefix(['+', '-'])
    {
        let (whole, fraction) = mantissa.split_once(['.', ',']).unwrap_or((mantissa, "0"));
        return digits(whole) && digits(fraction) && digits(exponent);
    }
    if let Some(whole) = cell.strip_suffix(".0") {
        return digits(whole);
    }
    digits(cell) && cell.len() >= 18 && cell[15..].bytes().all(|byte| byte == b'0')
}

/// True for a numeric date in any order and with any separators, with or without a time.
pub fn looks_like_a_date(cell: &str) -> bool {
    let date = cell.split([' ', 'T']).next().unwrap_or_default();
    let Some(separator) = date.chars().find(|character| !character.is_ascii_digit()) else { return false };
    if !['-', '/', '.'].contains(&separator) {
        return false;
    }
    let parts: Option<Vec<(usize, u32)>> =
        date.split(separator).map(|part| Some((part.len(), part.parse().ok()?))).collect();
    let Some([(first, a), (_, b), (last, c)]) =
        parts.as_deref().and_then(|parts| parts.first_chunk().copied())
    else {
        return false;
    };
    let is_day = |one: u32, other: u32| one.min(other) >= 1 && one.min(other) <= 12 && one.max(other) <= 31;
    date.split(separator).count() == 3
        && match (first, last) {
            (4, 1..=2) => (1900..=9999).contains(&a) && is_day(b, c),
            (1..=2, 4) => (1900..=9999).contains(&c) && is_day(a, b),
            (1..=2, 2) => separator != '-' && is_day(a, b),
            _ => false,
        }
}

/// True for `1-Mar` or `Mar-01`, which spreadsheets make of `1-3` and `MAR1`. Spreadsheets write the month exactly
/// in this form.
fn is_short_date(cell: &str) -> bool {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let Some((one, other)) = cell.split_once('-') else { return false };
    let number = |text: &str| (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    (number(one) && MONTHS.contains(&other)) || (MONTHS.contains(&one) && number(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_runs_whatever_the_delimiter_of_the_spreadsheet() {
        for (cell, safe) in [
            ("plain; text", "plain; text"),
            ("a-b=c", "a-b=c"),
            ("=1", "'=1"),
            ("＝1", "'＝1"),
            ("﹢1", "'﹢1"),
            ("@x", "'@x"),
            ("\tx", "'\tx"),
            ("a;=cmd()", "a;'=cmd()"),
            ("a;\"=cmd()", "a;'\"=cmd()"),
            ("a; +1", "a;' +1"),
            ("a;＠b;-c", "a;'＠b;'-c"),
            ("a\n=b", "a\n'=b"),
            ("a,=b", "a,=b"),
        ] {
            assert_eq!(neutral(cell), safe);
        }
    }

    #[test]
    fn what_a_spreadsheet_has_made_of_a_text_is_recognised() {
        for (kind, cells) in [
            ("number", &["1.23E+10", "1,23457E+15", "9E-05", "1e+3", "12345.0", "123456789012345000"][..]),
            ("error", &["#NAME?", "#REF!", "#DIV/0!", "#N/A", "#WERT!", "#NV", "########"]),
            (
                "date",
                &[
                    "2026-03-01",
                    "01.03.2026",
                    "3/1/2026",
                    "31/12/26",
                    "2026-03-01 00:00:00",
                    "1-Mar",
                    "Mar-01",
                ],
            ),
            ("lost", &["CAF\u{fffd}"]),
        ] {
            for cell in cells {
                assert!(damage(cell).is_some_and(|reason| reason.contains(kind)), "{cell}");
            }
        }
        for cell in [
            "5E10",
            "1E",
            "E+10",
            "AE+10",
            "12345",
            "1234567890123450",
            "#1",
            "#SAVE",
            "#sale!",
            "MAR-10",
            "1-MAR",
            "12-34-56",
            "2026-13-32",
            "2026-03-01-X",
            "1.2.3",
            "40.20.3000",
            "20-26-2026",
            "A-1",
            "12.0.1",
            "",
        ] {
            assert_eq!(damage(cell), None, "{cell}");
        }
        assert_eq!(unwrapped("=\"00123\""), Some("00123"));
        for cell in ["=\"\"", "=\"a\"&\"b\"", "=1", "\"a\"", "=\"a"] {
            assert_eq!(unwrapped(cell), None, "{cell}");
        }
    }
}

//! Telephone numbers: parsed as people type and copy them, and recognised in every form of the same number.
//!
//! Invariants:
//!
//! - A [`Phone`] keeps the form that was typed, without separators and trunk prefix. Messages are sent to this
//!   form.
//! - Numbers are compared by [`identity`](Phone::identity) only. The identity of a number never changes, because
//!   customers are looked up by it.
//! - Every number that was ever stored can be parsed.
//!
//! Sources: ITU-T Recommendation E.164, 11/2010; national trunk prefixes, lengths of numbers and separators by
//! libphonenumber 9.0.43, which the tests hold the rules against (`vectors/phone-numbers.py`, ADR 20).

use icu_properties::{CodePointMapData, CodePointSetData, props};

use crate::Invalid;

/// Telephone number in E.164 form: `+`, a country code that does not begin with 0, 7–15 digits in all.
///
/// Spaces, hyphens, dots, slashes, brackets and invisible characters are removed, and so is a trunk prefix after
/// the country code (`+44 (0)7911 …`). Digits of all scripts are accepted. The API does not check whether the
/// number is in service.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(try_from = "String", into = "String")]
pub struct Phone(String);

impl Phone {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the number in the form `+44•••••••67`, in which owners recognise their own number.
    pub fn masked(&self) -> String {
        let (head, rest) = self.0.split_at(3);
        let (hidden, tail) = rest.split_at(rest.len() - 2);
        format!("{head}{}{tail}", "•".repeat(hidden.len()))
    }

    /// Returns the form that all forms of this number share.
    pub fn identity(&self) -> String {
        let (code, national) = self.parts();
        format!("+{code}{}", forms(code, national).0)
    }

    /// Returns the second form of the number, if two forms are in use.
    pub fn other_form(&self) -> Option<Self> {
        let (code, national) = self.parts();
        let (first, second) = forms(code, national);
        let other = if first == national { second? } else { first };
        Some(Self(format!("+{code}{other}")))
    }

    /// Returns all texts under which this number may be stored: the number itself, its identity, its other form,
    /// and each of these with the trunk prefix that numbers were once stored with. The best match comes first.
    pub fn spellings(&self) -> Vec<String> {
        let (code, national) = self.parts();
        let (first, second) = forms(code, national);
        let mut all = vec![national.to_owned(), first];
        all.extend(second);
        if let Some(trunk) = trunk_once_kept(code) {
            all.extend(all.clone().iter().map(|national| format!("{trunk}{national}")));
        }
        let mut spellings: Vec<String> = Vec::with_capacity(all.len());
        for national in all {
            let spelling = format!("+{code}{national}");
            if !spellings.contains(&spelling) {
                spellings.push(spelling);
            }
        }
        spellings
    }

    fn parts(&self) -> (&str, &str) {
        split(self.0.trim_start_matches('+'))
    }
}

/// Splits digits into the country code and the national number.
fn split(digits: &str) -> (&str, &str) {
    let length = match digits.get(..2).unwrap_or(digits) {
        code if code.starts_with(['1', '7']) => 1,
        "20" | "27" | "30" | "31" | "32" | "33" | "34" | "36" | "39" | "40" | "41" | "43" | "44" | "45"
        | "46" | "47" | "48" | "49" | "51" | "52" | "53" | "54" | "55" | "56" | "57" | "58" | "60" | "61"
        | "62" | "63" | "64" | "65" | "66" | "81" | "82" | "84" | "86" | "90" | "91" | "92" | "93" | "94"
        | "95" | "98" => 2,
        _ => 3,
    };
    digits.split_at_checked(length).unwrap_or((digits, ""))
}

/// Returns the lengths of national numbers in a country where some numbers begin with 0. A leading 0 is no trunk
/// prefix if the number has one of these lengths.
fn zero_belongs(code: &str) -> Option<&'static [usize]> {
    Some(match code {
        "39" => &[6, 7, 8, 9, 10, 11, 12],
        "47" => &[5, 8],
        // Benin put 01 before all its numbers in 2024.
        "229" => &[8, 10],
        "225" => &[10],
        "226" | "227" | "800" => &[8],
        "241" | "853" => &[7, 8],
        "242" | "992" => &[9],
        "247" => &[5, 6],
        "267" => &[7, 8, 10],
        "268" => &[8, 9],
        "378" => &[8, 10],
        "501" | "679" => &[7, 11],
        "507" => &[7, 8, 10, 11],
        "676" => &[5, 7],
        "687" => &[6],
        "881" => &[9, 10],
        "888" => &[11],
        "974" => &[7, 8, 9, 11],
        _ => return None,
    })
}

/// Returns the trunk prefixes other than 0, with the lengths of the numbers that follow them. Prefixes that are no
/// longer in use are included, because people still type them.
fn trunk_prefixes(code: &str) -> &'static [(&'static str, &'static [usize])] {
    match code {
        "1" => &[("1", &[10])],
        "7" => &[("8", &[10])],
        "36" => &[("06", &[8, 9])],
        "52" => &[("01", &[10]), ("044", &[10]), ("045", &[10])],
        "375" => &[("80", &[9]), ("8", &[9])],
        "692" => &[("1", &[7])],
        "993" => &[("8", &[8])],
        _ => &[],
    }
}

/// Returns the trunk prefix with which numbers of a country were stored before trunk prefixes were removed.
fn trunk_once_kept(code: &str) -> Option<&'static str> {
    match code {
        "1" | "692" => None,
        "7" | "375" | "993" => Some("8"),
        "36" => Some("06"),
        _ => zero_belongs(code).is_none().then_some("0"),
    }
}

/// Removes all trunk prefixes from a national number, so that parsing the result again changes nothing.
fn without_trunk<'a>(code: &str, mut national: &'a str) -> &'a str {
    loop {
        let bare = without_one_trunk(code, national);
        if bare.len() == national.len() {
            return bare;
        }
        national = bare;
    }
}

fn without_one_trunk<'a>(code: &str, national: &'a str) -> &'a str {
    for (prefix, lengths) in trunk_prefixes(code) {
        let rest = national.strip_prefix(prefix).filter(|rest| !rest.starts_with('0'));
        if let Some(rest) = rest.filter(|rest| lengths.contains(&rest.len())) {
            return rest;
        }
    }
    match zero_belongs(code) {
        None => national.trim_start_matches('0'),
        Some(lengths) if lengths.contains(&national.len()) => national,
        Some(lengths) => {
            national.strip_prefix('0').filter(|rest| lengths.contains(&rest.len())).unwrap_or(national)
        }
    }
}

/// Returns the form that identifies a national number, and the second form if two are in use. A network, above all
/// WhatsApp, may know a number by either form.
///
/// - Argentina: mobile numbers have a 9 before the area code when they are called from abroad.
/// - Benin: 01 before all numbers since 2024.
/// - Brazil: a ninth digit, 9, before mobile numbers since 2012–2016. Landline numbers begin with 2–5 and do not
///   have the digit.
/// - Mexico: mobile numbers had a 1 before the area code until 2019.
fn forms(code: &str, national: &str) -> (String, Option<String>) {
    let same = |form: &str| form.to_owned();
    match (code, national.len()) {
        ("52", 10) => (same(national), Some(format!("1{national}"))),
        ("52", 11) if mobile_before_area("1", national) => (same(&national[1..]), Some(same(national))),
        ("54", 10) => (same(national), Some(format!("9{national}"))),
        ("54", 11) if mobile_before_area("9", national) => (same(&national[1..]), Some(same(national))),
        ("55", 10 | 11) => {
            let (area, subscriber) = national.split_at(2);
            let eight = subscriber.strip_prefix('9').filter(|rest| rest.len() == 8).unwrap_or(subscriber);
            // No area code contains a 0. Numbers such as 800 are service numbers.
            if eight.len() != 8 || eight.starts_with(['2', '3', '4', '5']) || area.contains('0') {
                return (same(national), None);
            }
            (format!("{area}9{eight}"), Some(format!("{area}{eight}")))
        }
        ("229", 8) => (format!("01{national}"), Some(same(national))),
        ("229", 10) if national.starts_with("01") => (same(national), Some(same(&national[2..]))),
        _ => (same(national), None),
    }
}

/// True if the number begins with the digit for mobile numbers and an area code follows. No area code begins with
/// 0: without the digit, a leading 0 would be parsed as a trunk prefix.
fn mobile_before_area(digit: &str, national: &str) -> bool {
    national.strip_prefix(digit).is_some_and(|rest| !rest.starts_with('0'))
}

/// True for separators between the digits of a number, and for characters that are copied along with a number.
fn is_separator(character: char) -> bool {
    type Category = props::GeneralCategory;
    if character.is_whitespace() || ".()/[]~\u{2053}\u{2212}\u{223c}．（）／［］～".contains(character)
    {
        return true;
    }
    let category = CodePointMapData::<Category>::new().get(character);
    matches!(category, Category::DashPunctuation | Category::Format)
        || CodePointSetData::new::<props::DefaultIgnorableCodePoint>().contains(character)
}

/// Returns the value of a decimal digit of any script.
fn digit(character: char) -> Option<char> {
    type Category = props::GeneralCategory;
    if character.is_ascii() {
        return character.is_ascii_digit().then_some(character);
    }
    let digits = CodePointMapData::<Category>::new();
    let mut runs = digits.iter_ranges_for_value(Category::DecimalNumber);
    let run = runs.find(|run| run.contains(&u32::from(character)))?;
    // Unicode encodes the digits of a script in ascending order from 0, without a gap. Some scripts have several
    // such runs.
    char::from_digit((u32::from(character) - run.start()) % 10, 10)
}

impl TryFrom<String> for Phone {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        let malformed = || Invalid::new("is not a phone number with its country code, e.g. +4915112345678");
        // Text of more than 256 bytes is no telephone number, however the number is formatted.
        if text.len() > 256 {
            return Err(malformed());
        }
        // RFC 3966: the form in which a link to a number is copied.
        let uri =
            text.trim_start().split_at_checked(4).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("tel:"));
        let mut typed = uri.map_or(text.as_str(), |(_, rest)| rest).chars().filter(|c| !is_separator(*c));
        if !typed.next().is_some_and(|first| matches!(first, '+' | '＋')) {
            return Err(malformed());
        }
        let digits: String = typed.map(digit).collect::<Option<_>>().ok_or_else(malformed)?;
        let (code, national) = split(&digits);
        let digits = match format!("{code}{}", without_trunk(code, national)) {
            // Only zeros are left. No subscriber has such a number, but numbers that are stored must stay readable.
            bare if bare.len() < 7 => digits,
            bare => bare,
        };
        let legal = (7..=15).contains(&digits.len()) && !digits.starts_with('0');
        if legal { Ok(Self(format!("+{digits}"))) } else { Err(malformed()) }
    }
}

impl From<Phone> for String {
    fn from(phone: Phone) -> String {
        phone.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn phone(text: &str) -> Result<Phone, Invalid> {
        Phone::try_from(text.to_owned())
    }

    #[test]
    fn spellings_of_a_number_are_one_number() {
        let ada = phone("+4915112345678").unwrap();
        for text in [
            "+49 151 1234-5678",
            " +49 (151) 12.34.56.78 ",
            "+49 (0)151 12345678",
            "+49 (0151) 12345678",
            "+49 0151/12345678",
            "+4915112345678\r\n",
            "\u{202a}+49\u{a0}151\u{202f}1234\u{2011}5678\u{202c}",
            "\u{feff}+49\u{200b}151\u{2060}12\u{ad}345678\u{200e}",
            "tel:+49-151-12345678",
            "Tel: +49 151 12345678",
            "＋４９（１５１）１２３４５６７８",
            "+٤٩١٥١١٢٣٤٥٦٧٨",
        ] {
            assert_eq!(phone(text).unwrap(), ada, "{text}");
        }
        assert_eq!(ada.masked(), "+49•••••••••78");
        for text in [
            "",
            "+",
            "tel:",
            "015112345678",
            "0049151123456",
            "+0151123456",
            "+123456",
            "+1234567890123456",
            "+49151x2345678",
            "+49 151 12345678 ext. 9",
            "tel:+49-151-12345678;ext=9",
            "+49151+2345678",
            "+49*151*2345678",
            "+49\u{0}151 12345678",
            "+49 151 ½345678",
            "whatsapp:+4915112345678",
            &format!("+49{}", " ".repeat(300)),
        ] {
            assert!(phone(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_trunk_prefix_is_left_out_and_a_zero_that_belongs_to_the_number_is_not() {
        for (typed, number) in [
            ("+44 (0)7911 123456", "+447911123456"),
            ("+44 (020) 7946 0958", "+442079460958"),
            ("+4407911123456", "+447911123456"),
            ("+81 (0)90-1234-5678", "+819012345678"),
            ("+7 (8) 912 345-67-89", "+79123456789"),
            ("+7 (8912) 345-67-89", "+79123456789"),
            ("+7 812 345-67-89", "+78123456789"),
            ("+7 (0) 912 345-67-89", "+79123456789"),
            ("+36 (06) 20 123 4567", "+36201234567"),
            ("+36 (0)20 123 4567", "+36201234567"),
            ("+36 (0)62 123 456", "+3662123456"),
            ("+36 (06) 62 123 456", "+3662123456"),
            ("+375 (8) 29 123 45 67", "+375291234567"),
            ("+375 (80) 29 123 45 67", "+375291234567"),
            ("+375 (8029) 1234567", "+375291234567"),
            ("+375 8011001111", "+3758011001111"),
            ("+375 (0) (8) 29 123 45 67", "+375291234567"),
            ("+1 (1) 415 555 2671", "+14155552671"),
            ("+34 (0)912 345 678", "+34912345678"),
            ("+52 (01) 55 1234 5678", "+525512345678"),
            ("+52 (044) 55 1234 5678", "+525512345678"),
            ("+47 (0)412 34 567", "+4741234567"),
            ("+225 (0) 07 07 07 07 07", "+2250707070707"),
            ("+39 06 1234 5678", "+390612345678"),
            ("+39 (0)6 1234 5678", "+390612345678"),
            ("+39 347 123 4567", "+393471234567"),
            ("+378 0549 123456", "+3780549123456"),
            ("+225 07 07 07 07 07", "+2250707070707"),
            ("+44000000", "+44000000"),
        ] {
            assert_eq!(phone(typed).unwrap().as_str(), number, "{typed}");
        }
    }

    #[test]
    fn the_forms_of_a_number_have_one_identity() {
        for (one, other) in [
            ("+525500000001", "+5215500000001"),
            ("+5511900000003", "+551100000003"),
            ("+5531987654321", "+553187654321"),
            ("+541100000004", "+5491100000004"),
            ("+5492966123456", "+542966123456"),
            ("+22995123456", "+2290195123456"),
        ] {
            let (one, other) = (phone(one).unwrap(), phone(other).unwrap());
            assert_eq!(one.identity(), other.identity());
            assert_eq!(
                (one.other_form().unwrap(), other.other_form().unwrap()),
                (other.clone(), one.clone())
            );
            for (phone, other) in [(&one, &other), (&other, &one)] {
                let spellings = phone.spellings();
                assert_eq!(spellings[0], phone.as_str());
                assert!(
                    spellings.contains(&other.0) && spellings.contains(&phone.identity()),
                    "{spellings:?}"
                );
            }
        }
        // Landline and service numbers, and numbers of other countries that look similar.
        for alone in [
            "+551123456789",
            "+551155556789",
            "+558001234567",
            "+5511912345678901",
            "+15215500000",
            "+495215500000001",
            "+390612345678",
            "+521234567",
            "+5210000010000",
            "+5490123456789",
        ] {
            let Ok(phone) = phone(alone) else { continue };
            assert_eq!((phone.identity().as_str(), phone.other_form()), (alone, None));
        }
        // A mobile number of a block that was assigned after the ninth digit was introduced is no landline number
        // without that digit.
        let (mobile, landline) = (phone("+5511923456789").unwrap(), phone("+551123456789").unwrap());
        assert_ne!(mobile.identity(), landline.identity());
        assert!(!mobile.spellings().contains(&landline.0));
    }

    #[test]
    fn numbers_that_were_stored_with_a_trunk_prefix_are_found() {
        for (typed, stored) in [
            ("+44 7911 123456", "+4407911123456"),
            ("+36 20 123 4567", "+3606201234567"),
            ("+7 912 345-67-89", "+789123456789"),
            ("+5491100000004", "+54091100000004"),
        ] {
            assert!(phone(typed).unwrap().spellings().iter().any(|text| text == stored), "{typed}");
            assert_eq!(phone(stored).unwrap().identity(), phone(typed).unwrap().identity());
        }
        assert_eq!(phone("+390612345678").unwrap().spellings(), ["+390612345678"]);
    }

    /// Compares with the data of libphonenumber: see `vectors/phone-numbers.py`.
    #[test]
    fn what_libphonenumber_reads_is_read_alike() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../vectors/phone-numbers.json")).unwrap();
        let list = |name: &str| vectors[name].as_array().unwrap().clone();
        let numbers = list("numbers");
        assert!(numbers.len() > 490, "{}", numbers.len());
        for number in numbers {
            let spellings: Vec<&str> =
                number.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
            for text in &spellings {
                assert_eq!(phone(text).unwrap().as_str(), spellings[0], "{text}");
            }
        }
        let separators = list("separators");
        assert!(separators.len() >= 29, "{}", separators.len());
        for separator in separators {
            let separator = separator.as_str().unwrap();
            let read = phone(&format!("+44{separator}7911{separator}123456")).unwrap();
            assert_eq!(read.as_str(), "+447911123456", "{separator:?}");
        }
        let zeros = list("zeros");
        assert!(zeros.len() >= 66, "{}", zeros.len());
        for zero in zeros {
            let zero = u32::from(zero.as_str().unwrap().chars().next().unwrap());
            let digits: Option<String> =
                (zero..zero + 10).map(|digit| super::digit(char::from_u32(digit)?)).collect();
            assert_eq!(digits.as_deref(), Some("0123456789"), "{zero:x}");
        }
    }

    proptest! {
        /// Every stored number can be parsed, and parsing the result again changes nothing. Half of the numbers
        /// consist of the digits that the rules of a country look at.
        #[test]
        fn what_was_stored_is_read(
            digits in "[1-9][0-9]{7,14}|(1|7|36|39|52|54|55|225|229|375|692|993)[01489]{6,12}",
        ) {
            let read = phone(&format!("+{digits}")).unwrap();
            prop_assert_eq!(&phone(read.as_str()).unwrap(), &read);
            let identity = phone(&read.identity()).unwrap();
            prop_assert_eq!(identity.identity(), read.identity());
            for spelling in read.spellings() {
                // With a trunk prefix, a number that has no room for one may become a different number or no
                // number.
                if let Ok(spelling) = phone(&spelling) {
                    prop_assert!(spelling.as_str().len() <= 16);
                }
            }
        }

        #[test]
        fn no_text_is_a_surprise(text in "\\PC{0,80}") {
            if let Ok(read) = phone(&text) {
                prop_assert!(read.as_str()[1..].bytes().all(|byte| byte.is_ascii_digit()));
            }
        }
    }
}

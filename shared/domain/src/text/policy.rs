//! Policy for texts that people write and read: names, titles, comments, messages.
//!
//! The rules come from Unicode. An emoji is a possible emoji as UTS #51 defines it. A direction that is opened must
//! be closed on the same line (UAX #9). A joiner or a variation selector needs a character to act on (chapter 23 of
//! the standard). Characters are treated in one of three ways:
//!
//! - Dangerous characters are refused, with their position: control characters and overrides of the direction.
//! - Characters without effect in their place are removed. Readers can't see them, and they are copied along with
//!   the text.
//! - All other characters stay.
//!
//! Cleaning a clean text changes nothing.

use icu_properties::{CodePointMapData, CodePointSetData, CodePointSetDataBorrowed, props};

use crate::Invalid;

type Category = props::GeneralCategory;

/// Number of lines that a text may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    One,
    Many,
}

const JOINER: char = '\u{200d}';
const KEYCAP: char = '\u{20e3}';
const AS_EMOJI: char = '\u{fe0f}';
const AS_TEXT: char = '\u{fe0e}';
const BLACK_FLAG: char = '\u{1f3f4}';
const END_OF_TAGS: char = '\u{e007f}';

fn category(character: char) -> Category {
    CodePointMapData::<Category>::new().get(character)
}

fn ignorables() -> CodePointSetDataBorrowed<'static> {
    CodePointSetData::new::<props::DefaultIgnorableCodePoint>()
}

/// True for characters without a width or meaning of their own. Two different texts could look the same because of
/// them.
pub fn is_invisible(character: char) -> bool {
    matches!(
        category(character),
        Category::Control
            | Category::Format
            | Category::PrivateUse
            | Category::Surrogate
            | Category::Unassigned
            | Category::LineSeparator
            | Category::ParagraphSeparator
    ) || ignorables().contains(character)
        || character == '\u{2800}'
}

fn is_visible(character: char) -> bool {
    let shown = matches!(category(character), Category::PrivateUse | Category::Unassigned);
    !character.is_whitespace() && (shown && !ignorables().contains(character) || !is_invisible(character))
}

fn is_noncharacter(character: char) -> bool {
    matches!(character, '\u{fdd0}'..='\u{fdef}') || u32::from(character) & 0xfffe == 0xfffe
}

fn is_line_break(character: char) -> bool {
    matches!(character, '\n' | '\u{b}' | '\u{c}' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Returns the number of characters that form one emoji at the beginning (ED-17 of UTS #51). Digits are part of an
/// emoji only in a keycap. Tags are part of an emoji only as the subdivision of a flag, because they could hide any
/// other text as well.
fn emoji(characters: &[char]) -> Option<usize> {
    let is_indicator = |character: &&char| ('\u{1f1e6}'..='\u{1f1ff}').contains(*character);
    if characters.iter().take(2).filter(is_indicator).count() == 2 {
        return Some(2);
    }
    if let [base, AS_EMOJI, KEYCAP, ..] = characters
        && (base.is_ascii_digit() || matches!(base, '#' | '*'))
    {
        return Some(3);
    }
    let mut length = element(characters)?;
    while characters.get(length) == Some(&JOINER)
        && let Some(more) = element(&characters[length + 1..])
    {
        length += 1 + more;
    }
    Some(length)
}

/// Returns the number of characters that form one pictograph with its modifiers.
fn element(characters: &[char]) -> Option<usize> {
    let (&base, rest) = characters.split_first()?;
    if !CodePointSetData::new::<props::ExtendedPictographic>().contains(base) {
        return None;
    }
    let modifies = CodePointSetData::new::<props::EmojiModifier>();
    let modifiers = match rest {
        [AS_EMOJI, KEYCAP, ..] => 2,
        [AS_EMOJI | AS_TEXT, ..] => 1,
        [modifier, ..] if modifies.contains(*modifier) => 1,
        _ if base == BLACK_FLAG => subdivision(rest),
        _ => 0,
    };
    Some(1 + modifiers)
}

/// Returns the number of tags that name a subdivision after a flag, such as `gbeng` for England.
fn subdivision(tags: &[char]) -> usize {
    let named = |tag: &&char| matches!(tag, '\u{e0030}'..='\u{e0039}' | '\u{e0061}'..='\u{e007a}');
    let length = tags.iter().take_while(named).count();
    if (3..=6).contains(&length) && tags.get(length) == Some(&END_OF_TAGS) { length + 1 } else { 0 }
}

/// Marks the characters that open or close a direction and have their counterpart on the same line.
fn matched_directions(characters: &[char]) -> Vec<bool> {
    let mut matched = vec![false; characters.len()];
    let mut open: Vec<usize> = Vec::new();
    // Number of open isolates. If it is 0, the search for the opening isolate is skipped.
    let mut open_isolates = 0;
    let isolates = |at: usize| matches!(characters[at], '\u{2066}'..='\u{2068}');
    for (at, &character) in characters.iter().enumerate() {
        let opened = match character {
            '\u{202a}' | '\u{202b}' | '\u{2066}'..='\u{2068}' => {
                open_isolates += usize::from(isolates(at));
                open.push(at);
                None
            }
            '\u{2069}' if open_isolates == 0 => None,
            '\u{202c}' => open.pop_if(|opened| !isolates(*opened)),
            // The end of an isolate also closes the directions that were opened inside.
            '\u{2069}' => open.iter().rposition(|opened| isolates(*opened)).map(|index| {
                let opened = open[index];
                open.truncate(index);
                open_isolates -= 1;
                opened
            }),
            _ => {
                if is_line_break(character) {
                    open.clear();
                    open_isolates = 0;
                }
                None
            }
        };
        if let Some(opened) = opened {
            matched[opened] = true;
            matched[at] = true;
        }
    }
    matched
}

/// Removes characters without effect, trims the ends, and converts line breaks to `\n`. In a text of one line, a
/// tab becomes a space, and characters that allow or prevent a line break are removed.
///
/// # Errors
/// When the text has dangerous characters, no visible character, more than `max` characters, or a line break
/// although one line is allowed.
pub fn clean(text: &str, lines: Lines, max: usize) -> Result<String, Invalid> {
    let ends = text.len() - text.trim_start().len();
    let before = text[..ends].chars().count();
    let characters: Vec<char> = text.trim().chars().collect();
    let refused =
        |at: usize, what: String| Invalid::new(format!("has {what} at character {}", before + at + 1));
    let matched = matched_directions(&characters);
    let mut cleaned = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(&character) = characters.get(at) {
        if let Some(length) = emoji(&characters[at..]) {
            cleaned.extend(&characters[at..at + length]);
            at += length;
            continue;
        }
        let position = at;
        at += 1;
        let last = cleaned.chars().next_back();
        match character {
            '\t' if lines == Lines::One => cleaned.push(' '),
            '\t' => cleaned.push('\t'),
            _ if is_line_break(character) => {
                if lines == Lines::One {
                    return Err(refused(position, "a line break".to_owned()));
                }
                at += usize::from(character == '\r' && characters.get(at) == Some(&'\n'));
                cleaned.push('\n');
            }
            _ if character.is_control() => {
                return Err(refused(
                    position,
                    format!("a control character (U+{:04X})", u32::from(character)),
                ));
            }
            '\u{202d}' => return Err(refused(position, "U+202D LEFT-TO-RIGHT OVERRIDE".to_owned())),
            '\u{202e}' => return Err(refused(position, "U+202E RIGHT-TO-LEFT OVERRIDE".to_owned())),
            '\u{202a}'..='\u{202c}' | '\u{2066}'..='\u{2069}' => {
                if matched[position] {
                    cleaned.push(character);
                }
            }
            // Direction marks act on their neighbours, whichever characters these are.
            '\u{200e}' | '\u{200f}' | '\u{61c}' => cleaned.push(character),
            // Characters that allow or prevent a line break.
            '\u{ad}' | '\u{200b}' | '\u{2060}' => {
                if lines == Lines::Many {
                    cleaned.push(character);
                }
            }
            '\u{200c}' | JOINER | '\u{34f}' => {
                if last.is_some_and(joins) {
                    cleaned.push(character);
                }
            }
            _ if CodePointSetData::new::<props::VariationSelector>().contains(character) => {
                if last.is_some_and(is_visible) {
                    cleaned.push(character);
                }
            }
            // Annotations are meant for programs. Noncharacters have no meaning.
            '\u{fff9}'..='\u{fffb}' => {}
            _ if ignorables().contains(character) || is_noncharacter(character) => {}
            _ => cleaned.push(character),
        }
    }
    let cleaned = cleaned.trim();
    if !cleaned.chars().any(is_visible) {
        return Err(Invalid::new("is empty"));
    }
    if cleaned.chars().count() > max {
        return Err(Invalid::new(format!("is longer than {max} characters")));
    }
    Ok(cleaned.to_owned())
}

/// True if a joiner after the character has an effect: after letters and the marks on them.
fn joins(character: char) -> bool {
    props::GeneralCategoryGroup::Letter.union(props::GeneralCategoryGroup::Mark).contains(category(character))
        && !ignorables().contains(character)
}

/// Returns the trimmed text if all its characters are visible, for texts that identify an object: a hidden
/// character would make two different texts look the same. Hidden characters inside an emoji are accepted, because
/// they determine the emoji.
///
/// # Errors
/// When the text is empty, longer than `max` characters, or has an invisible character.
pub fn visible(text: &str, max: usize) -> Result<String, Invalid> {
    let text = text.trim();
    let characters: Vec<char> = text.chars().collect();
    if characters.is_empty() {
        return Err(Invalid::new("is empty"));
    }
    if characters.len() > max {
        return Err(Invalid::new(format!("is longer than {max} characters")));
    }
    let mut at = 0;
    while let Some(&character) = characters.get(at) {
        match emoji(&characters[at..]) {
            Some(length) => at += length,
            None if is_invisible(character) => {
                let found = format!("(U+{:04X} at character {})", u32::from(character), at + 1);
                return Err(Invalid::new(format!("has control or invisible characters {found}")));
            }
            None => at += 1,
        }
    }
    Ok(text.to_owned())
}

/// True if a spreadsheet may run the text as a formula. Some spreadsheets treat full-width signs like ASCII signs.
pub fn begins_like_a_formula(text: &str) -> bool {
    let normalizer = icu_normalizer::ComposingNormalizer::new_nfkc();
    let first = text.chars().next().map(String::from).unwrap_or_default();
    matches!(first.as_str(), "\t" | "\r") || normalizer.normalize(&first).starts_with(['=', '+', '-', '@'])
}

/// Returns the letters and digits of a name, folded in case. All spellings of `expires_at`, such as `Expires At`,
/// have the same key.
pub fn name_key(name: &str) -> String {
    case_folded(name).chars().filter(|character| character.is_alphanumeric()).collect()
}

/// Returns the form that texts of the same look share (NFKC), in lower case.
pub fn folded(text: &str) -> String {
    let normalizer = icu_normalizer::ComposingNormalizer::new_nfkc();
    normalizer.normalize(&normalizer.normalize(text).to_lowercase()).into_owned()
}

/// Returns the form of [`folded`] that also unifies `ß` with `SS` and the forms of sigma, and has no variation
/// selectors, which choose between two pictures of one character.
pub fn case_folded(text: &str) -> String {
    let normalizer = icu_normalizer::ComposingNormalizer::new_nfkc();
    let selects = CodePointSetData::new::<props::VariationSelector>();
    let text: String = text.chars().filter(|character| !selects.contains(*character)).collect();
    // Converts to lower case first, because `ẞ` is a capital already. Converts letter by letter, so that the
    // position in a word changes no letter.
    let capitals = normalizer
        .normalize(&text)
        .chars()
        .flat_map(char::to_lowercase)
        .flat_map(char::to_uppercase)
        .collect::<String>();
    let folded: String = normalizer.normalize(&capitals).chars().flat_map(char::to_lowercase).collect();
    normalizer.normalize(&folded).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(text: &str) -> Result<String, String> {
        clean(text, Lines::One, 100).map_err(|invalid| invalid.0)
    }

    fn many(text: &str) -> Result<String, String> {
        clean(text, Lines::Many, 100).map_err(|invalid| invalid.0)
    }

    /// Emoji of each kind, and elements of each kind of joined emoji.
    const EMOJI: [&str; 20] = [
        "❤",
        "❤️",
        "☎︎",
        "👍🏽",
        "🇩🇪",
        "1️⃣",
        "#️⃣",
        "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
        "🏴󠁧󠁢󠁳󠁣󠁴󠁿",
        "🏴󠁧󠁢󠁷󠁬󠁳󠁿",
        "👩‍🚀",
        "👨‍👩‍👧‍👦",
        "❤️‍🔥",
        "🏳️‍🌈",
        "🏴‍☠️",
        "👁️‍🗨️",
        "🧑🏿‍🤝‍🧑🏻",
        "🙂‍↔️",
        "🐦‍⬛",
        "🫩",
    ];

    #[test]
    fn every_kind_of_emoji_passes_as_it_is() {
        for text in EMOJI {
            let characters: Vec<char> = text.chars().collect();
            assert_eq!(emoji(&characters), Some(characters.len()), "{text}");
            for text in [text.to_owned(), format!("Go {text}{text}!"), format!("a{text}")] {
                assert_eq!(one(&text), Ok(text.clone()));
                assert_eq!(many(&text), Ok(text.clone()));
                assert_eq!(visible(&text, 100), Ok(text.clone()));
            }
        }
        for text in ["1", "a", "🇩", "e\u{301}", "\u{fe0f}", "\u{1f3fb}\u{200d}"] {
            assert_eq!(emoji(&text.chars().collect::<Vec<_>>()), None, "{text:?}");
        }
    }

    #[test]
    fn what_acts_on_its_neighbours_stays_and_what_does_nothing_goes() {
        for (text, cleaned) in [
            // Joiners of Persian, Hindi and German; selectors of Han and Mongolian.
            ("می\u{200c}خواهم", "می\u{200c}خواهم"),
            ("क्\u{200d}ष", "क्\u{200d}ष"),
            ("Auf\u{200c}lage", "Auf\u{200c}lage"),
            ("葛\u{e0100}城", "葛\u{e0100}城"),
            // Directions that are closed, and marks.
            ("\u{2068}Ada\u{2069}", "\u{2068}Ada\u{2069}"),
            ("\u{202b}שלום \u{2066}a\u{2069}\u{202c}", "\u{202b}שלום \u{2066}a\u{2069}\u{202c}"),
            ("עדה\u{200f}!", "עדה\u{200f}!"),
            ("\u{2068}a\u{202b}b\u{2069}c\u{202c}", "\u{2068}ab\u{2069}c"),
            ("\u{2069}a\u{2068}b\u{202c}", "ab"),
            // Characters without effect in their place.
            ("\u{feff}a", "a"),
            (" \u{fe0f}a", "a"),
            ("a \u{200d}b", "a b"),
            ("👩\u{200d}b", "👩b"),
            ("a\u{200d}\u{200d}b", "a\u{200d}b"),
            ("❤\u{fe0f}\u{fe0f}", "❤\u{fe0f}"),
            ("a\u{e0067}\u{e007f}b", "ab"),
            ("👍\u{e0067}\u{e0062}\u{e0065}\u{e007f}", "👍"),
            ("\u{1f3f4}\u{e0067}\u{e0062}", "\u{1f3f4}"),
            ("a\u{180e}\u{3164}\u{115f}\u{fffa}\u{ffff}b", "ab"),
            // Characters that people use and that are not forbidden.
            ("\u{f8ff} \u{2800} x", "\u{f8ff} \u{2800} x"),
        ] {
            assert_eq!(one(text), Ok(cleaned.to_owned()), "{text:?}");
            assert_eq!(many(text), Ok(cleaned.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn lines_break_where_a_text_has_lines() {
        let lines = many("a\r\nb\rc\nd\u{85}e\u{2028}f\u{2029}g\u{b}h\u{c}i\r\n\r\nj\r\n");
        assert_eq!(lines.unwrap(), "a\nb\nc\nd\ne\nf\ng\nh\ni\n\nj");
        for (text, in_one, in_many) in [
            ("a\tb", "a b", "a\tb"),
            ("soft\u{ad}hyphen", "softhyphen", "soft\u{ad}hyphen"),
            ("ភាសា\u{200b}ខ្មែរ", "ភាសាខ្មែរ", "ភាសា\u{200b}ខ្មែរ"),
            ("a\u{2060}b", "ab", "a\u{2060}b"),
            (" a\r\n", "a", "a"),
        ] {
            assert_eq!((one(text), many(text)), (Ok(in_one.to_owned()), Ok(in_many.to_owned())), "{text:?}");
        }
        // A direction ends with its line.
        assert_eq!(many("\u{2068}a\nb\u{2069}").unwrap(), "a\nb");
    }

    #[test]
    fn what_is_refused_is_named_with_its_position() {
        for (text, reason) in [
            ("", "is empty"),
            (" \u{200b}\u{ad}\u{200d}\u{2060}\u{200e}", "is empty"),
            ("\u{2800}\u{3164}\u{e0067}\u{ffff}", "is empty"),
            ("  a\u{7}", "has a control character (U+0007) at character 4"),
            ("a\0b", "has a control character (U+0000) at character 2"),
            ("gpj\u{202e}exe", "has U+202E RIGHT-TO-LEFT OVERRIDE at character 4"),
            ("\u{202d}a\u{202c}", "has U+202D LEFT-TO-RIGHT OVERRIDE at character 1"),
        ] {
            assert_eq!(one(text), Err(reason.to_owned()), "{text:?}");
            assert_eq!(many(text), Err(reason.to_owned()), "{text:?}");
        }
        assert_eq!(one("a\r\nBcc: b"), Err("has a line break at character 2".to_owned()));
        assert_eq!(one("a\u{2028}b"), Err("has a line break at character 2".to_owned()));
        assert_eq!(one(&"x".repeat(101)), Err("is longer than 100 characters".to_owned()));
        assert!(one(&format!("{}\u{feff}", "x".repeat(100))).is_ok(), "what is removed does not count");
        for text in ["a\u{200b}", "❤\u{fe0f}\u{fe0f}", "👩\u{200d}", "a\u{fe0f}", "a\tb", "\u{2800}"] {
            assert!(visible(text, 100).unwrap_err().0.starts_with("has control or invisible"), "{text:?}");
        }
    }

    #[test]
    fn one_code_in_any_case_folds_to_one_text() {
        for (one, other) in [
            ("STRASSE", "straße"),
            ("STRAẞE", "straße"),
            ("ΟΔΟΣ", "οδος"),
            ("ΟΔΟΣ", "οδοσ"),
            ("Ａ１", "a1"),
            ("ﬁx", "FIX"),
            ("❤️", "❤"),
            ("CAFÉ", "cafe\u{301}"),
        ] {
            assert_eq!(case_folded(one), case_folded(other), "{one} {other}");
        }
        for (one, other) in [("🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🏴󠁧󠁢󠁳󠁣󠁴󠁿"), ("👩‍🚀", "👩🚀"), ("ö", "o"), ("O", "0")]
        {
            assert_ne!(case_folded(one), case_folded(other), "{one} {other}");
        }
    }

    fn text() -> impl Strategy<Value = String> {
        let odd = "a \t\n\r\u{85}\u{2028}\u{ad}\u{200b}\u{200c}\u{200d}\u{200e}\u{2060}\u{feff}\u{fe0e}\u{fe0f}\u{20e3}\
            \u{202a}\u{202b}\u{202c}\u{2066}\u{2068}\u{2069}\u{1f1e9}\u{1f1ea}\u{1f3f4}\u{e0067}\u{e0062}\u{e007f}\
            \u{1f469}\u{1f680}\u{1f3fd}\u{115f}\u{2800}\u{ffff}\u{301}1#क\u{94d}م";
        let odd = prop::sample::select(odd.chars().map(String::from).collect::<Vec<_>>());
        let emoji = prop::sample::select(EMOJI.map(str::to_owned).to_vec());
        let piece = prop_oneof![8 => odd, 1 => emoji, 1 => any::<char>().prop_map(String::from)];
        prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn cleaning_a_clean_text_changes_nothing(text in text(), many in any::<bool>()) {
            let lines = if many { Lines::Many } else { Lines::One };
            if let Ok(cleaned) = clean(&text, lines, 1000) {
                prop_assert_eq!(clean(&cleaned, lines, 1000), Ok(cleaned.clone()));
                let dangerous = |c: char| c.is_control() && !(many && matches!(c, '\n' | '\t'))
                    || matches!(c, '\u{202d}' | '\u{202e}') || is_noncharacter(c);
                prop_assert!(!cleaned.contains(dangerous), "{cleaned:?}");
                prop_assert!(cleaned.chars().any(is_visible));
                // All visible characters are kept, in their order.
                let seen = |text: &str| text.chars().filter(|c| is_visible(*c) && !is_noncharacter(*c)).collect::<String>();
                prop_assert_eq!(seen(&cleaned), seen(&text));
            }
        }

        #[test]
        fn what_is_visible_is_clean(text in text()) {
            if let Ok(text) = visible(&text, 1000) {
                prop_assert_eq!(clean(&text, Lines::One, 1000), Ok(text.clone()));
            }
        }

        #[test]
        fn folding_is_settled_after_once(text in text()) {
            let folded = case_folded(&text);
            prop_assert_eq!(case_folded(&folded), folded.clone());
            prop_assert_eq!(case_folded(&text.to_lowercase()), folded);
        }
    }
}

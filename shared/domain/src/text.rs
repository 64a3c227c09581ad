//! Texts with a maximum length. Lengths are in characters unless stated otherwise.

use crate::Invalid;

mod policy;

use std::cell::Cell;

pub use policy::{Lines, case_folded, clean, folded, is_invisible, visible};
pub use policy::{begins_like_a_formula, name_key};

thread_local! {
    static STORED: Cell<bool> = const { Cell::new(false) };
}

/// Reads stored data without validating its texts. The texts were validated when they were received, and must stay
/// readable if the rules change.
pub fn stored<T>(read: impl FnOnce() -> T) -> T {
    struct Reset(bool);
    impl Drop for Reset {
        fn drop(&mut self) {
            STORED.set(self.0);
        }
    }
    let _reset = Reset(STORED.replace(true));
    read()
}

/// True while [`stored`] is reading.
pub fn is_stored() -> bool {
    STORED.get()
}

/// Declares types of text, each with the function that validates it.
#[macro_export]
macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident($parse:expr);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::Invalid;
            fn try_from(text: String) -> Result<Self, $crate::Invalid> {
                let parse: fn(&str) -> Result<String, $crate::Invalid> = $parse;
                if $crate::text::is_stored() { Ok(Self(text)) } else { parse(&text).map(Self) }
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> String {
                text.0
            }
        }
    )*};
}

texts! {
    /// Name of a person or an object, 1–200 characters on one line.
    Name(|text| clean(text, Lines::One, 200));
    /// One line of free text, 1–500 characters.
    Line(|text| clean(text, Lines::One, 500));
    /// Free text, 1–2,000 characters. May contain line breaks.
    Prose(|text| clean(text, Lines::Many, 2000));
    /// Short label on one line, such as a traffic source, 1–64 characters.
    Word(|text| clean(text, Lines::One, 64));
    /// Opaque device fingerprint, 1–512 characters.
    Fingerprint(|text| clean(text, Lines::One, 512));
    /// Part of a URL: lower-case letters, digits and single hyphens, 1–64 characters.
    Slug(slug);
    /// Origin of a web page: `https://host[:port]`, at most 300 bytes. `http://` is accepted for `localhost` and
    /// `127.0.0.1` only.
    Origin(origin);
    /// Absolute `https://` URL of at most 2,000 bytes. `http://` is accepted for `localhost` and `127.0.0.1` only.
    HttpUrl(http_url);
    /// BCP 47 language tag such as `en` or `pt-BR`, at most 35 characters.
    Locale(locale);
    /// Name of a time zone in the IANA database, e.g. `Europe/Berlin`.
    TimeZoneName(time_zone);
    /// Colour in the form `#rrggbb`.
    Color(color);
}

fn slug(text: &str) -> Result<String, Invalid> {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if text.len() <= 64
        && !text.is_empty()
        && text.split('-').all(|part| !part.is_empty() && part.bytes().all(legal))
    {
        Ok(text.to_owned())
    } else {
        Err(Invalid::new("is not 1–64 lower-case letters, digits and single hyphens"))
    }
}

impl Slug {
    /// Returns a slug made from a name, or `waitlist` if the name has no ASCII letter or digit.
    pub fn suggest(name: &Name) -> Self {
        let mut slug = String::new();
        for character in name.as_str().chars() {
            if slug.len() == 60 {
                break;
            }
            if character.is_ascii_alphanumeric() {
                slug.push(character.to_ascii_lowercase());
            } else if !slug.is_empty() && !slug.ends_with('-') {
                slug.push('-');
            }
        }
        match slug.trim_end_matches('-') {
            "" => Self("waitlist".to_owned()),
            slug => Self(slug.to_owned()),
        }
    }
}

impl Slug {
    /// Returns the slug with a hyphen and four random digits appended.
    pub fn with_suffix(&self) -> Self {
        let number = u16::from_be_bytes(crate::secret::random());
        Self(format!("{}-{:04}", self.0.get(..59).unwrap_or(&self.0).trim_end_matches('-'), number % 10_000))
    }
}

/// Splits a URL into the host with its port and the rest. Returns `None` if the host is invalid or the scheme is
/// not allowed for the host.
fn web_address(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    let name = host.split(':').next()?;
    let port = host.strip_prefix(name)?.strip_prefix(':');
    let local = name == "localhost" || name == "127.0.0.1";
    let legal = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.')
        && port.is_none_or(|port| port.parse::<u16>().is_ok());
    (legal && (scheme == "https" || (scheme == "http" && local))).then_some((host, &rest[host.len()..]))
}

fn origin(text: &str) -> Result<String, Invalid> {
    match web_address(text) {
        Some((_, "")) if text.len() <= 300 => Ok(text.to_ascii_lowercase()),
        _ => Err(Invalid::new("is not an origin such as https://example.com")),
    }
}

fn http_url(text: &str) -> Result<String, Invalid> {
    let printable = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte));
    if text.len() <= 2000 && printable && web_address(text).is_some() {
        Ok(text.to_owned())
    } else {
        Err(Invalid::new("is not an absolute https:// URL"))
    }
}

fn locale(text: &str) -> Result<String, Invalid> {
    let mut parts = text.split('-');
    let language = parts.next().is_some_and(|part| {
        (2..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphabetic())
    });
    let rest = parts
        .all(|part| (2..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    if text.len() <= 35 && language && rest {
        Ok(text.to_owned())
    } else {
        Err(Invalid::new("is not a language tag such as en or pt-BR"))
    }
}

fn time_zone(text: &str) -> Result<String, Invalid> {
    let known = jiff::tz::db().get(text).ok();
    let name = known.as_ref().and_then(|zone| zone.iana_name());
    name.map(str::to_owned).ok_or_else(|| Invalid::new("is not a time zone such as Europe/Berlin"))
}

impl TimeZoneName {
    pub fn utc() -> Self {
        Self("UTC".to_owned())
    }

    /// Returns the zone with its rules.
    pub fn zone(&self) -> jiff::tz::TimeZone {
        jiff::tz::db().get(&self.0).unwrap_or(jiff::tz::TimeZone::UTC)
    }
}

fn color(text: &str) -> Result<String, Invalid> {
    match text.strip_prefix('#') {
        Some(hex) if hex.len() == 6 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Ok(text.to_ascii_lowercase())
        }
        _ => Err(Invalid::new("is not a colour of the form #rrggbb")),
    }
}

/// Origins whose pages may call the API, at most 20. An empty list allows all origins.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(try_from = "Vec<Origin>", into = "Vec<Origin>")]
pub struct AllowedOrigins(Vec<Origin>);

impl AllowedOrigins {
    pub fn iter(&self) -> impl Iterator<Item = &Origin> {
        self.0.iter()
    }
}

impl TryFrom<Vec<Origin>> for AllowedOrigins {
    type Error = Invalid;
    fn try_from(origins: Vec<Origin>) -> Result<Self, Invalid> {
        if origins.len() > 20 {
            return Err(Invalid::new("has more than 20 origins"));
        }
        Ok(Self(origins))
    }
}

impl From<AllowedOrigins> for Vec<Origin> {
    fn from(origins: AllowedOrigins) -> Self {
        origins.0
    }
}

/// Additional data that the caller stores with an object for its own use: a JSON object of at most 4,096 bytes when
/// serialised.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(
    try_from = "serde_json::Map<String, serde_json::Value>",
    into = "serde_json::Map<String, serde_json::Value>"
)]
#[schema(value_type = Object)]
pub struct Metadata(serde_json::Map<String, serde_json::Value>);

impl TryFrom<serde_json::Map<String, serde_json::Value>> for Metadata {
    type Error = Invalid;
    fn try_from(map: serde_json::Map<String, serde_json::Value>) -> Result<Self, Invalid> {
        match serde_json::to_string(&map) {
            Ok(text) if text.len() <= 4096 => Ok(Self(map)),
            _ => Err(Invalid::new("is larger than 4096 bytes of JSON")),
        }
    }
}

impl From<Metadata> for serde_json::Map<String, serde_json::Value> {
    fn from(metadata: Metadata) -> Self {
        metadata.0
    }
}

/// Stores metadata as JSON text, because DynamoDB's numbers have a smaller range than JSON's. The limit of 4,096
/// bytes is checked only when metadata is received, because a stored number may be written out longer.
pub mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de, ser};

    use crate::text::Metadata;

    pub fn serialize<S: Serializer>(metadata: &Metadata, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&serde_json::to_string(metadata).map_err(ser::Error::custom)?)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Metadata, D::Error> {
        serde_json::from_str(&String::deserialize(deserializer)?).map(Metadata).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number may be written out longer than it was received: `1e-45` was returned as `1.0000000000000001e-45`.
    #[test]
    fn metadata_that_was_taken_is_read_as_it_was() {
        #[derive(serde::Serialize, serde::Deserialize)]
        struct Kept(#[serde(with = "as_text")] Metadata);
        let same = |metadata: Metadata| {
            let kept = serde_json::to_string(&Kept(metadata.clone())).unwrap();
            assert_eq!(serde_json::from_str::<Kept>(&kept).unwrap().0, metadata);
            kept
        };
        let numbers = format!("{{\"a\":[{}]}}", vec!["10e-46"; 679].join(","));
        let kept = same(serde_json::from_str(&numbers).unwrap());
        assert_eq!(kept, same(serde_json::from_str::<Kept>(&kept).unwrap().0));
        same(
            serde_json::from_str("{\"a\":[13.404954000000001,52.520008,1e300,-0.0,9007199254740993]}")
                .unwrap(),
        );
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(4096));
        assert!(serde_json::from_str::<Metadata>(&large).is_err());
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(9000));
        let kept = serde_json::to_string(&serde_json::json!(large)).unwrap();
        assert!(serde_json::from_str::<Kept>(&kept).is_ok(), "what is stored is read");
    }

    #[test]
    fn names_of_all_scripts_pass_and_tricks_do_not() {
        let name = |text: &str| Name::try_from(text.to_owned());
        for text in ["Ada", "  Åsa  ", "李小龙", "עדה", "👩‍🚀 crew", "O'Neil"] {
            assert!(name(text).is_ok(), "{text}");
        }
        let long = "x".repeat(201);
        for text in ["", "   ", "a\r\nb", "a\0b", "a\u{202e}b", "\u{200b}", &long] {
            assert!(name(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn slugs_follow_from_names() {
        for (name, slug) in [("My  App!", "my-app"), ("李小龙", "waitlist"), ("--a--", "a")] {
            assert_eq!(Slug::suggest(&Name(name.to_owned())).as_str(), slug);
        }
        for text in ["", "A", "a--b", "-a", "a-", "a/b", "a#b"] {
            assert!(Slug::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn time_zones_are_those_of_the_iana_database() {
        let zone = |text: &str| TimeZoneName::try_from(text.to_owned());
        assert_eq!(zone("europe/berlin").unwrap().as_str(), "Europe/Berlin");
        assert!(zone("America/Argentina/Buenos_Aires").is_ok() && zone("UTC").is_ok());
        for text in ["", "Europe", "Europe/Atlantis", "+02:00", "../../etc/passwd", "Europe/Berlin\0"] {
            assert!(zone(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn origins_and_urls_are_https_or_local() {
        let origin = |text: &str| Origin::try_from(text.to_owned()).is_ok();
        assert!(origin("https://example.com") && origin("http://localhost:5173"));
        for text in [
            "*",
            "example.com",
            "http://example.com",
            "https://example.com/",
            "https://",
            "https://a:b",
            "https://a@b",
            "null",
        ] {
            assert!(!origin(text), "{text}");
        }
        let url = |text: &str| HttpUrl::try_from(text.to_owned()).is_ok();
        assert!(url("https://example.com/a?b=c#d"));
        for text in [
            "javascript:alert(1)",
            "https://a b",
            "//example.com",
            "https://example.com/\"><script>",
            "https://user@example.com",
        ] {
            assert!(!url(text), "{text}");
        }
    }
}

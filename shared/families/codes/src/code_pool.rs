//! Code pools, their settings, and the lots into which their codes are divided.

use crate::id::CodePoolId;
use domain::{
    Invalid, bounded_number,
    id::AccountId,
    text::{self, AllowedOrigins, Name},
};
use jiff::Timestamp;

/// Platform on which a code can be redeemed. A `universal` code can be redeemed on every platform.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Platform {
    Ios,
    Android,
    Web,
    /// Every platform.
    Universal,
}

impl Platform {
    pub const ALL: [Self; 4] = [Self::Ios, Self::Android, Self::Web, Self::Universal];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ios => "ios",
            Self::Android => "android",
            Self::Web => "web",
            Self::Universal => "universal",
        }
    }

    /// Returns true if a code for this platform can be redeemed on `wanted`.
    pub fn serves(self, wanted: Self) -> bool {
        self == wanted || self == Self::Universal
    }
}

impl std::str::FromStr for Platform {
    type Err = Invalid;
    /// Parses the name of a platform in upper or lower case.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let found = Self::ALL.into_iter().find(|platform| platform.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| Invalid::new("is not ios, android, web or universal"))
    }
}

/// State of a code pool.
///
/// - `active`: gives codes.
/// - `paused`: refuses new claims and reservations until the pool is active again. Reservations can still be
///   confirmed.
/// - `completed`: ended. Refuses claims, reservations, confirmations and imports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CodePoolStatus {
    Active,
    /// Gives no codes until the pool is active again. Reservations can still be confirmed.
    Paused,
    /// Ended: gives no codes and accepts no imports.
    Completed,
}

/// Callers that may claim codes from a pool.
///
/// - `anyone`: web pages with a publishable key may claim for the user that they name; so may secret keys and
///   members.
/// - `server_only`: only secret keys and members may claim, confirm and release.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ClaimPolicy {
    /// Web pages with a publishable key may claim for the user that they name; so may secret keys and members.
    #[default]
    Anyone,
    /// Only secret keys and members may claim, confirm and release.
    ServerOnly,
}

bounded_number! {
    /// Duration of a reservation, in seconds, 1–86,400 (one day).
    ReservationSeconds: u32 = 1..=86_400;
}

/// Numbers of unclaimed codes at which the event `code_pool.low_stock` is published. At most 10 thresholds, each
/// 0–10,000,000. Duplicates are removed, and the thresholds are sorted in descending order.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(try_from = "Vec<u32>", into = "Vec<u32>")]
pub struct LowStockThresholds(Vec<u32>);

impl LowStockThresholds {
    /// Returns the thresholds that the number of unclaimed codes reaches or passes when it falls from `before` to
    /// `after`.
    pub fn crossed(&self, before: u64, after: u64) -> impl Iterator<Item = u32> {
        self.0.iter().copied().filter(move |threshold| {
            let threshold = u64::from(*threshold);
            before > threshold && after <= threshold
        })
    }
}

impl TryFrom<Vec<u32>> for LowStockThresholds {
    type Error = Invalid;
    fn try_from(mut thresholds: Vec<u32>) -> Result<Self, Invalid> {
        thresholds.sort_unstable_by(|a, b| b.cmp(a));
        thresholds.dedup();
        if thresholds.len() > 10 {
            return Err(Invalid::new("has more than 10 thresholds"));
        }
        if thresholds.iter().any(|threshold| *threshold > 10_000_000) {
            return Err(Invalid::new("has a threshold that is not 0–10,000,000"));
        }
        Ok(Self(thresholds))
    }
}

impl From<LowStockThresholds> for Vec<u32> {
    fn from(thresholds: LowStockThresholds) -> Self {
        thresholds.0
    }
}

/// Settings of a code pool.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CodePoolSettings {
    pub name: Name,
    /// Platform of the codes of the pool, used for every row of an import that names no platform. A pool for one
    /// platform also holds `universal` codes; a `universal` pool holds codes for every platform. Cannot be changed
    /// after the pool is created.
    #[serde(default = "universal")]
    pub platform: Platform,
    #[serde(default = "active")]
    pub status: CodePoolStatus,
    /// Time from which the pool gives no codes. If left out, the pool does not expire.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    #[serde(default)]
    pub low_stock_thresholds: LowStockThresholds,
    /// Duration of a reservation whose request names no duration, and the longest reservation that a web page can
    /// make. 600 seconds if left out.
    #[serde(default = "ten_minutes")]
    pub reservation_seconds: ReservationSeconds,
    /// Origins whose web pages may claim codes. An empty list allows every origin.
    #[serde(default)]
    pub allowed_origins: AllowedOrigins,
    #[serde(default)]
    pub claims: ClaimPolicy,
}

fn universal() -> Platform {
    Platform::Universal
}
fn active() -> CodePoolStatus {
    CodePoolStatus::Active
}
fn ten_minutes() -> ReservationSeconds {
    ReservationSeconds(600)
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CodePool {
    pub id: CodePoolId,
    pub account_id: AccountId,
    pub settings: CodePoolSettings,
    /// True while the pool is being deleted. Such a pool gives no codes and accepts no imports.
    pub deleting: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Revision of the pool, which is also its ETag.
    pub rev: u64,
}

/// Reason why a pool gives no codes, even if it has some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    Paused,
    Completed,
    Expired,
}

impl CodePool {
    pub fn new(account_id: AccountId, settings: CodePoolSettings, now: Timestamp) -> Self {
        Self {
            id: CodePoolId::new(now),
            account_id,
            settings,
            deleting: false,
            created_at: now,
            updated_at: now,
            rev: 1,
        }
    }

    /// Returns the next revision of the pool, with other settings.
    pub fn with_settings(&self, settings: CodePoolSettings, now: Timestamp) -> Self {
        Self { settings, updated_at: now, rev: self.rev + 1, ..self.clone() }
    }

    pub fn closed(&self, now: Timestamp) -> Option<Closed> {
        match self.settings.status {
            CodePoolStatus::Completed => Some(Closed::Completed),
            _ if self.deleting => Some(Closed::Completed),
            _ if self.settings.expires_at.is_some_and(|at| at <= now) => Some(Closed::Expired),
            CodePoolStatus::Paused => Some(Closed::Paused),
            CodePoolStatus::Active => None,
        }
    }

    /// Returns true if the pool can hold codes for this platform.
    pub fn holds(&self, platform: Platform) -> bool {
        self.settings.platform == Platform::Universal || platform.serves(self.settings.platform)
    }
}

/// Promo code: 1–100 visible characters, kept as written except for white space at both ends.
///
/// Codes that differ only in upper and lower case are the same code: most shops do not distinguish them, and the
/// same code given twice is money lost.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String", into = "String")]
pub struct PromoCode(String);

impl PromoCode {
    pub const MAX_CHARACTERS: usize = 100;

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the identity that all spellings of a code share. Characters that look the same are equal (NFKC). So
    /// are texts with the same capitals: `STRASSE` equals `straße`, as in any shop that compares capitals.
    pub fn identity(&self) -> String {
        text::case_folded(&self.0)
    }

    /// Returns the code in masked form, such as `ABC•••XYZ`, by which the code can be recognised. Shorter codes
    /// show fewer characters. At least half of every code is hidden.
    pub fn masked(&self) -> String {
        let characters: Vec<char> = self.0.chars().collect();
        let shown = match characters.len() {
            12.. => 3,
            8.. => 2,
            4.. => 1,
            _ => 0,
        };
        let part = |characters: &[char]| characters.iter().collect::<String>();
        format!("{}•••{}", part(&characters[..shown]), part(&characters[characters.len() - shown..]))
    }
}

impl TryFrom<String> for PromoCode {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        if text::is_stored() {
            return Ok(Self(text));
        }
        let code = text::visible(&text, Self::MAX_CHARACTERS)?;
        // A spreadsheet would run such a code as a formula when the code is exported.
        if text::begins_like_a_formula(&code) {
            return Err(Invalid::new("begins like a formula"));
        }
        Ok(Self(code))
    }
}

impl From<PromoCode> for String {
    fn from(code: PromoCode) -> String {
        code.0
    }
}

impl std::fmt::Debug for PromoCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PromoCode(…)")
    }
}

/// Returns the end of validity of a code as shown to callers. Older imports stored "never" as the last time that
/// can be represented; that time counts as no end.
pub fn end(valid_until: Option<Timestamp>) -> Option<Timestamp> {
    valid_until.filter(|at| at.as_second() < Timestamp::MAX.as_second())
}

/// Lot: codes of one pool for the same platform, valid until the same time or nearly the same time. Lots that end
/// sooner are used up first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lot {
    /// Earliest time at which a code of the lot may end, in seconds since the epoch; [`Lot::NEVER`] if the codes do
    /// not expire.
    until: i64,
    /// Number of seconds after `until` at which the last code of the lot may end.
    span: i64,
    pub platform: Platform,
    /// True if the stock of the lot is in partitions of its own. All lots were stored like this before the stock of
    /// a platform was ordered by lot.
    apart: bool,
}

impl Lot {
    const NEVER: i64 = 999_999_999_999;

    pub fn new(platform: Platform, valid_until: Option<Timestamp>) -> Self {
        Self { until: valid_until.map_or(Self::NEVER, Timestamp::as_second), span: 0, platform, apart: false }
    }

    /// Returns true if all codes of the lot have expired.
    pub fn is_over(self, now: Timestamp) -> bool {
        self.until + self.span <= now.as_second()
    }

    /// Returns the name of the part of the stock that holds the codes of the lot.
    pub fn section(self) -> String {
        if self.apart { self.into() } else { self.platform.name().to_owned() }
    }

    /// Returns the sort key of the lot within its section, in the order of [`Ord`]; `None` if the lot has a section
    /// of its own.
    pub fn order(self) -> Option<String> {
        (!self.apart).then(|| format!("{:012}+{:08}", self.until, self.span))
    }
}

impl From<Lot> for String {
    fn from(lot: Lot) -> Self {
        let platform = lot.platform.name();
        match lot.order() {
            Some(order) => format!("{order}@{platform}"),
            None => format!("{:012}+{}.{platform}", lot.until, lot.span),
        }
    }
}

impl TryFrom<String> for Lot {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        let ordered = text.split_once('@');
        let parsed = ordered.or_else(|| text.split_once('.')).and_then(|(ends, platform)| {
            let (until, span) = ends.split_once('+')?;
            Some(Self {
                until: until.parse().ok()?,
                span: span.parse().ok()?,
                platform: platform.parse().ok()?,
                apart: ordered.is_none(),
            })
        });
        parsed.ok_or_else(|| Invalid::new("is not a lot"))
    }
}

/// Lots of a pool that have codes to give, or had some recently; soonest end first.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Lots(std::collections::BTreeSet<Lot>);

impl Lots {
    /// Rounding of ends of validity, by the number of lots in the pool: to the second with fewer than 20 lots, then
    /// to the hour, the day, 30 days and 365 days. A pool therefore has a bounded number of lots, and claimers have
    /// many codes to choose from, even if each code has an end of its own.
    const GRAIN: [(usize, i64); 5] =
        [(20, 1), (30, 3600), (40, 86_400), (60, 30 * 86_400), (usize::MAX, 365 * 86_400)];
    /// Latest end of validity that counts as an end, in seconds since the epoch (year 2286). A later end counts as
    /// never.
    const FAR: i64 = 9_999_999_999;

    /// Returns the lot of a new code, and adds the lot if it is new. The code itself stores its exact end of
    /// validity.
    pub fn place(&mut self, platform: Platform, valid_until: Option<Timestamp>) -> Lot {
        let exact = Lot::new(platform, valid_until);
        let mut lot = Lot::new(platform, None);
        if exact.until <= Self::FAR {
            for (most, grain) in Self::GRAIN {
                let until = exact.until - exact.until.rem_euclid(grain);
                lot = Lot { until, span: grain - 1, ..exact };
                if self.0.contains(&lot) || self.0.len() < most {
                    break;
                }
            }
        }
        self.0.insert(lot);
        lot
    }

    pub fn insert(&mut self, lot: Lot) {
        self.0.insert(lot);
    }

    pub fn remove(&mut self, lots: &[Lot]) {
        self.0.retain(|lot| !lots.contains(lot));
    }

    /// Removes the lots whose codes have all expired.
    pub fn drop_over(&mut self, now: Timestamp) {
        self.0.retain(|lot| !lot.is_over(now));
    }

    pub fn iter(&self) -> impl Iterator<Item = Lot> {
        self.0.iter().copied()
    }

    /// Returns the lots whose codes can be redeemed on a platform and have not all expired, soonest end first.
    pub fn serving(&self, platform: Platform, now: Timestamp) -> impl Iterator<Item = Lot> {
        self.iter().filter(move |lot| lot.platform.serves(platform) && !lot.is_over(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Result<PromoCode, Invalid> {
        PromoCode::try_from(text.to_owned())
    }

    #[test]
    fn codes_are_printable_and_bounded() {
        for text in ["SAVE10", "a", "  A-1 ", "ABCD 1234", "ÄÖ-7", "コード", &"x".repeat(100)] {
            assert!(code(text).is_ok(), "{text}");
        }
        for text in [
            "",
            "  ",
            "a\0b",
            "a\u{202e}b",
            "a\u{200d}b",
            "a\u{180e}",
            "a\u{115f}",
            "a\u{fff9}",
            "a\u{e000}",
            "=cmd()",
            "+1",
            "-1",
            "@x",
            &"x".repeat(101),
        ] {
            assert!(code(text).is_err(), "{text}");
        }
        for (one, other) in
            [(" aBc ", "AbC"), ("CAF\u{c9}-1", "cafe\u{301}-1"), ("A\u{a0}1", "a 1"), ("Ａ１", "a1")]
        {
            assert_eq!(code(one).unwrap().identity(), code(other).unwrap().identity(), "{one}");
        }
    }

    #[test]
    fn a_mask_hides_at_least_half() {
        for (text, masked) in [
            ("ABCDEFGHIXYZ", "ABC•••XYZ"),
            ("ABCDEFGH", "AB•••GH"),
            ("ABCD", "A•••D"),
            ("ABC", "•••"),
            ("ÄBCDEFGÖ", "ÄB•••GÖ"),
        ] {
            assert_eq!(code(text).unwrap().masked(), masked);
        }
    }

    #[test]
    fn thresholds_are_crossed_downwards_once() {
        let thresholds = LowStockThresholds::try_from(vec![10, 100, 10]).unwrap();
        let crossed = |before, after| thresholds.crossed(before, after).collect::<Vec<_>>();
        assert_eq!(crossed(101, 100), [100]);
        assert_eq!(crossed(100, 99), [0; 0]);
        assert_eq!(crossed(500, 0), [100, 10]);
        assert_eq!(crossed(0, 500), [0; 0]);
    }

    #[test]
    fn lots_end_with_their_codes_and_stay_few() {
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        for step in [1, 600, 30 * 86_400] {
            let mut lots = Lots::default();
            for n in 0..100_000 {
                let end = (1_800_000_000 + n * step).min(250_000_000_000);
                let lot = lots.place(Platform::Ios, at(end));
                assert!(
                    lot == Lot::new(Platform::Ios, None) || (lot.until..=lot.until + lot.span).contains(&end)
                );
            }
            assert!(lots.iter().count() < 400, "{}", lots.iter().count());
        }
        // The sort keys are in the order of the lots.
        let ends = [1_800_000_000, 1_800_000_001]
            .into_iter()
            .flat_map(|until| [0, 3599, 86_399, 31_535_999].map(|span| (until, span)));
        let sorted: Vec<Lot> =
            ends.map(|(until, span)| Lot { until, span, ..Lot::new(Platform::Ios, None) }).collect();
        assert!(sorted.is_sorted() && sorted.iter().map(|lot| lot.order()).is_sorted());
        let mut lots = Lots::default();
        let first = lots.place(Platform::Ios, at(1_800_000_000));
        assert_eq!(first, Lot::new(Platform::Ios, at(1_800_000_000)), "the first are exact");
        let never = lots.place(Platform::Web, None);
        assert_eq!(lots.iter().last(), Some(never));
        assert_eq!(Lot::try_from(String::from(never)), Ok(never));
        assert!(lots.serving(Platform::Android, Timestamp::UNIX_EPOCH).next().is_none());
        let apart = Lot::try_from("999999999999+0.web".to_owned()).unwrap();
        assert_eq!(
            (apart.section(), String::from(apart)),
            (String::from(apart), "999999999999+0.web".to_owned())
        );
        assert_ne!(apart, never, "their codes are at different places");
        lots.drop_over(Timestamp::from_second(9_000_000_000).unwrap());
        assert_eq!(lots.iter().collect::<Vec<_>>(), [never]);
    }
}

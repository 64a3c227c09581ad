//! Code pools: promo codes for people to claim, and what a pool may be set to.

use crate::id::CodePoolId;
use domain::{
    Invalid, bounded_number,
    id::AccountId,
    text::{self, AllowedOrigins, Name},
};
use jiff::Timestamp;

/// Where a code can be redeemed.
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
    /// Everywhere.
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

    /// Whether a code for this platform is of use on another.
    pub fn serves(self, wanted: Self) -> bool {
        self == wanted || self == Self::Universal
    }
}

impl std::str::FromStr for Platform {
    type Err = Invalid;
    /// Reads any case.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let found = Self::ALL.into_iter().find(|platform| platform.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| Invalid::new("is not ios, android, web or universal"))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CodePoolStatus {
    Active,
    /// Gives no codes until it is active again.
    Paused,
    /// Over: gives no codes and takes none.
    Completed,
}

/// The callers whose claims a pool takes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ClaimPolicy {
    /// Web pages with a publishable key claim for the user that they name.
    #[default]
    Anyone,
    /// Only secret keys and members claim, confirm and release.
    ServerOnly,
}

bounded_number! {
    /// How long a reservation holds its code, in seconds, 1–86,400.
    ReservationSeconds: u32 = 1..=86_400;
}

/// Numbers of codes left at which to say so, most first; at most 10, each 0–10,000,000.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(try_from = "Vec<u32>", into = "Vec<u32>")]
pub struct LowStockThresholds(Vec<u32>);

impl LowStockThresholds {
    /// Those that a pool falls to, or below, when it goes from so many codes to so many.
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

/// Everything that the owner of a code pool decides about it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CodePoolSettings {
    pub name: Name,
    /// What its codes are for, unless a row of an import says otherwise. Stays as it was made.
    #[serde(default = "universal")]
    pub platform: Platform,
    #[serde(default = "active")]
    pub status: CodePoolStatus,
    /// From then on it gives no codes.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    #[serde(default)]
    pub low_stock_thresholds: LowStockThresholds,
    /// How long a reservation holds, unless it asks for another time.
    #[serde(default = "ten_minutes")]
    pub reservation_seconds: ReservationSeconds,
    /// Pages that may claim; all, when there is none.
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
    /// Being deleted: it gives nothing and takes nothing.
    pub deleting: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Counts the changes; the ETag.
    pub rev: u64,
}

/// Why a pool gives no codes, whatever it holds.
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

    /// The same pool with other settings.
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

    /// Whether codes for this platform can be in the pool.
    pub fn holds(&self, platform: Platform) -> bool {
        self.settings.platform == Platform::Universal || platform.serves(self.settings.platform)
    }
}

/// A code as it is given out: 1–100 visible characters, kept as they were written.
///
/// Two codes that differ in case only are one code: most shops don't tell them apart,
/// and the same code given twice is money lost.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String", into = "String")]
pub struct PromoCode(String);

impl PromoCode {
    pub const MAX_CHARACTERS: usize = 100;

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The identity that two spellings of one code share: characters that look the same are the same (NFKC), and so are
    /// those with the same capitals: `STRASSE` is `straße`, as it is in any shop that compares capitals.
    pub fn identity(&self) -> String {
        text::case_folded(&self.0)
    }

    /// `ABC•••XYZ`: enough to recognise a code by. Of short codes less is shown, and at
    /// least half of every code is hidden.
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
        // It would become a command in whatever spreadsheet the code ends up in.
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

/// When a code ends, as it is shown. Imports once kept "never" as the last moment that there is.
pub fn end(valid_until: Option<Timestamp>) -> Option<Timestamp> {
    valid_until.filter(|at| at.as_second() < Timestamp::MAX.as_second())
}

/// Codes of one pool that are as good as each other: for the same platform, and valid
/// until the same time, or nearly. Lots that end sooner are used up first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lot {
    /// When the first of its codes may end, in seconds since the epoch; [`Lot::NEVER`] when
    /// they don't.
    until: i64,
    /// How many seconds later the last of them may end.
    span: i64,
    pub platform: Platform,
    /// Whether its codes have their places in partitions of its own, as all had before the
    /// platform's partitions were ordered by lot.
    apart: bool,
}

impl Lot {
    const NEVER: i64 = 999_999_999_999;

    pub fn new(platform: Platform, valid_until: Option<Timestamp>) -> Self {
        Self { until: valid_until.map_or(Self::NEVER, Timestamp::as_second), span: 0, platform, apart: false }
    }

    /// Whether all its codes have expired.
    pub fn is_over(self, now: Timestamp) -> bool {
        self.until + self.span <= now.as_second()
    }

    /// Names the part of the pool's stock that holds the places of its codes.
    pub fn section(self) -> String {
        if self.apart { self.into() } else { self.platform.name().to_owned() }
    }

    /// The sort key of a lot within its section, in the order of [`Ord`]; `None` for one that has a section of its own.
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

/// The lots of a pool that have codes to give, or had some a moment ago; soonest end first.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Lots(std::collections::BTreeSet<Lot>);

impl Lots {
    /// How coarse ends become as lots get many: to the second, the hour, the day, the month,
    /// the year. So a pool has a bounded number of lots, and claimers many codes to choose from,
    /// even if each of its codes has an end of its own.
    const GRAIN: [(usize, i64); 5] =
        [(20, 1), (30, 3600), (40, 86_400), (60, 30 * 86_400), (usize::MAX, 365 * 86_400)];
    /// What ends later than that, in seconds since the epoch (year 2286), might as well never end.
    const FAR: i64 = 9_999_999_999;

    /// The lot that a new code goes into, which is entered if it is new. The code itself says
    /// exactly until when it is valid.
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

    /// Forgets those whose codes have all expired.
    pub fn drop_over(&mut self, now: Timestamp) {
        self.0.retain(|lot| !lot.is_over(now));
    }

    pub fn iter(&self) -> impl Iterator<Item = Lot> {
        self.0.iter().copied()
    }

    /// Those with codes that are of use on a platform now, soonest end first.
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
        // Their names sort as they do.
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

//! Waitlists and their settings.

use crate::id::WaitlistId;
use domain::{
    Invalid, bounded_number,
    id::AccountId,
    text::{AllowedOrigins, Color, HttpUrl, Line, Locale, Name, Slug},
};
use jiff::Timestamp;

/// Status of a waitlist.
///
/// - `draft`: the waitlist is not open yet. Nobody can join.
/// - `open`: anybody can join.
/// - `closed`: nobody can join any more. Subscribers keep their positions.
/// - `launched`: the product is available. Nobody can join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitlistStatus {
    /// The waitlist is not open yet. Nobody can join.
    Draft,
    /// Anybody can join.
    Open,
    /// Closed to new subscribers. Subscribers keep their positions.
    Closed,
    /// The product is available. Nobody can join.
    Launched,
}

/// Confirmation of the email address that a waitlist requires.
///
/// - `none`: a subscriber enters the line by joining.
/// - `double_opt_in`: a subscriber receives a mail, and enters the line by following its link and confirming.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerificationPolicy {
    /// A subscriber enters the line by joining.
    None,
    /// A subscriber receives a mail, and enters the line by following its link and confirming.
    DoubleOptIn,
}

/// Treatment of email addresses at known providers of throw-away mailboxes.
///
/// - `allow`: the address is accepted like any other.
/// - `flag`: the address is accepted. `disposable` is true on the subscriber, and counts for the fraud score of a
///   referral.
/// - `block`: the join is refused with the problem `disposable-email`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EmailPolicy {
    /// Accepted like any other address.
    Allow,
    /// Accepted; `disposable` is true on the subscriber.
    Flag,
    /// Refused.
    Block,
}

/// Logo, colour and texts for the page of a waitlist.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Branding {
    pub logo_url: Option<HttpUrl>,
    pub primary_color: Option<Color>,
    pub headline: Option<Line>,
    pub description: Option<Line>,
}

/// Reward tier: a reward for a number of credited referrals.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RewardTier {
    /// Number of credited referrals that reaches the tier, 1–1,000,000.
    pub referrals: u32,
    pub name: Name,
    /// Description of what the subscriber receives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward: Option<Line>,
}

/// Reward tiers, at most 20. The API sorts the tiers by `referrals` in ascending order. Two tiers cannot have the
/// same `referrals`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(try_from = "Vec<RewardTier>", into = "Vec<RewardTier>")]
pub struct RewardTiers(Vec<RewardTier>);

impl RewardTiers {
    pub fn iter(&self) -> impl Iterator<Item = &RewardTier> {
        self.0.iter()
    }
}

impl TryFrom<Vec<RewardTier>> for RewardTiers {
    type Error = Invalid;
    fn try_from(mut tiers: Vec<RewardTier>) -> Result<Self, Invalid> {
        tiers.sort_by_key(|tier| tier.referrals);
        if tiers.len() > 20 {
            return Err(Invalid::new("has more than 20 tiers"));
        }
        if tiers.iter().any(|tier| !(1..=1_000_000).contains(&tier.referrals)) {
            return Err(Invalid::new("has a tier whose `referrals` is not 1–1,000,000"));
        }
        if tiers.windows(2).any(|pair| pair[0].referrals == pair[1].referrals) {
            return Err(Invalid::new("has two tiers with the same `referrals`"));
        }
        Ok(Self(tiers))
    }
}

impl From<RewardTiers> for Vec<RewardTier> {
    fn from(tiers: RewardTiers) -> Self {
        tiers.0
    }
}

bounded_number! {
    /// Number of places that one referral moves the referrer up, 0–10,000.
    PlacesPerReferral: u32 = 0..=10_000;
    /// Maximum number of subscribers who enter the line, 1–10,000,000. Pending subscribers do not count. Invited and
    /// converted subscribers count until they are erased.
    Capacity: u32 = 1..=10_000_000;
}

/// Settings of a waitlist.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitlistSettings {
    pub name: Name,
    /// Short name of the waitlist, unique within the account. If left out, a new waitlist gets a slug derived from
    /// its name, and an existing waitlist keeps its slug.
    #[serde(default)]
    pub slug: Option<Slug>,
    #[serde(default = "open")]
    pub status: WaitlistStatus,
    #[serde(default)]
    pub branding: Branding,
    #[serde(default = "english")]
    pub locale: Locale,
    #[serde(default)]
    pub allowed_origins: AllowedOrigins,
    #[serde(default = "no_verification")]
    pub verification_policy: VerificationPolicy,
    #[serde(default = "flag")]
    pub email_policy: EmailPolicy,
    #[serde(default = "three_places")]
    pub places_per_referral: PlacesPerReferral,
    #[serde(default)]
    pub reward_tiers: RewardTiers,
    #[serde(default)]
    pub capacity: Option<Capacity>,
    /// Address of the page that referral links open. The referral code is added as the query parameter `ref`.
    #[serde(default)]
    pub page_url: Option<HttpUrl>,
}

fn open() -> WaitlistStatus {
    WaitlistStatus::Open
}
fn english() -> Locale {
    #[expect(clippy::expect_used, reason = "a constant that the tests read")]
    Locale::try_from("en".to_owned()).expect("en is a language tag")
}
fn no_verification() -> VerificationPolicy {
    VerificationPolicy::None
}
fn flag() -> EmailPolicy {
    EmailPolicy::Flag
}
fn three_places() -> PlacesPerReferral {
    PlacesPerReferral(3)
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Waitlist {
    pub id: WaitlistId,
    pub account_id: AccountId,
    pub slug: Slug,
    pub settings: WaitlistSettings,
    /// True while the waitlist is being deleted. It cannot be changed any more.
    pub deleting: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Revision of the waitlist, sent as the ETag.
    pub rev: u64,
}

impl Waitlist {
    pub fn new(account_id: AccountId, mut settings: WaitlistSettings, now: Timestamp) -> Self {
        let slug = settings.slug.take().unwrap_or_else(|| Slug::suggest(&settings.name));
        settings.slug = Some(slug.clone());
        Self {
            id: WaitlistId::new(now),
            account_id,
            slug,
            settings,
            deleting: false,
            created_at: now,
            updated_at: now,
            rev: 1,
        }
    }

    /// Returns the next revision of the waitlist with new settings. If the settings have no slug, the slug stays.
    pub fn with_settings(&self, mut settings: WaitlistSettings, now: Timestamp) -> Self {
        let slug = settings.slug.take().unwrap_or_else(|| self.slug.clone());
        settings.slug = Some(slug.clone());
        Self { slug, settings, updated_at: now, rev: self.rev + 1, ..self.clone() }
    }

    /// Returns true if subscribers can join.
    pub fn accepts_joins(&self) -> bool {
        self.settings.status == WaitlistStatus::Open && !self.deleting
    }

    /// Returns the referral link that a subscriber shares.
    pub fn referral_url(&self, public_url: &str, code: &crate::referral_code::ReferralCode) -> String {
        match &self.settings.page_url {
            Some(page) => {
                let (base, fragment) =
                    page.as_str().split_once('#').map_or((page.as_str(), None), |(a, b)| (a, Some(b)));
                let separator = if base.contains('?') { '&' } else { '?' };
                let fragment = fragment.map(|text| format!("#{text}")).unwrap_or_default();
                format!("{base}{separator}ref={}{fragment}", code.as_str())
            }
            None => format!("{public_url}/w/{}?ref={}", self.id, code.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<WaitlistSettings, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn a_name_is_enough_and_unknown_fields_are_refused() {
        let settings = settings(r#"{"name": "My App"}"#).unwrap();
        let waitlist = Waitlist::new(AccountId::new(Timestamp::UNIX_EPOCH), settings, Timestamp::UNIX_EPOCH);
        assert_eq!(waitlist.slug.as_str(), "my-app");
        assert!(waitlist.accepts_joins());
        assert!(super::tests::settings(r#"{"name": "My App", "stauts": "open"}"#).is_err());
    }

    #[test]
    fn tiers_are_sorted_and_unambiguous() {
        let tiers = |text: &str| serde_json::from_str::<RewardTiers>(text);
        let sorted = tiers(r#"[{"referrals":5,"name":"b"},{"referrals":1,"name":"a"}]"#).unwrap();
        assert_eq!(sorted.iter().map(|tier| tier.referrals).collect::<Vec<_>>(), [1, 5]);
        for text in
            [r#"[{"referrals":0,"name":"a"}]"#, r#"[{"referrals":1,"name":"a"},{"referrals":1,"name":"b"}]"#]
        {
            assert!(tiers(text).is_err(), "{text}");
        }
    }

    #[test]
    fn referral_links_keep_the_pages_own_query() {
        let code = crate::referral_code::ReferralCode::generate();
        let mut waitlist = Waitlist::new(
            AccountId::new(Timestamp::UNIX_EPOCH),
            settings(r#"{"name": "a", "page_url": "https://example.com/?a=b#top"}"#).unwrap(),
            Timestamp::UNIX_EPOCH,
        );
        let link = waitlist.referral_url("https://api.example.com", &code);
        assert_eq!(link, format!("https://example.com/?a=b&ref={}#top", code.as_str()));
        waitlist.settings.page_url = None;
        assert!(
            waitlist
                .referral_url("https://api.example.com", &code)
                .starts_with("https://api.example.com/w/wl_")
        );
    }
}

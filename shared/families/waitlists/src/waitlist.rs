//! Waitlists and what they may be set to.

use crate::id::WaitlistId;
use domain::{
    Invalid, bounded_number,
    id::AccountId,
    text::{AllowedOrigins, Color, HttpUrl, Line, Locale, Name, Slug},
};
use jiff::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitlistStatus {
    /// Not yet open: nobody can join.
    Draft,
    Open,
    /// No longer open; positions stay.
    Closed,
    /// The product is out; nobody can join.
    Launched,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerificationPolicy {
    /// Who joins is in.
    None,
    /// Who joins gets a mail and is in once its link was followed.
    DoubleOptIn,
}

/// What to do with throw-away mailboxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EmailPolicy {
    Allow,
    /// Let in and marked.
    Flag,
    Block,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Branding {
    pub logo_url: Option<HttpUrl>,
    pub primary_color: Option<Color>,
    pub headline: Option<Line>,
    pub description: Option<Line>,
}

/// A reward for bringing so many friends.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RewardTier {
    /// Credited referrals needed, 1–1,000,000.
    pub referrals: u32,
    pub name: Name,
    /// What the owner of the tier gets, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward: Option<Line>,
}

/// Tiers in ascending order, each threshold once; at most 20.
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
    /// Places that one referral moves its owner up, 0–10,000.
    PlacesPerReferral: u32 = 0..=10_000;
    /// Entries that a waitlist takes, 1–10,000,000.
    Capacity: u32 = 1..=10_000_000;
}

/// Everything that the owner of a waitlist decides about it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitlistSettings {
    pub name: Name,
    /// Unique in its account; suggested by the name when left out.
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
    /// The page that referral links lead to.
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
    /// Being deleted: nothing on it can be changed any more.
    pub deleting: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Counts the changes; the ETag.
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

    /// The same waitlist with other settings. A slug that is left out stays.
    pub fn with_settings(&self, mut settings: WaitlistSettings, now: Timestamp) -> Self {
        let slug = settings.slug.take().unwrap_or_else(|| self.slug.clone());
        settings.slug = Some(slug.clone());
        Self { slug, settings, updated_at: now, rev: self.rev + 1, ..self.clone() }
    }

    pub fn accepts_joins(&self) -> bool {
        self.settings.status == WaitlistStatus::Open && !self.deleting
    }

    /// The link that a subscriber shares.
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

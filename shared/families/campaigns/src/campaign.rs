//! Message campaigns: recipients, triggers, channels, and the state of each message.

use std::collections::BTreeMap;

use codes::id::{ClaimId, CodePoolId};
use domain::{
    Invalid, bounded_number,
    id::{AccountId, CampaignId, CustomerId, ProgramId, SendId},
    text::{Lines, Name, TimeZoneName, clean, is_stored},
    texts,
};
use jiff::{
    SignedDuration, Timestamp,
    civil::{Date, Time},
    tz::{AmbiguousOffset, TimeZone},
};
use stamps::{customer::Customer, stamp::Card};

bounded_number! {
    /// Number of days, 1–730.
    Days: u32 = 1..=730;
    /// Number of visits, 1–100,000.
    Visits: u32 = 1..=100_000;
}

texts! {
    /// Id of a Twilio content template: `HX` and 32 hexadecimal digits.
    ContentSid(content_sid);
    /// Subject of a mail, 1–200 characters. May contain placeholders such as `{{name}}`.
    Subject(|text| clean(text, Lines::One, 200));
    /// Text of a message, 1–1,600 characters. May contain line breaks, and placeholders such as `{{name}}`.
    Body(|text| clean(text, Lines::Many, 1600));
}

fn content_sid(text: &str) -> Result<String, Invalid> {
    match text.strip_prefix("HX") {
        Some(rest) if rest.len() == 32 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Ok(text.to_owned())
        }
        _ => Err(Invalid::new("is not the id of a content template, HX and 32 hexadecimal digits")),
    }
}

/// Variables of a content template, by name: at most 50. A name is 1–32 letters, digits or `_`. A value has at most
/// 500 characters and may contain placeholders such as `{{name}}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    pub fn iter(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.iter()
    }
}

impl TryFrom<BTreeMap<String, String>> for Variables {
    type Error = Invalid;
    fn try_from(mut variables: BTreeMap<String, String>) -> Result<Self, Invalid> {
        if is_stored() {
            return Ok(Self(variables));
        }
        if variables.len() > 50 {
            return Err(Invalid::new("has more than 50 variables"));
        }
        for (name, value) in &mut variables {
            let legal = (1..=32).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !legal {
                return Err(Invalid::new("has a variable whose name is not 1–32 letters, digits or _"));
            }
            // A blank value is stored as it is, because `clean` refuses blank text.
            if !value.trim().is_empty() {
                *value = clean(value, Lines::One, 500)
                    .map_err(|invalid| Invalid::new(format!("has a variable {name} that {}", invalid.0)))?;
            }
            places(value)?;
        }
        Ok(Self(variables))
    }
}

impl From<Variables> for BTreeMap<String, String> {
    fn from(variables: Variables) -> Self {
        variables.0
    }
}

/// Names of the placeholders that a text may contain: `{{name}}`, `{{code}}`, `{{stamps}}`, `{{stamps_required}}`,
/// `{{reward}}`, `{{program}}`. The text after a `|` is used if the value is empty: `{{name|friend}}`.
pub const PLACES: [&str; 6] = ["name", "code", "stamps", "stamps_required", "reward", "program"];

/// Returns the names of the placeholders in a text.
///
/// # Errors
/// When a placeholder is unknown or not closed.
fn places(text: &str) -> Result<Vec<&str>, Invalid> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("{{") {
        let (place, after) =
            after.split_once("}}").ok_or_else(|| Invalid::new("has a `{{` that no `}}` closes"))?;
        let place = place.split('|').next().unwrap_or_default().trim();
        if !PLACES.contains(&place) {
            return Err(Invalid::new(format!("has a placeholder that is none of {}", PLACES.join(", "))));
        }
        found.push(place);
        rest = after;
    }
    Ok(found)
}

/// Returns a text with its placeholders replaced by their values. Placeholders within a value are not replaced.
pub fn fill(text: &str, values: &BTreeMap<&str, String>) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((place, after)) = after.split_once("}}") else { break };
        filled.push_str(before);
        let (place, otherwise) = place.split_once('|').unwrap_or((place, ""));
        let value = values.get(place.trim()).map(String::as_str).unwrap_or_default();
        filled.push_str(if value.is_empty() { otherwise.trim() } else { value });
        rest = after;
    }
    filled + rest
}

/// Message of a campaign, and the channel over which it is sent.
///
/// Texts and variables may contain the placeholders `{{name}}`, `{{code}}`, `{{stamps}}`, `{{stamps_required}}`,
/// `{{reward}}` and `{{program}}`. The text after a `|` is used if the value is empty: `{{name|friend}}`.
/// `{{code}}` requires a `code_pool_id`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(tag = "channel", rename_all = "snake_case", deny_unknown_fields)]
pub enum Template {
    Whatsapp {
        content_sid: ContentSid,
        #[serde(default)]
        variables: Variables,
    },
    Sms {
        /// Content template to send instead of a `text`. Exactly one of the two is required.
        #[serde(default)]
        content_sid: Option<ContentSid>,
        #[serde(default)]
        variables: Variables,
        #[serde(default)]
        text: Option<Body>,
    },
    Email {
        subject: Subject,
        text: Body,
    },
}

/// Channel over which a message is sent.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    Whatsapp,
    Sms,
    Email,
}

impl Template {
    pub fn channel(&self) -> Channel {
        match self {
            Self::Whatsapp { .. } => Channel::Whatsapp,
            Self::Sms { .. } => Channel::Sms,
            Self::Email { .. } => Channel::Email,
        }
    }

    fn texts(&self) -> Vec<&str> {
        match self {
            Self::Whatsapp { variables, .. } => variables.iter().map(|(_, value)| value.as_str()).collect(),
            Self::Sms { variables, text, .. } => {
                let text = text.iter().map(Body::as_str);
                variables.iter().map(|(_, value)| value.as_str()).chain(text).collect()
            }
            Self::Email { subject, text } => vec![subject.as_str(), text.as_str()],
        }
    }

    /// Checks the content of the message.
    ///
    /// # Errors
    /// When an SMS has both a content template and a text, or neither, or when a placeholder is unknown or not
    /// closed.
    fn check(&self) -> Result<(), Invalid> {
        if let Self::Sms { content_sid, text, .. } = self
            && content_sid.is_some() == text.is_some()
        {
            return Err(Invalid::new("needs either a content_sid or a text"));
        }
        self.texts().into_iter().try_for_each(|text| places(text).map(drop))
    }

    /// Returns true if the message contains a code.
    pub fn tells_a_code(&self) -> bool {
        self.texts().into_iter().any(|text| places(text).is_ok_and(|places| places.contains(&"code")))
    }
}

/// Segment of the customers of a program: the customers for whom all given conditions hold.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    #[serde(default)]
    pub at_risk: Option<bool>,
    #[serde(default)]
    pub visits_at_least: Option<Visits>,
    #[serde(default)]
    pub visits_at_most: Option<Visits>,
    /// Minimum number of days since the last visit, or since the enrolment if there was no visit.
    #[serde(default)]
    pub absent_days: Option<Days>,
}

impl Segment {
    pub fn has(&self, card: &Card, now: Timestamp) -> bool {
        let at_risk = card.at_risk_from <= now;
        let since = card.last_visit_at.unwrap_or(card.enrolled_at);
        self.at_risk.is_none_or(|wanted| wanted == at_risk)
            && self.visits_at_least.is_none_or(|least| card.visits >= least.get())
            && self.visits_at_most.is_none_or(|most| card.visits <= most.get())
            && self.absent_days.is_none_or(|days| since + days_long(days) <= now)
    }
}

fn days_long(days: Days) -> SignedDuration {
    SignedDuration::from_hours(24 * i64::from(days.get()))
}

/// Trigger of a campaign: which customers receive the message, and when.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Trigger {
    /// Sends once to each customer of a segment, when the campaign is activated or resumed.
    Segment {
        #[serde(default)]
        segment: Segment,
    },
    /// Sends to customers who have not come for this number of days, once for each absence.
    Inactivity { days: Days },
    /// Sends on the customer's birthday. For a birthday on 29 February, sends on 28 February in years without a
    /// 29th.
    Birthday,
    /// Sends when a customer reaches this number of visits, which has to be one of the `milestones` of the program.
    Milestone { visits: Visits },
}

/// Time of day, `HH:MM` in 24 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClockTime(Time);

impl TryFrom<String> for ClockTime {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        let invalid = || Invalid::new("is not a time of day such as 21:00");
        let (hour, minute) = text.split_once(':').ok_or_else(invalid)?;
        let number = |text: &str| {
            let legal = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            legal.then(|| text.parse::<i8>().ok()).flatten()
        };
        let (hour, minute) = number(hour).zip(number(minute)).ok_or_else(invalid)?;
        Time::new(hour, minute, 0, 0).map(Self).map_err(|_| invalid())
    }
}

impl From<ClockTime> for String {
    fn from(ClockTime(time): ClockTime) -> Self {
        format!("{:02}:{:02}", time.hour(), time.minute())
    }
}

/// Time of day at which no message is sent, by the recipient's clock. May extend over midnight. No hours are quiet
/// if `from` and `until` are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuietHours {
    #[schema(value_type = String)]
    pub from: ClockTime,
    #[schema(value_type = String)]
    pub until: ClockTime,
}

impl QuietHours {
    /// Returns the end of the quiet hours if `now` is within them; otherwise `None`.
    ///
    /// When clocks go back, a time occurs twice: quiet hours begin at its first occurrence and end at its second.
    /// When clocks go forward, a time is left out: it counts as later by the length of the gap.
    pub fn over(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let (ClockTime(from), ClockTime(until)) = (self.from, self.until);
        if from == until {
            return None;
        }
        let today = now.to_zoned(zone.clone()).date();
        let night = |began: Date| {
            let ends = if from < until { began } else { began.tomorrow().ok()? };
            let begin = zone.to_ambiguous_zoned(began.to_datetime(from));
            // For a time that is left out, the earlier reading would be before the change.
            let begin = if matches!(begin.offset(), AmbiguousOffset::Gap { .. }) {
                begin.later()
            } else {
                begin.earlier()
            };
            let (begin, end) = (begin.ok()?, zone.to_ambiguous_zoned(ends.to_datetime(until)).later().ok()?);
            let quiet = begin.timestamp() <= now && now < end.timestamp();
            quiet.then(|| end.timestamp())
        };
        [today.yesterday().ok(), Some(today)].into_iter().flatten().find_map(night)
    }
}

/// Validated settings of a campaign.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(try_from = "CampaignInput", into = "CampaignInput")]
pub struct CampaignSettings(CampaignInput);

/// Settings of a campaign.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CampaignInput {
    pub name: Name,
    /// Program whose customers receive the messages. Cannot be changed after the campaign is created.
    pub program_id: ProgramId,
    pub trigger: Trigger,
    pub template: Template,
    /// Code pool from which each recipient receives a code of their own, shown by `{{code}}`. Required if the
    /// template contains `{{code}}`.
    #[serde(default)]
    pub code_pool_id: Option<CodePoolId>,
    /// Quiet hours of the campaign; none if left out.
    #[serde(default)]
    pub quiet_hours: Option<QuietHours>,
    /// Time zone for quiet hours of customers whose own time zone is not known. Also the time zone in which a day
    /// begins for birthdays. UTC if left out.
    #[serde(default = "utc")]
    pub time_zone: TimeZoneName,
}

fn utc() -> TimeZoneName {
    TimeZoneName::utc()
}

impl TryFrom<CampaignInput> for CampaignSettings {
    type Error = Invalid;
    fn try_from(input: CampaignInput) -> Result<Self, Invalid> {
        input.template.check().map_err(|invalid| Invalid::new(format!("`template` {invalid}")))?;
        if input.template.tells_a_code() && input.code_pool_id.is_none() {
            return Err(Invalid::new("`code_pool_id` is missing, where {{code}} would be from"));
        }
        Ok(Self(input))
    }
}

impl From<CampaignSettings> for CampaignInput {
    fn from(settings: CampaignSettings) -> Self {
        settings.0
    }
}

impl std::ops::Deref for CampaignSettings {
    type Target = CampaignInput;
    fn deref(&self) -> &CampaignInput {
        &self.0
    }
}

/// State of a campaign.
///
/// - `draft`: not activated yet.
/// - `active`: sends messages, or waits for its trigger.
/// - `paused`: sends nothing. Messages that were not handed to the provider wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CampaignStatus {
    Draft,
    /// Sends messages, or waits for its trigger.
    Active,
    /// Sends nothing. Messages that were not handed to the provider wait.
    Paused,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Campaign {
    pub id: CampaignId,
    pub account_id: AccountId,
    pub settings: CampaignSettings,
    pub status: CampaignStatus,
    /// Number of times that the campaign was activated or resumed.
    pub run: u32,
    /// Time up to which date triggers were processed.
    #[serde(rename = "looked_until")]
    pub swept_until: Option<Timestamp>,
    pub deleting: bool,
    pub created_at: Timestamp,
    pub activated_at: Option<Timestamp>,
    pub updated_at: Timestamp,
    pub rev: u64,
}

impl Campaign {
    /// Returns true if the messages of the campaign are created and sent.
    pub fn is_going(&self) -> bool {
        self.status == CampaignStatus::Active && !self.deleting
    }

    pub fn new(account: AccountId, settings: CampaignSettings, now: Timestamp) -> Self {
        Self {
            id: CampaignId::new(now),
            account_id: account,
            settings,
            status: CampaignStatus::Draft,
            run: 0,
            swept_until: None,
            deleting: false,
            created_at: now,
            activated_at: None,
            updated_at: now,
            rev: 1,
        }
    }

    /// Returns the next revision.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Self {
        Self { updated_at: now, rev: self.rev + 1, ..self.clone() }
    }

    /// Returns the occasion of a message. A customer receives one message for each occasion: one in all for a
    /// segment, one for each absence, one a year for a birthday, one for a number of visits.
    pub fn occasion(&self, card: &Card, birthday: Option<Date>) -> String {
        match &self.settings.trigger {
            Trigger::Segment { .. } => "segment".to_owned(),
            Trigger::Inactivity { .. } => {
                format!("since {}", card.last_visit_at.unwrap_or(card.enrolled_at).as_millisecond())
            }
            Trigger::Birthday => {
                birthday.map_or_else(String::new, |date| format!("birthday {}", date.year()))
            }
            Trigger::Milestone { visits } => format!("visit {}", visits.get()),
        }
    }
}

/// State of a message.
///
/// - `queued`: waits to be sent.
/// - `deferred`: waits for the end of quiet hours, or for the provider.
/// - `sending`: being handed to the provider, whose answer is not known yet.
/// - `unknown`: handed over, but it is not known whether the provider accepted the message. A callback of the
///   provider tells the outcome. If none comes within 24 hours, the message is `refused`.
/// - `refused`: not sent; `reason` says why.
/// - `sent`: the provider accepted the message.
/// - `failed`: the provider could not deliver the message.
/// - `delivered`: the message was delivered.
/// - `read`: the customer read the message.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum SendStatus {
    /// Waits to be sent.
    Queued,
    /// Waits for the end of quiet hours, or for the provider.
    Deferred,
    /// Being handed to the provider, whose answer is not known yet.
    Sending,
    /// Handed over, but it is not known whether the provider accepted the message. A callback tells the outcome; if
    /// none comes within 24 hours, the message is refused.
    Unknown,
    /// Not sent; `reason` says why.
    Refused,
    /// The provider accepted the message.
    Sent,
    /// The provider could not deliver the message.
    Failed,
    Delivered,
    Read,
}

impl SendStatus {
    /// Returns the later of two states, in whatever order they were reported.
    #[must_use]
    pub fn later(self, other: Self) -> Self {
        self.max(other)
    }

    /// Returns true if only a report of the provider can still change the state.
    pub fn is_final(self) -> bool {
        self >= Self::Refused
    }
}

/// Reason why a message was not sent or not delivered.
///
/// - `opted_out`: the customer has not agreed to messages, or has withdrawn the consent.
/// - `frequency_cap`: the customer received another campaign message within seven days.
/// - `unconfirmed`: a web page enrolled the customer, and neither the customer nor the account has confirmed the
///   data.
/// - `country_not_served`: the number belongs to a country that the program does not serve.
/// - `no_address`: the customer has no address for this channel.
/// - `erased`: the customer was erased.
/// - `campaign_ended`: the campaign or its program was deleted.
/// - `no_code`: the code pool has no code left, or gives none at present.
/// - `empty_variable`: a variable of the content template has no value.
/// - `invalid_address`: the number or address does not exist.
/// - `not_allowed`: the channel does not allow such a message to this customer at present.
/// - `provider`: the provider refused for another reason; `provider_code` says which.
/// - `outcome_unknown`: it is not known whether the message was sent, and no callback came within 24 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SendReason {
    /// The customer has not agreed to messages, or has withdrawn the consent.
    OptedOut,
    /// The customer received another campaign message within seven days.
    FrequencyCap,
    /// A web page enrolled the customer, and neither the customer nor the account has confirmed the data.
    Unconfirmed,
    /// The number belongs to a country that the program does not serve.
    CountryNotServed,
    /// The customer has no address for this channel.
    NoAddress,
    /// The customer was erased.
    Erased,
    /// The campaign or its program was deleted.
    CampaignEnded,
    /// The code pool has no code left, or gives none at present.
    NoCode,
    /// A variable of the content template has no value.
    EmptyVariable,
    /// The number or address does not exist.
    InvalidAddress,
    /// The channel does not allow such a message to this customer at present.
    NotAllowed,
    /// The provider refused for another reason; `provider_code` says which.
    Provider,
    /// The message may or may not have been sent, and no callback came within 24 hours.
    OutcomeUnknown,
}

impl SendReason {
    /// Returns the reason for an error code of a provider.
    ///
    /// Source: Twilio's error dictionary.
    pub fn of_provider(code: u32) -> Self {
        match code {
            21211 | 21217 | 21614 | 63003 | 63024 => Self::InvalidAddress,
            21610 | 63033 => Self::OptedOut,
            63016 | 63032 | 63049 => Self::NotAllowed,
            _ => Self::Provider,
        }
    }
}

/// Message of a campaign to one customer (a send).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Send {
    pub id: SendId,
    pub account_id: AccountId,
    pub campaign_id: CampaignId,
    pub customer_id: CustomerId,
    pub program_id: ProgramId,
    pub channel: Channel,
    /// True if the message was requested as a test. A test is not counted; the frequency cap and quiet hours do not
    /// apply to it.
    pub test: bool,
    pub status: SendStatus,
    pub reason: Option<SendReason>,
    /// Error code of the provider.
    pub provider_code: Option<u32>,
    /// Id of the message at the provider.
    pub provider_id: Option<String>,
    pub claim_id: Option<ClaimId>,
    /// Time at which the scheduler looks at the message again: to queue a message that is not sent yet, to mark a
    /// message whose worker was lost as `unknown`, or to give up a message whose outcome is unknown.
    pub due_at: Option<Timestamp>,
    /// Number of times that the provider put the message off.
    pub put_off: u32,
    pub created_at: Timestamp,
    pub sent_at: Option<Timestamp>,
    pub updated_at: Timestamp,
    pub rev: u64,
}

impl Send {
    /// Returns a new message to be sent.
    pub fn new(campaign: &Campaign, card: &Card, occasion: &str, now: Timestamp) -> Self {
        Self {
            id: SendId::of(&campaign.id, &card.customer_id, occasion),
            account_id: campaign.account_id.clone(),
            campaign_id: campaign.id.clone(),
            customer_id: card.customer_id.clone(),
            program_id: card.program_id.clone(),
            channel: campaign.settings.template.channel(),
            test: false,
            status: SendStatus::Queued,
            reason: None,
            provider_code: None,
            provider_id: None,
            claim_id: None,
            due_at: None,
            put_off: 0,
            created_at: now,
            sent_at: None,
            updated_at: now,
            rev: 1,
        }
    }

    /// Returns the next revision, in this state.
    #[must_use]
    pub fn now(&self, status: SendStatus, now: Timestamp) -> Self {
        Self { status, due_at: None, updated_at: now, rev: self.rev + 1, ..self.clone() }
    }

    /// Returns the next revision, refused for this reason.
    #[must_use]
    pub fn refused(&self, reason: SendReason, now: Timestamp) -> Self {
        Self { reason: Some(reason), ..self.now(SendStatus::Refused, now) }
    }
}

/// Time in which a customer receives at most one campaign message, over all campaigns: seven days.
pub const FREQUENCY_CAP: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Returns the URL at which a provider reports the outcome of an attempt to send a message.
pub fn status_callback(public_url: &str, account: &AccountId, send: &SendId, attempt: u32) -> String {
    format!(
        "{public_url}/api/v1/providers/twilio/status?account_id={account}&send_id={send}&attempt={attempt}"
    )
}

/// Returns the URL to which a provider sends customers' replies to messages of this account.
pub fn inbound_callback(public_url: &str, account: &AccountId) -> String {
    format!("{public_url}/api/v1/providers/twilio/inbound?account_id={account}")
}

/// Returns the values of the placeholders for this customer.
pub fn values(
    customer: &Customer,
    card: Option<&Card>,
    program: &stamps::stamp::Program,
    code: Option<&str>,
) -> BTreeMap<&'static str, String> {
    let name = customer.name.as_ref().map(|name| name.as_str().to_owned());
    let settings = &program.settings;
    BTreeMap::from([
        ("name", name.unwrap_or_default()),
        ("code", code.unwrap_or_default().to_owned()),
        ("stamps", card.map_or(0, |card| card.stamps).to_string()),
        ("stamps_required", settings.stamps_required.get().to_string()),
        ("reward", settings.reward.as_str().to_owned()),
        ("program", settings.name.as_str().to_owned()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet(from: &str, until: &str) -> QuietHours {
        let time = |text: &str| ClockTime::try_from(text.to_owned()).unwrap();
        QuietHours { from: time(from), until: time(until) }
    }

    #[test]
    fn quiet_hours_follow_the_recipients_clock() {
        let (night, day) = (quiet("21:00", "08:00"), quiet("12:00", "14:00"));
        let early = quiet("02:00", "03:00");
        for (hours, zone, now, over) in [
            // Over midnight, before and after it, and at its ends.
            (night, "UTC", "2026-11-21T20:59:59Z", None),
            (night, "UTC", "2026-11-21T21:00:00Z", Some("2026-11-22T08:00:00Z")),
            (night, "UTC", "2026-11-22T00:00:00Z", Some("2026-11-22T08:00:00Z")),
            (night, "UTC", "2026-11-22T07:59:59Z", Some("2026-11-22T08:00:00Z")),
            (night, "UTC", "2026-11-22T08:00:00Z", None),
            // Within a day.
            (day, "UTC", "2026-11-21T11:59:00Z", None),
            (day, "UTC", "2026-11-21T12:00:00Z", Some("2026-11-21T14:00:00Z")),
            (day, "UTC", "2026-11-21T14:00:00Z", None),
            // The same moment in other time zones.
            (night, "Asia/Kolkata", "2026-11-21T16:00:00Z", Some("2026-11-22T02:30:00Z")),
            (night, "America/Los_Angeles", "2026-11-21T16:00:00Z", None),
            (night, "Pacific/Auckland", "2026-11-21T16:00:00Z", Some("2026-11-21T19:00:00Z")),
            // New Year's Eve.
            (night, "Europe/Berlin", "2026-12-31T22:30:00Z", Some("2027-01-01T07:00:00Z")),
            // Clocks go forward on 28 March 2027 in Berlin: the night is an hour shorter.
            (night, "Europe/Berlin", "2027-03-27T20:00:00Z", Some("2027-03-28T06:00:00Z")),
            // The time from 02:00 to 03:00 does not exist that night: no message waits.
            (early, "Europe/Berlin", "2027-03-28T00:59:59Z", None),
            (early, "Europe/Berlin", "2027-03-28T01:00:00Z", None),
            // Clocks go back on 25 October 2026: the night is an hour longer, and two o'clock comes twice.
            (night, "Europe/Berlin", "2026-10-24T19:00:00Z", Some("2026-10-25T07:00:00Z")),
            (early, "Europe/Berlin", "2026-10-25T00:00:00Z", Some("2026-10-25T02:00:00Z")),
            (early, "Europe/Berlin", "2026-10-25T01:30:00Z", Some("2026-10-25T02:00:00Z")),
            // Quiet hours that end at a time that occurs twice end at its second occurrence.
            (quiet("22:00", "02:30"), "Europe/Berlin", "2026-10-24T23:00:00Z", Some("2026-10-25T01:30:00Z")),
            // Quiet hours that end at a time that is left out end after the clocks went forward.
            (quiet("22:00", "02:30"), "Europe/Berlin", "2027-03-28T00:30:00Z", Some("2027-03-28T01:30:00Z")),
            // The hour that occurs twice is quiet both times, at the end and at the beginning of quiet hours.
            (quiet("22:00", "02:30"), "Europe/Berlin", "2026-10-25T00:45:00Z", Some("2026-10-25T01:30:00Z")),
            (quiet("02:30", "06:00"), "Europe/Berlin", "2026-10-25T01:15:00Z", Some("2026-10-25T05:00:00Z")),
            // No hours at all.
            (quiet("00:00", "00:00"), "UTC", "2026-11-21T00:00:00Z", None),
        ] {
            let zone = TimeZone::get(zone).unwrap();
            let over: Option<Timestamp> = over.map(|text: &str| text.parse().unwrap());
            assert_eq!(hours.over(now.parse().unwrap(), &zone), over, "{hours:?} {now}");
        }
        for text in ["", "24:00", "21", "9:00", "21:60", "21:00:00", "-1:00", "+9:00"] {
            assert!(ClockTime::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn whatever_order_statuses_come_in_the_latest_stands() {
        use SendStatus::{Delivered, Failed, Read, Sent, Unknown};
        let mut orders =
            vec![vec![Sent, Delivered, Read], vec![Read, Delivered, Sent], vec![Delivered, Sent, Read]];
        orders.push(vec![Failed, Read, Sent, Failed, Delivered, Unknown]);
        for order in orders {
            assert_eq!(order.into_iter().fold(Unknown, SendStatus::later), Read);
        }
    }

    #[test]
    fn places_are_filled_once() {
        let values = BTreeMap::from([("name", "{{code}}".to_owned()), ("code", "A-1".to_owned())]);
        assert_eq!(fill("Hi {{ name }}, take {{code}}{{reward}}!", &values), "Hi {{code}}, take A-1!");
        let nobody = BTreeMap::from([("name", String::new())]);
        assert_eq!(fill("Hi {{name | friend}}{{name}}!", &nobody), "Hi friend!");
        assert!(places("{{name}} {{shoe}}").is_err() && places("{{name").is_err());
        assert_eq!(places("}} {name} {{stamps}}"), Ok(vec!["stamps"]));
    }
}

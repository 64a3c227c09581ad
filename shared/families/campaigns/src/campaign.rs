//! Message campaigns: to whom, when, over which channel, and what became of each message.

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
    /// Days, 1–730.
    Days: u32 = 1..=730;
    /// A number of visits, 1–100,000.
    Visits: u32 = 1..=100_000;
}

texts! {
    /// The id of a content template of Twilio: `HX` and 32 hexadecimal digits.
    ContentSid(content_sid);
    /// A subject of a mail, 1–200 characters.
    Subject(|text| clean(text, Lines::One, 200));
    /// What a message says, 1–1,600 characters, line breaks among them.
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

/// Up to 50 variables of a content template by their names, each 1–32 letters, digits or `_`. A value is at most
/// 500 characters and may have places as a [`Body`] does.
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
            // A template may want a variable blank.
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

/// What a place in a text stands for: `{{name}}`, `{{code}}`, `{{stamps}}`, `{{stamps_required}}`, `{{reward}}`,
/// `{{program}}`. After a `|` is what stands there when there is nothing else: `{{name|friend}}`.
pub const PLACES: [&str; 6] = ["name", "code", "stamps", "stamps_required", "reward", "program"];

/// The places of a text.
///
/// # Errors
/// When one of them stands for nothing, or is not closed.
fn places(text: &str) -> Result<Vec<&str>, Invalid> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("{{") {
        let (place, after) = after.split_once("}}").ok_or_else(|| Invalid::new("has a {{ without its }}"))?;
        let place = place.split('|').next().unwrap_or_default().trim();
        if !PLACES.contains(&place) {
            return Err(Invalid::new(format!("has a place that is none of {}", PLACES.join(", "))));
        }
        found.push(place);
        rest = after;
    }
    Ok(found)
}

/// A text with its places filled in. Values are taken as they are: what looks like a place in them is none.
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

/// What is sent, and over which channel.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(tag = "channel", rename_all = "snake_case", deny_unknown_fields)]
pub enum Template {
    Whatsapp {
        content_sid: ContentSid,
        #[serde(default)]
        variables: Variables,
    },
    Sms {
        /// Instead of a `text`.
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

    /// # Errors
    /// When it is neither a content template nor a text, or has a place that stands for nothing.
    fn check(&self) -> Result<(), Invalid> {
        if let Self::Sms { content_sid, text, .. } = self
            && content_sid.is_some() == text.is_some()
        {
            return Err(Invalid::new("needs either a content_sid or a text"));
        }
        self.texts().into_iter().try_for_each(|text| places(text).map(drop))
    }

    /// Whether the message tells a code.
    pub fn tells_a_code(&self) -> bool {
        self.texts().into_iter().any(|text| places(text).is_ok_and(|places| places.contains(&"code")))
    }
}

/// Whose customers a segment has, of the program's; all of what is said has to hold.
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
    /// Whose last visit, or enrolment, is so many days ago.
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

/// Who gets a message, and when.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Trigger {
    /// All of a segment, when the campaign is activated.
    Segment {
        #[serde(default)]
        segment: Segment,
    },
    /// Whoever has not come for so many days, once an absence.
    Inactivity { days: Days },
    /// On the customer's birthday; on 28 February for those born on the 29th when there is none.
    Birthday,
    /// At this number of visits.
    Milestone { visits: Visits },
}

/// A time of day, `HH:MM` of 24 hours.
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

/// A time of day in which nobody is sent anything, by the recipient's clock. It may go over midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuietHours {
    #[schema(value_type = String)]
    pub from: ClockTime,
    #[schema(value_type = String)]
    pub until: ClockTime,
}

impl QuietHours {
    /// When it will be over, if it is quiet now; `None` if it isn't.
    ///
    /// Of a time that comes twice, as clocks go back, the first is the beginning and the second the end; one that
    /// is left out, as they go forward, is as long after the change as it would have been.
    pub fn over(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let (ClockTime(from), ClockTime(until)) = (self.from, self.until);
        if from == until {
            return None;
        }
        let today = now.to_zoned(zone.clone()).date();
        let night = |began: Date| {
            let ends = if from < until { began } else { began.tomorrow().ok()? };
            let begin = zone.to_ambiguous_zoned(began.to_datetime(from));
            // Of a time that there isn't, the earlier reading would be before the change.
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

/// Everything that the owner of a campaign decides about it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(try_from = "CampaignInput", into = "CampaignInput")]
pub struct CampaignSettings(CampaignInput);

/// What is said of a campaign.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CampaignInput {
    pub name: Name,
    /// Whose customers it is for.
    pub program_id: ProgramId,
    pub trigger: Trigger,
    pub template: Template,
    /// Gives each recipient a code, `{{code}}`, which is the customer's own.
    #[serde(default)]
    pub code_pool_id: Option<CodePoolId>,
    /// None are kept when left out.
    #[serde(default)]
    pub quiet_hours: Option<QuietHours>,
    /// For customers of whom none is known.
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CampaignStatus {
    Draft,
    /// Goes out, or waits for its trigger.
    Active,
    /// Nothing is sent; what was on its way waits.
    Paused,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Campaign {
    pub id: CampaignId,
    pub account_id: AccountId,
    pub settings: CampaignSettings,
    pub status: CampaignStatus,
    /// Counts the times that it was set going.
    pub run: u32,
    /// Up to when triggers by time have been looked after.
    #[serde(rename = "looked_until")]
    pub swept_until: Option<Timestamp>,
    pub deleting: bool,
    pub created_at: Timestamp,
    pub activated_at: Option<Timestamp>,
    pub updated_at: Timestamp,
    pub rev: u64,
}

impl Campaign {
    /// Whether its messages are made and sent.
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

    /// The next revision.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Self {
        Self { updated_at: now, rev: self.rev + 1, ..self.clone() }
    }

    /// What makes a message to this customer another one than the last: for a segment the customer alone, for a
    /// birthday its date.
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

/// How far a message is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum SendStatus {
    /// To be sent.
    Queued,
    /// Waits for the end of quiet hours, or for the provider.
    Deferred,
    /// Handed to the provider; the answer is not known yet.
    Sending,
    /// Handed over, and whether it was taken is not known: its callbacks will tell, or it counts as lost.
    Unknown,
    /// Not sent, for good: `reason` says why.
    Refused,
    /// The provider took it.
    Sent,
    /// The provider could not deliver it.
    Failed,
    Delivered,
    Read,
}

impl SendStatus {
    /// The later of two, whatever order they are heard of in.
    #[must_use]
    pub fn later(self, other: Self) -> Self {
        self.max(other)
    }

    /// Whether nothing follows but what the provider says.
    pub fn is_final(self) -> bool {
        self >= Self::Refused
    }
}

/// Why a message was not sent, or not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SendReason {
    /// The customer did not agree, or said stop.
    OptedOut,
    /// There was another campaign's message in the last seven days.
    FrequencyCap,
    /// A page enrolled the customer, and neither the customer nor the account has confirmed what it said.
    Unconfirmed,
    /// The number is of a country that the program doesn't serve.
    CountryNotServed,
    /// The customer has no address for this channel.
    NoAddress,
    /// The customer is gone.
    Erased,
    /// The campaign is gone, or its program is.
    CampaignEnded,
    /// The pool has no code, or gives none.
    NoCode,
    /// A variable of the content template has nothing to stand for it.
    EmptyVariable,
    /// The number or address does not exist.
    InvalidAddress,
    /// The channel lets no such message through to this person at present.
    NotAllowed,
    /// The provider refused for another reason: `provider_code` says which.
    Provider,
    /// Nobody knows whether it was sent, and nothing was heard of it for a day.
    OutcomeUnknown,
}

impl SendReason {
    /// What a provider's code of an error says.
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

/// One message of a campaign to one customer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Send {
    pub id: SendId,
    pub account_id: AccountId,
    pub campaign_id: CampaignId,
    pub customer_id: CustomerId,
    pub program_id: ProgramId,
    pub channel: Channel,
    /// Asked for by hand: neither counted nor bound by caps and quiet hours.
    pub test: bool,
    pub status: SendStatus,
    pub reason: Option<SendReason>,
    /// The provider's code of an error.
    pub provider_code: Option<u32>,
    /// The provider's id of the message.
    pub provider_id: Option<String>,
    pub claim_id: Option<ClaimId>,
    /// When it is looked at again: to be sent, if it is deferred, or given up, if its outcome is unknown.
    pub due_at: Option<Timestamp>,
    /// How often the provider put it off.
    pub put_off: u32,
    pub created_at: Timestamp,
    pub sent_at: Option<Timestamp>,
    pub updated_at: Timestamp,
    pub rev: u64,
}

impl Send {
    /// A message to be sent.
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

    /// The next revision, in this state.
    #[must_use]
    pub fn now(&self, status: SendStatus, now: Timestamp) -> Self {
        Self { status, due_at: None, updated_at: now, rev: self.rev + 1, ..self.clone() }
    }

    /// Refused, for this reason.
    #[must_use]
    pub fn refused(&self, reason: SendReason, now: Timestamp) -> Self {
        Self { reason: Some(reason), ..self.now(SendStatus::Refused, now) }
    }
}

/// One campaign message a customer in so long, over all campaigns.
pub const FREQUENCY_CAP: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Where a provider tells what became of an attempt to send a message.
pub fn status_callback(public_url: &str, account: &AccountId, send: &SendId, attempt: u32) -> String {
    format!(
        "{public_url}/api/v1/providers/twilio/status?account_id={account}&send_id={send}&attempt={attempt}"
    )
}

/// Where a provider tells what customers reply to this account's messages.
pub fn inbound_callback(public_url: &str, account: &AccountId) -> String {
    format!("{public_url}/api/v1/providers/twilio/inbound?account_id={account}")
}

/// The places of a template for this customer.
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
            // The same moment elsewhere.
            (night, "Asia/Kolkata", "2026-11-21T16:00:00Z", Some("2026-11-22T02:30:00Z")),
            (night, "America/Los_Angeles", "2026-11-21T16:00:00Z", None),
            (night, "Pacific/Auckland", "2026-11-21T16:00:00Z", Some("2026-11-21T19:00:00Z")),
            // New Year's Eve.
            (night, "Europe/Berlin", "2026-12-31T22:30:00Z", Some("2027-01-01T07:00:00Z")),
            // Clocks go forward on 28 March 2027 in Berlin: the night is an hour shorter.
            (night, "Europe/Berlin", "2027-03-27T20:00:00Z", Some("2027-03-28T06:00:00Z")),
            // From two to three there is no such time that night: nobody is kept waiting.
            (early, "Europe/Berlin", "2027-03-28T00:59:59Z", None),
            (early, "Europe/Berlin", "2027-03-28T01:00:00Z", None),
            // Clocks go back on 25 October 2026: the night is an hour longer, and two o'clock comes twice.
            (night, "Europe/Berlin", "2026-10-24T19:00:00Z", Some("2026-10-25T07:00:00Z")),
            (early, "Europe/Berlin", "2026-10-25T00:00:00Z", Some("2026-10-25T02:00:00Z")),
            (early, "Europe/Berlin", "2026-10-25T01:30:00Z", Some("2026-10-25T02:00:00Z")),
            // Quiet until a time that comes twice: until it comes again.
            (quiet("22:00", "02:30"), "Europe/Berlin", "2026-10-24T23:00:00Z", Some("2026-10-25T01:30:00Z")),
            // Quiet until a time that is left out: until the clocks have gone forward.
            (quiet("22:00", "02:30"), "Europe/Berlin", "2027-03-28T00:30:00Z", Some("2027-03-28T01:30:00Z")),
            // The hour that comes twice is quiet twice, at the end and at the beginning.
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

//! Webhook endpoints that receive events, and the deliveries of messages to them.
//!
//! Messages are signed and retried as Standard Webhooks specifies (<https://www.standardwebhooks.com>,
//! specification 1.0). A message to one endpoint is a [`Delivery`]. It is attempted until the endpoint accepts it,
//! at most twelve times over about five days. The order of messages is not guaranteed, and an accepted message may
//! come again, with the same id.

use crate::id::DeliveryId;
use domain::{
    Invalid,
    event::EventName,
    id::{AccountId, EventId, WebhookEndpointId},
    network::Networks,
    secret,
    text::Line,
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use standardwebhooks::Webhook;
use url::{Host, Url};
use utoipa::ToSchema;

/// Maximum number of endpoints of an account. Each endpoint costs one message for each event.
pub const MAX_ENDPOINTS: usize = 20;

/// Pauses between the attempts at one delivery: 5.15 days in total, and up to a fifth more by chance.
const PAUSES: [SignedDuration; 11] = [
    SignedDuration::from_secs(30),
    SignedDuration::from_mins(5),
    SignedDuration::from_mins(30),
    SignedDuration::from_hours(2),
    SignedDuration::from_hours(5),
    SignedDuration::from_hours(10),
    SignedDuration::from_hours(14),
    SignedDuration::from_hours(20),
    SignedDuration::from_hours(24),
    SignedDuration::from_hours(24),
    SignedDuration::from_hours(24),
];

/// Time for which an endpoint accepts nothing before it is disabled.
const GIVEN_UP_AFTER: SignedDuration = SignedDuration::from_hours(5 * 24);

/// Number of attempts that a delivery stores, the latest ones.
const REMEMBERED: usize = 15;

/// Longest pause that an endpoint can ask for.
const MOST_PATIENCE: SignedDuration = SignedDuration::from_hours(24);

/// URL of an endpoint: `https`, on a public host. `http` is accepted only for networks that the operator allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct EndpointUrl(String);

impl EndpointUrl {
    /// Parses the URL of an endpoint.
    ///
    /// # Errors
    /// When the text is not a URL, or the URL may not be called.
    pub fn parse(text: &str, networks: &Networks) -> Result<Self, Invalid> {
        let url = Self(text.to_owned()).permitted(networks)?;
        Ok(Self(url.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the URL if it may be called. The addresses behind a host name are only known, and checked, when the
    /// endpoint is called.
    ///
    /// # Errors
    /// The reason why the URL may not be called.
    pub fn permitted(&self, networks: &Networks) -> Result<Url, Invalid> {
        let refused = |reason: &str| Err(Invalid::new(reason));
        if self.0.len() > 2000 || self.0.contains(char::is_whitespace) {
            return refused("is not a URL of at most 2,000 bytes");
        }
        let Ok(url) = Url::parse(&self.0) else { return refused("is not an absolute https:// URL") };
        let (public, allowed) = match url.host() {
            None => return refused("is not an absolute https:// URL"),
            Some(Host::Ipv4(address)) => (networks.permit(address.into()), networks.allow(address.into())),
            Some(Host::Ipv6(address)) => (networks.permit(address.into()), networks.allow(address.into())),
            Some(Host::Domain(name)) => {
                let name = name.trim_end_matches('.');
                let local = name == "localhost" || name.ends_with(".localhost");
                let allowed = local && networks.allow(std::net::Ipv4Addr::LOCALHOST.into());
                (allowed || (!local && name.contains('.')), allowed)
            }
        };
        match url.scheme() {
            _ if !url.username().is_empty() || url.password().is_some() => {
                refused("has a user or a password in it")
            }
            _ if url.fragment().is_some() => refused("has a fragment"),
            "https" | "http" if !public => refused("is not at a public address"),
            "https" => Ok(url),
            "http" if allowed => Ok(url),
            _ => refused("is not an absolute https:// URL"),
        }
    }
}

/// Secret with which a receiver checks signatures: `whsec_` and 32 bytes in base64. Shown when it is made, and
/// never logged.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EndpointSecret(String);

impl EndpointSecret {
    pub fn generate() -> Self {
        Self(format!("whsec_{}", secret::base64(&secret::random::<32>())))
    }

    /// Returns the whole secret, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn sign(&self, id: &str, now: Timestamp, body: &str) -> Option<String> {
        Webhook::new(&self.0).and_then(|webhook| webhook.sign(id, now.as_second(), body.as_bytes())).ok()
    }
}

impl std::fmt::Debug for EndpointSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EndpointSecret(…)")
    }
}

/// Secret that was replaced and still signs until its time is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldSecret {
    pub secret: EndpointSecret,
    pub until: Timestamp,
}

/// State of an endpoint: `enabled`, or `disabled` if it receives no messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndpointStatus {
    Enabled,
    /// Receives no messages.
    Disabled,
}

/// Reason why an endpoint is disabled.
///
/// - `requested`: the endpoint was disabled through the API.
/// - `gone`: the endpoint answered 410.
/// - `failing`: the endpoint accepted nothing for five days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DisabledReason {
    /// The endpoint was disabled through the API.
    Requested,
    /// The endpoint answered 410.
    Gone,
    /// The endpoint accepted nothing for five days.
    Failing,
}

/// Endpoint that receives an account's events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookEndpoint {
    pub id: WebhookEndpointId,
    pub account_id: AccountId,
    pub url: EndpointUrl,
    pub description: Option<Line>,
    /// Kinds of events that the endpoint receives; empty for all kinds.
    pub event_types: Vec<EventName>,
    pub status: EndpointStatus,
    pub disabled_reason: Option<DisabledReason>,
    pub secret: EndpointSecret,
    pub old_secret: Option<OldSecret>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub rev: u64,
}

impl WebhookEndpoint {
    pub fn new(
        account_id: AccountId,
        url: EndpointUrl,
        description: Option<Line>,
        event_types: Vec<EventName>,
        now: Timestamp,
    ) -> Self {
        Self {
            id: WebhookEndpointId::new(now),
            account_id,
            url,
            description,
            event_types,
            status: EndpointStatus::Enabled,
            disabled_reason: None,
            secret: EndpointSecret::generate(),
            old_secret: None,
            created_at: now,
            updated_at: now,
            rev: 1,
        }
    }

    pub fn is_enabled(&self) -> bool {
        self.status == EndpointStatus::Enabled
    }

    /// Returns true if the endpoint receives events of this kind.
    pub fn wants(&self, kind: &EventName) -> bool {
        self.is_enabled() && (self.event_types.is_empty() || self.event_types.contains(kind))
    }

    /// Returns the next revision of the endpoint.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Self {
        Self { updated_at: now, rev: self.rev + 1, ..self.clone() }
    }

    #[must_use]
    pub fn disabled(&self, reason: DisabledReason, now: Timestamp) -> Self {
        let status = EndpointStatus::Disabled;
        Self { status, disabled_reason: Some(reason), ..self.next(now) }
    }

    /// Returns the next revision, with a new secret. The old secret also signs for the time of `overlap`.
    #[must_use]
    pub fn rotated(&self, overlap: SignedDuration, now: Timestamp) -> Self {
        let old = OldSecret { secret: self.secret.clone(), until: now + overlap };
        Self { secret: EndpointSecret::generate(), old_secret: Some(old), ..self.next(now) }
    }

    /// Returns the value of `webhook-signature`: one signature for each valid secret.
    pub fn signature(&self, id: &str, now: Timestamp, body: &str) -> String {
        let old = self.old_secret.iter().filter(|old| now < old.until).map(|old| &old.secret);
        let secrets = std::iter::once(&self.secret).chain(old);
        secrets.filter_map(|secret| secret.sign(id, now, body)).collect::<Vec<_>>().join(" ")
    }
}

/// Message to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Id that is sent as `webhook-id`. Receivers recognise repeated messages by it.
    pub id: EventId,
    /// Name of the kind of event, or [`TEST`].
    #[serde(rename = "type")]
    pub kind: String,
    /// JSON text, exactly as it is signed.
    pub body: String,
}

/// Type of a message that tests an endpoint.
pub const TEST: &str = "webhook.test";

/// State of a delivery.
///
/// - `pending`: waits for its first or its next attempt.
/// - `delivered`: the endpoint accepted the message.
/// - `failed`: will not be attempted again, unless it is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// Waits for its first or its next attempt.
    Pending,
    Delivered,
    /// Will not be attempted again, unless it is replayed.
    Failed,
}

/// Attempt at a delivery, with its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    pub at: Timestamp,
    pub duration_ms: u64,
    /// HTTP status of the response; `null` if there was no response.
    #[schema(required)]
    pub status_code: Option<u16>,
    /// Reason why there was no response; `null` if there was one.
    #[schema(required)]
    pub error: Option<String>,
    /// Beginning of the body of the response, at most 512 bytes; `null` if there is none.
    #[schema(required)]
    pub response: Option<String>,
}

impl Attempt {
    /// Returns an attempt that was not made, for this reason.
    pub fn refused(reason: &str, at: Timestamp) -> Self {
        Self { at, duration_ms: 0, status_code: None, error: Some(reason.to_owned()), response: None }
    }

    pub fn was_taken(&self) -> bool {
        self.status_code.is_some_and(|status| (200..300).contains(&status))
    }

    /// Returns true if the endpoint answered that it no longer exists (410).
    pub fn is_gone(&self) -> bool {
        self.status_code == Some(410)
    }
}

/// Delivery of a message to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    pub id: DeliveryId,
    pub account_id: AccountId,
    pub message: Message,
    pub status: DeliveryStatus,
    /// Number of attempts since the delivery was created or last replayed.
    pub tried: u32,
    /// Latest attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// Time of the next attempt, or the time at which a delivery that is in the queue is queued once more.
    pub due_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub rev: u64,
}

impl Delivery {
    /// Returns a delivery that has not been attempted.
    pub fn new(
        endpoint: &WebhookEndpointId,
        account_id: AccountId,
        message: Message,
        now: Timestamp,
    ) -> Self {
        Self {
            id: DeliveryId::of(endpoint, &message.id),
            account_id,
            message,
            status: DeliveryStatus::Pending,
            tried: 0,
            attempts: Vec::new(),
            due_at: None,
            created_at: now,
            updated_at: now,
            rev: 0,
        }
    }

    fn next(&self, now: Timestamp) -> Self {
        Self { updated_at: now, rev: self.rev + 1, ..self.clone() }
    }

    /// Returns the next revision, after an attempt. If the endpoint did not accept the message, the next attempt is
    /// due after a pause, to which chance (`dice`) adds up to a fifth, but not before the pause that the endpoint
    /// asks for (`retry_after`, at most 24 hours). The delivery fails if it is `given_up`, or if this was the
    /// twelfth attempt.
    #[must_use]
    pub fn attempted(
        &self,
        attempt: Attempt,
        given_up: bool,
        retry_after: Option<SignedDuration>,
        dice: u8,
        now: Timestamp,
    ) -> Self {
        let tried = self.tried + 1;
        let pause = usize::try_from(tried - 1).ok().and_then(|position| PAUSES.get(position));
        let (status, due_at) = match pause {
            _ if attempt.was_taken() => (DeliveryStatus::Delivered, None),
            Some(pause) if !given_up => {
                let asked = retry_after.unwrap_or_default().min(MOST_PATIENCE);
                let pause = (*pause + *pause / 5 / 255 * i32::from(dice)).max(asked);
                (DeliveryStatus::Pending, Some(now + pause))
            }
            _ => (DeliveryStatus::Failed, None),
        };
        let mut attempts = self.attempts.clone();
        attempts.push(attempt);
        attempts.drain(..attempts.len().saturating_sub(REMEMBERED));
        Self { status, tried, attempts, due_at, ..self.next(now) }
    }

    /// Returns the next revision, after the delivery was put into the queue. If nothing has come of it by `until`,
    /// it is queued once more.
    #[must_use]
    pub fn queued(&self, until: Timestamp, now: Timestamp) -> Self {
        Self { due_at: Some(until), ..self.next(now) }
    }

    /// Returns the next revision, after a replay was requested: the attempts start from the beginning.
    #[must_use]
    pub fn replayed(&self, until: Timestamp, now: Timestamp) -> Self {
        Self { status: DeliveryStatus::Pending, tried: 0, ..self.queued(until, now) }
    }
}

/// Returns true if an endpoint that has failed since this time is to be disabled.
pub fn is_given_up(failing_since: Timestamp, now: Timestamp) -> bool {
    now.duration_since(failing_since) >= GIVEN_UP_AFTER
}

#[cfg(test)]
mod tests {
    use super::*;

    domain::event_kinds! {
        JOINED "subscriber.joined" step "waitlist_id" Subscriber "" [] "Somebody joined a waitlist.";
        CLAIMED "code.claimed" count "code_pool_id" Nobody "claim_id" [] "Somebody claimed a code.";
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn endpoint(now: Timestamp) -> WebhookEndpoint {
        let url = EndpointUrl::parse("https://example.com/hook", &Networks::default()).unwrap();
        WebhookEndpoint::new(AccountId::new(now), url, None, Vec::new(), now)
    }

    fn delivery(now: Timestamp) -> Delivery {
        let endpoint = endpoint(now);
        let message = Message { id: EventId::in_order(now), kind: TEST.to_owned(), body: "{}".to_owned() };
        Delivery::new(&endpoint.id, endpoint.account_id, message, now)
    }

    fn answered(status: u16, at: Timestamp) -> Attempt {
        Attempt { at, duration_ms: 1, status_code: Some(status), error: None, response: None }
    }

    #[test]
    fn only_urls_of_public_hosts_are_endpoints() {
        let none = Networks::default();
        for text in ["https://example.com", "https://example.com:8443/a?b=c", "https://1.1.1.1/x"] {
            assert!(EndpointUrl::parse(text, &none).is_ok(), "{text}");
        }
        for text in [
            "",
            "example.com",
            "http://example.com",
            "ftp://example.com",
            "file:///etc/passwd",
            "https://",
            "https://user:pw@example.com/",
            "https://user@example.com/",
            "https://example.com/#x",
            "https://localhost/",
            "https://LOCALHOST./",
            "https://a.localhost/",
            "https://intranet/",
            "https://10.0.0.1/",
            "https://127.1/",
            "https://2130706433/",
            "https://0x7f.0.0.1/",
            "https://0177.0.0.1/",
            "https://169.254.169.254/latest/meta-data/",
            "https://[::1]/",
            "https://[::ffff:169.254.169.254]/",
            "https://[fd00:ec2::254]/",
            "https://exa mple.com/",
            "https://example.com/\n",
        ] {
            assert!(EndpointUrl::parse(text, &none).is_err(), "{text}");
        }
        assert!(EndpointUrl::parse(&format!("https://example.com/{}", "x".repeat(2000)), &none).is_err());
    }

    #[test]
    fn an_operator_allows_plain_http_in_networks_only() {
        let networks: Networks = "127.0.0.0/8".parse().unwrap();
        for text in ["http://127.0.0.1:3001/x", "http://localhost:3001/", "https://127.0.0.1/"] {
            assert!(EndpointUrl::parse(text, &networks).is_ok(), "{text}");
        }
        for text in ["http://example.com", "http://1.1.1.1/", "http://10.0.0.1/", "https://10.0.0.1/"] {
            assert!(EndpointUrl::parse(text, &networks).is_err(), "{text}");
        }
    }

    #[test]
    fn a_signature_is_the_specifications() {
        // The example of the specification's reference implementations.
        let secret = EndpointSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
        let signed = secret.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            Timestamp::from_second(1_614_265_330).unwrap(),
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(signed.as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
    }

    #[test]
    fn a_rotated_secret_signs_as_long_as_it_overlaps() {
        let now = at("2026-11-25T10:00:00Z");
        let before = endpoint(now);
        let after = before.rotated(SignedDuration::from_hours(24), now);
        assert_ne!(before.secret, after.secret);
        let signatures = |endpoint: &WebhookEndpoint, now| {
            let header = endpoint.signature("evt_1", now, "{}");
            header.split(' ').map(str::to_owned).collect::<Vec<_>>()
        };
        let [new, old] = &signatures(&after, now)[..] else { panic!("two signatures") };
        assert_ne!(new, old);
        assert_eq!(signatures(&before, now), std::slice::from_ref(old));
        let later = now + SignedDuration::from_hours(24);
        assert_eq!(signatures(&after, later).len(), 1);
        assert!(!format!("{after:?}").contains("whsec"), "a secret isn't for the log");
    }

    #[test]
    fn what_nobody_takes_is_tried_over_days_and_then_no_more() {
        for dice in [0, 128, 255] {
            let began = at("2026-11-25T10:00:00Z");
            let (mut now, mut delivery) = (began, delivery(began));
            let mut pauses = Vec::new();
            loop {
                delivery = delivery.attempted(answered(500, now), false, None, dice, now);
                let Some(due) = delivery.due_at else { break };
                assert_eq!(delivery.status, DeliveryStatus::Pending);
                pauses.push(due.duration_since(now));
                now = due;
            }
            assert_eq!((delivery.status, delivery.tried), (DeliveryStatus::Failed, 12));
            assert!(pauses.is_sorted());
            let days = now.duration_since(began).as_secs_f64() / 86_400.0;
            assert!((5.1..6.2).contains(&days), "{days} days");
            // By its last attempt the endpoint has been failing for long enough to be disabled.
            assert!(is_given_up(began, now));
            let again = delivery.replayed(now, now);
            assert_eq!((again.status, again.tried, again.attempts.len()), (DeliveryStatus::Pending, 0, 12));
            let taken = again.attempted(answered(204, now), false, None, dice, now);
            assert_eq!((taken.status, taken.due_at), (DeliveryStatus::Delivered, None));
        }
    }

    #[test]
    fn pauses_differ_by_chance_and_follow_the_endpoints_wish() {
        let now = at("2026-11-25T10:00:00Z");
        let due = |retry_after, dice| {
            let attempt = answered(503, now);
            delivery(now)
                .attempted(attempt, false, retry_after, dice, now)
                .due_at
                .unwrap()
                .duration_since(now)
        };
        let pauses: std::collections::BTreeSet<_> = (0..=255).map(|dice| due(None, dice)).collect();
        assert_eq!(pauses.len(), 256);
        assert!(*pauses.first().unwrap() >= PAUSES[0] && *pauses.last().unwrap() <= PAUSES[0] * 6 / 5);
        assert_eq!(due(Some(SignedDuration::from_hours(1)), 0), SignedDuration::from_hours(1));
        assert_eq!(due(Some(SignedDuration::from_secs(1)), 0), PAUSES[0]);
        assert_eq!(due(Some(SignedDuration::MAX), 0), MOST_PATIENCE);
    }

    #[test]
    fn only_success_is_success() {
        let now = at("2026-11-25T10:00:00Z");
        for (status, expected) in [
            (200, DeliveryStatus::Delivered),
            (299, DeliveryStatus::Delivered),
            (301, DeliveryStatus::Pending),
            (404, DeliveryStatus::Pending),
            (429, DeliveryStatus::Pending),
            (500, DeliveryStatus::Pending),
        ] {
            let after = delivery(now).attempted(answered(status, now), false, None, 0, now);
            assert_eq!(after.status, expected, "{status}");
        }
        let gone = delivery(now).attempted(answered(410, now), true, None, 0, now);
        assert_eq!((gone.status, gone.due_at), (DeliveryStatus::Failed, None));
    }

    #[test]
    fn an_endpoint_is_told_of_what_it_wants_while_it_is_enabled() {
        let now = at("2026-11-25T10:00:00Z");
        let all = endpoint(now);
        let (joined, claimed) = (EventName::from(JOINED), EventName::from(CLAIMED));
        let some = WebhookEndpoint { event_types: vec![joined.clone()], ..endpoint(now) };
        assert!(all.wants(&claimed) && !some.wants(&claimed));
        assert!(some.wants(&joined));
        let disabled = all.disabled(DisabledReason::Gone, now);
        assert!(!disabled.wants(&claimed) && disabled.rev == 2);
    }
}

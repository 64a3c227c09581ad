//! Webhooks: endpoints that are told of events, and what becomes of each message to them.
//!
//! Signed and retried as Standard Webhooks says (<https://www.standardwebhooks.com>, specification 1.0). A message to
//! an endpoint is a [`Delivery`]. It is tried until it is taken, twelve times over some five days; order is not
//! promised, and what was taken may come again, by the same id.

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

/// Endpoints that an account may have: each costs a message an event.
pub const MAX_ENDPOINTS: usize = 20;

/// Between the attempts at one delivery: 5.15 days in all, and up to a fifth more.
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

/// An endpoint that has taken nothing for so long is disabled.
const GIVEN_UP_AFTER: SignedDuration = SignedDuration::from_hours(5 * 24);

/// Attempts that a delivery remembers, the latest of them.
const REMEMBERED: usize = 15;

/// The most that an endpoint may ask us to wait.
const MOST_PATIENCE: SignedDuration = SignedDuration::from_hours(24);

/// Where an endpoint is: `https`, of a public host. `http` only where an operator allows the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct EndpointUrl(String);

impl EndpointUrl {
    /// # Errors
    /// When it is no URL, or not one that may be called.
    pub fn parse(text: &str, networks: &Networks) -> Result<Self, Invalid> {
        let url = Self(text.to_owned()).permitted(networks)?;
        Ok(Self(url.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URL, as long as it may be called. What a name leads to is only known when it is called.
    ///
    /// # Errors
    /// The reason why not.
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

/// What a receiver checks signatures with: `whsec_` and 32 bytes in base64. Shown when it is made, and never in logs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EndpointSecret(String);

impl EndpointSecret {
    pub fn generate() -> Self {
        Self(format!("whsec_{}", secret::base64(&secret::random::<32>())))
    }

    /// The whole secret, to be shown once.
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

/// A secret that was replaced, and goes on signing for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldSecret {
    pub secret: EndpointSecret,
    pub until: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndpointStatus {
    Enabled,
    /// It is told of nothing.
    Disabled,
}

/// Why an endpoint is disabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DisabledReason {
    /// Somebody wanted it so.
    Requested,
    /// It answered 410.
    Gone,
    /// It took nothing for five days.
    Failing,
}

/// Who is told of an account's events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookEndpoint {
    pub id: WebhookEndpointId,
    pub account_id: AccountId,
    pub url: EndpointUrl,
    pub description: Option<Line>,
    /// What it is told of; everything, if nothing is named.
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

    /// Whether it is told of events of this kind.
    pub fn wants(&self, kind: &EventName) -> bool {
        self.is_enabled() && (self.event_types.is_empty() || self.event_types.contains(kind))
    }

    /// The next revision of it.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Self {
        Self { updated_at: now, rev: self.rev + 1, ..self.clone() }
    }

    #[must_use]
    pub fn disabled(&self, reason: DisabledReason, now: Timestamp) -> Self {
        let status = EndpointStatus::Disabled;
        Self { status, disabled_reason: Some(reason), ..self.next(now) }
    }

    /// With a new secret; the one until now signs as well for so long.
    #[must_use]
    pub fn rotated(&self, overlap: SignedDuration, now: Timestamp) -> Self {
        let old = OldSecret { secret: self.secret.clone(), until: now + overlap };
        Self { secret: EndpointSecret::generate(), old_secret: Some(old), ..self.next(now) }
    }

    /// The value of `webhook-signature`: one signature by each secret that is valid.
    pub fn signature(&self, id: &str, now: Timestamp, body: &str) -> String {
        let old = self.old_secret.iter().filter(|old| now < old.until).map(|old| &old.secret);
        let secrets = std::iter::once(&self.secret).chain(old);
        secrets.filter_map(|secret| secret.sign(id, now, body)).collect::<Vec<_>>().join(" ")
    }
}

/// What an endpoint is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// What `webhook-id` says: receivers know by it what comes again.
    pub id: EventId,
    /// The name of the event's kind, or [`TEST`].
    #[serde(rename = "type")]
    pub kind: String,
    /// JSON text, as it is signed.
    pub body: String,
}

/// The type of a message that was asked for to try an endpoint.
pub const TEST: &str = "webhook.test";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// It will be tried again.
    Pending,
    Delivered,
    /// It won't be tried again, unless somebody asks for it.
    Failed,
}

/// One attempt, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    pub at: Timestamp,
    pub duration_ms: u64,
    /// Of the answer, if there was one.
    #[schema(required)]
    pub status_code: Option<u16>,
    /// Why there was none.
    #[schema(required)]
    pub error: Option<String>,
    /// How the answer's body begins.
    #[schema(required)]
    pub response: Option<String>,
}

impl Attempt {
    /// One that was not made.
    pub fn refused(reason: &str, at: Timestamp) -> Self {
        Self { at, duration_ms: 0, status_code: None, error: Some(reason.to_owned()), response: None }
    }

    pub fn was_taken(&self) -> bool {
        self.status_code.is_some_and(|status| (200..300).contains(&status))
    }

    /// Whether the endpoint says that it is there no more.
    pub fn is_gone(&self) -> bool {
        self.status_code == Some(410)
    }
}

/// A message to an endpoint, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    pub id: DeliveryId,
    pub account_id: AccountId,
    pub message: Message,
    pub status: DeliveryStatus,
    /// Attempts since it was asked for.
    pub tried: u32,
    /// The latest ones, oldest first.
    pub attempts: Vec<Attempt>,
    /// When it is tried again.
    pub due_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub rev: u64,
}

impl Delivery {
    /// One that has not been tried.
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

    /// After an attempt. What was not taken is due again after a pause, of which up to a fifth is chance (`dice`), and
    /// after no less than the endpoint asks for; unless it is `given_up`, or was tried often enough.
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

    /// Handed to the queue: looked at again when nothing has come of it until then.
    #[must_use]
    pub fn queued(&self, until: Timestamp, now: Timestamp) -> Self {
        Self { due_at: Some(until), ..self.next(now) }
    }

    /// Asked for by hand: tried as if for the first time.
    #[must_use]
    pub fn replayed(&self, until: Timestamp, now: Timestamp) -> Self {
        Self { status: DeliveryStatus::Pending, tried: 0, ..self.queued(until, now) }
    }
}

/// Whether an endpoint that has taken nothing since then is to be disabled.
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

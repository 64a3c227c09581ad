//! Events as the API shows them, of the kinds of all families.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use domain::{
    event::{DataType, Datum, EventName},
    id::{CustomerId, EventId, SubscriberId},
    money::Amount,
};
use jiff::Timestamp;
use projection::Event;
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, OneOf, RefOr, Schema, Type},
};

use crate::event_kinds;

/// Name of an existing kind of events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct EventType(EventName);

impl EventType {
    /// Returns the wanted names, each once, in the order of [`event_kinds`].
    pub fn in_order(wanted: Vec<Self>) -> Vec<EventName> {
        let known = event_kinds().map(EventName::from);
        known.filter(|name| wanted.iter().any(|kind| kind.0 == *name)).collect()
    }
}

impl From<EventName> for EventType {
    fn from(name: EventName) -> Self {
        Self(name)
    }
}

impl From<EventType> for EventName {
    fn from(kind: EventType) -> Self {
        kind.0
    }
}

impl<'de> Deserialize<'de> for EventType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        match event_kinds().find(|kind| kind.name == name) {
            Some(kind) => Ok(Self(kind.into())),
            None => {
                let names = event_kinds().map(|kind| format!("`{}`", kind.name)).collect::<Vec<_>>();
                Err(D::Error::custom(format!(
                    "unknown variant `{name}`, expected one of {}",
                    names.join(", ")
                )))
            }
        }
    }
}

impl PartialSchema for EventType {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String);
        text.enum_values(Some(event_kinds().map(|kind| kind.name))).into()
    }
}

impl ToSchema for EventType {
    fn name() -> Cow<'static, str> {
        "EventKind".into()
    }
}

/// An event. Identifies objects and people by ids only.
#[derive(Serialize, ToSchema)]
pub struct EventView {
    pub id: EventId,
    /// Kind of the event, e.g. `subscriber.joined`.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// Subscriber that the event is about, if any.
    #[schema(required)]
    pub subscriber_id: Option<SubscriberId>,
    /// Customer that the event is about, if any.
    #[schema(required)]
    pub customer_id: Option<CustomerId>,
    /// Id of the further object that the event is about, if any: for example a referral, reward, comment, import or
    /// stamp.
    #[schema(required)]
    pub object_id: Option<String>,
    #[schema(schema_with = data_schema)]
    pub data: BTreeMap<String, Datum>,
    /// Time at which the event happened.
    pub at: Timestamp,
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        let Event { id, kind, subscriber_id, customer_id, object_id, data, at, .. } = event;
        Self { id, kind: kind.into(), subscriber_id, customer_id, object_id, data, at }
    }
}

/// Returns the schema of `data`. The values have the types that the kinds of events declare.
fn data_schema() -> Schema {
    let types: BTreeSet<_> =
        event_kinds().flat_map(|kind| kind.data).map(|(_, data_type)| *data_type).collect();
    let of = |data_type: &DataType| match data_type {
        DataType::Number => u64::schema(),
        DataType::Text => String::schema(),
        DataType::Amount => Amount::schema(),
    };
    let value: RefOr<Schema> = match Vec::from_iter(&types).as_slice() {
        [only] => of(only),
        several => several.iter().fold(OneOf::builder(), |one, it| one.item(of(it))).into(),
    };
    let names = ObjectBuilder::new().schema_type(Type::String);
    let about = "Numbers of the event, by name: `threshold` and `remaining` of a low stock; `added`, `duplicates` and\n\
                 `rejected` of an import; `stamps` of a visit; `visits` of a milestone.";
    let data = ObjectBuilder::new().property_names(Some(names)).additional_properties(Some(value));
    data.description(Some(about)).into()
}

#[cfg(test)]
mod tests {
    use domain::event::{EventKind, Person};
    use table::Entity as _;
    use webhooks::message_of;

    use super::*;

    const ULID: &str = "01m7yhxdqhbwa008tz019wpw3d";

    /// Creates an event of this kind, with every id and data field that the kind declares.
    fn example(kind: EventKind) -> Event {
        let prefixes = [
            ("card_reward_id", "crw"),
            ("code_pool_id", "pool"),
            ("comment_id", "cmt"),
            ("campaign_id", "camp"),
            ("feature_id", "feat"),
            ("import_id", "imp"),
            ("program_id", "prog"),
            ("referral_id", "ref"),
            ("reward_id", "rwd"),
            ("waitlist_id", "wl"),
        ];
        let prefix = |field: &'static str| {
            let known = prefixes.iter().find(|(name, _)| *name == field);
            known.map_or(field.trim_end_matches("_id"), |(_, prefix)| prefix)
        };
        let object = kind.object.map(|field| {
            let owned = ["crw", "claim", "code", "send", "stamp"].contains(&prefix(field));
            format!("{}_{}{ULID}", prefix(field), if owned { ULID } else { "" })
        });
        let is = |person| kind.person == person;
        Event {
            id: format!("evt_{ULID}").parse().unwrap(),
            account_id: format!("acct_{ULID}").parse().unwrap(),
            topic: format!("{}_{ULID}", prefix(kind.topic)),
            kind: kind.into(),
            subscriber_id: is(Person::Subscriber).then(|| format!("sub_{ULID}").parse().unwrap()),
            customer_id: is(Person::Customer).then(|| format!("cust_{ULID}").parse().unwrap()),
            object_id: object,
            data: kind
                .data
                .iter()
                .zip(7..)
                .map(|((name, data_type), number)| ((*name).to_owned(), datum(*data_type, number)))
                .collect(),
            at: "2026-11-25T10:00:00Z".parse().unwrap(),
            noted_at: "2026-11-25T10:00:01Z".parse().unwrap(),
        }
    }

    fn datum(data_type: DataType, number: u64) -> Datum {
        match data_type {
            DataType::Number => number.into(),
            DataType::Text => format!("text {number}").into(),
            DataType::Amount => {
                Amount { amount: number, currency: "EUR".to_owned().try_into().unwrap() }.into()
            }
        }
    }

    /// Returns the part of `docs/webhooks.md` that is generated from the kinds of events.
    fn document() -> String {
        let section = |kind: EventKind| {
            let message = message_of(&example(kind), kind);
            let body: serde_json::Value = serde_json::from_str(&message.body).unwrap();
            format!("\n### {}\n\n{}\n\n```json\n{body:#}\n```\n", kind.name, kind.about)
        };
        event_kinds().map(section).collect()
    }

    #[test]
    fn the_document_shows_what_each_kind_of_event_tells() {
        const MARK: &str = "<!-- Generated from the kinds of events: `UPDATE=1 cargo test -p families` writes it anew. -->\n";
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/webhooks.md");
        let text = std::fs::read_to_string(path).unwrap();
        let (head, _) = text.split_once(MARK).unwrap();
        let current = format!("{head}{MARK}{}", document());
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, &current).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), current, "run with UPDATE=1");
    }

    #[test]
    fn data_may_be_texts_and_amounts() {
        let kind = EventKind {
            data: &[("label", DataType::Text), ("price", DataType::Amount), ("places", DataType::Number)],
            ..codes::events::CODE_POOL_LOW_STOCK
        };
        let event = example(kind);
        assert_eq!(Event::from_item(event.to_item()).unwrap(), event);
        let body: serde_json::Value = serde_json::from_str(&message_of(&event, kind).body).unwrap();
        let data = &body["data"];
        assert_eq!(data["label"], "text 7");
        assert_eq!(data["price"], serde_json::json!({ "amount": 8, "currency": "EUR" }));
        assert_eq!(data["places"], 9);
        assert_eq!(
            serde_json::to_value(EventView::from(event)).unwrap()["data"],
            serde_json::json!({
                "label": "text 7", "price": { "amount": 8, "currency": "EUR" }, "places": 9,
            })
        );
    }

    #[test]
    fn a_body_says_what_it_is() {
        let kind = codes::events::CODE_POOL_LOW_STOCK;
        let message = message_of(&example(kind), kind);
        assert_eq!(
            message.body,
            "{\"id\":\"evt_01m7yhxdqhbwa008tz019wpw3d\",\"type\":\"code_pool.low_stock\",\"version\":1,\
             \"timestamp\":\"2026-11-25T10:00:00Z\",\"data\":{\"code_pool_id\":\"pool_01m7yhxdqhbwa008tz019wpw3d\",\
             \"remaining\":7,\"threshold\":8}}"
        );
    }
}

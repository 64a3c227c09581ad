//! Stream records as entities.

use aws_lambda_events::event::dynamodb::EventRecord;
use domain::{
    campaign::Send,
    claim::{Claim, Code},
    feature::{Comment, Vote},
    id::FeatureId,
    stamp::{Card, CardReward, Stamp},
    subscriber::{Referral, Subscriber},
};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use store::{
    campaign_projection, code_projection,
    entities::{Click, Event, Job},
    feature_projection,
    projection::Change,
    stamp_projection,
};

use crate::ProjectorError;

/// What a record says.
pub enum Record {
    Subscriber(Box<Change>),
    Referral(Box<Referral>),
    Job(Box<Job>),
    Event(Box<Event>),
    Click(Box<Click>),
    Code(code_projection::Change),
    Stamp(stamp_projection::Change),
    /// Of this feature.
    Feature(FeatureId, feature_projection::Change),
    Send(campaign_projection::Change),
    /// Nothing that anything follows from.
    Other,
}

impl Record {
    pub fn read(record: EventRecord) -> Result<Self, ProjectorError> {
        let removed = record.event_name == "REMOVE";
        let written_at = record.change.approximate_creation_date_time.timestamp_millis();
        let written_at = Timestamp::from_millisecond(written_at).unwrap_or_default();
        let (image, old) = match removed {
            true => (record.change.old_image, None),
            false => (record.change.new_image, Some(record.change.old_image)),
        };
        let kind = match image.get("_type") {
            Some(serde_dynamo::AttributeValue::S(kind)) => kind.clone(),
            _ => return Ok(Self::Other),
        };
        match (kind.as_str(), removed) {
            ("subscriber", false) => {
                Ok(Self::Subscriber(Box::new(Change::Saved(Box::new(read::<Subscriber>(image)?)))))
            }
            ("subscriber", true) => Ok(Self::Subscriber(Box::new(Change::Erased(
                Box::new(read::<Subscriber>(image)?),
                written_at,
            )))),
            ("referral", false) => Ok(Self::Referral(Box::new(read(image)?))),
            ("job", false) if record.event_name == "INSERT" || record.event_name == "MODIFY" => {
                Ok(Self::Job(Box::new(read(image)?)))
            }
            // It is written once. Its item expires later, which is nothing to tell.
            ("event", false) => Ok(Self::Event(Box::new(read(image)?))),
            ("click", false) => Ok(Self::Click(Box::new(read(image)?))),
            ("claim", false) => {
                let before = read_old::<Claim>(old)?.map(Box::new);
                Ok(Self::Code(code_projection::Change::Claim { before, after: Box::new(read(image)?) }))
            }
            ("code", false) => {
                let before = read_old::<Code>(old)?.map(Box::new);
                Ok(Self::Code(code_projection::Change::Code { before, after: Box::new(read(image)?) }))
            }
            ("card", true) => {
                let before = Box::new(read::<Card>(image)?);
                Ok(Self::Stamp(stamp_projection::Change::CardRemoved { before, written_at }))
            }
            ("card", false) => {
                let before = read_old::<Card>(old)?.map(Box::new);
                Ok(Self::Stamp(stamp_projection::Change::Card { before, after: Box::new(read(image)?) }))
            }
            ("stamp", false) => {
                Ok(Self::Stamp(stamp_projection::Change::Stamp(Box::new(read::<Stamp>(image)?))))
            }
            ("card_reward", false) => {
                Ok(Self::Stamp(stamp_projection::Change::Reward(Box::new(read::<CardReward>(image)?))))
            }
            ("vote", _) => {
                let image = read::<Vote>(image)?;
                let feature = image.feature_id.clone();
                let (before, after) = sides(removed, image, read_old(old)?);
                Ok(Self::Feature(feature, feature_projection::Change::Vote { before, after, written_at }))
            }
            ("comment", _) => {
                let image = read::<Comment>(image)?;
                let feature = image.feature_id.clone();
                let (before, after) = sides(removed, image, read_old(old)?);
                Ok(Self::Feature(feature, feature_projection::Change::Comment { before, after, written_at }))
            }
            ("send", false) => {
                let before = read_old::<Send>(old)?.map(Box::new);
                Ok(Self::Send(campaign_projection::Change { before, after: Box::new(read(image)?) }))
            }
            _ => Ok(Self::Other),
        }
    }
}

/// What was there before, and what is there now.
fn sides<T>(removed: bool, image: T, old: Option<T>) -> (Option<Box<T>>, Option<Box<T>>) {
    match removed {
        true => (Some(Box::new(image)), None),
        false => (old.map(Box::new), Some(Box::new(image))),
    }
}

fn read_old<T: DeserializeOwned>(image: Option<serde_dynamo::Item>) -> Result<Option<T>, ProjectorError> {
    image.filter(|image| !image.is_empty()).map(read).transpose()
}

fn read<T: DeserializeOwned>(image: serde_dynamo::Item) -> Result<T, ProjectorError> {
    let read = domain::text::stored(|| serde_dynamo::from_item(image));
    read.map_err(|error| ProjectorError::Record(error.to_string()))
}

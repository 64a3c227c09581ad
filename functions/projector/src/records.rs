//! Stream records as entities.

use aws_lambda_events::event::dynamodb::EventRecord;
use domain::subscriber::{Referral, Subscriber};
use serde::de::DeserializeOwned;
use store::{entities::Job, projection::Change};

use crate::ProjectorError;

/// What a record says.
pub enum Record {
    Subscriber(Box<Change>),
    Referral(Box<Referral>),
    Job(Box<Job>),
    /// Nothing that anything follows from.
    Other,
}

impl Record {
    pub fn read(record: EventRecord) -> Result<Self, ProjectorError> {
        let removed = record.event_name == "REMOVE";
        let image = if removed { record.change.old_image } else { record.change.new_image };
        let kind = match image.get("_type") {
            Some(serde_dynamo::AttributeValue::S(kind)) => kind.clone(),
            _ => return Ok(Self::Other),
        };
        match (kind.as_str(), removed) {
            ("subscriber", false) => {
                Ok(Self::Subscriber(Box::new(Change::Saved(Box::new(read::<Subscriber>(image)?)))))
            }
            ("subscriber", true) => {
                Ok(Self::Subscriber(Box::new(Change::Erased(Box::new(read::<Subscriber>(image)?)))))
            }
            ("referral", false) => Ok(Self::Referral(Box::new(read(image)?))),
            ("job", false) if record.event_name == "INSERT" || record.event_name == "MODIFY" => {
                Ok(Self::Job(Box::new(read(image)?)))
            }
            _ => Ok(Self::Other),
        }
    }
}

fn read<T: DeserializeOwned>(image: serde_dynamo::Item) -> Result<T, ProjectorError> {
    serde_dynamo::from_item(image).map_err(|error| ProjectorError::Record(error.to_string()))
}

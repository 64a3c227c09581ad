//! Stream records as entities.

use aws_lambda_events::event::dynamodb::EventRecord;
use domain::{
    campaign::Send,
    claim::{Claim, ClaimStatus, Code},
    id::CodePoolId,
    stamp::{Card, CardReward, Stamp},
    subscriber::{Referral, Subscriber},
};
use serde::de::DeserializeOwned;
use store::{
    campaign_projection, code_projection::Fact, entities::Job, projection::Change, stamp_projection,
};

use crate::ProjectorError;

/// What a record says.
pub enum Record {
    Subscriber(Box<Change>),
    Referral(Box<Referral>),
    Job(Box<Job>),
    /// Something that happens to a code of this pool once.
    Code(CodePoolId, Fact),
    Stamp(stamp_projection::Change),
    Send(campaign_projection::Change),
    /// Nothing that anything follows from.
    Other,
}

impl Record {
    pub fn read(record: EventRecord) -> Result<Self, ProjectorError> {
        let removed = record.event_name == "REMOVE";
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
            ("subscriber", true) => {
                Ok(Self::Subscriber(Box::new(Change::Erased(Box::new(read::<Subscriber>(image)?)))))
            }
            ("referral", false) => Ok(Self::Referral(Box::new(read(image)?))),
            ("job", false) if record.event_name == "INSERT" || record.event_name == "MODIFY" => {
                Ok(Self::Job(Box::new(read(image)?)))
            }
            ("claim", false) => {
                let before = read_old::<Claim>(old)?;
                let claim = read::<Claim>(image)?;
                let was = before.is_some_and(|before| before.status == ClaimStatus::Claimed);
                Ok(match claim.status == ClaimStatus::Claimed && !was {
                    true => Self::Code(claim.pool_id, Fact::Claimed(claim.id)),
                    false => Self::Other,
                })
            }
            ("code", false) => {
                let before = read_old::<Code>(old)?;
                let code = read::<Code>(image)?;
                let was = before.is_some_and(|before| before.redeemed_at.is_some());
                Ok(match code.redeemed_at.is_some() && !was {
                    true => Self::Code(code.pool_id, Fact::Redeemed(code.id)),
                    false => Self::Other,
                })
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
            ("send", false) => {
                let before = read_old::<Send>(old)?.map(Box::new);
                Ok(Self::Send(campaign_projection::Change { before, after: Box::new(read(image)?) }))
            }
            _ => Ok(Self::Other),
        }
    }
}

fn read_old<T: DeserializeOwned>(image: Option<serde_dynamo::Item>) -> Result<Option<T>, ProjectorError> {
    image.filter(|image| !image.is_empty()).map(read).transpose()
}

fn read<T: DeserializeOwned>(image: serde_dynamo::Item) -> Result<T, ProjectorError> {
    serde_dynamo::from_item(image).map_err(|error| ProjectorError::Record(error.to_string()))
}

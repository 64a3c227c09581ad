//! Records of a stream batch, sorted into lanes that can be processed in parallel.

use aws_lambda_events::event::dynamodb::EventRecord;
use projection::{
    Context, Projection, Record,
    stream::{Changes, FollowError},
};
use table::TableError;

/// Changes of a stream batch, by projection and lane.
pub struct Batch {
    changes: Vec<(&'static Projection, Box<dyn Changes>)>,
    /// Lanes of the changes, in the order of their first records.
    pub lanes: Vec<String>,
}

impl Default for Batch {
    fn default() -> Self {
        let changes =
            families::projections().map(|projection| (projection, (projection.collection)())).collect();
        Self { changes, lanes: Vec::new() }
    }
}

impl Batch {
    /// Adds a record to each projection that reads items of its type.
    ///
    /// # Errors
    /// If the item does not have the shape of its type.
    pub fn add(&mut self, record: EventRecord) -> Result<(), TableError> {
        let Some(record) = Record::new(record) else { return Ok(()) };
        for (projection, changes) in &mut self.changes {
            if !projection.reads.contains(&record.kind.as_str()) {
                continue;
            }
            let Some(lane) = changes.add(&record)? else { continue };
            if !self.lanes.contains(&lane) {
                self.lanes.push(lane);
            }
        }
        Ok(())
    }

    /// Processes the changes in a lane, one projection after the other.
    pub async fn follow(&self, lane: &str, context: &Context) -> Result<(), FollowError> {
        for (_, changes) in &self.changes {
            changes.follow(lane, context).await?;
        }
        Ok(())
    }
}

//! The records of a batch, sorted by what can be worked on at the same time.

use aws_lambda_events::event::dynamodb::EventRecord;
use projection::{
    Context, Projection, Record,
    stream::{Changes, FollowError},
};
use table::TableError;

/// What a batch holds.
pub struct Batch {
    changes: Vec<(&'static Projection, Box<dyn Changes>)>,
    /// In the order in which their first records came.
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
    /// Adds a record, for each of those who read its type.
    ///
    /// # Errors
    /// When it does not have the shape that its type promises.
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

    /// Does what follows from the changes in a lane, one family after the other.
    pub async fn follow(&self, lane: &str, context: &Context) -> Result<(), FollowError> {
        for (_, changes) in &self.changes {
            changes.follow(lane, context).await?;
        }
        Ok(())
    }
}

//! Stream of a table, read through the API of DynamoDB Streams.

use serde_json::{Value, json};

use super::{
    caller::{Caller, Refusal, failed},
    embedded::Embedded,
};
use crate::error::PlatformError;

/// Maximum number of records that one call returns.
const MOST: u32 = 1000;

/// Stream of one table.
pub struct Stream {
    caller: Caller,
    table: String,
    arn: String,
    embedded: Option<Embedded>,
}

/// Shard of the stream. The records of a shard are in order and come after those of its parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    pub id: String,
    pub parent: Option<String>,
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

impl Stream {
    pub(super) async fn open(
        caller: Caller,
        table: &str,
        embedded: Option<Embedded>,
    ) -> Result<Self, PlatformError> {
        let streams = call(&caller, "ListStreams", json!({ "TableName": table })).await?;
        let arn = text(&streams["Streams"][0]["StreamArn"])
            .ok_or_else(|| failed(format!("the table {table} has no stream")))?;
        Ok(Self { caller, table: table.to_owned(), arn, embedded })
    }

    /// Returns the shards whose records are not all trimmed.
    pub async fn shards(&self) -> Result<Vec<Shard>, PlatformError> {
        let mut shards = Vec::new();
        let mut request = json!({ "StreamArn": self.arn });
        loop {
            let answer = call(&self.caller, "DescribeStream", request.clone()).await?;
            let described = &answer["StreamDescription"];
            shards.extend(described["Shards"].as_array().into_iter().flatten().filter_map(|shard| {
                Some(Shard { id: text(&shard["ShardId"])?, parent: text(&shard["ParentShardId"]) })
            }));
            match &described["LastEvaluatedShardId"] {
                Value::Null => return Ok(shards),
                last => request["ExclusiveStartShardId"] = last.clone(),
            }
        }
    }

    /// Returns an iterator over a shard that starts after a sequence number, or at the oldest record that the
    /// shard still has.
    pub async fn iterator(&self, shard: &str, after: Option<&str>) -> Result<String, PlatformError> {
        let mut request = json!({
            "StreamArn": self.arn, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON",
        });
        let oldest = request.clone();
        if let Some(sequence_number) = after {
            request["ShardIteratorType"] = json!("AFTER_SEQUENCE_NUMBER");
            request["SequenceNumber"] = json!(sequence_number);
        }
        let answer = match call(&self.caller, "GetShardIterator", request).await {
            // The last read was longer ago than records are kept.
            Err(refusal) if refusal.code == "TrimmedDataAccessException" => {
                tracing::warn!(shard, after, "records were trimmed before they were read");
                call(&self.caller, "GetShardIterator", oldest).await?
            }
            answer => answer?,
        };
        text(&answer["ShardIterator"]).ok_or_else(|| failed("an iterator is missing"))
    }

    /// Reads up to `limit` records in the form of a Lambda event's records. Returns the records and the iterator
    /// for the next read, which is `None` at the end of the shard.
    pub async fn read(
        &self,
        iterator: &str,
        limit: u32,
    ) -> Result<(Vec<Value>, Option<String>), PlatformError> {
        let request = json!({ "ShardIterator": iterator, "Limit": limit });
        let mut answer = call(&self.caller, "GetRecords", request).await?;
        let mut records = match answer["Records"].take() {
            Value::Array(records) => records,
            _ => Vec::new(),
        };
        for record in &mut records {
            record["eventSourceARN"] = json!(self.arn);
            for image in ["NewImage", "OldImage"] {
                record["dynamodb"].get_mut(image).into_iter().for_each(restore_empty_maps);
            }
        }
        Ok((records, text(&answer["NextShardIterator"])))
    }

    /// Reads all records that are left.
    pub async fn all(&self) -> Result<Vec<Value>, PlatformError> {
        let mut all = Vec::new();
        for shard in self.shards().await? {
            let mut iterator = Some(self.iterator(&shard.id, None).await?);
            while let Some(from) = iterator {
                let (records, next) = self.read(&from, MOST).await?;
                iterator = next.filter(|_| !records.is_empty());
                all.extend(records);
            }
        }
        Ok(all)
    }

    /// Deletes records before a sequence number that all readers have passed. Does nothing with an external
    /// emulator.
    pub fn trim(&self, before: &str) -> Result<(), PlatformError> {
        self.embedded.as_ref().map_or(Ok(()), |embedded| embedded.trim(&self.table, before))
    }
}

/// Replaces `{}` by `{"M": {}}`: DynamoDB Local returns an empty map as a value without a type.
fn restore_empty_maps(container: &mut Value) {
    let values: Vec<&mut Value> = match container {
        Value::Object(attributes) => attributes.values_mut().collect(),
        Value::Array(elements) => elements.iter_mut().collect(),
        _ => return,
    };
    for value in values {
        match value.as_object_mut() {
            Some(typed) if typed.is_empty() => *value = json!({ "M": {} }),
            Some(typed) => {
                let nested = typed.iter_mut().filter(|(kind, _)| *kind == "M" || *kind == "L");
                nested.for_each(|(_, inner)| restore_empty_maps(inner));
            }
            None => {}
        }
    }
}

async fn call(caller: &Caller, operation: &str, request: Value) -> Result<Value, Refusal> {
    caller.call(&format!("DynamoDBStreams_20120810.{operation}"), request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_maps_are_restored_wherever_they_are() {
        let mut image = json!({
            "a": {}, "b": { "M": { "c": {}, "M": { "L": [] } } }, "d": { "L": [{}, { "S": "" }] }, "e": { "M": {} },
        });
        restore_empty_maps(&mut image);
        let restored = json!({
            "a": { "M": {} }, "b": { "M": { "c": { "M": {} }, "M": { "L": [] } } },
            "d": { "L": [{ "M": {} }, { "S": "" }] }, "e": { "M": {} },
        });
        assert_eq!(image, restored);
    }
}

//! A table's stream, as DynamoDB Streams shows it.

use serde_json::{Value, json};

use super::{
    caller::{Caller, Refusal, failed},
    embedded::Embedded,
};
use crate::error::PlatformError;

/// The most records that one call gives.
const MOST: u32 = 1000;

/// The stream of one table.
pub struct Stream {
    caller: Caller,
    table: String,
    arn: String,
    embedded: Option<Embedded>,
}

/// A part of the stream. Its records are in order, and come after those of its parent.
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

    /// The shards whose records are not all trimmed.
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

    /// Where to read a shard from: after a sequence number, or from the oldest record that it still has.
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
            // Nobody read for longer than records are kept.
            Err(refusal) if refusal.code == "TrimmedDataAccessException" => {
                tracing::warn!(shard, after, "records were trimmed before they were read");
                call(&self.caller, "GetShardIterator", oldest).await?
            }
            answer => answer?,
        };
        text(&answer["ShardIterator"]).ok_or_else(|| failed("an iterator is missing"))
    }

    /// Up to `limit` records, in the form of a Lambda event's records, and where to read on:
    /// nowhere when the shard is at its end.
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

    /// All records that are left.
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

    /// Drops records before a sequence number that all readers have passed, where nobody else does.
    pub fn trim(&self, before: &str) -> Result<(), PlatformError> {
        self.embedded.as_ref().map_or(Ok(()), |embedded| embedded.trim(&self.table, before))
    }
}

/// DynamoDB Local gives an empty map as a value of no type: `{}` for `{"M": {}}`.
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

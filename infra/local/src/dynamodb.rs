//! DynamoDB by dynoxide, an emulator over SQLite, on a thread of its own.
//!
//! The file is in WAL mode with `synchronous=NORMAL`: a commit is in the operating
//! system's hands before it is acknowledged, so that it survives the death of the
//! process at any moment, but the last ones may be lost when the machine loses
//! power. `FULL`, the emulator's default, syncs each write and is ten times slower.
//!
//! Two gaps of the emulator are worked round through a second connection to the
//! file: it finds a stream's next sequence number by a scan, for which there is an
//! index here, and it never trims a stream, which [`Stream::trim`] does.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use dynoxide::{Database, DynoxideError};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{PlatformError, capacity::Item, template::Table};

const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// The running emulator.
pub struct DynamoDb {
    pub endpoint: String,
    database: Database,
    file: PathBuf,
    table: String,
}

fn failed(doing: &'static str) -> impl Fn(DynoxideError) -> PlatformError {
    move |error| PlatformError::Part { part: "DynamoDB", reason: format!("{doing}: {error}") }
}

impl DynamoDb {
    /// Opens the file, makes the table as declared, and serves it on a port of its own.
    pub fn start(file: &Path, table: &Table) -> Result<Self, PlatformError> {
        let database = Database::new(&file.to_string_lossy()).map_err(failed("open"))?;
        database
            .enable_bulk_loading()
            .and_then(|()| database.disable_bulk_loading())
            .map_err(failed("set synchronous=NORMAL"))?;
        make_table(&database, table)?;
        let connection = connect(file)?;
        connection
            .execute_batch(
                "CREATE INDEX IF NOT EXISTS groundswell_stream_order
                 ON _stream_records (table_name, CAST(sequence_number AS INTEGER))",
            )
            .map_err(|error| PlatformError::Part { part: "DynamoDB", reason: error.to_string() })?;
        let endpoint = serve(database.clone())?;
        sweep(database.clone())?;
        Ok(Self { endpoint, database, file: file.to_owned(), table: table.name.clone() })
    }

    /// The table's items.
    pub fn items(&self) -> Items {
        Items { database: self.database.clone(), table: self.table.clone() }
    }

    /// The table's stream.
    pub fn stream(&self) -> Result<Stream, PlatformError> {
        let request = json!({ "TableName": self.table });
        let streams =
            to_value(self.database.list_streams(from_value(request)?).map_err(failed("list streams"))?)?;
        let arn = streams["Streams"][0]["StreamArn"].as_str().unwrap_or_default().to_owned();
        let request = json!({ "StreamArn": arn });
        let described =
            self.database.describe_stream(from_value(request)?).map_err(failed("describe stream"))?;
        let shards = to_value(described)?;
        let shard =
            shards["StreamDescription"]["Shards"][0]["ShardId"].as_str().unwrap_or_default().to_owned();
        Ok(Stream {
            database: self.database.clone(),
            file: self.file.clone(),
            table: self.table.clone(),
            arn,
            shard,
        })
    }
}

/// Creates the table unless it is there. What an existing table is declared like
/// is not compared: a changed declaration takes a new data directory.
fn make_table(database: &Database, table: &Table) -> Result<(), PlatformError> {
    match database.create_table(from_value(table.json.clone())?) {
        Ok(_) => {}
        Err(DynoxideError::ResourceInUseException(_)) => return Ok(()),
        Err(error) => return Err(failed("create table")(error)),
    }
    if let Some(attribute) = &table.ttl_attribute {
        let request = json!({
            "TableName": table.name,
            "TimeToLiveSpecification": { "AttributeName": attribute, "Enabled": true },
        });
        database.update_time_to_live(from_value(request)?).map_err(failed("enable TTL"))?;
    }
    Ok(())
}

/// Runs the emulator's HTTP server until the process ends.
fn serve(database: Database) -> Result<String, PlatformError> {
    let failed = |error: std::io::Error| PlatformError::Part { part: "DynamoDB", reason: error.to_string() };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let endpoint = format!("http://{}", listener.local_addr().map_err(failed)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    std::thread::Builder::new()
        .name("dynamodb".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                match TcpListener::from_std(listener) {
                    Ok(listener) => dynoxide::server::serve_on(listener, database).await,
                    Err(error) => tracing::error!(cause = %error, "DynamoDB can't listen"),
                }
            });
        })
        .map_err(failed)?;
    Ok(endpoint)
}

/// Deletes what has expired, now and then, as DynamoDB does.
fn sweep(database: Database) -> Result<(), PlatformError> {
    std::thread::Builder::new()
        .name("dynamodb-ttl".to_owned())
        .spawn(move || {
            loop {
                std::thread::sleep(SWEEP_EVERY);
                if let Err(error) = database.sweep_ttl() {
                    tracing::warn!(cause = %error, "TTL sweep failed");
                }
            }
        })
        .map(drop)
        .map_err(|error| PlatformError::Part { part: "DynamoDB", reason: error.to_string() })
}

fn connect(file: &Path) -> Result<rusqlite::Connection, PlatformError> {
    let open = || {
        let connection = rusqlite::Connection::open(file)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        Ok(connection)
    };
    open()
        .map_err(|error: rusqlite::Error| PlatformError::Part { part: "DynamoDB", reason: error.to_string() })
}

/// The table's items, read past the functions and their meters.
#[derive(Clone)]
pub struct Items {
    database: Database,
    table: String,
}

impl std::fmt::Debug for Items {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Items").field(&self.table).finish()
    }
}

impl Items {
    /// The item with this key.
    pub fn get(&self, key: &Item) -> Option<Item> {
        let request = json!({ "TableName": self.table, "Key": key, "ConsistentRead": true });
        let answer = self.database.get_item(from_value(request).ok()?).ok()?;
        to_value(answer).ok()?["Item"].as_object().cloned()
    }

    /// The items that a query has to look at, whether it shows them, parts of them, or their number.
    pub fn seen_by(&self, query: &Value) -> Vec<Item> {
        let mut query = query.clone();
        if let Some(query) = query.as_object_mut() {
            for narrower in ["Select", "FilterExpression", "ProjectionExpression"] {
                query.remove(narrower);
            }
        }
        let answer = from_value(query).and_then(|query| self.database.query(query).map_err(failed("query")));
        let answer = answer.and_then(to_value).unwrap_or_default();
        answer["Items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|item| item.as_object().cloned())
            .collect()
    }
}

/// The table's stream, as Lambda's poller sees it.
pub struct Stream {
    database: Database,
    file: PathBuf,
    table: String,
    arn: String,
    shard: String,
}

impl Stream {
    /// Up to `limit` records after a sequence number, in the form of a Lambda event's records.
    pub fn read(&self, after: Option<&str>, limit: u32) -> Result<Vec<Value>, PlatformError> {
        let mut request = json!({
            "StreamArn": self.arn, "ShardId": self.shard, "ShardIteratorType": "TRIM_HORIZON",
        });
        if let Some(sequence_number) = after {
            request["ShardIteratorType"] = json!("AFTER_SEQUENCE_NUMBER");
            request["SequenceNumber"] = json!(sequence_number);
        }
        let iterator =
            self.database.get_shard_iterator(from_value(request)?).map_err(failed("iterate stream"))?;
        let request = json!({ "ShardIterator": iterator.shard_iterator, "Limit": limit });
        let records =
            to_value(self.database.get_records(from_value(request)?).map_err(failed("read stream"))?)?;
        let Value::Object(mut records) = records else { return Ok(Vec::new()) };
        let Some(Value::Array(mut records)) = records.remove("Records") else { return Ok(Vec::new()) };
        for record in &mut records {
            record["eventSourceARN"] = json!(self.arn);
        }
        Ok(records)
    }

    /// Drops records before a sequence number that all readers have passed. The
    /// last one stays: the emulator numbers on from it.
    pub fn trim(&self, before: &str) -> Result<(), PlatformError> {
        let failed = |reason: String| PlatformError::Part { part: "DynamoDB", reason };
        // The emulator shows its numbers plus 10^20. Should that ever change, nothing is
        // trimmed, because the record that is to stay is not found.
        let stored: i64 = before
            .strip_prefix('1')
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| failed(format!("a sequence number of another form: {before}")))?;
        connect(&self.file)?
            .execute(
                "DELETE FROM _stream_records
                 WHERE table_name = ?1 AND CAST(sequence_number AS INTEGER) < ?2
                   AND EXISTS (SELECT 1 FROM _stream_records
                               WHERE table_name = ?1 AND CAST(sequence_number AS INTEGER) = ?2)",
                (&self.table, stored),
            )
            .map(drop)
            .map_err(|error| failed(error.to_string()))
    }
}

fn from_value<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, PlatformError> {
    serde_json::from_value(value)
        .map_err(|error| PlatformError::Part { part: "DynamoDB", reason: error.to_string() })
}

fn to_value<T: serde::Serialize>(value: T) -> Result<Value, PlatformError> {
    serde_json::to_value(value)
        .map_err(|error| PlatformError::Part { part: "DynamoDB", reason: error.to_string() })
}

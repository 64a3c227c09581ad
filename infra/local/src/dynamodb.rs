//! DynamoDB: an emulator in this process, or one that runs elsewhere.
//!
//! What the platform itself wants of it, a table and its stream, goes over HTTP like the functions'
//! calls, so that it is the same for both. Calls aren't signed: an emulator looks at the name of the
//! access key only, and AWS would refuse them.

mod caller;
mod embedded;
mod stream;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

pub use self::{
    caller::chain,
    stream::{Shard, Stream},
};

use self::{
    caller::{Caller, failed},
    embedded::Embedded,
};
use crate::{capacity::Item, credentials, error::PlatformError, template};

/// What a data directory calls the file of its own table.
const FILE: &str = "table.db";
/// What it calls the file with the name of its table elsewhere.
const NAME_FILE: &str = "table.name";

/// Where a data directory has its table.
pub enum Place {
    /// In a file of its own.
    Here(PathBuf),
    /// In a DynamoDB that other directories may use too. Once made, the table is not made again:
    /// what else is in the directory belongs to it.
    There { endpoint: String, table: String, made: bool, name_file: PathBuf },
}

/// The running emulator, here or elsewhere.
pub struct DynamoDb {
    pub endpoint: String,
    caller: Caller,
    table: String,
    embedded: Option<Embedded>,
}

impl Place {
    /// The place of a directory: a known one stays where it is.
    pub fn of(data: &Path, endpoint: Option<&str>) -> Result<Self, PlatformError> {
        let (file, name_file) = (data.join(FILE), data.join(NAME_FILE));
        let name = match std::fs::read_to_string(&name_file) {
            Ok(name) => Some(name),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(source) => return Err(PlatformError::File { path: name_file, source }),
        };
        match (endpoint, name) {
            (None, None) => Ok(Self::Here(file)),
            (None, Some(name)) => {
                Err(failed(format!("the table of this data directory is {name} in a DynamoDB elsewhere")))
            }
            (Some(_), _) if file.exists() => {
                Err(failed("the table of this data directory is in it, and not elsewhere"))
            }
            (Some(endpoint), name) => Ok(Self::There {
                endpoint: endpoint.to_owned(),
                made: name.is_some(),
                table: name.unwrap_or_else(|| {
                    format!("{}-{}", template::NAME, ulid::Ulid::generate().to_string().to_lowercase())
                }),
                name_file,
            }),
        }
    }

    /// What the table is called.
    pub fn table(&self) -> &str {
        match self {
            Self::Here(_) => template::NAME,
            Self::There { table, .. } => table,
        }
    }
}

impl DynamoDb {
    /// Starts the emulator where there is to be one, and makes the table as declared unless it is there.
    pub async fn start(place: Place, table: &template::Table) -> Result<Self, PlatformError> {
        let (endpoint, embedded) = match &place {
            Place::Here(file) => {
                let embedded = Embedded::open(file)?;
                (embedded.serve()?, Some(embedded))
            }
            Place::There { endpoint, .. } => (endpoint.clone(), None),
        };
        let caller = Caller::new(endpoint.clone());
        let made = make_table(&caller, table).await?;
        if let Place::There { name_file, made: before, .. } = place {
            if made && before {
                let reason = "is gone, and what else is in the data directory belongs to it: delete both";
                return Err(failed(format!("the table {} {reason}", table.name)));
            }
            credentials::write_private(&name_file, table.name.as_bytes())
                .map_err(|source| PlatformError::File { path: name_file, source })?;
        }
        Ok(Self { endpoint, caller, table: table.name.clone(), embedded })
    }

    /// The table's items.
    pub fn items(&self) -> Items {
        Items { caller: self.caller.clone(), table: self.table.clone() }
    }

    /// The table's stream.
    pub async fn stream(&self) -> Result<Stream, PlatformError> {
        Stream::open(self.caller.clone(), &self.table, self.embedded.clone()).await
    }
}

/// Makes the table unless it is there; whether it wasn't. What an existing table is declared like
/// is not compared: a changed declaration takes a new data directory.
async fn make_table(caller: &Caller, table: &template::Table) -> Result<bool, PlatformError> {
    let made = match caller.call("DynamoDB_20120810.CreateTable", table.json.clone()).await {
        Ok(_) => true,
        Err(refusal) if refusal.code == "ResourceInUseException" => false,
        Err(refusal) => return Err(refusal.into()),
    };
    // Also of a table that is there: a process may have died before it came to this.
    if let Some(attribute) = &table.ttl_attribute {
        let request = json!({
            "TableName": table.name,
            "TimeToLiveSpecification": { "AttributeName": attribute, "Enabled": true },
        });
        match caller.call("DynamoDB_20120810.UpdateTimeToLive", request).await {
            // It is on.
            Err(refusal) if !made && refusal.code == "ValidationException" => {}
            answer => drop(answer?),
        }
    }
    Ok(made)
}

/// The table's items, read past the functions and their meters.
#[derive(Clone)]
pub struct Items {
    caller: Caller,
    table: String,
}

impl std::fmt::Debug for Items {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Items").field(&self.table).finish()
    }
}

impl Items {
    /// The item with this key.
    pub async fn get(&self, key: &Item) -> Option<Item> {
        let request = json!({ "TableName": self.table, "Key": key, "ConsistentRead": true });
        let answer = self.caller.call("DynamoDB_20120810.GetItem", request).await.ok()?;
        answer["Item"].as_object().cloned()
    }

    /// The items that a query has to look at, whether it shows them, parts of them, or their number.
    pub async fn seen_by(&self, query: &Value) -> Vec<Item> {
        let mut query = query.clone();
        if let Some(query) = query.as_object_mut() {
            for narrower in ["Select", "FilterExpression", "ProjectionExpression"] {
                query.remove(narrower);
            }
            // Names and values that no expression has any more are refused.
            let keys = query["KeyConditionExpression"].as_str().unwrap_or_default().to_owned();
            for substitutes in ["ExpressionAttributeNames", "ExpressionAttributeValues"] {
                if let Some(substitutes) = query.get_mut(substitutes).and_then(Value::as_object_mut) {
                    substitutes.retain(|name, _| mentions(&keys, name));
                }
            }
        }
        let answer = self.caller.call("DynamoDB_20120810.Query", query).await.unwrap_or_else(|refusal| {
            tracing::error!(?refusal, "what a query looked at is not known");
            Value::Null
        });
        answer["Items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|item| item.as_object().cloned())
            .collect()
    }
}

fn mentions(expression: &str, name: &str) -> bool {
    expression.split(|c: char| !c.is_alphanumeric() && !['#', ':', '_'].contains(&c)).any(|word| word == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_keeps_the_place_of_its_table() {
        let data = tempfile::tempdir().unwrap();
        let endpoint = Some("http://127.0.0.1:8000");
        assert_eq!(Place::of(data.path(), None).unwrap().table(), "groundswell");
        let (first, second) =
            (Place::of(data.path(), endpoint).unwrap(), Place::of(data.path(), endpoint).unwrap());
        assert_ne!(first.table(), second.table(), "many directories have tables in one DynamoDB");

        std::fs::write(data.path().join(NAME_FILE), first.table()).unwrap();
        let known = Place::of(data.path(), endpoint).unwrap();
        assert_eq!(known.table(), first.table());
        assert!(matches!(known, Place::There { made: true, .. }));
        assert!(Place::of(data.path(), None).is_err());

        std::fs::remove_file(data.path().join(NAME_FILE)).unwrap();
        std::fs::write(data.path().join(FILE), "").unwrap();
        assert!(Place::of(data.path(), endpoint).is_err());
        assert!(Place::of(data.path(), None).is_ok());
    }
}

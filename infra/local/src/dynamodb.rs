//! DynamoDB: an embedded emulator in this process, or an external emulator.
//!
//! The platform creates its table and reads the table's stream over HTTP, as the functions do, so that the code
//! is the same for both emulators. The requests have no valid signature: an emulator only reads the access key
//! id, and AWS would refuse the requests.

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

/// Name of the file of an embedded table in its data directory.
const FILE: &str = "table.db";
/// Name of the file that stores the name of an external table.
const NAME_FILE: &str = "table.name";

/// Place of a data directory's table.
pub enum Place {
    /// Embedded table in this file.
    Here(PathBuf),
    /// Table in an external DynamoDB, which several data directories may share. `made` is true if an earlier
    /// start created the table. A table that is missing then is an error, because the other files of the
    /// directory refer to the table's items.
    There { endpoint: String, table: String, made: bool, name_file: PathBuf },
}

/// Running emulator, embedded or external.
pub struct DynamoDb {
    pub endpoint: String,
    caller: Caller,
    table: String,
    embedded: Option<Embedded>,
}

impl Place {
    /// Returns the place of a directory's table. A table stays in the place where it was created.
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
                Err(failed(format!("the data directory needs the table {name} of an external DynamoDB")))
            }
            (Some(_), _) if file.exists() => {
                Err(failed("this data directory has an embedded table and can't use an external DynamoDB"))
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

    /// Returns the name of the table.
    pub fn table(&self) -> &str {
        match self {
            Self::Here(_) => template::NAME,
            Self::There { table, .. } => table,
        }
    }
}

impl DynamoDb {
    /// Starts the emulator if it is embedded, and creates the declared table unless the table exists.
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
                let reason = "was missing, but other files of the data directory refer to it: delete both";
                return Err(failed(format!("the table {} {reason}", table.name)));
            }
            credentials::write_private(&name_file, table.name.as_bytes())
                .map_err(|source| PlatformError::File { path: name_file, source })?;
        }
        Ok(Self { endpoint, caller, table: table.name.clone(), embedded })
    }

    /// Returns a reader of the table's items.
    pub fn items(&self) -> Items {
        Items { caller: self.caller.clone(), table: self.table.clone() }
    }

    /// Opens the table's stream.
    pub async fn stream(&self) -> Result<Stream, PlatformError> {
        Stream::open(self.caller.clone(), &self.table, self.embedded.clone()).await
    }
}

/// Creates the table unless the table exists. Returns true if the table was created. The declaration of an
/// existing table is not compared: a changed declaration needs a new data directory.
async fn make_table(caller: &Caller, table: &template::Table) -> Result<bool, PlatformError> {
    let made = match caller.call("DynamoDB_20120810.CreateTable", table.json.clone()).await {
        Ok(_) => true,
        Err(refusal) if refusal.code == "ResourceInUseException" => false,
        Err(refusal) => return Err(refusal.into()),
    };
    // Also for an existing table: a process may have died after it created the table.
    if let Some(attribute) = &table.ttl_attribute {
        let request = json!({
            "TableName": table.name,
            "TimeToLiveSpecification": { "AttributeName": attribute, "Enabled": true },
        });
        match caller.call("DynamoDB_20120810.UpdateTimeToLive", request).await {
            // TTL is already enabled.
            Err(refusal) if !made && refusal.code == "ValidationException" => {}
            answer => drop(answer?),
        }
    }
    Ok(made)
}

/// Reader of the table's items that bypasses the functions and their meters.
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
    /// Returns the item with this key. Returns `None` if there is no such item or if the read fails.
    pub async fn get(&self, key: &Item) -> Option<Item> {
        let request = json!({ "TableName": self.table, "Key": key, "ConsistentRead": true });
        let answer = self.caller.call("DynamoDB_20120810.GetItem", request).await.ok()?;
        answer["Item"].as_object().cloned()
    }

    /// Returns the whole items that a query evaluates, whatever its filter, its projection and its `Select` leave
    /// out.
    pub async fn seen_by(&self, query: &Value) -> Vec<Item> {
        let mut query = query.clone();
        if let Some(query) = query.as_object_mut() {
            for narrower in ["Select", "FilterExpression", "ProjectionExpression"] {
                query.remove(narrower);
            }
            // DynamoDB refuses names and values that no expression uses.
            let keys = query["KeyConditionExpression"].as_str().unwrap_or_default().to_owned();
            for substitutes in ["ExpressionAttributeNames", "ExpressionAttributeValues"] {
                if let Some(substitutes) = query.get_mut(substitutes).and_then(Value::as_object_mut) {
                    substitutes.retain(|name, _| mentions(&keys, name));
                }
            }
        }
        let answer = self.caller.call("DynamoDB_20120810.Query", query).await.unwrap_or_else(|refusal| {
            tracing::error!(?refusal, "the items that a query evaluated are not known");
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

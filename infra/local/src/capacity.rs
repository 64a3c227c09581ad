//! Capacity that DynamoDB charges for reads and writes by its documented rules, and the partitions that carry it.
//!
//! Sources, all in the [developer guide](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/):
//! units of reads and writes from *DynamoDB read and write operations*, sizes from *DynamoDB item sizes and
//! formats*, writes to indexes from *Global secondary indexes: provisioned throughput considerations*,
//! transactions from *Amazon DynamoDB transactions: capacity management*.

use serde_json::{Map, Value};

/// Item or key in DynamoDB's JSON.
pub type Item = Map<String, Value>;

/// Charge for one item on one partition. All items with one partition key count as one partition here: DynamoDB
/// may store several partition keys in one partition, but never gives one partition key more than one partition's
/// limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Charge {
    /// Name of the index; `None` for the table itself.
    pub index: Option<String>,
    pub partition: String,
    pub sort: String,
    pub reads: f64,
    pub writes: f64,
    /// Number of bytes by which the table or the index grows, including the storage overhead of an item.
    pub grows: i64,
}

/// Names of the key attributes of the table, or of an index that projects all attributes.
#[derive(Clone, Debug)]
struct Keys {
    index: Option<String>,
    partition: String,
    sort: String,
}

/// Keys of the table and of its indexes.
#[derive(Clone, Debug)]
pub struct Schema {
    table: Keys,
    indexes: Vec<Keys>,
}

/// Factor for a write in a transaction: DynamoDB first prepares the write and then commits it.
const TRANSACTION: f64 = 2.0;
/// Storage overhead in bytes of each item in the table and of each item in an index.
const OVERHEAD: usize = 100;

impl Schema {
    /// Reads the schema from a `CreateTable` request. Returns `None` if an index does not project all attributes.
    pub fn of(table: &Value) -> Option<Self> {
        let keys = |holder: &Value| {
            let name = |kind: &str| {
                let mut schema = holder["KeySchema"].as_array()?.iter();
                Some(schema.find(|key| key["KeyType"] == kind)?["AttributeName"].as_str()?.to_owned())
            };
            let index = holder["IndexName"].as_str().map(str::to_owned);
            Some(Keys { index, partition: name("HASH")?, sort: name("RANGE")? })
        };
        let indexes = table["GlobalSecondaryIndexes"].as_array().into_iter().flatten();
        let whole = |index: &Value| index["Projection"]["ProjectionType"] == "ALL";
        let indexes = indexes.map(|index| whole(index).then(|| keys(index)).flatten());
        Some(Self { table: keys(table)?, indexes: indexes.collect::<Option<_>>()? })
    }

    fn keys(&self, index: Option<&str>) -> &Keys {
        let found = self.indexes.iter().find(|keys| keys.index.as_deref() == index);
        found.unwrap_or(&self.table)
    }

    /// Returns the primary key of an item. A map that contains only the key is accepted too.
    pub fn key_of(&self, item: &Item) -> Item {
        let names = [&self.table.partition, &self.table.sort];
        names.into_iter().filter_map(|name| Some((name.clone(), item.get(name)?.clone()))).collect()
    }

    /// Returns the charge for a read of one item. `found` is `None` if no item has the key.
    pub fn get(&self, key: &Item, found: Option<&Item>, consistent: bool) -> Charge {
        let reads = read_units(found.map_or(0, size), consistent);
        self.table.charge(key, reads, 0.0, 0)
    }

    /// Returns the charge for a query that evaluated these items of one partition.
    pub fn query(&self, index: Option<&str>, partition: &str, seen: &[Item], consistent: bool) -> Charge {
        let reads = read_units(seen.iter().map(size).sum(), consistent);
        let keys = self.keys(index);
        let sort = seen.first().map(|item| text(item, &keys.sort)).unwrap_or_default();
        let (index, partition) = (keys.index.clone(), partition.to_owned());
        Charge { index, partition, sort, reads, writes: 0.0, grows: 0 }
    }

    /// Returns the charges for a write that replaces the item `before` by the item `after`. Either may be absent.
    pub fn write(
        &self,
        key: &Item,
        before: Option<&Item>,
        after: Option<&Item>,
        transaction: bool,
    ) -> Vec<Charge> {
        let units = size_units(before).max(size_units(after)).max(1.0);
        let factor = if transaction { TRANSACTION } else { 1.0 };
        let grows = stored(after) - stored(before);
        let mut charges = vec![self.table.charge(key, 0.0, units * factor, grows)];
        for index in &self.indexes {
            let entry = |item: Option<&Item>, sign: i64| {
                let item = item.filter(|item| index.holds(item));
                item.map(|held| index.charge(held, 0.0, size_units(item), sign * stored(item)))
            };
            match (entry(before, -1), entry(after, 1)) {
                (Some(was), Some(is)) if (&was.partition, &was.sort) == (&is.partition, &is.sort) => {
                    if before != after {
                        let (writes, grows) = (was.writes.max(is.writes), was.grows + is.grows);
                        charges.push(Charge { writes, grows, ..is });
                    }
                }
                // A changed key deletes the old entry of the index and inserts a new one.
                (was, is) => charges.extend(was.into_iter().chain(is)),
            }
        }
        charges
    }

    /// Returns the charge for a condition check or a refused write, which cost as much as a write of the present
    /// item. AWS does not document how much of a cancelled transaction is charged. All of the transaction is
    /// counted here, which is the upper bound.
    pub fn checked(&self, key: &Item, before: Option<&Item>, transaction: bool) -> Charge {
        let factor = if transaction { TRANSACTION } else { 1.0 };
        self.table.charge(key, 0.0, size_units(before).max(1.0) * factor, 0)
    }
}

impl Keys {
    fn holds(&self, item: &Item) -> bool {
        item.contains_key(&self.partition) && item.contains_key(&self.sort)
    }

    fn charge(&self, item: &Item, reads: f64, writes: f64, grows: i64) -> Charge {
        let (partition, sort) = (text(item, &self.partition), text(item, &self.sort));
        Charge { index: self.index.clone(), partition, sort, reads, writes, grows }
    }
}

fn text(item: &Item, name: &str) -> String {
    item.get(name).and_then(|value| value["S"].as_str()).unwrap_or_default().to_owned()
}

fn size_units(item: Option<&Item>) -> f64 {
    item.map_or(0.0, |item| write_units(size(item)))
}

fn stored(item: Option<&Item>) -> i64 {
    item.map_or(0, |item| i64::try_from(size(item) + OVERHEAD).unwrap_or(i64::MAX))
}

/// Returns the units of a read: 1 per 4 KB if consistent, otherwise 0.5. A read that finds nothing costs as much
/// as the smallest read.
fn read_units(bytes: usize, consistent: bool) -> f64 {
    let units = bytes.div_ceil(4096).max(1) as f64;
    if consistent { units } else { units / 2.0 }
}

/// Returns the units of a write: 1 per 1 KB.
fn write_units(bytes: usize) -> f64 {
    bytes.div_ceil(1024).max(1) as f64
}

/// Returns the size of an item in bytes: the names of its attributes and their values.
pub fn size(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + value_size(value)).sum()
}

fn value_size(value: &Value) -> usize {
    let Some((kind, value)) = value.as_object().and_then(|object| object.iter().next()) else { return 0 };
    let each = |size: fn(&Value) -> usize| value.as_array().into_iter().flatten().map(size).sum();
    match kind.as_str() {
        "S" => value.as_str().map_or(0, str::len),
        "N" => number_size(value),
        "B" => binary_size(value),
        "BOOL" | "NULL" => 1,
        "SS" => each(|text| text.as_str().map_or(0, str::len)),
        "NS" => each(number_size),
        "BS" => each(binary_size),
        // A list or a map has 3 bytes of overhead, and 1 byte for each element.
        "L" => 3 + each(|value| 1 + value_size(value)),
        "M" => {
            let entries = value.as_object().into_iter().flatten();
            3 + entries.map(|(name, value)| 1 + name.len() + value_size(value)).sum::<usize>()
        }
        _ => 0,
    }
}

/// Returns the approximate size of a number: 1 byte for two significant digits, 1 byte more, and 1 byte for a
/// minus sign.
fn number_size(value: &Value) -> usize {
    let text = value.as_str().unwrap_or_default();
    let (mantissa, _) = text.split_once(['e', 'E']).unwrap_or((text, ""));
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.trim_start_matches('0');
    digits.trim_end_matches('0').len().div_ceil(2) + 1 + usize::from(text.starts_with('-'))
}

/// Returns the number of bytes that base64 text encodes.
fn binary_size(value: &Value) -> usize {
    let text = value.as_str().unwrap_or_default();
    text.trim_end_matches('=').len() * 3 / 4
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn item(value: Value) -> Item {
        value.as_object().unwrap().clone()
    }

    /// Makes an item with the keys and the given attributes that is `bytes` bytes large in all.
    fn of_size(bytes: usize, more: Value) -> Item {
        let mut made = item(json!({ "PK": { "S": "p" }, "SK": { "S": "s" } }));
        made.extend(item(more));
        let rest = bytes - size(&made) - "filler".len();
        made.insert("filler".to_owned(), json!({ "S": "x".repeat(rest) }));
        assert_eq!(size(&made), bytes);
        made
    }

    fn key() -> Item {
        item(json!({ "PK": { "S": "p" }, "SK": { "S": "s" } }))
    }

    fn table() -> Value {
        let keys = |partition: &str, sort: &str| json!([{ "AttributeName": partition, "KeyType": "HASH" }, { "AttributeName": sort, "KeyType": "RANGE" }]);
        let attributes = ["PK", "SK", "GSI1PK", "GSI1SK"];
        json!({
            "TableName": "table",
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": attributes.map(|name| json!({ "AttributeName": name, "AttributeType": "S" })),
            "KeySchema": keys("PK", "SK"),
            "GlobalSecondaryIndexes": [
                { "IndexName": "GSI1", "KeySchema": keys("GSI1PK", "GSI1SK"), "Projection": { "ProjectionType": "ALL" } },
            ],
        })
    }

    fn schema() -> Schema {
        Schema::of(&table()).unwrap()
    }

    /// The examples of "DynamoDB read and write operations".
    #[test]
    fn reads_are_rounded_up_to_4_kb_an_item_or_a_query() {
        let schema = schema();
        let get = |bytes, consistent| schema.get(&key(), Some(&of_size(bytes, json!({}))), consistent).reads;
        // "if you read an item that is 3.5 KB, DynamoDB rounds the item size to 4 KB. If you read an item
        // of 10 KB, DynamoDB rounds the item size to 12 KB."
        assert_eq!((get(3584, true), get(10_240, true), get(10_240, false)), (1.0, 3.0, 1.5));
        // "if BatchGetItem reads a 1.5 KB item and a 6.5 KB item, DynamoDB calculates the size as 12 KB".
        assert_eq!(get(1536, true) + get(6656, true), 3.0);
        // "suppose your query returns 10 items whose combined size is 40.8 KB. DynamoDB rounds the item
        // size for the operation to 44 KB." "If a query returns 1500 items of 64 bytes each, the
        // cumulative size is 96 KB."
        let query = |count, bytes| {
            let seen = vec![of_size(bytes, json!({})); count];
            schema.query(None, "p", &seen, true).reads
        };
        assert_eq!((query(10, 4178), query(1500, 64)), (11.0, 24.0));
        // "A strongly consistent read request [of an item that does not exist] consumes one read capacity
        // unit, while an eventually consistent read request consumes 0.5".
        assert_eq!(schema.get(&key(), None, true).reads, 1.0);
        assert_eq!(schema.query(Some("GSI1"), "p", &[], false).reads, 0.5);
        // "each item contains 2000 bytes […] the query returns 8 items […] the total cost is 0.5 × (16 KB /
        // 4 KB), or 2 read capacity units" (of an index).
        let seen = vec![of_size(2000, json!({})); 8];
        assert_eq!(schema.query(Some("GSI1"), "p", &seen, false).reads, 2.0);
    }

    #[test]
    fn writes_are_rounded_up_to_1_kb_of_the_larger_image_and_count_twice_in_a_transaction() {
        let schema = schema();
        let units = |before: Option<usize>, after: Option<usize>, transaction| {
            let [before, after] = [before, after].map(|bytes| bytes.map(|bytes| of_size(bytes, json!({}))));
            let charges = schema.write(&key(), before.as_ref(), after.as_ref(), transaction);
            assert_eq!(charges.len(), 1, "the item is in no index");
            charges[0].writes
        };
        // "writing a 500-byte item consumes the same throughput as writing a 1 KB item"; "if you put or
        // delete an item of 1.6 KB, DynamoDB rounds the item size up to 2 KB".
        assert_eq!((units(None, Some(500), false), units(None, Some(1638), false)), (1.0, 2.0));
        assert_eq!(units(Some(1638), None, false), 2.0);
        // "The provisioned throughput consumed reflects the larger of these item sizes".
        assert_eq!((units(Some(3000), Some(500), false), units(Some(500), Some(3000), false)), (3.0, 3.0));
        // "suppose that your application executes one transaction per second, and each transaction writes
        // three 500-byte items […] you would need to provision six WCUs".
        assert_eq!(3.0 * units(None, Some(500), true), 6.0);
        // "a failed conditional write of a 1 KB item would consume one write capacity unit"; "for a new
        // item, DynamoDB consumes one".
        let there = of_size(1024, json!({}));
        assert_eq!(schema.checked(&key(), Some(&there), false).writes, 1.0);
        assert_eq!(schema.checked(&key(), None, false).writes, 1.0);
    }

    /// The five cases of "Provisioned throughput considerations for global secondary indexes".
    #[test]
    fn an_index_is_written_when_its_entry_changes_and_twice_when_it_moves() {
        let schema = schema();
        let at = |sort: &str, other: &str| {
            of_size(
                500,
                json!({ "GSI1PK": { "S": "list" }, "GSI1SK": { "S": sort }, "other": { "S": other } }),
            )
        };
        let out = of_size(500, json!({}));
        let index = |before: Option<&Item>, after: Option<&Item>| -> Vec<f64> {
            let charges = schema.write(&key(), before, after, true).into_iter();
            charges.filter(|charge| charge.index.is_some()).map(|charge| charge.writes).collect()
        };
        let (a, b) = (at("a", "1"), at("b", "1"));
        assert_eq!(index(None, Some(&a)), [1.0], "a new entry; not twice in a transaction");
        assert_eq!(index(Some(&out), Some(&a)), [1.0], "an item that comes into the index");
        assert_eq!(index(Some(&a), Some(&b)), [1.0, 1.0], "another key: out here, in there");
        assert_eq!(index(Some(&a), Some(&out)), [1.0], "an item that leaves the index");
        assert_eq!(index(Some(&a), None), [1.0], "a deletion");
        assert_eq!(index(Some(&out), Some(&out)), [0.0; 0], "never in the index");
        assert_eq!(index(Some(&a), Some(&at("a", "2"))), [1.0], "another attribute");
        assert_eq!(index(Some(&a), Some(&a)), [0.0; 0], "nothing changed");

        let grows = |before: Option<&Item>, after: Option<&Item>| -> i64 {
            schema.write(&key(), before, after, true).iter().map(|charge| charge.grows).sum()
        };
        // "100 bytes of overhead per index item", and 100 bytes for the item of the table.
        assert_eq!(
            (grows(None, Some(&a)), grows(Some(&a), Some(&b)), grows(Some(&a), None)),
            (1200, 0, -1200)
        );
    }

    /// The emulator's figures were captured from DynamoDB.
    #[test]
    fn the_emulator_charges_the_same() {
        fn request<T: serde::de::DeserializeOwned>(value: Value) -> T {
            serde_json::from_value(value).unwrap()
        }
        let database = dynoxide::Database::memory().unwrap();
        database.create_table(request(table())).unwrap();
        let schema = schema();
        let listed = |bytes, sort: &str| {
            Some(of_size(bytes, json!({ "GSI1PK": { "S": "list" }, "GSI1SK": { "S": sort } })))
        };
        let images = [
            None,
            Some(of_size(500, json!({}))),
            Some(of_size(2500, json!({ "n": { "N": "-1234.50" } }))),
            listed(500, "a"),
            listed(1500, "a"),
            listed(2500, "b"),
        ];
        let put = |item: &Item| json!({ "TableName": "table", "Item": item });
        let delete = json!({ "TableName": "table", "Key": key() });
        for (before, after) in
            images.iter().flat_map(|before| images.iter().map(move |after| (before, after)))
        {
            for transaction in [false, true] {
                database.delete_item(request(delete.clone())).unwrap();
                if let Some(before) = before {
                    database.put_item(request(put(before))).unwrap();
                }
                let mut write = after.as_ref().map_or(delete.clone(), put);
                let answer = if transaction {
                    let kind = if after.is_some() { "Put" } else { "Delete" };
                    let writes = json!([{ kind: write }]);
                    let write = json!({ "TransactItems": writes, "ReturnConsumedCapacity": "INDEXES" });
                    let answer = database.transact_write_items(request(write)).unwrap();
                    serde_json::to_value(answer).unwrap()["ConsumedCapacity"][0].clone()
                } else {
                    write["ReturnConsumedCapacity"] = json!("INDEXES");
                    let answer = match after {
                        Some(_) => serde_json::to_value(database.put_item(request(write)).unwrap()),
                        None => serde_json::to_value(database.delete_item(request(write)).unwrap()),
                    };
                    answer.unwrap()["ConsumedCapacity"].clone()
                };
                let charges = schema.write(&key(), before.as_ref(), after.as_ref(), transaction);
                let charged = |index: bool| -> f64 {
                    let charges = charges.iter().filter(|charge| charge.index.is_some() == index);
                    charges.map(|charge| charge.writes).sum()
                };
                let index = answer["GlobalSecondaryIndexes"]["GSI1"]["CapacityUnits"].as_f64();
                let ours = (Some(charged(false) + charged(true)), charged(true));
                let theirs = (answer["CapacityUnits"].as_f64(), index.unwrap_or_default());
                assert_eq!(ours, theirs, "{before:?} to {after:?}, {transaction}");
            }
        }
    }

    #[test]
    fn sizes_are_those_of_names_and_values() {
        let bytes = |value: Value| size(&item(json!({ "n": value }))) - 1;
        assert_eq!(bytes(json!({ "S": "é" })), 2);
        assert_eq!(bytes(json!({ "N": "0" })), 1);
        // "1 byte per two significant digits, plus 1 byte"; leading and trailing zeros do not count.
        assert_eq!(
            (bytes(json!({ "N": "27" })), bytes(json!({ "N": "2700" })), bytes(json!({ "N": "-271" }))),
            (2, 2, 4)
        );
        assert_eq!(bytes(json!({ "B": "AAEC" })), 3);
        assert_eq!((bytes(json!({ "BOOL": true })), bytes(json!({ "NULL": true }))), (1, 1));
        assert_eq!((bytes(json!({ "L": [] })), bytes(json!({ "M": {} }))), (3, 3));
        assert_eq!(bytes(json!({ "L": [{ "S": "ab" }, { "N": "1" }] })), 3 + (1 + 2) + (1 + 2));
        assert_eq!(bytes(json!({ "M": { "key": { "S": "ab" } } })), 3 + 1 + 3 + 2);
        assert_eq!(bytes(json!({ "SS": ["ab", "c"] })), 3);
    }
}

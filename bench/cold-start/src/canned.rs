//! Recording of the calls to DynamoDB, with their answers, that the embedded platform made for one request.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Failure;

/// Remaining headers of the SDK's requests, with the same length as the real ones.
const SIGNED: &str = "x-amz-date: 20261130T120000Z\r\n\
    x-amz-security-token: IQoJb3JpZ2luX2VjEEXAMPLE\r\n\
    authorization: AWS4-HMAC-SHA256 Credential=ASIAEXAMPLEEXAMPLEEX/20261130/eu-west-1/dynamodb/aws4_request, \
    SignedHeaders=content-length;content-type;host;x-amz-date;x-amz-security-token;x-amz-target, \
    Signature=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n\
    user-agent: aws-sdk-rust/1.3.9 os/linux lang/rust/1.95.0\r\n";

/// Recording of one request of a function, with its calls.
#[derive(Debug, Serialize, Deserialize)]
pub struct Canned {
    pub table: String,
    /// Ids in the event of `events/`, with the ids of the corresponding objects that the platform created.
    pub ids: BTreeMap<String, String>,
    pub calls: Vec<Call>,
    pub status: u16,
    pub body: Value,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Call {
    /// Name of the call, as returned by [`name_of`].
    pub name: String,
    pub request: Value,
    pub answer: Value,
}

impl Canned {
    /// Reads a recording.
    ///
    /// # Errors
    /// Fails if the file cannot be read.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Replaces the ids in an event of `events/` by those of the platform's objects.
    pub fn event(&self, text: &str) -> String {
        self.ids.iter().fold(text.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours))
    }

    /// Returns the script of `floor`: the recorded requests as HTTP, and the answer to API Gateway.
    pub fn script(&self) -> Vec<u8> {
        let requests = self.calls.iter().map(|Call { name, request, .. }| {
            let (operation, body) = (name.split(' ').next().unwrap_or_default(), request.to_string());
            format!(
                "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-amz-json-1.0\r\n\
                 x-amz-target: DynamoDB_20120810.{operation}\r\ncontent-length: {}\r\n{SIGNED}\r\n{body}",
                body.len()
            )
        });
        let answer = json!({ "statusCode": self.status, "headers": {}, "body": self.body.to_string() });
        let parts = requests.chain([answer.to_string()]);
        parts
            .flat_map(|part| {
                [&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes()[..], part.as_bytes()].concat()
            })
            .collect()
    }

    /// Returns the calls, their answers and the final answer, without values.
    pub fn shape(&self) -> Value {
        let calls = self.calls.iter().map(|call| {
            let (request, answer) = (shape(&call.request, false), shape(&call.answer, false));
            json!({ "name": call.name, "request": request, "answer": answer })
        });
        let mut calls: Vec<_> = calls.collect();
        calls.sort_by_key(Value::to_string);
        json!({ "calls": calls, "status": self.status, "body": shape(&self.body, false) })
    }

    /// Checks that these calls are the recorded ones, in any order, and that each reads and writes the same as
    /// the recorded call apart from values.
    ///
    /// # Errors
    /// Fails with the difference.
    pub fn check_calls(&self, made: &[(String, Value)]) -> Result<(), Failure> {
        let mut missing: Vec<&Call> = self.calls.iter().collect();
        for (name, request) in made {
            let Some(position) = missing.iter().position(|call| call.name == *name) else {
                return Err(format!("one call too many: {name}").into());
            };
            // Reads have the recorded keys. Writes have ids of their own.
            let keys = !name.starts_with("TransactWriteItems");
            let (expected, found) = (shape(&missing.remove(position).request, keys), shape(request, keys));
            if expected != found {
                return Err(format!("{name} asks for\n{found}\ninstead of\n{expected}").into());
            }
        }
        match missing.first() {
            Some(call) => Err(format!("never called: {}", call.name).into()),
            None => Ok(()),
        }
    }

    /// Checks that the answer to API Gateway is the recorded one apart from values.
    ///
    /// # Errors
    /// Fails with the answer.
    pub fn check_answer(&self, answer: &[u8]) -> Result<(), Failure> {
        let unfit = || Failure::from(format!("answered {}", String::from_utf8_lossy(answer)));
        let answer: Value = serde_json::from_slice(answer).map_err(|_| unfit())?;
        let body: Value =
            answer["body"].as_str().and_then(|body| serde_json::from_str(body).ok()).ok_or_else(unfit)?;
        let fits = answer["statusCode"] == self.status && shape(&body, false) == shape(&self.body, false);
        if fits { Ok(()) } else { Err(unfit()) }
    }
}

/// Returns a call's operation and the kinds of its items, for example `BatchGetItem ACCT ACCT POOL`.
pub fn name_of(target: &str, request: &Value) -> String {
    let operation = target.rsplit('.').next().unwrap_or_default();
    let kind = |key: &Value| {
        let key = key.as_str().unwrap_or("?");
        key.split('#').next().unwrap_or_default().to_owned()
    };
    let mut kinds: Vec<String> = match operation {
        "BatchGetItem" => {
            let tables = request["RequestItems"].as_object().into_iter().flat_map(|tables| tables.values());
            let keys = tables.flat_map(|table| table["Keys"].as_array().into_iter().flatten());
            keys.map(|key| kind(&key["PK"]["S"])).collect()
        }
        "TransactWriteItems" => {
            let writes =
                request["TransactItems"].as_array().into_iter().flatten().filter_map(Value::as_object);
            let writes = writes.flatten();
            let key = |write: &Value| kind(&write.get("Key").unwrap_or(&write["Item"])["PK"]["S"]);
            writes.map(|(what, write)| format!("{what} {}", key(write))).collect()
        }
        "Query" => vec![kind(&request["ExpressionAttributeValues"][":pk"]["S"])],
        _ => vec![kind(&request["Key"]["PK"]["S"])],
    };
    kinds.sort();
    format!("{operation} {}", kinds.join(" "))
}

/// Returns an attribute's name without the number of its slot. A counter stores the marks and numbers of its
/// latest calls in slots, and each call uses a random slot.
fn without_slot(name: &str) -> &str {
    let is_slot = |rest: &str| rest.len() == 1 && rest.bytes().all(|byte| byte.is_ascii_digit());
    let of_slots = ["mark", "number"];
    of_slots.into_iter().find(|kind| name.strip_prefix(kind).is_some_and(is_slot)).unwrap_or(name)
}

/// Removes duplicates from a sorted list.
fn distinct(mut list: Value) -> Value {
    if let Value::Array(items) = &mut list {
        items.dedup();
    }
    list
}

/// Returns a value's members, attributes and types without the values. Partition keys of items are kept if `keys`
/// is true.
fn shape(value: &Value, keys: bool) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            // Expressions may be written differently; the SDK generates the token; the last key is random.
            .filter(|(name, _)| !name.ends_with("Expression"))
            .filter(|(name, _)| !["ClientRequestToken", "LastEvaluatedKey"].contains(&name.as_str()))
            .map(|(name, value)| match &**name {
                "PK" if keys => (name.clone(), value.clone()),
                // The number of items behind a random place varies.
                "Items" => (name.clone(), distinct(shape(value, keys))),
                _ => (without_slot(name).to_owned(), shape(value, keys)),
            })
            .collect(),
        Value::Array(items) => {
            let mut items: Vec<_> = items.iter().map(|item| shape(item, keys)).collect();
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        }
        Value::String(_) => "text".into(),
        Value::Number(_) => "number".into(),
        Value::Bool(_) | Value::Null => value.clone(),
    }
}

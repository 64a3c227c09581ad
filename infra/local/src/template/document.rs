//! One template as CloudFormation interprets it: parameters, resources and references.
//!
//! Tags and the long forms of intrinsic functions are treated alike: the YAML parser returns `!Ref X` as
//! `{"!Ref": "X"}`, beside `{"Ref": "X"}`.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{API, BUCKET, FUNCTION, NAME, QUEUE, Result, STACK, Surroundings, TABLE, TemplateError};

const ACCOUNT: &str = "000000000000";
const FUNCTION_ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:";
const QUEUE_ARN: &str = "arn:aws:sqs:us-east-1:000000000000:";
const TABLE_ARN: &str = "arn:aws:dynamodb:us-east-1:000000000000:table/";
/// Stream ARN, only used in comparisons. The real ARN contains the table's name and the stream's creation time.
pub const STREAM_ARN: &str = "arn:aws:dynamodb:us-east-1:000000000000:table/groundswell/stream/local";

const HONOURED_TYPES: [&str; 5] = [API, BUCKET, FUNCTION, QUEUE, TABLE];

/// Types for permissions, encryption at rest and monitoring. Locally, one user owns the disk and reads the log.
const IGNORED_TYPES: [&str; 10] = [
    "AWS::ApiGateway::Account",
    "AWS::CloudWatch::Alarm",
    "AWS::CloudWatch::Dashboard",
    "AWS::IAM::ManagedPolicy",
    "AWS::IAM::Role",
    "AWS::KMS::Alias",
    "AWS::KMS::Key",
    "AWS::Logs::LogGroup",
    "AWS::S3::BucketPolicy",
    "AWS::SQS::QueuePolicy",
];

/// Nested stacks without a local counterpart: nobody is alarmed, the OIDC issuer is built in, and nothing is in
/// front of the gateway.
const IGNORED_STACKS: [&str; 4] =
    ["./infra/alarms.yaml", "./infra/edge.yaml", "./infra/identity.yaml", "./infra/monitoring.yaml"];

pub struct Document<'a> {
    name: &'static str,
    root: Value,
    surroundings: &'a Surroundings,
    /// Template of the nested stack `Storage`. Only the outer template has one.
    storage: Option<&'a Document<'a>>,
}

impl<'a> Document<'a> {
    /// Parses a template. Refuses sections and types of resources that are not supported. Properties are refused
    /// when they are read.
    pub fn read(
        name: &'static str,
        text: &str,
        surroundings: &'a Surroundings,
        storage: Option<&'a Document<'a>>,
    ) -> Result<Self> {
        let invalid = |reason| TemplateError {
            document: name,
            path: "the document".into(),
            reason: format!("isn't a template: {reason}"),
        };
        let yaml: yaml_serde::Value =
            yaml_serde::from_str(text).map_err(|error| invalid(error.to_string()))?;
        let root = serde_json::to_value(yaml).map_err(|error| invalid(error.to_string()))?;
        let document = Self { name, root, surroundings, storage };
        document.part(String::new(), &document.root, |top| {
            top.ignore(&["AWSTemplateFormatVersion", "Description", "Parameters", "Globals", "Outputs"]);
            // Deployments check the rules; a condition is evaluated where it is used.
            top.ignore(&["Conditions", "Rules"]);
            // Other transforms may replace any part of the template.
            let sam = Value::from("AWS::Serverless-2016-10-31");
            top.only("Transform", sam.clone(), sam)?;
            top.each("Resources", |id, resource| document.check_resource(id, resource))
        })?;
        let undeclared = |id: &&String| document.root["Parameters"].get(id.as_str()).is_none();
        match surroundings.parameters.keys().find(undeclared) {
            Some(id) => Err(document.refuse(format!("Parameters.{id}"), "is set, but not declared")),
            None => Ok(document),
        }
    }
}

impl Document<'_> {
    fn check_resource(&self, id: &str, resource: &mut Fields) -> Result<()> {
        // All resources exist before the first request and are deleted with the data directory.
        resource.ignore(&["DependsOn", "DeletionPolicy", "UpdateReplacePolicy", "Metadata"]);
        let kind: String = resource.required("Type")?;
        if kind == STACK && id == "Storage" && self.storage.is_some() {
            return resource.required_part("Properties", |stack| {
                // The parameters name a restored table, and there is none locally.
                stack.ignore(&["Parameters"]);
                stack.only("TemplateURL", Value::from("./infra/storage.yaml"), Value::Null)
            });
        }
        let url = self.root["Resources"][id]["Properties"]["TemplateURL"].as_str();
        if kind == STACK && url.is_some_and(|url| IGNORED_STACKS.contains(&url)) {
            resource.ignore(&["Condition", "Properties"]);
            return Ok(());
        }
        if !HONOURED_TYPES.contains(&kind.as_str()) && !IGNORED_TYPES.contains(&kind.as_str()) {
            return Err(resource.refuse_type(&kind));
        }
        resource.ignore(&["Properties"]);
        Ok(())
    }

    /// Returns the resources of a type, each with the document that declares it.
    pub fn all(&self, kind: &str) -> Vec<(&Document<'_>, &str)> {
        let ids = self.root["Resources"].as_object().into_iter().flat_map(Map::keys).map(String::as_str);
        let own = ids.filter(|id| self.kind(id) == kind).map(|id| (self, id));
        own.chain(self.storage.into_iter().flat_map(|storage| storage.all(kind))).collect()
    }

    /// Returns the only resource of a type. Fails if there is none or a second one.
    pub fn only(&self, kind: &str) -> Result<(&Document<'_>, &str)> {
        match self.all(kind)[..] {
            [only] => Ok(only),
            [] => {
                Err(self
                    .refuse("Resources".into(), format!("have no {kind}, which the local platform requires")))
            }
            [_, (document, id), ..] => {
                let reason = format!("is a second {kind}: the local platform can honour one");
                Err(document.refuse(format!("Resources.{id}"), reason))
            }
        }
    }

    fn kind(&self, id: &str) -> &str {
        self.root["Resources"][id]["Type"].as_str().unwrap_or_default()
    }

    pub fn metadata(&self, id: &str, pointer: &str) -> Result<String> {
        let value = self.root["Resources"][id]["Metadata"].pointer(pointer).and_then(Value::as_str);
        let path = || format!("Resources.{id}.Metadata{}", pointer.replace('/', "."));
        value.map(str::to_owned).ok_or_else(|| self.refuse(path(), "is missing"))
    }

    /// Reads the properties of a resource, merged with SAM's globals.
    pub fn properties<T>(&self, id: &str, read: impl FnOnce(&mut Fields) -> Result<T>) -> Result<T> {
        let own = self.root["Resources"][id].get("Properties").cloned();
        let mut properties = own.unwrap_or_else(|| Value::Object(Map::new()));
        let section = self.kind(id).strip_prefix("AWS::Serverless::");
        if let Some(globals) = section.and_then(|section| self.root["Globals"].get(section)) {
            inherit(&mut properties, globals);
        }
        self.part(format!("Resources.{id}.Properties"), &properties, read)
    }

    fn part<T>(&self, path: String, value: &Value, read: impl FnOnce(&mut Fields) -> Result<T>) -> Result<T> {
        let Value::Object(map) = value else { return Err(self.refuse(path, "isn't a mapping")) };
        let mut fields = Fields { document: self, path, map: map.clone() };
        let result = read(&mut fields)?;
        match fields.map.keys().next() {
            Some(name) => Err(fields.refuse(name, "can't be honoured by the local platform")),
            None => Ok(result),
        }
    }

    pub fn refuse(&self, path: String, reason: impl Into<String>) -> TemplateError {
        TemplateError { document: self.name, path, reason: reason.into() }
    }

    fn resolve(&self, path: &str, value: &Value) -> Result<Value> {
        match value {
            Value::Array(items) => items.iter().map(|item| self.resolve(path, item)).collect(),
            Value::Object(map) => match intrinsic(map) {
                Some(("Ref" | "GetAtt", Value::String(target))) => self.refer(path, target),
                Some(("GetAtt", Value::Array(parts))) => {
                    let parts: Vec<_> = parts.iter().filter_map(Value::as_str).collect();
                    self.refer(path, &parts.join("."))
                }
                Some(("Sub", Value::String(text))) => self.substitute(path, text),
                Some(("If", Value::Array(parts))) => match &parts[..] {
                    [Value::String(condition), then, otherwise] => {
                        self.resolve(path, if self.holds(path, condition)? { then } else { otherwise })
                    }
                    _ => Err(self.refuse(path.into(), "uses an !If that isn't a condition and two values")),
                },
                Some((name, _)) => {
                    let reason = format!("uses a !{name} that the local platform can't evaluate");
                    Err(self.refuse(path.into(), reason))
                }
                None => {
                    let entry = |(key, value): (&String, _)| {
                        Ok((key.clone(), self.resolve(&format!("{path}.{key}"), value)?))
                    };
                    map.iter().map(entry).collect()
                }
            },
            scalar => Ok(scalar.clone()),
        }
    }

    /// Returns true if a condition holds. Only `Equals` conditions are supported.
    fn holds(&self, path: &str, name: &str) -> Result<bool> {
        let condition = self.root["Conditions"][name].as_object().and_then(intrinsic);
        let Some(("Equals", Value::Array(values))) = condition else {
            let reason = format!("asks for the condition {name}, which the local platform can't evaluate");
            return Err(self.refuse(path.into(), reason));
        };
        let place = format!("Conditions.{name}");
        let values: Vec<_> = values.iter().map(|value| self.resolve(&place, value)).collect::<Result<_>>()?;
        Ok(values.windows(2).all(|pair| pair[0] == pair[1]))
    }

    fn substitute(&self, path: &str, text: &str) -> Result<Value> {
        let (mut result, mut rest) = (String::new(), text);
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, after)) = after.split_once('}') else {
                return Err(self.refuse(path.into(), format!("has a variable without an end: {text}")));
            };
            result += before;
            match name.strip_prefix('!') {
                Some(literal) => result += &format!("${{{literal}}}"),
                None => result += &scalar(&self.refer(path, name)?).unwrap_or_default(),
            }
            rest = after;
        }
        Ok(Value::from(result + rest))
    }

    fn refer(&self, path: &str, reference: &str) -> Result<Value> {
        let unknown = || format!("refers to {reference}, which stands for nothing on the local platform");
        self.meaning(reference)?.ok_or_else(|| self.refuse(path.into(), unknown()))
    }

    /// Returns the value of the reference `Name` or `Name.Attribute`. SAM's `!Ref` takes attributes too, so `Ref`
    /// and `GetAtt` are treated alike.
    fn meaning(&self, reference: &str) -> Result<Option<Value>> {
        if self.root["Parameters"].get(reference).is_some() {
            return self.parameter(reference).map(Some);
        }
        let (id, attribute) = reference.split_once('.').unwrap_or((reference, ""));
        let text = match (self.kind(id), attribute) {
            (BUCKET, "") => NAME.to_owned(),
            (TABLE, "") => self.surroundings.table.clone(),
            (TABLE, "Arn") => format!("{TABLE_ARN}{}", self.surroundings.table),
            (TABLE, "StreamArn") => STREAM_ARN.to_owned(),
            (BUCKET, "Arn") => format!("arn:aws:s3:::{NAME}"),
            (QUEUE, "") => format!("{}/{ACCOUNT}/{}", self.surroundings.queue_base_url, queue_name(id)),
            (QUEUE, "Arn") => format!("{QUEUE_ARN}{}", queue_name(id)),
            (QUEUE, "QueueName") => queue_name(id),
            (API | FUNCTION, "") => id.to_owned(),
            // The alias points to the only version.
            (FUNCTION, "Arn" | "Alias") => format!("{FUNCTION_ARN}{id}"),
            (STACK, _) => {
                let output = attribute.strip_prefix("Outputs.").unwrap_or_default();
                let Some(storage) = self.storage else { return Ok(None) };
                let Some(value) = storage.root["Outputs"][output].get("Value") else { return Ok(None) };
                return storage.resolve(&format!("Outputs.{output}"), value).map(Some);
            }
            _ => match reference {
                "AWS::AccountId" => ACCOUNT.to_owned(),
                "AWS::Partition" => "aws".to_owned(),
                "AWS::Region" => "us-east-1".to_owned(),
                "AWS::StackName" => NAME.to_owned(),
                "AWS::URLSuffix" => "amazonaws.com".to_owned(),
                _ => return Ok(None),
            },
        };
        Ok(Some(Value::from(text)))
    }

    fn parameter(&self, id: &str) -> Result<Value> {
        self.part(format!("Parameters.{id}"), &self.root["Parameters"][id], |fields| {
            // Every deployment checks these constraints.
            fields.ignore(&["AllowedPattern", "MinLength", "MaxLength", "MinValue", "MaxValue"]);
            fields.ignore(&["Description", "ConstraintDescription", "NoEcho"]);
            let kind: String = fields.required("Type")?;
            let default = fields.optional::<Value>("Default")?.as_ref().and_then(scalar);
            let allowed: Option<Vec<Value>> = fields.optional("AllowedValues")?;
            let refuse = |reason| Err(self.refuse(fields.path.clone(), reason));
            let Some(text) = self.surroundings.parameters.get(id).cloned().or(default) else {
                return refuse("has no value: it isn't set, and has no default".to_owned());
            };
            let is_text = |value: &Value| scalar(value).as_ref() == Some(&text);
            if allowed.is_some_and(|allowed| !allowed.iter().any(is_text)) {
                return refuse(format!("is {text}, which is not among its AllowedValues"));
            }
            match kind.as_str() {
                "String" => Ok(Value::from(text)),
                "Number" => match text.parse() {
                    Ok(number) => Ok(Value::Number(number)),
                    Err(_) => refuse(format!("is {text}, which is no number")),
                },
                _ => Err(fields.refuse_type(&kind)),
            }
        })
    }
}

/// Fields of one mapping, which are taken one by one. The remaining fields are refused.
pub struct Fields<'a> {
    document: &'a Document<'a>,
    path: String,
    map: Map<String, Value>,
}

impl Fields<'_> {
    pub fn ignore(&mut self, names: &[&str]) {
        self.map.retain(|name, _| !names.contains(&name.as_str()));
    }

    pub fn optional<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>> {
        let Some(value) = self.map.remove(name) else { return Ok(None) };
        let value = self.document.resolve(&self.path_of(name), &value)?;
        let invalid = |error| self.refuse(name, format!("can't be honoured: {error}"));
        serde_json::from_value(value).map(Some).map_err(invalid)
    }

    pub fn required<T: DeserializeOwned>(&mut self, name: &str) -> Result<T> {
        self.optional(name)?.ok_or_else(|| self.refuse(name, "is missing"))
    }

    /// Takes a field that may only have the value `honoured`; `default` is its value on AWS if it is missing.
    pub fn only(&mut self, name: &str, honoured: Value, default: Value) -> Result<()> {
        let value = self.optional(name)?.unwrap_or(default);
        if value == honoured {
            return Ok(());
        }
        Err(self.refuse(name, format!("is {value}: the local platform can honour only {honoured}")))
    }

    pub fn part<T>(&mut self, name: &str, read: impl FnOnce(&mut Fields) -> Result<T>) -> Result<Option<T>> {
        let value = self.map.remove(name);
        value.map(|value| self.document.part(self.path_of(name), &value, read)).transpose()
    }

    pub fn required_part<T>(&mut self, name: &str, read: impl FnOnce(&mut Fields) -> Result<T>) -> Result<T> {
        self.part(name, read)?.ok_or_else(|| self.refuse(name, "is missing"))
    }

    /// Reads the parts of a mapping or a list. Returns none if the field is missing.
    pub fn each<T>(
        &mut self,
        name: &str,
        mut read: impl FnMut(&str, &mut Fields) -> Result<T>,
    ) -> Result<Vec<T>> {
        let entries: Vec<(String, Value)> = match self.map.remove(name) {
            None => Vec::new(),
            Some(Value::Object(map)) => map.into_iter().collect(),
            Some(Value::Array(items)) => {
                items.into_iter().enumerate().map(|(index, item)| (index.to_string(), item)).collect()
            }
            Some(_) => return Err(self.refuse(name, "is neither a mapping nor a list")),
        };
        let path = self.path_of(name);
        let part = |(key, value): (String, Value)| {
            self.document.part(format!("{path}.{key}"), &value, |fields| read(&key, fields))
        };
        entries.into_iter().map(part).collect()
    }

    /// Takes all remaining fields as text.
    pub fn texts<C: FromIterator<(String, String)>>(&mut self) -> Result<C> {
        let names: Vec<String> = self.map.keys().cloned().collect();
        let text = |name: String| match scalar(&self.required(&name)?) {
            Some(text) => Ok((name, text)),
            None => Err(self.refuse(&name, "isn't text")),
        };
        names.into_iter().map(text).collect()
    }

    /// Returns the name of the declared queue whose ARN is the field's value.
    pub fn queue(&mut self, name: &str) -> Result<String> {
        let arn: String = self.required(name)?;
        let mut queues = self.document.all(QUEUE).into_iter().map(|(_, id)| queue_name(id));
        let queue = queues.find(|queue| arn.strip_prefix(QUEUE_ARN) == Some(queue));
        queue.ok_or_else(|| self.refuse(name, format!("is {arn}, which is none of the declared queues")))
    }

    /// Returns the logical id of the declared function whose ARN is the field's value.
    pub fn function(&mut self, name: &str) -> Result<String> {
        let arn: String = self.required(name)?;
        let id = arn.strip_prefix(FUNCTION_ARN).filter(|id| self.document.kind(id) == FUNCTION);
        let undeclared = || format!("is {arn}, which is none of the declared functions");
        id.map(str::to_owned).ok_or_else(|| self.refuse(name, undeclared()))
    }

    pub fn refuse(&self, name: &str, reason: impl Into<String>) -> TemplateError {
        self.document.refuse(self.path_of(name), reason)
    }

    pub fn refuse_type(&self, kind: &str) -> TemplateError {
        let reason = format!("has type {kind}, which the local platform can't honour");
        self.document.refuse(self.path.clone(), reason)
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

/// Returns the name of a queue by its logical id: `MessagesDeadLetters` is the queue `messages-dead-letters`.
pub fn queue_name(id: &str) -> String {
    let mut name = String::new();
    for letter in id.chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// Returns a scalar as CloudFormation writes it in text. Returns `None` for a mapping or a list.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

fn intrinsic(map: &Map<String, Value>) -> Option<(&str, &Value)> {
    let (key, argument) = map.iter().next().filter(|_| map.len() == 1)?;
    let name = key.strip_prefix('!').or_else(|| key.strip_prefix("Fn::"));
    Some((name.or_else(|| (key == "Ref").then_some(key))?, argument))
}

/// Merges SAM's globals into a resource: mappings are merged, lists are joined, and otherwise the resource's own
/// value takes precedence.
fn inherit(own: &mut Value, global: &Value) {
    match (own, global) {
        (Value::Object(own), Value::Object(global)) if intrinsic(own).or(intrinsic(global)).is_none() => {
            for (name, value) in global {
                match own.get_mut(name) {
                    Some(own) => inherit(own, value),
                    None => {
                        own.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        (Value::Array(own), Value::Array(global)) => {
            own.splice(0..0, global.iter().cloned());
        }
        _ => {}
    }
}

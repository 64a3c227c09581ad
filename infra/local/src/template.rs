//! Declarations of the project's templates, read for the local platform.
//!
//! Routes, table, queues and event sources are declared once, in `template.yaml` and `infra/storage.yaml`. The
//! local platform creates from them what AWS creates from them. A field that the local platform would treat
//! differently from AWS, or not support, is refused by name. The author of a change to a template therefore
//! learns of the difference at the next start.
//!
//! One function reads each part of a template. The function takes the supported fields and ignores the fields
//! that make no difference locally; `Fields` refuses all others. To support another field, take it in that
//! function. Ignored fields are not evaluated, so a parameter that only ignored fields refer to needs no value.

mod document;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde_json::{Value, json};

use self::document::{Document, Fields, STREAM_ARN};
use crate::pattern::Pattern;
use crate::sqs::{DeadLetter, QueueDeclaration};

type Result<T, E = TemplateError> = std::result::Result<T, E>;

/// Name of the bucket, and of the table unless [`Surroundings`] names another.
pub const NAME: &str = "groundswell";

const API: &str = "AWS::Serverless::Api";
const BUCKET: &str = "AWS::S3::Bucket";
const FUNCTION: &str = "AWS::Serverless::Function";
const QUEUE: &str = "AWS::SQS::Queue";
const STACK: &str = "AWS::CloudFormation::Stack";
const TABLE: &str = "AWS::DynamoDB::Table";

/// Lambda's concurrency limit for all functions of an account, used where an event source sets none.
const ACCOUNT_CONCURRENCY: u32 = 1000;

/// Declarations of the templates that the local platform implements.
#[derive(Debug)]
pub struct Declaration {
    pub functions: Vec<Function>,
    /// Logical id of the function that authorizes requests.
    pub authorizer: String,
    /// Error responses by the gateway's name of the error.
    pub gateway_responses: BTreeMap<String, GatewayResponse>,
    pub table: Table,
    pub bucket: Bucket,
    pub queues: Vec<QueueDeclaration>,
}

#[derive(Debug)]
pub struct Function {
    pub logical_id: String,
    pub binary: String,
    pub environment: HashMap<String, String>,
    pub timeout: Duration,
    /// Maximum number of concurrent invocations, if the function sets one.
    pub reserved_concurrency: Option<u32>,
    pub event_invoke_config: EventInvokeConfig,
    pub routes: Vec<Route>,
    pub sources: Vec<Source>,
}

/// Treatment of an event whose invocation fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventInvokeConfig {
    pub max_retries: u32,
    /// Queue that gets a record of an event that is given up.
    pub on_failure: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Path with API Gateway's variables, `{name}` and `{proxy+}`.
    pub path: String,
    /// Method in capitals. `ANY` stands for each method that the path has no other route for.
    pub method: String,
    pub authorized: bool,
}

/// Event source of a function besides requests. Queues are given by name.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Stream of the table from its beginning. The function's response names the failed record.
    Stream {
        batch_size: u32,
        /// Filters, of which a record must match at least one, if there are any.
        filters: Vec<Pattern>,
        bisect: bool,
        max_retries: u32,
        dead_letters: Option<String>,
    },
    Queue {
        queue: String,
        batch_size: u32,
        report_failures: bool,
        max_concurrency: u32,
    },
    /// Events on the default bus.
    Rule {
        pattern: Pattern,
    },
    Schedule {
        /// Name of the event within its function.
        name: String,
        interval: Duration,
        /// Payload of the invocation.
        input: Value,
    },
}

/// Response of the gateway to an error of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayResponse {
    /// Status of the response. `None` keeps the status that the gateway gives the error.
    pub status: Option<u16>,
    pub headers: Vec<(String, String)>,
    /// Body with variables such as `$context.requestId`.
    pub template: String,
}

#[derive(Debug)]
pub struct Table {
    pub name: String,
    /// `CreateTable` request in DynamoDB's JSON.
    pub json: Value,
    pub ttl_attribute: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Bucket {
    pub name: String,
    pub expirations: Vec<Expiration>,
}

/// Rule that deletes objects under a prefix at some age.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiration {
    pub prefix: String,
    pub age: Duration,
}

/// Values that the templates take from their environment.
#[derive(Clone, Debug)]
pub struct Surroundings {
    pub parameters: HashMap<String, String>,
    pub queue_base_url: String,
    /// Name of the table.
    pub table: String,
}

#[derive(Debug, thiserror::Error)]
#[error("{document}: {path} {reason}")]
pub struct TemplateError {
    document: &'static str,
    path: String,
    reason: String,
}

impl Function {
    /// Returns the queue for the function's events if a rule sends it events. Lambda also has an internal queue
    /// for each function. The name has a dot, which no queue of a template has.
    pub fn event_queue(&self) -> Option<QueueDeclaration> {
        let rule = |source: &Source| matches!(source, Source::Rule { .. });
        self.sources.iter().any(rule).then(|| QueueDeclaration {
            name: format!("{}.events", self.logical_id),
            visibility_timeout: 6 * self.timeout,
            delay: Duration::ZERO,
            // A laptop may be off for longer than the 6 hours for which Lambda keeps an event.
            retention: Duration::MAX,
            dead_letter: None,
        })
    }
}

impl Declaration {
    /// Reads the templates that this platform was built with.
    pub fn embedded(surroundings: &Surroundings) -> Result<Self, TemplateError> {
        let template = include_str!("../../../template.yaml");
        Self::read(template, include_str!("../../storage.yaml"), surroundings)
    }

    pub fn read(template: &str, storage: &str, surroundings: &Surroundings) -> Result<Self, TemplateError> {
        // A nested stack has only the parameters that its parent passes on, and the parameters passed here are
        // only for AWS.
        let nested = Surroundings { parameters: HashMap::new(), ..surroundings.clone() };
        let storage = Document::read("infra/storage.yaml", storage, &nested, None)?;
        let template = Document::read("template.yaml", template, surroundings, Some(&storage))?;

        let (document, api_id) = template.only(API)?;
        let (authorizer, gateway_responses) = document.properties(api_id, api)?;
        let (document, table_id) = template.only(TABLE)?;
        let table = document.properties(table_id, |fields| table(fields, &surroundings.table))?;
        let (document, bucket_id) = template.only(BUCKET)?;
        let bucket = document.properties(bucket_id, bucket)?;
        let functions =
            template.all(FUNCTION).into_iter().map(|(document, id)| function(document, id, api_id));
        let functions = functions.collect::<Result<Vec<_>>>()?;
        let sources = functions.iter().flat_map(|function| &function.sources);
        if sources.filter(|source| matches!(source, Source::Stream { .. })).count() > 1 {
            // The poller of a function trims the records that it has read, so a second reader could miss records.
            return Err(template.refuse(FUNCTION.to_owned(), "has a second reader of the stream"));
        }
        let queues = template.all(QUEUE).into_iter();
        let queues = queues.map(|(document, id)| document.properties(id, |fields| queue(id, fields)));
        let queues = queues.collect::<Result<_>>()?;
        Ok(Self { functions, authorizer, gateway_responses, table, bucket, queues })
    }
}

fn api(fields: &mut Fields) -> Result<(String, BTreeMap<String, GatewayResponse>)> {
    // Fields about the API's address and its logs. Throttling, in MethodSettings, protects an account's quota and
    // its bill, neither of which exists locally.
    fields.ignore(&["StageName", "OpenApiVersion", "EndpointConfiguration", "Description", "Tags"]);
    fields.ignore(&["AccessLogSetting", "TracingEnabled", "MethodSettings"]);
    let authorizer = fields.required_part("Auth", |auth| {
        let default: String = auth.required("DefaultAuthorizer")?;
        // With several authorizers, each route would have to name one.
        auth.required_part("Authorizers", |authorizers| authorizers.required_part(&default, authorizer))
    })?;
    Ok((authorizer, fields.each("GatewayResponses", gateway_response)?.into_iter().collect()))
}

/// Reads the authorizer, which must get the whole request and whose answers must not be cached.
fn authorizer(fields: &mut Fields) -> Result<String> {
    fields.only("FunctionPayloadType", json!("REQUEST"), json!("TOKEN"))?;
    fields.only("Identity", json!({ "ReauthorizeEvery": 0 }), json!({ "ReauthorizeEvery": 300 }))?;
    fields.function("FunctionArn")
}

fn gateway_response(name: &str, fields: &mut Fields) -> Result<(String, GatewayResponse)> {
    let status = fields.optional("StatusCode")?;
    let headers =
        fields.part("ResponseParameters", |parameters| parameters.required_part("Headers", headers))?;
    let template =
        fields.required_part("ResponseTemplates", |templates| templates.required("application/json"))?;
    Ok((name.to_owned(), GatewayResponse { status, headers: headers.unwrap_or_default(), template }))
}

fn headers(fields: &mut Fields) -> Result<Vec<(String, String)>> {
    let headers: Vec<_> = fields.texts()?;
    let unquote = |(name, value): (String, String)| {
        let literal = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\''));
        // A value without quotes is an expression over the request.
        let expression = || fields.refuse(&name, format!("is {value}, which isn't a quoted text"));
        Ok((name.clone(), literal.ok_or_else(expression)?.to_owned()))
    };
    headers.into_iter().map(unquote).collect()
}

fn function(document: &Document, id: &str, api: &str) -> Result<Function> {
    let binary = document.metadata(id, "/BuildProperties/Binary")?;
    document.properties(id, |fields| {
        // Fields about building, deploying, permitting and observing the code. The functions are part of this
        // process: each has one version, and they share its memory.
        fields.ignore(&["FunctionName", "CodeUri", "Runtime", "Handler", "Architectures", "MemorySize"]);
        fields.ignore(&["AutoPublishAlias", "AutoPublishAliasAllProperties", "VersionDescription"]);
        fields.ignore(&["DeploymentPreference"]);
        fields.ignore(&["Role", "Tracing", "LoggingConfig", "Description", "Tags"]);
        // The local platform does not detect recursive loops, so a permission for one has no effect.
        fields.ignore(&["RecursiveLoop"]);

        let environment = fields.part("Environment", |environment| {
            environment.required_part("Variables", |variables| variables.texts())
        })?;
        let timeout = Duration::from_secs(fields.optional("Timeout")?.unwrap_or(3));

        let reserved_concurrency = fields.optional("ReservedConcurrentExecutions")?;
        let config = fields.part("EventInvokeConfig", event_invoke_config)?;

        let (mut routes, mut sources) = (Vec::new(), Vec::new());
        fields.each("Events", |name, event| {
            match event.required::<String>("Type")?.as_str() {
                "Api" => routes.push(event.required_part("Properties", |fields| route(fields, api))?),
                "DynamoDB" => sources.push(event.required_part("Properties", stream_source)?),
                "SQS" => sources.push(event.required_part("Properties", queue_source)?),
                "EventBridgeRule" => sources.push(event.required_part("Properties", rule)?),
                "ScheduleV2" => {
                    sources.extend(event.required_part("Properties", |fields| schedule(name, fields))?);
                }
                other => return Err(event.refuse_type(other)),
            }
            Ok(())
        })?;
        if reserved_concurrency.is_some() && !routes.is_empty() {
            let reason = "makes AWS refuse requests: the local platform can only have them wait";
            return Err(fields.refuse("ReservedConcurrentExecutions", reason));
        }
        Ok(Function {
            logical_id: id.to_owned(),
            binary,
            environment: environment.unwrap_or_default(),
            timeout,
            reserved_concurrency,
            event_invoke_config: config.unwrap_or(EventInvokeConfig { max_retries: 2, on_failure: None }),
            routes,
            sources,
        })
    })
}

fn event_invoke_config(fields: &mut Fields) -> Result<EventInvokeConfig> {
    // Events do not expire locally, because the machine may have been off.
    fields.ignore(&["MaximumEventAgeInSeconds"]);
    let max_retries = fields.optional("MaximumRetryAttempts")?.unwrap_or(2);
    Ok(EventInvokeConfig { max_retries, on_failure: on_failure(fields)? })
}

/// Returns the queue in a `DestinationConfig`.
fn on_failure(fields: &mut Fields) -> Result<Option<String>> {
    fields.part("DestinationConfig", |config| {
        config.required_part("OnFailure", |target| {
            target.only("Type", json!("SQS"), Value::Null)?;
            target.queue("Destination")
        })
    })
}

fn route(fields: &mut Fields, api: &str) -> Result<Route> {
    // SAM would create a separate API for a route that names no API.
    fields.only("RestApiId", json!(api), Value::Null)?;
    let auth = fields.optional::<Value>("Auth")?;
    if auth.as_ref().is_some_and(|auth| *auth != json!({ "Authorizer": "NONE" })) {
        return Err(fields.refuse("Auth", "asks for something other than the default authorizer or none"));
    }
    let method = fields.required::<String>("Method")?.to_uppercase();
    Ok(Route { path: fields.required("Path")?, method, authorized: auth.is_none() })
}

fn stream_source(fields: &mut Fields) -> Result<Source> {
    fields.only("Stream", json!(STREAM_ARN), Value::Null)?;
    fields.only("StartingPosition", json!("TRIM_HORIZON"), Value::Null)?;
    fields.only("FunctionResponseTypes", json!(["ReportBatchItemFailures"]), json!([]))?;
    fields.only("MaximumBatchingWindowInSeconds", json!(0), json!(0))?;
    fields.only("ParallelizationFactor", json!(1), json!(1))?;
    let filters = fields.part("FilterCriteria", |criteria| {
        criteria.each("Filters", |_, filter| {
            let pattern: String = filter.required("Pattern")?;
            parse_pattern(filter, &json_of(filter, "Pattern", &pattern)?)
        })
    })?;
    Ok(Source::Stream {
        batch_size: fields.optional("BatchSize")?.unwrap_or(100),
        filters: filters.unwrap_or_default(),
        bisect: fields.optional("BisectBatchOnFunctionError")?.unwrap_or(false),
        // Required here: without a limit, Lambda retries for as long as the record is in the stream.
        max_retries: fields.required("MaximumRetryAttempts")?,
        dead_letters: on_failure(fields)?,
    })
}

fn queue_source(fields: &mut Fields) -> Result<Source> {
    let response_types: Vec<String> = fields.optional("FunctionResponseTypes")?.unwrap_or_default();
    let concurrency = fields.part("ScalingConfig", |scaling| scaling.required("MaximumConcurrency"))?;
    Ok(Source::Queue {
        queue: fields.queue("Queue")?,
        batch_size: fields.optional("BatchSize")?.unwrap_or(10),
        report_failures: response_types.iter().any(|kind| kind == "ReportBatchItemFailures"),
        max_concurrency: concurrency.unwrap_or(ACCOUNT_CONCURRENCY),
    })
}

fn rule(fields: &mut Fields) -> Result<Source> {
    fields.ignore(&["RuleName"]);
    delivered(fields)?;
    let pattern: Value = fields.required("Pattern")?;
    Ok(Source::Rule { pattern: parse_pattern(fields, &pattern)? })
}

fn schedule(name: &str, fields: &mut Fields) -> Result<Option<Source>> {
    fields.ignore(&["Name", "Description"]);
    delivered(fields)?;
    let punctual = json!({ "Mode": "OFF" });
    fields.only("FlexibleTimeWindow", punctual.clone(), punctual)?;
    let expression: String = fields.required("ScheduleExpression")?;
    let not_a_rate = || format!("is {expression}: the local platform can honour only a rate(…)");
    let interval = rate(&expression).ok_or_else(|| fields.refuse("ScheduleExpression", not_a_rate()))?;
    // Without an input, the payload would be the scheduler's own event.
    let input: String = fields.required("Input")?;
    let input = json_of(fields, "Input", &input)?;
    let state: Option<String> = fields.optional("State")?;
    match state.as_deref() {
        None | Some("ENABLED") => Ok(Some(Source::Schedule { name: name.to_owned(), interval, input })),
        Some("DISABLED") => Ok(None),
        Some(other) => Err(fields.refuse("State", format!("is {other}, and not ENABLED or DISABLED"))),
    }
}

/// Ignores the settings for events that EventBridge cannot deliver to Lambda. Within one process, delivery always
/// succeeds.
fn delivered(fields: &mut Fields) -> Result<()> {
    fields.ignore(&["RetryPolicy"]);
    fields.part("DeadLetterConfig", |config| config.queue("Arn")).map(drop)
}

fn rate(expression: &str) -> Option<Duration> {
    let (count, unit) = expression.strip_prefix("rate(")?.strip_suffix(')')?.split_once(' ')?;
    let minutes = match unit.strip_suffix('s').unwrap_or(unit) {
        "minute" => 1,
        "hour" => 60,
        "day" => 24 * 60,
        _ => return None,
    };
    let count: u32 = count.parse().ok().filter(|count| *count > 0)?;
    Some(Duration::from_secs(60 * minutes * u64::from(count)))
}

fn json_of(fields: &Fields, name: &str, text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| fields.refuse(name, format!("isn't JSON: {error}")))
}

fn parse_pattern(fields: &Fields, pattern: &Value) -> Result<Pattern> {
    Pattern::parse("Pattern", pattern).map_err(|(path, reason)| fields.refuse(&path, reason))
}

fn table(fields: &mut Fields, name: &str) -> Result<Table> {
    // Protection against data loss and encryption on AWS's disks.
    fields.ignore(&["DeletionProtectionEnabled", "PointInTimeRecoverySpecification", "SSESpecification"]);
    fields.ignore(&["Tags"]);
    fields.only("BillingMode", json!("PAY_PER_REQUEST"), json!("PROVISIONED"))?;
    let view: Value =
        fields.required_part("StreamSpecification", |stream| stream.required("StreamViewType"))?;
    let mut request = json!({
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": fields.required::<Value>("AttributeDefinitions")?,
        "KeySchema": fields.required::<Value>("KeySchema")?,
        "StreamSpecification": { "StreamEnabled": true, "StreamViewType": view },
    });
    let indexes = fields.each("GlobalSecondaryIndexes", |_, index| {
        Ok(json!({
            "IndexName": index.required::<Value>("IndexName")?,
            "KeySchema": index.required::<Value>("KeySchema")?,
            "Projection": index.required::<Value>("Projection")?,
        }))
    })?;
    // DynamoDB refuses an empty list.
    if !indexes.is_empty() {
        request["GlobalSecondaryIndexes"] = Value::Array(indexes);
    }
    let ttl_attribute = fields.part("TimeToLiveSpecification", |ttl| {
        let attribute = ttl.required("AttributeName")?;
        Ok(ttl.required::<bool>("Enabled")?.then_some(attribute))
    })?;
    Ok(Table { name: name.to_owned(), json: request, ttl_attribute: ttl_attribute.flatten() })
}

fn bucket(fields: &mut Fields) -> Result<Bucket> {
    fields.ignore(&["BucketEncryption", "OwnershipControls", "PublicAccessBlockConfiguration", "Tags"]);
    let to_event_bridge = json!({ "EventBridgeConfiguration": { "EventBridgeEnabled": true } });
    fields.only("NotificationConfiguration", to_event_bridge, Value::Null)?;
    let expirations = fields
        .part("LifecycleConfiguration", |lifecycle| lifecycle.each("Rules", |_, rule| expiration(rule)))?;
    Ok(Bucket { name: NAME.to_owned(), expirations: expirations.into_iter().flatten().flatten().collect() })
}

fn expiration(rule: &mut Fields) -> Result<Option<Expiration>> {
    // Parts of an incomplete upload stay as files, which cost nothing locally.
    rule.ignore(&["Id", "AbortIncompleteMultipartUpload"]);
    let status: String = rule.required("Status")?;
    if !["Enabled", "Disabled"].contains(&status.as_str()) {
        return Err(rule.refuse("Status", format!("is {status}, and not Enabled or Disabled")));
    }
    let Some(days) = rule.optional::<u32>("ExpirationInDays")? else {
        rule.ignore(&["Prefix", "Filter"]);
        return Ok(None);
    };
    let age = Duration::from_secs(24 * 60 * 60 * u64::from(days));
    let expiration = Expiration { prefix: rule.required("Prefix")?, age };
    Ok((status == "Enabled").then_some(expiration))
}

fn queue(id: &str, fields: &mut Fields) -> Result<QueueDeclaration> {
    fields.ignore(&["SqsManagedSseEnabled", "KmsMasterKeyId", "Tags"]);
    let mut seconds = |name: &str, default: u64| -> Result<Duration> {
        Ok(Duration::from_secs(fields.optional(name)?.unwrap_or(default)))
    };
    Ok(QueueDeclaration {
        name: document::queue_name(id),
        visibility_timeout: seconds("VisibilityTimeout", 30)?,
        delay: seconds("DelaySeconds", 0)?,
        retention: seconds("MessageRetentionPeriod", 345_600)?,
        dead_letter: fields.part("RedrivePolicy", |policy| {
            let queue = policy.queue("deadLetterTargetArn")?;
            Ok(DeadLetter { queue, max_receive_count: policy.required("maxReceiveCount")? })
        })?,
    })
}

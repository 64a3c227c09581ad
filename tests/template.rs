//! Rules for the templates, for each function and each resource that stores data, that linters do not check. A
//! rule returns its violations. Another test breaks the templates for each rule and checks that the rule notices.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const TEMPLATE: &str = "template.yaml";
const STORAGE: &str = "infra/storage.yaml";
const MONITORING: &str = "infra/monitoring.yaml";
const ALARMS: &str = "infra/alarms.yaml";
const IDENTITY: &str = "infra/identity.yaml";
const SAMCONFIG: &str = "samconfig.toml";

const DAYS: u64 = 24 * 60 * 60;

/// Deployment files, and the names that they must agree with.
#[derive(Clone)]
struct Project {
    texts: BTreeMap<String, String>,
    /// Crates under `functions/`.
    crates: BTreeSet<String>,
    /// Sample events under `events/`.
    events: BTreeSet<String>,
    runbooks: BTreeSet<String>,
    /// Metrics that the functions record.
    metrics: BTreeSet<String>,
}

fn names(folder: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(format!("{ROOT}/{folder}")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Returns the names that precede a unit in the functions' sources.
fn recorded_metrics() -> BTreeSet<String> {
    let sources =
        names("functions").into_iter().map(|function| format!("{ROOT}/functions/{function}/src/lib.rs"));
    let texts = sources.map(|path| std::fs::read_to_string(path).unwrap());
    texts
        .flat_map(|text| {
            let before = text.split("\", Unit::").map(str::to_owned).collect::<Vec<_>>();
            let named = before.len() - 1;
            before.into_iter().take(named).filter_map(|text| Some(text.rsplit_once('"')?.1.to_owned()))
        })
        .collect()
}

impl Project {
    fn read() -> Self {
        let nested = names("infra").into_iter().filter(|name| name.ends_with(".yaml"));
        let paths =
            nested.map(|name| format!("infra/{name}")).chain([TEMPLATE.to_owned(), SAMCONFIG.to_owned()]);
        Self {
            texts: paths
                .map(|path| {
                    let text = std::fs::read_to_string(format!("{ROOT}/{path}")).unwrap();
                    (path, text)
                })
                .collect(),
            crates: names("functions"),
            events: names("events"),
            runbooks: names("docs/runbooks"),
            metrics: recorded_metrics(),
        }
    }

    /// Parses a template. `!Ref X` becomes `{"!Ref": "X"}`.
    fn template(&self, path: &str) -> Value {
        let yaml: yaml_serde::Value = yaml_serde::from_str(&self.texts[path]).unwrap();
        serde_json::to_value(yaml).unwrap()
    }

    fn templates(&self) -> impl Iterator<Item = (&str, Value)> {
        let paths = self.texts.keys().filter(|path| path.ends_with(".yaml"));
        paths.map(|path| (path.as_str(), self.template(path)))
    }

    /// Returns the functions of the template, merged with the globals.
    fn functions(&self) -> Vec<Function> {
        let template = self.template(TEMPLATE);
        let globals = &template["Globals"]["Function"];
        let functions = of_type(&template, "AWS::Serverless::Function").into_iter();
        let function = |(id, resource): (String, Value)| {
            let own = resource["Properties"].as_object().unwrap().clone();
            let mut properties = globals.as_object().unwrap().clone();
            properties.extend(own);
            let binary =
                resource["Metadata"]["BuildProperties"]["Binary"].as_str().unwrap_or_default().to_owned();
            let name = id.strip_suffix("Function").unwrap_or(&id).to_owned();
            Function { id, name, binary, method: resource["Metadata"]["BuildMethod"].clone(), properties }
        };
        functions.map(function).collect()
    }
}

struct Function {
    id: String,
    /// Logical id without its suffix `Function`.
    name: String,
    binary: String,
    method: Value,
    properties: Map<String, Value>,
}

impl Function {
    fn property(&self, name: &str) -> &Value {
        self.properties.get(name).unwrap_or(&Value::Null)
    }

    /// Returns the event sources of a type.
    fn events(&self, kind: &str) -> Vec<(&String, &Value)> {
        let all = self.property("Events").as_object().into_iter().flatten();
        all.filter(|(_, event)| event["Type"] == kind)
            .map(|(name, event)| (name, &event["Properties"]))
            .collect()
    }
}

fn of_type(template: &Value, kind: &str) -> Vec<(String, Value)> {
    let resources = template["Resources"].as_object().into_iter().flatten();
    let found = resources.filter(|(_, resource)| resource["Type"] == kind);
    found.map(|(id, resource)| (id.clone(), resource.clone())).collect()
}

/// Returns the target of a reference: `X`, `X.Attribute`, or the text of a `!Sub`.
fn target(value: &Value) -> String {
    let Some((key, argument)) = value.as_object().and_then(|map| map.iter().next()) else {
        return value.as_str().unwrap_or_default().to_owned();
    };
    match (key.trim_start_matches('!').trim_start_matches("Fn::"), argument) {
        ("Ref" | "GetAtt" | "Sub", Value::String(text)) => text.clone(),
        ("GetAtt", Value::Array(parts)) => {
            parts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(".")
        }
        _ => String::new(),
    }
}

/// Returns the values of a list, or a single value.
fn each(value: &Value) -> &[Value] {
    match value {
        Value::Null => &[],
        Value::Array(values) => values,
        one => std::slice::from_ref(one),
    }
}

/// Finds all mappings within the value.
fn mappings<'a>(value: &'a Value, found: &mut Vec<&'a Map<String, Value>>) {
    match value {
        Value::Object(map) => {
            found.push(map);
            map.values().for_each(|value| mappings(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| mappings(value, found)),
        _ => {}
    }
}

/// Returns the statements of all policies of a resource.
fn statements(resource: &Value) -> Vec<Map<String, Value>> {
    let mut found = Vec::new();
    mappings(&resource["Properties"], &mut found);
    let statements = found.into_iter().filter(|map| map.contains_key("Effect"));
    statements.filter(|map| map.get("Action") != Some(&json!("sts:AssumeRole"))).cloned().collect()
}

type Rule = fn(&Project) -> Vec<String>;

/// Rule: every function crate is deployed and has a sample event.
fn every_function_is_deployed(project: &Project) -> Vec<String> {
    let mut complaints = Vec::new();
    let functions = project.functions();
    for name in &project.crates {
        if !functions.iter().any(|function| function.binary == *name) {
            complaints.push(format!("functions/{name} has no function in {TEMPLATE}"));
        }
        if !project.events.iter().any(|event| event.starts_with(&format!("{name}-"))) {
            complaints.push(format!("functions/{name} has no sample in events/"));
        }
    }
    for Function { id, binary, method, properties, .. } in &functions {
        if !project.crates.contains(binary) {
            complaints.push(format!("{id} builds {binary:?}, which is none of functions/"));
        }
        if properties.get("CodeUri") != Some(&json!(format!("functions/{binary}"))) {
            complaints.push(format!("{id}'s CodeUri isn't functions/{binary}"));
        }
        if method != "rust-cargolambda" {
            complaints.push(format!("{id} isn't built by cargo lambda"));
        }
    }
    complaints
}

/// Rule: every function declares its memory, time-out, alias, versions, tracing and log retention.
fn every_function_is_bounded_and_published(project: &Project) -> Vec<String> {
    let mut complaints = Vec::new();
    let template = project.template(TEMPLATE);
    for function in project.functions() {
        let mut require = |holds: bool, what: &str| {
            if !holds {
                complaints.push(format!("{} has no {what}", function.id));
            }
        };
        require(function.property("MemorySize").is_u64(), "memory size");
        require(function.property("Timeout").is_u64(), "time-out");
        require(function.property("AutoPublishAlias") == "live", "alias");
        require(
            function.property("AutoPublishAliasAllProperties") == true,
            "version for a change of its variables",
        );
        require(function.property("Tracing") == "Active", "tracing");
        let group = target(&function.property("LoggingConfig")["LogGroup"]);
        require(template["Resources"][&group]["Type"] == "AWS::Logs::LogGroup", "log group of ours");
        require(!template["Resources"][&group]["Properties"]["RetentionInDays"].is_null(), "end of its logs");
    }
    complaints
}

/// Rule: the version's description of a function has all values that its variables are made of, and no others.
/// Lambda publishes a new version only if the function or its description has changed.
fn a_changed_variable_makes_a_version(project: &Project) -> Vec<String> {
    let template = project.template(TEMPLATE);
    let parameters = template["Parameters"].as_object().unwrap();
    let globals = &template["Globals"]["Function"]["Environment"];
    let mut complaints = Vec::new();
    for function in project.functions() {
        let mut made_of: BTreeSet<String> = [globals, function.property("Environment")]
            .into_iter()
            .flat_map(origins)
            .filter_map(|origin| match &*origin {
                // The environment of a stack never changes.
                "Environment" => None,
                // Too long for a description, and of no use in it.
                "PublicUrl" if function.id == "AuthorizerFunction" => None,
                "Storage.Outputs.TableName" => Some("RestoredTable".to_owned()),
                // The outputs of a user pool change together.
                pool if pool.starts_with("Identity.") => Some("Identity.Outputs.Audience".to_owned()),
                parameter => parameters.contains_key(parameter).then_some(origin),
            })
            .collect();
        for origin in origins(function.property("VersionDescription")) {
            if !made_of.remove(&origin) && (parameters.contains_key(&origin) || origin.contains('.')) {
                complaints.push(format!("{}'s version tells of {origin}, no variable of it", function.id));
            }
        }
        let missing =
            made_of.iter().map(|origin| format!("{}'s version doesn't tell of {origin}", function.id));
        complaints.extend(missing);
    }
    complaints
}

/// Returns the origins of a value: the targets of its references, and the variables in its texts.
fn origins(value: &Value) -> BTreeSet<String> {
    let mut found = Vec::new();
    mappings(value, &mut found);
    let mut origins = BTreeSet::new();
    for (function, argument) in found.into_iter().flatten() {
        for text in each(argument).iter().filter_map(Value::as_str) {
            let places = text.split("${").skip(1).filter_map(|rest| rest.split_once('}'));
            match function.trim_start_matches('!') {
                "Sub" => origins.extend(places.map(|(name, _)| name.to_owned())),
                "Ref" | "GetAtt" => drop(origins.insert(text.to_owned())),
                _ => {}
            }
        }
    }
    origins
}

/// Rule: alarms report errors, throttles and slowness of every function, and a new version that fails is rolled
/// back.
fn every_function_has_alarms(project: &Project) -> Vec<String> {
    let mut complaints = Vec::new();
    let template = project.template(TEMPLATE);
    let dashboard = project.template(MONITORING)["Resources"]["Dashboard"].to_string();
    for function in project.functions() {
        let Function { id, name, binary, .. } = &function;
        let mut require = |holds: bool, what: &str| {
            if !holds {
                complaints.push(format!("{id} {what}"));
            }
        };
        let own = format!("${{AWS::StackName}}-{binary}");
        require(target(function.property("FunctionName")) == own, "isn't named after its binary");
        let alarms = &template["Resources"][format!("{name}Alarms")]["Properties"];
        let parameters = &alarms["Parameters"];
        require(alarms["TemplateURL"] == format!("./{ALARMS}"), "has no alarms");
        require(target(&parameters["Function"]) == *id, "has alarms that look at another");
        require(
            target(&parameters["Version"]) == format!("{id}.Version.Version"),
            "has alarms that look at another version",
        );
        // `!If` chooses between the list of alarms and no alarms.
        let preference = &function.property("DeploymentPreference")["Alarms"]["!If"];
        let waits_for: BTreeSet<_> = each(&preference[1]).iter().map(target).collect();
        let canaries =
            ["Errors", "ErrorLines", "TooSlow"].map(|what| format!("{name}Alarms.Outputs.Canary{what}"));
        require(waits_for == canaries.into(), "doesn't go back when its new version fails");
        let shown = dashboard.matches(&format!("${{StackName}}-{binary}\\\"")).count();
        require(shown >= 3, "isn't on the dashboard");
    }
    let alarms = project.template(ALARMS);
    for (id, metric) in [
        ("Errors", "Errors"),
        ("Throttles", "Throttles"),
        ("TooSlow", "Duration"),
        ("CanaryErrors", "Errors"),
        ("CanaryErrorLines", "ErrorLines"),
        ("CanaryTooSlow", "Duration"),
    ] {
        let alarm = alarms["Resources"][id].to_string();
        let of_a_version = alarm.contains("\"!Ref\":\"Version\"");
        if !alarm.contains(&format!("\"MetricName\":\"{metric}\""))
            || id.starts_with("Canary") != of_a_version
        {
            complaints.push(format!("{id} in {ALARMS} doesn't look at the right {metric}"));
        }
    }
    complaints
}

/// Rule: an alarm notifies somebody, names a runbook, and does not go off for missing data.
fn every_alarm_leads_somewhere(project: &Project) -> Vec<String> {
    let mut complaints = Vec::new();
    for path in [ALARMS, MONITORING] {
        for (id, alarm) in of_type(&project.template(path), "AWS::CloudWatch::Alarm") {
            let properties = &alarm["Properties"];
            let text = properties["AlarmDescription"].to_string();
            let runbook = text.split("docs/runbooks/").nth(1).and_then(|rest| rest.split(".md").next());
            if !runbook.is_some_and(|name| project.runbooks.contains(&format!("{name}.md"))) {
                complaints.push(format!("{id} names no runbook that there is"));
            }
            if !each(&properties["AlarmActions"])
                .iter()
                .any(|to| ["Pages", "Tickets"].contains(&&*target(to)))
            {
                complaints.push(format!("{id} tells nobody"));
            }
            if properties["TreatMissingData"] != "notBreaching" {
                complaints.push(format!("{id} goes off when there is nothing to measure"));
            }
        }
    }
    complaints
}

/// Rule: alarms on the age of messages go off in time. SQS leaves a message that was received three times out of
/// the age of a queue's oldest message. A failing message is received the third time after twice the visibility
/// timeout, so the alarm must go off before.
fn alarms_on_age_see_what_fails(project: &Project) -> Vec<String> {
    const AGE: &str = "ApproximateAgeOfOldestMessage";
    let mut complaints = Vec::new();
    let storage = project.template(STORAGE);
    let passed = project.template(TEMPLATE)["Resources"]["Monitoring"]["Properties"]["Parameters"].clone();
    for path in [ALARMS, MONITORING] {
        for (id, alarm) in of_type(&project.template(path), "AWS::CloudWatch::Alarm") {
            let properties = &alarm["Properties"];
            if properties["MetricName"] != AGE {
                if properties.to_string().contains(AGE) {
                    complaints.push(format!("{id} looks at the age by metric math, which nobody judges"));
                }
                continue;
            }
            let parameter = target(&properties["Dimensions"][0]["Value"]);
            let name = target(&passed[&parameter]);
            let queue = name.strip_prefix("Storage.Outputs.").and_then(|name| name.strip_suffix("Name"));
            let queue = &storage["Resources"][queue.unwrap_or_default()];
            if queue["Type"] != "AWS::SQS::Queue" {
                complaints.push(format!("{id} looks at {parameter}, which is no queue"));
                continue;
            }
            let number = |name: &str| properties[name].as_u64();
            let needs = number("Threshold")
                .zip(number("Period").zip(number("EvaluationPeriods")))
                .map(|(threshold, (period, periods))| threshold + period * periods);
            let seen_for = 2 * queue["Properties"]["VisibilityTimeout"].as_u64().unwrap_or(30);
            if needs.is_none_or(|needs| needs >= seen_for) {
                complaints.push(format!(
                    "{id} waits for {} s, and a message that fails is seen for {seen_for} s",
                    needs.unwrap_or_default()
                ));
            }
        }
    }
    complaints
}

/// Rule: alarms on the platform's own metrics watch metrics that are recorded, and an alarm reports that mail has
/// stopped.
fn alarms_watch_what_is_recorded(project: &Project) -> Vec<String> {
    let mut found = Vec::new();
    let templates: Vec<_> = project.templates().map(|(_, template)| template).collect();
    templates.iter().for_each(|template| mappings(template, &mut found));
    let named = |namespace: &str| {
        let of =
            found.iter().filter(|mapping| mapping.get(namespace).is_some_and(|name| name == "Groundswell"));
        of.filter_map(|mapping| Some(mapping.get("MetricName")?.as_str()?.to_owned()))
            .collect::<BTreeSet<_>>()
    };
    let (watched, of_logs) = (named("Namespace"), named("MetricNamespace"));
    let unknown = watched.iter().filter(|name| !of_logs.contains(*name) && !project.metrics.contains(*name));
    let mut complaints: Vec<_> =
        unknown.map(|name| format!("{name} is watched, and recorded by nobody")).collect();
    for name in ["ErrorLines", "SendingStopped"] {
        if !watched.contains(name) {
            complaints.push(format!("{name} is watched by no alarm"));
        }
    }
    complaints
}

/// Rule: a queue that accepts undelivered events of an EventBridge rule names that rule.
fn rules_have_the_names_that_are_let_in(project: &Project) -> Vec<String> {
    let template = project.template(TEMPLATE);
    let mut found = Vec::new();
    mappings(&template, &mut found);
    let names: BTreeSet<_> = found.iter().filter_map(|mapping| mapping.get("RuleName")).map(target).collect();
    let let_in = project.texts[STORAGE].lines().filter_map(|line| line.split_once(":rule/${StackName}"));
    let unknown = let_in.filter(|(_, name)| !names.contains(&format!("${{AWS::StackName}}{name}")));
    unknown.map(|(_, name)| format!("the dead letters of {name} are taken, which is no rule")).collect()
}

/// Rule: a statement that admits a service limits it to one source, because the same service acts for other
/// accounts and for other resources of this account.
fn services_are_let_in_for_one_thing(project: &Project) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, template) in project.templates() {
        for (id, resource) in template["Resources"].as_object().into_iter().flatten() {
            for statement in statements(resource) {
                let of_a_service = statement.get("Principal").is_some_and(|of| !of["Service"].is_null());
                if !of_a_service || statement["Effect"] != "Allow" {
                    continue;
                }
                let condition = statement.get("Condition").and_then(Value::as_object);
                let keys: BTreeSet<_> = condition
                    .into_iter()
                    .flat_map(Map::values)
                    .flat_map(|keys| keys.as_object())
                    .flat_map(Map::keys)
                    .collect();
                for key in ["aws:SourceAccount", "aws:SourceArn"] {
                    if !keys.iter().any(|found| *found == key) {
                        complaints.push(format!("{path}: {id} lets a service in without {key}"));
                    }
                }
            }
            if resource["Type"] == "AWS::Lambda::Permission" && resource["Properties"]["SourceArn"].is_null()
            {
                complaints.push(format!("{path}: {id} lets a service in without SourceArn"));
            }
        }
    }
    complaints
}

/// Rule: each function's permissions on the table are exactly its access patterns.
fn permissions_follow_from_the_access_patterns(project: &Project) -> Vec<String> {
    let mut complaints = Vec::new();
    let template = project.template(TEMPLATE);
    for function in project.functions() {
        let Function { id, name, binary, .. } = &function;
        let role = &template["Resources"][format!("{name}Role")];
        if target(function.property("Role")) != format!("{name}Role.Arn")
            || !function.property("Policies").is_null()
        {
            complaints.push(format!("{id} has no role of its own, written out"));
        }
        let mut granted = BTreeSet::new();
        for statement in statements(role) {
            let resources = each(&statement["Resource"]).iter().map(target);
            for resource in resources {
                let index = match resource.strip_prefix("${Storage.Outputs.TableArn}/index/") {
                    Some(index) => Some(index.to_owned()),
                    None if resource == "Storage.Outputs.TableArn" => None,
                    None => continue,
                };
                let actions = each(&statement["Action"]).iter().filter_map(Value::as_str);
                granted.extend(actions.map(|action| (index.clone(), action.replace("dynamodb:", ""))));
            }
        }
        let needed = families::permissions(binary).into_iter();
        let needed = needed.map(|(index, action)| (index.map(str::to_owned), action.to_owned())).collect();
        let place = |index: &Option<String>| index.clone().unwrap_or_else(|| "the table".to_owned());
        for (index, action) in granted.difference(&needed) {
            complaints.push(format!(
                "{name}Role allows {action} of {}, which no pattern of it needs",
                place(index)
            ));
        }
        for (index, action) in needed.difference(&granted) {
            complaints.push(format!("{name}Role doesn't allow {action} of {}", place(index)));
        }
        // Only the function whose source is a queue may receive from the queue.
        let sources: BTreeSet<_> =
            function.events("SQS").iter().map(|(_, event)| target(&event["Queue"])).collect();
        let reads = |statement: &&Map<String, Value>| {
            each(&statement["Action"]).contains(&json!("sqs:ReceiveMessage"))
        };
        let all = statements(role);
        let read: BTreeSet<_> =
            all.iter().filter(reads).flat_map(|statement| each(&statement["Resource"])).map(target).collect();
        if read != sources {
            complaints
                .push(format!("{name}Role takes messages out of {read:?}, and its sources are {sources:?}"));
        }
    }
    complaints
}

/// Rule: a `*` in an action or a resource has a reason in the resource's metadata, under the statement's Sid.
/// Policies managed by AWS need a reason too, because they contain many wildcards.
fn wildcards_have_reasons(project: &Project) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, template) in project.templates() {
        for (id, resource) in template["Resources"].as_object().into_iter().flatten() {
            let mut wanted = BTreeSet::new();
            for statement in statements(resource) {
                let sid = statement.get("Sid").and_then(Value::as_str).unwrap_or_default();
                if sid.is_empty() {
                    complaints.push(format!("{path}: a statement of {id} has no Sid"));
                }
                let parts = ["Action", "NotAction", "Resource", "NotResource"];
                let mut texts =
                    parts.iter().flat_map(|part| each(statement.get(*part).unwrap_or(&Value::Null)));
                if texts.any(|value| target(value).contains('*')) {
                    wanted.insert(sid.to_owned());
                }
            }
            let foreign = |policy: &&Value| target(policy).contains(":iam::");
            if each(&resource["Properties"]["ManagedPolicyArns"]).iter().any(|policy| foreign(&policy)) {
                wanted.insert("ManagedPolicyArns".to_owned());
            }
            let reasons = resource["Metadata"]["Wildcards"].as_object().cloned().unwrap_or_default();
            for sid in &wanted {
                if reasons.get(sid).and_then(Value::as_str).is_none_or(|reason| reason.len() < 20) {
                    complaints.push(format!("{path}: {id} has a wildcard without a reason: {sid}"));
                }
            }
            for sid in reasons.keys().filter(|sid| !wanted.contains(*sid)) {
                complaints.push(format!("{path}: {id} has a reason for a wildcard that isn't there: {sid}"));
            }
        }
    }
    complaints
}

/// Rule: data survive a mistake in a template and the deletion of a stack.
fn what_keeps_state_is_kept(project: &Project) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, template) in project.templates() {
        for (kind, protections) in [
            (
                "AWS::DynamoDB::Table",
                &[
                    ("/DeletionProtectionEnabled", json!(true)),
                    ("/PointInTimeRecoverySpecification/PointInTimeRecoveryEnabled", json!(true)),
                    ("/SSESpecification/SSEEnabled", json!(true)),
                ][..],
            ),
            // A bucket with objects cannot be deleted, which protects it.
            (
                "AWS::S3::Bucket",
                &[
                    (
                        "/BucketEncryption/ServerSideEncryptionConfiguration/0/ServerSideEncryptionByDefault/SSEAlgorithm",
                        json!("aws:kms"),
                    ),
                    ("/PublicAccessBlockConfiguration/RestrictPublicBuckets", json!(true)),
                ],
            ),
            ("AWS::KMS::Key", &[("/EnableKeyRotation", json!(true))]),
            ("AWS::Cognito::UserPool", &[("/DeletionProtection", json!("ACTIVE"))]),
        ] {
            for (id, resource) in of_type(&template, kind) {
                for policy in ["DeletionPolicy", "UpdateReplacePolicy"] {
                    if resource[policy] != "Retain" {
                        complaints.push(format!("{path}: {id} has no {policy} of Retain"));
                    }
                }
                for (pointer, value) in protections {
                    if resource["Properties"].pointer(pointer) != Some(value) {
                        complaints.push(format!("{path}: {id}{} isn't {value}", pointer.replace('/', ".")));
                    }
                }
            }
        }
    }
    complaints
}

/// Rule: messages that a queue gives up are kept for as long as possible, and an alarm reports them.
fn every_queue_has_dead_letters(project: &Project) -> Vec<String> {
    let mut complaints = Vec::new();
    let (storage, monitoring) = (project.template(STORAGE), project.template(MONITORING));
    let template = project.template(TEMPLATE);
    let queues = of_type(&storage, "AWS::SQS::Queue");
    for (id, queue) in &queues {
        let properties = &queue["Properties"];
        if properties["SqsManagedSseEnabled"] != true && properties["KmsMasterKeyId"].is_null() {
            complaints.push(format!("{id} isn't encrypted"));
        }
        if id.ends_with("DeadLetters") {
            if properties["MessageRetentionPeriod"] != 14 * DAYS {
                complaints.push(format!("{id} doesn't keep messages for 14 days"));
            }
            let passed = &template["Resources"]["Monitoring"]["Properties"]["Parameters"][id];
            let alarms = of_type(&monitoring, "AWS::CloudWatch::Alarm");
            let watches = json!([{ "Name": "QueueName", "Value": { "!Ref": id } }]);
            let watched = alarms.iter().any(|(_, alarm)| alarm["Properties"]["Dimensions"] == watches);
            if !watched || target(passed) != format!("Storage.Outputs.{id}Name") {
                complaints.push(format!("{id} has no alarm"));
            }
            continue;
        }
        let letters = target(&properties["RedrivePolicy"]["deadLetterTargetArn"]);
        let there = queues
            .iter()
            .any(|(other, _)| letters == format!("{other}.Arn") && other.ends_with("DeadLetters"));
        if !there || !properties["RedrivePolicy"]["maxReceiveCount"].is_u64() {
            complaints.push(format!("{id} has no dead-letter queue"));
        }
        // Lambda's recommendation: throttled invocations must not use up the receives of messages that were never
        // processed.
        for function in project.functions() {
            let reads = function
                .events("SQS")
                .iter()
                .any(|(_, event)| target(&event["Queue"]) == format!("Storage.Outputs.{id}Arn"));
            let time_out = function.property("Timeout").as_u64().unwrap_or_default();
            if reads && properties["VisibilityTimeout"].as_u64().unwrap_or(30) < 6 * time_out {
                complaints.push(format!(
                    "{id} shows messages again within six times the time-out of {}",
                    function.id
                ));
            }
        }
    }
    complaints
}

/// Rule: one bad record does not repeat the others of its batch, and records that are given up go to a queue.
fn every_source_gives_back_what_failed(project: &Project) -> Vec<String> {
    let mut complaints = Vec::new();
    for function in project.functions() {
        let id = &function.id;
        for kind in ["DynamoDB", "Kinesis", "MSK", "SQS"] {
            for (name, event) in function.events(kind) {
                if !each(&event["FunctionResponseTypes"]).contains(&json!("ReportBatchItemFailures")) {
                    complaints.push(format!("{id}.{name} gives no partial responses"));
                }
                if kind == "SQS" && !event["ScalingConfig"]["MaximumConcurrency"].is_u64() {
                    complaints.push(format!("{id}.{name} may take all of the account's concurrency"));
                }
                let to = target(&event["DestinationConfig"]["OnFailure"]["Destination"]);
                if kind != "SQS"
                    && !(to.ends_with("DeadLettersArn") && event["MaximumRetryAttempts"].is_u64())
                {
                    complaints.push(format!("{id}.{name} has no end of its retries, or nothing behind it"));
                }
            }
        }
        for kind in ["EventBridgeRule", "Schedule", "ScheduleV2"] {
            for (name, event) in function.events(kind) {
                if !target(&event["DeadLetterConfig"]["Arn"]).ends_with("DeadLettersArn") {
                    complaints.push(format!("{id}.{name} loses what can't be delivered"));
                }
            }
        }
        // A schedule fires again; an event of a rule is not repeated.
        let given_up =
            &function.property("EventInvokeConfig")["DestinationConfig"]["OnFailure"]["Destination"];
        if !function.events("EventBridgeRule").is_empty() && !target(given_up).ends_with("DeadLettersArn") {
            complaints.push(format!("{id} loses events that it fails at"));
        }
    }
    complaints
}

/// Rule: the stream's filters pass exactly the items that projections read.
fn the_stream_brings_what_is_read(project: &Project) -> Vec<String> {
    let read: BTreeSet<_> = families::projections().flat_map(|one| one.reads.iter().copied()).collect();
    let mut complaints = Vec::new();
    for function in project.functions() {
        for (_, event) in function.events("DynamoDB") {
            let patterns = each(&event["FilterCriteria"]["Filters"]).iter();
            let patterns = patterns.filter_map(|filter| filter["Pattern"].as_str());
            let images: Vec<Value> = patterns
                .map(|pattern| serde_json::from_str::<Value>(pattern).unwrap()["dynamodb"].take())
                .collect();
            let brought: BTreeSet<_> = images
                .iter()
                .flat_map(|image| ["NewImage", "OldImage"].map(|side| &image[side]["_type"]["S"]))
                .flat_map(each)
                .filter_map(Value::as_str)
                .collect();
            let id = &function.id;
            complaints.extend(read.difference(&brought).map(|kind| format!("{id} never sees a {kind}")));
            complaints.extend(brought.difference(&read).map(|kind| format!("{id} has no use for a {kind}")));
        }
    }
    complaints
}

/// Rule: a function that sends messages to its own queue allows the loop. Otherwise Lambda takes the loop for a
/// mistake, and moves the messages to the dead-letter queue after about 16 rounds.
fn who_goes_on_by_a_queue_is_let(project: &Project) -> Vec<String> {
    let mut complaints = Vec::new();
    let template = project.template(TEMPLATE);
    for function in project.functions() {
        let sources: BTreeSet<_> =
            function.events("SQS").iter().map(|(_, event)| target(&event["Queue"])).collect();
        let sent: BTreeSet<_> = statements(&template["Resources"][format!("{}Role", function.name)])
            .iter()
            .filter(|statement| each(&statement["Action"]).contains(&json!("sqs:SendMessage")))
            .flat_map(|statement| each(&statement["Resource"]).iter().map(target).collect::<Vec<_>>())
            .collect();
        let goes_on = !sources.is_disjoint(&sent);
        if goes_on != (function.property("RecursiveLoop") == "Allow") {
            let what = if goes_on { "would be stopped" } else { "needs no loop" };
            complaints.push(format!("{} {what}", function.id));
        }
    }
    complaints
}

/// Rule: a nested stack gets its parameters and has the outputs that are used. Linters do not check one template
/// against another.
fn nested_stacks_fit(project: &Project) -> Vec<String> {
    let mut complaints = Vec::new();
    let template = project.template(TEMPLATE);
    let stacks: BTreeMap<_, _> = of_type(&template, "AWS::CloudFormation::Stack").into_iter().collect();
    let nested = |stack: &Value| {
        let url = stack["Properties"]["TemplateURL"].as_str().unwrap_or_default();
        project.texts.contains_key(url.trim_start_matches("./")).then(|| project.template(&url[2..]))
    };
    for (id, stack) in &stacks {
        let Some(nested) = nested(stack) else {
            complaints.push(format!("{id} has no template"));
            continue;
        };
        let parameters = |value: &Value| value.as_object().cloned().unwrap_or_default();
        let (given, declared) =
            (parameters(&stack["Properties"]["Parameters"]), parameters(&nested["Parameters"]));
        for name in given.keys().filter(|name| !declared.contains_key(*name)) {
            complaints.push(format!("{id} gets {name}, which it doesn't know"));
        }
        for (name, parameter) in &declared {
            if parameter.get("Default").is_none() && !given.contains_key(name) {
                complaints.push(format!("{id} doesn't get {name}"));
            }
        }
    }
    let mut found = Vec::new();
    mappings(&template, &mut found);
    let texts = found.iter().flat_map(|map| map.iter()).map(|(key, value)| target(&json!({ key: value })));
    for text in texts.filter(|text| text.contains(".Outputs.")) {
        // The references in the braces of a `!Sub`, or a whole `!GetAtt`.
        for reference in text.split(['{', '}']).filter(|part| part.contains(".Outputs.")) {
            let (id, output) = reference.split_once(".Outputs.").unwrap_or_default();
            let outputs = stacks.get(id).and_then(nested).map(|nested| nested["Outputs"][output].is_object());
            if outputs != Some(true) {
                complaints.push(format!("there is no {reference}"));
            }
        }
    }
    complaints
}

/// Rule: each environment can be built and deployed as it is, with parameters that exist.
fn every_environment_is_complete(project: &Project) -> Vec<String> {
    let mut complaints = Vec::new();
    let parameters = project.template(TEMPLATE)["Parameters"].as_object().cloned().unwrap_or_default();
    let text = &project.texts[SAMCONFIG];
    let sections: BTreeMap<&str, &str> =
        text.split("\n[").skip(1).filter_map(|section| section.split_once("]\n")).collect();
    for environment in ["default", "dev", "staging", "prod"] {
        for command in ["global", "build", "validate", "deploy"] {
            if !sections.contains_key(&*format!("{environment}.{command}.parameters")) {
                complaints.push(format!("{environment} has no parameters for {command}"));
            }
        }
        let global = sections.get(&*format!("{environment}.global.parameters")).copied().unwrap_or_default();
        let set: BTreeSet<_> = global
            .lines()
            .filter_map(|line| line.trim().strip_prefix('"')?.split_once('='))
            .map(|(name, _)| name.to_owned())
            .collect();
        for name in set.iter().filter(|name| !parameters.contains_key(*name)) {
            complaints.push(format!("{environment} sets {name}, which is no parameter"));
        }
        for (name, parameter) in &parameters {
            if parameter.get("Default").is_none() && !set.contains(name) {
                complaints.push(format!("{environment} doesn't set {name}, which has no default"));
            }
        }
    }
    complaints
}

const RULES: [(&str, Rule); 18] = [
    ("every_function_is_deployed", every_function_is_deployed),
    ("every_function_is_bounded_and_published", every_function_is_bounded_and_published),
    ("a_changed_variable_makes_a_version", a_changed_variable_makes_a_version),
    ("every_function_has_alarms", every_function_has_alarms),
    ("every_alarm_leads_somewhere", every_alarm_leads_somewhere),
    ("alarms_on_age_see_what_fails", alarms_on_age_see_what_fails),
    ("alarms_watch_what_is_recorded", alarms_watch_what_is_recorded),
    ("rules_have_the_names_that_are_let_in", rules_have_the_names_that_are_let_in),
    ("services_are_let_in_for_one_thing", services_are_let_in_for_one_thing),
    ("permissions_follow_from_the_access_patterns", permissions_follow_from_the_access_patterns),
    ("wildcards_have_reasons", wildcards_have_reasons),
    ("what_keeps_state_is_kept", what_keeps_state_is_kept),
    ("every_queue_has_dead_letters", every_queue_has_dead_letters),
    ("every_source_gives_back_what_failed", every_source_gives_back_what_failed),
    ("the_stream_brings_what_is_read", the_stream_brings_what_is_read),
    ("who_goes_on_by_a_queue_is_let", who_goes_on_by_a_queue_is_let),
    ("nested_stacks_fit", nested_stacks_fit),
    ("every_environment_is_complete", every_environment_is_complete),
];

#[test]
fn the_templates_keep_every_rule() {
    let project = Project::read();
    let complaints: Vec<_> = RULES
        .iter()
        .flat_map(|(name, rule)| {
            rule(&project).into_iter().map(move |complaint| format!("{name}: {complaint}"))
        })
        .collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// The dashboard's lines that name each function. `UPDATE=1` regenerates them.
#[test]
fn the_dashboard_shows_every_function() {
    let path = format!("{ROOT}/{MONITORING}");
    let text = std::fs::read_to_string(&path).unwrap();
    let functions = names("functions");
    let shown = |metric: &str| {
        let name = |function| format!("\"${{StackName}}-{function}\"]");
        let mut series = functions.iter().map(name);
        let first = format!("[\"AWS/Lambda\", \"{metric}\", \"FunctionName\", {}", series.next().unwrap());
        series.fold(first, |line, one| line + ", [\"...\", " + &one)
    };
    let current: Vec<_> = text
        .lines()
        .map(|line| {
            let begins = |metric: &&str| line.trim_start().starts_with(&format!("[\"AWS/Lambda\", \"{metric}\", \"FunctionName\""));
            let Some(metric) = ["Errors", "Duration", "Throttles"].into_iter().find(begins) else {
                return line.to_owned();
            };
            let indent = &line[..line.len() - line.trim_start().len()];
            let end = &line[line.trim_end_matches([']', '}', ',']).len() + 1..];
            format!("{indent}{}{end}", shown(metric))
        })
        .collect();
    let current = current.join("\n") + "\n";
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    assert!(std::fs::read_to_string(&path).unwrap() == current, "{MONITORING} lacks a function: run with UPDATE=1");
    assert_eq!(current.matches(&format!("${{StackName}}-{}\"", functions.first().unwrap())).count(), 3);
}

/// A new AWS account runs ten functions at once. The document must state how many the workers may take.
#[test]
fn the_document_says_how_many_functions_may_run_at_once() {
    let workers: u64 = Project::read()
        .functions()
        .iter()
        .flat_map(|function| {
            function.events("SQS").into_iter().map(|(_, event)| event.clone()).collect::<Vec<_>>()
        })
        .filter_map(|event| event["ScalingConfig"]["MaximumConcurrency"].as_u64())
        .sum();
    let document = std::fs::read_to_string(format!("{ROOT}/docs/deploying.md")).unwrap();
    let (before, _) = document.split_once("\n## Deploying\n").unwrap();
    let says = format!("The workers of queues alone may take {workers} at once");
    assert!(before.contains(&says), "docs/deploying.md doesn't say before the deployment: {says}");
}

#[test]
fn a_function_that_is_left_out_is_noticed() {
    let mut project = Project::read();
    project.crates.insert("wallet-pass".to_owned());
    let complaints = every_function_is_deployed(&project);
    assert_eq!(
        complaints,
        [
            "functions/wallet-pass has no function in template.yaml",
            "functions/wallet-pass has no sample in events/"
        ]
    );
}

/// Edit that breaks a rule: the passage whose first occurrence is replaced, its replacement, and the expected
/// violation.
type Break = (&'static str, &'static str, &'static str);

const BREAKS: &[(&str, &str, &[Break])] = &[
    (
        "every_function_is_deployed",
        TEMPLATE,
        &[
            ("Binary: jobs", "Binary: job", "functions/jobs has no function"),
            ("CodeUri: functions/jobs", "CodeUri: functions/job", "JobsFunction's CodeUri"),
            ("rust-cargolambda", "makefile", "AccountFunction isn't built by"),
        ],
    ),
    (
        "every_function_is_bounded_and_published",
        TEMPLATE,
        &[
            ("    MemorySize: 512\n", "", "AccountFunction has no memory size"),
            ("    Timeout: 10\n", "", "AccountFunction has no time-out"),
            ("    AutoPublishAlias: live\n", "", "AccountFunction has no alias"),
            ("AllProperties: true", "AllProperties: false", "AccountFunction has no version"),
            ("    Tracing: Active\n", "", "AccountFunction has no tracing"),
            ("      LogGroup: !Ref FunctionLogs\n", "", "AccountFunction has no log group"),
            ("LogGroup: !Ref FunctionLogs", "LogGroup: !Ref Api", "AccountFunction has no end of its logs"),
        ],
    ),
    (
        "a_changed_variable_makes_a_version",
        TEMPLATE,
        &[
            ("!Sub ${RestoredTable} ${LogLevel}", "!Sub ${LogLevel}", "doesn't tell of RestoredTable"),
            (" ${WebhookNetworks}\n", "\n", "AccountFunction's version doesn't tell of WebhookNetworks"),
            ("- !GetAtt Identity.Outputs.Audience\n", "- pool\n", "tell of Identity.Outputs.Audience"),
            (" ${OidcJwksUri}\n", "\n", "AuthorizerFunction's version doesn't tell of OidcJwksUri"),
            (" ${PublicUrl}\n", " ${PublicUrl} ${Canary}\n", "tells of Canary, no variable of it"),
        ],
    ),
    (
        "every_function_has_alarms",
        TEMPLATE,
        &[
            ("-jobs\n      CodeUri", "-job\n      CodeUri", "JobsFunction isn't named after"),
            ("  JobsAlarms:", "  JobAlarms:", "JobsFunction has no alarms"),
            (
                "Function: !Ref JobsFunction",
                "Function: !Ref Api",
                "JobsFunction has alarms that look at another",
            ),
            ("!GetAtt JobsFunction.Version", "!GetAtt ApiFunction.Version", "look at another version"),
            ("- !GetAtt JobsAlarms.Outputs.CanaryTooSlow", "- JobsSlow", "JobsFunction doesn't go back"),
        ],
    ),
    (
        "every_function_has_alarms",
        MONITORING,
        &[("${StackName}-jobs\"", "${StackName}-job\"", "JobsFunction isn't on the dashboard")],
    ),
    (
        "every_function_has_alarms",
        ALARMS,
        &[
            ("MetricName: Throttles", "MetricName: Errors", "Throttles in infra/alarms.yaml"),
            (
                "Value: !Ref Version }\n      ExtendedStatistic",
                "Value: 1 }\n      ExtendedStatistic",
                "CanaryTooSlow in",
            ),
        ],
    ),
    (
        "every_alarm_leads_somewhere",
        MONITORING,
        &[
            ("docs/runbooks/viral-spike.md", "docs/runbooks/viral.md", "names no runbook"),
            ("      AlarmActions: [!Ref Pages]\n", "", "tells nobody"),
            ("TreatMissingData: notBreaching", "TreatMissingData: missing", "goes off when"),
        ],
    ),
    (
        "every_alarm_leads_somewhere",
        ALARMS,
        &[("AlarmActions: [!Ref Tickets]", "AlarmActions: []", "Errors tells nobody")],
    ),
    (
        "alarms_on_age_see_what_fails",
        MONITORING,
        &[
            ("Threshold: 420", "Threshold: 900", "MessagesWait waits for 1140 s"),
            ("EvaluationPeriods: 4", "EvaluationPeriods: 5", "MessagesWait waits for 720 s"),
            ("Threshold: 2700", "Threshold: 3600", "JobsWait waits for 4200 s"),
            (
                "Value: !Ref Messages }",
                "Value: !Ref Table }",
                "MessagesWait looks at Table, which is no queue",
            ),
            ("MetricName: IteratorAge", "Metrics: [ApproximateAgeOfOldestMessage]", "ProjectorBehind looks"),
        ],
    ),
    (
        "alarms_on_age_see_what_fails",
        STORAGE,
        &[("VisibilityTimeout: 360", "VisibilityTimeout: 300", "MessagesWait waits for 660 s")],
    ),
    (
        "alarms_watch_what_is_recorded",
        MONITORING,
        &[
            (
                "MetricName: SendingStopped",
                "MetricName: Stopped",
                "Stopped is watched, and recorded by nobody",
            ),
            (
                "      Namespace: Groundswell\n      MetricName: SendingStopped",
                "      Namespace: Other\n      MetricName: SendingStopped",
                "SendingStopped is watched by no alarm",
            ),
        ],
    ),
    (
        "rules_have_the_names_that_are_let_in",
        TEMPLATE,
        &[(
            "RuleName: !Sub ${AWS::StackName}-uploaded",
            "RuleName: !Sub ${AWS::StackName}-came",
            "the dead letters of -uploaded",
        )],
    ),
    (
        "services_are_let_in_for_one_thing",
        STORAGE,
        &[
            (
                "aws:SourceArn: ",
                "aws:PrincipalArn: ",
                "ImportDeadLettersPolicy lets a service in without aws:SourceArn",
            ),
            ("aws:SourceAccount: ", "aws:Account: ", "lets a service in without aws:SourceAccount"),
        ],
    ),
    (
        "permissions_follow_from_the_access_patterns",
        TEMPLATE,
        &[
            (
                "                  - dynamodb:ConditionCheckItem\n",
                "",
                "AccountRole doesn't allow ConditionCheckItem of the table",
            ),
            ("dynamodb:ConditionCheckItem", "dynamodb:Scan", "AccountRole allows Scan of the table"),
            ("index/GSI1", "index/GSI2", "AccountRole allows Query of GSI2"),
            ("      Role: !GetAtt JobsRole.Arn\n", "", "JobsFunction has no role of its own"),
            (
                "- sqs:ReceiveMessage\n                Resource: !GetAtt Storage.Outputs.CampaignTasksArn",
                "- sqs:ReceiveMessage\n                Resource: !GetAtt Storage.Outputs.JobsArn",
                "CampaignSchedulerRole takes messages out of",
            ),
        ],
    ),
    (
        "the_stream_brings_what_is_read",
        TEMPLATE,
        &[
            ("\"referral\",\"job\",", "\"referral\",", "ProjectorFunction never sees a job"),
            (
                "[\"click\",\"event\"]",
                "[\"click\",\"event\",\"tally\"]",
                "ProjectorFunction has no use for a tally",
            ),
        ],
    ),
    (
        "wildcards_have_reasons",
        TEMPLATE,
        &[
            ("/index/GSI1", "/index/*", "AccountRole has a wildcard without a reason: Indexes"),
            (
                "dynamodb:ConditionCheckItem",
                "dynamodb:*",
                "AccountRole has a wildcard without a reason: Table",
            ),
            ("Traces: X-Ray", "Logs: X-Ray", "TelemetryPolicy has a wildcard without a reason: Traces"),
            (
                "Traces: X-Ray",
                "Logs: X-Ray",
                "TelemetryPolicy has a reason for a wildcard that isn't there: Logs",
            ),
            (
                "- !Ref TelemetryPolicy",
                "- arn:aws:iam::aws:policy/AdministratorAccess",
                "AccountRole has a wildcard without a reason: ManagedPolicyArns",
            ),
            ("- Sid: Table\n                Effect", "- Effect", "a statement of AccountRole has no Sid"),
        ],
    ),
    (
        "wildcards_have_reasons",
        STORAGE,
        &[("AccountDecidesThroughIam: ", "AnotherSid: ", "Key has a wildcard without a reason: Account")],
    ),
    (
        "what_keeps_state_is_kept",
        STORAGE,
        &[
            (
                "DeletionProtectionEnabled: true",
                "DeletionProtectionEnabled: false",
                "Table.DeletionProtection",
            ),
            (
                "Table\n    DeletionPolicy: Retain",
                "Table\n    DeletionPolicy: Delete",
                "Table has no DeletionPolicy of Retain",
            ),
            (
                "Bucket\n    DeletionPolicy: Retain\n    UpdateReplacePolicy: Retain",
                "Bucket\n    DeletionPolicy: Retain",
                "Bucket has no UpdateReplacePolicy of Retain",
            ),
            ("RecoveryEnabled: true", "RecoveryEnabled: false", "PointInTimeRecoveryEnabled isn't true"),
            ("EnableKeyRotation: true", "EnableKeyRotation: false", "Key.EnableKeyRotation isn't true"),
        ],
    ),
    (
        "what_keeps_state_is_kept",
        IDENTITY,
        &[("Protection: ACTIVE", "Protection: INACTIVE", "Members.DeletionProtection isn't")],
    ),
    (
        "every_queue_has_dead_letters",
        STORAGE,
        &[
            ("Arn: !GetAtt JobsDeadLetters.Arn", "Arn: !GetAtt Jobs.Arn", "Jobs has no dead-letter queue"),
            ("Period: 1209600", "Period: 60", "MessagesDeadLetters doesn't keep"),
            ("SqsManagedSseEnabled: true", "DelaySeconds: 0", "Messages isn't encrypted"),
            ("VisibilityTimeout: 1800", "VisibilityTimeout: 300", "Jobs shows messages again"),
        ],
    ),
    (
        "every_queue_has_dead_letters",
        MONITORING,
        &[("Value: !Ref ProjectorDeadLetters }", "Value: x }", "ProjectorDeadLetters has no alarm")],
    ),
    (
        "who_goes_on_by_a_queue_is_let",
        TEMPLATE,
        &[
            ("      RecursiveLoop: Allow\n", "", "CampaignSchedulerFunction would be stopped"),
            (
                "CodeUri: functions/stamp\n",
                "CodeUri: functions/stamp\n      RecursiveLoop: Allow\n",
                "StampFunction needs no loop",
            ),
        ],
    ),
    (
        "every_source_gives_back_what_failed",
        TEMPLATE,
        &[
            (
                "            ScalingConfig:\n              MaximumConcurrency: 24\n",
                "",
                "MessageSenderFunction.CampaignMessages may take all",
            ),
            (
                "            FunctionResponseTypes:\n              - ReportBatchItemFailures\n",
                "",
                "ProjectorFunction.Changes gives no partial responses",
            ),
            (
                "            MaximumRetryAttempts: 1000\n",
                "",
                "ProjectorFunction.Changes has no end of its retries",
            ),
            (
                "            DeadLetterConfig:\n              Arn: !GetAtt Storage.Outputs.ImportDeadLettersArn\n",
                "",
                "CodeImportFunction.Uploaded loses",
            ),
            (
                "Destination: !GetAtt Storage.Outputs.ImportDeadLettersArn",
                "Destination: !GetAtt Storage.Outputs.JobsArn",
                "CodeImportFunction loses events",
            ),
        ],
    ),
    (
        "nested_stacks_fit",
        TEMPLATE,
        &[
            ("./infra/edge.yaml", "./infra/ledge.yaml", "Edge has no template"),
            ("        RequestsPerAddress: !Ref", "        Requests: !Ref", "Edge gets Requests"),
            ("        Stage: !Ref Api.Stage\n", "", "Edge doesn't get Stage"),
            ("Outputs.TicketsTopic", "Outputs.Nothing", "there is no Monitoring.Outputs.Nothing"),
            ("${Storage.Outputs.BucketArn}", "${Storage.Outputs.Arn}", "there is no Storage.Outputs.Arn"),
        ],
    ),
    (
        "every_environment_is_complete",
        SAMCONFIG,
        &[
            ("[prod.build.parameters]", "[prod.construct.parameters]", "prod has no parameters for build"),
            ("\"Canary=true\"", "\"Canaries=true\"", "staging sets Canaries, which is no parameter"),
            ("    \"MailFrom=waitlist@example.com\",\n", "", "prod doesn't set MailFrom"),
        ],
    ),
];

#[test]
fn every_rule_notices_what_breaks_it() {
    let whole = Project::read();
    for (name, rule) in RULES {
        let mut broken = 0;
        for (_, path, breaks) in BREAKS.iter().filter(|(rule, ..)| *rule == name) {
            for (from, to, complaint) in *breaks {
                let mut project = whole.clone();
                let text = project.texts.get_mut(*path).unwrap();
                assert!(text.contains(from), "{path} has no {from:?}");
                *text = text.replacen(from, to, 1);
                let complaints = rule(&project);
                assert!(complaints.iter().any(|found| found.contains(complaint)), "{to:?}: {complaints:#?}");
                broken += 1;
            }
        }
        assert!(broken > 0, "{name} is never broken");
    }
}

use super::*;

const TEMPLATE: &str = include_str!("../../../../template.yaml");
const STORAGE: &str = include_str!("../../../storage.yaml");

/// Value of one variable, which tests replace by others.
const AUDIENCE: &str = "!If [HasMemberPool, !GetAtt Identity.Outputs.Audience, !Ref OidcAudience]";

fn surroundings() -> Surroundings {
    let parameters = [("PublicUrl", "http://localhost:3000"), ("MailFrom", "hello@example.com")];
    let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Surroundings {
        parameters: parameters.into(),
        queue_base_url: "http://127.0.0.1:9324".to_owned(),
        table: "groundswell".to_owned(),
    }
}

fn declaration() -> Declaration {
    Declaration::embedded(&surroundings()).expect("the project's templates are honoured")
}

fn function(declaration: Declaration, id: &str) -> Function {
    let mut functions = declaration.functions.into_iter();
    functions.find(|function| function.logical_id == id).expect("the function is declared")
}

/// Reads the project's templates with the first occurrence of a passage replaced.
fn edited(from: &str, to: &str) -> Result<Declaration> {
    if TEMPLATE.contains(from) {
        return Declaration::read(&TEMPLATE.replacen(from, to, 1), STORAGE, &surroundings());
    }
    assert!(STORAGE.contains(from), "no template has {from}");
    Declaration::read(TEMPLATE, &STORAGE.replacen(from, to, 1), &surroundings())
}

#[test]
fn every_function_has_its_binary() {
    let declaration = declaration();
    let binaries: BTreeMap<_, _> =
        declaration.functions.iter().map(|function| (&*function.logical_id, &*function.binary)).collect();
    let expected = [
        ("AccountFunction", "account"),
        ("AnalyticsFunction", "analytics"),
        ("AuthorizerFunction", "authorizer"),
        ("CampaignFunction", "campaign"),
        ("CampaignSchedulerFunction", "campaign-scheduler"),
        ("CodeDistributionFunction", "code-distribution"),
        ("CodeImportFunction", "code-import"),
        ("FeatureVoteFunction", "feature-vote"),
        ("JobsFunction", "jobs"),
        ("MessageSenderFunction", "message-sender"),
        ("ProjectorFunction", "projector"),
        ("ReferralFunction", "referral"),
        ("StampFunction", "stamp"),
        ("SubscriberFunction", "subscriber"),
        ("WaitlistFunction", "waitlist"),
        ("WebhookSenderFunction", "webhook-sender"),
    ];
    assert_eq!(binaries, expected.into());
    assert_eq!(declaration.authorizer, "AuthorizerFunction");
    assert_eq!(declaration.bucket.name, "groundswell");
}

#[test]
fn routes_are_authorized_unless_they_say_otherwise() {
    let routes = function(declaration(), "SubscriberFunction").routes;
    let authorized = |path: &str, method: &str| {
        let mut routes = routes.iter().filter(|route| route.path == path && route.method == method);
        routes.next().map(|route| route.authorized)
    };
    assert_eq!(authorized("/api/v1/subscribers/{proxy+}", "ANY"), Some(true));
    assert_eq!(authorized("/api/v1/subscribers/{proxy+}", "OPTIONS"), Some(false));
    assert_eq!(authorized("/verify", "GET"), Some(false));
    assert_eq!(authorized("/verify", "ANY"), None);
}

#[test]
fn functions_have_the_globals_and_their_own() {
    let projector = function(declaration(), "ProjectorFunction");
    assert_eq!(projector.timeout, Duration::from_secs(60));
    let expected = [
        ("CAMPAIGN_MESSAGES_QUEUE_URL", "http://127.0.0.1:9324/000000000000/campaign-messages"),
        ("CAMPAIGN_TASKS_QUEUE_URL", "http://127.0.0.1:9324/000000000000/campaign-tasks"),
        ("ENVIRONMENT", "dev"),
        ("JOBS_QUEUE_URL", "http://127.0.0.1:9324/000000000000/jobs"),
        ("LOG_LEVEL", "info"),
        ("MESSAGES_QUEUE_URL", "http://127.0.0.1:9324/000000000000/messages"),
        ("PUBLIC_URL", "http://localhost:3000"),
        ("TABLE_NAME", "groundswell"),
        ("WEBHOOKS_QUEUE_URL", "http://127.0.0.1:9324/000000000000/webhooks"),
    ];
    assert_eq!(
        projector.environment,
        expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    );
    assert_eq!(function(declaration(), "AccountFunction").timeout, Duration::from_secs(10));
}

#[test]
fn sources_name_their_queues() {
    let [Source::Stream { batch_size: 100, filters, bisect: true, max_retries: 1000, dead_letters }] =
        &function(declaration(), "ProjectorFunction").sources[..]
    else {
        panic!("the projector reads the stream");
    };
    let image = json!({ "_type": { "S": "referral" } });
    let record = |name: &str| json!({ "eventName": name, "dynamodb": { "OldImage": image } });
    assert!(filters[2].matches(&record("REMOVE")));
    assert!(!filters[2].matches(&record("INSERT")));
    assert_eq!(dead_letters.as_deref(), Some("projector-dead-letters"));

    let queue = |queue: &str, batch_size, max_concurrency| Source::Queue {
        queue: queue.to_owned(),
        batch_size,
        report_failures: true,
        max_concurrency,
    };
    let sources = [queue("campaign-messages", 10, 24), queue("messages", 10, 10)];
    assert_eq!(function(declaration(), "MessageSenderFunction").sources, sources);
    let jobs = function(declaration(), "JobsFunction").sources;
    assert!(jobs.contains(&queue("jobs", 1, 10)));
}

#[test]
fn rules_have_patterns_and_their_events_a_queue() {
    assert_eq!(function(declaration(), "JobsFunction").event_queue().map(|queue| queue.name), None);
    let import = function(declaration(), "CodeImportFunction");
    let [Source::Rule { pattern }] = &import.sources[..] else { panic!("one rule") };
    let created = |bucket: &str, key: &str| {
        let detail = json!({ "bucket": { "name": bucket }, "object": { "key": key } });
        json!({ "source": "aws.s3", "detail-type": "Object Created", "detail": detail })
    };
    assert!(pattern.matches(&created("groundswell", "imports/x")));
    assert!(!pattern.matches(&created("groundswell", "exports/x")));
    assert!(!pattern.matches(&created("other", "imports/x")));
    assert_eq!(import.event_queue().map(|queue| queue.name).as_deref(), Some("CodeImportFunction.events"));
}

#[test]
fn schedules_have_an_interval_and_an_input() {
    let schedules = |declaration: Declaration| {
        let mut sources = function(declaration, "JobsFunction").sources;
        sources.retain(|source| matches!(source, Source::Schedule { .. }));
        sources
    };
    let (name, input) = ("ArchiveCodes".to_owned(), json!({ "schedule": "archive_codes" }));
    let interval = Duration::from_secs(24 * 60 * 60);
    assert_eq!(schedules(declaration()), [Source::Schedule { name, interval, input }]);
    let disabled = edited(
        "ScheduleExpression: rate(1 day)",
        "State: DISABLED\n            ScheduleExpression: rate(1 day)",
    );
    assert_eq!(schedules(disabled.expect("it is honoured")), []);
    let seconds = |expression| rate(expression).map(|interval| interval.as_secs());
    assert_eq!(seconds("rate(1 minute)"), Some(60));
    assert_eq!(seconds("rate(5 minutes)"), Some(300));
    assert_eq!(seconds("rate(1 day)"), Some(86_400));
    for expression in ["rate(0 hours)", "rate(1 week)", "rate(-1 days)", "rate(1)", "cron(0 * * * ? *)"] {
        assert_eq!(seconds(expression), None, "{expression}");
    }
}

#[test]
fn functions_say_what_becomes_of_events_that_fail() {
    let jobs = function(declaration(), "JobsFunction");
    assert_eq!(jobs.reserved_concurrency, None);
    let on_failure = Some("jobs-dead-letters".to_owned());
    assert_eq!(jobs.event_invoke_config, EventInvokeConfig { max_retries: 2, on_failure });
    let more = "ReservedConcurrentExecutions: 2\n      EventInvokeConfig:\n        MaximumRetryAttempts: 1";
    let less = "EventInvokeConfig:\n        MaximumEventAgeInSeconds: 21600\n        MaximumRetryAttempts: 2";
    let import = function(edited(less, more).expect("it is honoured"), "CodeImportFunction");
    assert_eq!(import.reserved_concurrency, Some(2));
    let on_failure = Some("import-dead-letters".to_owned());
    assert_eq!(import.event_invoke_config, EventInvokeConfig { max_retries: 1, on_failure });
}

#[test]
fn files_expire_by_their_prefix() {
    let expiration = |prefix: &str, days| Expiration {
        prefix: prefix.to_owned(),
        age: days * Duration::from_secs(86_400),
    };
    let declared = [expiration("exports/", 7), expiration("imports/", 1), expiration("reports/", 30)];
    assert_eq!(declaration().bucket.expirations, declared);
    let disabled = edited(
        "Status: Enabled\n            Prefix: imports/",
        "Status: Disabled\n            Prefix: imports/",
    );
    assert_eq!(disabled.expect("it is honoured").bucket.expirations.len(), 2);
}

#[test]
fn the_table_is_a_request() {
    let table = declaration().table;
    assert_eq!(table.name, "groundswell");
    assert_eq!(table.ttl_attribute.as_deref(), Some("expires_at"));
    let names = ["PK", "SK", "GSI1PK", "GSI1SK", "GSI2PK", "GSI2SK"];
    let attributes = names.map(|name| json!({ "AttributeName": name, "AttributeType": "S" }));
    let keys = |prefix: &str| {
        let key = |name, kind| json!({ "AttributeName": format!("{prefix}{name}"), "KeyType": kind });
        json!([key("PK", "HASH"), key("SK", "RANGE")])
    };
    let indexes = ["GSI1", "GSI2"].map(|name| {
        let projection = json!({ "ProjectionType": "ALL" });
        json!({ "IndexName": name, "KeySchema": keys(name), "Projection": projection })
    });
    let expected = json!({
        "TableName": "groundswell",
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": attributes,
        "KeySchema": keys(""),
        "GlobalSecondaryIndexes": indexes,
        "StreamSpecification": { "StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES" },
    });
    assert_eq!(table.json, expected);
}

#[test]
fn queues_have_their_dead_letters() {
    let queues = declaration().queues;
    assert_eq!(queues.len(), 13);
    let queue = |name: &str| queues.iter().find(|queue| queue.name == name).expect("the queue is declared");
    let messages = queue("messages");
    assert_eq!(messages.visibility_timeout, Duration::from_secs(360));
    let dead_letter = messages.dead_letter.as_ref().expect("it has a dead-letter queue");
    assert_eq!((&*dead_letter.queue, dead_letter.max_receive_count), ("messages-dead-letters", 5));
    let dead_letters = queue("messages-dead-letters");
    assert_eq!(dead_letters.retention, Duration::from_secs(14 * 24 * 60 * 60));
    assert_eq!(dead_letters.visibility_timeout, Duration::from_secs(30));
    assert!(dead_letters.dead_letter.is_none());
}

#[test]
fn gateway_responses_are_unquoted() {
    let responses = declaration().gateway_responses;
    let denied = &responses["ACCESS_DENIED"];
    assert_eq!(denied.status, Some(401));
    assert!(denied.headers.contains(&("WWW-Authenticate".to_owned(), "Bearer".to_owned())));
    assert!(denied.template.contains("$context.authorizer.problem_type"));
    assert_eq!(responses["DEFAULT_4XX"].status, None);
}

#[test]
fn intrinsic_functions_have_every_form() {
    for (form, expected) in [
        ("!Sub a-${Environment}.${Storage.Outputs.BucketArn}-${!b}", "a-dev.arn:aws:s3:::groundswell-${b}"),
        ("!GetAtt [Storage, Outputs.JobsArn]", "arn:aws:sqs:us-east-1:000000000000:jobs"),
        ("{ Ref: AWS::Region }", "us-east-1"),
        (
            "{ 'Fn::GetAtt': [AuthorizerFunction, Arn] }",
            "arn:aws:lambda:us-east-1:000000000000:function:AuthorizerFunction",
        ),
        ("{ 'Fn::Sub': '${ThrottlingRate}' }", "10000"),
        ("!If [HasMemberPool, !Ref Nothing, !Ref Environment]", "dev"),
        ("{ 'Fn::If': [HasMemberPool, '', some] }", "some"),
    ] {
        let declaration = edited(AUDIENCE, form).expect(form);
        assert_eq!(function(declaration, "AuthorizerFunction").environment["OIDC_AUDIENCE"], expected);
    }
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    let auth = "Method: ANY, Auth: { ApiKeyRequired: true } }";
    let again = "Again:
          Type: DynamoDB
          Properties:
            Stream: !GetAtt Storage.Outputs.TableStreamArn
            StartingPosition: TRIM_HORIZON
            FunctionResponseTypes: [ReportBatchItemFailures]
            MaximumRetryAttempts: 1
            DestinationConfig: { OnFailure: { Type: SQS, Destination: !GetAtt Storage.Outputs.ProjectorDeadLettersArn } }
        Changes:";
    for (from, to, refused) in [
        ("Resources:\n", "Mappings: {}\nResources:\n", "Mappings"),
        ("AWS::KMS::Key", "AWS::SNS::Topic", "Resources.Key has type AWS::SNS::Topic"),
        ("AWS::S3::BucketPolicy", "AWS::S3::Bucket", "BucketPolicy is a second AWS::S3::Bucket"),
        ("./infra/storage.yaml", "./other.yaml", "Storage.Properties.TemplateURL is \"./other.yaml\""),
        ("StageName:", "Cors:", "Api.Properties.Cors"),
        ("\"'Bearer'\"", "method.request.header.a", "ACCESS_DENIED.ResponseParameters.Headers.WWW-Auth"),
        ("CodeUri:", "ImageUri:", "AccountFunction.Properties.ImageUri"),
        ("Type: Api\n", "Type: Schedule\n", "Properties.Events.Account has type Schedule"),
        ("Method: ANY }", auth, "Events.Account.Properties.Auth asks for something other"),
        ("Parallelization", "Tumbling", "Events.Changes.Properties.TumblingFactor"),
        ("ionFactor: 1", "ionFactor: 2", "Events.Changes.Properties.ParallelizationFactor is 2"),
        ("Changes:", again, "AWS::Serverless::Function has a second reader of the stream"),
        ("Outputs.TableStreamArn", "Outputs.TableArn", "Events.Changes.Properties.Stream is"),
        ("Outputs.ProjectorDeadLettersArn", "Outputs.TableArn", "OnFailure.Destination is arn:"),
        ("MaximumEventAgeInSeconds: 21600", "Qualifier: live", "EventInvokeConfig.Qualifier"),
        (
            "Type: SQS\n            Destination: !GetAtt Storage.Outputs.Import",
            "Destination: !GetAtt Storage.Outputs.Import",
            "OnFailure.Type is null",
        ),
        ("CodeUri:", "ReservedConcurrentExecutions: 1\n      CodeUri:", "Properties.ReservedConcurrentExec"),
        ("Prefix: exports/", "Filter: {}", "Rules.0.Prefix is missing"),
        (
            "Prefix: exports/",
            "Prefix: exports/\n            Filter: {}",
            "LifecycleConfiguration.Rules.0.Filter",
        ),
        ("ExpirationInDays: 7", "Transitions: []", "LifecycleConfiguration.Rules.0.Transitions"),
        ("Status: Enabled", "Status: On", "LifecycleConfiguration.Rules.0.Status is On"),
        (
            "EventBridgeEnabled: true",
            "EventBridgeEnabled: false",
            "Bucket.Properties.NotificationConfiguration",
        ),
        ("VisibilityTimeout: 360", "FifoQueue: true", "Messages.Properties.FifoQueue"),
        ("PAY_PER_REQUEST", "PROVISIONED", "Table.Properties.BillingMode is \"PROVISIONED\""),
        ("Default: info", "Default: loud", "Parameters.LogLevel is loud"),
        ("    Default: info\n", "", "Parameters.LogLevel has no value"),
        (AUDIENCE, "!Ref Oidc", "Environment.Variables.OIDC_AUDIENCE refers to Oidc,"),
        (AUDIENCE, "!GetAtt Storage.Outputs.No", "OIDC_AUDIENCE refers to Storage.Outputs.No,"),
        (AUDIENCE, "!Join ['', [a]]", "OIDC_AUDIENCE uses a !Join"),
        (AUDIENCE, "!If [HasDomain, a, b]", "OIDC_AUDIENCE asks for the condition HasDomain, which"),
        (AUDIENCE, "!If [HasMemberPool, a]", "OIDC_AUDIENCE uses an !If that isn't"),
        (
            "[!Ref MemberPool, ",
            "[!Ref Firewall, !Ref Nothing, ",
            "Conditions.HasMemberPool refers to Nothing",
        ),
        ("./infra/edge.yaml", "./edge.yaml", "Resources.Edge has type AWS::CloudFormation::Stack"),
        ("Type: AWS::Logs::LogGroup", "Type: AWS::Logs::LogGroup\n    Condition: No", "AccessLogs.Condition"),
    ] {
        let error = edited(from, to).expect_err(to).to_string();
        assert!(error.contains(refused), "{to}: {error}");
    }

    let rule = "Pattern:\n              source:";
    let schedule = "FlexibleTimeWindow:\n              Mode: \"OFF\"";
    for (from, to, refused) in [
        (
            rule,
            "EventBusName: other\n            Pattern:\n              source:",
            "Uploaded.Properties.EventBusName",
        ),
        (rule, "Paragon:\n              source:", "Uploaded.Properties.Pattern is missing"),
        ("prefix: imports/", "wildcard: i*", "Properties.Pattern.detail.object.key wants {\"wildcard\""),
        (
            "Arn: !GetAtt Storage.Outputs.Import",
            "Arn: !GetAtt Storage.Outputs.Table",
            "DeadLetterConfig.Arn refers to",
        ),
        ("rate(1 day)", "cron(0 * * * ? *)", "ScheduleExpression is cron(0 * * * ? *)"),
        ("rate(1 day)", "at(2026-01-01T00:00:00)", "ScheduleExpression is at(2026-01"),
        (
            schedule,
            "FlexibleTimeWindow:\n              Mode: FLEXIBLE",
            "Due.Properties.FlexibleTimeWindow is",
        ),
        (schedule, "Timezone: Europe/Paris", "Due.Properties.Timezone"),
        (schedule, "State: on", "Due.Properties.State is on"),
        ("Input: '{", "Input: '", "Due.Properties.Input isn't JSON"),
        ("Input:", "Name2:", "Due.Properties.Input is missing"),
    ] {
        let error = edited(from, to).expect_err(to).to_string();
        assert!(error.contains(refused), "{to}: {error}");
    }

    let error = edited("AWS::Logs::LogGroup", "AWS::SNS::Topic").expect_err("it isn't played").to_string();
    let expected = "Resources.AccessLogs has type AWS::SNS::Topic, which the local platform can't honour";
    assert_eq!(error, format!("template.yaml: {expected}"));
    let error = edited("SqsManagedSseEnabled", "FifoQueue").expect_err("it isn't played").to_string();
    let expected = "Resources.Messages.Properties.FifoQueue can't be honoured by the local platform";
    assert_eq!(error, format!("infra/storage.yaml: {expected}"));
}

#[test]
fn parameters_are_asked_for_where_they_matter() {
    let mut surroundings = surroundings();
    surroundings.parameters.remove("PublicUrl");
    let error = Declaration::embedded(&surroundings).expect_err("functions need it").to_string();
    assert!(error.starts_with("template.yaml: Parameters.PublicUrl has no value"), "{error}");

    surroundings.parameters.insert("PubilcUrl".to_owned(), "http://localhost:3000".to_owned());
    let error = Declaration::embedded(&surroundings).expect_err("none is called that").to_string();
    assert_eq!(error, "template.yaml: Parameters.PubilcUrl is set, but not declared");
}

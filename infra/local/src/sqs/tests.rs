use axum::body::{Body, to_bytes};
use axum::http::Request;
use tempfile::TempDir;
use tower::ServiceExt as _;

use super::*;

const VISIBILITY: Duration = Duration::from_millis(200);
/// Longer than any test takes, so that a receive that is not woken fails by its elapsed time.
const LONG: Duration = Duration::from_secs(20);
const URL: &str = "http://localhost:4100/000000000000/mail";

fn open(directory: &TempDir) -> Sqs {
    let hour = Duration::from_secs(3600);
    let queue = |name: &str, visibility_timeout, retention| QueueDeclaration {
        name: name.to_owned(),
        visibility_timeout,
        delay: Duration::ZERO,
        retention,
        dead_letter: None,
    };
    let dead_letter = Some(DeadLetter { queue: "mail-dead".to_owned(), max_receive_count: 2 });
    let queues = vec![
        QueueDeclaration { dead_letter, ..queue("mail", VISIBILITY, hour) },
        queue("mail-dead", hour, hour),
        queue("brief", VISIBILITY, VISIBILITY),
    ];
    Sqs::open(&directory.path().join("sqs.db"), "http://127.0.0.1:4100/", queues).unwrap()
}

async fn call(sqs: &Sqs, operation: &str, request: Value) -> Value {
    sqs.dispatch(operation, request.to_string().as_bytes()).await.unwrap()
}

async fn send(sqs: &Sqs, body: &str) {
    call(sqs, "SendMessage", json!({ "QueueUrl": URL, "MessageBody": body })).await;
}

async fn receive_one(sqs: &Sqs, queue: &str) -> Received {
    let started = Instant::now();
    let mut messages = sqs.receive(queue, 10, LONG).await.unwrap();
    assert!(started.elapsed() < LONG / 2, "the receive was woken");
    assert_eq!(messages.len(), 1);
    messages.remove(0)
}

/// Calls an operation over HTTP. Returns the status, the query error header and the body.
async fn post(sqs: &Sqs, operation: &str, request: Value) -> (StatusCode, String, Value) {
    let request = Request::post("/")
        .header("x-amz-target", format!("AmazonSQS.{operation}"))
        .header("content-type", "application/x-amz-json-1.0")
        .body(Body::from(request.to_string()))
        .unwrap();
    let response = sqs.router().oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/x-amz-json-1.0");
    let status = response.status();
    let error = response.headers().get("x-amzn-query-error");
    let error = error.map_or("", |value| value.to_str().unwrap()).to_owned();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, error, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn an_unacknowledged_message_is_redelivered_and_its_old_handle_is_stale() {
    let directory = TempDir::new().unwrap();
    let sqs = open(&directory);
    send(&sqs, "hello").await;
    let first = receive_one(&sqs, "mail").await;
    assert!(sqs.receive("mail", 10, Duration::ZERO).await.unwrap().is_empty());

    let second = receive_one(&sqs, "mail").await;
    assert_eq!(second.message_id, first.message_id);
    assert_eq!(second.attributes["ApproximateReceiveCount"], "2");
    let first_receive = "ApproximateFirstReceiveTimestamp";
    assert_eq!(second.attributes[first_receive], first.attributes[first_receive]);

    for handle in [&first.receipt_handle, "nonsense"] {
        let stale = sqs.delete("mail", handle);
        assert!(matches!(stale, Err(SqsError::ReceiptHandleIsInvalid(_))), "{handle}");
    }
    sqs.delete("mail", &second.receipt_handle).unwrap();
    sqs.delete("mail", &second.receipt_handle).unwrap();
    assert_eq!(sqs.depth("mail").unwrap(), Depth { visible: 0, in_flight: 0, delayed: 0 });
}

#[tokio::test]
async fn a_group_that_keeps_its_receivers_busy_does_not_hold_up_another() {
    let directory = TempDir::new().unwrap();
    let sqs = open(&directory);
    let send = async |body: &str, group: &str| {
        let request = json!({ "QueueUrl": URL, "MessageBody": body, "MessageGroupId": group });
        call(&sqs, "SendMessage", request).await;
    };
    for number in 0..20 {
        send(&format!("noisy {number}"), "noisy").await;
    }
    let busy = sqs.receive("mail", 5, Duration::ZERO).await.unwrap();
    assert_eq!(busy[0].attributes["MessageGroupId"], "noisy");
    for number in 0..3 {
        send(&format!("quiet {number}"), "quiet").await;
    }
    let next = sqs.receive("mail", 4, Duration::ZERO).await.unwrap();
    let mut bodies: Vec<_> = next.iter().map(|message| message.body.as_str()).collect();
    bodies.sort_unstable();
    assert_eq!(bodies, ["noisy 5", "quiet 0", "quiet 1", "quiet 2"]);
    let (status, error, _) =
        post(&sqs, "SendMessage", json!({ "QueueUrl": URL, "MessageBody": "x", "MessageGroupId": "" })).await;
    assert_eq!((status, error.as_str()), (StatusCode::BAD_REQUEST, "InvalidParameterValue;Sender"));
}

#[test]
fn queues_of_before_messages_had_groups_go_on() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("sqs.db");
    let before = SCHEMA
        .replace("dead_letter_source text,", "dead_letter_source text")
        .replace("message_group text", "");
    Connection::open(&path).unwrap().execute_batch(&before).unwrap();
    open(&directory).send("mail", "hello").unwrap();
}

#[tokio::test]
async fn changed_visibility_wakes_a_waiting_receive() {
    let directory = TempDir::new().unwrap();
    let sqs = open(&directory);
    send(&sqs, "hello").await;
    let hour = json!({ "QueueUrl": URL, "VisibilityTimeout": 3600 });
    let message = call(&sqs, "ReceiveMessage", hour).await;
    let handle = message["Messages"][0]["ReceiptHandle"].as_str().unwrap();
    assert_eq!(sqs.depth("mail").unwrap(), Depth { visible: 0, in_flight: 1, delayed: 0 });
    let give_back = async { sqs.change_visibility("mail", handle, VISIBILITY).unwrap() };
    let (again, ()) = tokio::join!(receive_one(&sqs, "mail"), give_back);
    assert_eq!(again.body, "hello");
}

#[tokio::test]
async fn a_message_received_too_often_is_dead_lettered_and_can_be_redriven() {
    let directory = TempDir::new().unwrap();
    let sqs = open(&directory);
    send(&sqs, "poison").await;
    for _ in 0..2 {
        receive_one(&sqs, "mail").await;
    }
    let wait = 2 * VISIBILITY;
    let (dead, delivered) = tokio::join!(receive_one(&sqs, "mail-dead"), sqs.receive("mail", 10, wait));
    assert!(delivered.unwrap().is_empty());
    assert_eq!(dead.attributes["DeadLetterQueueSourceArn"], arn("mail"));
    sqs.change_visibility("mail-dead", &dead.receipt_handle, Duration::ZERO).unwrap();

    call(&sqs, "StartMessageMoveTask", json!({ "SourceArn": arn("mail-dead") })).await;
    let redriven = receive_one(&sqs, "mail").await;
    assert_eq!(redriven.body, "poison");
    assert_eq!(redriven.attributes["ApproximateReceiveCount"], "1");
    assert_ne!(redriven.message_id, dead.message_id);
}

#[tokio::test]
async fn a_long_poll_is_woken_by_a_message_and_by_the_end_of_a_delay() {
    let directory = TempDir::new().unwrap();
    let sqs = open(&directory);
    let (message, ()) = tokio::join!(receive_one(&sqs, "mail"), send(&sqs, "hello"));
    sqs.delete("mail", &message.receipt_handle).unwrap();
    let delayed = json!({ "QueueUrl": URL, "MessageBody": "later", "DelaySeconds": 1 });
    call(&sqs, "SendMessage", delayed).await;
    assert_eq!(sqs.depth("mail").unwrap(), Depth { visible: 0, in_flight: 0, delayed: 1 });
    assert_eq!(receive_one(&sqs, "mail").await.body, "later");
}

#[tokio::test]
async fn a_message_is_not_kept_longer_than_its_queue_retains_it() {
    let directory = TempDir::new().unwrap();
    let sqs = open(&directory);
    let url = sqs.url("brief");
    assert_eq!(url, "http://127.0.0.1:4100/000000000000/brief");
    call(&sqs, "SendMessage", json!({ "QueueUrl": url, "MessageBody": "hello" })).await;
    receive_one(&sqs, "brief").await;
    assert!(sqs.receive("brief", 10, 2 * VISIBILITY).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_was_in_flight_when_the_process_died_is_there_at_once() {
    let directory = TempDir::new().unwrap();
    let sqs = open(&directory);
    send(&sqs, "in flight").await;
    drop(sqs);
    let day = json!({ "QueueUrl": URL, "VisibilityTimeout": 43_200 });
    // More receives than `maxReceiveCount` allows.
    for _ in 0..3 {
        let sqs = open(&directory);
        let received = &call(&sqs, "ReceiveMessage", day.clone()).await["Messages"][0];
        assert_eq!(received["Body"], "in flight");
    }
    let sqs = open(&directory);
    let message = receive_one(&sqs, "mail").await;
    assert_eq!((&*message.body, message.receive_count()), ("in flight", 1));

    sqs.give_back("mail", &message.receipt_handle, LONG).unwrap();
    drop(sqs);
    let sqs = open(&directory);
    assert_eq!(sqs.depth("mail").unwrap(), Depth { visible: 0, in_flight: 0, delayed: 1 });
    let stale = sqs.delete("mail", &message.receipt_handle);
    assert!(matches!(stale, Err(SqsError::ReceiptHandleIsInvalid(_))));
}

#[tokio::test]
async fn a_receive_that_came_to_nothing_counts() {
    let directory = TempDir::new().unwrap();
    let sqs = open(&directory);
    send(&sqs, "hello").await;
    let first = receive_one(&sqs, "mail").await;
    sqs.give_back("mail", &first.receipt_handle, Duration::ZERO).unwrap();
    drop(sqs);
    let sqs = open(&directory);
    assert_eq!(receive_one(&sqs, "mail").await.receive_count(), 2);
}

#[tokio::test]
async fn a_batch_reports_the_entries_that_failed() {
    let directory = TempDir::new().unwrap();
    let sqs = open(&directory);
    let entries = json!([
        { "Id": "good", "MessageBody": "hello" },
        { "Id": "empty", "MessageBody": "" },
        { "Id": "late", "MessageBody": "hello", "DelaySeconds": 901 },
    ]);
    let request = json!({ "QueueUrl": URL, "Entries": entries });
    let (status, _, body) = post(&sqs, "SendMessageBatch", request).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["Successful"].as_array().unwrap().len(), 1);
    assert_eq!(body["Successful"][0]["Id"], "good");
    assert_eq!(body["Successful"][0]["MD5OfMessageBody"], "5d41402abc4b2a76b9719d911017c592");
    assert_eq!(body["Failed"][0]["Code"], "MissingParameter");
    assert_eq!(body["Failed"][1]["Code"], "InvalidParameterValue");
    assert_eq!(sqs.depth("mail").unwrap().visible, 1);

    let twice = json!([{ "Id": "a", "ReceiptHandle": "x.y" }, { "Id": "a", "ReceiptHandle": "x.y" }]);
    let request = json!({ "QueueUrl": URL, "Entries": twice });
    let (_, error, _) = post(&sqs, "DeleteMessageBatch", request).await;
    assert_eq!(error, "AWS.SimpleQueueService.BatchEntryIdsNotDistinct;Sender");
}

#[tokio::test]
async fn errors_have_the_shape_that_the_sdks_expect() {
    let directory = TempDir::new().unwrap();
    let sqs = open(&directory);
    let (status, error, body) = post(&sqs, "GetQueueUrl", json!({ "QueueName": "nope" })).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(error, "AWS.SimpleQueueService.NonExistentQueue;Sender");
    assert_eq!(body["__type"], "com.amazonaws.sqs#QueueDoesNotExist");

    let (status, _, body) = post(&sqs, "CreateQueue", json!({})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(body["__type"], "com.amazonaws.sqs#UnsupportedOperation");
    assert!(body["message"].as_str().unwrap().contains("CreateQueue"));
}

#[tokio::test]
async fn message_attributes_are_digested_filtered_and_handed_to_lambda() {
    let directory = TempDir::new().unwrap();
    let sqs = open(&directory);
    let attributes = json!({
        "timestamp": { "DataType": "Number", "StringValue": "1493147359900" },
        "trace.id": { "DataType": "Binary", "BinaryValue": "AAEC" },
    });
    let message = json!({ "QueueUrl": URL, "MessageBody": "hello", "MessageAttributes": attributes });
    call(&sqs, "SendMessage", message).await;
    let request = json!({
        "QueueUrl": URL,
        "MessageAttributeNames": ["timestamp"],
        "AttributeNames": ["ApproximateReceiveCount"],
        "VisibilityTimeout": 0,
    });
    let message = call(&sqs, "ReceiveMessage", request).await["Messages"][0].take();
    // Digest that SQS returns for this attribute alone.
    assert_eq!(message["MD5OfMessageAttributes"], "235c5c510d26fb653d073faed50ae77c");
    assert_eq!(message["MessageAttributes"].as_object().unwrap().len(), 1);
    assert_eq!(message["Attributes"], json!({ "ApproximateReceiveCount": "1" }));

    let record = receive_one(&sqs, "mail").await.into_lambda_record(&arn("mail"));
    assert_eq!(record["messageAttributes"]["trace.id"]["binaryValue"], "AAEC");
    assert_eq!(record["messageAttributes"]["timestamp"]["stringValue"], "1493147359900");
    assert_eq!(record["attributes"]["ApproximateReceiveCount"], "2");
    assert_eq!(record["eventSourceARN"], "arn:aws:sqs:us-east-1:000000000000:mail");
}

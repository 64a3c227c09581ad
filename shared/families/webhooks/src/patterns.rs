//! Access patterns of webhook endpoints and deliveries.

use table::keys::GSI2;

table::patterns! {
    WEBHOOK_ENDPOINTS "webhook.endpoints" "account, projector" [Query] None, "`ACCT#account` / `ENDPOINT#…`", "Which webhook endpoints does the account have?";
    WEBHOOK_ENDPOINT "webhook.endpoint" "account, message-sender" [Get] None, "`ACCT#account` / `ENDPOINT#endpoint`", "One endpoint";
    WEBHOOK_FENCE "webhook.fence" "account" [Get] None, "`ACCT#account` / `ENDPOINTS`", "Has an endpoint been added meanwhile?";
    WEBHOOK_ENDPOINT_WRITE "webhook.write" "account" [Put Delete] None, "`ACCT#account` / `ENDPOINT#endpoint`, `ENDPOINTS`; `ENDPOINT#endpoint` / `FAILING`; `AUDIT#account`; `IDEM#…`", "Add, change or remove an endpoint";
    DELIVERIES "delivery.list" "account" [Query] None, "`DELIVERIES#endpoint#shard` / `dlv_…`, 4 shards merged, newest first", "Which messages were sent to the endpoint?";
    DELIVERY "delivery.read" "account" [Get] None, "`DELIVERIES#endpoint#shard` / `dlv_…`", "One delivery";
    DELIVERY_ASK "delivery.ask" "account" [Put] None, "`DELIVERIES#endpoint#shard` / `dlv_…`; `JOB#job`; `AUDIT#account`; `IDEM#…`", "Request a test of an endpoint, or the replay of a delivery";
    DELIVERY_TARGET "delivery.target" "webhook-sender" [BatchGet] None, "`ACCT#account` / `ENDPOINT#endpoint`; `ENDPOINT#endpoint` / `FAILING`, `SLOW`; `DELIVERIES#endpoint#shard` / `dlv_…`", "Read everything that an attempt at a delivery depends on, in one call";
    DELIVERY_NOTE "delivery.note" "webhook-sender" [Put Delete] None, "`DELIVERIES#endpoint#shard` / `dlv_…`; `ENDPOINT#endpoint` / `FAILING`; `ACCT#account` / `ENDPOINT#endpoint`; `JOB#job`; `AUDIT#account`", "Record the outcome of an attempt, and disable an endpoint that keeps failing";
    ENDPOINT_SLOW "webhook.slow" "webhook-sender" [Put Delete] None, "`ENDPOINT#endpoint` / `SLOW`", "Record that an endpoint is slow to answer, or is no longer slow";
    DELIVERIES_DUE "delivery.due" "webhook-sender" [Query] Some(GSI2), "`DELIVERDUE#shard` / time", "Which deliveries are due to be attempted again?";
    DELIVERY_QUEUED "delivery.queued" "webhook-sender" [Put Delete] None, "`DELIVERIES#endpoint#shard` / `dlv_…`", "Record that a delivery is queued again, or delete a delivery to a deleted endpoint";
}

//! What is asked of the table.

use table::keys::GSI2;

table::patterns! {
    WEBHOOK_ENDPOINTS "webhook.endpoints" "account, projector" [Query] None, "`ACCT#account` / `ENDPOINT#…`", "Who is told of the account's events?";
    WEBHOOK_ENDPOINT "webhook.endpoint" "account, message-sender" [Get] None, "`ACCT#account` / `ENDPOINT#endpoint`", "One endpoint";
    WEBHOOK_FENCE "webhook.fence" "account" [Get] None, "`ACCT#account` / `ENDPOINTS`", "Which endpoint was added last?";
    WEBHOOK_ENDPOINT_WRITE "webhook.write" "account" [Put Delete] None, "`ACCT#account` / `ENDPOINT#endpoint`, `ENDPOINTS`; `ENDPOINT#endpoint` / `FAILING`; `AUDIT#account`; `IDEM#…`", "Add, change or remove an endpoint";
    DELIVERIES "delivery.list" "account" [Query] None, "`DELIVERIES#endpoint#shard` / `dlv_…`, 4 shards merged, newest first", "What was the endpoint told?";
    DELIVERY "delivery.read" "account" [Get] None, "`DELIVERIES#endpoint#shard` / `dlv_…`", "One delivery";
    DELIVERY_ASK "delivery.ask" "account" [Put] None, "`DELIVERIES#endpoint#shard` / `dlv_…`; `JOB#job`; `AUDIT#account`; `IDEM#…`", "Have a delivery made by hand";
    DELIVERY_TARGET "delivery.target" "webhook-sender" [BatchGet] None, "`ACCT#account` / `ENDPOINT#endpoint`; `ENDPOINT#endpoint` / `FAILING`, `SLOW`; `DELIVERIES#endpoint#shard` / `dlv_…`", "Is it wanted still, where does it go, and was it made before?";
    DELIVERY_NOTE "delivery.note" "webhook-sender" [Put Delete] None, "`DELIVERIES#endpoint#shard` / `dlv_…`; `ENDPOINT#endpoint` / `FAILING`; `ACCT#account` / `ENDPOINT#endpoint`; `JOB#job`; `AUDIT#account`", "Note what came of an attempt, and disable an endpoint that takes nothing";
    ENDPOINT_SLOW "webhook.slow" "webhook-sender" [Put Delete] None, "`ENDPOINT#endpoint` / `SLOW`", "Note that an endpoint is slow to answer, or is no more";
    DELIVERIES_DUE "delivery.due" "webhook-sender" [Query] Some(GSI2), "`DELIVERDUE#shard` / time", "Which deliveries have to be tried again?";
    DELIVERY_QUEUED "delivery.queued" "webhook-sender" [Put Delete] None, "`DELIVERIES#endpoint#shard` / `dlv_…`", "Note that a delivery is on its way again, or forget one to an endpoint that was deleted";
}

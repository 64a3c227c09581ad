//! Kinds of events of a campaign.

domain::event_kinds! {
    MESSAGE_QUEUED "message.queued" count "campaign_id" Customer "send_id" [] "A message of the campaign to a customer was created.";
    MESSAGE_REOPENED "message.reopened" count "campaign_id" Customer "send_id" [] "A message was reopened after a failed send or a late callback.";
    MESSAGE_REFUSED "message.refused" count "campaign_id" Customer "send_id" [] "A message was not sent; its `reason` says why.";
    MESSAGE_SENT "message.sent" count "campaign_id" Customer "send_id" [] "The provider accepted a message.";
    MESSAGE_FAILED "message.failed" count "campaign_id" Customer "send_id" [] "The provider could not deliver a message.";
    MESSAGE_DELIVERED "message.delivered" count "campaign_id" Customer "send_id" [] "A message was delivered.";
    MESSAGE_READ "message.read" count "campaign_id" Customer "send_id" [] "A message was read.";
    MESSAGE_REDEEMED "message.redeemed" count "campaign_id" Nobody "send_id" [] "A code that was sent in a message was redeemed.";
}

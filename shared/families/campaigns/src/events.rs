//! What happens in a campaign.

domain::event_kinds! {
    MESSAGE_QUEUED "message.queued" count "campaign_id" Customer "send_id" [] "A customer belongs to a campaign's audience.";
    MESSAGE_REOPENED "message.reopened" count "campaign_id" Customer "send_id" [] "A message that counted as dealt with is to be dealt with again.";
    MESSAGE_REFUSED "message.refused" count "campaign_id" Customer "send_id" [] "A message is not sent, for a reason that it names.";
    MESSAGE_SENT "message.sent" count "campaign_id" Customer "send_id" [] "A message was handed to the provider.";
    MESSAGE_FAILED "message.failed" count "campaign_id" Customer "send_id" [] "The provider could not deliver a message.";
    MESSAGE_DELIVERED "message.delivered" count "campaign_id" Customer "send_id" [] "A message was delivered.";
    MESSAGE_READ "message.read" count "campaign_id" Customer "send_id" [] "A message was read.";
    MESSAGE_REDEEMED "message.redeemed" count "campaign_id" Nobody "send_id" [] "The code that a message told was redeemed.";
}

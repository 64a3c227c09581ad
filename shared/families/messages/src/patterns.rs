//! Access patterns of mails and senders.

use table::keys::GSI2;

table::patterns! {
    SENDER_STOPPED "rate.stopped" "campaign-scheduler" [Get] None, "`RATE#sender#ses-account#all` / META", "Until when is sending through SES stopped?";
    MESSAGE "message.state" "message-sender" [BatchGet] None, "`MSG#message` / `META`; `RATE#sender#ses-account#all` / META", "Was this mail sent, does a worker hold its lease, and is sending through SES stopped?";
    MESSAGE_NOTE "message.note" "campaign-scheduler, message-sender" [Put] None, "`MSG#message` / `META`", "Lease a mail for sending, defer it, or record its outcome";
    MESSAGES_DUE "message.due" "campaign-scheduler" [Query] Some(GSI2), "`MAILDUE#shard` / time", "Which mails are due to be queued again?";
}

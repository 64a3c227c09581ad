//! What is asked of the table.

use table::keys::GSI2;

table::patterns! {
    SENDER_STOPPED "rate.stopped" "campaign-scheduler" [Get] None, "`RATE#sender#ses-account#all` / META", "Until when does SES take no mail?";
    MESSAGE "message.state" "message-sender" [BatchGet] None, "`MSG#message` / `META`; `RATE#sender#ses-account#all` / META", "Was this mail sent, does somebody hold it, and does SES take any?";
    MESSAGE_NOTE "message.note" "campaign-scheduler, message-sender" [Put] None, "`MSG#message` / `META`", "Take a mail for sending, put it off, or note what became of it";
    MESSAGES_DUE "message.due" "campaign-scheduler" [Query] Some(GSI2), "`MAILDUE#shard` / time", "Which mails have to be queued again?";
}

//! What the message sender needs whatever it sends: mails that are sent at least once, and the pace of senders.

pub mod entities;
pub mod mails;
pub mod patterns;
pub mod senders;
pub mod tasks;

projection::family! {
    name: "messages",
    patterns: patterns::ALL,
    asks: [
        (&table::patterns::RATE, &["message-sender"]),
        (&accounts::patterns::ACCOUNT, &["message-sender"]),
    ],
}

//! The messages family: what the message sender needs for every kind of message. Contains mails that are sent at
//! least once, and the turns of senders.

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

//! Storage of messages of campaigns. Each message is created once and sent once.
//!
//! A message is stored before it is put into a queue, and its status decides what is done with it. The queue may
//! deliver a message twice, late, or after a pause. A worker sends the message only if its status is `queued` and
//! the worker sets it to `sending`. That write is one transaction with two conditions. The customer is unchanged
//! since the worker read it, so the customer has not opted out. The cap of the customer is free, so no other
//! campaign message was sent within seven days.

use std::collections::HashMap;

use accounts::entities::AccountSigning;
use codes::{entities::CodeOrigin, id::CodeId};
use domain::{
    id::{CampaignId, CustomerId, SendId},
    secret::SigningKey,
};
use jiff::Timestamp;
use projection::job::Job;
use stamps::{
    customer::Customer,
    entities::{card_key, customer_key, program_key},
    stamp::{Card, Program},
};
use table::{
    Commit, CommitError, Cursor, Entity, LIST_SHARDS, Page, Query, Range, Table, TableError,
    lookup::{Lookup, one},
};

use crate::{
    campaign::{Campaign, Send, SendReason, SendStatus},
    entities::{Cap, Task, TwilioAccount, campaign_key, due_partition, send_key, sends_partition},
    patterns,
};

/// Number of messages created in one transaction.
const AT_ONCE: usize = 50;

/// Creates messages, of which some may exist already. Returns the ids of those that are still to be sent.
pub async fn create(table: &Table, sends: Vec<Send>) -> Result<Vec<SendId>, TableError> {
    let mut queued = Vec::with_capacity(sends.len());
    for sends in sends.chunks(AT_ONCE) {
        let mut sends = sends.to_vec();
        while !sends.is_empty() {
            let commit = Commit::new(&patterns::SENDS_CREATE);
            match sends.iter().fold(commit, |commit, send| commit.create("send", send)).apply(table).await {
                Ok(()) => {
                    queued.extend(sends.drain(..).map(|send| send.id));
                }
                Err(CommitError::Table(error)) => return Err(error),
                Err(CommitError::Condition(failed)) => {
                    for there in failed.iter().filter_map(|failed| failed.found.clone()) {
                        let there = Send::from_item(there)?;
                        queued.extend((there.status == SendStatus::Queued).then_some(there.id));
                    }
                    let there: Vec<_> = failed.iter().map(|failed| failed.position).collect();
                    table::leave_out(&mut sends, &there);
                }
            }
        }
    }
    Ok(queued)
}

/// Returns the writes that create a test message, and the job that sends it.
pub fn ask(send: &Send, now: Timestamp) -> Commit {
    let job = Job::new(send.id.as_str().to_owned(), &Task::SendMessage { send_id: send.id.clone() }, now);
    Commit::new(&patterns::SENDS_CREATE).create("send", send).create("job", &job)
}

/// Message with its campaign.
pub struct Sending {
    pub send: Send,
    /// Campaign of the message; `None` if it no longer exists.
    pub campaign: Option<Campaign>,
}

/// Reads a message with its campaign. Returns `None` if there is no such message.
pub async fn read(table: &Table, id: &SendId) -> Result<Option<Sending>, TableError> {
    let wanted = (one(send_key(id)), one(campaign_key(&id.campaign())));
    let (send, campaign) = table.look_up(Lookup::new(&patterns::SEND, wanted)).await?;
    Ok(send.map(|send| Sending { send, campaign }))
}

/// Recipient of a message, with everything else that sending the message depends on.
pub struct Recipient {
    pub customer: Customer,
    pub card: Option<Card>,
    pub program: Program,
    pub signing: SigningKey,
    pub twilio: Option<TwilioAccount>,
    /// Last campaign message that the customer received.
    pub cap: Option<Cap>,
}

/// Result of reading the recipient of a message.
pub enum Addressee {
    Found(Box<Recipient>),
    /// The customer or the program no longer exists.
    Gone(SendReason),
}

pub async fn addressee(table: &Table, send: &Send) -> Result<Addressee, TableError> {
    let wanted = (
        one::<Customer>(customer_key(&send.customer_id)),
        one::<Card>(card_key(&send.customer_id, &send.program_id)),
        one::<Program>(program_key(&send.program_id)),
        one::<AccountSigning>(AccountSigning::key_of(&send.account_id)),
        one::<TwilioAccount>(TwilioAccount::key_of(&send.account_id)),
        one::<Cap>(Cap::key_of(&send.customer_id)),
    );
    let (customer, card, program, signing, twilio, cap) =
        table.look_up(Lookup::new(&patterns::RECIPIENT, wanted)).await?;
    let (Some(customer), Some(signing)) = (customer, signing) else {
        return Ok(Addressee::Gone(SendReason::Erased));
    };
    let Some(program) = program.filter(|program| !program.deleting) else {
        return Ok(Addressee::Gone(SendReason::CampaignEnded));
    };
    Ok(Addressee::Found(Box::new(Recipient {
        customer,
        card,
        program,
        signing: signing.signing_key,
        twilio,
        cap,
    })))
}

/// Outcome of an attempt to take a message for sending.
pub enum Taken {
    /// The caller sends the message. The cap is the one that the message took; a test takes none.
    Yes(Box<Send>, Option<Cap>),
    /// The customer received a campaign message within seven days.
    Capped,
    /// The customer or the message has changed meanwhile. The caller reads the message again.
    Overtaken,
}

/// Takes a queued message for sending; `code` is the code that the message tells. If the message is still `sending`
/// at `due`, its worker counts as lost.
pub async fn take(
    table: &Table,
    send: &Send,
    customer: &Customer,
    code: Option<&CodeId>,
    due: Timestamp,
    now: Timestamp,
) -> Result<Taken, TableError> {
    let sending = Send { due_at: Some(due), ..send.now(SendStatus::Sending, now) };
    let mut commit = Commit::new(&patterns::SEND_TAKE).replace("send", &sending, send.rev).expect(
        "customer",
        &customer.key(),
        customer.rev,
    );
    let cap = (!send.test).then(|| Cap::of(send, now));
    if let Some(cap) = &cap {
        commit = commit.create_or_renew("cap", cap, now);
    }
    if let Some(code) = code.filter(|_| !send.test) {
        let origin = CodeOrigin { code_id: code.clone(), send_id: send.id.clone() };
        commit = commit.overwrite("origin", &origin);
    }
    match commit.apply(table).await {
        Ok(()) => Ok(Taken::Yes(Box::new(sending), cap)),
        Err(CommitError::Table(error)) => Err(error),
        Err(error) if error.failed("send").is_some() || error.failed("customer").is_some() => {
            Ok(Taken::Overtaken)
        }
        Err(CommitError::Condition(_)) => Ok(Taken::Capped),
    }
}

/// Writes the next revision of a message over the one that was read. Returns false if the message has changed
/// meanwhile.
pub async fn update(table: &Table, after: &Send) -> Result<bool, TableError> {
    let commit = Commit::new(&patterns::SEND_NOTE).replace("send", after, after.rev - 1);
    commit.applies(table).await
}

/// Writes the next revision of a message that waits for its paused campaign to be resumed. Returns false if the
/// message or the campaign has changed meanwhile: a resume would already have looked for the messages that wait.
pub async fn park(table: &Table, after: &Send, paused: &Campaign) -> Result<bool, TableError> {
    let commit = Commit::new(&patterns::SEND_PARK).replace("send", after, after.rev - 1).expect(
        "campaign",
        &paused.key(),
        paused.rev,
    );
    commit.applies(table).await
}

/// Writes the next revision of a message that was not sent or not delivered, over the one that was read, and gives
/// back the cap that the message took. Returns false if the message has changed meanwhile.
pub async fn give_back(table: &Table, after: &Send, cap: Option<&Cap>) -> Result<bool, TableError> {
    let mut commit = Commit::new(&patterns::SEND_WRITE).replace("send", after, after.rev - 1);
    if let Some(cap) = cap {
        commit = commit.delete("cap", &cap.key(), cap.rev);
    }
    match commit.apply(table).await {
        Ok(()) => Ok(true),
        // Another message has the cap by now and keeps it.
        Err(error) if cap.is_some() && error.failed("send").is_none() && error.is_condition() => {
            Box::pin(give_back(table, after, None)).await
        }
        Err(CommitError::Condition(_)) => Ok(false),
        Err(CommitError::Table(error)) => Err(error),
    }
}

/// Writes the next revision of a message that was given up but reached the customer, over the one that was read,
/// and takes the cap for it again. If another message has taken the cap meanwhile, that message keeps it. Returns
/// false if the message has changed meanwhile.
pub async fn regain(table: &Table, after: &Send, now: Timestamp) -> Result<bool, TableError> {
    let commit = Commit::new(&patterns::SEND_WRITE).replace("send", after, after.rev - 1).create_or_renew(
        "cap",
        &Cap::of(after, now),
        now,
    );
    match commit.apply(table).await {
        Ok(()) => Ok(true),
        Err(CommitError::Table(error)) => Err(error),
        Err(error) if error.failed("send").is_some() => Ok(false),
        Err(CommitError::Condition(_)) => give_back(table, after, None).await,
    }
}

/// Reads the cap that a message holds, if it holds one.
pub async fn cap_of(table: &Table, send: &Send) -> Result<Option<Cap>, TableError> {
    let cap: Option<Cap> = table.get(&patterns::CAP, &Cap::key_of(&send.customer_id)).await?;
    Ok(cap.filter(|cap| cap.send_id == send.id))
}

/// Reads a page of the messages of a campaign, in no particular order.
pub async fn list(
    table: &Table,
    campaign: &CampaignId,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<Send>, TableError> {
    let shards: Vec<_> = (0..LIST_SHARDS).map(|shard| sends_partition(campaign, shard)).collect();
    table.page(&patterns::SENDS, &shards, false, after, limit).await
}

/// Reads a page of one shard of the messages of a campaign, after this message, for work on all of them.
pub async fn shard(
    table: &Table,
    campaign: &CampaignId,
    shard: u8,
    after: Option<&SendId>,
    limit: usize,
) -> Result<Vec<Send>, TableError> {
    let query = Query {
        range: after.map_or(Range::All, |id| Range::After(id.number().to_owned())),
        limit: Some(limit),
        consistent: true,
        ..Query::partition(sends_partition(campaign, shard))
    };
    table.query(&patterns::SENDS, query).await
}

/// Reads the messages of a shard that are due by now, the most overdue first.
pub async fn due(table: &Table, shard: u8, now: Timestamp, limit: usize) -> Result<Vec<Send>, TableError> {
    table.due(&patterns::SENDS_DUE, due_partition(shard), now, limit).await
}

/// Reads a page of one shard of a program's cards, after the card of this customer: a part of an audience.
pub async fn audience(
    table: &Table,
    program: &domain::id::ProgramId,
    shard: u8,
    after: Option<&CustomerId>,
    limit: usize,
) -> Result<Vec<Card>, TableError> {
    let query = Query {
        range: after.map_or(Range::All, |id| Range::After(id.as_str().to_owned())),
        limit: Some(limit),
        ..Query::partition(stamps::entities::program_customers(program, shard))
    };
    table.query(&stamps::patterns::PROGRAM_CUSTOMERS, query).await
}

/// Reads the customers with these ids. Omits customers that do not exist.
pub async fn customers(
    table: &Table,
    ids: &[CustomerId],
) -> Result<HashMap<CustomerId, Customer>, TableError> {
    stamps::customers::batch(table, ids).await
}

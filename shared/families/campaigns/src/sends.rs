//! Messages of campaigns: made once, sent once.
//!
//! A message is an item before it is in a queue, and its status decides what is done with it: whatever the
//! queue delivers twice, late, or after a pause, is sent when it is `queued` and by whoever makes it `sending`.
//! That happens in one transaction with the customer as it was read, who has not said stop, and the customer's
//! cap, which no other campaign has taken within seven days.

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
use table::{Commit, CommitError, Cursor, Entity, LIST_SHARDS, Page, Query, Range, Table, TableError};

use crate::{
    campaign::{Campaign, Send, SendReason, SendStatus},
    entities::{Cap, Task, TwilioAccount, campaign_key, due_partition, send_key, sends_partition},
    patterns,
};

/// Messages made in one transaction.
const AT_ONCE: usize = 50;

/// Makes messages, of which some may be there already. Gives those that are to be sent.
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

/// The writes that make a message that is asked for by hand, and ask for it to be sent.
pub fn ask(send: &Send, now: Timestamp) -> Commit {
    let job = Job::new(send.id.as_str().to_owned(), &Task::SendMessage { send_id: send.id.clone() }, now);
    Commit::new(&patterns::SENDS_CREATE).create("send", send).create("job", &job)
}

/// A message with what it is of.
pub struct Sending {
    pub send: Send,
    /// `None` when it is gone.
    pub campaign: Option<Campaign>,
}

/// `None` when there is no such message.
pub async fn read(table: &Table, id: &SendId) -> Result<Option<Sending>, TableError> {
    let keys = [send_key(id), campaign_key(&id.campaign())];
    let mut found = table.batch_get(&patterns::SEND, &keys).await?;
    let Some(send) = found.remove(&keys[0]) else { return Ok(None) };
    let campaign = found.remove(&keys[1]).map(Campaign::from_item).transpose()?;
    Ok(Some(Sending { send: Send::from_item(send)?, campaign }))
}

/// To whom a message goes, and from whom.
pub struct Recipient {
    pub customer: Customer,
    pub card: Option<Card>,
    pub program: Program,
    pub signing: SigningKey,
    pub twilio: Option<TwilioAccount>,
    /// The campaign message that the customer had last.
    pub cap: Option<Cap>,
}

/// Who gets a message.
pub enum Addressee {
    Found(Box<Recipient>),
    /// There is nobody, or no program, any more.
    Gone(SendReason),
}

pub async fn addressee(table: &Table, send: &Send) -> Result<Addressee, TableError> {
    let keys = [
        customer_key(&send.customer_id),
        card_key(&send.customer_id, &send.program_id),
        program_key(&send.program_id),
        AccountSigning::key_of(&send.account_id),
        TwilioAccount::key_of(&send.account_id),
        Cap::key_of(&send.customer_id),
    ];
    let mut found = table.batch_get(&patterns::RECIPIENT, &keys).await?;
    let mut take = |position: usize| found.remove(&keys[position]);
    let (Some(customer), Some(signing)) = (take(0), take(3)) else {
        return Ok(Addressee::Gone(SendReason::Erased));
    };
    let program = take(2).map(Program::from_item).transpose()?.filter(|program| !program.deleting);
    let Some(program) = program else { return Ok(Addressee::Gone(SendReason::CampaignEnded)) };
    Ok(Addressee::Found(Box::new(Recipient {
        customer: Customer::from_item(customer)?,
        card: take(1).map(Card::from_item).transpose()?,
        program,
        signing: AccountSigning::from_item(signing)?.signing_key,
        twilio: take(4).map(TwilioAccount::from_item).transpose()?,
        cap: take(5).map(Cap::from_item).transpose()?,
    })))
}

/// What became of an attempt to take a message for sending.
pub enum Taken {
    /// It is ours to send. With the cap that it took, unless it is a test.
    Yes(Box<Send>, Option<Cap>),
    /// The customer had a campaign's message within seven days.
    Capped,
    /// The customer, or the message, has changed meanwhile: look again.
    Overtaken,
}

/// Takes a queued message, which may tell a code, for sending; when nothing has been heard of it until `due`, its
/// worker is lost.
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

/// Writes the next state of a message over the one that was read; `false` when it has changed meanwhile.
pub async fn update(table: &Table, after: &Send) -> Result<bool, TableError> {
    let commit = Commit::new(&patterns::SEND_NOTE).replace("send", after, after.rev - 1);
    commit.applies(table).await
}

/// The same of a message that waits for its campaign to be resumed; `false` also when that has happened meanwhile:
/// whoever resumes it would have looked for what waits already.
pub async fn park(table: &Table, after: &Send, paused: &Campaign) -> Result<bool, TableError> {
    let commit = Commit::new(&patterns::SEND_PARK).replace("send", after, after.rev - 1).expect(
        "campaign",
        &paused.key(),
        paused.rev,
    );
    commit.applies(table).await
}

/// The next state over the one that was read, of a message that is not sent after all, and gives back the cap that it took.
pub async fn give_back(table: &Table, after: &Send, cap: Option<&Cap>) -> Result<bool, TableError> {
    let mut commit = Commit::new(&patterns::SEND_WRITE).replace("send", after, after.rev - 1);
    if let Some(cap) = cap {
        commit = commit.delete("cap", &cap.key(), cap.rev);
    }
    match commit.apply(table).await {
        Ok(()) => Ok(true),
        // The cap is another message's by now: it stays that one's.
        Err(error) if cap.is_some() && error.failed("send").is_none() && error.is_condition() => {
            Box::pin(give_back(table, after, None)).await
        }
        Err(CommitError::Condition(_)) => Ok(false),
        Err(CommitError::Table(error)) => Err(error),
    }
}

/// Writes the next state of a message that was given up, and with it its cap, over the state that was read: the
/// customer has got the message. A cap that another message has taken meanwhile stays. `false` when the message has
/// changed.
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

/// The cap that a message holds, if it does.
pub async fn cap_of(table: &Table, send: &Send) -> Result<Option<Cap>, TableError> {
    let cap: Option<Cap> = table.get(&patterns::CAP, &Cap::key_of(&send.customer_id)).await?;
    Ok(cap.filter(|cap| cap.send_id == send.id))
}

/// A page of a campaign's messages, in no particular order.
pub async fn list(
    table: &Table,
    campaign: &CampaignId,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<Send>, TableError> {
    let shards: Vec<_> = (0..LIST_SHARDS).map(|shard| sends_partition(campaign, shard)).collect();
    table.page(&patterns::SENDS, &shards, false, after, limit).await
}

/// A page of one shard of a campaign's messages, after this one: for work on all of them.
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

/// Messages of a shard that have to be looked at again by now, the most overdue first.
pub async fn due(table: &Table, shard: u8, now: Timestamp, limit: usize) -> Result<Vec<Send>, TableError> {
    table.due(&patterns::SENDS_DUE, due_partition(shard), now, limit).await
}

/// A page of a program's cards of one shard, after this customer's, with their customers: an audience.
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

/// These customers, as far as they are there.
pub async fn customers(
    table: &Table,
    ids: &[CustomerId],
) -> Result<HashMap<CustomerId, Customer>, TableError> {
    stamps::customers::batch(table, ids).await
}

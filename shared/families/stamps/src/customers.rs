//! Storage of customers and their cards.

use std::collections::HashMap;

use accounts::entities::{Account, AccountSigning, AuditEntry};
use domain::{
    consent::Consent,
    id::{AccountId, CustomerId, ProgramId},
    phone::Phone,
    secret::SigningKey,
    text::Line,
};
use jiff::Timestamp;
use projection::job::Job;
use table::{
    Commit, CommitError, Cursor, Entity, LIST_SHARDS, Page, Query, Table, TableError, key_of,
    lookup::{Lookup, Wanted, one},
    purge,
};

use crate::{
    customer::Customer,
    entities::{
        PhoneClaim, Task, card_key, customer_key, customer_partition, program_customers, program_key,
        stamps_partition,
    },
    patterns,
    stamp::{Card, Program},
};

/// Items on which an enrolment depends.
pub struct EnrolContext {
    pub account: Account,
    pub signing: SigningKey,
    pub program: Program,
}

/// Lookup of what an enrolment depends on. Finds `None` if the program belongs to another account or is being deleted.
pub fn enrol_context(
    account: &AccountId,
    program: &ProgramId,
) -> Lookup<impl Wanted<Found = Option<EnrolContext>> + use<>> {
    let wanted = (
        one::<Account>(Account::key_of(account)),
        one::<AccountSigning>(AccountSigning::key_of(account)),
        one::<Program>(program_key(program)),
    );
    Lookup::new(&patterns::ENROL_CONTEXT, wanted).map(|(account, signing, program)| {
        let (account, signing, program) = (account?, signing?, program?);
        let own = program.account_id == account.id && !program.deleting;
        own.then_some(EnrolContext { account, signing: signing.signing_key, program })
    })
}

/// Reads the claims on these numbers, in all forms of each number, the form that was asked for first.
async fn claims(
    table: &Table,
    key: &SigningKey,
    account: &AccountId,
    phones: &[&Phone],
) -> Result<Vec<PhoneClaim>, TableError> {
    let keys: Vec<_> = phones.iter().flat_map(|phone| PhoneClaim::keys_of(key, account, phone)).collect();
    let mut found = table.batch_get(&patterns::CUSTOMER_BY_PHONE, &keys).await?;
    keys.iter().filter_map(|key| found.remove(key)).map(PhoneClaim::from_item).collect()
}

/// Reads the customers who have this number in the account, in any form of the number. Forms that were once treated
/// as different numbers may have two customers: the customer with this form comes first.
pub async fn by_phone(
    table: &Table,
    key: &SigningKey,
    account: &AccountId,
    phone: &Phone,
) -> Result<Vec<Customer>, TableError> {
    let mut customers: Vec<Customer> = Vec::new();
    for claim in claims(table, key, account, &[phone]).await? {
        if customers.iter().all(|known| known.id != claim.customer_id) {
            customers.extend(read(table, account, &claim.customer_id).await?);
        }
    }
    Ok(customers)
}

/// Returns the ids of the customers that [`by_phone`] finds, for a caller without the account's key, such as a
/// provider's callback.
pub async fn by_phone_of(
    table: &Table,
    account: &AccountId,
    phone: &Phone,
) -> Result<Vec<CustomerId>, TableError> {
    let key = accounts::signing_key(table, account).await?;
    let customers = by_phone(table, &key, account, phone).await?;
    Ok(customers.into_iter().map(|customer| customer.id).collect())
}

/// Reads the customer who has this number in the account, with the customer's card of a program, for a web page
/// that enrols. Makes the same number of reads whether or not a customer has the number, so that the response time
/// does not tell. `nobody` is an id that no customer has.
pub async fn enrolled(
    table: &Table,
    key: &SigningKey,
    account: &AccountId,
    phone: &Phone,
    program: &ProgramId,
    nobody: &CustomerId,
) -> Result<(Option<Customer>, Option<Card>), TableError> {
    let claim = claims(table, key, account, &[phone]).await?.into_iter().next();
    let id = claim.as_ref().map_or(nobody, |claim| &claim.customer_id);
    Ok((read(table, account, id).await?, card(table, id, program).await?))
}

/// Returns the account of a customer; `None` if there is no such customer.
pub async fn account_of(table: &Table, id: &CustomerId) -> Result<Option<AccountId>, TableError> {
    let customer: Option<Customer> = table.get(&patterns::CUSTOMER, &customer_key(id)).await?;
    Ok(customer.map(|customer| customer.account_id))
}

/// Reads a customer of this account. Returns `None` for a customer of another account.
pub async fn read(
    table: &Table,
    account: &AccountId,
    id: &CustomerId,
) -> Result<Option<Customer>, TableError> {
    let customer: Option<Customer> = table.get(&patterns::CUSTOMER, &customer_key(id)).await?;
    Ok(customer.filter(|customer| customer.account_id == *account))
}

/// Returns the writes that add a customer with a first card. The label `phone` fails if another customer has the
/// number.
pub fn create(key: &SigningKey, customer: &Customer, card: &Card) -> Commit {
    Commit::new(&patterns::CUSTOMER_WRITE)
        .create("customer", customer)
        .create("phone", &PhoneClaim::of(key, customer))
        .create("card", card)
}

/// Returns the writes that enrol a known customer. `after` is the customer as the enrolment changes it, if it does;
/// `there` is the card that the customer already has. The label `card` fails if the card has changed. The label
/// `customer` fails if the customer has changed or is being erased.
pub fn enrol(
    customer: &Customer,
    after: Option<(&Customer, &AuditEntry)>,
    card: &Card,
    there: Option<&Card>,
) -> Commit {
    let commit = Commit::new(&patterns::CUSTOMER_WRITE);
    let commit = match after {
        Some((after, audit)) => commit.replace("customer", after, customer.rev).create("audit", audit),
        None if there == Some(card) => return commit,
        None => commit.expect("customer", &customer.key(), customer.rev),
    };
    match there {
        None => commit.create("card", card),
        Some(there) if there != card => commit.replace("card", card, there.rev),
        Some(_) => commit,
    }
}

/// Reads a customer's card of a program.
pub async fn card(
    table: &Table,
    customer: &CustomerId,
    program: &ProgramId,
) -> Result<Option<Card>, TableError> {
    table.get(&patterns::CARD, &card_key(customer, program)).await
}

/// Reads a page of the cards of a program, those of the oldest customers first.
pub async fn of_program(
    table: &Table,
    program: &ProgramId,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<Card>, TableError> {
    let shards: Vec<_> = (0..LIST_SHARDS).map(|shard| program_customers(program, shard)).collect();
    table.page(&patterns::PROGRAM_CUSTOMERS, &shards, false, after, limit).await
}

/// Reads the customers with these ids. Omits customers that do not exist.
pub async fn batch(table: &Table, ids: &[CustomerId]) -> Result<HashMap<CustomerId, Customer>, TableError> {
    let keys: Vec<_> = ids.iter().map(customer_key).collect();
    let found = table.batch_get(&patterns::CUSTOMERS, &keys).await?;
    let customers = found.into_values().map(Customer::from_item);
    customers.map(|customer| customer.map(|customer| (customer.id.clone(), customer))).collect()
}

/// Reason why a customer was not changed.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    #[error("another customer has the number")]
    PhoneTaken,
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Replaces the customer `old` by `new`. Also moves the claim on the phone number if the number has changed.
pub async fn update(
    table: &Table,
    key: &SigningKey,
    old: &Customer,
    new: &Customer,
    audit: &AuditEntry,
) -> Result<(), UpdateError> {
    let card = provisional_card(table, old, new).await.map_err(CommitError::from)?;
    let commit =
        Commit::new(&patterns::CUSTOMER_WRITE).replace("customer", new, old.rev).create("audit", audit);
    let mut commit = confirming(commit, card, new.updated_at);
    if new.phone != old.phone {
        let wanted = PhoneClaim::of(key, new);
        let known = claims(table, key, &new.account_id, &[&new.phone, &old.phone]).await;
        let (own, others): (Vec<_>, Vec<_>) =
            known.map_err(CommitError::from)?.into_iter().partition(|claim| claim.customer_id == new.id);
        // Another customer may have another form of the old number. Only a claim on the new number is a conflict.
        let keys = PhoneClaim::keys_of(key, &new.account_id, &new.phone);
        if others.iter().any(|claim| keys.contains(&claim.key())) {
            return Err(UpdateError::PhoneTaken);
        }
        if !own.contains(&wanted) {
            commit = commit.create("phone", &wanted);
        }
        for claim in own.iter().filter(|claim| **claim != wanted) {
            commit = commit.purge("old phone", &claim.key());
        }
    }
    commit.apply(table).await.map_err(|error| match error.failed("phone") {
        Some(_) => UpdateError::PhoneTaken,
        None => error.into(),
    })
}

/// Reads the provisional card that a change of a customer confirms, if there is one.
async fn provisional_card(
    table: &Table,
    before: &Customer,
    after: &Customer,
) -> Result<Option<Card>, TableError> {
    let Some(program) = before.card_confirmed_by(after) else { return Ok(None) };
    Ok(card(table, &before.id, program).await?.filter(|card| card.provisional))
}

fn confirming(commit: Commit, provisional: Option<Card>, now: Timestamp) -> Commit {
    let Some(card) = provisional else { return commit };
    let rev = card.rev;
    commit.replace("card", &Card { provisional: false, updated_at: now, rev: rev + 1, ..card }, rev)
}

/// Records whether a customer agrees to messages, as the customer has just said. Returns `None` if there is no such
/// customer, otherwise whether the consent has changed.
pub async fn set_consent(
    table: &Table,
    id: &CustomerId,
    granted: bool,
    words: &str,
    now: Timestamp,
) -> Result<Option<bool>, TableError> {
    for attempt in 1..=12 {
        let found: Option<Customer> = table.get(&patterns::CONSENT, &customer_key(id)).await?;
        let Some(customer) = found else { return Ok(None) };
        let consent = Consent { granted, text: Line::try_from(words.to_owned()).ok(), at: now };
        let Some(after) = customer.agreeing(consent, now) else { return Ok(Some(false)) };
        let actor = customer.id.as_str();
        let action = if granted { "customer.opted_in" } else { "customer.opted_out" };
        let audit = AuditEntry::new(&customer.account_id, actor, action, actor, now);
        let card = provisional_card(table, &customer, &after).await?;
        let commit = Commit::new(&patterns::CONSENT).replace("customer", &after, customer.rev);
        match confirming(commit.create("audit", &audit), card, now).apply(table).await {
            Ok(()) => return Ok(Some(true)),
            Err(CommitError::Condition(_)) => table::back_off(attempt).await,
            Err(CommitError::Table(error)) => return Err(error),
        }
    }
    let detail = "the customer keeps changing".to_owned();
    Err(TableError::Unavailable { operation: "consent", detail })
}

/// Erases a customer: the customer is gone at once for all readers, and a job removes the cards, stamps and
/// rewards. A later enrolment with the same number creates a new customer.
pub async fn begin_erase(
    table: &Table,
    key: &SigningKey,
    customer: &Customer,
    audit: &AuditEntry,
    now: Timestamp,
) -> Result<(), CommitError> {
    let job = Job::new(
        customer.id.as_str().to_owned(),
        &Task::EraseCustomer { customer_id: customer.id.clone() },
        now,
    );
    let claims = claims(table, key, &customer.account_id, &[&customer.phone]).await?;
    let mut commit = Commit::new(&patterns::CUSTOMER_WRITE)
        .delete("customer", &customer.key(), customer.rev)
        .overwrite("job", &job)
        .create("audit", audit);
    for claim in claims.iter().filter(|claim| claim.customer_id == customer.id) {
        commit = commit.purge("phone", &claim.key());
    }
    commit.apply(table).await
}

/// Removes everything that an erased customer had, including what a till wrote in the meantime. Without a card, a
/// till can write nothing more.
pub async fn finish_erase(table: &Table, id: &CustomerId) -> Result<(), TableError> {
    for partition in [customer_partition(id), stamps_partition(id)] {
        loop {
            let query = Query { consistent: true, limit: Some(1000), ..Query::partition(partition.clone()) };
            let found = table.query_items(&patterns::CUSTOMER_PURGE, query).await?;
            if found.is_empty() {
                break;
            }
            purge(table, &patterns::CUSTOMER_PURGE, found.iter().filter_map(key_of).collect()).await?;
        }
    }
    Ok(())
}

/// Removes a card with its stamps and rewards. The card is removed last.
pub(crate) async fn purge_card(table: &Table, card: &Card) -> Result<(), TableError> {
    let mut keys = Vec::new();
    for partition in [stamps_partition(&card.customer_id), customer_partition(&card.customer_id)] {
        let query = Query { consistent: true, ..Query::partition(partition) };
        let found = table.query_items(&patterns::CUSTOMER_PURGE, query).await?;
        let own = found.iter().filter(|item| {
            let program = item.get("program_id").and_then(|id| id.as_s().ok());
            program.is_some_and(|program| program == card.program_id.as_str())
        });
        keys.extend(own.filter_map(key_of).filter(|key| *key != card.key()));
    }
    keys.push(card.key());
    purge(table, &patterns::CUSTOMER_PURGE, keys).await
}

//! Customers and their cards.

use domain::{
    id::{AccountId, CustomerId, ProgramId},
    phone::Phone,
    secret::SigningKey,
    stamp::{Card, Customer, Program},
};
use futures_util::future::try_join_all;

use crate::{
    Commit, CommitError, Cursor, LIST_SHARDS, Page, StoreError, Table,
    entities::{
        Account, AccountSigning, AuditEntry, CARDS, Entity, PhoneClaim, customer_key, customer_partition,
        program_customers, program_key,
    },
    patterns,
    table::{Query, Range},
};

/// What enrolling depends on.
pub struct EnrolContext {
    pub account: Account,
    pub signing: SigningKey,
    pub program: Program,
    /// Whose number it is already.
    pub known: Option<CustomerId>,
}

/// `None` unless the program is this account's.
pub async fn enrol_context(
    table: &Table,
    account: &AccountId,
    program: &ProgramId,
) -> Result<Option<(Account, SigningKey, Program)>, StoreError> {
    let keys = [Account::key_of(account), AccountSigning::key_of(account), program_key(program)];
    let mut found = table.batch_get(&patterns::ENROL_CONTEXT, &keys).await?;
    let mut take = |position: usize| found.remove(&keys[position]);
    let (Some(account), Some(signing), Some(program)) = (take(0), take(1), take(2)) else { return Ok(None) };
    let (account, program) = (Account::from_item(account)?, Program::from_item(program)?);
    let own = program.account_id == account.id && !program.deleting;
    Ok(own.then_some((account, AccountSigning::from_item(signing)?.signing_key, program)))
}

/// Whose number it is in this account.
pub async fn by_phone(
    table: &Table,
    key: &SigningKey,
    account: &AccountId,
    phone: &Phone,
) -> Result<Option<Customer>, StoreError> {
    let claim: Option<PhoneClaim> =
        table.get(&patterns::CUSTOMER_BY_PHONE, &PhoneClaim::key_of(key, account, phone)).await?;
    match claim {
        Some(claim) => read(table, account, &claim.customer_id).await,
        None => Ok(None),
    }
}

/// A customer, if it is this account's.
pub async fn read(
    table: &Table,
    account: &AccountId,
    id: &CustomerId,
) -> Result<Option<Customer>, StoreError> {
    let customer: Option<Customer> = table.get(&patterns::CUSTOMER, &customer_key(id)).await?;
    Ok(customer.filter(|customer| customer.account_id == *account))
}

/// The writes that add a customer with a first card; the label `phone` fails when the number is somebody's.
pub fn create(key: &SigningKey, customer: &Customer, card: &Card) -> Commit {
    Commit::new(&patterns::CUSTOMER_WRITE)
        .create("customer", customer)
        .create("phone", &PhoneClaim::of(key, customer))
        .create("card", card)
}

/// The writes that give a customer another card; the label `card` fails when there is one.
pub fn enrol(card: &Card) -> Commit {
    Commit::new(&patterns::CUSTOMER_WRITE).create("card", card)
}

/// The cards of a customer.
pub async fn cards(table: &Table, customer: &CustomerId) -> Result<Vec<Card>, StoreError> {
    let query = Query {
        range: Range::BeginsWith(CARDS.to_owned()),
        consistent: true,
        ..Query::partition(customer_partition(customer))
    };
    table.query(&patterns::CARDS, query).await
}

/// The cards of a program, with their customers, by the age of the customers.
pub async fn of_program(
    table: &Table,
    program: &ProgramId,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page<Card>, StoreError> {
    let shards: Vec<_> = (0..LIST_SHARDS).map(|shard| program_customers(program, shard)).collect();
    table.page(&patterns::PROGRAM_CUSTOMERS, &shards, false, after, limit).await
}

/// The customers with these ids, as far as they are there.
pub async fn batch(table: &Table, ids: &[CustomerId]) -> Result<Vec<Customer>, StoreError> {
    let keys: Vec<_> = ids.iter().map(customer_key).collect();
    let found = table.batch_get(&patterns::CUSTOMERS, &keys).await?;
    found.into_values().map(Customer::from_item).collect()
}

/// Changes a customer read at `rev`, and its number if that is another one now; the label `phone` fails when
/// the new number is somebody's.
pub async fn update(
    table: &Table,
    key: &SigningKey,
    old: &Customer,
    new: &Customer,
    audit: &AuditEntry,
) -> Result<(), CommitError> {
    let mut commit =
        Commit::new(&patterns::CUSTOMER_WRITE).replace("customer", new, old.rev).create("audit", audit);
    if new.phone != old.phone {
        commit = commit
            .create("phone", &PhoneClaim::of(key, new))
            .purge("old phone", &PhoneClaim::of(key, old).key());
    }
    commit.apply(table).await
}

/// Erases a customer with all cards, stamps and rewards. The number goes first: who enrols meanwhile is somebody new.
pub async fn erase(
    table: &Table,
    key: &SigningKey,
    customer: &Customer,
    audit: &AuditEntry,
) -> Result<(), CommitError> {
    Commit::new(&patterns::CUSTOMER_ERASE)
        .purge("phone", &PhoneClaim::of(key, customer).key())
        .delete("customer", &customer.key(), customer.rev)
        .create("audit", audit)
        .apply(table)
        .await?;
    let query =
        Query { consistent: true, ..Query::partition(customer_partition(&customer.id)) };
    let found = table.query_items(&patterns::CUSTOMER_ERASE, query).await?;
    let keys: Vec<_> = found.iter().filter_map(crate::table::key_of).collect();
    let chunks = keys.chunks(crate::commit::MAX_WRITES).map(|keys| async move {
        let commit = Commit::new(&patterns::CUSTOMER_ERASE);
        keys.iter().fold(commit, |commit, key| commit.purge("item", key)).apply(table).await
    });
    try_join_all(chunks).await.map(drop)
}

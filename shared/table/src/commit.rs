//! Writes in one transaction: DynamoDB applies all of them or none.
//!
//! A [`Commit`] collects writes and applies them in one `TransactWriteItems`. Conflicts with other transactions and
//! throttled writes are retried with jitter. A failed condition is returned to the caller.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    error::{DisplayErrorContext, ProvideErrorMetadata},
    types::{
        AttributeValue, ConditionCheck, Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
        Update,
    },
};

use aws::Outcome;
use jiff::Timestamp;

use crate::{
    Entity, Filler, Item, Operation, Pattern, Table, TableError, back_off,
    counters::UpdateExpression,
    entity::key_item,
    keys::{EXPIRES_AT, Key, PK, REV},
};

/// Maximum number of writes in one DynamoDB transaction.
pub const MAX_WRITES: usize = 100;
const ATTEMPTS: u32 = 12;

/// Failure of a commit.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A condition did not hold. Nothing was written.
    #[error("the condition failed for: {}", labels(.0))]
    Condition(Vec<Failed>),
    /// The table failed. Nothing was written, except that with [`TableError::Unknown`] the writes may have been
    /// applied.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// Write whose condition did not hold.
pub struct Failed {
    /// Label that the caller gave the write.
    pub label: &'static str,
    /// Index of the write in the commit, counted from 0.
    pub position: usize,
    /// Item that exists under the key of a refused put. `None` if there is none, and for all writes other than
    /// puts.
    pub found: Option<Item>,
}

/// Omits `found`: the item may hold personal data, and errors are logged.
impl std::fmt::Debug for Failed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { label, position, .. } = self;
        formatter
            .debug_struct("Failed")
            .field("label", label)
            .field("position", position)
            .finish_non_exhaustive()
    }
}

/// Removes the items at these positions: the items whose writes were refused.
pub fn leave_out<T>(items: &mut Vec<T>, positions: &[usize]) {
    let mut position = 0..;
    items.retain(|_| !position.next().is_some_and(|position| positions.contains(&position)));
}

fn labels(failed: &[Failed]) -> String {
    failed.iter().map(|failed| failed.label).collect::<Vec<_>>().join(", ")
}

impl CommitError {
    /// Returns the failed write with this label, if a condition failed there.
    pub fn failed(&self, label: &str) -> Option<&Failed> {
        match self {
            Self::Condition(failed) => failed.iter().find(|failed| failed.label == label),
            Self::Table(_) => None,
        }
    }

    pub fn is_condition(&self) -> bool {
        matches!(self, Self::Condition(_))
    }

    /// True if the writes may have been applied although the commit failed.
    pub fn may_be_applied(&self) -> bool {
        matches!(self, Self::Table(error) if error.may_be_applied())
    }
}

/// Condition on a counter.
#[derive(Clone, Copy, Debug)]
pub enum CounterIs {
    /// The counter is less than this bound, or absent.
    Below(i64),
    Absent,
    At(i64),
}

/// Writes of one transaction. Each write has a label that identifies it if its condition fails.
#[must_use = "a commit does nothing until it is applied"]
pub struct Commit {
    pattern: &'static Pattern,
    writes: Vec<(&'static str, TransactWriteItem)>,
    attempts: u32,
}

type Condition = (String, HashMap<String, String>, HashMap<String, AttributeValue>);

fn absent() -> Condition {
    (
        "attribute_not_exists(#pk)".to_owned(),
        HashMap::from([("#pk".to_owned(), PK.to_owned())]),
        HashMap::new(),
    )
}

fn at_rev(rev: u64) -> Condition {
    (
        "#rev = :rev".to_owned(),
        HashMap::from([("#rev".to_owned(), REV.to_owned())]),
        HashMap::from([(":rev".to_owned(), AttributeValue::N(rev.to_string()))]),
    )
}

impl Commit {
    pub fn new(pattern: &'static Pattern) -> Self {
        Self { pattern, writes: Vec::new(), attempts: ATTEMPTS }
    }

    /// Makes only one attempt: a conflict with another transaction fails the commit instead of being retried.
    pub fn once(self) -> Self {
        Self { attempts: 1, ..self }
    }

    pub fn len(&self) -> usize {
        self.writes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    fn put<E: Entity>(mut self, label: &'static str, entity: &E, condition: Option<Condition>) -> Self {
        let mut put = Put::builder().set_item(Some(entity.to_item()));
        if let Some((expression, names, values)) = condition {
            put = put
                .condition_expression(expression)
                .set_expression_attribute_names(Some(names))
                .set_expression_attribute_values((!values.is_empty()).then_some(values))
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        }
        // `apply` fills in the name of the table.
        let put = put.table_name("").build();
        self.push(label, put.map(|put| TransactWriteItem::builder().put(put).build()));
        self
    }

    fn push<X: std::fmt::Debug>(&mut self, label: &'static str, write: Result<TransactWriteItem, X>) {
        #[expect(clippy::expect_used, reason = "every required member is set above")]
        self.writes.push((label, write.expect("a complete write")));
    }

    /// Writes an item that must not exist yet.
    pub fn create<E: Entity>(self, label: &'static str, entity: &E) -> Self {
        self.put(label, entity, Some(absent()))
    }

    /// Writes an item that must not exist yet or must have expired: DynamoDB deletes an expired item late.
    pub fn create_or_renew<E: Entity>(self, label: &'static str, entity: &E, now: Timestamp) -> Self {
        let (absent, mut names, mut values) = absent();
        names.insert("#expires".to_owned(), EXPIRES_AT.to_owned());
        values.insert(":now".to_owned(), AttributeValue::N(now.as_second().to_string()));
        self.put(label, entity, Some((format!("{absent} OR #expires <= :now"), names, values)))
    }

    /// Requires that an item still has this revision, without writing the item.
    pub fn expect(mut self, label: &'static str, key: &Key, rev: u64) -> Self {
        let (expression, names, values) = at_rev(rev);
        let check = ConditionCheck::builder()
            .set_key(Some(key_item(key)))
            .table_name("")
            .condition_expression(expression)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values))
            .build();
        self.push(label, check.map(|check| TransactWriteItem::builder().condition_check(check).build()));
        self
    }

    /// Replaces an item that must still have this revision.
    pub fn replace<E: Entity>(self, label: &'static str, entity: &E, rev: u64) -> Self {
        self.put(label, entity, Some(at_rev(rev)))
    }

    /// Writes an item unconditionally.
    pub fn overwrite<E: Entity>(self, label: &'static str, entity: &E) -> Self {
        self.put(label, entity, None)
    }

    fn remove(mut self, label: &'static str, key: &Key, condition: Option<Condition>) -> Self {
        let mut delete = Delete::builder().set_key(Some(key_item(key))).table_name("");
        if let Some((expression, names, values)) = condition {
            delete = delete
                .condition_expression(expression)
                .set_expression_attribute_names(Some(names))
                .set_expression_attribute_values((!values.is_empty()).then_some(values));
        }
        let delete = delete.build();
        self.push(label, delete.map(|delete| TransactWriteItem::builder().delete(delete).build()));
        self
    }

    /// Deletes an item that must still have this revision.
    pub fn delete(self, label: &'static str, key: &Key, rev: u64) -> Self {
        self.remove(label, key, Some(at_rev(rev)))
    }

    /// Deletes an item if it exists.
    pub fn purge(self, label: &'static str, key: &Key) -> Self {
        self.remove(label, key, None)
    }

    /// Pads the commit with [`Filler`]s up to `writes` writes, so that the response time does not reveal which of
    /// two requests was made.
    pub fn filled(mut self, writes: usize) -> Self {
        while self.len() < writes {
            self = self.create("filler", &Filler::random());
        }
        self
    }

    /// Adds to counters of one item. DynamoDB creates an absent item.
    pub fn add(self, label: &'static str, key: &Key, counters: &[(&str, i64)]) -> Self {
        self.update(label, key, UpdateExpression::add(counters))
    }

    /// Adds to a counter if the counter meets the condition.
    pub fn add_when(self, label: &'static str, key: &Key, counter: &str, by: i64, is: CounterIs) -> Self {
        let mut update = UpdateExpression::add(&[(counter, by)]);
        update.condition = Some(match is {
            CounterIs::Below(bound) => {
                update.number(":is", bound);
                "attribute_not_exists(#a0) OR #a0 < :is"
            }
            CounterIs::Absent => "attribute_not_exists(#a0)",
            CounterIs::At(count) => {
                update.number(":is", count);
                "#a0 = :is"
            }
        });
        self.update(label, key, update)
    }

    fn update(mut self, label: &'static str, key: &Key, update: UpdateExpression) -> Self {
        let UpdateExpression { expression, names, values, condition } = update;
        let update = Update::builder()
            .set_key(Some(key_item(key)))
            .table_name("")
            .update_expression(expression)
            .set_condition_expression(condition.map(str::to_owned))
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values))
            .build();
        self.push(label, update.map(|update| TransactWriteItem::builder().update(update).build()));
        self
    }

    /// Applies all writes or none. Returns `false` if a condition did not hold.
    ///
    /// # Errors
    /// [`TableError`] if the table fails; with [`TableError::Unknown`] the writes may have been applied.
    pub async fn applies(self, table: &Table) -> Result<bool, TableError> {
        match self.apply(table).await {
            Ok(()) => Ok(true),
            Err(CommitError::Condition(_)) => Ok(false),
            Err(CommitError::Table(error)) => Err(error),
        }
    }

    /// Applies the writes.
    ///
    /// # Errors
    /// [`CommitError::Condition`] with the writes whose conditions failed, or [`CommitError::Table`]: with
    /// [`TableError::Unavailable`] nothing was written, with [`TableError::Unknown`] the writes may have been
    /// applied.
    pub async fn apply(self, table: &Table) -> Result<(), CommitError> {
        if self.writes.is_empty() {
            return Ok(());
        }
        assert!(self.writes.len() <= MAX_WRITES, "a transaction holds at most {MAX_WRITES} writes");
        let labels: Vec<_> = self.writes.iter().map(|(label, _)| *label).collect();
        let operations: Vec<_> = self.writes.iter().map(|(_, write)| operation(write)).collect();
        let writes: Vec<_> = self.writes.into_iter().map(|(_, write)| named(write, &table.name)).collect();
        for attempt in 1.. {
            table.count(self.pattern, &operations);
            let outcome = Outcome::default();
            // Each attempt has a new client request token. The SDK sends the same token again only when it retries
            // a call whose outcome is unknown; the token keeps DynamoDB from applying that call twice.
            let error = match table
                .client
                .transact_write_items()
                .set_transact_items(Some(writes.clone()))
                .customize()
                .interceptor(outcome.clone())
                .send()
                .await
            {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            let reasons = match error.as_service_error() {
                Some(service) if service.code() == Some("TransactionCanceledException") => service.reasons(),
                _ => return Err(TableError::of_write("TransactWriteItems", error, &outcome).into()),
            };
            let failed: Vec<_> = reasons
                .iter()
                .zip(&labels)
                .enumerate()
                .filter(|(_, (reason, _))| reason.code() == Some("ConditionalCheckFailed"))
                .map(|(position, (reason, label))| Failed { label, position, found: reason.item.clone() })
                .collect();
            if !failed.is_empty() {
                return Err(CommitError::Condition(failed));
            }
            let transient = reasons.iter().any(|reason| {
                matches!(
                    reason.code(),
                    Some("TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded")
                )
            });
            if !transient {
                return Err(TableError::sdk("TransactWriteItems", error).into());
            }
            if attempt >= self.attempts {
                let detail = DisplayErrorContext(&error).to_string();
                return Err(TableError::Unavailable { operation: "TransactWriteItems", detail }.into());
            }
            back_off(attempt).await;
        }
        unreachable!("the loop ends by returning")
    }
}

/// Calls `act` again, with back-off, while its commit fails on a condition. At most 24 attempts.
///
/// # Errors
/// The error of the table, or [`TableError::Unavailable`] if the condition still fails after the last attempt.
pub async fn retried<F: Future<Output = Result<(), CommitError>>>(
    operation: &'static str,
    mut act: impl FnMut() -> F,
) -> Result<(), TableError> {
    for attempt in 1..=2 * ATTEMPTS {
        match act().await {
            Ok(()) => return Ok(()),
            Err(CommitError::Table(error)) => return Err(error),
            Err(CommitError::Condition(_)) => back_off(attempt).await,
        }
    }
    Err(TableError::Unavailable { operation, detail: "gave up after repeated write conflicts".to_owned() })
}

/// Deletes the items with these keys, if they exist.
///
/// # Errors
/// [`TableError`] if the table is unavailable.
pub async fn purge(table: &Table, pattern: &'static Pattern, keys: Vec<Key>) -> Result<(), TableError> {
    for keys in keys.chunks(MAX_WRITES) {
        let commit = keys.iter().fold(Commit::new(pattern), |commit, key| commit.purge("item", key));
        match commit.apply(table).await {
            Ok(()) => {}
            Err(CommitError::Table(error)) => return Err(error),
            Err(CommitError::Condition(_)) => unreachable!("there is no condition"),
        }
    }
    Ok(())
}

trait Reasons {
    fn reasons(&self) -> &[aws_sdk_dynamodb::types::CancellationReason];
}

impl Reasons for aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError {
    fn reasons(&self) -> &[aws_sdk_dynamodb::types::CancellationReason] {
        match self {
            Self::TransactionCanceledException(cancelled) => cancelled.cancellation_reasons(),
            _ => &[],
        }
    }
}

fn operation(write: &TransactWriteItem) -> Operation {
    if write.put.is_some() {
        Operation::Put
    } else if write.delete.is_some() {
        Operation::Delete
    } else if write.update.is_some() {
        Operation::Add
    } else {
        Operation::Check
    }
}

fn named(mut write: TransactWriteItem, table: &str) -> TransactWriteItem {
    let name = table.to_owned();
    if let Some(put) = &mut write.put {
        put.table_name = name;
    } else if let Some(delete) = &mut write.delete {
        delete.table_name = name;
    } else if let Some(update) = &mut write.update {
        update.table_name = name;
    } else if let Some(check) = &mut write.condition_check {
        check.table_name = name;
    }
    write
}

//! Counters and clocks: items with numbers that are added to.

use std::collections::HashMap;

use aws::Outcome;
use aws_sdk_dynamodb::{
    error::ProvideErrorMetadata,
    operation::update_item::UpdateItemError,
    types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use domain::secret;
use jiff::Timestamp;

use crate::{
    Item, Operation, Pattern, Table, TableError, back_off,
    entity::key_item,
    keys::{EXPIRES_AT, Key},
};

impl Table {
    /// Reads the counters of one item. An absent item has no counters.
    pub async fn counters(
        &self,
        pattern: &'static Pattern,
        key: &Key,
    ) -> Result<HashMap<String, i64>, TableError> {
        Ok(self.get_item(pattern, key, true).await?.as_ref().map(counters_of).unwrap_or_default())
    }

    /// Takes the next number of a counter, starting at 1, outside any transaction.
    ///
    /// The SDK retries a call whose response was lost, and an addition is not idempotent. Each call therefore
    /// stores a random mark and the number that it took in one of [`MARKS`] slots of the item. A retry finds its
    /// mark and takes no second number. If another call has overwritten the slot in the meantime, the retry takes a
    /// second number and the first one is skipped.
    pub async fn next_number(
        &self,
        pattern: &'static Pattern,
        key: &Key,
        counter: &str,
    ) -> Result<u64, TableError> {
        let [slot, mark @ ..] = secret::random::<10>();
        let (slot, mark) = (slot % MARKS, secret::encode(&mark));
        let (mark_name, number_name) = (format!("mark{slot}"), format!("number{slot}"));
        let mut update = UpdateExpression::of(
            "SET #number = if_not_exists(#counter, :zero) + :one, #mark = :mark ADD #counter :one",
        );
        update.condition = Some("attribute_not_exists(#mark) OR #mark <> :mark");
        update.name("#counter", counter).name("#number", &number_name).name("#mark", &mark_name);
        update.number(":zero", 0).number(":one", 1);
        update.values.insert(":mark".to_owned(), AttributeValue::S(mark));
        let (Updated::To(item) | Updated::Not(item)) = self.update(pattern, key, update).await?;
        let number = counters_of(&item).get(&number_name).and_then(|number| u64::try_from(*number).ok());
        number
            .ok_or_else(|| TableError::Malformed { entity: "counter", detail: "it has no number".to_owned() })
    }

    /// Reads the time of a clock. Returns `None` if there is no clock.
    pub async fn clock(&self, pattern: &'static Pattern, key: &Key) -> Result<Option<Timestamp>, TableError> {
        Ok(self.get_item(pattern, key, true).await?.as_ref().and_then(clock_of))
    }

    /// Advances a clock by `step` and returns where the clock stands. `step` and the times are in microseconds. The
    /// clock expires three minutes after the latest time that the call may set.
    ///
    /// If the SDK retries the call because its response was lost, the clock may advance twice. Its owner then has
    /// one turn less while the clock is ahead, and never one too many.
    pub async fn move_clock(
        &self,
        pattern: &'static Pattern,
        key: &Key,
        clock: Clock,
        step: i64,
    ) -> Result<Moved, TableError> {
        let (Clock::Restarted { at: latest } | Clock::GoesOn { latest }) = clock;
        let mut update = match clock {
            Clock::Restarted { at } => {
                let mut update = UpdateExpression::of("SET #clock = :to, #expires = :expires");
                update.condition = Some("attribute_not_exists(#clock) OR #clock <= :at");
                update.number(":to", at + step).number(":at", at);
                update
            }
            Clock::GoesOn { latest } => {
                let mut update = UpdateExpression::of("SET #clock = #clock + :step, #expires = :expires");
                update.condition = Some("#clock <= :latest");
                update.number(":step", step).number(":latest", latest);
                update
            }
        };
        update.name("#clock", CLOCK).name("#expires", EXPIRES_AT);
        update.number(":expires", (latest + step) / 1_000_000 + CLOCK_KEPT);
        let stands = |item: &Item| counters_of(item).get(CLOCK).copied().unwrap_or_default();
        Ok(match self.update(pattern, key, update).await? {
            Updated::To(item) => Moved::To(stands(&item)),
            Updated::Not(item) => Moved::Not { stands: stands(&item) },
        })
    }

    async fn update(
        &self,
        pattern: &'static Pattern,
        key: &Key,
        update: UpdateExpression,
    ) -> Result<Updated, TableError> {
        self.count(pattern, &[Operation::Update]);
        let request = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key_item(key)))
            .update_expression(update.expression)
            .set_condition_expression(update.condition.map(str::to_owned))
            .set_expression_attribute_names(Some(update.names))
            .set_expression_attribute_values(Some(update.values))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let (mut attempt, watch) = (0, Outcome::default());
        let outcome = loop {
            match request.clone().customize().interceptor(watch.clone()).send().await {
                // A transaction holds the item. The SDK does not retry this error.
                Err(error)
                    if attempt < 8
                        && error.as_service_error().and_then(ProvideErrorMetadata::code)
                            == Some("TransactionConflictException") =>
                {
                    attempt += 1;
                    back_off(attempt).await;
                }
                outcome => break outcome,
            }
        };
        match outcome {
            Ok(output) => Ok(Updated::To(output.attributes.unwrap_or_default())),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    Ok(Updated::Not(failed.item.clone().unwrap_or_default()))
                }
                _ => Err(TableError::of_write("UpdateItem", error, &watch)),
            },
        }
    }
}

enum Updated {
    To(Item),
    /// The condition did not hold. The item is unchanged.
    Not(Item),
}

/// Number of calls that a counter remembers. The item with eight marks still costs one write unit.
const MARKS: u8 = 8;
/// Attribute that holds the time of a clock.
const CLOCK: &str = "arrival";
/// Seconds that a clock is kept after the latest time that it may show.
const CLOCK_KEPT: i64 = 180;

/// Returns the time of a clock.
pub fn clock_of(item: &Item) -> Option<Timestamp> {
    counters_of(item).get(CLOCK).and_then(|micros| Timestamp::from_microsecond(*micros).ok())
}

/// Starting point of an advance, in microseconds.
#[derive(Clone, Copy)]
pub enum Clock {
    /// The clock starts again from this time. Requires that the clock is absent or not later than this time.
    Restarted { at: i64 },
    /// The clock advances from where it stands. Requires that the clock is not later than this time.
    GoesOn { latest: i64 },
}

pub enum Moved {
    To(i64),
    /// The condition did not hold. `stands` is the time of the clock, or 0 if there is no clock.
    Not {
        stands: i64,
    },
}

/// Update expression with its names, values and condition.
pub struct UpdateExpression {
    pub expression: String,
    pub names: HashMap<String, String>,
    pub values: HashMap<String, AttributeValue>,
    pub condition: Option<&'static str>,
}

impl UpdateExpression {
    pub fn of(expression: impl Into<String>) -> Self {
        Self { expression: expression.into(), names: HashMap::new(), values: HashMap::new(), condition: None }
    }

    /// Returns an update that adds to counters.
    pub fn add(counters: &[(&str, i64)]) -> Self {
        let clauses: Vec<_> = (0..counters.len()).map(|n| format!("#a{n} :a{n}")).collect();
        let mut update = Self::of(format!("ADD {}", clauses.join(", ")));
        for (n, (name, by)) in counters.iter().enumerate() {
            update.name(&format!("#a{n}"), name).number(&format!(":a{n}"), by);
        }
        update
    }

    pub fn name(&mut self, placeholder: &str, name: &str) -> &mut Self {
        self.names.insert(placeholder.to_owned(), name.to_owned());
        self
    }

    pub fn number(&mut self, placeholder: &str, number: impl ToString) -> &mut Self {
        self.values.insert(placeholder.to_owned(), AttributeValue::N(number.to_string()));
        self
    }
}

/// Returns the attributes of an item that are whole numbers.
pub fn counters_of(item: &Item) -> HashMap<String, i64> {
    item.iter().filter_map(|(name, value)| Some((name.clone(), value.as_n().ok()?.parse().ok()?))).collect()
}

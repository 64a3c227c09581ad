//! The one door to DynamoDB.
//!
//! Every method takes the [`Pattern`] it serves and checks that the pattern
//! allows the operation; the pattern's calls are counted on the meter.

use std::collections::{HashMap, HashSet};

use aws::{Env, EnvError, Meter, Outcome};
use aws_sdk_dynamodb::{
    Client,
    config::{IdentityCache, StalledStreamProtectionConfig},
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    operation::update_item::UpdateItemError,
    types::{AttributeValue, KeysAndAttributes, ReturnValue, ReturnValuesOnConditionCheckFailure, Select},
};
use domain::secret;
use jiff::Timestamp;

use crate::{
    cursor::{Cursor, Page},
    entities::{Entity, Item, due_at},
    keys::{GSI1, GSI2, Key, PK, SK},
    patterns::{Operation, Pattern},
};

/// Why the table could not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// DynamoDB is overloaded or out of reach, and nothing was written: the same call may work later.
    #[error("DynamoDB is not available for {operation}: {detail}")]
    Unavailable { operation: &'static str, detail: String },
    /// A write was sent and its outcome is unknown: DynamoDB may have applied it.
    #[error("DynamoDB may have applied {operation}: {detail}")]
    Unknown { operation: &'static str, detail: String },
    #[error("DynamoDB refused {operation}: {detail}")]
    Refused { operation: &'static str, detail: String },
    /// An item does not have the shape that its type promises.
    #[error("an item of type {entity} is malformed: {detail}")]
    Malformed { entity: &'static str, detail: String },
    #[error(transparent)]
    Environment(#[from] EnvError),
}

impl StoreError {
    /// Whether what failed may have been written all the same.
    pub fn may_be_applied(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }

    /// Why a write failed, all of whose attempts `outcome` watched.
    pub(crate) fn of_write<E>(operation: &'static str, error: SdkError<E>, outcome: &Outcome) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
        SdkError<E>: std::error::Error,
    {
        // An earlier call with the same token is still being carried out.
        let in_progress = error.as_service_error().and_then(ProvideErrorMetadata::code)
            == Some("TransactionInProgressException");
        if in_progress || outcome.is_unknown() {
            return Self::Unknown { operation, detail: DisplayErrorContext(&error).to_string() };
        }
        Self::sdk(operation, error)
    }

    /// Why a read failed, or a write that was not applied.
    pub(crate) fn sdk<E>(operation: &'static str, error: SdkError<E>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
        SdkError<E>: std::error::Error,
    {
        let transient = match &error {
            SdkError::ServiceError(service) => matches!(
                service.err().code(),
                Some(
                    "ProvisionedThroughputExceededException"
                        | "ThrottlingException"
                        | "RequestLimitExceeded"
                        | "InternalServerError"
                        | "TransactionConflictException"
                        | "ServiceUnavailable"
                )
            ),
            _ => true,
        };
        let detail = DisplayErrorContext(&error).to_string();
        if transient { Self::Unavailable { operation, detail } } else { Self::Refused { operation, detail } }
    }
}

/// Which items of a partition a query wants, by sort key.
#[derive(Clone, Debug)]
pub enum Range {
    All,
    BeginsWith(String),
    /// Exclusive.
    After(String),
    /// Exclusive.
    Before(String),
    /// Inclusive.
    AtMost(String),
    /// Both inclusive.
    Between(String, String),
}

/// A query of one partition.
#[derive(Clone, Debug)]
pub struct Query {
    pub pk: String,
    pub range: Range,
    pub limit: Option<usize>,
    pub newest_first: bool,
    pub consistent: bool,
}

impl Query {
    pub fn partition(pk: String) -> Self {
        Self { pk, range: Range::All, limit: None, newest_first: false, consistent: false }
    }
}

/// What a query's items have to fulfil besides their keys.
#[derive(Clone, Debug)]
pub struct Filter {
    pub expression: &'static str,
    pub names: Vec<(&'static str, &'static str)>,
    pub values: Vec<(&'static str, AttributeValue)>,
}

/// The table, as one function sees it. Cheap to clone.
#[derive(Clone)]
pub struct Table {
    pub(crate) client: Client,
    pub(crate) name: String,
    meter: Meter,
}

impl Table {
    /// # Errors
    /// When `TABLE_NAME` or the credentials are missing.
    pub fn from_env(env: &Env) -> Result<Self, StoreError> {
        // Nothing is streamed to or from DynamoDB: an attempt's time-out covers its bodies, and watching
        // their throughput as well is paid for by every call.
        let client = aws::client!(
            aws_sdk_dynamodb,
            env,
            "DYNAMODB",
            stalled_stream_protection = StalledStreamProtectionConfig::disabled(),
            identity_cache = IdentityCache::no_cache()
        )?;
        Ok(Self { client, name: env.require("TABLE_NAME")?.to_owned(), meter: env.meter().clone() })
    }

    /// Counts one call, which makes these operations.
    pub(crate) fn count(&self, pattern: &'static Pattern, operations: &[Operation]) {
        for operation in operations {
            debug_assert!(
                pattern.operations.contains(operation),
                "pattern {} does not list {operation:?}",
                pattern.id
            );
        }
        self.meter.count(pattern.id, operations.iter().map(|operation| operation.name()));
    }

    /// Whether the table answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.get_item(&crate::patterns::PING, &Key::new(&["PING"], &["PING"]), false).await.map(drop)
    }

    async fn get_item(
        &self,
        pattern: &'static Pattern,
        key: &Key,
        consistent: bool,
    ) -> Result<Option<Item>, StoreError> {
        self.count(pattern, &[Operation::Get]);
        let output = self
            .client
            .get_item()
            .table_name(&self.name)
            .set_key(Some(key_item(key)))
            .consistent_read(consistent)
            .send()
            .await
            .map_err(|error| StoreError::sdk("GetItem", error))?;
        Ok(output.item)
    }

    /// Reads one item, consistently.
    pub(crate) async fn get<E: Entity>(
        &self,
        pattern: &'static Pattern,
        key: &Key,
    ) -> Result<Option<E>, StoreError> {
        let found = self.get_item(pattern, key, true).await?.map(E::from_item).transpose()?;
        Ok(found.filter(is_current))
    }

    /// Reads the counters of one item; an absent item has none.
    pub(crate) async fn counters(
        &self,
        pattern: &'static Pattern,
        key: &Key,
    ) -> Result<HashMap<String, i64>, StoreError> {
        Ok(self.get_item(pattern, key, true).await?.as_ref().map(counters_of).unwrap_or_default())
    }

    /// Reads items of mixed types in one call, consistently; absent ones are left out.
    /// More than 100 keys take several calls.
    pub(crate) async fn batch_get(
        &self,
        pattern: &'static Pattern,
        keys: &[Key],
    ) -> Result<HashMap<Key, Item>, StoreError> {
        self.batch_get_only(pattern, keys, &[]).await
    }

    /// The same, but of each item only its key and these attributes; all when none is named.
    pub(crate) async fn batch_get_only(
        &self,
        pattern: &'static Pattern,
        keys: &[Key],
        attributes: &[String],
    ) -> Result<HashMap<Key, Item>, StoreError> {
        let projection = (!attributes.is_empty()).then(|| format!("{PK}, {SK}, {}", attributes.join(", ")));
        let mut found = HashMap::new();
        // DynamoDB takes each key once.
        let mut known = HashSet::new();
        let mut pending: Vec<Item> = keys.iter().filter(|key| known.insert(*key)).map(key_item).collect();
        let mut attempt = 0;
        while !pending.is_empty() {
            let rest = pending.split_off(pending.len().min(100));
            self.count(pattern, &[Operation::BatchGet]);
            let request = KeysAndAttributes::builder()
                .set_keys(Some(pending))
                .consistent_read(true)
                .set_projection_expression(projection.clone())
                .build()
                .map_err(|error| StoreError::Refused {
                    operation: "BatchGetItem",
                    detail: error.to_string(),
                })?;
            let output = self
                .client
                .batch_get_item()
                .request_items(&self.name, request)
                .send()
                .await
                .map_err(|error| StoreError::sdk("BatchGetItem", error))?;
            for item in output.responses.into_iter().flatten().flat_map(|(_, items)| items) {
                if let Some(key) = key_of(&item) {
                    found.insert(key, item);
                }
            }
            pending = rest;
            let unprocessed: Vec<Item> =
                output.unprocessed_keys.into_iter().flatten().flat_map(|(_, keys)| keys.keys).collect();
            if !unprocessed.is_empty() {
                attempt += 1;
                if attempt > 8 {
                    let detail = "keys stay unprocessed".to_owned();
                    return Err(StoreError::Unavailable { operation: "BatchGetItem", detail });
                }
                crate::commit::back_off(attempt).await;
                pending.extend(unprocessed);
            }
        }
        Ok(found)
    }

    fn query_request(
        &self,
        index: Option<&'static str>,
        query: &Query,
    ) -> aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder {
        let (pk, sk) = match index {
            Some(GSI1) => ("GSI1PK", "GSI1SK"),
            Some(GSI2) => ("GSI2PK", "GSI2SK"),
            _ => (PK, SK),
        };
        let mut request = self
            .client
            .query()
            .table_name(&self.name)
            .set_index_name(index.map(str::to_owned))
            .expression_attribute_names("#pk", pk)
            .expression_attribute_values(":pk", AttributeValue::S(query.pk.clone()))
            .consistent_read(query.consistent)
            .scan_index_forward(!query.newest_first)
            .set_limit(query.limit.and_then(|limit| i32::try_from(limit).ok()));
        let (condition, bound) = match &query.range {
            Range::All => ("#pk = :pk", None),
            Range::BeginsWith(prefix) => ("#pk = :pk AND begins_with(#sk, :sk)", Some(prefix)),
            Range::After(bound) => ("#pk = :pk AND #sk > :sk", Some(bound)),
            Range::Before(bound) => ("#pk = :pk AND #sk < :sk", Some(bound)),
            Range::AtMost(bound) => ("#pk = :pk AND #sk <= :sk", Some(bound)),
            Range::Between(bound, last) => {
                request = request.expression_attribute_values(":last", AttributeValue::S(last.clone()));
                ("#pk = :pk AND #sk BETWEEN :sk AND :last", Some(bound))
            }
        };
        request = request.key_condition_expression(condition);
        if let Some(bound) = bound {
            request = request
                .expression_attribute_names("#sk", sk)
                .expression_attribute_values(":sk", AttributeValue::S(bound.clone()));
        }
        request
    }

    /// Reads items of mixed types from one partition, following pages up to the limit.
    pub(crate) async fn query_items(
        &self,
        pattern: &'static Pattern,
        query: Query,
    ) -> Result<Vec<Item>, StoreError> {
        let mut items = Vec::new();
        self.each_item(pattern, query, |item| {
            items.push(item);
            true
        })
        .await?;
        Ok(items)
    }

    /// The same, each item as it comes; whether it counts for the limit is the answer.
    pub(crate) async fn each_item(
        &self,
        pattern: &'static Pattern,
        query: Query,
        mut act: impl FnMut(Item) -> bool,
    ) -> Result<(), StoreError> {
        let (mut counted, mut start) = (0, None);
        loop {
            self.count(pattern, &[Operation::Query]);
            let output = self
                .query_request(pattern.index, &query)
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|error| StoreError::sdk("Query", error))?;
            for item in output.items.unwrap_or_default() {
                counted += usize::from(act(item));
            }
            start = output.last_evaluated_key;
            let full = query.limit.is_some_and(|limit| counted >= limit);
            if start.is_none() || full {
                return Ok(());
            }
        }
    }

    /// Reads what is current of one partition, following pages up to the limit: what has expired stays for days.
    pub(crate) async fn query<E: Entity>(
        &self,
        pattern: &'static Pattern,
        query: Query,
    ) -> Result<Vec<E>, StoreError> {
        let most = query.limit.unwrap_or(usize::MAX);
        let mut found = Vec::new();
        self.each_item(pattern, query, |item| {
            let entity = E::from_item(item);
            let is_current = entity.as_ref().map_or(true, is_current);
            if is_current {
                found.push(entity);
            }
            is_current
        })
        .await?;
        found.truncate(most);
        found.into_iter().collect()
    }

    /// Reads into a partition until some items pass the filter, or so many pages were read. Also says whether any
    /// item was passed over.
    pub(crate) async fn query_until(
        &self,
        pattern: &'static Pattern,
        mut query: Query,
        filter: &Filter,
        pages: usize,
    ) -> Result<(Vec<Item>, bool), StoreError> {
        let mut passed_over = false;
        let mut start = None;
        for page in 1.. {
            self.count(pattern, &[Operation::Query]);
            let mut request = self.query_request(pattern.index, &query).filter_expression(filter.expression);
            for (placeholder, name) in &filter.names {
                request = request.expression_attribute_names(*placeholder, *name);
            }
            for (placeholder, value) in &filter.values {
                request = request.expression_attribute_values(*placeholder, value.clone());
            }
            let output = request
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|error| StoreError::sdk("Query", error))?;
            passed_over |= output.scanned_count > output.count;
            let found = output.items.unwrap_or_default();
            start = output.last_evaluated_key;
            if !found.is_empty() || start.is_none() || page == pages {
                return Ok((found, passed_over));
            }
            // What was passed over once is a sign of more. A page of 1 MB has some 3,000 codes.
            query.limit = query.limit.map(|limit| limit.saturating_mul(8).min(4096));
        }
        unreachable!("the loop ends by returning")
    }

    /// A page of the list that lies in these partitions, ordered by sort key.
    ///
    /// Popular lists are spread over several partitions: each gives a page, and the
    /// first of all of them is the page.
    pub(crate) async fn page<E: Entity>(
        &self,
        pattern: &'static Pattern,
        partitions: &[String],
        newest_first: bool,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<E>, StoreError> {
        let range = match (after, newest_first) {
            (None, _) => Range::All,
            (Some(cursor), false) => Range::After(cursor.0),
            (Some(cursor), true) => Range::Before(cursor.0),
        };
        let mut found = Vec::new();
        for pk in partitions {
            let query = Query {
                range: range.clone(),
                limit: Some(limit + 1),
                newest_first,
                // An index has no consistent reads.
                consistent: pattern.index.is_none(),
                pk: pk.clone(),
            };
            let entities: Vec<E> = self.query(pattern, query).await?;
            found.extend(entities.into_iter().map(|entity| (sort_key(&entity, pattern.index), entity)));
        }
        found.sort_by(|(a, _), (b, _)| if newest_first { b.cmp(a) } else { a.cmp(b) });
        Ok(Page::cut(found, limit, |(key, _)| key.clone()).map(|(_, entity)| entity))
    }

    /// What is due by now in a partition, the most overdue first. What can't be read is passed over, since the rest
    /// would wait behind it for ever.
    pub(crate) async fn due<E: Entity>(
        &self,
        pattern: &'static Pattern,
        partition: String,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<E>, StoreError> {
        let range = Range::Before(due_at(now));
        let query = Query { range, limit: Some(limit), ..Query::partition(partition) };
        let mut due = Vec::new();
        self.each_item(pattern, query, |item| {
            let key = item.get(PK).and_then(|key| key.as_s().ok()).cloned();
            match E::from_item(item) {
                Ok(entity) if is_current(&entity) => {
                    due.push(entity);
                    true
                }
                Ok(_) => false,
                Err(error) => {
                    tracing::error!(cause = %error, key, "something that is due can't be read");
                    false
                }
            }
        })
        .await?;
        due.truncate(limit);
        Ok(due)
    }

    /// Counts the items of a partition that are in range.
    pub(crate) async fn count_items(
        &self,
        pattern: &'static Pattern,
        query: Query,
    ) -> Result<u64, StoreError> {
        let mut total = 0;
        let mut start = None;
        loop {
            self.count(pattern, &[Operation::Query]);
            let output = self
                .query_request(pattern.index, &query)
                .select(Select::Count)
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|error| StoreError::sdk("Query", error))?;
            total += u64::try_from(output.count).unwrap_or_default();
            start = output.last_evaluated_key;
            if start.is_none() {
                return Ok(total);
            }
        }
    }

    /// Takes the next number of a counter, counted from 1, outside any transaction.
    ///
    /// The SDK repeats a call whose answer was lost, and adding is not idempotent. So each call leaves a mark beside
    /// the counter, with the number that it took: the repetition finds the mark and takes no second number. There are
    /// [`MARKS`] of them. Only when another call has overwritten the mark meanwhile, a number is skipped.
    pub(crate) async fn next_number(
        &self,
        pattern: &'static Pattern,
        key: &Key,
        counter: &str,
    ) -> Result<u64, StoreError> {
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
        let (Ok(item) | Err(item)) = self.update(pattern, key, update).await?;
        let number = counters_of(&item).get(&number_name).and_then(|number| u64::try_from(*number).ok());
        number
            .ok_or_else(|| StoreError::Malformed { entity: "counter", detail: "it has no number".to_owned() })
    }

    /// Where a clock stands; `None` when there is none.
    pub(crate) async fn clock(
        &self,
        pattern: &'static Pattern,
        key: &Key,
    ) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.get_item(pattern, key, true).await?.as_ref().and_then(clock_of))
    }

    /// Moves a clock by `step`; both are in microseconds. A clock is forgotten three minutes after the
    /// latest time that it may show.
    ///
    /// When the SDK repeats the call because its answer was lost, the clock may move twice: its owner then has one
    /// turn less for as long as the clock is ahead, and never one too many.
    pub(crate) async fn move_clock(
        &self,
        pattern: &'static Pattern,
        key: &Key,
        clock: Clock,
        step: i64,
    ) -> Result<Moved, StoreError> {
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
        update.name("#clock", CLOCK).name("#expires", crate::keys::EXPIRES_AT);
        update.number(":expires", (latest + step) / 1_000_000 + CLOCK_KEPT);
        let stands = |item: &Item| counters_of(item).get(CLOCK).copied().unwrap_or_default();
        Ok(match self.update(pattern, key, update).await? {
            Ok(item) => Moved::To(stands(&item)),
            Err(item) => Moved::Not { stands: stands(&item) },
        })
    }

    /// The new item, or the old one when the condition didn't hold.
    async fn update(
        &self,
        pattern: &'static Pattern,
        key: &Key,
        update: UpdateExpression,
    ) -> Result<Result<Item, Item>, StoreError> {
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
                // A transaction holds the item: the SDK leaves that to the caller.
                Err(error)
                    if attempt < 8
                        && error.as_service_error().and_then(ProvideErrorMetadata::code)
                            == Some("TransactionConflictException") =>
                {
                    attempt += 1;
                    crate::commit::back_off(attempt).await;
                }
                outcome => break outcome,
            }
        };
        match outcome {
            Ok(output) => Ok(Ok(output.attributes.unwrap_or_default())),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    Ok(Err(failed.item.clone().unwrap_or_default()))
                }
                _ => Err(StoreError::of_write("UpdateItem", error, &watch)),
            },
        }
    }
}

/// Calls whose numbers a counter remembers: few enough for the item to cost one write unit.
const MARKS: u8 = 8;
/// The attribute of a clock.
const CLOCK: &str = "arrival";
/// How long a clock is kept after it was moved, in seconds.
const CLOCK_KEPT: i64 = 180;

/// Where a clock stands.
pub(crate) fn clock_of(item: &Item) -> Option<Timestamp> {
    counters_of(item).get(CLOCK).and_then(|micros| Timestamp::from_microsecond(*micros).ok())
}

/// From where a clock is moved.
#[derive(Clone, Copy)]
pub(crate) enum Clock {
    /// From now, when it isn't ahead.
    Restarted { at: i64 },
    /// From where it stands, when that is not later than this.
    GoesOn { latest: i64 },
}

pub(crate) enum Moved {
    To(i64),
    /// It doesn't stand where it would have to; 0 when there is none.
    Not {
        stands: i64,
    },
}

/// What orders an entity in the table or an index.
fn sort_key<E: Entity>(entity: &E, index: Option<&str>) -> String {
    match index {
        None => entity.key().sk,
        Some(index) => {
            let keys = entity.index_keys().into_iter();
            keys.filter(|key| key.index == index).map(|key| key.sk).next().unwrap_or_default()
        }
    }
}

/// DynamoDB deletes what has expired within days; until then it is not there for us.
fn is_current<E: Entity>(entity: &E) -> bool {
    entity.expires().is_none_or(|at| at > Timestamp::now())
}

/// An update expression with its names and values.
pub(crate) struct UpdateExpression {
    pub expression: String,
    pub names: HashMap<String, String>,
    pub values: HashMap<String, AttributeValue>,
    pub condition: Option<&'static str>,
}

impl UpdateExpression {
    fn of(expression: impl Into<String>) -> Self {
        Self { expression: expression.into(), names: HashMap::new(), values: HashMap::new(), condition: None }
    }

    /// Adds to counters.
    pub fn add(counters: &[(&str, i64)]) -> Self {
        let clauses: Vec<_> = (0..counters.len()).map(|n| format!("#a{n} :a{n}")).collect();
        let mut update = Self::of(format!("ADD {}", clauses.join(", ")));
        for (n, (name, by)) in counters.iter().enumerate() {
            update.name(&format!("#a{n}"), name).number(&format!(":a{n}"), by);
        }
        update
    }

    fn name(&mut self, placeholder: &str, name: &str) -> &mut Self {
        self.names.insert(placeholder.to_owned(), name.to_owned());
        self
    }

    pub fn number(&mut self, placeholder: &str, number: impl ToString) -> &mut Self {
        self.values.insert(placeholder.to_owned(), AttributeValue::N(number.to_string()));
        self
    }
}

/// The attributes of an item that are whole numbers.
pub(crate) fn counters_of(item: &Item) -> HashMap<String, i64> {
    item.iter().filter_map(|(name, value)| Some((name.clone(), value.as_n().ok()?.parse().ok()?))).collect()
}

pub(crate) fn key_item(key: &Key) -> Item {
    HashMap::from([
        (PK.to_owned(), AttributeValue::S(key.pk.clone())),
        (SK.to_owned(), AttributeValue::S(key.sk.clone())),
    ])
}

pub(crate) fn key_of(item: &Item) -> Option<Key> {
    Some(Key { pk: item.get(PK)?.as_s().ok()?.clone(), sk: item.get(SK)?.as_s().ok()?.clone() })
}

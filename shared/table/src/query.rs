//! Queries of one partition, and pages of lists that are spread over several partitions.

use aws_sdk_dynamodb::{
    operation::query::builders::QueryFluentBuilder,
    types::{AttributeValue, Select},
};
use futures_util::future::try_join_all;
use jiff::Timestamp;

use crate::{
    Cursor, Item, Page, Pattern, Table, TableError,
    entity::{Entity, due_at},
    keys::{GSI1, GSI2, PK, SK},
    pattern::Operation,
    table::is_current,
};

/// Range of sort keys that a query reads.
#[derive(Clone, Debug)]
pub enum Range {
    All,
    BeginsWith(String),
    /// Sort keys greater than this one.
    After(String),
    /// Sort keys less than this one.
    Before(String),
    /// Sort keys up to and including this one.
    AtMost(String),
    /// Sort keys from the first one to the second one, both included.
    Between(String, String),
}

/// Query of one partition.
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

/// Condition on attributes that are not part of the key. DynamoDB applies the condition after reading the items.
#[derive(Clone, Debug)]
pub struct Filter {
    pub expression: &'static str,
    pub names: Vec<(&'static str, &'static str)>,
    pub values: Vec<(&'static str, AttributeValue)>,
}

impl Table {
    fn query_request(&self, index: Option<&'static str>, query: &Query) -> QueryFluentBuilder {
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

    /// Reads items of mixed types from one partition. Follows pages until `limit` items are read or the range ends.
    pub async fn query_items(
        &self,
        pattern: &'static Pattern,
        query: Query,
    ) -> Result<Vec<Item>, TableError> {
        let mut items = Vec::new();
        self.each_item(pattern, query, &mut |item| {
            items.push(item);
            true
        })
        .await?;
        Ok(items)
    }

    /// Calls `act` for each item of a query. Follows pages until `limit` items count or the range ends. `act`
    /// returns true if the item counts towards the limit.
    pub async fn each_item(
        &self,
        pattern: &'static Pattern,
        query: Query,
        act: &mut (dyn FnMut(Item) -> bool + Send),
    ) -> Result<(), TableError> {
        let (mut counted, mut start) = (0, None);
        loop {
            self.count(pattern, &[Operation::Query]);
            let output = self
                .query_request(pattern.index, &query)
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|error| TableError::sdk("Query", error))?;
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

    /// Reads at most `limit` items of one partition. Skips expired items, which stay in the table for days.
    pub async fn query<E: Entity>(
        &self,
        pattern: &'static Pattern,
        query: Query,
    ) -> Result<Vec<E>, TableError> {
        self.current_items(pattern, query).await?.into_iter().map(E::from_item).collect()
    }

    async fn current_items(&self, pattern: &'static Pattern, query: Query) -> Result<Vec<Item>, TableError> {
        let (now, most) = (Timestamp::now(), query.limit.unwrap_or(usize::MAX));
        let mut found = Vec::new();
        self.each_item(pattern, query, &mut |item| {
            let is_current = is_current(&item, now);
            if is_current {
                found.push(item);
            }
            is_current
        })
        .await?;
        found.truncate(most);
        Ok(found)
    }

    /// Reads a partition with a filter until at least one item passes the filter or `pages` pages were read. The
    /// second value is true if the filter rejected any item.
    pub async fn query_until(
        &self,
        pattern: &'static Pattern,
        mut query: Query,
        filter: &Filter,
        pages: usize,
    ) -> Result<(Vec<Item>, bool), TableError> {
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
                .map_err(|error| TableError::sdk("Query", error))?;
            passed_over |= output.scanned_count > output.count;
            let found = output.items.unwrap_or_default();
            start = output.last_evaluated_key;
            if !found.is_empty() || start.is_none() || page == pages {
                return Ok((found, passed_over));
            }
            // Items that fail the filter tend to lie together, so each further page is eight times as large, up to
            // 4,096 items. DynamoDB ends a page at 1 MB, which is about 3,000 codes.
            query.limit = query.limit.map(|limit| limit.saturating_mul(8).min(4096));
        }
        unreachable!("the loop ends by returning")
    }

    /// Reads a page of the list that lies in these partitions, ordered by sort key.
    ///
    /// A list with many writes is spread over several partitions. All partitions are queried concurrently for
    /// `limit + 1` items each; the items are merged by sort key and cut to `limit`.
    pub async fn page<E: Entity>(
        &self,
        pattern: &'static Pattern,
        partitions: &[String],
        newest_first: bool,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<E>, TableError> {
        let range = match (after, newest_first) {
            (None, _) => Range::All,
            (Some(cursor), false) => Range::After(cursor.0),
            (Some(cursor), true) => Range::Before(cursor.0),
        };
        let queries = partitions.iter().map(|pk| Query {
            range: range.clone(),
            limit: Some(limit + 1),
            newest_first,
            // An index has no consistent reads.
            consistent: pattern.index.is_none(),
            pk: pk.clone(),
        });
        let items = self.current_items_of_each(pattern, queries.collect()).await?;
        let entities: Vec<E> = items.into_iter().map(E::from_item).collect::<Result<_, _>>()?;
        let mut found: Vec<_> =
            entities.into_iter().map(|entity| (sort_key(&entity, pattern.index), entity)).collect();
        found.sort_by(|(a, _), (b, _)| if newest_first { b.cmp(a) } else { a.cmp(b) });
        Ok(Page::cut(found, limit, |(key, _)| key.clone()).map(|(_, entity)| entity))
    }

    async fn current_items_of_each(
        &self,
        pattern: &'static Pattern,
        queries: Vec<Query>,
    ) -> Result<Vec<Item>, TableError> {
        let queries = queries.into_iter().map(|query| self.current_items(pattern, query));
        Ok(try_join_all(queries).await?.into_iter().flatten().collect())
    }

    /// Reads the items of a partition that are due before `now`, the most overdue first. An item that can't be read
    /// is logged and skipped; otherwise it would block the items behind it for ever.
    pub async fn due<E: Entity>(
        &self,
        pattern: &'static Pattern,
        partition: String,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<E>, TableError> {
        let range = Range::Before(due_at(now));
        let query = Query { range, limit: Some(limit), ..Query::partition(partition) };
        let mut due = Vec::new();
        self.each_item(pattern, query, &mut |item| {
            if !is_current(&item, now) {
                return false;
            }
            let key = item.get(PK).and_then(|key| key.as_s().ok()).cloned();
            match E::from_item(item) {
                Ok(entity) => {
                    due.push(entity);
                    true
                }
                Err(error) => {
                    tracing::error!(cause = %error, key, "due item can't be read");
                    false
                }
            }
        })
        .await?;
        due.truncate(limit);
        Ok(due)
    }

    /// Counts the items of a partition that are in range.
    pub async fn count_items(&self, pattern: &'static Pattern, query: Query) -> Result<u64, TableError> {
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
                .map_err(|error| TableError::sdk("Query", error))?;
            total += u64::try_from(output.count).unwrap_or_default();
            start = output.last_evaluated_key;
            if start.is_none() {
                return Ok(total);
            }
        }
    }
}

/// Returns the sort key of an entity in the table, or in this index.
fn sort_key<E: Entity>(entity: &E, index: Option<&str>) -> String {
    match index {
        None => entity.key().sk,
        Some(index) => {
            let keys = entity.index_keys().into_iter();
            keys.filter(|key| key.index == index).map(|key| key.sk).next().unwrap_or_default()
        }
    }
}

//! Access patterns: what may be asked of the table, and how.

/// What is asked of DynamoDB. Writes are named one by one, because a function needs the
/// permission for each kind that its transactions hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Get,
    BatchGet,
    Query,
    /// Alone; the others are parts of a transaction.
    Update,
    Add,
    Check,
    Delete,
    Put,
}

impl Operation {
    /// The name of the permission.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GetItem",
            Self::BatchGet => "BatchGetItem",
            Self::Query => "Query",
            Self::Update | Self::Add => "UpdateItem",
            Self::Check => "ConditionCheckItem",
            Self::Delete => "DeleteItem",
            Self::Put => "PutItem",
        }
    }

    fn is_in_transaction(self) -> bool {
        matches!(self, Self::Add | Self::Check | Self::Delete | Self::Put)
    }
}

/// One access pattern.
#[derive(Debug)]
pub struct Pattern {
    pub id: &'static str,
    pub question: &'static str,
    pub caller: &'static str,
    pub operations: &'static [Operation],
    pub index: Option<&'static str>,
    pub keys: &'static str,
}

impl Pattern {
    /// The functions that ask it as far as the pattern itself says, by the names of their crates.
    pub fn callers(&self) -> impl Iterator<Item = &'static str> {
        self.caller.split(", ").filter(|name| !name.is_empty())
    }

    /// The calls as the document puts them.
    fn calls(&self) -> String {
        let names = |in_transaction| {
            let all = self.operations.iter().filter(move |one| one.is_in_transaction() == in_transaction);
            all.map(|operation| operation.name()).collect::<Vec<_>>().join(", ")
        };
        match (names(false), names(true)) {
            (alone, writes) if writes.is_empty() => alone,
            (alone, writes) if alone.is_empty() => format!("TransactWriteItems of {writes}"),
            (alone, writes) => format!("{alone}, TransactWriteItems of {writes}"),
        }
    }

    /// Base-table reads are strongly consistent, index reads can't be.
    fn consistency(&self) -> &'static str {
        match (self.index, self.operations) {
            (Some(_), _) => "eventual",
            (None, operations) if operations.iter().all(|operation| operation.is_in_transaction()) => {
                "transaction"
            }
            (None, _) => "strong",
        }
    }

    /// The pattern's row in the document: id, question, callers, operation, index, keys, consistency.
    pub fn row(&self, callers: &[&str]) -> String {
        format!(
            "| {} | {} | {} | {} | {} | {} | {} |\n",
            self.id,
            self.question,
            callers.join(", "),
            self.calls(),
            self.index.unwrap_or("table"),
            self.keys,
            self.consistency()
        )
    }
}

/// Declares access patterns as statics, and `ALL` of them in the order in which they are written: the name, the id, the
/// functions that ask, the operations, the index, the keys, and the question.
#[macro_export]
macro_rules! patterns {
    ($($name:ident $id:literal $caller:literal [$($operation:ident)+] $index:expr, $keys:literal, $question:literal;)*) => {
        $(pub static $name: $crate::Pattern = $crate::Pattern {
            id: $id, question: $question, caller: $caller,
            operations: &[$($crate::Operation::$operation),+], index: $index, keys: $keys,
        };)*
        /// All of them, in the order of the document.
        pub static ALL: &[&$crate::Pattern] = &[$(&$name),*];
    };
}

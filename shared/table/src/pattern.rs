//! Access patterns: the operations that functions perform on the table.

/// DynamoDB operation. The writes of a transaction are listed one by one, because a function needs the permission
/// for each kind of write in its transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Get,
    BatchGet,
    Query,
    /// `UpdateItem` outside a transaction. The variants below are parts of a transaction.
    Update,
    Add,
    Check,
    Delete,
    Put,
}

impl Operation {
    /// Name of the IAM permission, without the `dynamodb:` prefix.
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

/// Declared access pattern.
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
    /// Returns the names of the crates of the functions that use the pattern, as far as the pattern itself names
    /// them.
    pub fn callers(&self) -> impl Iterator<Item = &'static str> {
        self.caller.split(", ").filter(|name| !name.is_empty())
    }

    /// Returns the calls in the form that the document of access patterns shows.
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

    /// Returns the consistency of the reads: strong in the table, eventual in an index.
    fn consistency(&self) -> &'static str {
        match (self.index, self.operations) {
            (Some(_), _) => "eventual",
            (None, operations) if operations.iter().all(|operation| operation.is_in_transaction()) => {
                "transaction"
            }
            (None, _) => "strong",
        }
    }

    /// Returns the row of the pattern in the document: id, question, callers, operations, index, keys, consistency.
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

/// Declares access patterns as statics, and `ALL` as the list of them in the order of declaration. The arguments
/// are the name, the id, the functions that use the pattern, the operations, the index, the keys and the question.
#[macro_export]
macro_rules! patterns {
    ($($name:ident $id:literal $caller:literal [$($operation:ident)+] $index:expr, $keys:literal, $question:literal;)*) => {
        $(pub static $name: $crate::Pattern = $crate::Pattern {
            id: $id, question: $question, caller: $caller,
            operations: &[$($crate::Operation::$operation),+], index: $index, keys: $keys,
        };)*
        /// All patterns of this list, in the order of the document.
        pub static ALL: &[&$crate::Pattern] = &[$(&$name),*];
    };
}

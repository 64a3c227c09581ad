//! Why the table could not answer.

use aws::{EnvError, Outcome};
use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

/// Why the table could not answer.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
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

impl TableError {
    /// Whether what failed may have been written all the same.
    pub fn may_be_applied(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }

    /// Why a write failed, all of whose attempts `outcome` watched.
    pub fn of_write<E>(operation: &'static str, error: SdkError<E>, outcome: &Outcome) -> Self
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
    pub fn sdk<E>(operation: &'static str, error: SdkError<E>) -> Self
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

//! Errors of the table.

use aws::{EnvError, Outcome};
use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

/// Error of a call to the table.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// DynamoDB is overloaded or unreachable, and nothing was written. A retry may succeed.
    #[error("DynamoDB is not available for {operation}: {detail}")]
    Unavailable { operation: &'static str, detail: String },
    /// A write was sent and its outcome is unknown: DynamoDB may have applied the write.
    #[error("DynamoDB may have applied {operation}: {detail}")]
    Unknown { operation: &'static str, detail: String },
    #[error("DynamoDB refused {operation}: {detail}")]
    Refused { operation: &'static str, detail: String },
    /// The item does not have the type or the shape of the entity.
    #[error("an item of type {entity} is malformed: {detail}")]
    Malformed { entity: &'static str, detail: String },
    #[error(transparent)]
    Environment(#[from] EnvError),
}

impl TableError {
    /// True if the write may have been applied although the call failed.
    pub fn may_be_applied(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }

    /// Returns the error of a failed write. `outcome` has observed all attempts of the call.
    pub fn of_write<E>(operation: &'static str, error: SdkError<E>, outcome: &Outcome) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
        SdkError<E>: std::error::Error,
    {
        // DynamoDB is still processing an earlier attempt with the same token.
        let in_progress = error.as_service_error().and_then(ProvideErrorMetadata::code)
            == Some("TransactionInProgressException");
        if in_progress || outcome.is_unknown() {
            return Self::Unknown { operation, detail: DisplayErrorContext(&error).to_string() };
        }
        Self::sdk(operation, error)
    }

    /// Returns the error of a failed read, or of a write that was not applied.
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

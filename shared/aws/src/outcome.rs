//! Detection of failed calls that AWS may have executed.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{Intercept, context::FinalizerInterceptorContextRef},
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::config_bag::ConfigBag;

/// Interceptor that observes all attempts of one call.
///
/// The SDK retries a call and returns only the error of the last attempt. An attempt whose response was lost may
/// have been executed, even if a later attempt was throttled.
#[derive(Clone, Debug, Default)]
pub struct Outcome(Arc<AtomicBool>);

impl Outcome {
    /// True if an attempt may have been executed: it had no response, or failed inside the service.
    pub fn is_unknown(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Intercept for Outcome {
    fn name(&self) -> &'static str {
        "Outcome"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(Err(error)) = context.output_or_error() else { return Ok(()) };
        let unknown = if error.is_operation_error() {
            context.response().is_none_or(|response| response.status().is_server_error())
        } else if let Some(error) = error.as_connector_error() {
            !crate::was_never_sent(error)
        } else {
            error.is_timeout_error() || error.is_response_error()
        };
        if unknown {
            self.0.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

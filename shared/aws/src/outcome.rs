//! Whether a call that failed may have been carried out.

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

/// Watches all attempts of one call, as an interceptor of it.
///
/// The SDK repeats a call and shows the error of the last attempt only. An attempt whose answer was lost may have been
/// carried out, also when a later one was throttled.
#[derive(Clone, Debug, Default)]
pub struct Outcome(Arc<AtomicBool>);

impl Outcome {
    /// Whether an attempt that was not answered, or failed within the service, may have been carried out.
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

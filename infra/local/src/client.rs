//! HTTP client below the SDKs. Its connections live in the runtime that started the platform.
//!
//! A caller may use a [`crate::Platform`] from another runtime, as each test does. The client keeps connections
//! for later calls, and a connection that is opened in the caller's runtime ends with that runtime.

use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
            SharedHttpConnector,
        },
        orchestrator::HttpRequest,
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    shared::IntoShared,
};
use tokio::{runtime::Handle, task::JoinSet};

/// Returns a client for plain HTTP whose connections live in this runtime.
pub(crate) fn in_runtime(runtime: Handle) -> SharedHttpClient {
    InRuntime { inner: aws::plain_http_client(), runtime }.into_shared()
}

#[derive(Debug)]
struct InRuntime<T> {
    inner: T,
    runtime: Handle,
}

impl HttpClient for InRuntime<SharedHttpClient> {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(InRuntime { inner, runtime: self.runtime.clone() })
    }
}

impl HttpConnector for InRuntime<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let inner = self.inner.clone();
        // Dropping the set aborts the call if the caller gives up.
        let mut call = JoinSet::new();
        call.spawn_on(async move { inner.call(request).await }, &self.runtime);
        HttpConnectorFuture::new(async move {
            match call.join_next().await {
                Some(Ok(answer)) => answer,
                Some(Err(error)) => Err(ConnectorError::io(error.into())),
                None => Err(ConnectorError::io("no call".into())),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use axum::{Router, routing::get};
    use tokio::{
        net::TcpListener,
        runtime::{Builder, Runtime},
        sync::Notify,
    };

    use super::*;

    fn a_runtime() -> Runtime {
        Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    }

    #[test]
    fn a_call_outlives_the_runtime_whose_connection_it_uses() {
        let home = a_runtime();
        let (arrived, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let calls = Arc::new(AtomicUsize::new(0));
        let waits = {
            let (arrived, answer, calls) = (arrived.clone(), answer.clone(), calls.clone());
            get(move || async move {
                if calls.fetch_add(1, Ordering::SeqCst) == 1 {
                    arrived.notify_one();
                    answer.notified().await;
                }
            })
        };
        let listener = home.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        home.spawn(async move { axum::serve(listener, Router::new().route("/", waits)).await });
        let connector = InRuntime { inner: aws::web_connector(&url), runtime: home.handle().clone() };
        let call = || connector.call(HttpRequest::get(url.clone()).unwrap());

        let first = a_runtime();
        first.block_on(call()).unwrap();
        let second = a_runtime();
        let waiting = second.spawn(call());
        second.block_on(arrived.notified());
        drop(first);
        answer.notify_one();
        let answered = second.block_on(waiting).unwrap().unwrap();
        assert_eq!(answered.status().as_u16(), 200);
    }
}

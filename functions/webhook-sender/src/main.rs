#![recursion_limit = "256"]

use api::{StartError, telemetry};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use webhook_sender::WebhookSender;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    let env = aws::Env::from_process()?;
    telemetry::init(&env);
    let worker = WebhookSender::from_env(&env)?;
    let service =
        service_fn(async |event: LambdaEvent<_>| Ok::<_, Error>(worker.handle(event.payload).await?));
    lambda_runtime::run(service).await.map_err(|error| StartError::Runtime(error.to_string()))
}

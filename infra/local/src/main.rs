//! Local platform: `cargo run` starts the whole platform on this machine.

use std::{path::PathBuf, process::ExitCode};

use groundswell::{Options, Platform, faults::Faults};
use tracing_subscriber::EnvFilter;

/// Reads the options from the environment: `GROUNDSWELL_PORT` (default 3000; 0 selects a free port),
/// `GROUNDSWELL_DATA_DIR` (`.groundswell`), `GROUNDSWELL_DYNAMODB` (the embedded emulator) and
/// `GROUNDSWELL_TWILIO` (the outbox).
fn options() -> Result<Options, String> {
    let port = match std::env::var("GROUNDSWELL_PORT") {
        Ok(text) => text.parse().map_err(|_| format!("GROUNDSWELL_PORT is not a port: {text}"))?,
        Err(_) => 3000,
    };
    let data_dir =
        std::env::var_os("GROUNDSWELL_DATA_DIR").map_or_else(|| PathBuf::from(".groundswell"), PathBuf::from);
    let dynamodb = std::env::var("GROUNDSWELL_DYNAMODB").ok();
    Ok(Options {
        port,
        data_dir,
        dynamodb,
        twilio: std::env::var("GROUNDSWELL_TWILIO").ok(),
        keep_stream: false,
        event_sources: true,
        faults: Faults::default(),
    })
}

#[tokio::main]
async fn main() -> ExitCode {
    let level = std::env::var("LOG_LEVEL").unwrap_or_else(|_| "warn".to_owned());
    let filter =
        EnvFilter::try_new(format!("{level},s3s=warn,s3s_fs=warn,hyper=warn,aws_smithy_runtime=warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| EnvFilter::new("warn")))
        .with_writer(std::io::stderr)
        .init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("groundswell: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), String> {
    let options = options()?;
    let data = options.data_dir.join("credentials.json");
    let platform = Platform::start(options).await.map_err(|error| error.to_string())?;
    println!("{}", welcome(&platform, &data.display().to_string()));
    tokio::signal::ctrl_c().await.map_err(|error| error.to_string())
}

fn welcome(platform: &Platform, file: &str) -> String {
    let Platform { url, credentials, .. } = platform;
    let (publishable, secret) = (&credentials.publishable_key, &credentials.secret_key);
    let (s3, bucket) = (&credentials.s3_endpoint, &credentials.bucket);
    format!(
        r#"
Groundswell is running.

  API      {url}/api/v1        ({url}/api/v1/openapi.json)
  Outbox   {url}/outbox        shows all messages; none is sent
  Bucket   {s3}/{bucket}   for any S3 client
  Keys     {file}

Create a waitlist and join it, in another terminal:

  export API={url}/api/v1 PK={publishable} SK={secret}

  LIST=$(curl -s $API/waitlists -H "X-Api-Key: $SK" -H 'Content-Type: application/json' \
    -d '{{"name": "My launch"}}' | grep -o 'wl_[a-z0-9]*' | head -1)

  curl -s $API/subscribers -H "X-Api-Key: $PK" -H 'Content-Type: application/json' \
    -d '{{"waitlist_id": "'$LIST'", "email": "ada@example.com", "consent": true}}'

The README continues from here. Ctrl-C stops the platform; all data is kept."#
    )
}

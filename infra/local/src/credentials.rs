//! The demo account of a new data directory, and the file that holds its keys.

use std::path::Path;

use domain::{email::Email, id::AccountId, secret, text::Name};
use jobs::account::AccountRequest;
use serde::{Deserialize, Serialize};
use store::Table;

use crate::{ACCESS_KEY, PlatformError, SECRET_KEY};

const FILE: &str = "credentials.json";

/// How to reach the platform, and as whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// Base of the API.
    pub api: String,
    pub account_id: AccountId,
    pub publishable_key: String,
    pub secret_key: String,
    /// The embedded issuer; see its discovery document. A platform that isn't this one needn't tell
    /// what follows.
    #[serde(default)]
    pub oidc_issuer: String,
    /// The owner of the demo account.
    #[serde(default)]
    pub oidc_username: String,
    /// Signs in as anybody: this is a development machine.
    #[serde(default)]
    pub oidc_password: String,
    /// The bucket's address is this and its name: `<s3_endpoint>/<bucket>/<key>`.
    #[serde(default)]
    pub s3_endpoint: String,
    #[serde(default)]
    pub bucket: String,
    /// Opens the bucket and whatever else of AWS the platform plays.
    #[serde(default)]
    pub aws_access_key_id: String,
    #[serde(default)]
    pub aws_secret_access_key: String,
}

/// Takes the credentials from the file, or makes an account, and writes them there as they are now.
pub async fn prepare(
    data: &Path,
    url: &str,
    s3_endpoint: &str,
    bucket: &str,
    table: &Table,
) -> Result<Credentials, PlatformError> {
    let path = data.join(FILE);
    let file = |source| PlatformError::File { path: path.clone(), source };
    let known = match std::fs::read(&path) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).map_err(|error| file(error.into()))?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(file(error)),
    };
    let credentials = match known {
        Some(known) => known,
        None => make_account(table, "Demo", "owner@example.com")
            .await
            .map_err(|error| PlatformError::part("demo account")(&error))?,
    };
    // The ports may be others than the last time.
    let credentials = Credentials {
        api: format!("{url}/api/v1"),
        oidc_issuer: format!("{url}/oidc"),
        s3_endpoint: s3_endpoint.to_owned(),
        bucket: bucket.to_owned(),
        aws_access_key_id: ACCESS_KEY.to_owned(),
        aws_secret_access_key: SECRET_KEY.to_owned(),
        ..credentials
    };
    write_private(&path, &serde_json::to_vec_pretty(&credentials).unwrap_or_default()).map_err(file)?;
    Ok(credentials)
}

/// Writes a file that only its owner may read.
pub fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    let fresh = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&fresh)?.write_all(bytes)?;
    std::fs::rename(&fresh, path)
}

/// Makes an account as an operator does. How the platform is reached stays empty.
///
/// # Errors
/// When the name or the address is none, or the table does not take it.
pub async fn make_account(
    table: &Table,
    name: &str,
    owner: &str,
) -> Result<Credentials, Box<dyn std::error::Error>> {
    let request =
        AccountRequest { name: Name::try_from(name.to_owned())?, owner: Email::try_from(owner.to_owned())? };
    let made = jobs::account::create(table, request).await?;
    Ok(Credentials {
        api: String::new(),
        account_id: made.account_id,
        publishable_key: made.publishable_key,
        secret_key: made.secret_key,
        oidc_issuer: String::new(),
        oidc_username: owner.to_owned(),
        oidc_password: secret::encode(&secret::random::<12>()),
        s3_endpoint: String::new(),
        bucket: String::new(),
        aws_access_key_id: String::new(),
        aws_secret_access_key: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_from_before_the_bucket_could_be_reached_is_read() {
        let file = r#"{
            "api": "http://127.0.0.1:3000/api/v1", "account_id": "acct_01kaj5v7p8e4w9t2r6y3q5x8zc",
            "publishable_key": "pk", "secret_key": "sk", "oidc_issuer": "http://127.0.0.1:3000/oidc",
            "oidc_username": "owner@example.com", "oidc_password": "password"
        }"#;
        let credentials: Credentials = serde_json::from_str(file).unwrap();
        assert_eq!((&*credentials.secret_key, &*credentials.s3_endpoint), ("sk", ""));
    }
}

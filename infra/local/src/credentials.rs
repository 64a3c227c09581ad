//! Demo account of a new data directory, and the file that holds its keys.

use std::path::Path;

use domain::{email::Email, id::AccountId, secret, text::Name};
use jobs::account::AccountRequest;
use serde::{Deserialize, Serialize};
use table::Table;

use crate::error::PlatformError;

/// Access key id of the emulated AWS services. The secret differs between data directories.
pub const ACCESS_KEY: &str = "groundswell";
pub const REGION: &str = "us-east-1";

const FILE: &str = "credentials.json";

/// Addresses of the platform and credentials for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// Base URL of the API.
    pub api: String,
    pub account_id: AccountId,
    pub publishable_key: String,
    pub secret_key: String,
    /// Address of the embedded OIDC issuer, which serves a discovery document. The credentials file of another
    /// platform may omit this field and all fields below.
    #[serde(default)]
    pub oidc_issuer: String,
    /// Email address of the account's owner.
    #[serde(default)]
    pub oidc_username: String,
    /// Password that signs in any user. The embedded issuer is for development machines only.
    #[serde(default)]
    pub oidc_password: String,
    /// Base address of S3. An object is at `<s3_endpoint>/<bucket>/<key>`.
    #[serde(default)]
    pub s3_endpoint: String,
    #[serde(default)]
    pub bucket: String,
    /// Access key id for the bucket and the other AWS services that the platform emulates.
    #[serde(default)]
    pub aws_access_key_id: String,
    #[serde(default)]
    pub aws_secret_access_key: String,
}

/// Reads the credentials file. Returns `None` if there is none.
pub fn known(data: &Path) -> Result<Option<Credentials>, PlatformError> {
    let path = data.join(FILE);
    let known = match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(std::io::Error::from),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    known.map_err(|source| PlatformError::File { path, source })
}

/// Returns the secret access key of the emulated AWS services: the stored one, or a new random one. Each data
/// directory has a key of its own and keeps it.
pub fn aws_secret_of(known: Option<&Credentials>) -> String {
    match known {
        Some(known) if !known.aws_secret_access_key.is_empty() => known.aws_secret_access_key.clone(),
        _ => secret::encode(&secret::random::<30>()),
    }
}

/// Returns the known credentials, or creates the demo account.
pub async fn demo(known: Option<Credentials>, table: &Table) -> Result<Credentials, PlatformError> {
    match known {
        Some(known) => Ok(known),
        None => make_account(table, "Demo", "owner@example.com")
            .await
            .map_err(|error| PlatformError::part("demo account")(&error)),
    }
}

/// Writes the credentials file.
pub fn write(data: &Path, credentials: &Credentials) -> Result<(), PlatformError> {
    let path = data.join(FILE);
    write_private(&path, &serde_json::to_vec_pretty(credentials).unwrap_or_default())
        .map_err(|source| PlatformError::File { path, source })
}

/// Writes a file by renaming a complete new one. On Unix, only the owner can read the file.
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

/// Creates an account as an operator does. The addresses of the platform and the AWS keys stay empty.
///
/// # Errors
/// Fails if the name or the address is invalid, or if the table refuses the write.
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

    /// Credentials file without the fields for S3 and AWS, which earlier versions did not write.
    const OLD: &str = r#"{
        "api": "http://127.0.0.1:3000/api/v1", "account_id": "acct_01kaj5v7p8e4w9t2r6y3q5x8zc",
        "publishable_key": "pk", "secret_key": "sk", "oidc_issuer": "http://127.0.0.1:3000/oidc",
        "oidc_username": "owner@example.com", "oidc_password": "password"
    }"#;

    #[test]
    fn a_directory_gets_a_key_of_its_own_and_keeps_it() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(known(data.path()).unwrap(), None);
        assert_ne!(aws_secret_of(None), aws_secret_of(None));

        std::fs::write(data.path().join(FILE), OLD).unwrap();
        let old = known(data.path()).unwrap().unwrap();
        assert_eq!((&*old.secret_key, &*old.s3_endpoint), ("sk", ""));
        let secret = aws_secret_of(Some(&old));
        assert_ne!(secret, "");

        write(data.path(), &Credentials { aws_secret_access_key: secret.clone(), ..old }).unwrap();
        assert_eq!(aws_secret_of(known(data.path()).unwrap().as_ref()), secret);
    }

    #[test]
    fn a_file_that_is_none_stops_the_platform_rather_than_be_written_over() {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join(FILE), "{").unwrap();
        assert!(matches!(known(data.path()), Err(PlatformError::File { .. })));
    }
}

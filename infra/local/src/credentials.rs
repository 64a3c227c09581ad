//! The demo account of a new data directory, and the file that holds its keys.

use std::path::Path;

use domain::{
    api_key::{ApiKey, KeyKind},
    email::Email,
    id::{AccountId, ApiKeyId, MemberId},
    scope::{Grant, Role},
    secret::{self, SigningKey},
    text::Name,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use store::{
    Table, accounts,
    entities::{Account, AccountSigning, ApiKeyRecord, AuditEntry, Limits, Member},
};

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
    /// The embedded issuer; see its discovery document.
    pub oidc_issuer: String,
    /// The owner of the demo account.
    pub oidc_username: String,
    /// Signs in as anybody: this is a development machine.
    pub oidc_password: String,
    /// The bucket's address is this and its name: `<s3_endpoint>/<bucket>/<key>`. A platform that
    /// isn't this one needn't tell.
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
fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    let fresh = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&fresh)?.write_all(bytes)?;
    std::fs::rename(&fresh, path)
}

/// Makes an account with an owner and a key of each kind. How the platform is reached stays empty.
///
/// # Errors
/// When the table does not take it.
pub async fn make_account(
    table: &Table,
    name: &str,
    owner: &str,
) -> Result<Credentials, Box<dyn std::error::Error>> {
    let now = Timestamp::now();
    let id = AccountId::new(now);
    let email = Email::try_from(owner.to_owned())?;
    let account = Account {
        id: id.clone(),
        name: Name::try_from(name.to_owned())?,
        limits: Limits::default(),
        created_at: now,
        rev: 1,
    };
    let signing = AccountSigning { account_id: id.clone(), signing_key: SigningKey::generate(), rev: 1 };
    let member = Member {
        id: MemberId::new(now),
        account_id: id.clone(),
        email: owner.to_owned(),
        login: accounts::login_of(&email),
        role: Role::Owner,
        subject: None,
        created_at: now,
        rev: 1,
    };
    let audit = AuditEntry::new(&id, "platform", "account.created", id.as_str(), now);
    accounts::create(table, &account, &signing, &member, &audit).await?;
    let mut keys = Vec::new();
    for (kind, scopes) in [(KeyKind::Publishable, Vec::new()), (KeyKind::Secret, vec![Grant::all()])] {
        let key = ApiKey::generate(ApiKeyId::new(now), kind);
        let record = ApiKeyRecord::of(&key, &id, None, scopes, now);
        let audit = AuditEntry::new(&id, "platform", "api_key.created", key.id.as_str(), now);
        accounts::add_api_key(&record, &audit).apply(table).await?;
        keys.push(key.reveal());
    }
    let [publishable_key, secret_key] = keys.try_into().map_err(|_| "two keys were made")?;
    Ok(Credentials {
        api: String::new(),
        account_id: id,
        publishable_key,
        secret_key,
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

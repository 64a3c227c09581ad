//! The platform as a separate process that can be killed and whose log can be read.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use groundswell::{
    Credentials,
    faults::{Faults, SesTrouble},
};
use scenarios::{Api, address, embedded, eventually, platform};
use serde_json::json;

/// Name of the environment variable with SES's delay in milliseconds, for the process that is killed.
const SES_ANSWERS_IN: &str = "GROUNDSWELL_VICTIM_SES_ANSWERS_IN";

/// Platform in a process that can be killed: this test binary, running one test.
pub struct Victim {
    process: Child,
    pub credentials: Credentials,
}

impl Victim {
    /// Starts the process. Returns `None` and reports a skipped test if the suite runs against another platform.
    pub async fn start(data: &Path) -> Option<Self> {
        Self::start_with(data, None).await
    }

    /// Starts the process with another emulation of Twilio.
    pub async fn start_with(data: &Path, twilio: Option<&str>) -> Option<Self> {
        Self::start_in(data, twilio.map(|url| ("GROUNDSWELL_TWILIO", url.to_owned()))).await
    }

    /// Starts the process with an Amazon SES that takes this long to answer.
    pub async fn start_with_slow_ses(data: &Path, answers_in: Duration) -> Option<Self> {
        Self::start_in(data, Some((SES_ANSWERS_IN, answers_in.as_millis().to_string()))).await
    }

    async fn start_in(data: &Path, variable: Option<(&str, String)>) -> Option<Self> {
        embedded()?;
        let _ = std::fs::remove_file(data.join("ready"));
        // With a umask of 0, which restricts no permissions.
        let process = Command::new("sh")
            .args(["-c", "umask 0; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "process::the_process_that_gets_killed", "--nocapture"])
            .env("GROUNDSWELL_VICTIM", data)
            .envs(variable)
            .env("LOG_LEVEL", format!("warn,{}", api::telemetry::own_crates("debug")))
            .stdout(File::create(data.join("log")).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let ready = data.join("ready");
        eventually(|| async { ready.exists().then_some(()) }).await;
        let text = std::fs::read(data.join("credentials.json")).unwrap();
        Some(Self { process, credentials: serde_json::from_slice(&text).unwrap() })
    }

    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // Also if the test fails.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs for ever: it is started, and killed, by another test"]
async fn the_process_that_gets_killed() {
    let Some(data) = std::env::var_os("GROUNDSWELL_VICTIM").map(PathBuf::from) else { return };
    let faults = Faults::default();
    if let Ok(millis) = std::env::var(SES_ANSWERS_IN) {
        let delay = Duration::from_millis(millis.parse().unwrap());
        faults.ses.set(SesTrouble { delay, ..SesTrouble::default() });
    }
    let _running = platform(&data, false, faults).await.unwrap();
    std::fs::write(data.join("ready"), "").unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_personal_and_no_secret_gets_into_the_log() {
    let data = tempfile::tempdir().unwrap();
    let Some(victim) = Victim::start(data.path()).await else { return };
    let api = Api::new(victim.credentials.clone());
    let waitlist = api.waitlist(json!({ "verification_policy": "double_opt_in" })).await;
    let (email, name, device) = (address("Zaphod"), "Zaphod Beeblebrox", "heart-of-gold");
    let body = json!({
        "waitlist_id": waitlist, "email": email, "name": name, "fingerprint": device, "consent": true,
        "metadata": { "secret": "forty-two" }, "source": "towel-shop",
    });
    assert_eq!(api.public("POST", "/subscribers").json(body.clone()).send().await.status, 202);
    let verified = api.verify(&email).await;
    let token = verified.text_at("token");
    // Errors are logged too.
    let mut bad = body;
    bad["email"] = json!(format!("{email} "));
    bad["name"] = json!(["Zaphod Beeblebrox"]);
    api.public("POST", "/subscribers").json(bad).send().await.refuses("name");
    api.call("POST", "/subscribers/verify").json(json!({ "token": format!("{token}x") })).send().await;
    api.call("GET", &format!("//verify?token={token}")).send().await;
    let pool = api.pool(json!({})).await;
    api.import(&pool, "code\nSLARTIBARTFAST-42\n=MAGRATHEA\n").await;
    let claim = json!({ "user": "trillian", "fingerprint": device });
    assert_eq!(api.public("POST", &format!("/distribute/{pool}")).json(claim).send().await.status, 201);
    let codes = api.all(&format!("/code-pools/{pool}/codes")).await;
    let reveal = format!("/codes/{}/reveal", codes[0]["id"].as_str().unwrap());
    assert_eq!(api.post(&reveal, json!({})).await.status, 200);
    let (number, auth_token) = (scenarios::phone(), "5ec7e75ec7e75ec7e75ec7e75ec7e750");
    let twilio = json!({ "account_sid": format!("AC{}", "0".repeat(32)), "auth_token": auth_token, "sms_sender": number });
    api.secret("PUT", "/providers/twilio").json(twilio).send().await.ok();
    let program = api.program(json!({})).await;
    let person = json!({ "program_id": program, "phone": number, "name": name, "birthday": "1971-02-29", "consent": true });
    api.post("/enrollments", person.clone()).await.refuses("birthday");
    let person =
        json!({ "program_id": program, "phone": number, "name": name, "email": email, "consent": true });
    let customer = api.post("/enrollments", person).await.text_at("customer_id");
    let by_phone = format!("/customers?program_id={program}&phone=%2B{}", &number[1..]);
    assert_eq!(api.get(&by_phone).await.ok()["data"][0]["id"], customer);
    let template = json!({ "channel": "sms", "text": "So long, {{name}}, and thanks for all the fish" });
    let campaign = json!({ "name": "Bye", "program_id": program, "trigger": { "kind": "segment" }, "template": template });
    let campaign = api.post("/campaigns", campaign).await.id();
    api.post(&format!("/campaigns/{campaign}/activate"), json!({})).await.ok();
    let sends = format!("/campaigns/{campaign}/sends");
    eventually(|| async { (api.get(&sends).await.ok()["data"][0]["status"] == "delivered").then_some(()) })
        .await;
    let endpoint = api.post("/webhook-endpoints", json!({ "url": "http://127.0.0.1:9/dont-panic" })).await;
    let asked = api.post(&format!("/webhook-endpoints/{}/test", endpoint.id()), json!({})).await.id();
    let tried = format!("/deliveries/{asked}");
    eventually(|| async { (api.get(&tried).await.ok()["attempts"] != json!([])).then_some(()) }).await;
    let id = verified.id();
    let by_email = format!("/subscribers?waitlist_id={waitlist}&email={email}");
    assert_eq!(api.get(&by_email).await.status, 200);
    api.call("GET", "/account").key("gs_sk_nonsense-key").send().await;
    assert_eq!(api.secret("DELETE", &format!("/subscribers/{id}")).send().await.status, 204);
    eventually(|| async { (api.get(&by_email).await.json["data"] == json!([])).then_some(()) }).await;
    let key = victim.credentials.secret_key.clone();
    victim.kill();

    let log = std::fs::read_to_string(data.path().join("log")).unwrap();
    assert!(log.matches("served").count() >= 8, "it is the log: {log}");
    // The part behind `gs_sk_` and the record's id. The secret may contain a `_`.
    let secret = key.splitn(4, '_').nth(3).unwrap();
    let (_, signature) = token.rsplit_once('.').unwrap();
    for personal in [
        "zaphod",
        "beeblebrox",
        device,
        "forty-two",
        "slartibartfast",
        "magrathea",
        "trillian",
        &number[1..],
        auth_token,
        "fish",
        "127.0.0.1",
        secret,
        signature,
        "nonsense-key",
        "token=",
        "dont-panic",
        &endpoint.text_at("secret"),
        "whsec_",
    ] {
        let found = log
            .to_lowercase()
            .lines()
            .find(|line| line.contains(&personal.to_lowercase()))
            .map(str::to_owned);
        assert_eq!(found, None, "{personal}");
    }
}

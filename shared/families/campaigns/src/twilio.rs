//! Signatures of the requests that Twilio sends.
//!
//! Source: Twilio, "Webhooks Security", Validating Signatures from Twilio.

use domain::secret;
use ring::{digest, hmac};

/// Secret that an account shares with Twilio. Never shown, not even in logs.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct AuthToken(String);

impl std::fmt::Debug for AuthToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuthToken")
    }
}

impl AuthToken {
    /// Checks a token: 32 hexadecimal digits.
    pub fn new(text: String) -> Result<Self, domain::Invalid> {
        let legal = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if legal { Ok(Self(text)) } else { Err(domain::Invalid::new("is not an auth token of Twilio")) }
    }

    /// Returns the text of the token, which calls to Twilio and the identity of a sender need.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn tag(&self, url: &str, parameters: &[(String, String)]) -> hmac::Tag {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, self.0.as_bytes());
        let mut sorted: Vec<_> = parameters.iter().collect();
        sorted.sort();
        // A parameter that is repeated with the same value counts once.
        sorted.dedup();
        let mut signed = hmac::Context::with_key(&key);
        signed.update(url.as_bytes());
        for (name, value) in sorted {
            signed.update(name.as_bytes());
            signed.update(value.as_bytes());
        }
        signed.sign()
    }

    /// Returns the value of `X-Twilio-Signature` for a form that is posted to this URL.
    pub fn sign_form(&self, url: &str, parameters: &[(String, String)]) -> String {
        secret::base64(self.tag(url, parameters).as_ref())
    }

    /// Returns true if Twilio signed this form for this URL. The URL is the complete one that was given to Twilio,
    /// with its query.
    pub fn verify_form(&self, signature: &str, url: &str, parameters: &[(String, String)]) -> bool {
        secret::equal(self.sign_form(url, parameters).as_bytes(), signature.as_bytes())
    }

    /// Returns true if Twilio signed this body, which is not a form, for this URL. The parameter `bodySHA256` of
    /// the URL is the SHA-256 hash of the body in hexadecimal digits.
    pub fn verify_body(&self, signature: &str, url: &str, body: &[u8]) -> bool {
        let query = url.split_once('?').map(|(_, query)| query).unwrap_or_default();
        let said = query.split('&').find_map(|pair| pair.strip_prefix("bodySHA256="));
        let hash = digest::digest(&digest::SHA256, body);
        let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        said.is_some_and(|said| secret::equal(said.to_ascii_lowercase().as_bytes(), hash.as_bytes()))
            && self.verify_form(signature, url, &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters() -> Vec<(String, String)> {
        [
            ("CallSid", "CA1234567890ABCDE"),
            ("Caller", "+14158675309"),
            ("Digits", "1234"),
            ("From", "+14158675309"),
            ("To", "+18005551212"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// Example from Twilio's documentation, which the tests of its helper libraries also use.
    #[test]
    fn the_documented_example_is_signed_as_documented() {
        let token = AuthToken("12345".to_owned());
        let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
        let signature = "RSOYDt4T1cUTdK1PDd93/VVr8B8=";
        assert_eq!(token.sign_form(url, &parameters()), signature);
        assert!(token.verify_form(signature, url, &parameters()));
        assert!(!token.verify_form(signature, "https://mycompany.com/myapp.php?foo=1", &parameters()));
        let mut tampered = parameters();
        tampered[2].1 = "1235".to_owned();
        assert!(!token.verify_form(signature, url, &tampered));
        assert!(!token.verify_form("", url, &parameters()));
        assert!(!AuthToken("12346".to_owned()).verify_form(signature, url, &parameters()));
    }

    /// Signatures made by the library of Twilio: see `vectors/twilio-signatures.py`.
    #[test]
    fn what_twilios_library_signs_is_genuine_and_nothing_else_is() {
        let cases: serde_json::Value =
            serde_json::from_str(include_str!("../vectors/twilio-signatures.json")).unwrap();
        let cases = cases.as_array().unwrap();
        assert_eq!(cases.len(), 22);
        for case in cases {
            let text = |name: &str| case[name].as_str().unwrap();
            let (url, signature) = (text("url"), text("signature"));
            let verified = |token: &AuthToken, url: &str, signature: &str| match case["form"].as_object() {
                Some(form) => {
                    let form: Vec<_> = form
                        .iter()
                        .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
                        .collect();
                    token.verify_form(signature, url, &form)
                }
                None => token.verify_body(signature, url, text("body").as_bytes()),
            };
            let token = AuthToken::new(text("token").to_owned()).unwrap();
            assert!(verified(&token, url, signature), "{case}");
            let other = AuthToken::new("0".repeat(32)).unwrap();
            assert!(!verified(&other, url, signature), "{case}");
            assert!(!verified(&token, &url.replace("send_1", "send_2"), signature), "{case}");
            assert!(!verified(&token, url, &signature.to_lowercase()), "{case}");
        }
    }

    /// Signature of a body that is not a form.
    #[test]
    fn a_body_is_signed_by_its_hash() {
        let token = AuthToken("12345".to_owned());
        let body = b"{\"property\": \"value\", \"boolean\": true}";
        let hash = "0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620";
        let url = format!("https://mycompany.com/myapp.php?foo=1&bar=2&bodySHA256={hash}");
        let signature = token.sign_form(&url, &[]);
        assert_eq!(signature, "a9nBmqA0ju/hNViExpshrM61xv4=");
        assert!(token.verify_body(&signature, &url, body));
        assert!(!token.verify_body(&signature, &url, b"{}"));
        assert!(!token.verify_body(&signature, "https://mycompany.com/myapp.php?foo=1&bar=2", body));
    }
}

//! Email addresses: stored as typed, compared by identity.

use std::cmp::Ordering;

use crate::Invalid;

/// Domains of disposable mailboxes, sorted, one per line: the list of `mailchecker` 6.0.21 (MIT licence), without
/// the subdomains of listed domains. One text adds nothing to the start-up of a process; a table of lines would
/// have to be relocated at each start.
const DISPOSABLE: &str = include_str!("disposable-domains.txt");

fn is_listed(domain: &str) -> bool {
    // Both bounds are the start of a line, or the end of the text.
    let (mut low, mut high) = (0, DISPOSABLE.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let start = DISPOSABLE[low..middle].rfind('\n').map_or(low, |at| low + at + 1);
        let end = DISPOSABLE[start..].find('\n').map_or(DISPOSABLE.len(), |length| start + length);
        match DISPOSABLE[start..end].cmp(domain) {
            Ordering::Equal => return true,
            Ordering::Less => low = end + 1,
            Ordering::Greater => high = start,
        }
    }
    false
}

/// Email address as its owner typed it, without surrounding spaces.
///
/// The local part is a dot-atom of RFC 5322 in ASCII (the form that Amazon SES accepts). The domain may be
/// internationalised. The address has at most 254 bytes, of which at most 64 before the `@`.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Email {
    typed: String,
    local: String,
    domain: String,
}

impl Email {
    pub fn as_str(&self) -> &str {
        &self.typed
    }

    /// Returns the domain in lower-case ASCII. Internationalised names are in Punycode.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Returns the form that all spellings of one mailbox share. Ignores case, plus-tags and, at Gmail, dots.
    pub fn identity(&self) -> String {
        let local = self.local.to_ascii_lowercase();
        let local = local.split('+').next().unwrap_or_default();
        match self.domain.as_str() {
            "gmail.com" | "googlemail.com" => format!("{}@gmail.com", local.replace('.', "")),
            domain => format!("{local}@{domain}"),
        }
    }

    /// Returns the mailbox that an issuer of tokens vouches for. Ignores case, but keeps tags and dots, because not
    /// every mail server ignores those.
    pub fn mailbox(&self) -> String {
        format!("{}@{}", self.local.to_ascii_lowercase(), self.domain)
    }

    /// Returns the address in the form that SES accepts: as typed, with the domain in ASCII.
    pub fn deliverable(&self) -> String {
        format!("{}@{}", self.local, self.domain)
    }

    /// True if the domain, or a parent domain, is on the list of disposable mailboxes.
    pub fn is_disposable(&self) -> bool {
        let mut domains =
            std::iter::successors(Some(&*self.domain), |domain| Some(domain.split_once('.')?.1));
        domains.any(is_listed)
    }

    /// Returns the address in the form `a•••@e•••.com`, in which owners recognise their own address.
    pub fn masked(&self) -> String {
        let first = |text: &str| text.chars().next().map(String::from).unwrap_or_default();
        let (name, suffix) = self.domain.rsplit_once('.').unwrap_or((&self.domain, ""));
        format!("{}•••@{}•••.{suffix}", first(&self.local), first(name))
    }
}

impl std::fmt::Debug for Email {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Email(…)")
    }
}

impl TryFrom<String> for Email {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        let invalid = |reason: &str| Err(Invalid::new(reason));
        let typed = text.trim_matches(' ');
        if typed.len() > 254 {
            return invalid("is longer than 254 bytes");
        }
        let Some((local, domain)) = typed.rsplit_once('@') else {
            return invalid("has no @");
        };
        let atext = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
        if local.len() > 64 || !local.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(atext)) {
            return invalid("has a part before the @ that no mail server takes");
        }
        if local.starts_with('+') {
            return invalid("has nothing but a tag before the @");
        }
        let ascii = idna::domain_to_ascii_strict(domain)
            .map_err(|_| Invalid::new("has a domain that is not a host name"))?;
        let label = |label: &str| !label.is_empty() && label.bytes().any(|byte| !byte.is_ascii_digit());
        if ascii.len() > 253 || !ascii.contains('.') || !ascii.rsplit('.').next().is_some_and(label) {
            return invalid("has a domain that is not a host name");
        }
        Ok(Self { local: local.to_owned(), domain: ascii, typed: typed.to_owned() })
    }
}

impl From<Email> for String {
    fn from(email: Email) -> String {
        email.typed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn email(text: &str) -> Result<Email, Invalid> {
        Email::try_from(text.to_owned())
    }

    #[test]
    fn spellings_of_one_mailbox_share_an_identity() {
        for (typed, identity) in [
            ("Ada@Example.com", "ada@example.com"),
            ("ada+news@example.com", "ada@example.com"),
            ("A.d.a+x+y@GMail.com", "ada@gmail.com"),
            ("ada@googlemail.com", "ada@gmail.com"),
            ("a.da@example.com", "a.da@example.com"),
            ("ada@BÜCHER.example", "ada@xn--bcher-kva.example"),
            (" ada@example.com ", "ada@example.com"),
        ] {
            assert_eq!(email(typed).unwrap().identity(), identity, "{typed}");
        }
        assert_eq!(email("A.d.a+x@GMail.com").unwrap().as_str(), "A.d.a+x@GMail.com");
    }

    #[test]
    fn what_no_server_takes_is_refused() {
        let long = format!("{}@example.com", "a".repeat(65));
        let longer = format!("a@{}.com", "a".repeat(260));
        for text in [
            "",
            "ada",
            "@example.com",
            "ada@",
            "ada@localhost",
            "a b@example.com",
            "ada@example.com\r\nBcc: eve@example.com",
            "ada\r\n@example.com",
            "ada@exa mple.com",
            ".ada@example.com",
            "ada.@example.com",
            "a..b@example.com",
            "ädä@example.com",
            "\"ada\"@example.com",
            "+tag@example.com",
            "a@b@example.com",
            "ada@127.0.0.1",
            "ada@-example.com",
            "ada@example..com",
            "ada@example.com.",
            "a\0@example.com",
            "😀@example.com",
            &long,
            &longer,
        ] {
            assert!(email(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn throw_away_domains_are_known() {
        for domain in ["mailinator.com", "mail.mailinator.com", "MAILINATOR.com"] {
            assert!(email(&format!("x@{domain}")).unwrap().is_disposable(), "{domain}");
        }
        for domain in ["example.com", "mailinator.example", "gmail.com", "a.zz", "0.com", "zzzzzzzz.com"] {
            assert!(!email(&format!("x@{domain}")).unwrap().is_disposable(), "{domain}");
        }
    }

    #[test]
    fn each_line_of_the_list_is_found() {
        let lines: Vec<_> = DISPOSABLE.lines().collect();
        assert!(lines.is_sorted() && lines.len() > 50_000);
        assert!(lines.iter().all(|line| is_listed(line)));
        // The crate scans its list on every call, so the test takes a sample.
        for line in lines.iter().step_by(1000) {
            assert!(!mailchecker::is_valid(&format!("a@{line}")), "{line}");
            assert!(mailchecker::is_valid(&format!("a@{line}x")), "{line}x");
        }
    }

    #[test]
    fn a_masked_address_hides_its_owner() {
        assert_eq!(email("ada@example.co.uk").unwrap().masked(), "a•••@e•••.uk");
    }
}

//! Customers who collect stamps: their confirmed data, and the provisional data that only a web page gave.

use domain::{
    consent::Consent,
    email::Email,
    id::{AccountId, CustomerId, ProgramId},
    phone::Phone,
    text::{Name, TimeZoneName},
};
use jiff::{Timestamp, civil::Date};

/// Customer data in an enrolment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub email: Option<Email>,
    pub name: Option<Name>,
    pub birthday: Option<Date>,
    pub time_zone: Option<TimeZoneName>,
    pub consent: Consent,
}

/// Customer data that only a web page gave. Anybody can type any phone number into a web page. The account can see
/// this data, but the data is used for nothing until a server, a member or the customer confirms it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Provisional {
    pub email: Option<Email>,
    pub name: Option<Name>,
    pub birthday: Option<Date>,
    pub time_zone: Option<TimeZoneName>,
    /// Consent that the web page reported; `None` once the customer, a server or a member has decided about the
    /// consent.
    pub consent: Option<Consent>,
    /// Program whose card the web page gave in the same enrolment.
    #[serde(default)]
    pub program_id: Option<ProgramId>,
}

impl Provisional {
    /// Returns the data; `None` if nothing is left to confirm.
    fn rest(self) -> Option<Self> {
        let Self { email, name, birthday, time_zone, consent, program_id: _ } = &self;
        let is_empty = email.is_none()
            && name.is_none()
            && birthday.is_none()
            && time_zone.is_none()
            && consent.is_none();
        (!is_empty).then_some(self)
    }

    /// Returns the data without the fields for whose names `decided` returns true; `None` if nothing is left to
    /// confirm.
    #[must_use]
    pub fn without(self, decided: impl Fn(&str) -> bool) -> Option<Self> {
        let Self { email, name, birthday, time_zone, consent, program_id } = self;
        Self {
            email: email.filter(|_| !decided("email")),
            name: name.filter(|_| !decided("name")),
            birthday: birthday.filter(|_| !decided("birthday")),
            time_zone: time_zone.filter(|_| !decided("time_zone")),
            consent: consent.filter(|_| !decided("consent")),
            program_id,
        }
        .rest()
    }
}

/// Customer of an account, shared by all its programs.
///
/// All fields but `provisional` are confirmed: a secret key, a member or the customer supplied them.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Customer {
    pub id: CustomerId,
    pub account_id: AccountId,
    pub phone: Phone,
    pub email: Option<Email>,
    pub name: Option<Name>,
    pub birthday: Option<Date>,
    pub time_zone: Option<TimeZoneName>,
    pub consent: Consent,
    #[serde(default)]
    pub provisional: Option<Provisional>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub rev: u64,
}

impl Customer {
    /// Returns a new customer, from data that a server or a member supplied.
    pub fn new(account_id: AccountId, phone: Phone, said: Said, now: Timestamp) -> Self {
        let Said { email, name, birthday, time_zone, consent } = said;
        Self {
            id: CustomerId::new(now),
            account_id,
            phone,
            email,
            name,
            birthday,
            time_zone,
            consent,
            provisional: None,
            created_at: now,
            updated_at: now,
            rev: 1,
        }
    }

    /// Returns a new customer, from data that a web page of this program supplied. All data but the phone number is
    /// provisional.
    pub fn of_page(
        account_id: AccountId,
        phone: Phone,
        said: Said,
        program_id: ProgramId,
        now: Timestamp,
    ) -> Self {
        let nothing = Said {
            email: None,
            name: None,
            birthday: None,
            time_zone: None,
            consent: Consent { granted: false, text: None, at: now },
        };
        let Said { email, name, birthday, time_zone, consent } = said;
        let provisional = Provisional {
            email,
            name,
            birthday,
            time_zone,
            consent: Some(consent),
            program_id: Some(program_id),
        };
        Self { provisional: Some(provisional), ..Self::new(account_id, phone, nothing, now) }
    }

    /// Returns the customer after an enrolment by a server or a member; `None` if the enrolment changes nothing.
    ///
    /// The new data replaces provisional data. For a confirmed customer, only the consent can change, and only from
    /// given to withdrawn. Giving consent again takes the customer's own reply, or a change of the customer by the
    /// account.
    #[must_use]
    pub fn enrolled_again(&self, said: Said, now: Timestamp) -> Option<Self> {
        let rev = self.rev + 1;
        match &self.provisional {
            None => {
                let withdrawn = self.consent.granted && !said.consent.granted;
                withdrawn.then(|| Self { consent: said.consent, updated_at: now, rev, ..self.clone() })
            }
            Some(provisional) => {
                // The customer or the account has already decided: an enrolment with consent does not undo a
                // refusal.
                let decided = provisional.consent.is_none() && said.consent.granted;
                Some(Self {
                    email: said.email.or_else(|| self.email.clone()),
                    name: said.name.or_else(|| self.name.clone()),
                    birthday: said.birthday.or(self.birthday),
                    time_zone: said.time_zone.or_else(|| self.time_zone.clone()),
                    consent: if decided { self.consent.clone() } else { said.consent },
                    provisional: None,
                    updated_at: now,
                    rev,
                    ..self.clone()
                })
            }
        }
    }

    /// Returns the customer after a till scanned the customer's own card; `None` if that confirms nothing.
    ///
    /// The email address stays provisional: the card proves who is in the shop, but not who owns the mailbox (see
    /// `docs/adr/0021-provisional-customers.md`).
    #[must_use]
    pub fn seen(&self, now: Timestamp) -> Option<Self> {
        let Provisional { email, name, birthday, time_zone, consent, .. } = self.provisional.clone()?;
        if name.is_none() && birthday.is_none() && time_zone.is_none() && consent.is_none() {
            return None;
        }
        let rest = Provisional {
            email,
            name: None,
            birthday: None,
            time_zone: None,
            consent: None,
            program_id: None,
        };
        Some(Self {
            name: self.name.clone().or(name),
            birthday: self.birthday.or(birthday),
            time_zone: self.time_zone.clone().or(time_zone),
            consent: consent.unwrap_or_else(|| self.consent.clone()),
            provisional: rest.rest(),
            updated_at: now,
            rev: self.rev + 1,
            ..self.clone()
        })
    }

    /// Returns the customer after the customer gave or withdrew consent; `None` if that changes nothing.
    #[must_use]
    pub fn agreeing(&self, consent: Consent, now: Timestamp) -> Option<Self> {
        let open = self.provisional.as_ref().is_some_and(|provisional| provisional.consent.is_some());
        if self.consent.granted == consent.granted && !open {
            return None;
        }
        let provisional =
            self.provisional.clone().and_then(|provisional| provisional.without(|field| field == "consent"));
        Some(Self { consent, provisional, updated_at: now, rev: self.rev + 1, ..self.clone() })
    }

    /// Returns the program whose card is confirmed by the change to `after`. The change confirms a card if it gives
    /// the consent that the web page reported when it gave the card.
    pub fn card_confirmed_by(&self, after: &Self) -> Option<&ProgramId> {
        let open = self.provisional.as_ref().filter(|provisional| provisional.consent.is_some())?;
        open.program_id.as_ref().filter(|_| after.consent.granted)
    }

    /// Returns true if a web page reported consent to messages and nobody has confirmed it.
    pub fn is_consent_unconfirmed(&self) -> bool {
        let said = self.provisional.as_ref().and_then(|provisional| provisional.consent.as_ref());
        !self.consent.granted && said.is_some_and(|consent| consent.granted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn said(email: &str, granted: bool) -> Said {
        Said {
            email: Some(email.to_owned().try_into().unwrap()),
            name: Some("Ada".to_owned().try_into().unwrap()),
            birthday: None,
            time_zone: None,
            consent: Consent { granted, text: None, at: at(0) },
        }
    }

    fn of_page(granted: bool) -> Customer {
        let phone = "+4915112345678".to_owned().try_into().unwrap();
        let (account, program) = (AccountId::new(at(0)), ProgramId::new(at(0)));
        Customer::of_page(account, phone, said("mallory@example.com", granted), program, at(0))
    }

    fn word(granted: bool) -> Consent {
        Consent { granted, text: None, at: at(1) }
    }

    #[test]
    fn what_a_page_says_is_used_for_nothing() {
        let page = of_page(true);
        assert_eq!((&page.email, &page.name, page.consent.granted), (&None, &None, false));
        assert!(page.is_consent_unconfirmed() && !of_page(false).is_consent_unconfirmed());
    }

    #[test]
    fn a_trusted_word_beats_a_pages_and_a_no_beats_a_yes() {
        let email = |customer: &Customer| customer.email.clone().map(String::from);
        let shop = of_page(true).enrolled_again(said("ada@example.com", false), at(1)).unwrap();
        assert_eq!(email(&shop).as_deref(), Some("ada@example.com"));
        assert_eq!((shop.consent.granted, &shop.provisional, shop.rev), (false, &None, 2));
        // For a confirmed customer, only a withdrawal of the consent changes anything.
        assert_eq!(shop.enrolled_again(said("eve@example.com", true), at(2)), None);
        let willing = shop.agreeing(word(true), at(2)).unwrap();
        let again = willing.enrolled_again(said("eve@example.com", false), at(3)).unwrap();
        assert_eq!((email(&again).as_deref(), again.consent.granted), (Some("ada@example.com"), false));
        // A customer who opted out before the shop enrolled them stays opted out.
        let stopped = of_page(true).agreeing(word(false), at(1)).unwrap();
        assert!(!stopped.is_consent_unconfirmed());
        assert!(!stopped.enrolled_again(said("ada@example.com", true), at(2)).unwrap().consent.granted);
        assert!(!stopped.seen(at(2)).unwrap().consent.granted);
    }

    #[test]
    fn a_card_of_a_page_is_confirmed_by_the_customers_word_only() {
        let page = of_page(true);
        assert!(page.card_confirmed_by(&page.agreeing(word(true), at(1)).unwrap()).is_some());
        let stopped = page.agreeing(word(false), at(1)).unwrap();
        assert_eq!(page.card_confirmed_by(&stopped), None);
        // A later consent does not confirm the card that the web page gave.
        assert_eq!(stopped.card_confirmed_by(&stopped.agreeing(word(true), at(2)).unwrap()), None);
    }

    #[test]
    fn a_card_shown_at_a_till_confirms_all_but_the_address() {
        let seen = of_page(true).seen(at(1)).unwrap();
        assert_eq!((seen.name.as_ref().map(Name::as_str), &seen.email), (Some("Ada"), &None));
        assert!(seen.consent.granted);
        let left = seen.provisional.clone().unwrap();
        assert_eq!(left.email.map(String::from).as_deref(), Some("mallory@example.com"));
        assert_eq!(seen.seen(at(2)), None, "once");
        assert!(!of_page(false).seen(at(1)).unwrap().consent.granted);
    }
}

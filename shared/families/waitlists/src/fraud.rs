//! Fraud score of a referral, with reasons.
//!
//! Each signal adds a fixed weight. The score is the sum of the weights, at most 100. A referral with a score of at
//! least [`FLAG_AT`] is flagged for review. A flagged referral still counts until a reviewer revokes it. A shared
//! network alone stays below the threshold, because offices, schools and mobile carriers share addresses.

/// Minimum score of a flagged referral.
pub const FLAG_AT: u8 = 50;
/// Minimum number of other referrals within an hour that makes a referral part of a burst.
const BURST: usize = 10;

/// Sign of a fraudulent referral, with its weight in the fraud score. A friend is a subscriber whom the referrer
/// brought.
///
/// - `disposable_domain` (40): the friend's address is at a provider of throw-away mailboxes.
/// - `same_device` (50): the friend joined from the device of the referrer, or of another friend of the last hour.
/// - `velocity` (30): the referrer brought more than ten friends within an hour.
/// - `same_network` (20): the friend joined from the network (/24 of IPv4, /48 of IPv6) of the referrer, or of
///   another friend of the last hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// The friend's address is at a provider of throw-away mailboxes.
    DisposableDomain,
    /// The friend joined from the device of the referrer or of another friend of the last hour.
    SameDevice,
    /// The referrer brought more than ten friends within an hour.
    Velocity,
    /// The friend joined from the network (/24 of IPv4, /48 of IPv6) of the referrer or of another friend of the
    /// last hour.
    SameNetwork,
}

impl Signal {
    /// Returns what the signal adds to the score.
    pub fn weight(self) -> u8 {
        match self {
            Self::DisposableDomain => 40,
            Self::SameDevice => 50,
            Self::Velocity => 30,
            Self::SameNetwork => 20,
        }
    }
}

/// Network and device that a subscriber joined from, as pseudonyms. Raw values are never stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Origin {
    pub network: Option<String>,
    pub device: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Assessment {
    /// Fraud score, 0–100.
    pub score: u8,
    pub reasons: Vec<Signal>,
}

impl Assessment {
    pub fn is_flagged(&self) -> bool {
        self.score >= FLAG_AT
    }
}

/// Computes the fraud score of a referral. Compares the origin of the friend with the origin of the referrer, and
/// with the `recent` origins of the friends whom the referrer brought within the last hour.
pub fn assess(disposable: bool, friend: &Origin, referrer: &Origin, recent: &[Origin]) -> Assessment {
    let seen = |part: fn(&Origin) -> &Option<String>| {
        part(friend).is_some()
            && std::iter::once(referrer).chain(recent).any(|other| part(other) == part(friend))
    };
    let reasons: Vec<_> = [
        (disposable, Signal::DisposableDomain),
        (seen(|origin| &origin.device), Signal::SameDevice),
        (recent.len() >= BURST, Signal::Velocity),
        (seen(|origin| &origin.network), Signal::SameNetwork),
    ]
    .into_iter()
    .filter_map(|(holds, signal)| holds.then_some(signal))
    .collect();
    let score = reasons.iter().map(|signal| u16::from(signal.weight())).sum::<u16>().min(100);
    Assessment { score: u8::try_from(score).unwrap_or(100), reasons }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(network: &str, device: &str) -> Origin {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Origin { network: some(network), device: some(device) }
    }

    #[test]
    fn a_shared_network_alone_flags_nobody() {
        let judged = assess(false, &origin("n", "d1"), &origin("n", "d2"), &[origin("n", "d3")]);
        assert_eq!((judged.score, judged.is_flagged()), (20, false));
    }

    #[test]
    fn signals_add_up_and_say_why() {
        let judged = assess(true, &origin("n", "d"), &origin("n", ""), &vec![origin("", "d"); 10]);
        assert_eq!(judged.score, 100);
        assert_eq!(
            judged.reasons,
            [Signal::DisposableDomain, Signal::SameDevice, Signal::Velocity, Signal::SameNetwork]
        );
        assert!(assess(false, &origin("", "d"), &origin("", "d"), &[]).is_flagged());
    }

    #[test]
    fn what_is_unknown_is_not_shared() {
        assert_eq!(assess(false, &origin("", ""), &origin("", ""), &[origin("", "")]).score, 0);
    }
}

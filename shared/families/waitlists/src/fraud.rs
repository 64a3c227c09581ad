//! How suspicious a referral looks, and why.
//!
//! Each signal adds a fixed weight; the score is their sum, at most 100. From
//! [`FLAG_AT`] on a referral is flagged for review. It still counts: people
//! decide, by revoking it. A shared network alone stays below the threshold,
//! because offices, schools and mobile carriers share addresses.

/// A referral with at least this score is flagged.
pub const FLAG_AT: u8 = 50;
/// More referrals than this within an hour count as a burst.
const BURST: usize = 10;

/// One thing that speaks against a referral.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// The friend's address is at a provider of throw-away mailboxes.
    DisposableDomain,
    /// The friend joined from a device seen with the referrer or another friend.
    SameDevice,
    /// The referrer brought more than ten friends within the hour.
    Velocity,
    /// The friend joined from the /24 (IPv6: /48) of the referrer or another friend.
    SameNetwork,
}

impl Signal {
    pub fn weight(self) -> u8 {
        match self {
            Self::DisposableDomain => 40,
            Self::SameDevice => 50,
            Self::Velocity => 30,
            Self::SameNetwork => 20,
        }
    }
}

/// What is known of where somebody joined from; pseudonyms, never raw values.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Origin {
    pub network: Option<String>,
    pub device: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Assessment {
    /// 0–100.
    pub score: u8,
    pub reasons: Vec<Signal>,
}

impl Assessment {
    pub fn is_flagged(&self) -> bool {
        self.score >= FLAG_AT
    }
}

/// Judges a friend who joined from `friend`, against the referrer's own origin
/// and those of the friends brought in the last hour.
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

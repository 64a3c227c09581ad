//! Callers that a rate limit refuses at present, as far as this process knows.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;

/// Maximum number of refused callers that a process remembers.
const CALLERS: usize = 1000;

/// Refused callers, each with the time from which the limit allows another request. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refused(Arc<Mutex<BTreeMap<String, Timestamp>>>);

impl Refused {
    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, caller: String, until: Timestamp, now: Timestamp) {
        let mut callers = self.held();
        if callers.len() >= CALLERS {
            callers.retain(|_, until| *until > now);
        }
        if callers.len() < CALLERS || callers.contains_key(&caller) {
            callers.insert(caller, until);
        }
    }

    pub(crate) fn has(&self, caller: &str, now: Timestamp) -> bool {
        self.held().get(caller).is_some_and(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;

    use super::*;

    #[test]
    fn a_caller_is_kept_in_mind_until_the_allowance_is_back() {
        let (refused, now) = (Refused::default(), Timestamp::UNIX_EPOCH);
        refused.note("a".to_owned(), now + 3.seconds(), now);
        assert!(refused.has("a", now) && !refused.has("b", now));
        assert!(!refused.has("a", now + 3.seconds()));
        for caller in 0..2 * CALLERS {
            refused.note(caller.to_string(), now + 3.seconds(), now);
        }
        assert!(refused.held().len() <= CALLERS);
        refused.note("late".to_owned(), now + 9.seconds(), now + 4.seconds());
        assert!(refused.has("late", now + 5.seconds()));
    }
}

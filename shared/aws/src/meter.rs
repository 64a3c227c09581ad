//! Meter of AWS calls. Counts calls by name, so that tests and benchmarks can state costs in operations, and
//! records the operations of each call, so that tests can state permissions.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

/// Meter whose readings all clones share.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    readings: Arc<Mutex<Readings>>,
    whole: Option<Arc<Meter>>,
}

#[derive(Debug, Default)]
struct Readings {
    calls: BTreeMap<&'static str, u64>,
    operations: BTreeSet<(&'static str, &'static str)>,
}

impl Meter {
    /// Returns a new meter whose calls are counted on this one as well.
    pub fn part(&self) -> Self {
        Self { readings: Arc::default(), whole: Some(Arc::new(self.clone())) }
    }

    /// Counts one call that makes these operations.
    pub fn count(&self, name: &'static str, operations: impl Iterator<Item = &'static str> + Clone) {
        if let Some(whole) = &self.whole {
            whole.readings().add(name, operations.clone());
        }
        self.readings().add(name, operations);
    }

    /// Returns the number of calls so far, by name.
    pub fn snapshot(&self) -> BTreeMap<&'static str, u64> {
        self.readings().calls.clone()
    }

    /// Returns the operations so far, each with the name of the call that made it.
    pub fn operations(&self) -> BTreeSet<(&'static str, &'static str)> {
        self.readings().operations.clone()
    }

    fn readings(&self) -> std::sync::MutexGuard<'_, Readings> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Readings {
    fn add(&mut self, name: &'static str, operations: impl Iterator<Item = &'static str>) {
        *self.calls.entry(name).or_default() += 1;
        self.operations.extend(operations.map(|operation| (name, operation)));
    }
}

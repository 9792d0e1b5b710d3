//! Who did not answer lately, and until when they are left alone.

use std::{collections::BTreeMap, time::Duration};

use crate::time::Timestamp;

const FIRST: Duration = Duration::from_secs(15);
const LAST: Duration = Duration::from_secs(15 * 60);
/// Beyond this many entries those whose pause is over are forgotten. The others never are: who is
/// not remembered would be asked for again at once, without end.
const MANY: usize = 10_000;

/// Pauses that double with every failure, from 15 s to 15 min, one for each key.
#[derive(Debug)]
pub(super) struct Failures<K>(BTreeMap<K, Failure>);

#[derive(Clone, Copy, Debug)]
struct Failure {
    count: u32,
    until: Timestamp,
}

impl<K: Ord> Failures<K> {
    pub(super) fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Counts a failure and gives the end of the pause.
    pub(super) fn fail(&mut self, key: K, now: Timestamp) -> Timestamp {
        let count = self.0.get(&key).map_or(0, |failure| failure.count);
        let pause = FIRST.saturating_mul(2_u32.saturating_pow(count.min(16))).min(LAST);
        let until = now.plus(pause);
        if MANY <= self.0.len() && !self.0.contains_key(&key) {
            self.forget_past(now);
        }
        self.0.insert(key, Failure { count: count.saturating_add(1), until });
        until
    }

    /// Forgets pauses that are over, when that frees enough to be worth a look at all of them.
    fn forget_past(&mut self, now: Timestamp) {
        if self.0.len().is_multiple_of(MANY / 10) {
            self.0.retain(|_, failure| failure.until > now);
        }
    }

    /// Forgets the failures of a key.
    pub(super) fn succeed(&mut self, key: &K) {
        self.0.remove(key);
    }

    /// The end of the pause, if it lies ahead.
    pub(super) fn paused_until(&self, key: &K, now: Timestamp) -> Option<Timestamp> {
        self.0.get(key).map(|failure| failure.until).filter(|until| *until > now)
    }

    /// The next end of a pause.
    pub(super) fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        self.0.values().map(|failure| failure.until).filter(|until| *until > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_15_seconds_to_15_minutes_and_end_with_success() {
        let mut failures = Failures::new();
        let pauses: Vec<u64> = (0..8).map(|_| failures.fail("a", Timestamp(0)).0 / 1000).collect();
        assert_eq!(pauses, [15, 30, 60, 120, 240, 480, 900, 900]);
        assert_eq!(failures.paused_until(&"a", Timestamp(0)), Some(Timestamp(900_000)));
        assert_eq!(failures.paused_until(&"a", Timestamp(900_000)), None);
        failures.succeed(&"a");
        assert_eq!(failures.fail("a", Timestamp(0)), Timestamp(15_000));
    }
}

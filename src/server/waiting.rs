//! Calls with nothing to answer yet, by whom they would be told. Never too many of one user: the
//! oldest is then answered as if its time were over.

use std::collections::{BTreeMap, VecDeque};

use tokio::time::Instant;

use crate::matrix::OwnedUserId;

/// Most waiting calls of a user: more than one for each of the devices that somebody has open.
const MOST_CALLS: usize = 64;
/// Most bytes of the requests of a user that wait.
const MOST_BYTES: usize = 1 << 20;

/// What can wait.
pub(super) trait Patient {
    /// When it has to be answered.
    fn latest(&self) -> Option<Instant>;
    /// Whether nobody waits for the answer any more.
    fn is_abandoned(&self) -> bool;
    /// About how many bytes it keeps.
    fn size(&self) -> usize;
}

/// The calls that wait.
pub(super) struct Waiting<C> {
    by_user: BTreeMap<OwnedUserId, VecDeque<C>>,
    /// None is late before this; it may be earlier than the first of them.
    first: Option<Instant>,
}

impl<C> Default for Waiting<C> {
    fn default() -> Self {
        Self { by_user: BTreeMap::new(), first: None }
    }
}

impl<C: Patient> Waiting<C> {
    /// Lets a call wait; gives those that have to leave for it.
    pub(super) fn add(&mut self, user: OwnedUserId, call: C) -> Vec<C> {
        self.first = [self.first, call.latest()].into_iter().flatten().min();
        let calls = self.by_user.entry(user).or_default();
        calls.push_back(call);
        let mut out = Vec::new();
        let mut bytes: usize = calls.iter().map(C::size).sum();
        if MOST_CALLS < calls.len() || MOST_BYTES < bytes {
            calls.retain(|call| !call.is_abandoned());
            bytes = calls.iter().map(C::size).sum();
        }
        while MOST_CALLS < calls.len() || MOST_BYTES < bytes {
            let Some(oldest) = calls.pop_front() else {
                break;
            };
            bytes -= oldest.size();
            out.push(oldest);
        }
        out
    }

    /// Takes all calls of a user out.
    pub(super) fn take(&mut self, user: &OwnedUserId) -> impl Iterator<Item = C> + use<C> {
        let calls = self.by_user.remove(user).unwrap_or_default();
        calls.into_iter().filter(|call| !call.is_abandoned())
    }

    /// When to look for those that are late.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.first
    }

    /// Takes those out that are late; those whose caller is gone are forgotten.
    pub(super) fn take_late(&mut self, now: Instant) -> Vec<C> {
        let mut late = Vec::new();
        self.by_user.retain(|_, calls| {
            for call in std::mem::take(calls) {
                if call.is_abandoned() {
                    continue;
                }
                match call.latest() {
                    Some(latest) if now < latest => calls.push_back(call),
                    _ => late.push(call),
                }
            }
            !calls.is_empty()
        });
        self.first = self.by_user.values().flatten().filter_map(C::latest).min();
        late
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Call {
        latest: Instant,
        size: usize,
        is_abandoned: bool,
    }

    impl Patient for Call {
        fn latest(&self) -> Option<Instant> {
            Some(self.latest)
        }

        fn is_abandoned(&self) -> bool {
            self.is_abandoned
        }

        fn size(&self) -> usize {
            self.size
        }
    }

    fn user(name: &str) -> OwnedUserId {
        format!("@{name}:x").try_into().unwrap()
    }

    fn call(latest: Instant, size: usize) -> Call {
        Call { latest, size, is_abandoned: false }
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_call_of_a_user_with_too_many_leaves() {
        let now = Instant::now();
        let mut waiting = Waiting::default();
        for _ in 0..MOST_CALLS {
            assert!(waiting.add(user("a"), call(now, 1)).is_empty());
        }
        assert!(waiting.add(user("b"), call(now, 1)).is_empty(), "others are not concerned");
        assert_eq!(waiting.add(user("a"), call(now, 2)).len(), 1);
        let left = waiting.add(user("a"), call(now, MOST_BYTES - 2));
        assert_eq!(left.len(), MOST_CALLS - 1, "the bytes count too");
        assert_eq!(waiting.add(user("c"), call(now, MOST_BYTES + 1)).len(), 1, "even of one");
    }

    #[tokio::test(start_paused = true)]
    async fn whose_caller_is_gone_leaves_first() {
        let now = Instant::now();
        let mut waiting = Waiting::default();
        for index in 0..MOST_CALLS {
            let is_abandoned = index % 2 == 1;
            waiting.add(user("a"), Call { is_abandoned, ..call(now, 1) });
        }
        assert!(waiting.add(user("a"), call(now, 1)).is_empty());
        assert_eq!(waiting.take(&user("a")).count(), MOST_CALLS / 2 + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_call_leaves_in_time() {
        let now = Instant::now();
        let mut waiting = Waiting::default();
        waiting.add(user("a"), call(now + Duration::from_secs(2), 1));
        waiting.add(user("b"), call(now + Duration::from_secs(1), 1));
        assert_eq!(waiting.deadline(), Some(now + Duration::from_secs(1)));
        assert_eq!(waiting.take_late(now + Duration::from_secs(1)).len(), 1);
        assert_eq!(waiting.deadline(), Some(now + Duration::from_secs(2)));
        assert_eq!(waiting.take(&user("a")).count(), 1);
        assert!(waiting.take_late(now + Duration::from_secs(2)).is_empty());
        assert_eq!(waiting.deadline(), None);
    }
}

//! The wall clock as the engine sees it: it never runs backwards.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::time::Timestamp;

/// How far the wall clock must be ahead before it is believed: a suspended machine, or a clock
/// that was set right. Less is drift and not worth a jump.
const JUMP: Duration = Duration::from_secs(2);

/// A monotone clock in wall time: anchored once, carried on by the monotonic clock, moved forward
/// when the wall clock is ahead (after a suspend the monotonic clock stood still), never back.
#[derive(Debug)]
pub struct Clock {
    wall: Timestamp,
    instant: Instant,
}

impl Clock {
    /// Anchors at the present.
    #[expect(clippy::disallowed_methods, reason = "the driver's clock is where time is read")]
    pub fn start() -> Self {
        Self { wall: wall(), instant: Instant::now() }
    }

    /// The present; never before an earlier answer.
    #[expect(clippy::disallowed_methods, reason = "the driver's clock is where time is read")]
    pub fn now(&mut self) -> Timestamp {
        let instant = Instant::now();
        let carried = self.wall.plus(instant.saturating_duration_since(self.instant));
        let now = corrected(carried, wall());
        if now != carried {
            *self = Self { wall: now, instant };
        }
        now
    }
}

/// The wall clock where it is well ahead of the carried time, the carried time otherwise.
fn corrected(carried: Timestamp, wall: Timestamp) -> Timestamp {
    if wall.since(carried) > JUMP { wall } else { carried }
}

#[expect(clippy::disallowed_methods, reason = "the driver's clock is where time is read")]
fn wall() -> Timestamp {
    let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::default().plus(age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_is_not_followed() {
        assert_eq!(corrected(Timestamp(10_000), Timestamp(1)), Timestamp(10_000));
    }

    #[test]
    fn a_suspend_is_made_up_for() {
        assert_eq!(corrected(Timestamp(10_000), Timestamp(3_600_000)), Timestamp(3_600_000));
    }

    #[test]
    fn drift_is_no_jump() {
        assert_eq!(corrected(Timestamp(10_000), Timestamp(11_000)), Timestamp(10_000));
    }
}

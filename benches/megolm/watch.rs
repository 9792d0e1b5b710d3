//! What something takes: by the clock, and of the processor.

use std::time::{Duration, Instant};

/// What something took.
#[derive(Clone, Copy, Default)]
pub(super) struct Spent {
    pub(super) wall: Duration,
    /// Of the processor, whatever else the machine did meanwhile.
    pub(super) processor: Duration,
}

impl Spent {
    pub(super) fn add(&mut self, more: Self) {
        self.wall += more.wall;
        self.processor += more.processor;
    }
}

/// Takes the time.
pub(super) struct Watch {
    wall: Instant,
    processor: Duration,
}

impl Watch {
    pub(super) fn start() -> Self {
        Self { processor: processor(), wall: Instant::now() }
    }

    pub(super) fn stop(&self) -> Spent {
        let wall = self.wall.elapsed();
        Spent { wall, processor: processor().saturating_sub(self.processor) }
    }
}

/// The processor time of this thread so far; zero where there is no `/proc`.
fn processor() -> Duration {
    // The count is brought up to date when the thread gives way.
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().unwrap_or_default().parse().unwrap_or(0))
}

//! Everything the screen shows, as plain values: no I/O, no clock, no terminal library.

use super::{input::Size, options::TuiOptions};
use crate::time::Timestamp;

/// The screen's state.
#[derive(Debug)]
pub struct State {
    _options: TuiOptions,
    size: Size,
}

impl State {
    /// The state before anything was told; `seed` makes transaction ids unique.
    pub fn new(options: TuiOptions, size: Size, _seed: u64) -> Self {
        Self { _options: options, size }
    }

    /// The size of the screen.
    pub fn size(&self) -> Size {
        self.size
    }

    /// When [`super::Input::Tick`] is wanted.
    pub fn deadline(&self) -> Option<Timestamp> {
        None
    }

    /// Whether the deadline has come.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.deadline().is_some_and(|at| at <= now)
    }

    /// Why the engine ended, if it did.
    pub fn ended(&self) -> Option<&str> {
        None
    }
}

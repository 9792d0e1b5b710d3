//! Taking deltas.

use super::delta::TimelineDelta;

/// The folded timeline of one room.
#[derive(Clone, Debug, Default)]
pub struct Timeline {}

impl Timeline {
    /// Takes a change.
    pub fn apply(&mut self, delta: TimelineDelta) {
        drop(delta);
    }
}

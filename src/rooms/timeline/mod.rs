//! A room's timeline: deltas in any order fold to the same list of items.

mod delta;
mod event;
mod fold;

pub use delta::{Echo, SendError, SendState, TimelineDelta};
pub use event::{EventBody, StoredEvent};
pub use fold::Timeline;

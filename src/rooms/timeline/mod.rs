//! A room's timeline: deltas in any order fold to the same list of items.
//!
//! ```text
//!  TimelineDelta ─▶ Timeline::apply ─▶ events by position, relations by target, echoes in order
//!                                            │
//!  screen ◀─ Item { id, version, kind } ◀─ Timeline::items  (built when looked at, not before)
//! ```
//!
//! [`event`] and [`delta`] are the contract with store and engine, [`item`] the one with the
//! screen; [`fold`] takes deltas, [`relations`] knows what hangs on what, [`view`] builds items,
//! [`walk`] goes through them.

mod change;
mod content;
mod delta;
mod event;
mod fold;
mod item;
mod relations;
mod verification;
mod view;
mod walk;

#[cfg(test)]
mod tests;

pub use change::{Change, ChangeKind, FoldedChange, MemberChange, fold_changes};
pub use content::{FileContent, FileKind, MessageContent, message_content};
pub use delta::{Echo, SendError, SendState, TimelineDelta};
pub use event::{EventBody, Relation, StoredEvent, is_valid_edit};
pub use fold::Timeline;
pub use item::{
    Item, ItemId, ItemKind, Items, Message, Quote, Reaction, Removed, Reply, Sending, Unreadable,
};
pub use verification::is_verification;

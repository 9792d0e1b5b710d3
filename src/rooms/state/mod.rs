//! What a room is now: its members, name, rules and encryption, folded from state events.
//!
//! [`room_state`] takes the events, [`members`] keeps the people and what they are called,
//! [`name`] calculates the room's name, [`skeleton`] tells which names look alike, [`upgrade`] follows
//! a room to its successors.

mod members;
mod name;
mod room_state;
mod skeleton;
mod upgrade;

#[cfg(test)]
mod tests;

pub use members::{Member, MemberState};
pub use room_state::{ClearRoom, Direct, RoomState, direct_rooms};
pub use upgrade::newest_successor;

//! Somebody in the demo: sees things, does things.

use std::time::Duration;

use super::seen::{Place, Seen};
use crate::matrix::{OwnedEventId, OwnedRoomId};

/// Somebody in the demo. Pure: what is done follows from what was seen.
pub(super) trait Person {
    /// What to do about what was seen, in this order.
    fn on(&mut self, seen: &Seen) -> Vec<Deed>;
}

/// Something that a person does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// Reads up to here.
    Read(Place, OwnedEventId),
    /// Types for so long.
    Type(Place, Duration),
    /// Says something.
    Say(Place, String),
    /// Answers a message.
    Reply(Place, OwnedEventId, String),
    /// Reacts to a message.
    React(Place, OwnedEventId, &'static str),
    /// Joins a room.
    Join(OwnedRoomId),
}

//! Somebody in the demo: sees things, does things.

use std::time::Duration;

use super::seen::{Place, Seen};
use crate::{
    engine::{Scan, VerificationAct, VerificationId},
    matrix::{OwnedEventId, OwnedRoomId},
};

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
    /// Goes on with a verification.
    Verify(VerificationId, VerificationAct),
}

/// Does the other side's part of a verification: agrees, says what there is to be compared, and
/// confirms, since somebody who sits in the same process can only be who they are.
pub(super) fn verifies(seen: &Seen) -> Vec<Deed> {
    match seen {
        Seen::AskedToVerify(id) => {
            vec![Deed::Verify(*id, VerificationAct::Accept { scan: Scan::No })]
        }
        Seen::Compare(id, place, emoji) => vec![
            Deed::Say(place.clone(), format!("I see: {emoji}")),
            Deed::Verify(*id, VerificationAct::Confirm),
        ],
        Seen::Curtain
        | Seen::Said(_)
        | Seen::Edited(..)
        | Seen::Reacted(..)
        | Seen::Removed(..)
        | Seen::Invited(_)
        | Seen::Verified(_)
        | Seen::NotVerified(_)
        | Seen::Quiet => Vec::new(),
    }
}

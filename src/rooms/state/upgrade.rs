//! Following a room to the one that replaced it.

use std::collections::BTreeSet;

use super::room_state::RoomState;
use crate::matrix::{OwnedRoomId, RoomId};

/// Most upgrades that are followed.
const MAX_UPGRADES: usize = 32;

/// The newest room that `start` was upgraded to, if it was. A step counts only when the new room
/// names the old one as its predecessor; circles and endless chains end.
pub fn newest_successor<'a>(
    start: &'a RoomState,
    find: impl Fn(&RoomId) -> Option<&'a RoomState>,
) -> Option<OwnedRoomId> {
    let mut seen = BTreeSet::from([start.room_id()]);
    let mut room = start;
    for _ in 0..MAX_UPGRADES {
        let next = room.successor().and_then(&find);
        let next = next.filter(|next| next.predecessor() == Some(room.room_id()));
        let Some(next) = next.filter(|next| seen.insert(next.room_id())) else { break };
        room = next;
    }
    (room.room_id() != start.room_id()).then(|| room.room_id().to_owned())
}

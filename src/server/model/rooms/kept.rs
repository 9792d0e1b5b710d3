//! What each new event asks of its room, kept ready: who is joined, and the power levels as push
//! rules want them.
//!
//! Whoever changes one of them calls [`Step::forget_room`], before it is asked for again.

use std::{collections::HashMap, sync::Arc};

use ruma::push::PushConditionPowerLevelsCtx;

use super::state::read_joined;
use crate::{
    matrix::{OwnedRoomId, OwnedUserId, RoomId},
    server::model::{step::Step, table::Broken},
};

/// Most members that are kept ready, of all rooms together; one room may be larger than that.
const MOST_KEPT: usize = 100_000;

/// What is known of rooms.
#[derive(Debug, Default)]
pub(crate) struct RoomCache {
    joined: HashMap<OwnedRoomId, Arc<[OwnedUserId]>>,
    levels: HashMap<OwnedRoomId, Arc<PushConditionPowerLevelsCtx>>,
    /// Members and levels together.
    size: usize,
}

impl RoomCache {
    /// To be called when members or power levels of a room change.
    pub(crate) fn forget(&mut self, room: &RoomId) {
        let joined = self.joined.remove(room).map_or(0, |joined| joined.len() + 1);
        let levels = self.levels.remove(room).map_or(0, |levels| weight(&levels));
        self.size = self.size.saturating_sub(joined + levels);
    }

    fn make_place(&mut self, size: usize) {
        if MOST_KEPT < self.size.saturating_add(size) {
            *self = Self::default();
        }
        self.size += size;
    }

    /// The power levels of a room, if they are kept.
    pub(crate) fn levels(&self, room: &RoomId) -> Option<Arc<PushConditionPowerLevelsCtx>> {
        self.levels.get(room).cloned()
    }

    /// Keeps the power levels of a room.
    pub(crate) fn keep_levels(&mut self, room: &RoomId, levels: Arc<PushConditionPowerLevelsCtx>) {
        self.make_place(weight(&levels));
        self.levels.insert(room.to_owned(), levels);
    }
}

fn weight(levels: &PushConditionPowerLevelsCtx) -> usize {
    1 + levels.users.len()
}

/// Who is joined. Kept ready for the next time, unlike by
/// [`joined_members`](super::joined_members).
///
/// # Errors
/// When the records are broken.
pub(super) fn joined_kept(
    step: &mut Step<'_>,
    room: &RoomId,
) -> Result<Arc<[OwnedUserId]>, Broken> {
    if let Some(joined) = joined(step, room) {
        return Ok(joined);
    }
    let joined: Arc<[OwnedUserId]> = read_joined(step, room)?.into();
    let kept = &mut step.volatile.rooms;
    kept.make_place(joined.len() + 1);
    kept.joined.insert(room.to_owned(), Arc::clone(&joined));
    Ok(joined)
}

/// Who is joined, if that is kept.
pub(super) fn joined(step: &Step<'_>, room: &RoomId) -> Option<Arc<[OwnedUserId]>> {
    step.volatile.rooms.joined.get(room).map(Arc::clone)
}

//! What one step wants written, and the seal that keeps its frames back until it is.

use super::{
    lease::Lease,
    outbox::OutboxWrite,
    room::{GapWrite, RoomRow},
};
use crate::{
    e2ee::Changes,
    matrix::{Event, OwnedRoomId, Position},
    rooms::StoredEvent,
    secret::Secret,
};

/// All writes of one step. Each is an idempotent upsert; they are applied in the order of the
/// fields, so a room that is gone and listed again starts anew, and state that is reset and given
/// again holds only what is given.
#[derive(Clone, Debug, Default)]
pub struct Writes {
    /// Records of the session layer.
    pub crypto: Changes,
    /// Rooms to forget, with their events, state and gaps. Outbox rows stay until removed.
    pub gone_rooms: Vec<OwnedRoomId>,
    /// Rooms to list or to list anew.
    pub rooms: Vec<RoomRow>,
    /// Rooms whose current state is dropped before `state` is applied.
    pub reset_state: Vec<OwnedRoomId>,
    /// Current state; an event without `state_key` is no state and left out.
    pub state: Vec<(OwnedRoomId, Event)>,
    /// Timeline events. A known event (same room, same id) keeps its position; its content and
    /// body are replaced. An event without id cannot be in a timeline and is left out.
    pub events: Vec<(OwnedRoomId, StoredEvent)>,
    /// Gaps that opened or closed.
    pub gaps: Vec<GapWrite>,
    /// Rooms whose first event is known.
    pub reached_start: Vec<OwnedRoomId>,
    /// Changes of the outbox.
    pub outbox: Vec<OutboxWrite>,
    /// A new access token.
    pub access_token: Option<Secret<String>>,
    /// How long it lives, and what renews it.
    pub lease: Option<Lease>,
    /// Place in the sync stream up to which everything is in this and earlier steps.
    pub position: Option<Position>,
}

impl Writes {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.position.is_none() && self.is_bare()
    }

    /// Whether there is nothing to write but the place in the sync stream.
    pub fn is_position_only(&self) -> bool {
        self.position.is_some() && self.is_bare()
    }

    /// Whether nothing is written beside the position.
    fn is_bare(&self) -> bool {
        self.crypto.is_empty()
            && self.gone_rooms.is_empty()
            && self.rooms.is_empty()
            && self.reset_state.is_empty()
            && self.state.is_empty()
            && self.events.is_empty()
            && self.gaps.is_empty()
            && self.reached_start.is_empty()
            && self.outbox.is_empty()
            && self.access_token.is_none()
            && self.lease.is_none()
    }
}

/// A step: what to write, and what it wants sent and shown. [`super::Store::commit`] is the only
/// way to the latter.
#[must_use = "a step does nothing until it is committed"]
#[derive(Debug)]
pub struct Pending<T> {
    writes: Writes,
    held: T,
}

impl<T> Pending<T> {
    /// Seals `held` until `writes` are on disk.
    pub fn new(writes: Writes, held: T) -> Self {
        Self { writes, held }
    }

    /// What will be written.
    pub fn writes(&self) -> &Writes {
        &self.writes
    }

    /// Takes the step apart; only for the commit.
    pub(super) fn into_parts(self) -> (Writes, T) {
        (self.writes, self.held)
    }
}

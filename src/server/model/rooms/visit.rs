//! Somebody looks into a room: whether they may, what they see there, and how they get it.

use super::client_event::{Reader, client_event, raw};
use crate::{
    matrix::{EventId, OwnedRoomId},
    server::model::{
        records::MEMBERSHIPS,
        refusal::Refusal,
        rooms::{RoomEvent, Sight, current, current_state, room, state_at, state_event_at},
        route::Caller,
        step::Step,
        table::Broken,
    },
};

/// Somebody who may look into a room.
#[derive(Debug)]
pub(crate) struct Visit<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) room: OwnedRoomId,
    pub(crate) sight: Sight,
}

impl<'a> Visit<'a> {
    /// Of somebody who is joined.
    ///
    /// # Errors
    /// `M_FORBIDDEN` for all others.
    pub(crate) fn of_member(
        step: &Step<'_>,
        caller: &'a Caller,
        room: OwnedRoomId,
    ) -> Result<Self, Refusal> {
        let visit = Self::new(step, caller, room)?;
        if visit.sight.is_joined() { Ok(visit) } else { Err(not_in_room()) }
    }

    /// Of somebody who is joined, or was, or may read without joining.
    ///
    /// # Errors
    /// `M_FORBIDDEN` for all others: who is banned, who never came in, who forgot the room.
    pub(crate) fn of_reader(
        step: &Step<'_>,
        caller: &'a Caller,
        room: OwnedRoomId,
    ) -> Result<Self, Refusal> {
        let visit = Self::new(step, caller, room)?;
        let sight = &visit.sight;
        if sight.is_joined() || sight.is_world_readable() {
            return Ok(visit);
        }
        let has_left = sight.membership() == "leave" && sight.was_joined();
        let remembers = || step.get(MEMBERSHIPS, (&caller.user, &visit.room));
        if has_left && remembers()?.is_some() { Ok(visit) } else { Err(not_in_room()) }
    }

    /// Of somebody who is joined, or may read without joining.
    ///
    /// # Errors
    /// `M_FORBIDDEN` for all others, also for those who left.
    pub(crate) fn of_present(
        step: &Step<'_>,
        caller: &'a Caller,
        room: OwnedRoomId,
    ) -> Result<Self, Refusal> {
        let visit = Self::of_reader(step, caller, room)?;
        if visit.is_present() { Ok(visit) } else { Err(not_in_room()) }
    }

    /// Of anybody who asks for an event: what they see is asked event by event.
    ///
    /// # Errors
    /// `M_NOT_FOUND` when there is no such room.
    pub(crate) fn of_anybody(
        step: &Step<'_>,
        caller: &'a Caller,
        room: OwnedRoomId,
    ) -> Result<Self, Refusal> {
        Self::new(step, caller, room).map_err(|refusal| match refusal.status {
            403 => no_event(),
            _ => refusal,
        })
    }

    fn new(step: &Step<'_>, caller: &'a Caller, id: OwnedRoomId) -> Result<Self, Refusal> {
        room(step, &id)?;
        let sight = Sight::read(step, &id, &caller.user)?;
        Ok(Self { caller, room: id, sight })
    }

    fn is_present(&self) -> bool {
        self.sight.is_joined() || self.sight.is_world_readable()
    }

    /// The last number of what they may know of the room's state.
    pub(crate) fn end(&self) -> u64 {
        self.sight.end().unwrap_or(0)
    }

    /// An event of this room that they see. Whoever left gets no single event of before they
    /// came, which the room lets those read who are in it.
    ///
    /// # Errors
    /// `M_NOT_FOUND` otherwise.
    pub(crate) fn event(&self, step: &Step<'_>, id: &EventId) -> Result<RoomEvent, Refusal> {
        RoomEvent::load(step, id)?
            .filter(|event| event.record.room == self.room && self.sees_alone(event))
            .ok_or_else(no_event)
    }

    fn sees_alone(&self, event: &RoomEvent) -> bool {
        if self.is_present() { self.sight.sees(event) } else { self.sight.saw(event) }
    }

    /// An event as they get it.
    ///
    /// # Errors
    /// When the records are broken.
    pub(crate) fn show<T>(
        &self,
        step: &Step<'_>,
        event: &RoomEvent,
    ) -> Result<ruma::serde::Raw<T>, Broken> {
        let reader = Reader { caller: self.caller, sight: &self.sight };
        Ok(raw(client_event(step, event, reader)?))
    }

    /// Events as they get them.
    ///
    /// # Errors
    /// When the records are broken.
    pub(crate) fn show_all<T>(
        &self,
        step: &Step<'_>,
        events: &[RoomEvent],
    ) -> Result<Vec<ruma::serde::Raw<T>>, Broken> {
        events.iter().map(|event| self.show(step, event)).collect()
    }

    /// The state event of this type and key: the current one, or that of when they left.
    ///
    /// # Errors
    /// When the records are broken.
    pub(crate) fn state_event(
        &self,
        step: &Step<'_>,
        kind: &str,
        state_key: &str,
    ) -> Result<Option<RoomEvent>, Broken> {
        match self.end() {
            u64::MAX => current(step, &self.room, kind, state_key),
            end => state_event_at(step, &self.room, (kind, state_key), end),
        }
    }

    /// The state: the current one, or that of when they left.
    ///
    /// # Errors
    /// When the records are broken.
    pub(crate) fn state(&self, step: &Step<'_>) -> Result<Vec<RoomEvent>, Broken> {
        match self.end() {
            u64::MAX => current_state(step, &self.room),
            end => state_at(step, &self.room, end),
        }
    }
}

fn not_in_room() -> Refusal {
    Refusal::forbidden("you are not in this room")
}

fn no_event() -> Refusal {
    Refusal::not_found("there is no such event")
}

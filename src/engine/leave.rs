//! A room that is over for us: one we left, an invite that was refused or taken back. It goes from
//! the list and from the disk. One that somebody else put us out of stays, to be read, until it is
//! left in the same way.

use crate::matrix::{Event, Membership, OwnedRoomId, RoomDelta, RoomId};

use super::{
    Engine, Update,
    error::EngineError,
    request::{Asked, Call, Origin},
    turn::Turn,
};

impl Engine {
    /// The call by which a room is left: one that we are out of already is only forgotten.
    pub(super) fn leave_call(&self, room: &RoomId) -> Call {
        let out = self.rooms.line(room).is_some_and(|it| it.0.membership == Membership::Leave);
        let verb = if out { "forget" } else { "leave" };
        Call::post(&["rooms", room.as_str(), verb], &serde_json::json!({}))
    }

    /// Whether a sync answer ends the room for us.
    pub(super) fn ends(&self, room: &RoomId, changes: &RoomDelta) -> bool {
        if changes.membership != Membership::Leave {
            return false;
        }
        let events = changes.state.iter().chain(&changes.timeline);
        let own = events.rev().find(|event| event.is_state("m.room.member", self.me.as_str()));
        let by_us = own.is_some_and(|own| own.sender.as_deref() == Some(&*self.me));
        match self.rooms.line(room).map(|(summary, _)| summary.membership) {
            // Gone already, or never here.
            None | Some(Membership::Invite | Membership::Knock) => true,
            Some(Membership::Join | Membership::Leave) => by_us && !is_ban(own),
        }
    }

    /// The room is over: the session layer still hears who left, everything else goes.
    pub(super) fn end_room(
        &mut self,
        room: &RoomId,
        changes: &RoomDelta,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        for event in changes.state.iter().chain(&changes.timeline) {
            if event.state_key.is_some() {
                self.machine.receive_state(room, event, &mut turn.step)?;
            }
        }
        self.forget_room(room, turn)
    }

    /// Takes a room out of the list and off the disk, with the messages that wait for it.
    pub(super) fn forget_room(
        &mut self,
        room: &RoomId,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        if !self.rooms.forget(room) {
            return Ok(());
        }
        for txn in self.outbox.of_room(room) {
            self.on_discard(&txn, turn)?;
        }
        self.forget_history(room, turn);
        self.requests.forget(|origin| is_about(origin, room));
        self.reading.forget(room);
        let writes = &mut turn.writes;
        writes.rooms.retain(|row| row.summary.room_id != *room);
        writes.state.retain(|(id, _)| id != room);
        writes.events.retain(|(id, _)| id != room);
        writes.gaps.retain(|gap| gap.room() != room);
        writes.reached_start.retain(|id| id != room);
        writes.reset_state.retain(|id| id != room);
        turn.members.remove(room);
        let gone: OwnedRoomId = room.to_owned();
        turn.writes.gone_rooms.push(gone.clone());
        self.faces.close(room);
        turn.tell_all(Update::RoomsGone(vec![gone]));
        Ok(())
    }

    /// A new start of the sync stream that does not name a room: we are not in it any more.
    pub(super) fn drop_unnamed(
        &mut self,
        named: impl Fn(&RoomId) -> bool,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        for room in self.rooms.ids().into_iter().filter(|room| !named(room)) {
            match self.rooms.line(&room).map(|(summary, _)| summary.membership) {
                Some(Membership::Invite | Membership::Knock) => self.forget_room(&room, turn)?,
                Some(Membership::Join) => {
                    let entry = self.rooms.touch(&room, turn.store)?;
                    entry.summary.membership = Membership::Leave;
                }
                Some(Membership::Leave) | None => {}
            }
        }
        Ok(())
    }
}

fn is_ban(own: Option<&Event>) -> bool {
    own.is_some_and(|own| own.content_str("membership") == Some("ban"))
}

/// Whether a call is of no use once the room is gone. Requests of faces are answered all the same.
fn is_about(origin: &Origin, room: &RoomId) -> bool {
    match origin {
        Origin::Send(id, _)
        | Origin::Members(id)
        | Origin::Encryption(id)
        | Origin::History(id, _)
        | Origin::Read(id, _)
        | Origin::Typing(id) => id == room,
        Origin::Keys(..)
        | Origin::UploadLimit
        | Origin::DirectRead(..)
        | Origin::DirectWrite(..)
        | Origin::Asked(
            _,
            _,
            Asked::Create(_)
            | Asked::Join
            | Asked::Find
            | Asked::HasEvent(_)
            | Asked::Download(_)
            | Asked::Leave(_)
            | Asked::Invite(..)
            | Asked::Devices
            | Asked::Device
            | Asked::Logout,
        ) => false,
    }
}

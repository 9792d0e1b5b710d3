//! Who read what and who types, both ways.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    matrix::{Event, EventId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId},
    time::Timestamp,
};

use super::{
    Audience, Engine, Update,
    error::EngineError,
    request::{Call, Origin},
    turn::Turn,
};

/// How long the server shows us typing, and how long before that it is told again.
const TYPING_MS: u64 = 30_000;
const TYPING_AGAIN_MS: u64 = 20_000;

/// What we say about ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnTyping {
    /// The user types.
    Types,
    /// The user stopped.
    Stopped,
}

/// Receipts and typing of ours on their way.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// What was read while a receipt was under way; only the newest counts.
    next: BTreeMap<OwnedRoomId, OwnedEventId>,
    /// When the server was told that we type.
    typing: BTreeMap<OwnedRoomId, Timestamp>,
}

impl Engine {
    /// Everything up to `event` was on screen.
    pub(super) fn on_mark_read(
        &mut self,
        room: OwnedRoomId,
        event: OwnedEventId,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        if !self.is_newer(&room, &event, turn)? {
            return Ok(());
        }
        let entry = self.rooms.touch(&room, turn.store)?;
        entry.record.read = Some(event.clone());
        entry.summary.unread = 0;
        entry.summary.highlights = 0;
        let under_way =
            |origin: &Origin| matches!(origin, Origin::Read(other, _) if *other == room);
        if self.requests.has(under_way) {
            self.reading.next.insert(room, event);
        } else {
            self.ask_read(room, event);
        }
        Ok(())
    }

    /// Whether `event` is known and after what was read before.
    fn is_newer(
        &self,
        room: &RoomId,
        event: &EventId,
        turn: &Turn<'_>,
    ) -> Result<bool, EngineError> {
        let Some(stored) = turn.store.event(room, event)? else { return Ok(false) };
        let line = self.rooms.line(room);
        let Some(read) = line.and_then(|(_, record)| record.read.as_ref()) else { return Ok(true) };
        let known = turn.store.event(room, read)?;
        Ok(known.is_none_or(|known| known.position < stored.position))
    }

    fn ask_read(&mut self, room: OwnedRoomId, event: OwnedEventId) {
        let body = json!({ "m.fully_read": event, "m.read": event });
        let call = Call::post(&["rooms", room.as_str(), "read_markers"], &body);
        self.requests.ask(Origin::Read(room, event), call);
    }

    /// A receipt was taken or refused; the newest of those that waited is next.
    pub(super) fn on_read_answer(&mut self, room: &RoomId) {
        if let Some(event) = self.reading.next.remove(room) {
            self.ask_read(room.to_owned(), event);
        }
    }

    /// The user types or stopped. The server is told of a change, and again before it forgets.
    pub(super) fn on_typing(&mut self, room: &RoomId, typing: OwnTyping, turn: &Turn<'_>) {
        let told = self.reading.typing.get(room).copied();
        let again = told.is_none_or(|at| turn.now >= Timestamp(at.0 + TYPING_AGAIN_MS));
        let body = match typing {
            OwnTyping::Types if again => {
                self.reading.typing.insert(room.to_owned(), turn.now);
                json!({ "typing": true, "timeout": TYPING_MS })
            }
            OwnTyping::Stopped if told.is_some() => {
                self.reading.typing.remove(room);
                json!({ "typing": false })
            }
            OwnTyping::Types | OwnTyping::Stopped => return,
        };
        if self.is_up() {
            let call = Call::put(&["rooms", room.as_str(), "typing", self.me.as_str()], &body);
            self.requests.ask(Origin::Typing, call);
        }
    }

    /// Typing and receipts of others.
    pub(super) fn on_ephemeral(
        &mut self,
        room: &RoomId,
        event: &Event,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        match event.kind.as_str() {
            "m.typing" => self.on_others_type(room, event, turn),
            "m.receipt" => {
                let read = receipts(event).filter(|(user, _)| *user != self.me).collect::<Vec<_>>();
                if !read.is_empty() {
                    let update = Update::Receipts { room: room.to_owned(), read };
                    self.tell_openers(room, &update, turn);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn on_others_type(
        &mut self,
        room: &RoomId,
        event: &Event,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let listed = event.content.get("user_ids").and_then(Value::as_array);
        let users: Vec<OwnedUserId> = listed
            .into_iter()
            .flatten()
            .filter_map(|user| OwnedUserId::try_from(user.as_str()?).ok())
            .filter(|user| *user != self.me)
            .collect();
        let entry = self.rooms.touch(room, turn.store)?;
        if entry.typing != users {
            entry.typing.clone_from(&users);
            self.tell_openers(room, &Update::Typing { room: room.to_owned(), users }, turn);
        }
        Ok(())
    }

    /// Tells those who have the room open.
    pub(super) fn tell_openers(&self, room: &RoomId, update: &Update, turn: &mut Turn<'_>) {
        for face in self.faces.viewers(room) {
            turn.tell(Audience::One(face), update.clone());
        }
    }
}

/// Who read which event, from the content of `m.receipt`.
fn receipts(event: &Event) -> impl Iterator<Item = (OwnedUserId, OwnedEventId)> {
    event.content.iter().flat_map(|(id, kinds)| {
        let readers = kinds.get("m.read").and_then(Value::as_object);
        readers.into_iter().flatten().filter_map(move |(user, _)| {
            Some((
                OwnedUserId::try_from(user.as_str()).ok()?,
                OwnedEventId::try_from(id.as_str()).ok()?,
            ))
        })
    })
}

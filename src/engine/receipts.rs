//! Who read what and who types, both ways.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    matrix::{Event, EventId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId},
    rooms::{StoredEvent, TimelineDelta},
    time::Timestamp,
};

use super::{
    Audience, Engine, Receipt, Update,
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
    next: BTreeMap<OwnedRoomId, (OwnedEventId, Receipt)>,
    /// When the server was told that we type.
    typing: BTreeMap<OwnedRoomId, Timestamp>,
}

impl Reading {
    /// The room is gone.
    pub(super) fn forget(&mut self, room: &RoomId) {
        self.next.remove(room);
        self.typing.remove(room);
    }
}

impl Engine {
    /// Everything up to `event` was on screen.
    pub(super) fn on_mark_read(
        &mut self,
        room: OwnedRoomId,
        (event, receipt): (OwnedEventId, Receipt),
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        if !self.is_newer(&room, &event, turn)? {
            return Ok(());
        }
        let entry = self.rooms.touch(&room, turn.store)?;
        entry.record.read = Some(event.clone());
        entry.all_read();
        self.faces.tell_viewers(&room, &TimelineDelta::FullyRead(event.clone()), turn);
        let under_way =
            |origin: &Origin| matches!(origin, Origin::Read(other, _) if *other == room);
        if self.requests.has(under_way) {
            self.reading.next.insert(room, (event, receipt));
        } else {
            self.ask_read(room, event, receipt);
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
        let Some(place) = place_of(room, event, turn)? else { return Ok(false) };
        Ok(self.read_place(room, turn)?.is_none_or(|read| read < place))
    }

    /// The place of the event up to which we read, if both are known.
    pub(super) fn read_place(
        &self,
        room: &RoomId,
        turn: &Turn<'_>,
    ) -> Result<Option<i64>, EngineError> {
        match self.rooms.line(room).and_then(|(_, record)| record.read.as_ref()) {
            Some(read) => place_of(room, read, turn),
            None => Ok(None),
        }
    }

    /// New messages: those that name us count until they are read; who writes has read.
    pub(super) fn note_unread(
        &mut self,
        room: &RoomId,
        stored: &[StoredEvent],
        turn: &Turn<'_>,
    ) -> Result<(), EngineError> {
        let me = self.me.clone();
        let entry = self.rooms.touch(room, turn.store)?;
        entry.note_unread(stored, &me);
        let own = stored.iter().filter(|it| it.event.state_key.is_none());
        let own = own.filter(|it| it.sender() == Some(&*me)).map(|it| it.position).max();
        if let Some(own) = own {
            entry.forget_mentions(own);
        }
        Ok(())
    }

    /// Messages that became readable late count as unread if they stand behind what was read.
    pub(super) fn note_late(
        &mut self,
        room: &RoomId,
        changed: &[StoredEvent],
        turn: &Turn<'_>,
    ) -> Result<(), EngineError> {
        let Some(read) = self.read_place(room, turn)? else { return Ok(()) };
        let me = self.me.clone();
        let entry = self.rooms.touch(room, turn.store)?;
        let unread = changed.iter().filter(|it| read < it.position).cloned();
        entry.note_unread(&unread.collect::<Vec<_>>(), &me);
        Ok(())
    }

    /// The fully-read marker, which all our devices share.
    pub(super) fn on_room_account_data(
        &mut self,
        room: &RoomId,
        event: &Event,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let named = event.content_str("event_id").filter(|_| event.kind == "m.fully_read");
        let Some(Ok(read)) = named.map(OwnedEventId::try_from) else { return Ok(()) };
        let place = place_of(room, &read, turn)?;
        let known = self.read_place(room, turn)?;
        if place.zip(known).is_some_and(|(place, known)| place < known) {
            return Ok(());
        }
        let entry = self.rooms.touch(room, turn.store)?;
        if let Some(place) = place {
            entry.take_receipt(place);
        }
        if entry.record.read.as_ref() != Some(&read) {
            entry.record.read = Some(read.clone());
            self.faces.tell_viewers(room, &TimelineDelta::FullyRead(read), turn);
        }
        Ok(())
    }

    /// Receipts of ours, from any device: what they cover is not unread any more.
    fn on_own_receipts(
        &mut self,
        room: &RoomId,
        read: &[(OwnedUserId, OwnedEventId)],
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        for (_, event) in read.iter().filter(|(user, _)| *user == self.me) {
            if let Some(place) = place_of(room, event, turn)? {
                self.rooms.touch(room, turn.store)?.take_receipt(place);
            }
        }
        Ok(())
    }

    /// A private receipt clears the counts of all our devices like a public one.
    fn ask_read(&mut self, room: OwnedRoomId, event: OwnedEventId, receipt: Receipt) {
        let kind = match receipt {
            Receipt::Public => "m.read",
            Receipt::Private => "m.read.private",
        };
        let body = json!({ "m.fully_read": event, kind: event });
        let call = Call::post(&["rooms", room.as_str(), "read_markers"], &body);
        self.requests.ask(Origin::Read(room, event), call);
    }

    /// A receipt was taken or refused; the newest of those that waited is next.
    pub(super) fn on_read_answer(&mut self, room: &RoomId) {
        if let Some((event, receipt)) = self.reading.next.remove(room) {
            self.ask_read(room.to_owned(), event, receipt);
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
            self.requests.ask(Origin::Typing(room.to_owned()), call);
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
                let mut read = receipts(event).collect::<Vec<_>>();
                self.on_own_receipts(room, &read, turn)?;
                read.retain(|(user, _)| *user != self.me);
                if !read.is_empty() {
                    let update = Update::Receipts { room: room.to_owned(), read };
                    self.tell_followers(room, &update, turn);
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
            self.tell_followers(room, &Update::Typing { room: room.to_owned(), users }, turn);
        }
        Ok(())
    }

    /// Tells those who have the room open.
    pub(super) fn tell_openers(&self, room: &RoomId, update: &Update, turn: &mut Turn<'_>) {
        for face in self.faces.viewers(room) {
            turn.tell(Audience::One(face), update.clone());
        }
    }

    /// Tells those who have the room open or follow every room.
    fn tell_followers(&self, room: &RoomId, update: &Update, turn: &mut Turn<'_>) {
        for face in self.faces.followers(room) {
            turn.tell(Audience::One(face), update.clone());
        }
    }
}

/// The place of an event, also of one that came in this very step.
fn place_of(room: &RoomId, id: &EventId, turn: &Turn<'_>) -> Result<Option<i64>, EngineError> {
    if let Some(stored) = turn.store.event(room, id)? {
        return Ok(Some(stored.position));
    }
    let new = turn.writes.events.iter().find(|(at, it)| *at == *room && it.id() == Some(id));
    Ok(new.map(|(_, it)| it.position))
}

/// Who read which event, from the content of `m.receipt`.
fn receipts(event: &Event) -> impl Iterator<Item = (OwnedUserId, OwnedEventId)> {
    event.content.iter().flat_map(|(id, kinds)| {
        let kinds = ["m.read", "m.read.private"].into_iter().filter_map(|kind| kinds.get(kind));
        let readers = kinds.filter_map(Value::as_object).flatten();
        readers.filter_map(move |(user, _)| {
            Some((
                OwnedUserId::try_from(user.as_str()).ok()?,
                OwnedEventId::try_from(id.as_str()).ok()?,
            ))
        })
    })
}

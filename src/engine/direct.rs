//! Direct chats as the account has them: `m.direct`, to which rooms are added that are made or
//! accepted here. Whom an accepted invite makes a direct chat with is on disk before the invite is
//! accepted: what follows is done though the program dies in between.

use serde_json::{Map, Value, json};

use crate::matrix::{MatrixError, Membership, OwnedRoomId, OwnedUserId, RoomId, UserId};

use super::{
    Engine,
    error::EngineError,
    request::{Call, Origin},
    turn::Turn,
};

impl Engine {
    /// An invite is accepted here: if it is to a direct chat, the room becomes one on our side too.
    pub(super) fn note_direct(
        &mut self,
        room: &RoomId,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        if let Some(user) = self.direct_inviter(room, turn)? {
            self.rooms.touch(room, turn.store)?.record.direct_due = Some(user);
        }
        Ok(())
    }

    /// Who invites us to a direct chat.
    fn direct_inviter(
        &self,
        room: &RoomId,
        turn: &Turn<'_>,
    ) -> Result<Option<OwnedUserId>, EngineError> {
        let state = turn.store.state(room)?;
        let own = state.into_iter().find(|event| event.is_state("m.room.member", self.me.as_str()));
        let direct = own.filter(|own| {
            own.content_str("membership") == Some("invite")
                && own.content.get("is_direct") == Some(&Value::Bool(true))
        });
        Ok(direct.and_then(|own| own.sender))
    }

    /// We are in the room: it is added to `m.direct`, if that is still to be done.
    pub(super) fn ask_due_direct(
        &mut self,
        room: &RoomId,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let due = self.rooms.line(room).and_then(|(_, record)| record.direct_due.clone());
        let Some(user) = due else { return Ok(()) };
        let is_named = self.rooms.line(room).is_some_and(|(_, it)| it.direct.contains(&user));
        if is_named {
            return self.direct_done(room, turn);
        }
        if !self.requests.has(|origin| origin.makes_direct(room)) {
            self.ask_direct(room.to_owned(), user);
        }
        Ok(())
    }

    /// What happened meanwhile is known: what an earlier run left is done.
    pub(super) fn resume_direct(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        for room in self.rooms.ids() {
            let is_due = self.rooms.line(&room).is_some_and(|(line, record)| {
                line.membership == Membership::Join && record.direct_due.is_some()
            });
            if is_due {
                self.ask_due_direct(&room, turn)?;
            }
        }
        Ok(())
    }

    fn direct_done(&mut self, room: &RoomId, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        if self.rooms.line(room).is_some_and(|(_, record)| record.direct_due.is_some()) {
            self.rooms.touch(room, turn.store)?.record.direct_due = None;
        }
        Ok(())
    }

    /// `m.direct` is read before it is written: other clients write it too.
    pub(super) fn ask_direct(&mut self, room: OwnedRoomId, user: OwnedUserId) {
        let call = Call::get(&["user", self.me.as_str(), "account_data", "m.direct"]);
        self.requests.ask(Origin::DirectRead(room, user), call);
    }

    pub(super) fn on_direct_read(
        &mut self,
        (room, user): (&RoomId, &UserId),
        result: &Result<&str, MatrixError>,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let mut direct: Map<String, Value> = match result {
            Ok(body) => serde_json::from_str(body).unwrap_or_default(),
            Err(error) if error.status == 404 => Map::new(),
            Err(_) => return Ok(()),
        };
        let rooms = direct.entry(user.as_str()).or_insert_with(|| json!([]));
        let Some(rooms) = rooms.as_array_mut() else { return Ok(()) };
        if rooms.iter().any(|known| known.as_str() == Some(room.as_str())) {
            return self.direct_done(room, turn);
        }
        rooms.push(json!(room));
        let path = ["user", self.me.as_str(), "account_data", "m.direct"];
        let write = Origin::DirectWrite(room.to_owned(), user.to_owned());
        self.requests.ask(write, Call::put(&path, &Value::Object(direct)));
        Ok(())
    }

    /// The server has it; our own line need not wait for it to come down.
    pub(super) fn on_direct_written(
        &mut self,
        room: &RoomId,
        user: OwnedUserId,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let record = &mut self.rooms.touch(room, turn.store)?.record;
        if !record.direct.contains(&user) {
            record.direct.push(user);
        }
        self.direct_done(room, turn)
    }
}

//! What a face is told when it comes, and what is told of rooms when a turn ends.

use serde_json::Value;

use crate::{
    matrix::{Event, Membership, OwnedRoomId, OwnedUserId, RoomId, UserId},
    store::Origin,
};

use super::{
    Alarm, Audience, Engine, FaceId, Outcome, Update, error::EngineError, faces::answer, turn::Turn,
};

impl Engine {
    pub(super) fn on_face_came(&mut self, face: FaceId, turn: &mut Turn<'_>) {
        self.faces.add(face);
        self.greet(Audience::One(face), turn);
    }

    /// The present, for those who stayed while the engine was built anew.
    pub(super) fn greet_all(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        self.greet(Audience::All, turn);
        for (face, room) in self.faces.views() {
            self.on_open(face, &room, turn)?;
        }
        Ok(())
    }

    fn greet(&mut self, audience: Audience, turn: &mut Turn<'_>) {
        turn.tell(audience, Update::Link(self.link.state().clone()));
        turn.tell(audience, Update::Rooms(self.rooms.summaries()));
        if let Some(room) = self.rooms.last_visited() {
            turn.tell(audience, Update::LastVisited(room));
        }
        turn.tell(audience, self.outbox.counts());
        if turn.store.origin() == Origin::Copy {
            turn.tell(audience, Update::Alarm(Alarm::StoreCopied));
        }
        if let Some(prompt) = self.auth_prompt(turn) {
            self.told_auth = true;
            turn.tell(audience, Update::AuthNeeded(prompt));
        }
        for view in self.machine.verifications() {
            turn.tell(audience, Update::Verification(view));
        }
        turn.tell(audience, Update::Backup(self.backup.state.clone()));
        if let Some(state) = self.greet_recovery() {
            turn.tell(audience, state);
        }
        if self.rooms.synced {
            turn.tell(audience, Update::Synced);
        }
        if self.is_up() {
            turn.tell(audience, Update::CaughtUp);
        }
    }

    /// The user went to a room.
    pub(super) fn on_visit(
        &mut self,
        room: &RoomId,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        if self.rooms.line(room).is_some() {
            self.rooms.touch(room, turn.store)?.record.visited = Some(turn.now);
        }
        Ok(())
    }

    /// Writes and tells the lines that changed in this turn.
    pub(super) fn flush_rooms(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        let changed = self.rooms.take_changed();
        for room in changed.latched {
            self.on_latched(&room, turn)?;
        }
        if !changed.rows.is_empty() {
            let lines = changed.rows.iter().map(|row| row.summary.clone()).collect();
            turn.tell_all(Update::Rooms(lines));
            let in_it = changed.rows.iter().filter(|it| it.summary.membership == Membership::Join);
            for row in in_it {
                self.ask_due_direct(&row.summary.room_id, turn)?;
            }
            turn.writes.rooms.extend(changed.rows);
        }
        for room in std::mem::take(&mut turn.members) {
            if !self.faces.viewers(&room).is_empty() {
                let names = self.rooms.state(&room, turn.store)?.names();
                self.tell_openers(&room, &Update::Members { room: room.clone(), names }, turn);
                self.tell_news_of_members(&room, turn)?;
            }
        }
        self.tick_rooms(turn);
        Ok(())
    }

    /// Answers those who wait for a room that has come down, or waited long enough.
    pub(super) fn tick_rooms(&mut self, turn: &mut Turn<'_>) {
        let requests = &self.requests;
        let under_way = |room: &RoomId| requests.has(|origin| origin.makes_direct(room));
        for (face, id, room_id) in self.rooms.settled(turn.now, under_way) {
            answer((face, id), Ok(Outcome::Room { room_id }), turn);
        }
    }

    /// Global account data: which rooms are direct chats.
    pub(super) fn on_account_data(
        &mut self,
        event: &Event,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        self.machine.receive_account_data(event, &mut turn.step)?;
        if event.kind != "m.direct" {
            return Ok(());
        }
        for (room, users) in self.rooms.set_direct(direct_chats(event).collect()) {
            self.rooms.touch(&room, turn.store)?.record.direct = users;
        }
        Ok(())
    }
}

impl Engine {
    /// The direct chat with a user that was used last. It is none where the user is not: `m.direct`
    /// is what the server says, people leave, and whoever else is there would read what is meant
    /// for them.
    pub(super) fn direct_chat(
        &mut self,
        user: &UserId,
        turn: &Turn<'_>,
    ) -> Result<Option<OwnedRoomId>, EngineError> {
        for room in self.rooms.named_direct(user) {
            let heroes =
                self.rooms.line(&room).and_then(|(_, record)| record.heroes.heroes.as_ref());
            let is_hero = heroes.is_some_and(|heroes| heroes.iter().any(|hero| hero == user));
            let is_there = match self.rooms.state(&room, turn.store)?.membership(user) {
                Some(state) => state.is_active(),
                // Not told yet, as servers do with members that nobody asked for.
                None => is_hero,
            };
            if is_there {
                return Ok(Some(room));
            }
        }
        Ok(None)
    }
}

/// User and room, from the content of `m.direct`.
fn direct_chats(event: &Event) -> impl Iterator<Item = (OwnedUserId, OwnedRoomId)> {
    event.content.iter().flat_map(|(user, rooms)| {
        let rooms = rooms.as_array().into_iter().flatten().filter_map(Value::as_str);
        rooms.filter_map(move |room| {
            Some((OwnedUserId::try_from(user.as_str()).ok()?, OwnedRoomId::try_from(room).ok()?))
        })
    })
}

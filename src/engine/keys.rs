//! Requests of the session layer become frames; their answers go back to it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::RawValue;

use crate::{
    e2ee::{OutgoingRequest, RequestFailure, RequestId},
    matrix::{MatrixError, OwnedRoomId, OwnedUserId, RoomId},
    rooms::{EventBody, StoredEvent, TimelineDelta},
};

use super::{
    Engine,
    error::EngineError,
    request::{Call, Origin},
    turn::Turn,
};

/// Marked messages of one user that are looked at again when their devices changed.
const MOST_MARKED: usize = 500;

impl Engine {
    /// After a start: what was prepared and not answered goes out again, byte for byte.
    pub(super) fn resume_keys(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        for request in self.machine.unanswered(&turn.step)? {
            self.ask_keys(request);
        }
        Ok(())
    }

    /// Notes a request, unless it is noted already.
    pub(super) fn ask_keys(&mut self, request: OutgoingRequest) {
        let OutgoingRequest { id, kind, method, path, query, body } = request;
        let noted = |origin: &Origin| matches!(origin, Origin::Keys(other, _) if *other == id);
        if self.requests.has(noted) {
            return;
        }
        let method = match method.as_str() {
            "GET" => "GET",
            "PUT" => "PUT",
            "DELETE" => "DELETE",
            _ => "POST",
        };
        // The machine wrote the body; a text that is no JSON would be a bug there and is not sent.
        let body = match body.as_str() {
            "" => None,
            _ => match RawValue::from_string(body) {
                Ok(body) => Some(body),
                Err(_) => return,
            },
        };
        let call = Call { method, path, query, body };
        self.requests.ask(Origin::Keys(id, kind), call);
    }

    pub(super) fn on_keys_answer(
        &mut self,
        id: &RequestId,
        result: Result<&str, MatrixError>,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let answer = result.map_err(|error| {
            if error.is_retryable() {
                RequestFailure::Later(error)
            } else {
                RequestFailure::Refused(error)
            }
        });
        Ok(self.machine.receive_response(id, answer, &mut turn.step)?)
    }

    /// The request stays and is repeated; the session layer is told, because it sends a message
    /// without a device that cannot be reached rather than never.
    pub(super) fn on_keys_postponed(
        &mut self,
        id: &RequestId,
        error: &MatrixError,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let answer = Err(RequestFailure::Later(error.clone()));
        Ok(self.machine.receive_response(id, answer, &mut turn.step)?)
    }

    /// Keys of a room came, or reasons why none will: events that wait for them are looked at again, in the
    /// step that keeps the keys.
    pub(super) fn decrypt_again(
        &mut self,
        room: &RoomId,
        sessions: &BTreeSet<String>,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        if turn.ended(room) {
            return Ok(());
        }
        let mut changed = Vec::new();
        for session_id in sessions {
            let mut left = 0;
            let before = changed.len();
            for mut stored in turn.store.undecrypted(room, session_id)? {
                let body = self.decrypt(room, &stored.event, turn)?;
                left += usize::from(!matches!(body, EventBody::Decrypted(_)));
                if body != stored.body {
                    stored.body = body;
                    changed.push(stored);
                }
            }
            if left == 0 && before < changed.len() {
                self.machine.settle_room_key(room, session_id, &mut turn.step)?;
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        self.note_late(room, &changed, turn)?;
        self.note_verifications(room, &changed, turn)?;
        let owned: OwnedRoomId = room.to_owned();
        turn.writes.events.extend(changed.iter().map(|stored| (owned.clone(), stored.clone())));
        self.tell_news(room, &changed, turn)
    }

    /// Devices of these users changed: their messages with a red mark are looked at again, so that
    /// one from a device that was not known yet does not stay red.
    pub(super) fn look_again(
        &mut self,
        users: &BTreeSet<OwnedUserId>,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let mut marked = Vec::new();
        for user in users {
            marked.extend(turn.store.marked(user, MOST_MARKED)?);
        }
        self.mark_again(marked, turn)
    }

    /// Users who were verified show another identity: what they said lately in the rooms on screen
    /// is looked at again, to get its mark.
    pub(super) fn look_at_newest(
        &mut self,
        users: &BTreeSet<OwnedUserId>,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let rooms: BTreeSet<_> = self.faces.views().into_iter().map(|(_, room)| room).collect();
        let mut said = Vec::new();
        for room in rooms {
            let newest = turn.store.newest(&room, MOST_MARKED)?.into_iter();
            let theirs =
                newest.filter(|it| it.event.sender.as_ref().is_some_and(|it| users.contains(it)));
            said.extend(theirs.map(|stored| (room.clone(), stored)));
        }
        self.mark_again(said, turn)
    }

    fn mark_again(
        &mut self,
        events: Vec<(OwnedRoomId, StoredEvent)>,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let mut changed: BTreeMap<OwnedRoomId, Vec<StoredEvent>> = BTreeMap::new();
        for (room, mut stored) in events {
            if turn.ended(&room) || !matches!(stored.body, EventBody::Decrypted(_)) {
                continue;
            }
            let body = self.decrypt(&room, &stored.event, turn)?;
            // What could be read stays readable.
            if matches!(body, EventBody::Decrypted(_)) && body != stored.body {
                stored.body = body;
                changed.entry(room).or_default().push(stored);
            }
        }
        for (room, events) in changed {
            turn.writes.events.extend(events.iter().map(|event| (room.clone(), event.clone())));
            self.faces.tell_viewers(&room, &TimelineDelta::Events(events), turn);
        }
        Ok(())
    }
}

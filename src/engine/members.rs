//! Who is in a room, completely: a message is encrypted only for a list of members that is whole.
//!
//! # Spec
//! Client-Server API, "Lazy-loading room members".

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    e2ee::Recipients,
    matrix::{Event, MatrixError, OwnedUserId, RoomId, UserId},
    rooms::SendError,
};

use super::{
    Engine,
    error::EngineError,
    request::{Call, Origin},
    turn::Turn,
};

/// The answer of `/members`.
#[derive(Debug, Deserialize)]
struct Members {
    #[serde(default)]
    chunk: Vec<Value>,
}

impl Engine {
    /// To whom a room's messages go; `None` while the list is being asked for.
    pub(super) fn recipients(
        &mut self,
        room: &RoomId,
        turn: &mut Turn<'_>,
    ) -> Result<Option<Recipients>, EngineError> {
        let entry = self.rooms.get(room, turn.store)?;
        if entry.record.members_complete {
            return Ok(Some(entry.state.recipients()));
        }
        let asked = Origin::Members(room.to_owned());
        if !self.requests.has(|origin| *origin == asked) {
            entry.changed_members = Some(BTreeSet::new());
            let call =
                Call::get(&["rooms", room.as_str(), "members"]).with("not_membership", "leave");
            self.requests.ask(asked, call);
        }
        Ok(None)
    }

    /// All members came. Whose membership changed in a sync since they were asked for is left as
    /// the sync said: the list may be older.
    pub(super) fn on_members(
        &mut self,
        room: &RoomId,
        result: Result<&str, MatrixError>,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let Some(changed) = self.rooms.get(room, turn.store)?.changed_members.take() else {
            // A gap opened since it was asked for, in which others may have left: it is asked anew.
            return self.pump(room, turn);
        };
        let Ok(Ok(members)) = result.map(serde_json::from_str::<Members>) else {
            // Nothing can be sent without; the next message, or another try of this one, asks again.
            self.no_members(room, turn)?;
            return self.pump(room, turn);
        };
        let mut listed = BTreeSet::new();
        for value in members.chunk {
            let Ok(event) = serde_json::from_value::<Event>(value) else { continue };
            let Some(user) = member_of(&event) else { continue };
            if !changed.contains(&user) {
                self.apply_state(room, &event, turn)?;
            }
            listed.insert(user);
        }
        self.drop_unlisted(room, &listed, &changed, turn)?;
        let record = &mut self.rooms.touch(room, turn.store)?.record;
        record.members_complete = true;
        record.newcomers.know();
        self.pump(room, turn)
    }

    /// Members we knew and the whole list does not: they left in a gap.
    fn drop_unlisted(
        &mut self,
        room: &RoomId,
        listed: &BTreeSet<OwnedUserId>,
        changed: &BTreeSet<OwnedUserId>,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let known = self.rooms.state(room, turn.store)?.recipients();
        for user in known.joined.into_iter().chain(known.invited) {
            if !listed.contains(&user) && !changed.contains(&user) {
                self.apply_state(room, &departure(&user), turn)?;
            }
        }
        Ok(())
    }

    /// Names of who speaks in old messages and is not known here. They are taken as names only:
    /// who was a member then need not be one now.
    pub(super) fn learn_names(
        &mut self,
        room: &RoomId,
        state: &[Value],
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        for value in state {
            let Ok(event) = Event::deserialize(value) else { continue };
            let Some(user) = member_of(&event) else { continue };
            let name = event.content.get("displayname").cloned();
            let known = self.rooms.state(room, turn.store)?.membership(&user).is_some();
            let Some(name) = name.filter(|_| !known) else { continue };
            let mut former = departure(&user);
            former.content.insert("displayname".to_owned(), name);
            self.rooms.touch(room, turn.store)?.state.apply(&former);
            turn.writes.state.push((room.to_owned(), former));
            turn.members.insert(room.to_owned());
        }
        Ok(())
    }

    /// The server refuses the list: the message whose turn it is fails, with the words.
    fn no_members(&mut self, room: &RoomId, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        let error = SendError {
            code: "no_members".to_owned(),
            message: "the server does not tell who is in this room; try again".to_owned(),
        };
        self.fail_head(room, error, turn)
    }
}

/// Whose membership an event is about; `None` when it is none.
pub(super) fn member_of(event: &Event) -> Option<OwnedUserId> {
    if event.kind != "m.room.member" {
        return None;
    }
    OwnedUserId::try_from(event.state_key.as_deref()?).ok()
}

/// A member event that nobody sent: the whole list lacks the user.
fn departure(user: &UserId) -> Event {
    let mut content = Map::new();
    content.insert("membership".to_owned(), json!("leave"));
    Event::state("m.room.member", user.as_str(), content)
}

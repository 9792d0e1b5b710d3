//! The person at a client: what they type and do.

use grotto::{
    engine::{Command, CommandId, Draft, Request},
    matrix::{OwnedEventId, OwnedRoomId, OwnedTransactionId},
};
use serde_json::json;

use super::client::Client;

/// What a person does besides typing.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Leave,
    Join,
    Invite(String),
    React,
    Redact,
}

/// A line that was taken.
pub(super) struct Taken {
    pub(super) room: String,
    pub(super) text: String,
    pub(super) txn: String,
}

impl Client {
    /// The newest event of a room that this person sees.
    fn newest(&self, room: &OwnedRoomId) -> Option<OwnedEventId> {
        self.store.newest(room, 1).expect("readable").pop()?.event.event_id
    }

    fn next_txn(&mut self) -> OwnedTransactionId {
        self.typed += 1;
        format!("{}-{}", self.caller.device, self.typed).into()
    }

    /// The person types a line, unless there is no room on their screen yet.
    pub(super) fn type_line(&mut self, room: &str, text: &str) {
        if self.store.position().expect("readable").is_none() {
            return;
        }
        let content = json!({ "msgtype": "m.text", "body": text });
        let draft = Draft {
            room: room.try_into().expect("a room"),
            txn: self.next_txn(),
            kind: "m.room.message".to_owned(),
            content: content.as_object().expect("an object").clone(),
        };
        self.command(Command::Send(draft));
    }

    /// The person does something about a room.
    pub(super) fn act(&mut self, room: &str, act: Act) {
        let room: OwnedRoomId = room.try_into().expect("a room");
        let id = CommandId(self.typed);
        let request = |request| Command::Request { id, request };
        let command = match act {
            Act::Leave => request(Request::Leave { room }),
            Act::Join => request(Request::Join { room: room.to_string() }),
            Act::Invite(user) => {
                let user = user.try_into().expect("a user id");
                request(Request::Invite { room, user })
            }
            Act::React => {
                let Some(event) = self.newest(&room) else { return };
                let relation = json!({ "rel_type": "m.annotation", "event_id": event, "key": "+" });
                let content = json!({ "m.relates_to": relation });
                let content = content.as_object().expect("an object").clone();
                let kind = "m.reaction".to_owned();
                Command::Send(Draft { room, txn: self.next_txn(), kind, content })
            }
            Act::Redact => {
                let Some(event) = self.newest(&room) else { return };
                Command::Redact { room, txn: self.next_txn(), event, reason: None }
            }
        };
        self.command(command);
    }
}

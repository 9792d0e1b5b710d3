//! `send`: one message, until the server has it.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    errand::Errand,
    error::HeadlessError,
    output::Output,
    people::safe,
    resolve::{resolve, unexpected},
};
use crate::{
    engine::{Command, CommandError, Draft, FileDraft, Outcome, Request},
    matrix::{OwnedEventId, OwnedRoomId, OwnedTransactionId, RoomId},
    rooms::{FileFacts, Typed, compose_file, compose_reaction},
};

/// What to send where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendOptions {
    /// The room, as typed.
    pub room: String,
    /// What.
    pub what: Sending,
    /// The attempt's name: repeated with it, the message is sent once.
    pub txn: OwnedTransactionId,
}

/// What to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sending {
    /// A message.
    Message(Typed),
    /// A file, and what is said to it.
    File(FileFacts, Typed),
    /// A reaction.
    Reaction {
        /// The key, usually an emoji.
        key: String,
        /// To which event.
        event: OwnedEventId,
    },
}

/// What was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Sent {
    event_id: OwnedEventId,
    txn: OwnedTransactionId,
    room_id: OwnedRoomId,
}

/// Sends, and returns once the server's answer is there.
///
/// # Errors
/// When the room or the event it is about is not known, the message is refused, or no answer comes in time; in that last
/// case the message stays queued and is sent later, once.
pub async fn send(
    errand: &mut Errand,
    output: &mut Output,
    options: SendOptions,
) -> Result<(), HeadlessError> {
    let event = event(&options.what)?;
    errand.ready().await.map_err(not_begun)?;
    let room = resolve(errand, &options.room).await?;
    check_targets(errand, &room, &options.what).await?;
    let txn = options.txn;
    errand.tell(event.command(room.clone(), txn.clone())).await?;
    let event_id = match errand.ask(Request::AwaitSent { txn: txn.clone() }).await {
        Ok(Outcome::Sent { event_id }) => event_id,
        Ok(other) => return Err(unexpected(&other).into()),
        Err(HeadlessError::Timeout { after, reason }) => {
            return Err(HeadlessError::Queued { after, reason, txn });
        }
        Err(error) => return Err(error),
    };
    let sent = Sent { event_id, txn, room_id: room };
    output.show(&sent, |sent| Some(safe(sent.event_id.as_str())))
}

/// Nothing is kept of a message before it is known who is in its room.
fn not_begun(error: HeadlessError) -> HeadlessError {
    if let HeadlessError::Timeout { after, reason } = error {
        HeadlessError::NotBegun { after, reason }
    } else {
        error
    }
}

/// A mistyped event id would be sent for good: what a message is about must be in the room.
async fn check_targets(
    errand: &mut Errand,
    room: &RoomId,
    what: &Sending,
) -> Result<(), HeadlessError> {
    let events: Vec<&OwnedEventId> = match what {
        Sending::Message(typed) | Sending::File(_, typed) => typed.target.events().collect(),
        Sending::Reaction { event, .. } => vec![event],
    };
    for event in events {
        let (room, event) = (room.to_owned(), event.clone());
        let outcome = errand.ask(Request::HasEvent { room, event }).await?;
        if outcome != Outcome::Done {
            return Err(unexpected(&outcome).into());
        }
    }
    Ok(())
}

/// What is given to the engine.
struct Event {
    kind: &'static str,
    content: Map<String, Value>,
    /// The file that belongs to it.
    path: Option<String>,
}

impl Event {
    fn command(self, room: OwnedRoomId, txn: OwnedTransactionId) -> Command {
        let Self { kind, content, path } = self;
        match path {
            Some(path) => Command::SendFile(FileDraft { room, txn, path, content }),
            None => Command::Send(Draft { room, txn, kind: kind.to_owned(), content }),
        }
    }
}

fn event(what: &Sending) -> Result<Event, HeadlessError> {
    let message = |content| Event { kind: "m.room.message", content, path: None };
    match what {
        Sending::Message(typed) if typed.text.trim().is_empty() => Err(HeadlessError::Empty),
        Sending::Message(typed) => Ok(message(typed.content())),
        Sending::File(facts, caption) => {
            let path = Some(facts.path.clone());
            Ok(Event { path, ..message(compose_file(facts, caption)) })
        }
        Sending::Reaction { key, event } => {
            let content = compose_reaction(key, event);
            Ok(Event { kind: "m.reaction", content, path: None })
        }
    }
}

/// A transaction id that no other run gives.
///
/// # Errors
/// When the system gives no random bytes.
pub fn fresh_transaction() -> Result<OwnedTransactionId, HeadlessError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| CommandError {
        code: "no_randomness".to_owned(),
        message: format!("the system gives no random bytes: {error}"),
    })?;
    let mut id = String::from("grotto-");
    for byte in bytes {
        write!(id, "{byte:02x}").unwrap_or_default();
    }
    Ok(id.into())
}

//! From a draft to the server: one message of a room at a time, in the order they were typed.
//!
//! ```text
//!  Queued ─▶ members and keys there? ─▶ Encrypted (ciphertext on disk) ─▶ asked ─▶ sent: row gone
//!    ▲            │ no: waits                  │ restart: the same bytes       │
//!    └─ retry ── Failed ◀──────────────────────┴──── refused for good ─────────┘
//! ```
//! A row's call is repeated by `request` until it is answered. The row ends by the answer or by
//! the remote echo, whichever is first. This is the only file that writes a message's content into
//! a call; what goes out in clear is said by [`RoomContent`].

use serde_json::{Map, Value, json, value::RawValue};

use crate::{
    e2ee::{EncryptError, MegolmCiphertext, Plaintext, Readiness, ShareError},
    matrix::{
        EventId, MatrixError, OwnedEventId, OwnedRoomId, OwnedTransactionId, RoomId, TransactionId,
    },
    rooms::{ClearRoom, Echo, SendError, SendState, TimelineDelta, is_verification},
    store::{FileItem, OutboxItem, OutboxRow, OutboxState},
};

use super::{
    Draft, Engine, Outcome,
    error::EngineError,
    faces::refusal,
    outbox::{IDENTITY_CHANGED, NOT_VERIFIED_ANY_MORE, Phase, Row},
    request::{Call, Origin, raw},
    turn::Turn,
};

/// What a send call carries. Clear text and ciphertext share no type: clear text needs the proof
/// that the room was never seen encrypted, or is a reaction.
enum RoomContent<'a> {
    /// Encrypted for the members.
    Encrypted(&'a MegolmCiphertext),
    /// In clear, in a room that may have it.
    Clear(ClearRoom<'a>, Body<'a>),
    /// In clear in any room, as all clients send it: servers count reactions.
    Reaction(Reaction<'a>),
}

/// Type and clear content.
#[derive(Clone, Copy)]
struct Body<'a> {
    kind: &'a str,
    content: &'a Map<String, Value>,
}

/// The content of an `m.reaction`, the one message type that goes out in clear everywhere.
struct Reaction<'a>(&'a Map<String, Value>);

impl<'a> Reaction<'a> {
    const KIND: &'static str = "m.reaction";

    fn of(kind: &str, content: &'a Map<String, Value>) -> Option<Self> {
        (kind == Self::KIND).then_some(Self(content))
    }
}

impl RoomContent<'_> {
    /// The call that sends it.
    fn call(&self, room: &RoomId, txn: &TransactionId) -> Option<Call> {
        let (kind, body) = match self {
            Self::Encrypted(ciphertext) => {
                ("m.room.encrypted", RawValue::from_string(ciphertext.json().to_owned()).ok())
            }
            Self::Clear(_proof, body) => (body.kind, raw(&json!(body.content))),
            Self::Reaction(reaction) => (Reaction::KIND, raw(&json!(reaction.0))),
        };
        let segments = ["rooms", room.as_str(), "send", kind, txn.as_str()];
        let call = Call::put(&segments, &Value::Null);
        body.map(|body| Call { body: Some(body), ..call })
    }
}

/// What became of a row whose turn it was.
enum Turned {
    /// Its call is noted.
    Asked,
    /// Something must come first.
    Waits,
    /// Its file must be uploaded anew; the next one's turn.
    Uploads,
    /// It will not be sent; the next one's turn.
    Failed(SendError),
}

impl Engine {
    /// Takes a message: it is on disk with this step.
    pub(super) fn on_send(&mut self, draft: Draft, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        let Draft { room, txn, kind, content } = draft;
        self.greet_newcomers(&room, turn)?;
        self.enqueue((room, txn), OutboxItem::Event { kind, content }, turn)
    }

    pub(super) fn on_redact(
        &mut self,
        place: (OwnedRoomId, OwnedTransactionId),
        event: OwnedEventId,
        reason: Option<String>,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        self.enqueue(place, OutboxItem::Redaction { event, reason }, turn)
    }

    pub(super) fn enqueue(
        &mut self,
        (room, txn): (OwnedRoomId, OwnedTransactionId),
        item: OutboxItem,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let state = OutboxState::Queued;
        let row =
            OutboxRow { seq: 0, room: room.clone(), txn: txn.clone(), at: turn.now, item, state };
        match self.outbox.add(row, turn) {
            Some(echo) => self.show_echo(&room, echo, turn),
            // Asked again for what is still here: that is a retry if it failed.
            None => self.on_retry(&txn, turn)?,
        }
        self.pump(&room, turn)
    }

    /// Sends what may be sent of a room's messages.
    pub(super) fn pump(&mut self, room: &RoomId, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        if self.is_up() {
            self.start_uploads(room, turn)?;
        }
        while self.is_up() {
            let Some(row) = self.outbox.head(room).cloned() else { break };
            let txn = row.stored.txn.clone();
            match self.turn_of(row, turn)? {
                Turned::Asked => self.show_phase(room, &txn, Phase::Asked, turn),
                Turned::Waits => {
                    self.show_phase(room, &txn, Phase::WaitingForKeys, turn);
                    break;
                }
                Turned::Uploads => self.start_uploads(room, turn)?,
                Turned::Failed(error) => self.fail(room, &txn, error, turn)?,
            }
        }
        Ok(())
    }

    /// Brings the row whose turn it is one step further.
    fn turn_of(&mut self, row: Row, turn: &mut Turn<'_>) -> Result<Turned, EngineError> {
        let OutboxRow { room, txn, item, state, .. } = row.stored;
        if let Some(error) = self.rooms.refuses(&room) {
            return Ok(Turned::Failed(error));
        }
        let call = match (&item, state) {
            (OutboxItem::Redaction { event, reason }, _) => {
                Some(redaction(&room, &txn, event, reason.as_deref()))
            }
            (
                OutboxItem::Event { .. } | OutboxItem::File(_),
                OutboxState::Encrypted(ciphertext),
            ) => RoomContent::Encrypted(&ciphertext).call(&room, &txn),
            (OutboxItem::Event { kind, content }, OutboxState::Queued | OutboxState::Failed(_)) => {
                if let Some(reaction) = Reaction::of(kind, content) {
                    RoomContent::Reaction(reaction).call(&room, &txn)
                } else if self.is_encrypted(&room, turn)? {
                    return self.encrypt((&room, &txn), Body { kind, content }, turn);
                } else if self.asks_encryption(&room, turn)? {
                    return Ok(Turned::Waits);
                } else {
                    let state = self.rooms.state(&room, turn.store)?;
                    let clear = state
                        .clear()
                        .map(|proof| RoomContent::Clear(proof, Body { kind, content }));
                    clear.and_then(|clear| clear.call(&room, &txn))
                }
            }
            (OutboxItem::File(file), OutboxState::Queued | OutboxState::Failed(_)) => {
                return self.turn_of_file((room, txn), file, turn);
            }
        };
        Ok(self.ask_send((room, txn), call))
    }

    /// The message about a file that the server has. What lies there in clear is for a room that was
    /// never seen encrypted, and a key is for one that was.
    fn turn_of_file(
        &mut self,
        (room, txn): (OwnedRoomId, OwnedTransactionId),
        file: &FileItem,
        turn: &mut Turn<'_>,
    ) -> Result<Turned, EngineError> {
        let Some(content) = file.message() else { return Ok(Turned::Uploads) };
        let body = Body { kind: "m.room.message", content: &content };
        match (self.is_encrypted(&room, turn)?, file.is_encrypted()) {
            (true, true) => self.encrypt((&room, &txn), body, turn),
            (true, false) => {
                self.upload_again(&txn, turn);
                Ok(Turned::Uploads)
            }
            (false, true) => Ok(self.ask_send((room, txn), None)),
            (false, false) => {
                let state = self.rooms.state(&room, turn.store)?;
                let clear = state.clear().map(|proof| RoomContent::Clear(proof, body));
                let call = clear.and_then(|clear| clear.call(&room, &txn));
                Ok(self.ask_send((room, txn), call))
            }
        }
    }

    fn ask_send(
        &mut self,
        (room, txn): (OwnedRoomId, OwnedTransactionId),
        call: Option<Call>,
    ) -> Turned {
        let Some(call) = call else {
            return Turned::Failed(SendError {
                code: "policy".to_owned(),
                message: "this room is encrypted and the message is not; send it again".to_owned(),
            });
        };
        self.requests.ask(Origin::Send(room, txn), call);
        Turned::Asked
    }

    /// Encrypts once all members and their devices are there. The ciphertext, the ratchet and the
    /// row's state are one commit; the call leaves after it.
    fn encrypt(
        &mut self,
        (room, txn): (&RoomId, &TransactionId),
        body: Body<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<Turned, EngineError> {
        let Some(mut recipients) = self.recipients(room, turn)? else {
            return Ok(Turned::Waits);
        };
        if is_verification(body.kind, body.content) {
            // What is being verified cannot have been signed yet.
            let others = recipients.joined.iter().chain(&recipients.invited);
            recipients.unsigned_of = others.filter(|user| **user != self.me).cloned().collect();
            tracing::info!(users = recipients.unsigned_of.len(), "a verification's key for all");
        }
        let ready = match self.machine.prepare_room(room, &recipients, &mut turn.step) {
            Ok(Readiness::Ready(ready)) => ready,
            Ok(Readiness::Waiting) => return Ok(Turned::Waits),
            Err(ShareError::Machine(error)) => return Err(EngineError::Share(error)),
            Err(error) => return Ok(Turned::Failed(share_failure(&error))),
        };
        let plaintext = Plaintext::new(body.kind, body.content.clone());
        match ready.encrypt(&plaintext, &mut turn.step) {
            Ok(ciphertext) => {
                let call = RoomContent::Encrypted(&ciphertext).call(room, txn);
                self.outbox.set_state(txn, OutboxState::Encrypted(ciphertext), turn);
                Ok(self.ask_send((room.to_owned(), txn.to_owned()), call))
            }
            Err(error @ EncryptError::TooLarge { .. }) => Ok(Turned::Failed(SendError {
                code: "M_TOO_LARGE".to_owned(),
                message: error.to_string(),
            })),
            Err(EncryptError::Machine(error)) => Err(error.into()),
        }
    }

    /// The server answered a message's call.
    pub(super) fn on_send_answer(
        &mut self,
        (room, txn): (&RoomId, &TransactionId),
        result: Result<&str, MatrixError>,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        match result {
            Ok(body) => match sent_event(body) {
                Some(event) => self.on_sent(txn, &event, turn)?,
                None => self.fail(room, txn, no_event_id(), turn)?,
            },
            Err(error) => self.fail(room, txn, SendError::from(&error), turn)?,
        }
        self.pump(room, turn)
    }

    /// The server has the message: told by the answer or by the remote echo. The second time,
    /// nothing happens.
    pub(super) fn on_sent(
        &mut self,
        txn: &TransactionId,
        event: &EventId,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let Some(row) = self.outbox.sent(txn, event, turn) else { return Ok(()) };
        self.machine.verification_sent(txn, event, &mut turn.step)?;
        self.requests.forget(|origin| matches!(origin, Origin::Send(_, other) if other == txn));
        let sent = Echo { state: SendState::Sent(event.to_owned()), ..row.echo() };
        self.show_echo(&row.stored.room, sent, turn);
        self.faces.settle_sent(txn, &Ok(Outcome::Sent { event_id: event.to_owned() }), turn);
        self.pump(&row.stored.room, turn)
    }

    pub(super) fn fail(
        &mut self,
        room: &RoomId,
        txn: &TransactionId,
        error: SendError,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        if !self.fail_verification(room, txn, &error, turn)? {
            self.fail_message(room, txn, error, turn);
        }
        Ok(())
    }

    /// A message that a person wrote cannot be sent; it stays to be tried again or discarded.
    pub(super) fn fail_message(
        &mut self,
        room: &RoomId,
        txn: &TransactionId,
        error: SendError,
        turn: &mut Turn<'_>,
    ) {
        self.outbox.set_state(txn, OutboxState::Failed(error.clone()), turn);
        if let Some(row) = self.outbox.get(txn) {
            let echo = row.echo();
            self.show_echo(room, echo, turn);
        }
        self.faces.settle_sent(txn, &Err(error.into()), turn);
    }

    /// The message whose turn it is cannot be sent.
    pub(super) fn fail_head(
        &mut self,
        room: &RoomId,
        error: SendError,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        match self.outbox.head(room).map(|row| row.stored.txn.clone()) {
            Some(txn) => self.fail(room, &txn, error, turn),
            None => Ok(()),
        }
    }

    /// A room was seen encrypted for the first time: a message on its way in clear is taken back
    /// and goes out encrypted, under the same transaction id. (If the server has it already, it
    /// answers with that event.)
    pub(super) fn on_latched(
        &mut self,
        room: &RoomId,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        // Uploads under way are in clear too: the room allowed it until now.
        turn.out.transfers.extend(self.transfers.cancel(|job| job.is_in(room)));
        for txn in self.outbox.in_clear(room) {
            let sends = |origin: &Origin| matches!(origin, Origin::Send(_, other) if *other == txn);
            self.requests.forget(sends);
            self.show_phase(room, &txn, Phase::Idle, turn);
        }
        self.pump(room, turn)
    }

    /// A failed message is tried again, as if it had just been typed at its old place.
    pub(super) fn on_retry(
        &mut self,
        txn: &TransactionId,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let failed = |row: &&Row| matches!(row.stored.state, OutboxState::Failed(_));
        let Some(row) = self.outbox.get(txn).filter(failed) else { return Ok(()) };
        let room = row.stored.room.clone();
        self.outbox.set_state(txn, OutboxState::Queued, turn);
        if let Some(row) = self.outbox.get(txn) {
            let echo = row.echo();
            self.show_echo(&room, echo, turn);
        }
        self.pump(&room, turn)
    }

    /// A message is taken back. If its call is under way it may have been sent; then it appears as
    /// any other event.
    pub(super) fn on_discard(
        &mut self,
        txn: &TransactionId,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let Some(row) = self.outbox.remove(txn, turn) else { return Ok(()) };
        turn.out.transfers.extend(self.transfers.cancel(|job| job.sends(txn)));
        self.requests.forget(|origin| matches!(origin, Origin::Send(_, other) if other == txn));
        let room = row.stored.room;
        self.faces.tell_viewers(&room, &TimelineDelta::EchoDiscarded(txn.to_owned()), turn);
        let gone = refusal("discarded", "the message was taken back before it was sent");
        self.faces.settle_sent(txn, &Err(gone), turn);
        self.pump(&room, turn)
    }

    pub(super) fn show_phase(
        &mut self,
        room: &RoomId,
        txn: &TransactionId,
        phase: Phase,
        turn: &mut Turn<'_>,
    ) {
        if let Some(echo) = self.outbox.set_phase(txn, phase) {
            self.show_echo(room, echo, turn);
        }
    }

    pub(super) fn show_echo(&self, room: &RoomId, echo: Echo, turn: &mut Turn<'_>) {
        self.faces.tell_viewers(room, &TimelineDelta::Echo(echo), turn);
    }
}

fn redaction(room: &RoomId, txn: &TransactionId, event: &EventId, reason: Option<&str>) -> Call {
    let body = reason.map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
    Call::put(&["rooms", room.as_str(), "redact", event.as_str(), txn.as_str()], &body)
}

fn sent_event(body: &str) -> Option<OwnedEventId> {
    let body: Value = serde_json::from_str(body).ok()?;
    body.get("event_id")?.as_str()?.try_into().ok()
}

fn no_event_id() -> SendError {
    SendError {
        code: "M_UNKNOWN".to_owned(),
        message: "the server's answer names no event; try again".to_owned(),
    }
}

fn share_failure(error: &ShareError) -> SendError {
    let code = match error {
        ShareError::UnsupportedAlgorithm(_) => "unsupported_algorithm",
        ShareError::NotEncrypted => "not_encrypted",
        ShareError::OwnKeysReplaced => "own_keys_replaced",
        ShareError::NoOwnIdentity => "no_own_identity",
        ShareError::NotSigned => "not_cross_signed",
        ShareError::IdentityChanged(_) => IDENTITY_CHANGED,
        ShareError::NotVerifiedAnyMore(_) => NOT_VERIFIED_ANY_MORE,
        ShareError::Machine(_) => "session_layer",
    };
    SendError { code: code.to_owned(), message: error.to_string() }
}

//! Verifications between the session layer, the rooms they take place in, and the faces.
//!
//! What goes into a room is sent as every message is, through the outbox; but it is forgotten with
//! the verification: a restart drops what was not sent.

use serde_json::{Map, Value};

use crate::{
    e2ee::{RoomVerification, Scan, VerificationAct, VerificationError, VerificationId},
    matrix::{
        OwnedDeviceId, OwnedRoomId, OwnedTransactionId, OwnedUserId, RoomId, SafeText,
        TransactionId,
    },
    rooms::{EventBody, SendError, StoredEvent, TimelineDelta},
    store::OutboxItem,
};

use super::{
    CommandError, Engine, Outcome,
    error::EngineError,
    faces::{Asker, answer, refusal},
    outbox::Row,
    turn::Turn,
};

/// Columns of what is told of a message that could not be sent.
const MOST_WHY: usize = 160;

impl Engine {
    /// Begins a verification.
    pub(super) fn verify(
        &mut self,
        from: Asker,
        (user, device): (OwnedUserId, Option<OwnedDeviceId>),
        scan: Scan,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let room = if user == self.me || device.is_some() {
            None
        } else {
            let Some(room) = self.direct_chat(&user, turn)? else {
                let error = why_not(&VerificationError::NoRoom(user));
                answer(from, Err(error), turn);
                return Ok(());
            };
            Some(room)
        };
        let whom = (&*user, device.as_deref());
        let view = self.machine.start_verification(whom, room.as_deref(), scan, &mut turn.step)?;
        let result = view.map(Outcome::Verification).map_err(|error| why_not(&error));
        answer(from, result, turn);
        Ok(())
    }

    /// Goes on with a verification, or ends it.
    pub(super) fn go_on_verifying(
        &mut self,
        from: Asker,
        id: VerificationId,
        act: VerificationAct,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let view = self.machine.act_on_verification(id, act, &mut turn.step)?;
        let result = view.map(Outcome::Verification).map_err(|error| why_not(&error));
        answer(from, result, turn);
        Ok(())
    }

    pub(super) fn list_verifications(&self, from: Asker, turn: &mut Turn<'_>) {
        answer(from, Ok(Outcome::Verifications { all: self.machine.verifications() }), turn);
    }

    /// How much the server has not taken yet.
    pub(super) fn unsent(&self, from: Asker, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        let requests = self.machine.unanswered(&turn.step)?.len();
        let count = u64::try_from(self.outbox.waiting() + requests).unwrap_or(u64::MAX);
        answer(from, Ok(Outcome::Unsent { count }), turn);
        Ok(())
    }

    /// Sends an event of a verification into its room.
    pub(super) fn send_verification(
        &mut self,
        place: (OwnedRoomId, OwnedTransactionId),
        (kind, content): (String, Map<String, Value>),
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        self.enqueue(place, OutboxItem::Event { kind, content }, turn)
    }

    /// Hands new events of a room, or old ones that could be read just now, to the verification
    /// that they may belong to.
    pub(super) fn note_verifications(
        &mut self,
        room: &RoomId,
        stored: &[StoredEvent],
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        for stored in stored {
            let readable = !matches!(stored.body, EventBody::Undecryptable(_));
            let (kind, content) = (stored.kind(), stored.content());
            let belongs = readable && stored.is_verification();
            let named = stored.id().zip(stored.sender()).filter(|_| belongs);
            let Some((event, sender)) = named else { continue };
            let at = stored.event.origin_server_ts;
            let txn = stored.event.unsigned.transaction_id.as_deref();
            let event = RoomVerification { room, event, sender, at, txn, kind, content };
            self.machine.receive_verification(&event, &mut turn.step)?;
        }
        Ok(())
    }

    /// A message that cannot be sent: if it belongs to a verification, that is over and the
    /// message is no loss.
    pub(super) fn fail_verification(
        &mut self,
        room: &RoomId,
        txn: &TransactionId,
        error: &SendError,
        turn: &mut Turn<'_>,
    ) -> Result<bool, EngineError> {
        let Some(content) = self.outbox.get(txn).and_then(Row::verification).cloned() else {
            return Ok(false);
        };
        self.outbox.remove(txn, turn);
        self.faces.tell_viewers(room, &TimelineDelta::EchoDiscarded(txn.to_owned()), turn);
        let why = SafeText::short(&error.message, MOST_WHY);
        self.machine.verification_unsent((room, txn), &content, why.as_str(), &mut turn.step)?;
        Ok(true)
    }

    /// After a start: what was not sent of earlier verifications is dropped with them.
    pub(super) fn drop_verifications(&mut self, turn: &mut Turn<'_>) {
        for txn in self.outbox.verifications() {
            self.outbox.remove(&txn, turn);
        }
    }
}

fn why_not(error: &VerificationError) -> CommandError {
    refusal(error.code(), error.to_string())
}

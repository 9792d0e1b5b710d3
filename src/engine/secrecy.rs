//! Whether a room is encrypted: once seen so, always; and never taken for clear on hearsay.
//!
//! # Spec
//! Client-Server API, `m.room.encryption`.

use crate::{
    matrix::{Event, MatrixError, RoomId},
    rooms::SendError,
};

use super::{
    Engine,
    error::EngineError,
    request::{Call, Origin},
    turn::Turn,
};

/// Type of the state event that turns encryption on.
pub(super) const ENCRYPTION: &str = "m.room.encryption";

impl Engine {
    /// Whether a room was ever seen encrypted, by either of the two that remember it.
    pub(super) fn is_encrypted(
        &mut self,
        room: &RoomId,
        turn: &Turn<'_>,
    ) -> Result<bool, EngineError> {
        let latched = self.machine.is_encrypted(room, &turn.step)?;
        Ok(latched || self.rooms.state(room, turn.store)?.is_encrypted())
    }

    /// Whether the server must be asked first if the room is encrypted: its state came with a gap,
    /// or for the first time.
    pub(super) fn asks_encryption(
        &mut self,
        room: &RoomId,
        turn: &Turn<'_>,
    ) -> Result<bool, EngineError> {
        if self.rooms.get(room, turn.store)?.record.encryption_asked {
            return Ok(false);
        }
        let asked = Origin::Encryption(room.to_owned());
        if !self.requests.has(|origin| *origin == asked) {
            let path = ["rooms", room.as_str(), "state", ENCRYPTION];
            self.requests.ask(asked, Call::get(&path));
        }
        Ok(true)
    }

    /// The server said whether the room is encrypted. That it is not is believed only of a room
    /// that was never seen so.
    pub(super) fn on_encryption(
        &mut self,
        room: &RoomId,
        result: Result<&str, MatrixError>,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        match result.map(serde_json::from_str) {
            Ok(Ok(content)) => {
                let event = Event::state(ENCRYPTION, "", content);
                self.apply_state(room, &event, turn)?;
            }
            Err(error) if error.status == 404 => {}
            Ok(Err(_)) | Err(_) => {
                let message = "the server does not tell whether this room is encrypted; try again";
                let code = "no_encryption_state".to_owned();
                self.fail_head(room, SendError { code, message: message.to_owned() }, turn)?;
                return self.pump(room, turn);
            }
        }
        self.rooms.touch(room, turn.store)?.record.encryption_asked = true;
        self.pump(room, turn)
    }
}

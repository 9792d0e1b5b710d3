//! The link as the engine sees it: dial, first frames, loss, and what a frame means.

use std::time::Duration;

use serde_json::Value;

use crate::{
    link::LinkEvent,
    matrix::MatrixError,
    rooms::{Echo, SendState},
    store::Standing,
    time::Timestamp,
    wire::{ResponseFrame, ServerFrame},
};

use super::{
    Dial, Engine, Update,
    core::Connection,
    error::EngineError,
    faces::{answer, refusal},
    request::{Flying, Origin},
    turn::Turn,
};

/// How long the first sync answer of a link is waited for before messages leave without it: a
/// gateway may not send one while nothing happens.
const CATCH_UP: Duration = Duration::from_secs(5);

impl Engine {
    /// Whether messages can leave.
    pub(super) fn is_up(&self) -> bool {
        self.connection == Connection::Up
    }

    /// When catching up is waited for no longer.
    pub(super) fn catch_up_deadline(&self) -> Option<Timestamp> {
        match self.connection {
            Connection::CatchingUp(until) => Some(until),
            Connection::Down | Connection::Up => None,
        }
    }

    pub(super) fn tick_catch_up(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        match self.catch_up_deadline() {
            Some(until) if until <= turn.now => self.on_caught_up(turn),
            Some(_) | None => Ok(()),
        }
    }

    /// The first sync answer on this link was taken: every room with waiting messages is looked at.
    pub(super) fn on_caught_up(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        if self.catch_up_deadline().is_none() {
            return Ok(());
        }
        // Whoever waits for this word knows every room when it comes.
        self.flush_rooms(turn)?;
        self.connection = Connection::Up;
        self.machine.link_up();
        turn.tell_all(Update::CaughtUp);
        for room in self.outbox.rooms() {
            self.pump(&room, turn)?;
        }
        self.resume_direct(turn)?;
        self.resume_invites(turn)
    }

    pub(super) fn tick_link(&mut self, turn: &mut Turn<'_>) {
        if self.link.tick(turn.now) {
            self.drop_link(turn);
            turn.out.dial = Some(Dial { token: self.token.present() });
        }
    }

    /// The first frames say from where on we listen; then every call without an answer is made
    /// again.
    pub(super) fn on_link_up(&mut self, turn: &mut Turn<'_>) {
        self.connection = Connection::CatchingUp(turn.now.plus(CATCH_UP));
        let frames = self.link.on_up(turn.now);
        turn.out.frames.extend(frames);
    }

    pub(super) fn on_link_lost(&mut self, reason: &str, draw: f64, turn: &mut Turn<'_>) {
        self.link.on_lost(reason, turn.now, draw);
        self.drop_link(turn);
    }

    /// What was under way on the link waits for the next one.
    pub(super) fn drop_link(&mut self, turn: &mut Turn<'_>) {
        self.connection = Connection::Down;
        for origin in self.requests.on_lost() {
            if let Origin::Asked(face, id, _) = origin {
                let error = refusal(
                    "link_lost",
                    "the connection was lost before the answer came; look whether it was done",
                );
                answer((face, id), Err(error), turn);
            }
        }
        self.lose_transfers(turn);
        for (room, echo) in self.outbox.on_lost() {
            self.show_echo(&room, Echo { state: SendState::Queued, ..echo }, turn);
        }
    }

    pub(super) fn on_frame(
        &mut self,
        frame: ServerFrame,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        match self.link.on_frame(frame, turn.now) {
            LinkEvent::Response(response) => self.on_response(&response, turn),
            LinkEvent::Update(update) => {
                self.token.accepted();
                self.on_update(update, turn)
            }
            LinkEvent::Resume(frame) => {
                turn.out.frames.push(frame);
                Ok(())
            }
            LinkEvent::Chunk(_) | LinkEvent::Window(_) | LinkEvent::Nothing => Ok(()),
            LinkEvent::LoggedOut { soft } => {
                let standing = if soft { Standing::Expired } else { Standing::Ended };
                self.on_token_refused(standing, None, turn);
                Ok(())
            }
        }
    }

    /// An answer goes to who asked. What the server wants asked again later is, without troubling
    /// anybody but the session layer, which counts the tries.
    fn on_response(
        &mut self,
        response: &ResponseFrame,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let Some(Flying { origin, since }) = self.requests.flying(response.id) else {
            return Ok(());
        };
        let took = turn.now.since(since);
        tracing::debug!(call = origin.word(), status = response.status, ?took, "answered");
        let result = match response.status {
            200..=299 => Ok(response.body.get()),
            status => Err(MatrixError::parse(status, response.body.get().as_bytes())),
        };
        if let Err(error) = &result {
            if error.is_unknown_token() {
                let standing = standing(response.body.get());
                self.on_token_refused(standing, Some((response.id, since)), turn);
                return Ok(());
            }
            if self.requests.postpone(response.id, error, response.retry_after, turn.now) {
                return self.on_postponed(&origin, error, turn);
            }
        }
        if result.is_ok() {
            self.token.accepted();
        }
        self.requests.answered(response.id);
        self.on_answer(origin, result, turn)
    }

    fn on_answer(
        &mut self,
        origin: Origin,
        result: Result<&str, MatrixError>,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        match origin {
            Origin::Keys(id, _) => self.on_keys_answer(&id, result, turn),
            Origin::Send(room, txn) => self.on_send_answer((&room, &txn), result, turn),
            Origin::Members(room) => self.on_members(&room, result, turn),
            Origin::Encryption(room) => self.on_encryption(&room, result, turn),
            Origin::History(room, gap) => self.on_history(&room, gap, result, turn),
            Origin::Read(room, _) => {
                self.on_read_answer(&room);
                Ok(())
            }
            Origin::UploadLimit => self.on_upload_limit(&result, turn),
            Origin::DirectWrite(room, user) if result.is_ok() => {
                self.on_direct_written(&room, user, turn)
            }
            Origin::DirectWrite(..) | Origin::Typing(_) => Ok(()),
            Origin::DirectRead(room, user) => self.on_direct_read((&room, &user), &result, turn),
            Origin::Asked(face, id, asked) => self.on_asked((face, id), asked, result, turn),
        }
    }

    fn on_postponed(
        &mut self,
        origin: &Origin,
        error: &MatrixError,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        match origin {
            Origin::Keys(id, _) => self.on_keys_postponed(id, error, turn),
            Origin::Send(..)
            | Origin::Members(_)
            | Origin::Encryption(_)
            | Origin::History(..)
            | Origin::Read(..)
            | Origin::UploadLimit
            | Origin::Typing(_)
            | Origin::DirectRead(..)
            | Origin::DirectWrite(..)
            | Origin::Asked(..) => Ok(()),
        }
    }
}

/// What a refusal of the token says of the login.
fn standing(body: &str) -> Standing {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    match body.get("soft_logout").and_then(Value::as_bool) {
        Some(true) => Standing::Expired,
        Some(false) | None => Standing::Ended,
    }
}

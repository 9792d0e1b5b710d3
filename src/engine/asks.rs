//! Requests of faces that have one outcome.

use serde_json::{Map, Value, json};

use crate::{
    matrix::{
        Event, MatrixError, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, TransactionId, UserId,
    },
    rooms::MemberState,
    store::OutboxState,
};

use super::{
    CommandError, Engine, Outcome, Request, Update,
    error::EngineError,
    faces::{Asker, answer, refusal},
    files::Wanted,
    request::{Asked, Call, Origin},
    turn::Turn,
};

impl Engine {
    /// Hands a request to whoever does it.
    pub(super) fn on_request(
        &mut self,
        from: Asker,
        request: Request,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        match request {
            Request::CreateRoom { name, invite, dm, encrypted } => {
                let dm = invite.first().filter(|_| dm).cloned();
                let call = create_call(name.as_deref(), &invite, dm.as_deref(), encrypted.into());
                self.ask(from, Asked::Create(dm), call);
            }
            Request::Join { room } => self.join(from, &room, turn)?,
            Request::Leave { room } => self.ask_leave(from, room),
            Request::Invite { room, user } => self.invite(from, (room, user), turn)?,
            Request::Rooms => self.list_rooms(from, turn),
            Request::Find { name } => self.find(from, &name, turn)?,
            Request::History { room, limit, before } => {
                self.on_history_request(from, room, (limit, before), turn)?;
            }
            Request::HasEvent { room, event } => self.has_event(from, &room, event, turn)?,
            Request::Download { room, event, to } => {
                self.on_download(from, Wanted { room, event, to }, turn)?;
            }
            Request::ExportKeys { after } => self.export_keys(from, after, turn)?,
            Request::ImportKeys { keys } => self.import_keys(from, &keys, turn)?,
            Request::FlushBackup => self.flush_backup(from, turn)?,
            Request::KeyStatus => self.key_status(from, turn)?,
            Request::KeyStory { room, event } => self.key_story(from, &room, &event, turn)?,
            Request::AwaitSent { txn } => self.await_sent(from, &txn, turn),
            Request::Recover { secret } => self.recover(from, secret, turn)?,
            Request::SetUpRecovery { passphrase } => {
                self.set_up_recovery(from, passphrase, turn)?;
            }
            Request::RenewRecoveryKey { passphrase } => self.renew_key(from, passphrase, turn)?,
            Request::ConfirmRecoveryKey => self.confirm_recovery_key(from, turn)?,
            Request::StartFresh => self.start_fresh(from, turn)?,
            Request::DiscardSession { room } => self.discard_session(from, &room, turn)?,
            Request::Authenticate { password } => {
                self.authenticate(from, password.as_ref(), turn)?;
            }
            Request::ResetIdentity => self.reset_identity(from, turn)?,
            Request::Policy { room, devices } => self.on_policy(from, (room, devices), turn)?,
            Request::Devices { user } => self.on_devices(from, user, turn)?,
            Request::RenameDevice { device, name } => self.on_rename_device(from, &device, &name),
            Request::DeleteDevice { device, password } => {
                self.on_delete_device(from, &device, password.as_ref());
            }
            Request::BlockDevice { user, device, blocked } => {
                self.on_block_device(from, (&user, &device), blocked, turn)?;
            }
            Request::Identity { user } => self.identity(from, user.as_deref(), turn)?,
            Request::AcknowledgeIdentity { user } => self.acknowledge(from, &user, turn)?,
            Request::WithdrawVerification { user } => self.withdraw(from, &user, turn)?,
            Request::Verify { user, device, scan } => {
                self.verify(from, (user, device), scan, turn)?;
            }
            Request::Verification { id, act } => self.go_on_verifying(from, id, act, turn)?,
            Request::Unsent => self.unsent(from, turn)?,
            Request::Verifications => self.list_verifications(from, turn),
            Request::Logout => self.ask(from, Asked::Logout, Call::post(&["logout"], &json!({}))),
        }
        Ok(())
    }

    /// Asks the server on behalf of somebody.
    pub(super) fn ask(&mut self, (face, id): Asker, asked: Asked, call: Call) {
        self.requests.ask(Origin::Asked(face, id, asked), call);
    }

    fn join(&mut self, from: Asker, room: &str, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        if !room.starts_with(['!', '#']) {
            let message = "a room is named by `!id` or `#alias:server`";
            answer(from, Err(refusal("unknown_room", message)), turn);
            return Ok(());
        }
        if let Ok(room) = OwnedRoomId::try_from(room) {
            self.accept_invite(&room, turn)?;
            self.note_direct(&room, turn)?;
        }
        let via = room.split_once(':').map(|(_, server)| server.to_owned());
        let mut call = Call::post(&["join", room], &json!({}));
        if let Some(server) = via {
            call = call.with("server_name", server.clone()).with("via", server);
        }
        self.ask(from, Asked::Join, call);
        Ok(())
    }

    fn ask_leave(&mut self, from: Asker, room: OwnedRoomId) {
        let call = self.leave_call(&room);
        self.ask(from, Asked::Leave(room), call);
    }

    fn list_rooms(&self, from: Asker, turn: &mut Turn<'_>) {
        answer(from, Ok(Outcome::Rooms { rooms: self.rooms.summaries() }), turn);
    }

    /// The room of an alias, which the server knows, or the direct chat with a user.
    fn find(&mut self, from: Asker, name: &str, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        if name.starts_with('#') {
            self.ask(from, Asked::Find, Call::get(&["directory", "room", name]));
            return Ok(());
        }
        let found = match OwnedUserId::try_from(name) {
            Ok(user) => self.direct_chat(&user, turn)?,
            Err(_) => None,
        };
        let result = found.map(|room_id| Outcome::Room { room_id }).ok_or_else(|| {
            let words = "there is no direct chat with this user; make one with: grotto create --dm";
            refusal("unknown_room", format!("{words} --invite {name}"))
        });
        answer(from, result, turn);
        Ok(())
    }

    /// Whether a room has an event that somebody wants to answer.
    fn has_event(
        &mut self,
        from: Asker,
        room: &RoomId,
        event: OwnedEventId,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        if turn.store.event(room, &event)?.is_some() {
            answer(from, Ok(Outcome::Done), turn);
        } else {
            let call = Call::get(&["rooms", room.as_str(), "event", event.as_str()]);
            self.ask(from, Asked::HasEvent(event), call);
        }
        Ok(())
    }

    fn key_status(&self, from: Asker, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        let status = Outcome::KeyStatus {
            keys: Box::new(self.machine.status(&turn.step)?),
            identity: self.machine.own_identity(&turn.step)?,
            cross_signed: self.machine.is_cross_signed(&turn.step)?,
            backup: Box::new(self.machine.backup_state(&turn.step)?),
            recovery: self.recovery_state(turn)?.map(Box::new),
            undecryptable: turn.store.undecryptable_counts()?,
        };
        answer(from, Ok(status), turn);
        Ok(())
    }

    fn discard_session(
        &mut self,
        from: Asker,
        room: &RoomId,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        self.machine.discard_session(room, &mut turn.step)?;
        answer(from, Ok(Outcome::Done), turn);
        Ok(())
    }

    /// Waits for a message's end, which may be there already: one that is not in the outbox was sent
    /// lately, or long ago, or never was.
    fn await_sent(&mut self, (face, id): Asker, txn: &TransactionId, turn: &mut Turn<'_>) {
        match self.outbox.get(txn).map(|row| &row.stored.state) {
            None => {
                if let Some(event) = self.outbox.sent_lately(txn) {
                    let event_id = event.to_owned();
                    return answer((face, id), Ok(Outcome::Sent { event_id }), turn);
                }
                let message = "no message of this name waits; it was sent, or taken back";
                answer((face, id), Err(refusal("unknown_transaction", message)), turn);
            }
            Some(OutboxState::Failed(error)) => {
                answer((face, id), Err(error.clone().into()), turn);
            }
            Some(OutboxState::Queued | OutboxState::Encrypted(_)) => {
                self.faces.await_sent(face, id, txn);
            }
        }
    }

    pub(super) fn on_asked(
        &mut self,
        from: Asker,
        asked: Asked,
        result: Result<&str, MatrixError>,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        if let (Asked::Devices, Ok(body)) = (&asked, &result) {
            return self.on_own_devices(from, body, turn);
        }
        if let Asked::Invite(room, user, _) = &asked {
            self.machine.end_invite(&(room.clone(), user.clone()), &mut turn.step)?;
        }
        let body = match result {
            Ok(body) => serde_json::from_str(body).unwrap_or(Value::Null),
            Err(error) => {
                answer(from, Err(why_not(&asked, &error)), turn);
                return Ok(());
            }
        };
        match asked {
            Asked::Create(dm) => self.on_created(from, dm, &body, turn),
            Asked::Join => self.on_joined(from, &body, turn)?,
            Asked::Find => answer(from, named_room(&body), turn),
            Asked::HasEvent(_) | Asked::Device | Asked::Devices => {
                answer(from, Ok(Outcome::Done), turn);
            }
            Asked::Download(wanted) => self.on_wanted(from, wanted, &body, turn)?,
            Asked::Leave(room) => self.on_left(from, &room, turn)?,
            Asked::Invite(room, user, history) => {
                self.on_invited((&room, &user), turn)?;
                let outcome = history.map_or(Outcome::Done, |history| Outcome::Invited { history });
                answer(from, Ok(outcome), turn);
            }
            Asked::Logout => {
                answer(from, Ok(Outcome::Done), turn);
                let reason = "logged out".to_owned();
                turn.tell_all(Update::Ended { reason });
                turn.out.ended = true;
            }
        }
        Ok(())
    }

    fn on_created(
        &mut self,
        from: Asker,
        dm: Option<OwnedUserId>,
        body: &Value,
        turn: &mut Turn<'_>,
    ) {
        match named_room(body) {
            Ok(Outcome::Room { room_id }) => {
                if let Some(user) = dm {
                    self.ask_direct(room_id.clone(), user);
                }
                self.rooms.await_room(from, room_id, turn.now);
            }
            other => answer(from, other, turn),
        }
    }

    /// Joined: the face is answered when the room has come down. An invite to a direct chat makes
    /// it one on our side too.
    fn on_joined(
        &mut self,
        from: Asker,
        body: &Value,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        match named_room(body) {
            Ok(Outcome::Room { room_id }) => {
                self.ask_due_direct(&room_id, turn)?;
                self.rooms.await_room(from, room_id, turn.now);
            }
            other => answer(from, other, turn),
        }
        Ok(())
    }

    /// Left: the room is gone at once.
    fn on_left(
        &mut self,
        from: Asker,
        room: &RoomId,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        self.forget_room(room, turn)?;
        answer(from, Ok(Outcome::Done), turn);
        Ok(())
    }

    /// Invited: the user counts as invited at once, so that a message typed now reaches them.
    fn on_invited(
        &mut self,
        (room, user): (&RoomId, &UserId),
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let member = self.rooms.state(room, turn.store)?.membership(user);
        if !member.is_some_and(MemberState::is_active) {
            let event = self.own_invite(user, turn);
            self.apply_state(room, &event, turn)?;
        }
        Ok(())
    }

    /// The member event of our invite, as it will come down; that one replaces it.
    fn own_invite(&self, user: &UserId, turn: &Turn<'_>) -> Event {
        let mut content = Map::new();
        content.insert("membership".to_owned(), json!("invite"));
        let event = Event::state("m.room.member", user.as_str(), content);
        Event { sender: Some(self.me.clone()), origin_server_ts: turn.now, ..event }
    }
}

/// What is said of a request that failed.
fn why_not(asked: &Asked, error: &MatrixError) -> CommandError {
    match asked {
        Asked::HasEvent(event) | Asked::Download(Wanted { event, .. }) if error.status == 404 => {
            refusal("unknown_event", format!("this room has no event {event} that you could see"))
        }
        Asked::Device => super::trust::why_not_device(error),
        Asked::HasEvent(_)
        | Asked::Devices
        | Asked::Download(_)
        | Asked::Create(_)
        | Asked::Join
        | Asked::Find
        | Asked::Leave(_)
        | Asked::Invite(..)
        | Asked::Logout => CommandError::from(error),
    }
}

/// Whether a new room is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Secrecy {
    Encrypted,
    Clear,
}

impl From<bool> for Secrecy {
    fn from(encrypted: bool) -> Self {
        if encrypted { Self::Encrypted } else { Self::Clear }
    }
}

fn create_call(
    name: Option<&str>,
    invite: &[OwnedUserId],
    dm: Option<&UserId>,
    secrecy: Secrecy,
) -> Call {
    let preset = if dm.is_some() { "trusted_private_chat" } else { "private_chat" };
    let mut body = json!({ "preset": preset, "invite": invite, "is_direct": dm.is_some() });
    if let Some(name) = name {
        insert(&mut body, "name", json!(name));
    }
    if secrecy == Secrecy::Encrypted {
        let encryption = json!([{
            "type": "m.room.encryption",
            "state_key": "",
            "content": { "algorithm": "m.megolm.v1.aes-sha2" },
        }]);
        insert(&mut body, "initial_state", encryption);
    }
    Call::post(&["createRoom"], &body)
}

fn insert(body: &mut Value, field: &str, value: Value) {
    if let Value::Object(body) = body {
        body.insert(field.to_owned(), value);
    }
}

/// The room an answer names.
fn named_room(body: &Value) -> Result<Outcome, CommandError> {
    body.get("room_id")
        .and_then(|room| OwnedRoomId::try_from(room.as_str()?).ok())
        .map(|room_id| Outcome::Room { room_id })
        .ok_or_else(|| refusal("M_BAD_JSON", "the server's answer names no room"))
}

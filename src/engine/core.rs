//! The engine as one value: one input in, one sealed step out. Which input means what is said
//! here in one line each; the meaning is in the files beside.

use std::collections::BTreeSet;

use crate::{
    e2ee::{Machine, Notice},
    link::{Link, LinkState},
    matrix::OwnedUserId,
    store::{Pending, Store},
    time::Timestamp,
};

use super::{
    Command, FaceId, Input, Outgoing, Update,
    backup::{BackupView, Changed},
    error::EngineError,
    faces::Faces,
    files::UploadLimit,
    history::History,
    outbox::Outbox,
    receipts::{OwnTyping, Reading},
    recovery::Recovery,
    renewal::Token,
    request::{Messages, Requests},
    roster::Rooms,
    sharing::Sharing,
    transfer::Transfers,
    turn::Turn,
};

/// The client. Pure: it reads the store through a reference and writes through the step it gives
/// back. After a step that could not be committed it must be dropped and opened again.
#[derive(Debug)]
pub struct Engine {
    pub(super) me: OwnedUserId,
    pub(super) token: Token,
    pub(super) link: Link,
    pub(super) connection: Connection,
    pub(super) machine: Machine,
    pub(super) requests: Requests,
    pub(super) rooms: Rooms,
    pub(super) outbox: Outbox,
    pub(super) faces: Faces,
    pub(super) reading: Reading,
    pub(super) history: History,
    pub(super) transfers: Transfers,
    pub(super) upload_limit: UploadLimit,
    pub(super) sharing: Sharing,
    pub(super) backup: BackupView,
    pub(super) recovery: Recovery,
    pub(super) told_auth: bool,
    told_link: Option<LinkState>,
}

/// What stands between us and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connection {
    /// Nothing.
    Down,
    /// A socket; what happened while there was none is being told. Nothing is encrypted before:
    /// who left meanwhile must not get it, and who came must. But not beyond this moment.
    CatchingUp(Timestamp),
    /// A socket, and nothing between us and the present.
    Up,
}

impl Engine {
    /// Builds the engine from what is on disk. It is held back until its first step (the account's
    /// keys, when there were none) is committed.
    ///
    /// # Errors
    /// When the store cannot be read or belongs to another login.
    pub fn open(
        store: &Store,
        faces: Faces,
        now: Timestamp,
    ) -> Result<Pending<(Self, Outgoing)>, EngineError> {
        let account = store.account();
        let mut turn = Turn::new(store, now);
        let machine = Machine::open(&account.user_id, &account.device_id, &mut turn.step)?;
        let mut engine = Self {
            me: account.user_id.clone(),
            token: Token::new(account.access_token.clone(), store.lease().clone()),
            link: Link::new(store.position()?),
            connection: Connection::Down,
            machine,
            requests: Requests::default(),
            rooms: Rooms::open(store)?,
            outbox: Outbox::open(store)?,
            faces,
            reading: Reading::default(),
            history: History::default(),
            transfers: Transfers::default(),
            upload_limit: UploadLimit::default(),
            sharing: Sharing::default(),
            backup: BackupView::default(),
            recovery: Recovery::default(),
            told_auth: false,
            told_link: None,
        };
        engine.resume_keys(&mut turn)?;
        engine.begin_identity(&mut turn)?;
        engine.drop_verifications(&mut turn);
        engine.greet_all(&mut turn)?;
        engine.recovery.note_change();
        engine.settle(&mut turn)?;
        let (writes, out) = turn.into_parts();
        Ok(Pending::new(writes, (engine, out)))
    }

    /// Takes one input.
    ///
    /// # Errors
    /// When the store cannot be read; the engine is then to be dropped and opened again.
    pub fn handle(
        &mut self,
        input: Input,
        now: Timestamp,
        store: &Store,
    ) -> Result<Pending<Outgoing>, EngineError> {
        let mut turn = Turn::new(store, now);
        match input {
            Input::LinkUp => self.on_link_up(&mut turn),
            Input::LinkLost { reason, draw } => self.on_link_lost(&reason, draw, &mut turn),
            Input::UpdateTooLarge { reason, draw } => {
                self.link.on_too_large();
                self.on_link_lost(&reason, draw, &mut turn);
            }
            Input::Frame(frame) => self.on_frame(frame, &mut turn)?,
            Input::FaceCame(face) => self.on_face_came(face, &mut turn),
            Input::Command { face, command } => self.on_command(face, command, &mut turn)?,
            Input::FaceGone(face) => {
                self.faces.remove(face);
                self.cancel_of_face(face, &mut turn);
            }
            Input::Transfer { id, event } => self.on_transfer(id, event, &mut turn)?,
            Input::Renewed(result) => self.on_renewed(result, &mut turn),
            Input::Derived(derived) => self.on_derived(derived, &mut turn)?,
            Input::KeyForwarding(policy) => {
                self.machine.set_key_forwarding(policy, &mut turn.step)?;
            }
            Input::Tick => self.on_tick(&mut turn)?,
        }
        self.settle(&mut turn)?;
        let (writes, out) = turn.into_parts();
        Ok(Pending::new(writes, out))
    }

    /// When [`Input::Tick`] is due.
    pub fn deadline(&self) -> Option<Timestamp> {
        let due = [
            self.link.deadline(),
            self.token.deadline(),
            self.machine.deadline(),
            self.requests.deadline().filter(|_| self.connection != Connection::Down),
            self.catch_up_deadline(),
            self.history.deadline(),
            self.rooms.deadline(),
            self.transfers.deadline().filter(|_| self.is_up()),
            self.sharing_deadline(),
        ];
        due.into_iter().flatten().min()
    }

    /// Takes who listens, for the engine that is built after this one.
    pub fn take_faces(&mut self) -> Faces {
        std::mem::take(&mut self.faces)
    }

    /// Gives back who listens, when the next engine could not be built yet.
    pub fn give_faces(&mut self, faces: Faces) {
        self.faces = faces;
    }

    fn on_command(
        &mut self,
        face: FaceId,
        command: Command,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        match command {
            Command::Send(draft) => self.on_send(draft, turn)?,
            Command::SendFile(draft) => self.on_send_file(draft, turn)?,
            Command::Cancel(id) => self.on_cancel((face, id), turn),
            Command::Redact { room, txn, event, reason } => {
                self.on_redact((room, txn), event, reason, turn)?;
            }
            Command::Retry(txn) => self.on_retry(&txn, turn)?,
            Command::Discard(txn) => self.on_discard(&txn, turn)?,
            Command::Open(room) => self.on_open(face, &room, turn)?,
            Command::FollowAll => self.faces.follow_all(face),
            Command::Close(room) => self.faces.unfollow(face, &room),
            Command::Visit(room) => self.on_visit(&room, turn)?,
            Command::LoadOlder { room, before, limit } => {
                self.on_load_older(face, (room, before), limit, turn)?;
            }
            Command::MarkRead { room, event, receipt } => {
                self.on_mark_read(room, (event, receipt), turn)?;
            }
            Command::Typing { room, typing: true } => self.on_typing(&room, OwnTyping::Types, turn),
            Command::Typing { room, typing: false } => {
                self.on_typing(&room, OwnTyping::Stopped, turn);
            }
            Command::Request { id, request } => self.on_request((face, id), request, turn)?,
            Command::Shutdown => turn.out.ended = true,
        }
        Ok(())
    }

    fn on_tick(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        self.tick_token(turn);
        self.tick_link(turn);
        self.tick_catch_up(turn)?;
        if self.machine.deadline().is_some_and(|due| due <= turn.now) {
            self.machine.tick(&mut turn.step)?;
        }
        self.tick_history(turn)?;
        self.tick_rooms(turn);
        self.tick_sharing(turn)
    }

    /// Does what the input caused elsewhere: notices of the session layer, its requests, room
    /// lines that changed, frames that may leave.
    fn settle(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        self.act_on_notices(turn)?;
        self.flush_rooms(turn)?;
        self.act_on_notices(turn)?;
        self.settle_recovery(turn)?;
        for request in turn.step.take_requests() {
            self.ask_keys(request);
        }
        self.outbox.tell_counts(turn);
        self.tell_link(turn);
        self.tell_auth_over(turn);
        let messages = match self.connection {
            Connection::Down => return Ok(()),
            Connection::CatchingUp(_) => Messages::Held,
            Connection::Up => Messages::Free,
        };
        turn.out.frames.extend(self.requests.release(turn.now, messages));
        if messages == Messages::Free {
            let requests = &mut self.requests;
            turn.out.transfers.extend(self.transfers.release(turn.now, || requests.new_id()));
        }
        Ok(())
    }

    pub(super) fn act_on_notices(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        loop {
            let notices = turn.step.take_notices();
            if notices.is_empty() {
                return Ok(());
            }
            let (mut users, mut sessions) = (BTreeSet::new(), Changed::new());
            let mut identities = Vec::new();
            for notice in notices {
                match notice {
                    Notice::DevicesChanged(changed) => users.extend(changed),
                    Notice::RoomKey { room, session_id }
                    | Notice::Withheld { room, session_id } => {
                        sessions.entry(room).or_default().insert(session_id);
                    }
                    Notice::RoomMayBeReady(room) => self.pump(&room, turn)?,
                    Notice::IdentityChanged { user, state } => {
                        users.insert(user.clone());
                        identities.push((user, state));
                    }
                    Notice::AuthNeeded => self.tell_auth(turn),
                    Notice::Verification(view) => turn.tell_all(Update::Verification(view)),
                    Notice::SendVerification { room, txn, kind, content } => {
                        self.send_verification((room, txn), (kind, content), turn)?;
                    }
                    Notice::HistorySent { room, user, devices } => {
                        self.on_history_sent(&room, &user, devices);
                    }
                    Notice::HistoryOffered { room, inviter, file } => {
                        self.on_history_offered((room, inviter), file);
                    }
                    Notice::Alarm(alarm) => turn.tell_all(Update::Alarm(alarm)),
                    Notice::OwnIdentity => self.on_own_change(turn)?,
                    Notice::SecretReceived
                    | Notice::StorageChanged
                    | Notice::StorageOpened { .. }
                    | Notice::StorageMade => self.recovery.note_change(),
                    Notice::DeriveStorageKey(derivation) => turn.out.derive = Some(derivation),
                    Notice::StorageRefused(why) => self.on_storage_refused(&why, turn),
                    Notice::KeysFetched(room) => {
                        self.name_missing(&room, turn)?;
                        self.on_keys_gathered(&room, turn)?;
                    }
                    Notice::Backup(state) => self.on_backup(state, turn),
                }
            }
            for (room, sessions) in &sessions {
                self.decrypt_again(room, sessions, turn)?;
            }
            if users.contains(&self.me) {
                self.on_own_change(turn)?;
            }
            self.look_again(&users, turn)?;
            self.on_identities(&identities, turn)?;
            self.retell_trust(&users, turn)?;
        }
    }

    /// Tells the faces where the link stands, when that changed.
    pub(super) fn tell_link(&mut self, turn: &mut Turn<'_>) {
        let state = self.link.state();
        if self.told_link.as_ref() != Some(state) {
            self.told_link = Some(state.clone());
            turn.tell_all(Update::Link(state.clone()));
        }
    }
}

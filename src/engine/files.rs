//! Files of messages: uploaded before the message is sent, downloaded for whoever asks.
//!
//! ```text
//!  File row ─▶ size asked, room known? ─▶ upload ─▶ row knows its place ─▶ an ordinary message
//!     ▲                                     │ link lost, program ended: from the start,
//!     └─────────────────────────────────────┘ with a new key
//! ```
//! A message about a file leaves in the way its room allows, and so does the file: in an encrypted
//! room the server gets no clear byte, even if the room was encrypted only after the upload.
//!
//! # Spec
//! Client-Server API, "Content repository", "Sending encrypted attachments".

use serde_json::Value;

use crate::{
    e2ee::EncryptedFile,
    matrix::{Event, MatrixError, MxcUri, OwnedEventId, OwnedRoomId, RoomId, TransactionId},
    rooms::{EventBody, MessageContent, SendError, StoredEvent, message_content},
    store::{FileItem, OutboxItem, OutboxRow, OutboxState, UploadedFile},
};

use super::{
    Audience, CommandError, Engine, FaceId, FileDraft, Outcome, SaveTo, Update,
    error::EngineError,
    faces::{Asker, answer, refusal},
    outbox::Phase,
    request::{Asked, Call, Origin},
    transfer::{
        Download, Entry, Job, Place, Secrecy, Sink, TransferEvent, TransferFailure, TransferKind,
        Upload, UploadSource,
    },
    turn::Turn,
};

/// The largest file that is downloaded, in bytes. The sender's word for its size is not asked: what
/// is larger than that fails by its hash, and this keeps a server from filling the disk.
const MOST_DOWNLOADED: u64 = 4 << 30;

/// What is known of the largest file that the server takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum UploadLimit {
    /// Not asked yet.
    #[default]
    Unknown,
    /// So many bytes, or it does not say.
    Known(Option<u64>),
}

/// A file that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) room: OwnedRoomId,
    pub(super) event: OwnedEventId,
    pub(super) to: SaveTo,
}

impl Engine {
    pub(super) fn on_send_file(
        &mut self,
        draft: FileDraft,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let FileDraft { room, txn, path, content } = draft;
        self.greet_newcomers(&room, turn)?;
        let item = OutboxItem::File(FileItem { path, content, uploaded: None });
        self.enqueue((room, txn), item, turn)
    }

    /// Begins the uploads of a room's messages, as soon as it is known what the server may see.
    pub(super) fn start_uploads(
        &mut self,
        room: &RoomId,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        for row in self.outbox.to_upload(room) {
            if self.transfers.has(|job| job.sends(&row.txn)) {
                continue;
            }
            let OutboxItem::File(file) = &row.item else { continue };
            if let Some(error) = self.rooms.refuses(room) {
                self.fail_message(room, &row.txn, error, turn);
                continue;
            }
            let UploadLimit::Known(limit) = self.upload_limit() else { return Ok(()) };
            let secrecy = if self.is_encrypted(room, turn)? {
                Secrecy::Encrypted
            } else if self.asks_encryption(room, turn)? {
                return Ok(());
            } else {
                Secrecy::Clear { content_type: mimetype(file).to_owned() }
            };
            let source = UploadSource::File(file.path.clone());
            let kind = TransferKind::Upload(Upload { source, secrecy, limit });
            self.transfers.start(Job::Send(room.to_owned(), row.txn.clone()), kind);
            let total = announced_size(file);
            self.show_phase(room, &row.txn, Phase::Uploading { done: 0, total }, turn);
        }
        Ok(())
    }

    /// The largest file that the server takes; asked for the first time, it is not known yet.
    pub(super) fn upload_limit(&mut self) -> UploadLimit {
        let is_unknown = self.upload_limit == UploadLimit::Unknown;
        if is_unknown && !self.requests.has(|origin| *origin == Origin::UploadLimit) {
            let call =
                Call { path: "/_matrix/client/v1/media/config".to_owned(), ..Call::get(&[]) };
            self.requests.ask(Origin::UploadLimit, call);
        }
        self.upload_limit
    }

    /// A server that does not say what it takes will say what it does not take.
    pub(super) fn on_upload_limit(
        &mut self,
        result: &Result<&str, MatrixError>,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let body: Value = result
            .as_ref()
            .ok()
            .and_then(|body| serde_json::from_str(body).ok())
            .unwrap_or_default();
        self.upload_limit = UploadLimit::Known(body.get("m.upload.size").and_then(Value::as_u64));
        for room in self.outbox.rooms() {
            self.pump(&room, turn)?;
        }
        self.start_sharing();
        Ok(())
    }

    /// The driver tells of a transfer. What was given up meanwhile is nobody's.
    pub(super) fn on_transfer(
        &mut self,
        id: u64,
        event: TransferEvent,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        if let TransferEvent::Progress { done, total } = event {
            self.on_progress(id, done, total, turn);
            return Ok(());
        }
        let Some(entry) = self.transfers.take(id) else { return Ok(()) };
        match event {
            TransferEvent::Progress { .. } => Ok(()),
            TransferEvent::Uploaded(file) => self.on_uploaded(&entry, file, turn),
            TransferEvent::Saved { path, size } => {
                if let (Job::Save(face, id), TransferKind::Download(download)) =
                    (entry.job, entry.kind)
                {
                    let encrypted = matches!(download.place, Place::Encrypted(_));
                    answer((face, id), Ok(Outcome::Saved { path, size, encrypted }), turn);
                }
                Ok(())
            }
            TransferEvent::Fetched(bytes) => self.on_history_fetched(&entry.job, &bytes, turn),
            TransferEvent::Failed(failure) => self.on_transfer_failed(entry, failure, turn),
        }
    }

    fn on_progress(&mut self, id: u64, done: u64, total: Option<u64>, turn: &mut Turn<'_>) {
        match self.transfers.job(id).cloned() {
            Some(Job::Send(room, txn)) => {
                let phase = Phase::Uploading { done, total: total.unwrap_or(done) };
                self.show_phase(&room, &txn, phase, turn);
                for (face, id) in self.faces.waiting_for(&txn) {
                    turn.tell(Audience::One(face), Update::Progress { id, done, total });
                }
            }
            Some(Job::Save(face, id)) => {
                turn.tell(Audience::One(face), Update::Progress { id, done, total });
            }
            Some(Job::ShareHistory(..) | Job::TakeHistory(..)) | None => {}
        }
    }

    /// The server has the file: in this step its row learns where, and from now on it is an
    /// ordinary message.
    fn on_uploaded(
        &mut self,
        entry: &Entry,
        uploaded: UploadedFile,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let (room, txn) = match &entry.job {
            Job::Send(room, txn) => (room, txn),
            Job::ShareHistory(room, user) => {
                return self.on_history_uploaded((room, user), uploaded, turn);
            }
            Job::Save(..) | Job::TakeHistory(..) => return Ok(()),
        };
        self.outbox.set_uploaded(txn, Some(uploaded), turn);
        self.show_phase(room, txn, Phase::Idle, turn);
        self.pump(room, turn)
    }

    /// A file lies in clear, and its room was encrypted meanwhile: it is uploaded anew.
    pub(super) fn upload_again(&mut self, txn: &TransactionId, turn: &mut Turn<'_>) {
        self.outbox.set_uploaded(txn, None, turn);
    }

    fn on_transfer_failed(
        &mut self,
        entry: Entry,
        failure: TransferFailure,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let (error, pause) = match failure {
            TransferFailure::Final(error) => return self.give_up_transfer(entry, error, turn),
            TransferFailure::Refused { error, .. } if !error.is_retryable() => {
                let error = refused(&entry, &error);
                return self.give_up_transfer(entry, error, turn);
            }
            TransferFailure::Refused { error, retry_after } => {
                (CommandError::from(&error), retry_after.or(error.retry_after()))
            }
            TransferFailure::Broken(error) => (error, None),
        };
        match self.transfers.postpone(entry, pause, turn.now) {
            Some(entry) => self.give_up_transfer(entry, error, turn),
            None => Ok(()),
        }
    }

    fn give_up_transfer(
        &mut self,
        entry: Entry,
        error: CommandError,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let room = match &entry.job {
            Job::Send(room, _) => Some(room.clone()),
            Job::Save(..) | Job::ShareHistory(..) | Job::TakeHistory(..) => None,
        };
        self.end_job(entry.job, error, turn);
        room.map_or(Ok(()), |room| self.pump(&room, turn))
    }

    fn end_job(&mut self, job: Job, error: CommandError, turn: &mut Turn<'_>) {
        match job {
            Job::Send(room, txn) => {
                self.fail_message(&room, &txn, SendError::from(error), turn);
            }
            Job::Save(face, id) => answer((face, id), Err(error), turn),
            Job::ShareHistory(room, user) => self.invite_without(&room, &user, &error.message),
            Job::TakeHistory(room, user) => {
                tracing::info!(code = error.code, "history that was offered cannot be had");
                self.machine.drop_history_offer(&room, &user, &mut turn.step);
            }
        }
    }

    /// The link is gone; transfers begin anew on the next one, unless that was too often.
    pub(super) fn lose_transfers(&mut self, turn: &mut Turn<'_>) {
        for entry in self.transfers.on_lost() {
            let words = "the connection broke each time before the file was through; try again";
            let error = refusal("link_lost", words);
            self.end_job(entry.job, error, turn);
        }
    }

    /// Gives a download up.
    pub(super) fn on_cancel(&mut self, from: Asker, turn: &mut Turn<'_>) {
        let job = Job::Save(from.0, from.1);
        if self.transfers.has(|other| *other == job) {
            turn.out.transfers.extend(self.transfers.cancel(|other| *other == job));
            let words = "given up; nothing was saved";
            answer(from, Err(refusal("canceled", words)), turn);
        }
    }

    /// Nobody is there any more for whom it was.
    pub(super) fn cancel_of_face(&mut self, face: FaceId, turn: &mut Turn<'_>) {
        let is_its = |job: &Job| matches!(job, Job::Save(other, _) if *other == face);
        turn.out.transfers.extend(self.transfers.cancel(is_its));
    }

    /// Somebody wants the file of a message, which the store has or the server is asked for.
    pub(super) fn on_download(
        &mut self,
        from: Asker,
        wanted: Wanted,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        if let Some(stored) = turn.store.event(&wanted.room, &wanted.event)? {
            self.download(from, wanted.to, &stored, turn);
        } else {
            let path = ["rooms", wanted.room.as_str(), "event", wanted.event.as_str()];
            let call = Call::get(&path);
            self.ask(from, Asked::Download(wanted), call);
        }
        Ok(())
    }

    /// The server gave the message.
    pub(super) fn on_wanted(
        &mut self,
        from: Asker,
        wanted: Wanted,
        body: &Value,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let event = serde_json::from_value::<Event>(body.clone()).ok();
        let is_it = |event: &Event| event.event_id.as_ref() == Some(&wanted.event);
        let Some(event) = event.filter(is_it) else {
            let error =
                refusal("M_BAD_JSON", "the server's answer is not the event that was asked");
            answer(from, Err(error), turn);
            return Ok(());
        };
        let body = self.decrypt(&wanted.room, &event, turn)?;
        self.download(from, wanted.to, &StoredEvent { position: 0, event, body }, turn);
        Ok(())
    }

    fn download(
        &mut self,
        (face, id): Asker,
        to: SaveTo,
        stored: &StoredEvent,
        turn: &mut Turn<'_>,
    ) {
        match file_of(stored) {
            Ok((place, name)) => {
                let sink = Sink::Save { to, name };
                let download = Download { place, sink, limit: MOST_DOWNLOADED };
                self.transfers.start(Job::Save(face, id), TransferKind::Download(download));
            }
            Err(error) => answer((face, id), Err(error), turn),
        }
    }
}

/// Where a message's file lies, and what it is called. Of a message with both, the encrypted one:
/// the other is not what the sender vouches for.
fn file_of(stored: &StoredEvent) -> Result<(Place, String), CommandError> {
    if let EventBody::Undecryptable(why) = &stored.body {
        let words = format!("the message cannot be decrypted ({})", why.reason.word());
        return Err(refusal("undecryptable", words));
    }
    let content = stored.content();
    let none = || refusal("no_file", "this message has no file");
    let Some(MessageContent::File(file)) = message_content(stored.kind(), content) else {
        return Err(none());
    };
    let bad = |error: &dyn std::fmt::Display| refusal("bad_file", error.to_string());
    let place = match (content.get("file"), content.get("url").and_then(Value::as_str)) {
        (Some(file), _) => {
            Place::Encrypted(EncryptedFile::parse(file).map_err(|error| bad(&error))?)
        }
        (None, Some(url)) => Place::Clear(MxcUri::parse(url).map_err(|error| bad(&error))?),
        (None, None) => return Err(none()),
    };
    Ok((place, file.name.to_owned()))
}

fn mimetype(file: &FileItem) -> &str {
    let info = file.content.get("info");
    let said = info.and_then(|info| info.get("mimetype")?.as_str());
    said.unwrap_or("application/octet-stream")
}

fn announced_size(file: &FileItem) -> u64 {
    let info = file.content.get("info");
    info.and_then(|info| info.get("size")?.as_u64()).unwrap_or_default()
}

/// What is said of a transfer that the server refused.
fn refused(entry: &Entry, error: &MatrixError) -> CommandError {
    match (&entry.kind, error.status) {
        (TransferKind::Download(_), 404) => {
            refusal("M_NOT_FOUND", "the server does not have this file any more")
        }
        (TransferKind::Upload(_), 413) => {
            refusal("M_TOO_LARGE", "the file is larger than this server takes")
        }
        (TransferKind::Download(_) | TransferKind::Upload(_) | TransferKind::Cancel, _) => {
            CommandError::from(error)
        }
    }
}

/// A row whose file is to be uploaded, as far as that needs it.
pub(super) fn is_to_upload(row: &OutboxRow) -> bool {
    let is_failed = matches!(row.state, OutboxState::Failed(_));
    matches!(&row.item, OutboxItem::File(file) if file.uploaded.is_none()) && !is_failed
}

//! Uploading: in the background, a hundred sessions at a time, marked as done for the backup that
//! took them.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::{
    entry::Entry,
    record::{Name, curve25519_from_base64},
    state::{BackupProblem, BackupPurpose},
};
use crate::{
    e2ee::{
        Machine, MachineError, RecordKey, RequestKind, Table,
        megolm::{Megolm, Source, inbound::InboundSession},
        request::{Call, Purpose},
        step::{Step, encode_text},
    },
    matrix::{MatrixError, OwnedRoomId, RoomId},
    time::Timestamp,
};

/// Sessions of one request, unless the server found that too much.
const BATCH: usize = 100;
/// Sessions marked in one step after a new backup.
const MARKED_AT_ONCE: usize = 500;
/// The first batch of a flush waits for at most this long, so that not all devices of a user upload
/// what all of them got in the same moment.
const LONGEST_DELAY_MS: u16 = 10_000;
/// The first pause after the server refused a batch for a backup that is there all the same.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

/// A session that was marked without looking at it.
const ANY_INDEX: u32 = u32::MAX;

/// Whether something waits to be uploaded.
pub(in crate::e2ee) fn has_pending(step: &Step<'_>) -> Result<bool, MachineError> {
    Ok(!step.keys_after(Table::ToBackUp, None, 1)?.is_empty())
}

/// A session came or got better: the backup is to have it, unless it came from there.
pub(in crate::e2ee) fn session_changed(
    megolm: &mut Megolm,
    (room, id): (&RoomId, &str),
    source: Source,
    step: &mut Step<'_>,
) -> Result<(), MachineError> {
    step.delete(Table::BackupSearch, room.as_str(), id);
    let index = megolm.inbound(room, id, step)?.map(|it| it.record.session.first_known_index());
    match (source, index) {
        (Source::Backup, _) | (_, None) => Ok(()),
        (_, Some(index)) => {
            megolm.to_back_up = true;
            step.put(Table::ToBackUp, room.as_str(), id, &index)
        }
    }
}

/// Where the uploading stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Upload {
    /// Nothing is planned.
    #[default]
    None,
    /// When the next batch leaves.
    Due(Timestamp),
    /// A batch is under way.
    UnderWay,
}

/// The body of an upload.
#[derive(Default, Serialize)]
struct Rooms {
    rooms: BTreeMap<String, Sessions>,
}

#[derive(Default, Serialize)]
struct Sessions {
    sessions: BTreeMap<String, Entry>,
}

impl Machine {
    /// Uploads what waits, without the usual delay; [`super::BackupState::to_upload`] tells how much is
    /// left.
    ///
    /// # Errors
    /// When the store fails.
    pub fn flush_backup(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        if self.backup.upload_failures == 0 && self.backup.upload != Upload::UnderWay {
            self.backup.upload = Upload::Due(step.now());
        }
        self.backup.changed = true;
        self.proceed_backup(step)
    }

    /// Another backup than before: every session of ours is to be uploaded to it.
    pub(super) fn begin_marking(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        let record = &mut self.backup.record;
        let name = record.trusted().cloned();
        if name.is_none() || record.marked_for == name {
            return Ok(());
        }
        record.marked_for = name;
        record.marking = Some((String::new(), String::new()));
        self.backup.upload_failures = 0;
        self.backup.save(step)
    }

    /// Marks some of the sessions that are to be uploaded to a new backup.
    pub(super) fn mark_sessions(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        let Some((room, id)) = self.backup.record.marking.clone() else { return Ok(()) };
        let after = RecordKey(room, id);
        let keys = step.keys_after(Table::InboundGroupSession, Some(&after), MARKED_AT_ONCE)?;
        for RecordKey(room, id) in &keys {
            step.put(Table::ToBackUp, room, id, &ANY_INDEX)?;
        }
        self.megolm.to_back_up |= !keys.is_empty();
        self.backup.record.marking = match keys.last() {
            Some(RecordKey(room, id)) if keys.len() == MARKED_AT_ONCE => {
                Some((room.clone(), id.clone()))
            }
            Some(_) | None => None,
        };
        self.backup.save(step)
    }

    /// Sends the next batch, if one is due.
    pub(super) fn upload_sessions(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        let backup = &mut self.backup;
        let Some(name) = backup.uploads_to().cloned() else { return Ok(()) };
        let due = match backup.upload {
            Upload::UnderWay => return Ok(()),
            Upload::None | Upload::Due(_) if !self.megolm.to_back_up => {
                backup.upload = Upload::None;
                return Ok(());
            }
            Upload::Due(at) => at,
            Upload::None => step.now().plus(delay()),
        };
        backup.upload = Upload::Due(due);
        if step.now() < due {
            return Ok(());
        }
        let size = self.backup.batch.unwrap_or(BATCH);
        let Some((body, sessions)) = batch(&name, size, step)? else {
            self.megolm.to_back_up = false;
            self.backup.upload = Upload::None;
            self.backup.changed = true;
            return Ok(());
        };
        self.backup.upload = Upload::UnderWay;
        let call = Call {
            kind: RequestKind::BackupWrite,
            method: "PUT",
            path: &["room_keys", "keys"],
            query: vec![("version".to_owned(), name.version.clone())],
            body,
        };
        let purpose = Purpose::Backup(BackupPurpose::Upload { name, sessions });
        self.core.requests.call(call, purpose, step).map(drop)
    }

    pub(super) fn on_uploaded(
        &mut self,
        (name, sessions): (&Name, &[(OwnedRoomId, String, u32)]),
        answer: Result<&str, &MatrixError>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        self.backup.upload = Upload::Due(step.now());
        match answer {
            // Fewer at once, at once.
            Err(error) if error.status == 413 && 1 < sessions.len() => {
                self.backup.batch = Some(sessions.len() / 2);
                Ok(())
            }
            Ok(_) if self.backup.record.trusted() == Some(name) => {
                for (room, id, index) in sessions {
                    let pending = step.get::<u32>(Table::ToBackUp, room.as_str(), id)?;
                    // One that got better since it was sealed stays.
                    if pending.is_some_and(|pending| *index <= pending) {
                        step.delete(Table::ToBackUp, room.as_str(), id);
                    }
                }
                self.backup.upload_failures = 0;
                Ok(())
            }
            // It went to a backup that is not the current one any more.
            Ok(_) => Ok(()),
            Err(error) => self.on_upload_refused(error, step),
        }
    }

    /// The backup may be another one, or gone: look before anything else is uploaded.
    fn on_upload_refused(
        &mut self,
        error: &MatrixError,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let backup = &mut self.backup;
        let factor = 2_u32.saturating_pow(backup.upload_failures.min(16));
        backup.upload_failures = backup.upload_failures.saturating_add(1);
        let pause = FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE);
        backup.upload = Upload::Due(step.now().plus(pause));
        backup.problem = Some(BackupProblem::Refused(error.errcode.clone()));
        backup.checked = false;
        self.check_backup(step)
    }
}

/// What a request names of a session that it uploads.
type Uploaded = Vec<(OwnedRoomId, String, u32)>;

/// The next sessions, sealed; `None` when nothing waits.
fn batch(
    name: &Name,
    size: usize,
    step: &mut Step<'_>,
) -> Result<Option<(String, Uploaded)>, MachineError> {
    let Some(key) = curve25519_from_base64(&name.public_key) else { return Ok(None) };
    let (mut body, mut sessions) = (Rooms::default(), Vec::new());
    while sessions.is_empty() {
        let keys = step.keys_after(Table::ToBackUp, None, size)?;
        if keys.is_empty() {
            return Ok(None);
        }
        for RecordKey(room, id) in keys {
            let record: Option<InboundSession> =
                step.get(Table::InboundGroupSession, &room, &id)?;
            let owner = OwnedRoomId::try_from(room.as_str()).ok();
            let (Some(record), Some(owner)) = (record, owner) else {
                step.delete(Table::ToBackUp, &room, &id);
                continue;
            };
            let Some(entry) = Entry::seal(&record, key)? else { return Ok(None) };
            sessions.push((owner, id.clone(), record.session.first_known_index()));
            body.rooms.entry(room).or_default().sessions.insert(id, entry);
        }
    }
    Ok(Some((encode_text(Table::Request, &body)?, sessions)))
}

/// A random delay. Without randomness there is none.
fn delay() -> Duration {
    let draw = getrandom::u32().unwrap_or(0);
    Duration::from_millis(u64::from(draw) % (u64::from(LONGEST_DELAY_MS) + 1))
}

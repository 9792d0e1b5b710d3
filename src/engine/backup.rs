//! The key backup as the faces see it, and what the session layer is told of rooms: which are on
//! screen, and which keys are missing there, to be fetched from the backup and asked of our other
//! devices.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    e2ee::{BackupState, RecordKey},
    matrix::{OwnedRoomId, RoomId},
    rooms::{EventBody, StoredEvent},
};

use super::{
    Engine, KeysAfter, Outcome, SecretText, Update,
    core::Connection,
    error::EngineError,
    faces::{Asker, answer},
    turn::Turn,
};

/// Sessions of one room that are named to the session layer as missing.
const MOST_MISSING: usize = 200;

/// How the backup stands, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct BackupView {
    /// Told last.
    pub(super) state: BackupState,
    /// Who waits until everything is uploaded.
    flushing: Vec<Asker>,
    /// Whether the order of the rooms was told for the restore under way.
    ordered: bool,
}

/// Sessions by room that came or may have got a better reason.
pub(super) type Changed = BTreeMap<OwnedRoomId, BTreeSet<String>>;

impl Engine {
    pub(super) fn on_backup(&mut self, state: BackupState, turn: &mut Turn<'_>) {
        if state.restoring.is_some() && !self.backup.ordered {
            self.machine.restore_first(&self.rooms_by_interest());
        }
        self.backup.ordered = state.restoring.is_some();
        self.backup.state = state;
        self.recovery.note_change();
        turn.tell_all(Update::Backup(self.backup.state.clone()));
        self.settle_flushes(turn);
    }

    /// The rooms on screen, then those with the latest activity.
    pub(super) fn rooms_by_interest(&self) -> Vec<OwnedRoomId> {
        let mut rooms: Vec<_> = self.rooms.summaries();
        rooms.sort_by_key(|room| std::cmp::Reverse(room.last_activity));
        let open: BTreeSet<OwnedRoomId> =
            self.faces.views().into_iter().map(|(_, room)| room).collect();
        let rest = rooms.into_iter().map(|room| room.room_id).filter(|room| !open.contains(room));
        open.iter().cloned().chain(rest).collect()
    }

    /// A room came on screen: its keys before others, and those that these events need at once.
    pub(super) fn want_keys(
        &mut self,
        room: &RoomId,
        events: &[StoredEvent],
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        self.machine.restore_first(&[room.to_owned()]);
        for session in missing_of(events) {
            self.machine.want_room_key(room, session, &mut turn.step)?;
        }
        self.ask_for_keys(room, events, turn)
    }

    /// Somebody sees these events: our other devices are asked for the keys that they lack, if they
    /// may be.
    pub(super) fn ask_for_keys(
        &mut self,
        room: &RoomId,
        events: &[StoredEvent],
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        for session in missing_of(events) {
            self.machine.request_room_key(room, session, &mut turn.step)?;
        }
        Ok(())
    }

    /// There may be devices of ours, or signatures, that were not there before: they may have what
    /// the rooms on screen lack.
    pub(super) fn on_own_change(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        self.recovery.note_change();
        if !self.machine.forwards_keys() {
            return Ok(());
        }
        let rooms: BTreeSet<_> = self.faces.views().into_iter().map(|(_, room)| room).collect();
        for room in rooms {
            for session in turn.store.missing_sessions(&room, MOST_MISSING)? {
                self.machine.request_room_key(&room, &session, &mut turn.step)?;
            }
        }
        Ok(())
    }

    /// All that the backup has of a room is in: what is missing now is looked for one by one.
    pub(super) fn name_missing(
        &mut self,
        room: &RoomId,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        for session in turn.store.missing_sessions(room, MOST_MISSING)? {
            self.machine.miss_room_key(room, &session, &mut turn.step)?;
        }
        Ok(())
    }

    /// Uploads what waits and answers when that is done, or cannot be.
    pub(super) fn flush_backup(
        &mut self,
        from: Asker,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        self.machine.flush_backup(&mut turn.step)?;
        self.backup.state = self.machine.backup_state(&turn.step)?;
        self.backup.flushing.push(from);
        if self.connection == Connection::Down {
            // Nobody can take them now.
            self.end_flushes(turn);
        } else {
            self.settle_flushes(turn);
        }
        Ok(())
    }

    fn settle_flushes(&mut self, turn: &mut Turn<'_>) {
        let state = &self.backup.state;
        if state.checked && state.trusted && 0 < state.to_upload && state.problem.is_none() {
            return;
        }
        self.end_flushes(turn);
    }

    fn end_flushes(&mut self, turn: &mut Turn<'_>) {
        for (face, id) in std::mem::take(&mut self.backup.flushing) {
            let backup = self.backup.state.clone();
            answer((face, id), Ok(Outcome::Backup { backup }), turn);
        }
    }

    pub(super) fn export_keys(
        &self,
        from: Asker,
        after: Option<KeysAfter>,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let after = after.map(|KeysAfter(room, session)| RecordKey(room, session));
        let (keys, next) = self.machine.export_sessions(after.as_ref(), &turn.step)?;
        let keys = keys.into_iter().map(SecretText::from).collect();
        let next = next.map(|RecordKey(room, session)| KeysAfter(room, session));
        answer(from, Ok(Outcome::ExportedKeys { keys, next }), turn);
        Ok(())
    }

    pub(super) fn import_keys(
        &mut self,
        from: Asker,
        keys: &[SecretText],
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let texts = keys.iter().map(SecretText::expose);
        let counts = self.machine.import_sessions(texts, &mut turn.step)?;
        answer(from, Ok(Outcome::ImportedKeys(counts)), turn);
        Ok(())
    }
}

/// The sessions that these events lack and that may still come.
fn missing_of(events: &[StoredEvent]) -> BTreeSet<&str> {
    let missing = events.iter().filter_map(|stored| match &stored.body {
        EventBody::Undecryptable(why) if why.reason.may_be_cured() => why.session_id.as_deref(),
        EventBody::Undecryptable(_) | EventBody::Clear(_) | EventBody::Decrypted(_) => None,
    });
    missing.collect()
}

//! Single sessions that are looked for in the backup: those that an event needs and that were not in
//! what was fetched of their room.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    entry,
    record::Name,
    restore::{Extent, Fetch},
    state::{Backup, BackupPurpose},
};
use crate::{
    e2ee::{
        Machine, MachineError, RequestKind, Table,
        exported::Import,
        megolm::Source,
        request::{Call, Purpose},
        step::Step,
    },
    matrix::{MatrixError, OwnedRoomId, RoomId},
    time::Timestamp,
};

/// The first pause after a session was not there, doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);
/// Most sessions looked for.
const MAX_SEARCHES: usize = 2_000;

/// A session that is looked for; kept under its room and id.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Search {
    /// How often it was not there.
    pub(super) failures: u32,
    pub(super) retry_at: Timestamp,
    /// When it was not there last.
    #[serde(default)]
    pub(super) missed_at: Option<Timestamp>,
    /// Whether somebody looks at an event that needs it.
    #[serde(skip)]
    pub(super) is_wanted: bool,
}

impl Search {
    /// It was not there.
    pub(super) fn failed(&mut self, now: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        self.missed_at = Some(now);
        self.retry_at = now.plus(self.pause());
        self.is_wanted = false;
    }

    /// After a start: a clock that was set back must not put it off for longer than its pause.
    pub(super) fn not_from_the_future(mut self, now: Timestamp) -> Self {
        self.retry_at = self.retry_at.min(now.plus(self.pause()));
        self
    }

    fn pause(&self) -> Duration {
        let factor = 2_u32.saturating_pow(self.failures.saturating_sub(1).min(20));
        FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE)
    }
}

/// What came of looking for a session in the key backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum BackupSearch {
    /// There is no backup that this device can read.
    NotConnected,
    /// It is being looked for, or is next.
    Asking,
    /// It was not there.
    Missing {
        /// How often.
        times: u32,
        /// When last; `None` if that was not kept.
        last_at: Option<Timestamp>,
        /// When it is looked for again.
        retry_at: Timestamp,
    },
}

impl Backup {
    /// What came of looking for a session.
    pub(in crate::e2ee) fn search_of(&self, room: &RoomId, session_id: &str) -> BackupSearch {
        if self.readable().is_none() {
            return BackupSearch::NotConnected;
        }
        match self.searches.get(&(room.to_owned(), session_id.to_owned())) {
            Some(Search { failures: times @ 1.., retry_at, missed_at, .. }) => {
                BackupSearch::Missing { times: *times, last_at: *missed_at, retry_at: *retry_at }
            }
            Some(_) | None => BackupSearch::Asking,
        }
    }

    /// When the next search is due.
    pub(super) fn next_search(&self) -> Option<Timestamp> {
        self.readable()?;
        self.searches.values().map(|search| search.retry_at).min()
    }

    /// The next session to look for: first one that somebody waits for.
    pub(super) fn due_search(&self, now: Timestamp) -> Option<((OwnedRoomId, String), Search)> {
        let due = self.searches.iter().filter(|(_, search)| search.retry_at <= now);
        let next = due.min_by_key(|(_, search)| (!search.is_wanted, search.retry_at))?;
        Some((next.0.clone(), *next.1))
    }
}

impl Machine {
    /// An event that needs this session is on screen: looks for it in the backup now. Does nothing
    /// without a backup that this device can read.
    ///
    /// # Errors
    /// When the store fails.
    pub fn want_room_key(
        &mut self,
        room: &RoomId,
        session_id: &str,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        self.miss_room_key(room, session_id, step)?;
        let now = step.now();
        let name = (room.to_owned(), session_id.to_owned());
        if let Some(search) = self.backup.searches.get_mut(&name) {
            search.is_wanted = true;
            search.retry_at = search.retry_at.min(now.plus(FIRST_PAUSE));
        }
        self.proceed_backup(step)
    }

    /// A session is missing, or begins too late for an event.
    ///
    /// # Errors
    /// When the store fails.
    pub fn miss_room_key(
        &mut self,
        room: &RoomId,
        session_id: &str,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        if self.backup.readable().is_none() {
            return Ok(());
        }
        let name = (room.to_owned(), session_id.to_owned());
        let is_known = self.backup.searches.contains_key(&name);
        if !is_known && self.backup.searches.len() < MAX_SEARCHES {
            let mut search =
                Search { failures: 0, retry_at: step.now(), missed_at: None, is_wanted: false };
            if self.backup.fetched.get(room) == Some(&Extent::Whole) {
                // It was not there.
                search.failed(step.now());
            }
            step.put(Table::BackupSearch, room.as_str(), session_id, &search)?;
            self.backup.searches.insert(name, search);
        }
        self.want_room(room);
        Ok(())
    }

    /// Asks for the next session that is due, if any.
    pub(super) fn fetch_session(
        &mut self,
        name: Name,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        while let Some(((room, session_id), _)) = self.backup.due_search(step.now()) {
            // It may have come some other way meanwhile.
            let search: Option<Search> =
                step.get(Table::BackupSearch, room.as_str(), &session_id)?;
            if search.is_none() {
                self.backup.searches.remove(&(room, session_id));
                continue;
            }
            let call = Call {
                kind: RequestKind::BackupRead,
                method: "GET",
                path: &["room_keys", "keys", room.as_str(), &session_id],
                query: vec![("version".to_owned(), name.version.clone())],
                body: String::new(),
            };
            let purpose =
                BackupPurpose::Session { name, room: room.clone(), session_id: session_id.clone() };
            self.core.requests.call(call, Purpose::Backup(purpose), step)?;
            self.backup.fetch = Fetch::Asked;
            return Ok(());
        }
        Ok(())
    }

    pub(super) fn on_session(
        &mut self,
        name: &Name,
        (room, session_id): (&RoomId, &str),
        answer: Result<&str, &MatrixError>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        self.backup.fetch = Fetch::None;
        let seed =
            self.backup.record.usable_seed().filter(|_| self.backup.readable() == Some(name));
        let opened = match (answer, seed) {
            (Ok(text), Some(seed)) => entry::open(text, &seed.decryption()),
            (Ok(_) | Err(_), _) => None,
        };
        let came = match opened {
            Some(exported) => {
                self.import_session((room, session_id), exported, Source::Backup, step)?
            }
            None => Import::Refused,
        };
        if came == Import::Improved {
            self.backup.restored += 1;
            self.backup.searches.remove(&(room.to_owned(), session_id.to_owned()));
            return Ok(());
        }
        self.search_failed(room, session_id, step)
    }

    /// The session was not there, or was no better than what we have.
    pub(super) fn search_failed(
        &mut self,
        room: &RoomId,
        session_id: &str,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let name = (room.to_owned(), session_id.to_owned());
        let is_open = step.get::<Search>(Table::BackupSearch, room.as_str(), session_id)?.is_some();
        if !is_open {
            self.backup.searches.remove(&name);
            return Ok(());
        }
        let Some(search) = self.backup.searches.get_mut(&name) else { return Ok(()) };
        search.failed(step.now());
        let search = *search;
        step.put(Table::BackupSearch, room.as_str(), session_id, &search)
    }
}

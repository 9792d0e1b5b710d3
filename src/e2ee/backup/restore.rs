//! Fetching the keys of whole rooms, one request at a time, each answer worked off in pieces.
//!
//! A room counts as fetched only when the last of its entries is in: an interruption fetches it
//! again.

use std::collections::{BTreeMap, BTreeSet, VecDeque, btree_map};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{entry, record::Name, search::Search, state::BackupPurpose};
use crate::{
    e2ee::{
        Machine, MachineError, Notice, RecordKey, RequestKind, Table,
        exported::Import,
        megolm::Source,
        request::{Call, Purpose},
        room_settings::RoomSettings,
        step::Step,
    },
    matrix::{MatrixError, OwnedRoomId, RoomId},
};

/// Entries opened in one step: some milliseconds' work, so that typing is not felt to stop.
const AT_ONCE: usize = 50;
/// Rooms whose order is remembered.
const MOST_WANTED: usize = 2_000;

/// A room whose keys were fetched; kept under the room alone.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Fetched {
    name: Name,
    extent: Extent,
}

/// How much of a room was fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Extent {
    /// All that the backup had.
    Whole,
    /// Nothing: it is more than one answer may hold.
    TooLarge,
}

/// What is being fetched; one thing at a time.
#[derive(Debug, Default)]
pub(super) enum Fetch {
    /// Nothing.
    #[default]
    None,
    /// A room or a session was asked for.
    Asked,
    /// A room came.
    Entries(Entries),
}

/// The keys of a room, being worked off.
pub(super) struct Entries {
    name: Name,
    room: OwnedRoomId,
    left: btree_map::IntoIter<String, Box<RawValue>>,
    /// How many could not be opened, or were not what they were said to be.
    bad: u64,
}

impl std::fmt::Debug for Entries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entries").field("left", &self.left.len()).finish_non_exhaustive()
    }
}

/// The answer of `GET /room_keys/keys/{room}`.
#[derive(Default, Deserialize)]
struct RoomKeys {
    #[serde(default)]
    sessions: BTreeMap<String, Box<RawValue>>,
}

impl Machine {
    /// Which rooms are on screen, or will be soon, the most wanted first: their keys are fetched
    /// before those of others, also those of a backup that is found later.
    pub fn restore_first(&mut self, rooms: &[OwnedRoomId]) {
        let named: BTreeSet<&OwnedRoomId> = rooms.iter().collect();
        let before = std::mem::take(&mut self.backup.wanted).into_iter();
        let others = before.filter(|room| !named.contains(room));
        self.backup.wanted = rooms.iter().cloned().chain(others).take(MOST_WANTED).collect();
        self.order_rooms();
    }

    /// What is wanted most is fetched next.
    fn order_rooms(&mut self) {
        let backup = &mut self.backup;
        let ranks: BTreeMap<&OwnedRoomId, usize> = backup.wanted.iter().zip(0..).collect();
        let rank = |room: &OwnedRoomId| ranks.get(room).copied().unwrap_or(usize::MAX);
        backup.rooms.make_contiguous().sort_by_key(rank);
    }

    /// Whether all that the backup has of a room is here. If it is not and can be, it is fetched
    /// next, and [`Notice::KeysFetched`] says when it is in.
    pub(in crate::e2ee) fn has_room_keys(
        &mut self,
        room: &RoomId,
        step: &mut Step<'_>,
    ) -> Result<bool, MachineError> {
        if self.backup.readable().is_none() || self.backup.fetched.contains_key(room) {
            return Ok(true);
        }
        self.want_room(room);
        self.proceed_backup(step)?;
        Ok(false)
    }

    /// Looks what is left to fetch from the backup as it is now, of all rooms that we know to be
    /// encrypted.
    pub(super) fn resume_restore(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        let backup = &mut self.backup;
        backup.rooms = VecDeque::new();
        backup.rooms_total = 0;
        backup.fetched.clear();
        backup.searches.clear();
        if matches!(backup.fetch, Fetch::Entries(_)) {
            backup.fetch = Fetch::None;
        }
        backup.changed = true;
        let Some(name) = backup.readable().cloned() else { return Ok(()) };
        for RecordKey(room, session_id) in step.keys_after(Table::BackupSearch, None, usize::MAX)? {
            let Ok(owned) = OwnedRoomId::try_from(room.as_str()) else { continue };
            if session_id.is_empty() {
                let fetched: Option<Fetched> = step.get(Table::BackupSearch, &room, "")?;
                if let Some(fetched) = fetched.filter(|fetched| fetched.name == name) {
                    backup.fetched.insert(owned, fetched.extent);
                }
            } else if let Some(search) =
                step.get::<Search>(Table::BackupSearch, &room, &session_id)?
            {
                let search = search.not_from_the_future(step.now());
                backup.searches.insert((owned, session_id), search);
            }
        }
        for (RecordKey(room, _), settings) in
            step.scan::<RoomSettings>(Table::RoomSettings, None)?
        {
            let Ok(room) = OwnedRoomId::try_from(room) else { continue };
            if settings.is_encrypted() && !backup.fetched.contains_key(&room) {
                backup.rooms.push_back(room);
            }
        }
        backup.rooms_total = backup.rooms.len() as u64;
        self.order_rooms();
        Ok(())
    }

    /// A session of the room is missing: the room is fetched next, if it was not fetched.
    pub(super) fn want_room(&mut self, room: &RoomId) {
        let backup = &mut self.backup;
        let is_at_work = matches!(&backup.fetch, Fetch::Entries(entries) if entries.room == room);
        if is_at_work || backup.fetched.contains_key(room) {
            return;
        }
        if !backup.rooms.iter().any(|queued| queued == room) {
            backup.rooms_total += 1;
            backup.rooms.push_back(room.to_owned());
        }
        backup.changed = true;
        self.restore_first(&[room.to_owned()]);
    }

    /// Asks for the next thing to fetch, if nothing is being fetched.
    pub(super) fn fetch_next(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        let backup = &mut self.backup;
        let is_free = matches!(backup.fetch, Fetch::None) && backup.record.marking.is_none();
        let Some(name) = backup.readable().filter(|_| is_free).cloned() else { return Ok(()) };
        let Some(room) = backup.rooms.pop_front() else {
            backup.rooms_total = 0;
            return self.fetch_session(name, step);
        };
        backup.fetch = Fetch::Asked;
        let call = Call {
            kind: RequestKind::BackupRead,
            method: "GET",
            path: &["room_keys", "keys", room.as_str()],
            query: vec![("version".to_owned(), name.version.clone())],
            body: String::new(),
        };
        let purpose = BackupPurpose::Room { name, room: room.clone() };
        self.core.requests.call(call, Purpose::Backup(purpose), step).map(drop)
    }

    pub(super) fn on_room(
        &mut self,
        name: &Name,
        room: &RoomId,
        answer: Result<&str, &MatrixError>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        self.backup.fetch = Fetch::None;
        if self.backup.readable() != Some(name) {
            return Ok(());
        }
        let sessions = match answer {
            Ok(body) => serde_json::from_str::<RoomKeys>(body).unwrap_or_default().sessions,
            Err(error) if error.status == 413 => {
                return self.room_is_fetched(name, (room, Extent::TooLarge), step);
            }
            // Some servers say so when they have nothing of a room, all when the backup is gone.
            Err(error) if error.status == 404 => BTreeMap::new(),
            Err(_) => return self.check_backup(step),
        };
        let left = sessions.into_iter();
        let room = room.to_owned();
        // The next step of the machine begins with them.
        self.backup.fetch = Fetch::Entries(Entries { name: name.clone(), room, left, bad: 0 });
        Ok(())
    }

    /// Opens the next entries of the room at hand.
    pub(super) fn work_off_entries(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        let mut entries = match std::mem::take(&mut self.backup.fetch) {
            Fetch::Entries(entries) => entries,
            other @ (Fetch::None | Fetch::Asked) => {
                self.backup.fetch = other;
                return Ok(());
            }
        };
        let seed = self.backup.record.usable_seed();
        let Some(key) = seed.map(super::record::Seed::decryption) else { return Ok(()) };
        let mut opened = 0;
        while opened < AT_ONCE {
            let Some((session_id, text)) = entries.left.next() else { break };
            opened += 1;
            let came = match entry::open(text.get(), &key) {
                Some(exported) => {
                    let name = (entries.room.as_ref(), session_id.as_str());
                    self.import_session(name, exported, Source::Backup, step)?
                }
                None => Import::Refused,
            };
            match came {
                Import::Improved => self.backup.restored += 1,
                Import::Known => {}
                Import::Refused => entries.bad += 1,
            }
        }
        self.backup.changed = true;
        if entries.left.len() == 0 {
            if 0 < entries.bad {
                tracing::warn!(count = entries.bad, "entries of the backup could not be used");
            }
            let room = (entries.room.as_ref(), Extent::Whole);
            return self.room_is_fetched(&entries.name, room, step);
        }
        self.backup.fetch = Fetch::Entries(entries);
        Ok(())
    }

    /// All there is of a room is in. What is still missing is looked for one by one from now on.
    fn room_is_fetched(
        &mut self,
        name: &Name,
        (room, extent): (&RoomId, Extent),
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let fetched = Fetched { name: name.clone(), extent };
        step.put(Table::BackupSearch, room.as_str(), "", &fetched)?;
        self.backup.fetched.insert(room.to_owned(), extent);
        self.backup.changed = true;
        if extent == Extent::Whole {
            let searches = self.backup.searches.keys().filter(|(at, _)| at == room);
            for (_, session_id) in searches.cloned().collect::<Vec<_>>() {
                self.search_failed(room, &session_id, step)?;
            }
        }
        step.tell(Notice::KeysFetched(room.to_owned()));
        Ok(())
    }
}

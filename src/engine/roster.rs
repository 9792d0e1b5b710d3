//! The rooms the engine knows. Their lines are always in memory; state and places are read from
//! the store when a room is first touched.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    matrix::{Membership, OwnedRoomId, OwnedUserId, RoomId, UserId},
    rooms::{RoomState, RoomSummary, SendError},
    store::{RoomRow, Store},
    time::Timestamp,
};

use super::{
    CommandId, FaceId,
    error::EngineError,
    faces::Asker,
    room::{Record, Room, empty_summary},
};

/// How long a face waits for a room it made to come down the sync stream.
const ROOM_WAIT: Duration = Duration::from_secs(10);

/// A face that waits for a room to come down.
#[derive(Clone, Debug)]
struct Awaited {
    face: FaceId,
    id: CommandId,
    room: OwnedRoomId,
    until: Timestamp,
}

/// All rooms.
#[derive(Debug)]
pub(super) struct Rooms {
    me: OwnedUserId,
    /// As they are on disk.
    lines: BTreeMap<OwnedRoomId, (RoomSummary, Record)>,
    /// Those that were touched, whole.
    whole: BTreeMap<OwnedRoomId, Room>,
    /// Touched in this turn.
    touched: BTreeSet<OwnedRoomId>,
    awaited: Vec<Awaited>,
    /// `m.direct`, for rooms not heard of yet.
    direct: Vec<(OwnedUserId, OwnedRoomId)>,
    /// Whether the first sync is done.
    pub(super) synced: bool,
}

/// What a turn changed of the room list.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// Lines to write and to tell.
    pub(super) rows: Vec<RoomRow>,
    /// Rooms first seen encrypted.
    pub(super) latched: Vec<OwnedRoomId>,
}

impl Rooms {
    /// Reads the lines.
    pub(super) fn open(store: &Store) -> Result<Self, EngineError> {
        let mut lines = BTreeMap::new();
        for RoomRow { summary, record } in store.rooms()? {
            // A record that this version cannot read is asked for again, piece by piece.
            let record = serde_json::from_value(record).unwrap_or_default();
            lines.insert(summary.room_id.clone(), (summary, record));
        }
        Ok(Self {
            me: store.account().user_id.clone(),
            lines,
            whole: BTreeMap::new(),
            touched: BTreeSet::new(),
            awaited: Vec::new(),
            direct: Vec::new(),
            synced: store.position()?.is_some(),
        })
    }

    /// All lines.
    pub(super) fn summaries(&self) -> Vec<RoomSummary> {
        self.lines.values().map(|(summary, _)| summary.clone()).collect()
    }

    pub(super) fn ids(&self) -> Vec<OwnedRoomId> {
        self.lines.keys().cloned().collect()
    }

    /// A room's line and record, as far as known.
    pub(super) fn line(&self, room: &RoomId) -> Option<(&RoomSummary, &Record)> {
        match self.whole.get(room) {
            Some(room) => Some((&room.summary, &room.record)),
            None => self.lines.get(room).map(|(summary, record)| (summary, record)),
        }
    }

    /// The room, to be read; one not heard of before is empty.
    pub(super) fn get(&mut self, id: &RoomId, store: &Store) -> Result<&mut Room, EngineError> {
        if !self.whole.contains_key(id) {
            let (summary, record) = self.lines.get(id).cloned().unwrap_or_else(|| {
                let named = self.direct.iter().filter(|(_, room)| room == id);
                let direct = named.map(|(user, _)| user.clone()).collect();
                (empty_summary(id), Record { direct, ..Record::default() })
            });
            let room = Room::open(summary, record, &self.me, store)?;
            self.whole.insert(id.to_owned(), room);
        }
        self.whole.get_mut(id).ok_or(EngineError::Lost("a room"))
    }

    /// The room, to be changed: its line is looked at again when the turn ends.
    pub(super) fn touch(&mut self, id: &RoomId, store: &Store) -> Result<&mut Room, EngineError> {
        self.touched.insert(id.to_owned());
        self.get(id, store)
    }

    /// The joined room that the user went to last.
    pub(super) fn last_visited(&self) -> Option<OwnedRoomId> {
        let joined = self.lines.values().filter(|(line, _)| line.membership == Membership::Join);
        let visited = joined.filter(|(_, record)| record.visited.is_some());
        let last = visited.max_by_key(|(_, record)| record.visited);
        last.map(|(line, _)| line.room_id.clone())
    }

    /// Forgets a room; whether it was known.
    pub(super) fn forget(&mut self, id: &RoomId) -> bool {
        self.touched.remove(id);
        let whole = self.whole.remove(id).is_some();
        self.lines.remove(id).is_some() || whole
    }

    /// A room's state.
    pub(super) fn state(&mut self, id: &RoomId, store: &Store) -> Result<&RoomState, EngineError> {
        Ok(&self.get(id, store)?.state)
    }

    /// Who types in a room, as far as known.
    pub(super) fn typing(&self, room: &RoomId) -> Vec<OwnedUserId> {
        self.whole.get(room).map(|room| room.typing.clone()).unwrap_or_default()
    }

    /// Why nothing can be sent to a room.
    pub(super) fn refuses(&self, room: &RoomId) -> Option<SendError> {
        let joined = self.line(room).is_some_and(|line| line.0.membership == Membership::Join);
        (!joined).then(|| SendError {
            code: "not_joined".to_owned(),
            message: "you are not in this room; join it, then send again".to_owned(),
        })
    }

    /// The joined rooms that `m.direct` names for a user, the one that was used last first.
    pub(super) fn named_direct(&self, user: &UserId) -> Vec<OwnedRoomId> {
        let named = self.lines.values().filter(|(summary, record)| {
            summary.membership == Membership::Join
                && record.direct.iter().any(|other| other == user)
        });
        let mut named: Vec<&RoomSummary> = named.map(|(summary, _)| summary).collect();
        named.sort_by_key(|summary| std::cmp::Reverse(summary.last_activity));
        named.into_iter().map(|summary| summary.room_id.clone()).collect()
    }

    /// Keeps `m.direct`; gives the known rooms for which it says something new, and what.
    pub(super) fn set_direct(
        &mut self,
        named: Vec<(OwnedUserId, OwnedRoomId)>,
    ) -> Vec<(OwnedRoomId, Vec<OwnedUserId>)> {
        self.direct = named;
        let users = |id: &RoomId| {
            let named = self.direct.iter().filter(move |(_, room)| room == id);
            named.map(|(user, _)| user.clone()).collect::<Vec<_>>()
        };
        let rooms = self.ids().into_iter().map(|id| (users(&id), id));
        let new = rooms
            .filter(|(users, id)| self.line(id).is_some_and(|(_, record)| record.direct != *users));
        new.map(|(users, id)| (id, users)).collect()
    }

    /// Answers a face when the room has come down, or after a while.
    pub(super) fn await_room(&mut self, (face, id): Asker, room: OwnedRoomId, now: Timestamp) {
        self.awaited.push(Awaited { face, id, room, until: now.plus(ROOM_WAIT) });
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.awaited.iter().map(|awaited| awaited.until).min()
    }

    /// Those whose room is there, unless something about it is still `under_way`, and those who
    /// waited long enough.
    pub(super) fn settled(
        &mut self,
        now: Timestamp,
        under_way: impl Fn(&RoomId) -> bool,
    ) -> Vec<(FaceId, CommandId, OwnedRoomId)> {
        let done = |room: &RoomId| self.refuses(room).is_none() && !under_way(room);
        let (settled, waiting): (Vec<_>, _) =
            self.awaited.iter().cloned().partition(|it| it.until <= now || done(&it.room));
        self.awaited = waiting;
        settled.into_iter().map(|it| (it.face, it.id, it.room)).collect()
    }

    /// The lines that changed in this turn. From here on they are taken as told and written.
    pub(super) fn take_changed(&mut self) -> Changed {
        let mut changed = Changed::default();
        for id in std::mem::take(&mut self.touched) {
            let Some(room) = self.whole.get_mut(&id) else { continue };
            room.refresh();
            let known = self.lines.get(&id);
            if known.is_some_and(|(line, record)| *line == room.summary && *record == room.record) {
                continue;
            }
            if room.summary.encrypted && known.is_some_and(|(line, _)| !line.encrypted) {
                changed.latched.push(id.clone());
            }
            self.lines.insert(id, (room.summary.clone(), room.record.clone()));
            changed.rows.push(room.row());
        }
        changed
    }
}

//! Rooms: their line in the list, their current state, the gaps in what is known of them.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::error::StoreError;
use crate::{
    matrix::{Event, OwnedRoomId, RoomId},
    rooms::RoomSummary,
};

/// A room as it is listed.
#[derive(Clone, Debug, PartialEq)]
pub struct RoomRow {
    /// Its line in the room list.
    pub summary: RoomSummary,
    /// What the engine keeps beside; its format is the engine's business.
    pub record: Value,
}

/// Events are missing just before `position`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Place of the first event after the gap.
    pub position: i64,
    /// Where to load the missing events from (`prev_batch`).
    pub token: Option<String>,
}

/// A gap opened or closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GapWrite {
    /// There is a gap, or its token changed.
    Open {
        /// In which room.
        room: OwnedRoomId,
        /// Where.
        gap: Gap,
    },
    /// It was filled.
    Close {
        /// In which room.
        room: OwnedRoomId,
        /// The position it was opened with.
        position: i64,
    },
}

impl GapWrite {
    /// The room it is in.
    pub fn room(&self) -> &RoomId {
        match self {
            Self::Open { room, .. } | Self::Close { room, .. } => room,
        }
    }
}

/// The numbers that stand for room ids, remembered for one commit.
pub(super) struct Numbers<'a> {
    connection: &'a Connection,
    known: HashMap<OwnedRoomId, i64>,
}

impl<'a> Numbers<'a> {
    pub(super) fn new(connection: &'a Connection) -> Self {
        Self { connection, known: HashMap::new() }
    }

    /// The number of `room`; a room seen for the first time gets one.
    pub(super) fn of(&mut self, room: &RoomId) -> Result<i64, StoreError> {
        if let Some(number) = self.known.get(room) {
            return Ok(*number);
        }
        self.connection
            .prepare_cached("INSERT INTO room (room_id) VALUES (?1) ON CONFLICT DO NOTHING")?
            .execute([room.as_str()])?;
        let number = self
            .connection
            .prepare_cached("SELECT id FROM room WHERE room_id = ?1")?
            .query_row([room.as_str()], |row| row.get(0))?;
        self.known.insert(room.to_owned(), number);
        Ok(number)
    }

    /// Deletes a room and what belongs to it.
    pub(super) fn forget(&mut self, room: &RoomId) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("DELETE FROM room WHERE room_id = ?1")?
            .execute([room.as_str()])?;
        self.known.remove(room);
        Ok(())
    }
}

pub(super) fn write_row(
    connection: &Connection,
    number: i64,
    row: &RoomRow,
) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE room SET summary = ?2, record = ?3 WHERE id = ?1")?
        .execute(params![number, to_json("room", &row.summary)?, to_json("room", &row.record)?])?;
    Ok(())
}

pub(super) fn write_reached_start(connection: &Connection, number: i64) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE room SET reached_start = 1 WHERE id = ?1")?
        .execute([number])?;
    Ok(())
}

pub(super) fn reset_state(connection: &Connection, number: i64) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM state WHERE room = ?1")?.execute([number])?;
    Ok(())
}

pub(super) fn write_state(
    connection: &Connection,
    number: i64,
    event: &Event,
) -> Result<(), StoreError> {
    let Some(state_key) = &event.state_key else { return Ok(()) };
    connection
        .prepare_cached(
            "INSERT INTO state (room, kind, state_key, event) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (room, kind, state_key) DO UPDATE SET event = excluded.event",
        )?
        .execute(params![number, event.kind, state_key, to_json("state", event)?])?;
    Ok(())
}

pub(super) fn open_gap(connection: &Connection, number: i64, gap: &Gap) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO gap (room, position, token) VALUES (?1, ?2, ?3)
             ON CONFLICT (room, position) DO UPDATE SET token = excluded.token",
        )?
        .execute(params![number, gap.position, gap.token])?;
    Ok(())
}

pub(super) fn close_gap(
    connection: &Connection,
    number: i64,
    position: i64,
) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM gap WHERE room = ?1 AND position = ?2")?
        .execute([number, position])?;
    Ok(())
}

pub(super) fn rooms(connection: &Connection) -> Result<Vec<RoomRow>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT summary, record FROM room WHERE summary IS NOT NULL ORDER BY room_id",
    )?;
    let rows = statement
        .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?)))?;
    rows.map(|row| {
        let (summary, record) = row?;
        Ok(RoomRow {
            summary: from_json("room", &summary)?,
            record: record.map_or(Ok(Value::Null), |text| from_json("room", &text))?,
        })
    })
    .collect()
}

pub(super) fn state(connection: &Connection, room: &RoomId) -> Result<Vec<Event>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT event FROM state WHERE room = (SELECT id FROM room WHERE room_id = ?1)
         ORDER BY kind, state_key",
    )?;
    let rows = statement.query_map([room.as_str()], |row| row.get::<_, String>(0))?;
    rows.map(|row| from_json("state", &row?)).collect()
}

pub(super) fn gaps(connection: &Connection, room: &RoomId) -> Result<Vec<Gap>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT position, token FROM gap
         WHERE room = (SELECT id FROM room WHERE room_id = ?1) ORDER BY position",
    )?;
    let rows = statement
        .query_map([room.as_str()], |row| Ok(Gap { position: row.get(0)?, token: row.get(1)? }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn reached_start(connection: &Connection, room: &RoomId) -> Result<bool, StoreError> {
    let reached: Option<bool> = connection
        .prepare_cached("SELECT reached_start FROM room WHERE room_id = ?1")?
        .query_row([room.as_str()], |row| row.get(0))
        .optional()?;
    Ok(reached.unwrap_or(false))
}

pub(super) fn to_json<T: Serialize>(table: &'static str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|source| StoreError::Value { table, source })
}

pub(super) fn from_json<T: DeserializeOwned>(
    table: &'static str,
    text: &str,
) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|source| StoreError::Value { table, source })
}

pub(super) fn room_id(table: &'static str, text: String) -> Result<OwnedRoomId, StoreError> {
    OwnedRoomId::try_from(text)
        .map_err(|source| StoreError::BadId { table, problem: source.to_string() })
}

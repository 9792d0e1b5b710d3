//! Timeline events: stored once, found by place, by id, by what they relate to, and by the session
//! they wait for.

use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use serde_json::Value;

use super::{
    error::StoreError,
    room::{from_json, to_json},
};
use crate::{
    matrix::{Event, EventId, OwnedRoomId, RoomId, UserId},
    rooms::{EventBody, StoredEvent},
};

pub(super) fn write(
    connection: &Connection,
    number: i64,
    stored: &StoredEvent,
) -> Result<(), StoreError> {
    let Some(event_id) = &stored.event.event_id else { return Ok(()) };
    let (session_id, reason) = match &stored.body {
        EventBody::Clear(_) | EventBody::Decrypted(_) => (None, None),
        EventBody::Undecryptable(why) => (why.session_id.as_deref(), Some(why.reason.word())),
    };
    connection
        .prepare_cached(
            "INSERT INTO event
               (room, position, event_id, kind, target, session_id, reason, event, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (room, event_id) DO UPDATE SET
               kind = excluded.kind, target = excluded.target, session_id = excluded.session_id,
               reason = excluded.reason, event = excluded.event, body = excluded.body",
        )?
        .execute(params![
            number,
            stored.position,
            event_id.as_str(),
            stored.event.kind,
            target(&stored.event),
            session_id,
            reason,
            to_json("event", &stored.event)?,
            to_json("event", &stored.body)?,
        ])?;
    Ok(())
}

/// The event that `event` relates to by its clear relation, or redacts.
fn target(event: &Event) -> Option<&str> {
    if let Some(redacted) = &event.redacts {
        return Some(redacted.as_str());
    }
    if event.kind == "m.room.redaction" {
        return event.content_str("redacts");
    }
    event.content.get("m.relates_to")?.get("event_id").and_then(Value::as_str)
}

/// The newest events, oldest first.
pub(super) fn newest(
    connection: &Connection,
    room: &RoomId,
    limit: usize,
) -> Result<Vec<StoredEvent>, StoreError> {
    let mut events = select(
        connection,
        "ORDER BY position DESC LIMIT ?2",
        params![room.as_str(), sql_limit(limit)],
    )?;
    events.reverse();
    Ok(events)
}

/// The newest of the events before a place, oldest first.
pub(super) fn before(
    connection: &Connection,
    room: &RoomId,
    position: i64,
    limit: usize,
) -> Result<Vec<StoredEvent>, StoreError> {
    let mut events = select(
        connection,
        "AND position < ?2 ORDER BY position DESC LIMIT ?3",
        params![room.as_str(), position, sql_limit(limit)],
    )?;
    events.reverse();
    Ok(events)
}

pub(super) fn by_id(
    connection: &Connection,
    room: &RoomId,
    event: &EventId,
) -> Result<Option<StoredEvent>, StoreError> {
    let found = select(connection, "AND event_id = ?2", [room.as_str(), event.as_str()])?;
    Ok(found.into_iter().next())
}

pub(super) fn relations(
    connection: &Connection,
    room: &RoomId,
    target: &EventId,
) -> Result<Vec<StoredEvent>, StoreError> {
    select(connection, "AND target = ?2 ORDER BY position", [room.as_str(), target.as_str()])
}

pub(super) fn redaction(
    connection: &Connection,
    room: &RoomId,
    target: &EventId,
) -> Result<Option<StoredEvent>, StoreError> {
    let of = "AND target = ?2 AND kind = 'm.room.redaction' ORDER BY position LIMIT 1";
    Ok(select(connection, of, [room.as_str(), target.as_str()])?.into_iter().next())
}

pub(super) fn undecrypted(
    connection: &Connection,
    room: &RoomId,
    session_id: &str,
) -> Result<Vec<StoredEvent>, StoreError> {
    select(connection, "AND session_id = ?2 ORDER BY position", [room.as_str(), session_id])
}

/// The sessions that events of a room wait for, those of the newest events first.
pub(super) fn missing_sessions(
    connection: &Connection,
    room: &RoomId,
    limit: usize,
) -> Result<Vec<String>, StoreError> {
    let sessions = connection
        .prepare_cached(
            "SELECT session_id FROM event
             WHERE room = (SELECT id FROM room WHERE room_id = ?1) AND session_id IS NOT NULL
               AND (reason IN ('no_room_key', 'before_login', 'index_too_low') OR reason LIKE 'withheld:%')
             GROUP BY session_id ORDER BY max(position) DESC LIMIT ?2",
        )?
        .query_map(params![room.as_str(), sql_limit(limit)], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(sessions)
}

/// Decrypted events of a sender with a red mark.
pub(super) fn marked(
    connection: &Connection,
    sender: &UserId,
    limit: usize,
) -> Result<Vec<(OwnedRoomId, StoredEvent)>, StoreError> {
    // Both conditions are written as the index has them.
    let mut statement = connection.prepare_cached(
        "SELECT room.room_id, position, event, body FROM event JOIN room ON room.id = event.room
         WHERE json_extract(event, '$.sender') = ?1
           AND json_extract(body, '$.decrypted.shield.color') = 'red'
         ORDER BY room DESC, position DESC LIMIT ?2",
    )?;
    let rows = statement.query_map(params![sender.as_str(), sql_limit(limit)], |row| {
        Ok((row.get::<_, String>(0)?, row.get(1)?, row.get::<_, String>(2)?, row.get(3)?))
    })?;
    let mut found = Vec::new();
    for row in rows {
        let (room, position, event, body): (String, i64, String, String) = row?;
        let Ok(room) = OwnedRoomId::try_from(room) else { continue };
        let (event, body) = (from_json("event", &event)?, from_json("event", &body)?);
        found.push((room, StoredEvent { position, event, body }));
    }
    Ok(found)
}

/// Events of a room (`?1`) that satisfy `rest`, a constant of this file.
fn select(
    connection: &Connection,
    rest: &'static str,
    values: impl Params,
) -> Result<Vec<StoredEvent>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT position, event, body FROM event
         WHERE room = (SELECT id FROM room WHERE room_id = ?1) {rest}"
    ))?;
    let rows = statement.query_map(values, |row| {
        Ok((row.get(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
    })?;
    rows.map(|row| {
        let (position, event, body) = row?;
        Ok(StoredEvent {
            position,
            event: from_json("event", &event)?,
            body: from_json("event", &body)?,
        })
    })
    .collect()
}

fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A column that counts; SQLite has signed numbers only.
pub(super) fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0))
}

pub(super) fn undecryptable_counts(
    connection: &Connection,
) -> Result<Vec<(String, u64)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT reason, count(*) FROM event WHERE reason IS NOT NULL
         GROUP BY reason ORDER BY reason",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, count(row, 1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The smallest and the largest place in use.
pub(super) fn bounds(
    connection: &Connection,
    room: &RoomId,
) -> Result<Option<(i64, i64)>, StoreError> {
    // Two statements: SQLite walks the index for a lone min() or max() only.
    let end = |sql: &str| {
        connection
            .prepare_cached(sql)?
            .query_row([room.as_str()], |row| row.get::<_, i64>(0))
            .optional()
    };
    let first = end("SELECT position FROM event
         WHERE room = (SELECT id FROM room WHERE room_id = ?1) ORDER BY position LIMIT 1")?;
    let last = end("SELECT position FROM event
         WHERE room = (SELECT id FROM room WHERE room_id = ?1) ORDER BY position DESC LIMIT 1")?;
    Ok(first.zip(last))
}

//! Messages of ours that the server has not answered yet, in the order they were typed.

use std::fmt;

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    error::StoreError,
    room::{from_json, room_id, to_json},
};
use crate::{
    e2ee::{EncryptedFile, MegolmCiphertext},
    matrix::{MxcUri, OwnedEventId, OwnedRoomId, OwnedTransactionId},
    rooms::SendError,
    time::Timestamp,
};

/// One message of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxRow {
    /// Its place; rows are sent in this order within a room. Zero on a new row: the store assigns.
    pub seq: i64,
    /// The room.
    pub room: OwnedRoomId,
    /// Its transaction id, the same for every attempt.
    pub txn: OwnedTransactionId,
    /// When it was typed.
    pub at: Timestamp,
    /// What is to be sent.
    pub item: OutboxItem,
    /// Where it stands.
    pub state: OutboxState,
}

/// What is to be sent.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboxItem {
    /// An event, in clear.
    Event {
        /// Its type.
        kind: String,
        /// Its content.
        content: Map<String, Value>,
    },
    /// A redaction.
    Redaction {
        /// Of which event.
        event: OwnedEventId,
        /// Why, if one says.
        reason: Option<String>,
    },
    /// A file, and the message about it.
    File(FileItem),
}

/// A file that is sent: it is uploaded first, then the message that says where it lies.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct FileItem {
    /// Where it is read from.
    pub path: String,
    /// The content of its `m.room.message`, in clear, without the address.
    pub content: Map<String, Value>,
    /// What the server has of it. Nothing until all of it is there: an upload that broke off
    /// begins anew, with a new key.
    #[serde(default)]
    pub uploaded: Option<UploadedFile>,
}

/// A file that the server has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadedFile {
    /// How it lies there.
    pub place: FilePlace,
    /// Its length in clear, in bytes.
    pub size: u64,
}

/// How a file lies on the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilePlace {
    /// Encrypted: what a message in an encrypted room says about it.
    Encrypted(EncryptedFile),
    /// In clear, for a room that is not encrypted.
    Clear(MxcUri),
}

impl FileItem {
    /// The content of the message, once the file is there.
    pub fn message(&self) -> Option<Map<String, Value>> {
        let UploadedFile { place, size } = self.uploaded.as_ref()?;
        let mut content = self.content.clone();
        let info = content.entry("info").or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(info) = info {
            info.insert("size".to_owned(), (*size).into());
        }
        let (field, value) = match place {
            FilePlace::Encrypted(file) => ("file", file.to_json()),
            FilePlace::Clear(url) => ("url", url.to_string().into()),
        };
        content.insert(field.to_owned(), value);
        Some(content)
    }

    /// Whether the server has it encrypted.
    pub fn is_encrypted(&self) -> bool {
        let place = self.uploaded.as_ref().map(|uploaded| &uploaded.place);
        matches!(place, Some(FilePlace::Encrypted(_)))
    }
}

impl fmt::Debug for FileItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileItem(..)")
    }
}

impl fmt::Debug for OutboxItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event { .. } => f.write_str("Event(..)"),
            Self::Redaction { .. } => f.write_str("Redaction(..)"),
            Self::File(_) => f.write_str("File(..)"),
        }
    }
}

/// Where a message of ours stands, as far as a restart must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboxState {
    /// Not encrypted yet.
    Queued,
    /// The ciphertext is fixed and may have been sent: these bytes are sent again.
    Encrypted(MegolmCiphertext),
    /// Not sent again until the user says so.
    Failed(SendError),
}

/// A change of the outbox.
#[derive(Clone, Debug, PartialEq)]
pub enum OutboxWrite {
    /// A new row. A transaction id that is already there keeps its row: what was encrypted under
    /// it stays.
    Add(OutboxRow),
    /// A row's new state; nothing happens when the row is gone.
    State {
        /// Which.
        txn: OwnedTransactionId,
        /// The state.
        state: OutboxState,
    },
    /// What is to be sent changed; nothing happens when the row is gone.
    Item {
        /// Which.
        txn: OwnedTransactionId,
        /// What is to be sent now.
        item: OutboxItem,
    },
    /// The row is done or taken back.
    Remove {
        /// Which.
        txn: OwnedTransactionId,
    },
}

pub(super) fn write(connection: &Connection, change: &OutboxWrite) -> Result<(), StoreError> {
    match change {
        OutboxWrite::Add(row) => add(connection, row),
        OutboxWrite::State { txn, state } => {
            connection
                .prepare_cached("UPDATE outbox SET state = ?2 WHERE txn = ?1")?
                .execute(params![txn.as_str(), to_json("outbox", state)?])?;
            Ok(())
        }
        OutboxWrite::Item { txn, item } => {
            connection
                .prepare_cached("UPDATE outbox SET item = ?2 WHERE txn = ?1")?
                .execute(params![txn.as_str(), to_json("outbox", item)?])?;
            Ok(())
        }
        OutboxWrite::Remove { txn } => {
            connection
                .prepare_cached("DELETE FROM outbox WHERE txn = ?1")?
                .execute([txn.as_str()])?;
            Ok(())
        }
    }
}

fn add(connection: &Connection, row: &OutboxRow) -> Result<(), StoreError> {
    let seq = (row.seq != 0).then_some(row.seq);
    connection
        .prepare_cached(
            "INSERT INTO outbox (seq, room_id, txn, at, item, state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (txn) DO NOTHING",
        )?
        .execute(params![
            seq,
            row.room.as_str(),
            row.txn.as_str(),
            i64::try_from(row.at.0).unwrap_or(i64::MAX),
            to_json("outbox", &row.item)?,
            to_json("outbox", &row.state)?,
        ])?;
    Ok(())
}

const COLUMNS: &str = "SELECT seq, room_id, txn, at, item, state FROM outbox";

pub(super) fn read(connection: &Connection) -> Result<Vec<OutboxRow>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("{COLUMNS} ORDER BY seq"))?;
    let rows = statement.query_map([], columns)?;
    rows.map(|row| decode(row?)).collect()
}

pub(super) fn read_one(
    connection: &Connection,
    txn: &str,
) -> Result<Option<OutboxRow>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("{COLUMNS} WHERE txn = ?1"))?;
    statement.query_row([txn], columns).optional()?.map(decode).transpose()
}

type Columns = (i64, String, String, i64, String, String);

fn columns(row: &rusqlite::Row<'_>) -> rusqlite::Result<Columns> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
}

fn decode((seq, room, txn, at, item, state): Columns) -> Result<OutboxRow, StoreError> {
    Ok(OutboxRow {
        seq,
        room: room_id("outbox", room)?,
        txn: txn.into(),
        at: Timestamp(u64::try_from(at).unwrap_or(0)),
        item: from_json("outbox", &item)?,
        state: from_json("outbox", &state)?,
    })
}

//! The login a store belongs to. One row, written when the store is made.

use rusqlite::{Connection, OptionalExtension, params};

use super::{error::StoreError, event::count, key};
use crate::{
    e2ee::Table,
    matrix::{OwnedDeviceId, OwnedUserId, Position},
    secret::Secret,
};

/// Whether a store is the one that was made, as far as its file tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is in the file in which it was left.
    Original,
    /// It was copied, or restored from a backup, since it was opened last. What was overwritten in
    /// place, or came back with a whole disk, is not noticed.
    Copy,
}

/// A login: who, on which device, where, and the token that proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user.
    pub user_id: OwnedUserId,
    /// The device that the server made for this login.
    pub device_id: OwnedDeviceId,
    /// Base URL of the homeserver.
    pub homeserver: String,
    /// URL of the stream; `None` means the gateway inside this program.
    pub stream_url: Option<String>,
    /// The access token.
    pub access_token: Secret<String>,
}

/// Writes the row of a new store.
pub(super) fn insert(connection: &Connection, account: &Account) -> Result<(), StoreError> {
    let instance = key::random::<16>()?;
    connection.execute(
        "INSERT INTO account
           (id, user_id, device_id, homeserver, stream_url, access_token, instance, generation)
         VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, 0)",
        params![
            account.user_id.as_str(),
            account.device_id.as_str(),
            account.homeserver,
            account.stream_url,
            account.access_token.expose(),
            instance,
        ],
    )?;
    Ok(())
}

/// Reads the row; `None` when the store was never finished.
pub(super) fn read(connection: &Connection) -> Result<Option<Account>, StoreError> {
    let row = connection
        .query_row(
            "SELECT user_id, device_id, homeserver, stream_url, access_token FROM account",
            [],
            |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, String>(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    Secret::new(row.get::<_, String>(4)?),
                ))
            },
        )
        .optional()?;
    let Some((user_id, device_id, homeserver, stream_url, access_token)) = row else {
        return Ok(None);
    };
    let user_id = OwnedUserId::try_from(user_id)
        .map_err(|source| StoreError::BadId { table: "account", problem: source.to_string() })?;
    Ok(Some(Account { user_id, device_id: device_id.into(), homeserver, stream_url, access_token }))
}

/// Whether this store was in another file when it was opened last; from now on it is in `place`.
///
/// A copy or a backup knows nothing of what was sent since it was made. A group session that goes
/// on from there would encrypt different messages under the same index, so those sessions end.
pub(super) fn settle(connection: &mut Connection, place: &str) -> Result<Origin, StoreError> {
    let known: Option<String> =
        connection.query_row("SELECT place FROM account", [], |row| row.get(0))?;
    if known.as_deref() == Some(place) {
        return Ok(Origin::Original);
    }
    let transaction = connection.transaction()?;
    let origin = if known.is_some() { Origin::Copy } else { Origin::Original };
    if origin == Origin::Copy {
        let kind = Table::OutboundGroupSession.name();
        transaction.execute("DELETE FROM record WHERE kind = ?1", [kind])?;
    }
    transaction.execute("UPDATE account SET place = ?1", [place])?;
    transaction.commit()?;
    Ok(origin)
}

/// Replaces the token after the server gave a new one.
pub(super) fn set_access_token(
    connection: &Connection,
    token: &Secret<String>,
) -> Result<(), StoreError> {
    connection.prepare_cached("UPDATE account SET access_token = ?1")?.execute([token.expose()])?;
    Ok(())
}

/// Writes the place in the sync stream up to which everything is in the store.
pub(super) fn set_position(connection: &Connection, position: &Position) -> Result<(), StoreError> {
    connection.prepare_cached("UPDATE account SET position = ?1")?.execute([&position.0])?;
    Ok(())
}

/// Reads that place.
pub(super) fn position(connection: &Connection) -> Result<Option<Position>, StoreError> {
    let position: Option<String> = connection
        .prepare_cached("SELECT position FROM account")?
        .query_row([], |row| row.get(0))?;
    Ok(position.map(Position))
}

/// Counts a commit.
pub(super) fn advance_generation(connection: &Connection) -> Result<(), StoreError> {
    connection.prepare_cached("UPDATE account SET generation = generation + 1")?.execute([])?;
    Ok(())
}

/// The random name of this store and how many commits it has seen.
pub(super) fn instance(connection: &Connection) -> Result<(Vec<u8>, u64), StoreError> {
    Ok(connection
        .prepare_cached("SELECT instance, generation FROM account")?
        .query_row([], |row| Ok((row.get(0)?, count(row, 1)?)))?)
}

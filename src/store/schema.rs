//! The tables, and the way from every released form of them to the newest.
//!
//! The version is SQLite's `user_version`: it lies in the (encrypted) header of the file and
//! changes in the transaction that changes the tables.

use rusqlite::Connection;

use super::error::OpenError;

/// Step `n` leads from version `n` to `n + 1`. A step that was released never changes.
const STEPS: &[&str] = &[include_str!("schema/0001.sql")];

/// Brings the tables to the newest version, in one transaction.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), OpenError> {
    migrate_by(connection, STEPS)
}

fn migrate_by(connection: &mut Connection, steps: &[&str]) -> Result<(), OpenError> {
    let found = version(connection)?;
    let known = i64::try_from(steps.len()).unwrap_or(i64::MAX);
    let Some(missing) = usize::try_from(found).ok().and_then(|found| steps.get(found..)) else {
        return Err(OpenError::Newer { found, known });
    };
    if missing.is_empty() {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    for step in missing {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    transaction.commit()?;
    Ok(())
}

fn version(connection: &Connection) -> Result<i64, OpenError> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

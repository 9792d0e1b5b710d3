//! Records of the session layer: opaque values under a table and a key of two parts.

use rusqlite::{Connection, OptionalExtension, params};
use zeroize::Zeroizing;

use super::{error::StoreError, handle::Store};
use crate::e2ee::{Changes, Lookup, LookupError, RecordKey, Table};

pub(super) fn write(connection: &Connection, changes: &Changes) -> Result<(), StoreError> {
    let mut put = connection.prepare_cached(
        "INSERT INTO record (kind, first, second, value) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (kind, first, second) DO UPDATE SET value = excluded.value",
    )?;
    let mut delete = connection
        .prepare_cached("DELETE FROM record WHERE kind = ?1 AND first = ?2 AND second = ?3")?;
    for write in &changes.writes {
        let RecordKey(first, second) = &write.key;
        match &write.value {
            Some(value) => {
                put.execute(params![write.table.name(), first, second, value.as_slice()])?;
            }
            None => {
                delete.execute(params![write.table.name(), first, second])?;
            }
        }
    }
    Ok(())
}

impl Lookup for Store {
    fn get(
        &self,
        table: Table,
        key: &RecordKey,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, LookupError> {
        get(self.connection(), table, key).map_err(|error| LookupError(described(&error)))
    }

    fn scan(
        &self,
        table: Table,
        first: Option<&str>,
    ) -> Result<Vec<(RecordKey, Zeroizing<Vec<u8>>)>, LookupError> {
        scan(self.connection(), table, first).map_err(|error| LookupError(described(&error)))
    }

    fn keys_after(
        &self,
        table: Table,
        after: Option<&RecordKey>,
        limit: usize,
    ) -> Result<Vec<RecordKey>, LookupError> {
        keys_after(self.connection(), table, (after, limit))
            .map_err(|error| LookupError(described(&error)))
    }

    fn count(&self, table: Table) -> Result<u64, LookupError> {
        count(self.connection(), table).map_err(|error| LookupError(described(&error)))
    }
}

/// The error with its cause. Neither holds a value: our SQL has parameters only.
fn described(error: &StoreError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error} ({source})"),
        None => error.to_string(),
    }
}

fn get(
    connection: &Connection,
    table: Table,
    RecordKey(first, second): &RecordKey,
) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
    Ok(connection
        .prepare_cached("SELECT value FROM record WHERE kind = ?1 AND first = ?2 AND second = ?3")?
        .query_row(params![table.name(), first, second], |row| row.get(0).map(Zeroizing::new))
        .optional()?)
}

type Record = (RecordKey, Zeroizing<Vec<u8>>);

fn scan(
    connection: &Connection,
    table: Table,
    first: Option<&str>,
) -> Result<Vec<Record>, StoreError> {
    let record = |row: &rusqlite::Row<'_>| {
        Ok((RecordKey(row.get(0)?, row.get(1)?), Zeroizing::new(row.get(2)?)))
    };
    let records = match first {
        Some(first) => connection
            .prepare_cached(
                "SELECT first, second, value FROM record WHERE kind = ?1 AND first = ?2
                 ORDER BY second",
            )?
            .query_map([table.name(), first], record)?
            .collect::<Result<_, _>>()?,
        None => connection
            .prepare_cached(
                "SELECT first, second, value FROM record WHERE kind = ?1 ORDER BY first, second",
            )?
            .query_map([table.name()], record)?
            .collect::<Result<_, _>>()?,
    };
    Ok(records)
}

fn keys_after(
    connection: &Connection,
    table: Table,
    (after, limit): (Option<&RecordKey>, usize),
) -> Result<Vec<RecordKey>, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let (sql, first, second) = match after {
        Some(RecordKey(first, second)) => (
            "SELECT first, second FROM record WHERE kind = ?1 AND (first, second) > (?2, ?3)
             ORDER BY first, second LIMIT ?4",
            first.as_str(),
            second.as_str(),
        ),
        None => (
            "SELECT first, second FROM record WHERE kind = ?1 AND (first, second) >= (?2, ?3)
             ORDER BY first, second LIMIT ?4",
            "",
            "",
        ),
    };
    let keys = connection
        .prepare_cached(sql)?
        .query_map(params![table.name(), first, second, limit], |row| {
            Ok(RecordKey(row.get(0)?, row.get(1)?))
        })?
        .collect::<Result<_, _>>()?;
    Ok(keys)
}

fn count(connection: &Connection, table: Table) -> Result<u64, StoreError> {
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM record WHERE kind = ?1")?
        .query_row([table.name()], |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

//! The tables, and the way from every released form of them to the newest.
//!
//! The version is SQLite's `user_version`: it lies in the (encrypted) header of the file and
//! changes in the transaction that changes the tables.

use rusqlite::Connection;

use super::error::OpenError;

/// Step `n` leads from version `n` to `n + 1`. A step that was released never changes.
const STEPS: &[&str] = &[
    include_str!("schema/0001.sql"),
    include_str!("schema/0002.sql"),
    include_str!("schema/0003.sql"),
    include_str!("schema/0004.sql"),
];

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

/// The version of the tables; zero when there are none.
pub(super) fn version(connection: &Connection) -> Result<i64, OpenError> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn a_released_step_never_changes() {
        let byte = |hex: String, byte: &u8| hex + &format!("{byte:02x}");
        let hex = |step: &&str| Sha256::digest(step).iter().fold(String::new(), byte);
        let hashes: Vec<String> = STEPS.iter().map(hex).collect();
        assert_eq!(
            hashes,
            [
                "7757dbc2cec6b4197e9cf418b6d7f51308ba417cca0bd4027bd76c3194bf31bb",
                "620bd4d615e6bcc79007326307a4342c87c58c92d2cd2077761404958ebdb799",
                "d8d9099be3e1e5a05d9f9212d66eaab19fac73585bc1ee6dd172fe3ef37435c6",
                "c75d6f50adea1a93fbb062b267299c77d5dbb07827d8dc63a71a0e02f389ad92",
            ]
        );
    }

    #[test]
    fn steps_are_made_once_each_and_in_order() {
        let mut connection = Connection::open_in_memory().unwrap();
        let first = "CREATE TABLE a (x); INSERT INTO a VALUES (1);";
        migrate_by(&mut connection, &[first]).unwrap();
        migrate_by(
            &mut connection,
            &[first, "UPDATE a SET x = x + 1;", "UPDATE a SET x = x * 10;"],
        )
        .unwrap();
        let x: i64 = connection.query_row("SELECT x FROM a", [], |row| row.get(0)).unwrap();
        assert_eq!((x, version(&connection).unwrap()), (20, 3));
    }

    #[test]
    fn a_step_that_fails_leaves_the_tables_as_they_were() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate_by(&mut connection, &["CREATE TABLE a (x);"]).unwrap();
        let steps = ["", "INSERT INTO a VALUES (1);", "INSERT INTO nowhere VALUES (1);"];
        migrate_by(&mut connection, &steps).unwrap_err();
        let rows: i64 =
            connection.query_row("SELECT count(*) FROM a", [], |row| row.get(0)).unwrap();
        assert_eq!((rows, version(&connection).unwrap()), (0, 1));
    }

    #[test]
    fn tables_of_a_newer_program_are_not_touched() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "user_version", 7).unwrap();
        let error = migrate_by(&mut connection, STEPS).unwrap_err();
        assert!(matches!(error, OpenError::Newer { found: 7, known: 4 }), "{error}");
        assert_eq!(version(&connection).unwrap(), 7);
    }
}

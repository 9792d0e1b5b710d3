//! The records of a server in one SQLite file, or in memory.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OptionalExtension as _, config::DbConfig, params};

use super::model::{Broken, Changes, Lookup, Order, Range, Record};

/// An open database. Owned by one thread; every call blocks until the file answered.
pub struct Database {
    connection: Connection,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Database(..)")
    }
}

/// Why a database does not open, or takes nothing.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// SQLite says why.
    #[error("the server's database cannot be used")]
    Sqlite(#[from] rusqlite::Error),
    /// Made by a later version of this program.
    #[error(
        "the server's database has format {found}, and this program knows only up to {FORMAT}: \
         use the version of grotto that wrote it"
    )]
    Newer {
        /// The format found.
        found: u32,
    },
    /// A copy goes into a new file.
    #[error("{} is there already: name a file that is not", file.display())]
    Exists {
        /// Which.
        file: PathBuf,
    },
}

/// The format of the file. New tables, and new fields that have a default, are no new format. What
/// rewrites records is: then this grows, and an older file is rewritten where it is opened to be
/// served, in one transaction; whoever opens it beside a running server leaves it as it is.
const FORMAT: u32 = 1;

impl Database {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// When it cannot be read and written, or is of a later format.
    pub fn open(file: &Path) -> Result<Self, DatabaseError> {
        let connection = Connection::open(file)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        Self::new(connection)
    }

    /// Makes one that is gone with the process.
    ///
    /// # Errors
    /// When SQLite gives no memory.
    pub fn in_memory() -> Result<Self, DatabaseError> {
        Self::new(Connection::open_in_memory()?)
    }

    fn new(connection: Connection) -> Result<Self, DatabaseError> {
        connection.busy_timeout(std::time::Duration::from_secs(10))?;
        connection.set_prepared_statement_cache_capacity(16);
        // Else each statement with a range is planned anew for each range.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        // FULL: what was answered is on the disk, not only with the kernel.
        connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF;")?;
        let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if FORMAT < found {
            return Err(DatabaseError::Newer { found });
        }
        if found == 0 {
            connection.execute_batch(
                "CREATE TABLE IF NOT EXISTS records (key BLOB PRIMARY KEY, value BLOB NOT NULL)
                 WITHOUT ROWID, STRICT;",
            )?;
            connection.pragma_update(None, "user_version", FORMAT)?;
        }
        Ok(Self { connection })
    }

    /// Begins a batch: nobody else, in this process or another, writes until it is written.
    ///
    /// # Errors
    /// When somebody else does not let go of the file, or the disk refuses.
    pub fn begin(&self) -> Result<(), DatabaseError> {
        Ok(self.run("BEGIN IMMEDIATE")?)
    }

    /// Writes all changes of the batch; afterwards they survive the process and the machine.
    ///
    /// # Errors
    /// When the disk refuses: then nothing is written.
    pub fn commit(&self, changes: &Changes) -> Result<(), DatabaseError> {
        let written = self.write(changes).and_then(|()| self.run("COMMIT"));
        if written.is_err() {
            // What fails here was not begun.
            drop(self.connection.execute_batch("ROLLBACK"));
        }
        Ok(written?)
    }

    fn run(&self, statement: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(statement)?.execute([]).map(drop)
    }

    fn write(&self, changes: &Changes) -> rusqlite::Result<()> {
        let mut put = self
            .connection
            .prepare_cached("INSERT OR REPLACE INTO records (key, value) VALUES (?1, ?2)")?;
        let mut delete = self.connection.prepare_cached("DELETE FROM records WHERE key = ?1")?;
        for (key, value) in changes {
            match value {
                Some(value) => put.execute(params![key, value])?,
                None => delete.execute([key])?,
            };
        }
        Ok(())
    }

    /// Copies the whole database, as it is at this moment, into a new file.
    ///
    /// # Errors
    /// When the file is there already, or cannot be written.
    pub fn back_up(&self, file: &Path) -> Result<(), DatabaseError> {
        self.connection.execute("VACUUM INTO ?1", [file.to_string_lossy()])?;
        Ok(())
    }

    fn select(&self, range: &Range) -> rusqlite::Result<Vec<Record>> {
        let statement = match range.order {
            Order::Ascending => {
                "SELECT key, value FROM records WHERE ?1 <= key AND key < ?2
                 ORDER BY key ASC LIMIT ?3"
            }
            Order::Descending => {
                "SELECT key, value FROM records WHERE ?1 <= key AND key < ?2
                 ORDER BY key DESC LIMIT ?3"
            }
        };
        let limit = i64::try_from(range.limit).unwrap_or(i64::MAX);
        self.connection
            .prepare_cached(statement)?
            .query_map(params![range.start, range.end, limit], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect()
    }
}

impl Lookup for Database {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Broken> {
        self.connection
            .prepare_cached("SELECT value FROM records WHERE key = ?1")
            .and_then(|mut statement| statement.query_row([key], |row| row.get(0)).optional())
            .map_err(|error| Broken(error.to_string()))
    }

    fn scan(&self, range: &Range) -> Result<Vec<Record>, Broken> {
        self.select(range).map_err(|error| Broken(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_a_later_version_is_refused_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("server.db");
        let database = Database::open(&file).unwrap();
        database.connection.pragma_update(None, "user_version", FORMAT + 1).unwrap();
        drop(database);
        for _ in 0..2 {
            let error = Database::open(&file).unwrap_err();
            assert!(matches!(error, DatabaseError::Newer { found } if found == FORMAT + 1));
        }
    }
}

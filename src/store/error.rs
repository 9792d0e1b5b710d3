//! What can go wrong with the store, each with its own way out.

use std::path::PathBuf;

use rusqlite::ErrorCode;

/// A read failed, or a write inside a transaction that was then taken back.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No room for the write.
    #[error("the disk is full; free some space, then start grotto again")]
    Full(#[source] rusqlite::Error),
    /// What is in the file is not what was written.
    #[error(
        "the store is damaged; restore the account's folder from a backup made while grotto was \
         not running, or log out and in again"
    )]
    Damaged(#[source] rusqlite::Error),
    /// A value does not have the form that this version writes.
    #[error("a value in the table {table} of the store cannot be read")]
    Value {
        /// Which table.
        table: &'static str,
        /// What serde said.
        source: serde_json::Error,
    },
    /// An identifier in the store is none.
    #[error("an identifier in the table {table} of the store is malformed: {problem}")]
    BadId {
        /// Which table.
        table: &'static str,
        /// What the parser said.
        problem: String,
    },
    /// The system gave no randomness.
    #[error("the system gives no random bytes: {0}")]
    Random(String),
    /// Anything else SQLite says.
    #[error("the store cannot be read or written")]
    Sqlite(#[source] rusqlite::Error),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full(error),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(error),
            _ => Self::Sqlite(error),
        }
    }
}

/// A step was not written; the file is as it was before.
#[derive(Debug, thiserror::Error)]
#[error("nothing was written: {0}")]
pub struct CommitError(#[from] pub StoreError);

impl CommitError {
    /// Whether freeing disk space helps.
    pub fn is_disk_full(&self) -> bool {
        matches!(self.0, StoreError::Full(_))
    }
}

impl From<rusqlite::Error> for CommitError {
    fn from(error: rusqlite::Error) -> Self {
        Self(error.into())
    }
}

/// Why a store cannot be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no account in this folder.
    #[error("there is no account in {dir}; log in first", dir = .0.display())]
    Missing(PathBuf),
    /// A newer grotto wrote the file.
    #[error("the store has schema {found}, this grotto knows up to {known}; use a newer grotto")]
    Newer {
        /// The file's version.
        found: i64,
        /// The newest known here.
        known: i64,
    },
    /// The file cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

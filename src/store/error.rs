//! What can go wrong with the store, each with its own way out.

use std::{
    io,
    path::{Path, PathBuf},
};

use rusqlite::ErrorCode;

use super::{key::KdfCost, lock::Holder};

/// A read failed, or a write inside a transaction that was then taken back.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No room for the write.
    #[error("the disk is full; free some space, then start grotto again")]
    Full(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What is in the file is not what was written.
    #[error(
        "the store is damaged; restore the account's folder from a backup made while grotto was \
         not running, or give it up with `grotto logout --local` and log in again"
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
            Some(ErrorCode::DiskFull) => Self::Full(error.into()),
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
    /// A passphrase is needed and none was given.
    #[error(
        "the store in {dir} is locked; give its passphrase at the prompt or with --passphrase-file",
        dir = .0.display()
    )]
    Locked(PathBuf),
    /// The passphrase does not open the store.
    #[error(
        "wrong passphrase; it is the one set with `grotto login` or `grotto passphrase`; if it is lost, give the \
         store up with `grotto logout --local`"
    )]
    WrongPassphrase,
    /// An empty passphrase was to be set.
    #[error("an empty passphrase protects nothing; choose one, or use none")]
    EmptyPassphrase,
    /// The given key does not open the store.
    #[error("the given key does not open the store")]
    WrongKey,
    /// The cost of trying a passphrase is out of bounds.
    #[error("a passphrase cannot be tried at this cost: {0:?}")]
    KdfCost(KdfCost),
    /// Another process has the store open.
    #[error(
        "the account in {dir} is open in {holder}; quit that one first",
        dir = .dir.display(), holder = .holder.as_ref().map_or("another process".to_owned(), ToString::to_string)
    )]
    Held {
        /// The account's folder.
        dir: PathBuf,
        /// Who, unless it is only just starting.
        holder: Option<Holder>,
    },
    /// There is no account in this folder.
    #[error("there is no account in {dir}; log in first", dir = .0.display())]
    Missing(PathBuf),
    /// There is an account in this folder.
    #[error("there is an account in {dir} already; log it out first", dir = .0.display())]
    Exists(PathBuf),
    /// The key file is gone.
    #[error(
        "the key file {path} is missing; put it back from a backup, or \
         give it up with `grotto logout --local` and log in again",
        path = .0.display()
    )]
    KeyMissing(PathBuf),
    /// The key file does not hold what was written.
    #[error(
        "the key file {path} is damaged; put it back from a backup, or \
         give it up with `grotto logout --local` and log in again",
        path = .0.display()
    )]
    KeyDamaged(PathBuf),
    /// The key file is there, the store is not, or nothing is in it.
    #[error(
        "{path} is missing or empty; put the account's folder back from a backup, or \
         give it up with `grotto logout --local` and log in again",
        path = .0.display()
    )]
    DatabaseMissing(PathBuf),
    /// Others may read or write what is ours alone.
    #[error(
        "{path} is open to other users of this machine (mode {mode:o}); if nobody used that, \
         run: chmod {wanted:o} '{path}'; else log out and in again", path = .path.display()
    )]
    Exposed {
        /// What.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode it should have.
        wanted: u32,
    },
    /// A newer grotto wrote the file.
    #[error("the store has schema {found}, this grotto knows up to {known}; use a newer grotto")]
    Newer {
        /// The file's version.
        found: i64,
        /// The newest known here.
        known: i64,
    },
    /// A file or folder cannot be read or written.
    #[error("{path} cannot be used", path = .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OpenError {
    /// Whether a (right) passphrase would help.
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Locked(_) | Self::WrongPassphrase)
    }

    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::StorageFull {
            return Self::Store(StoreError::Full(source.into()));
        }
        Self::Io { path: path.to_owned(), source }
    }
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

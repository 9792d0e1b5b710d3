//! The folder of a server: its database, and the lock that lets one process serve it.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use super::db::{Database, DatabaseError};

/// Name of the database's file.
const DATABASE: &str = "server.db";
/// Name of the lock's file.
const LOCK: &str = "server.lock";

/// The folder of a server that is about to run, locked until dropped.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    _lock: File,
}

/// Why a folder cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It cannot be made, or a file in it not be written.
    #[error("cannot use the folder {}", dir.display())]
    Io {
        /// Which.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process serves it.
    #[error("another process serves {}: stop it first, or choose another --data", dir.display())]
    Held {
        /// Which.
        dir: PathBuf,
    },
    /// Nothing was ever served there.
    #[error("there is no server in {}: `grotto serve --data` makes one", dir.display())]
    Missing {
        /// Which.
        dir: PathBuf,
    },
    /// Its database does not open.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl Folder {
    /// Makes the folder if it is not there, for its owner alone, and locks it.
    ///
    /// # Errors
    /// When it cannot be used, or another process serves it.
    pub fn lock(dir: &Path) -> Result<Self, FolderError> {
        let failed = |source| FolderError::Io { dir: dir.to_owned(), source };
        make(dir).map_err(failed)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(dir.join(LOCK))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir: dir.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(FolderError::Held { dir: dir.to_owned() }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Opens its database, which is made when it is not there.
    ///
    /// # Errors
    /// When it does not open.
    pub fn database(&self) -> Result<Database, FolderError> {
        let file = self.dir.join(DATABASE);
        match private(&file) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(FolderError::Io { dir: self.dir.clone(), source: error })
            }
            Ok(()) | Err(_) => Ok(Database::open(&file)?),
        }
    }
}

/// Opens the database in a folder, whether it is served at this moment or not.
///
/// # Errors
/// When nothing was ever served there, or it does not open.
pub fn open_beside(dir: &Path) -> Result<Database, FolderError> {
    let file = dir.join(DATABASE);
    if !file.is_file() {
        return Err(FolderError::Missing { dir: dir.to_owned() });
    }
    Ok(Database::open(&file)?)
}

/// Makes an empty file that is not there yet, for its owner alone; what SQLite puts beside it is
/// then for its owner alone too.
///
/// # Errors
/// When it is there, or cannot be made.
pub(super) fn private(file: &Path) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file).map(drop)
}

fn make(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_database_is_its_owners_also_in_a_folder_that_others_may_read() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let folder = Folder::lock(dir.path()).unwrap();
        let database = folder.database().unwrap();
        database.begin().unwrap();
        database.commit(&[(vec![1], Some(vec![1]))].into()).unwrap();
        for name in [DATABASE, "server.db-wal", "server.db-shm"] {
            let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{name}");
        }
        assert!(private(&dir.path().join(DATABASE)).is_err(), "a copy replaces no file");
    }
}

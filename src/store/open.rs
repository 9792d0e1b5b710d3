//! The account's folder: making a store in it, opening it, changing its passphrase, destroying it.

use std::{fs, path::Path};

use rusqlite::{Connection, OpenFlags};
use zeroize::Zeroizing;

use super::{
    account::{self, Account},
    error::{OpenError, StoreError},
    files,
    handle::Store,
    key::{self, KdfCost, MasterKey, Protection, StoreKey},
    lease::{self, Lease},
    lock::{self, Lock},
    schema,
};
use crate::secret::Secret;

/// Name of the database.
const FILE: &str = "store.db";

impl Store {
    /// Makes the store of a new login in `dir`, which is made too. With [`StoreKey::Key`] the key
    /// goes into a file beside the store; [`Store::protection`] then has a warning for the user.
    ///
    /// The key file is written last: a store whose making was cut short has none, and is made anew.
    ///
    /// # Errors
    /// When there is a store already, another process holds it, the passphrase is empty, or the
    /// files cannot be written.
    pub fn create(dir: &Path, key: &StoreKey, account: &Account) -> Result<Self, OpenError> {
        Self::create_with(dir, key, account, KdfCost::default())
    }

    /// Does what [`Store::create`] does, with another cost for trying a passphrase.
    ///
    /// # Errors
    /// As [`Store::create`], and when the cost is out of bounds.
    pub fn create_with(
        dir: &Path,
        key: &StoreKey,
        account: &Account,
        cost: KdfCost,
    ) -> Result<Self, OpenError> {
        files::make_folder(dir)?;
        let lock = Lock::take(dir)?;
        if dir.join(key::FILE).exists() {
            return Err(OpenError::Exists(dir.to_owned()));
        }
        let master = key::master_for(key)?;
        remove_database(dir)?;
        let path = dir.join(FILE);
        files::open_private(&path).map_err(|source| OpenError::io(&path, source))?;
        let mut connection = connect(dir, &master)?;
        schema::migrate(&mut connection)?;
        account::insert(&connection, account)?;
        let (passphrase, protection) = match key {
            StoreKey::Passphrase(passphrase) => (Some(passphrase), Protection::Passphrase),
            StoreKey::Key(_) => (None, Protection::KeyFile),
        };
        let origin = account::settle(&mut connection, &place(dir)?)?;
        key::write(dir, &master, passphrase, cost)?;
        let login = (account.clone(), Lease::default());
        Ok(Self::new(connection, login, (protection, origin), Some(lock)))
    }

    /// Opens the store in `dir`. Without a key, the one in the key file is used.
    ///
    /// # Errors
    /// Each way in which this can fail is a variant of [`OpenError`].
    pub fn open(dir: &Path, key: Option<&StoreKey>) -> Result<Self, OpenError> {
        check_folder(dir)?;
        let lock = Lock::take(dir)?;
        let (master, protection) = key::read(dir, key)?;
        let mut connection = connect(dir, &master).map_err(|error| blame(error, key))?;
        if schema::version(&connection)? == 0 {
            return Err(OpenError::DatabaseMissing(dir.join(FILE)));
        }
        schema::migrate(&mut connection)?;
        let account = account::read(&connection)?;
        let account = account.ok_or_else(|| OpenError::DatabaseMissing(dir.join(FILE)))?;
        let origin = account::settle(&mut connection, &place(dir)?)?;
        let lease = lease::read(&connection)?;
        Ok(Self::new(connection, (account, lease), (protection, origin), Some(lock)))
    }

    /// Removes the store in `dir`, its key first: from then on the rest cannot be read by anybody.
    ///
    /// # Errors
    /// When a process holds the store, or a file cannot be removed.
    pub fn destroy(dir: &Path) -> Result<(), OpenError> {
        if !dir.is_dir() {
            return Err(OpenError::Missing(dir.to_owned()));
        }
        let lock = Lock::take(dir)?;
        let path = dir.join(key::FILE);
        let io = |source| OpenError::io(&path, source);
        if let Ok(file) = fs::File::options().write(true).open(&path) {
            files::overwrite(&file).map_err(io)?;
        }
        files::remove(&path).map_err(io)?;
        files::remove(&path.with_extension("new")).map_err(io)?;
        files::sync_folder(&path).map_err(io)?;
        remove_database(dir)?;
        files::remove(&dir.join(lock::FILE)).map_err(io)?;
        drop(lock);
        // What is not ours stays, and the folder with it.
        drop(fs::remove_dir(dir));
        Ok(())
    }
}

/// Sets, changes or (with `new` absent) removes the passphrase of the store in `dir`. The store
/// must not be open.
///
/// # Errors
/// When `old` does not open the store, `new` is empty, a process holds the store, or the key file
/// cannot be written; then the old passphrase still holds.
pub fn set_passphrase(
    dir: &Path,
    old: Option<&StoreKey>,
    new: Option<&Secret<String>>,
) -> Result<Protection, OpenError> {
    set_passphrase_with(dir, old, new, KdfCost::default())
}

/// Does what [`set_passphrase`] does, with another cost for trying the new passphrase.
///
/// # Errors
/// As [`set_passphrase`], and when the cost is out of bounds.
pub fn set_passphrase_with(
    dir: &Path,
    old: Option<&StoreKey>,
    new: Option<&Secret<String>>,
    cost: KdfCost,
) -> Result<Protection, OpenError> {
    check_folder(dir)?;
    let _lock = Lock::take(dir)?;
    let (master, _) = key::read(dir, old)?;
    // Opens the store with it, so that a wrong key is never sealed in the place of the right one.
    drop(connect(dir, &master).map_err(|error| blame(error, old))?);
    key::write(dir, &master, new, cost)?;
    Ok(if new.is_some() { Protection::Passphrase } else { Protection::KeyFile })
}

fn check_folder(dir: &Path) -> Result<(), OpenError> {
    if !dir.join(FILE).exists() && !dir.join(key::FILE).exists() {
        return Err(OpenError::Missing(dir.to_owned()));
    }
    files::check_private(dir, 0o700)?;
    if !dir.join(FILE).exists() {
        return Err(OpenError::DatabaseMissing(dir.join(FILE)));
    }
    Ok(())
}

/// A key from the key file is known to be whole, so the store is damaged; a key from the caller
/// may be the wrong one.
fn blame(error: OpenError, key: Option<&StoreKey>) -> OpenError {
    match (&error, key) {
        (OpenError::Store(StoreError::Damaged(_)), Some(StoreKey::Key(_))) => OpenError::WrongKey,
        _ => error,
    }
}

fn connect(dir: &Path, master: &MasterKey) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(dir.join(FILE), flags)?;
    unlock(&connection, master)?;
    super::handle::configure(&connection)?;
    connection.execute_batch(
        "PRAGMA locking_mode = EXCLUSIVE;
         PRAGMA journal_mode = WAL;
         PRAGMA journal_size_limit = 16777216;",
    )?;
    Ok(connection)
}

/// Gives SQLCipher the key. Its own messages would go to standard error, into the picture on the
/// terminal, so they are turned off first. Its `cipher_memory_security` stays off: it locks and
/// wipes each piece of memory that SQLite uses, for the whole process, which takes a fifth of the
/// time of a restore, and ten times as long where several threads have stores. Core dumps are off,
/// nobody may attach to the process, and keys are wiped where we hold them.
fn unlock(connection: &Connection, master: &MasterKey) -> Result<(), OpenError> {
    connection.execute_batch("PRAGMA cipher_log_level = NONE;")?;
    let mut sql = Zeroizing::new(String::with_capacity(96));
    sql.push_str("PRAGMA key = \"x'");
    for byte in master.iter() {
        for digit in [byte >> 4, byte & 15] {
            sql.extend(char::from_digit(digit.into(), 16));
        }
    }
    sql.push_str("'\"");
    // An error of this statement may quote it: say nothing of it.
    match connection.execute_batch(&sql) {
        Ok(()) => Ok(()),
        Err(_) => Err(OpenError::WrongKey),
    }
}

/// Which file the database is, in words that differ when it was copied or restored.
#[cfg(unix)]
fn place(dir: &Path) -> Result<String, OpenError> {
    use std::os::unix::fs::MetadataExt as _;
    let path = dir.join(FILE);
    let found = fs::metadata(&path).map_err(|source| OpenError::io(&path, source))?;
    // Not the device: its number may be another after every start of the machine.
    Ok(found.ino().to_string())
}

/// Where files have no numbers, its path has to do.
#[cfg(not(unix))]
fn place(dir: &Path) -> Result<String, OpenError> {
    Ok(dir.join(FILE).display().to_string())
}

fn remove_database(dir: &Path) -> Result<(), OpenError> {
    for name in [FILE, "store.db-wal", "store.db-shm", "store.db-journal"] {
        let path = dir.join(name);
        files::remove(&path).map_err(|source| OpenError::io(&path, source))?;
    }
    Ok(())
}

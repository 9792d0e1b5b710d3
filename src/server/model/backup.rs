//! Key backups: room keys, encrypted by their owner, kept for their other and later devices.
//!
//! # Spec
//! Client-Server API, "Server-side key backups".

use serde_json::Value;

use super::{
    records::{BACKUP_KEYS, BACKUP_LAST, BACKUPS, BackupKeyRecord, BackupRecord},
    refusal::Refusal,
    step::Step,
    table::{Broken, Order},
    usage,
};
use crate::{
    matrix::{OwnedUserId, UserId},
    server::model::step::Span,
};

/// Most backups of a user.
const MAX_BACKUPS: usize = 100;
/// Most keys of a backup.
const MAX_KEYS: u64 = 200_000;
/// Largest key, in bytes.
const MAX_KEY: usize = 8 << 10;
/// Largest `auth_data`, in bytes.
const MAX_AUTH_DATA: usize = 16 << 10;

/// Whose backup, and which.
#[derive(Clone, Debug)]
pub(crate) struct Backup {
    user: OwnedUserId,
    version: u64,
    pub(crate) record: BackupRecord,
}

/// Part of a backup: all, the keys of a room, or one key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part<'a> {
    /// All keys.
    All,
    /// Those of a room.
    Room(&'a str),
    /// That of a session in a room.
    Session(&'a str, &'a str),
}

fn unknown() -> Refusal {
    Refusal::not_found("there is no such key backup")
}

/// Begins a backup; earlier ones take no keys any more.
///
/// # Errors
/// `M_TOO_LARGE`.
pub(crate) fn create(
    step: &mut Step<'_>,
    user: &UserId,
    (algorithm, auth_data): (String, Value),
) -> Result<u64, Refusal> {
    check_auth_data(&auth_data)?;
    if MAX_BACKUPS <= step.scan(BACKUPS, (user,))?.len() {
        return Err(Refusal::too_many("key backups"));
    }
    let version = step.get(BACKUP_LAST, (user,))?.unwrap_or(0) + 1;
    step.put(BACKUP_LAST, (user,), &version)?;
    let record = BackupRecord { algorithm, auth_data, etag: 0, count: 0 };
    step.put(BACKUPS, (user, version), &record)?;
    Ok(version)
}

fn check_auth_data(auth_data: &Value) -> Result<(), Refusal> {
    if MAX_AUTH_DATA < auth_data.to_string().len() {
        return Err(Refusal::new(413, "M_TOO_LARGE", "the auth_data is too large"));
    }
    Ok(())
}

impl Backup {
    /// The newest backup.
    ///
    /// # Errors
    /// `M_NOT_FOUND`.
    pub(crate) fn newest(step: &Step<'_>, user: &UserId) -> Result<Self, Refusal> {
        let span = Span { after: 0, up_to: u64::MAX, order: Order::Descending, limit: 1 };
        let found = step.scan_numbers(BACKUPS, (user,), &span)?.into_iter().next();
        let (mut key, record) = found.ok_or_else(unknown)?;
        key.text()?;
        Ok(Self { user: user.to_owned(), version: key.number()?, record })
    }

    /// The backup of this version.
    ///
    /// # Errors
    /// `M_NOT_FOUND`.
    pub(crate) fn find(step: &Step<'_>, user: &UserId, version: &str) -> Result<Self, Refusal> {
        let version: u64 = version.parse().map_err(|_not_a_number| unknown())?;
        let record = step.get(BACKUPS, (user, version))?.ok_or_else(unknown)?;
        Ok(Self { user: user.to_owned(), version, record })
    }

    /// The version, as clients name it.
    pub(crate) fn version(&self) -> String {
        self.version.to_string()
    }

    fn write(&self, step: &mut Step<'_>) -> Result<(), Broken> {
        step.put(BACKUPS, (&*self.user, self.version), &self.record)
    }

    /// Replaces what is said about the backup's key.
    ///
    /// # Errors
    /// `M_INVALID_PARAM` for another algorithm; `M_TOO_LARGE`.
    pub(crate) fn update(
        mut self,
        step: &mut Step<'_>,
        (algorithm, auth_data): (&str, Value),
    ) -> Result<(), Refusal> {
        if algorithm != self.record.algorithm {
            return Err(Refusal::invalid("the algorithm of a backup does not change"));
        }
        check_auth_data(&auth_data)?;
        self.record.auth_data = auth_data;
        Ok(self.write(step)?)
    }

    /// Takes the backup away, with all keys.
    pub(crate) fn delete(self, step: &mut Step<'_>) -> Result<(), Broken> {
        let bytes = self.keys(step, Part::All)?.iter().map(|(_, _, key)| size(key)).sum();
        usage::refund(step, &self.user, bytes)?;
        step.clear(BACKUP_KEYS, (&*self.user, self.version))?;
        step.delete(BACKUPS, (&*self.user, self.version));
        Ok(())
    }

    /// Keys by room and session.
    pub(crate) fn keys(
        &self,
        step: &Step<'_>,
        part: Part<'_>,
    ) -> Result<Vec<(String, String, BackupKeyRecord)>, Broken> {
        let (user, version) = (&*self.user, self.version);
        let found = match part {
            Part::All => step.scan(BACKUP_KEYS, (user, version))?,
            Part::Room(room) => step.scan(BACKUP_KEYS, (user, version, room))?,
            Part::Session(room, session) => {
                step.scan(BACKUP_KEYS, (user, version, room, session))?
            }
        };
        found
            .into_iter()
            .map(|(mut key, record)| {
                key.text()?;
                key.number()?;
                Ok((key.text()?, key.text()?, record))
            })
            .collect()
    }

    /// Keeps these keys, each unless a better one is there. Only the newest backup takes keys.
    ///
    /// # Errors
    /// `M_WRONG_ROOM_KEYS_VERSION`; `M_TOO_LARGE`.
    pub(crate) fn add(
        &mut self,
        step: &mut Step<'_>,
        keys: Vec<(&str, &str, BackupKeyRecord)>,
    ) -> Result<(), Refusal> {
        let newest = Self::newest(step, &self.user)?;
        if newest.version != self.version {
            let error = "there is a newer backup";
            return Err(Refusal::new(403, "M_WRONG_ROOM_KEYS_VERSION", error)
                .with("current_version", newest.version().into()));
        }
        let mut is_changed = false;
        for (room, session, key) in keys {
            if MAX_KEY < key.session_data.to_string().len() {
                return Err(Refusal::new(413, "M_TOO_LARGE", "a key is too large"));
            }
            let place = (&*self.user, self.version, room, session);
            match step.get(BACKUP_KEYS, place)? {
                Some(old) if !is_better(&key, &old) => continue,
                Some(old) => usage::refund(step, &self.user, size(&old))?,
                None => self.record.count += 1,
            }
            is_changed = true;
            usage::charge(step, &self.user, usize::try_from(size(&key)).unwrap_or(usize::MAX))?;
            step.put(BACKUP_KEYS, place, &key)?;
        }
        if MAX_KEYS < self.record.count {
            return Err(Refusal::too_many("keys in the backup"));
        }
        if is_changed {
            self.record.etag += 1;
            self.write(step)?;
        }
        Ok(())
    }

    /// Takes keys away.
    pub(crate) fn remove(&mut self, step: &mut Step<'_>, part: Part<'_>) -> Result<(), Broken> {
        for (room, session, key) in self.keys(step, part)? {
            usage::refund(step, &self.user, size(&key))?;
            let place = (&*self.user, self.version, room.as_str(), session.as_str());
            step.delete(BACKUP_KEYS, place);
            self.record.count = self.record.count.saturating_sub(1);
        }
        self.record.etag += 1;
        self.write(step)
    }
}

/// What a key counts, in bytes: with what goes beside it.
fn size(key: &BackupKeyRecord) -> u64 {
    key.session_data.to_string().len() as u64 + 256
}

/// Whether a key replaces the one that is there.
///
/// # Spec
/// "Backup algorithm": verified ones first, then those that open more, then those that took
/// fewer hands.
fn is_better(new: &BackupKeyRecord, old: &BackupKeyRecord) -> bool {
    let rank =
        |key: &BackupKeyRecord| (!key.is_verified, key.first_message_index, key.forwarded_count);
    rank(new) < rank(old)
}

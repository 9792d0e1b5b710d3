//! Making secret storage, giving it another key, and giving it up: what the user decides. What is to
//! be written then is on disk, and [`super::write`] writes it.

use super::{
    cipher::StorageKey,
    description::{Derivation, DerivedKey, Rounds},
    record::{Creation, FreshStart, Stage, StorageRecord},
};
use crate::{
    e2ee::{
        Machine, MachineError, OwnIdentity,
        cross_signing::{SecretName, identity_on_its_way},
        recovery_key,
        request::RequestId,
        step::Step,
        types::Notice,
    },
    secret::Secret,
};

impl Derivation {
    /// A new key, to be made of a passphrase with a salt of its own.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn of_new(passphrase: Secret<String>) -> Result<Self, MachineError> {
        Ok(Self { passphrase, rounds: Rounds::new(RequestId::random()?.0) })
    }
}

impl Machine {
    /// Makes secret storage with a new key and puts every secret into it that is here: the key's
    /// description first, then the secrets, and then only is it made the account's. Gives the
    /// recovery key, which the user must keep; it is told by [`Notice::StorageMade`] when the
    /// server has all.
    ///
    /// A making that was interrupted goes on with the key it began with, and so until
    /// [`Machine::confirm_recovery_key`]: a key that nobody has seen must not become the account's.
    ///
    /// # Errors
    /// When the store fails.
    pub fn create_secret_storage(
        &mut self,
        derived: Option<DerivedKey>,
        step: &mut Step<'_>,
    ) -> Result<Secret<String>, MachineError> {
        self.storage.refused = false;
        self.begin_creation((derived, None), step)
    }

    /// Makes a new key in the place of the one that the storage has, without needing that one:
    /// every secret is here, or the storage is open. The old key opens all until
    /// [`Machine::confirm_recovery_key`], and nothing from then on. Otherwise as
    /// [`Machine::create_secret_storage`]. What other clients keep there and we do not know of
    /// stays sealed with the old key alone.
    ///
    /// # Errors
    /// When the store fails.
    pub fn renew_secret_storage(
        &mut self,
        derived: Option<DerivedKey>,
        step: &mut Step<'_>,
    ) -> Result<Secret<String>, MachineError> {
        let StorageRecord { default_key, given_up, .. } = StorageRecord::read(step)?;
        let replaces = default_key.filter(|id| given_up.as_ref() != Some(id));
        self.begin_creation((derived, replaces), step)
    }

    /// Whether nothing would be lost if the storage had another key: it is open, or all that it
    /// holds of ours is here.
    ///
    /// # Errors
    /// When the store fails.
    pub fn can_renew_storage(&self, step: &Step<'_>) -> Result<bool, MachineError> {
        let all = OwnIdentity::Verified {
            has_master: true,
            has_self_signing: true,
            has_user_signing: true,
        };
        let backup = self.backup_state(step)?;
        let has_backup_key = backup.connected || backup.checked && backup.version.is_none();
        let has_all = self.own_identity(step)? == all && has_backup_key;
        Ok(self.storage.open.is_some() || has_all)
    }

    fn begin_creation(
        &mut self,
        (derived, replaces): (Option<DerivedKey>, Option<String>),
        step: &mut Step<'_>,
    ) -> Result<Secret<String>, MachineError> {
        self.storage.refused = false;
        let mut record = StorageRecord::read(step)?;
        let key = if let Some(creation) = &record.creation {
            creation.key.clone()
        } else {
            let (key, rounds) = match derived {
                Some(DerivedKey { key, rounds }) => (key, Some(rounds)),
                None => (StorageKey::random()?, None),
            };
            let (id, stage) = (RequestId::random()?.0, Stage::Undescribed);
            record.creation = Some(Creation { id, key: key.clone(), rounds, stage, replaces });
            record.overtaken = false;
            self.note_all_unwritten(&mut record, step)?;
            record.write(step)?;
            key
        };
        self.write_next(step)?;
        if record.creation.is_some_and(|it| it.stage == Stage::Unconfirmed) {
            step.tell(Notice::StorageMade);
        }
        Ok(recovery_key::encode(key.bytes()))
    }

    fn note_all_unwritten(
        &self,
        record: &mut StorageRecord,
        step: &Step<'_>,
    ) -> Result<(), MachineError> {
        for name in SecretName::STORED {
            if self.held_secret(name, step)?.is_some() {
                record.note_unwritten(name);
            }
        }
        Ok(())
    }

    /// The user has the recovery key: it is kept here no longer, once it is in the place of the one
    /// before, if there was one. Whether it is worth anything,
    /// [`StorageStatus::is_overtaken`](crate::e2ee::StorageStatus::is_overtaken) tells.
    ///
    /// # Errors
    /// When the store fails.
    pub fn confirm_recovery_key(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        self.storage.refused = false;
        let mut record = StorageRecord::read(step)?;
        match record.creation.take_if(|it| it.stage == Stage::Unconfirmed) {
            None => return Ok(()),
            Some(creation) if creation.replaces.is_some() => {
                record.creation = Some(Creation { stage: Stage::Confirmed, ..creation });
                // Once more, without what the old key opens.
                self.note_all_unwritten(&mut record, step)?;
            }
            Some(_) => {}
        }
        record.write(step)?;
        step.tell(Notice::StorageChanged);
        self.write_next(step)
    }

    /// The user starts anew, see [`Machine::reset_identity`]: with the identity, the storage and
    /// the backup are replaced. That it was begun is on disk before the server can take the
    /// identity, and until [`Machine::end_fresh_start`].
    ///
    /// # Errors
    /// When the store fails.
    pub fn begin_fresh_start(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        self.reset_identity(step)?;
        // The new secrets have no place in the old storage: a write of theirs that is still on its
        // way when we die could come after those to the new one.
        self.storage.open = None;
        let mut record = StorageRecord::read(step)?;
        let identity = identity_on_its_way(step)?;
        let key = record.default_key.clone();
        let backup = self.backup.public_key();
        let start = |identity| FreshStart { key, identity, given_up: false, backup };
        record.fresh_start = identity.map(start);
        record.write(step)
    }

    /// Whether a start anew that is not over has its backup already.
    ///
    /// # Errors
    /// When the store fails.
    pub fn has_fresh_backup(&self, step: &Step<'_>) -> Result<bool, MachineError> {
        let start = StorageRecord::read(step)?.fresh_start;
        let before = start.and_then(|start| start.backup);
        Ok(before.is_some_and(|before| self.backup.public_key().is_some_and(|now| now != before))
            && self.backup_key().is_some())
    }

    /// Identity, storage and backup are new.
    ///
    /// # Errors
    /// When the store fails.
    pub fn end_fresh_start(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        let mut record = StorageRecord::read(step)?;
        if record.fresh_start.take().is_some() {
            record.write(step)?;
            step.tell(Notice::StorageChanged);
        }
        Ok(())
    }

    /// In a start anew: what the storage holds opens nothing any more, and the next one is made in
    /// its place. Happens once in each.
    ///
    /// # Errors
    /// When the store fails.
    pub fn give_up_secret_storage(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        let mut record = StorageRecord::read(step)?;
        match &mut record.fresh_start {
            Some(start) if start.given_up => return Ok(()),
            Some(start) => start.given_up = true,
            None => {}
        }
        record.given_up = record.default_key.clone();
        record.creation = None;
        record.unwritten.clear();
        self.storage.open = None;
        self.storage.opening = None;
        record.write(step)?;
        step.tell(Notice::StorageChanged);
        Ok(())
    }
}

//! Making secret storage, and writing to it what changed: one write at a time, in an order in which
//! it can be interrupted anywhere. What is left to write is on disk.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    cipher::StorageKey,
    description::{Derivation, DerivedKey, Rounds, content},
    open::StorageRefusal,
    record::{Creation, DEFAULT_KEY, FreshStart, KEY_PREFIX, OpenKey, Stage, StorageRecord},
};
use crate::{
    e2ee::{
        Machine, MachineError,
        cross_signing::{SecretName, identity_on_its_way},
        held_secrets::write_secret,
        recovery_key,
        request::{Call, Purpose, RequestId, RequestKind},
        step::Step,
        types::Notice,
    },
    matrix::MatrixError,
    secret::Secret,
};

/// What a write was of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::e2ee) enum WritePurpose {
    /// The description of a new key.
    Description,
    /// A secret, and the change of it that was written.
    Secret(SecretName, u64),
    /// That the new key is the default from now on; its id.
    Default(String),
}

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
        let mut record = StorageRecord::read(step)?;
        let key = if let Some(creation) = &record.creation {
            creation.key.clone()
        } else {
            let (key, rounds) = match derived {
                Some(DerivedKey { key, rounds }) => (key, Some(rounds)),
                None => (StorageKey::random()?, None),
            };
            let id = RequestId::random()?.0;
            let creation = Creation { id, key: key.clone(), rounds, stage: Stage::Undescribed };
            record.creation = Some(creation);
            for name in SecretName::STORED {
                if self.held_secret(name, step)?.is_some() {
                    record.note_unwritten(name);
                }
            }
            record.write(step)?;
            key
        };
        self.write_next(step)?;
        if record.creation.is_some_and(|it| it.stage == Stage::Unconfirmed) {
            step.tell(Notice::StorageMade);
        }
        Ok(recovery_key::encode(key.bytes()))
    }

    /// The user has the recovery key: it is kept here no longer.
    ///
    /// # Errors
    /// When the store fails.
    pub fn confirm_recovery_key(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        let mut record = StorageRecord::read(step)?;
        if record.creation.take_if(|it| it.stage == Stage::Unconfirmed).is_some() {
            record.write(step)?;
            step.tell(Notice::StorageChanged);
        }
        Ok(())
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
        let start = |identity| FreshStart { key, identity, given_up: false };
        record.fresh_start = identity.map(start);
        record.write(step)
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

    /// A secret is new or another: it is written as soon as the storage is open.
    pub(in crate::e2ee) fn secret_changed(
        &mut self,
        name: SecretName,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let mut record = StorageRecord::read(step)?;
        let is_open = self.storage.open.is_some();
        if record.default_key.is_none() && record.creation.is_none() && !is_open {
            // There is nowhere to write to; whoever makes a storage writes all.
            return Ok(());
        }
        record.note_unwritten(name);
        record.write(step)?;
        self.write_next(step)
    }

    /// Whether the storage has a secret as it is now, or is not known to lack it.
    pub(in crate::e2ee) fn is_written(
        name: SecretName,
        step: &Step<'_>,
    ) -> Result<bool, MachineError> {
        Ok(!StorageRecord::read(step)?.unwritten.contains_key(&name))
    }

    /// Writes what comes next, unless a write is under way.
    pub(super) fn write_next(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        if self.storage.writing.is_some() || self.storage.refused {
            return Ok(());
        }
        let mut record = StorageRecord::read(step)?;
        let Some(key) = self.key_to_write_with(&record) else { return Ok(()) };
        if let Some(creation) = record.creation.as_ref().filter(|it| it.stage == Stage::Undescribed)
        {
            let body = content(&creation.key.check()?, creation.rounds.as_ref());
            let kind = format!("{KEY_PREFIX}{}", creation.id);
            return self.write(&kind, &body, WritePurpose::Description, step);
        }
        while let Some((&name, &change)) = record.unwritten.first_key_value() {
            if let Some(secret) = self.held_secret(name, step)? {
                let text = write_secret(&secret);
                let sealed = key.key.seal(name.as_str(), text.as_bytes())?;
                let body = json!({ "encrypted": { (key.id): sealed } });
                return self.write(name.as_str(), &body, WritePurpose::Secret(name, change), step);
            }
            record.unwritten.remove(&name);
            record.write(step)?;
        }
        match record.creation.filter(|it| it.stage == Stage::Described) {
            Some(Creation { id, .. }) => {
                let body = json!({ "key": id });
                self.write(DEFAULT_KEY, &body, WritePurpose::Default(id), step)
            }
            None => Ok(()),
        }
    }

    /// The key of this device's making goes before one that was typed.
    fn key_to_write_with(&self, record: &StorageRecord) -> Option<OpenKey> {
        let made = record.creation.as_ref();
        made.map(|it| OpenKey { id: it.id.clone(), key: it.key.clone() })
            .or_else(|| self.storage.open.clone())
    }

    fn write(
        &mut self,
        kind: &str,
        body: &Value,
        purpose: WritePurpose,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let user = self.core.user.clone();
        let call = Call {
            kind: RequestKind::AccountData,
            method: "PUT",
            path: &["user", user.as_str(), "account_data", kind],
            query: Vec::new(),
            body: body.to_string(),
        };
        let id = self.core.requests.call(call, Purpose::StorageWrite(purpose), step)?;
        self.storage.writing = Some(id);
        Ok(())
    }

    /// Takes the answer to a write.
    pub(in crate::e2ee) fn receive_storage_write(
        &mut self,
        id: &RequestId,
        purpose: &WritePurpose,
        answer: Result<&str, &MatrixError>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        self.storage.writing.take_if(|writing| writing == id);
        if let Err(error) = answer {
            self.storage.refused = true;
            step.tell(Notice::StorageRefused(StorageRefusal::Server(error.clone())));
            return Ok(());
        }
        let mut record = StorageRecord::read(step)?;
        match (purpose, &mut record.creation) {
            (WritePurpose::Description, Some(creation)) => creation.stage = Stage::Described,
            (WritePurpose::Secret(name, change), _) => {
                if record.unwritten.get(name) == Some(change) {
                    record.unwritten.remove(name);
                }
            }
            (WritePurpose::Default(id), Some(creation)) if creation.id == *id => {
                creation.stage = Stage::Unconfirmed;
                let open = OpenKey { id: creation.id.clone(), key: creation.key.clone() };
                self.storage.open = Some(open);
                if creation.rounds.is_some() {
                    record.passphrase_keys.insert(id.clone());
                }
                record.default_key = Some(id.clone());
                step.tell(Notice::StorageMade);
                self.wish_dehydrated(step)?;
            }
            (WritePurpose::Description | WritePurpose::Default(_), _) => {}
        }
        record.write(step)?;
        step.tell(Notice::StorageChanged);
        self.write_next(step)
    }
}

//! Writing secret storage, when it is made and when something changed: one write at a time, in an
//! order in which it can be interrupted anywhere. What is left to write is on disk.
//!
//! ```text
//!  new:          description ─▶ secrets ─▶ default key ─▶ the user has the key
//!  another key:  description ─▶ secrets beside those of the old key ─▶ the user has the key
//!                 ─▶ default key ─▶ secrets without those of the old key
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    cipher::Sealed,
    description::content,
    open::{SecretContent, StorageRefusal},
    record::{Creation, DEFAULT_KEY, KEY_PREFIX, OpenKey, Stage, StorageRecord},
};
use crate::{
    e2ee::{
        Machine, MachineError,
        core::Core,
        cross_signing::SecretName,
        held_secrets::write_secret,
        request::{Purpose, RequestId},
        step::Step,
        types::Notice,
    },
    matrix::MatrixError,
};

/// What a write was of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::e2ee) enum WritePurpose {
    /// The description of a new key.
    Description,
    /// A secret, and the change of it that was written.
    Secret(SecretName, u64),
    /// A look at what is there of a secret, to be written beside it.
    Beside(SecretName, u64),
    /// That the new key is the default from now on; its id.
    Default(String),
}

impl Machine {
    /// After a start: goes on with what an earlier run was writing.
    pub(in crate::e2ee) fn resume_storage(
        &mut self,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        self.write_next(step)
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
        if self.write_before_secrets(&record, step)? {
            return Ok(());
        }
        let is_beside = record.creation.as_ref().is_some_and(is_beside_another);
        while let Some((&name, &change)) = record.unwritten.first_key_value() {
            if self.held_secret(name, step)?.is_some() {
                if is_beside {
                    let purpose = WritePurpose::Beside(name, change);
                    return self.ask_storage(("GET", name.as_str()), None, purpose, step);
                }
                return self.write_secret((name, change), &key, None, step);
            }
            record.unwritten.remove(&name);
            record.write(step)?;
        }
        self.write_after_secrets(record, step)
    }

    /// What a storage that is made here needs first; whether it is on its way.
    fn write_before_secrets(
        &mut self,
        record: &StorageRecord,
        step: &mut Step<'_>,
    ) -> Result<bool, MachineError> {
        let Some(creation) = &record.creation else { return Ok(false) };
        match creation.stage {
            Stage::Undescribed => {
                let body = content(&creation.key.check()?, creation.rounds.as_ref());
                let kind = format!("{KEY_PREFIX}{}", creation.id);
                self.ask_storage(("PUT", &kind), Some(&body), WritePurpose::Description, step)?;
            }
            Stage::Confirmed if record.default_key.as_ref() != Some(&creation.id) => {
                self.write_default(&creation.id, step)?;
            }
            Stage::Described | Stage::Unconfirmed | Stage::Confirmed => return Ok(false),
        }
        Ok(true)
    }

    /// All secrets are there.
    fn write_after_secrets(
        &mut self,
        mut record: StorageRecord,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let Some(creation) = &mut record.creation else { return Ok(()) };
        match (creation.stage, &creation.replaces) {
            (Stage::Described, None) => return self.write_default(&creation.id.clone(), step),
            (Stage::Described, Some(_)) => {
                creation.stage = Stage::Unconfirmed;
                step.tell(Notice::StorageMade);
            }
            (Stage::Confirmed, _) => record.creation = None,
            (Stage::Undescribed | Stage::Unconfirmed, _) => return Ok(()),
        }
        record.write(step)?;
        step.tell(Notice::StorageChanged);
        Ok(())
    }

    fn write_default(&mut self, id: &str, step: &mut Step<'_>) -> Result<(), MachineError> {
        let body = json!({ "key": id });
        let purpose = WritePurpose::Default(id.to_owned());
        self.ask_storage(("PUT", DEFAULT_KEY), Some(&body), purpose, step)
    }

    /// Writes a secret, and beside it what another key opens.
    fn write_secret(
        &mut self,
        (name, change): (SecretName, u64),
        key: &OpenKey,
        other: Option<(String, Sealed)>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let Some(secret) = self.held_secret(name, step)? else { return Ok(()) };
        let text = write_secret(&secret);
        let mut encrypted: BTreeMap<String, Sealed> = other.into_iter().collect();
        encrypted.insert(key.id.clone(), key.key.seal(name.as_str(), text.as_bytes())?);
        let body = json!({ "encrypted": encrypted });
        let purpose = WritePurpose::Secret(name, change);
        self.ask_storage(("PUT", name.as_str()), Some(&body), purpose, step)
    }

    /// What is there of a secret came: it is written beside what the old key opens.
    fn receive_beside(
        &mut self,
        secret: (SecretName, u64),
        body: &str,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let record = StorageRecord::read(step)?;
        let creation = record.creation.as_ref().filter(|it| is_beside_another(it));
        let key = self.key_to_write_with(&record);
        let (Some(creation), Some(key)) = (creation, key) else { return self.write_next(step) };
        let old = creation.replaces.clone().unwrap_or_default();
        let content = serde_json::from_str::<SecretContent>(body).ok();
        let sealed = content.and_then(|mut it| it.encrypted.remove(&old));
        self.write_secret(secret, &key, sealed.map(|sealed| (old, sealed)), step)
    }

    /// The key of this device's making goes before one that was typed.
    fn key_to_write_with(&self, record: &StorageRecord) -> Option<OpenKey> {
        let made = record.creation.as_ref();
        made.map(|it| OpenKey { id: it.id.clone(), key: it.key.clone() })
            .or_else(|| self.storage.open.clone())
    }

    fn ask_storage(
        &mut self,
        (method, kind): (&'static str, &str),
        body: Option<&Value>,
        purpose: WritePurpose,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let Core { requests, user, .. } = &mut self.core;
        let purpose = Purpose::StorageWrite(purpose);
        let id = requests.account_data((method, user, kind), body, purpose, step)?;
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
        match (purpose, answer) {
            (WritePurpose::Beside(name, change), Ok(body)) => {
                return self.receive_beside((*name, *change), body, step);
            }
            (WritePurpose::Beside(name, change), Err(error)) if error.status == 404 => {
                return self.receive_beside((*name, *change), "{}", step);
            }
            (_, Err(error)) => {
                self.storage.refused = true;
                step.tell(Notice::StorageRefused(StorageRefusal::Server(error.clone())));
                return Ok(());
            }
            (_, Ok(_)) => {}
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
                let open = OpenKey { id: creation.id.clone(), key: creation.key.clone() };
                self.storage.open = Some(open);
                if creation.rounds.is_some() {
                    record.passphrase_keys.insert(id.clone());
                }
                if creation.replaces.is_none() {
                    creation.stage = Stage::Unconfirmed;
                    step.tell(Notice::StorageMade);
                }
                record.default_key = Some(id.clone());
                self.wish_dehydrated(step)?;
            }
            (
                WritePurpose::Description | WritePurpose::Default(_) | WritePurpose::Beside(..),
                _,
            ) => {}
        }
        record.write(step)?;
        step.tell(Notice::StorageChanged);
        self.write_next(step)
    }
}

/// Whether what is written with a new key must leave what the old one opens.
fn is_beside_another(creation: &Creation) -> bool {
    creation.replaces.is_some() && creation.stage != Stage::Confirmed
}

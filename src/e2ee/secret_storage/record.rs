//! What is kept of secret storage, and what is remembered of it while we run.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    cipher::{BASE64, StorageKey},
    description::{Description, Rounds},
    open::Opening,
};
use crate::{
    e2ee::{
        Machine, MachineError,
        cross_signing::SecretName,
        identity::Identity,
        lookup::Table,
        request::{self, Purpose, RequestId},
        step::Step,
        types::Notice,
    },
    matrix::Event,
    secret::Secret,
};

const RECORD: &str = "secret_storage";
pub(super) const DEFAULT_KEY: &str = "m.secret_storage.default_key";
pub(super) const KEY_PREFIX: &str = "m.secret_storage.key.";
/// Most descriptions that are remembered; an account has one for each time it was set up.
const MAX_KEYS: usize = 64;
/// Longest id of a key that is looked at, in bytes.
pub(super) const MAX_KEY_ID: usize = 255;

/// What is on disk.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct StorageRecord {
    /// The key that the server names, last it said; `None` when there is no storage.
    #[serde(default)]
    pub(super) default_key: Option<String>,
    /// A default key whose storage the user gave up for a new one.
    #[serde(default)]
    pub(super) given_up: Option<String>,
    /// A start anew that the user asked for and that has not come to its end.
    #[serde(default)]
    pub(super) fresh_start: Option<FreshStart>,
    /// Keys that can be made of a passphrase.
    #[serde(default)]
    pub(super) passphrase_keys: BTreeSet<String>,
    /// Secrets that are not in the storage as they are now, with the number of the change.
    #[serde(default)]
    pub(super) unwritten: BTreeMap<SecretName, u64>,
    /// How often a secret changed.
    #[serde(default)]
    changes: u64,
    /// A storage of ours that is being made, or whose key the user has not confirmed to have.
    #[serde(default)]
    pub(super) creation: Option<Creation>,
    /// Another client made a storage before the user confirmed to have the key of ours, or before
    /// that was in its place.
    #[serde(default)]
    pub(super) overtaken: bool,
}

/// A start anew: what it replaces is given up once the new identity is in force.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FreshStart {
    /// The default key of before.
    pub(super) key: Option<String>,
    /// The master key of the new identity, unpadded base64.
    pub(super) identity: String,
    /// Whether the storage of before was given up.
    #[serde(default)]
    pub(super) given_up: bool,
    /// The public key of the backup of before, empty if there was none; `None` while it was not
    /// known.
    #[serde(default)]
    pub(super) backup: Option<String>,
}

/// A storage that is made here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Creation {
    pub(super) id: String,
    #[serde(with = "key_base64")]
    pub(super) key: StorageKey,
    #[serde(default)]
    pub(super) rounds: Option<Rounds>,
    pub(super) stage: Stage,
    /// The key in whose place it comes: that one opens all until the user has this one.
    #[serde(default)]
    pub(super) replaces: Option<String>,
}

/// How far the making is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// The server does not have the key's description.
    Undescribed,
    /// The description is there; secrets are written.
    Described,
    /// All is there; the user did not say yet that they have the key.
    Unconfirmed,
    /// The user has a key that comes in the place of another; now it does.
    Confirmed,
}

impl Creation {
    /// What the default key `id` means for it: whether another client made another storage.
    fn is_overtaken(&self, id: Option<&str>) -> bool {
        let is_own = id == Some(&self.id);
        match &self.replaces {
            None => self.stage == Stage::Unconfirmed && !is_own,
            Some(old) => !is_own && id != Some(old),
        }
    }
}

impl StorageRecord {
    pub(super) fn read(step: &Step<'_>) -> Result<Self, MachineError> {
        Ok(step.get(Table::Misc, RECORD, "")?.unwrap_or_default())
    }

    pub(super) fn write(&self, step: &mut Step<'_>) -> Result<(), MachineError> {
        step.put(Table::Misc, RECORD, "", self)
    }

    /// A secret is to be written, again if it is being written.
    pub(super) fn note_unwritten(&mut self, name: SecretName) {
        self.changes = self.changes.wrapping_add(1);
        self.unwritten.insert(name, self.changes);
    }
}

/// What is remembered while we run.
#[derive(Debug, Default)]
pub(in crate::e2ee) struct Storage {
    /// The key that the user typed, shown to be right.
    pub(super) open: Option<OpenKey>,
    pub(super) opening: Option<Opening>,
    /// The write under way.
    pub(super) writing: Option<RequestId>,
    /// The server refused a write; nothing more is written until the user tries again.
    pub(super) refused: bool,
}

/// A key that was shown to be right.
#[derive(Clone, Debug)]
pub(super) struct OpenKey {
    pub(super) id: String,
    pub(super) key: StorageKey,
}

impl Storage {
    /// Whether a write is under way.
    pub(in crate::e2ee) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Takes up what an earlier run left under way.
    pub(in crate::e2ee) fn open(step: &Step<'_>) -> Result<Self, MachineError> {
        let mut records = request::records(step)?.into_iter();
        let writing = records.find(|it| matches!(it.purpose, Purpose::StorageWrite(_)));
        Ok(Self { writing: writing.map(|it| it.request.id), ..Self::default() })
    }
}

/// How far the making of a storage is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CreationStatus {
    /// None is made.
    #[default]
    None,
    /// It is not the account's yet.
    Writing,
    /// It comes in the place of another one, and is not there yet.
    Replacing,
    /// It is; the user did not say yet that they have the key.
    Unconfirmed,
}

/// How secret storage stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub struct StorageStatus {
    /// Whether the account has one.
    pub exists: bool,
    /// Whether its key can be made of a passphrase.
    pub has_passphrase: bool,
    /// Whether it is being opened.
    pub is_opening: bool,
    /// Whether it is open: what changes is written to it.
    pub is_open: bool,
    /// Whether one is made here.
    pub creation: CreationStatus,
    /// How many of the secrets that are here are not in it as they are now; the key of a dehydrated
    /// device, which is made anew at need, not counted.
    pub unwritten: usize,
    /// Whether something is being written to it; what is not, waits for it to be opened.
    pub is_writing: bool,
    /// Whether the account has a new identity, and its storage and backup are still to be made.
    pub is_fresh_start: bool,
    /// Whether another client made one in the place of ours: a key that was made here opens nothing.
    pub is_overtaken: bool,
}

impl Machine {
    /// How secret storage stands.
    ///
    /// # Errors
    /// When the store fails.
    pub fn storage_status(&self, step: &Step<'_>) -> Result<StorageStatus, MachineError> {
        let record = StorageRecord::read(step)?;
        let default_key = record.default_key.as_ref();
        let default_key = default_key.filter(|id| record.given_up.as_ref() != Some(id));
        let fresh = self.fresh_start(&record, step)?;
        let is_replaced = |id: &String| fresh.is_some_and(|it| it.key.as_ref() == Some(id));
        let default_key = default_key.filter(|id| !is_replaced(id));
        let creation = match &record.creation {
            None => CreationStatus::None,
            Some(it) if it.stage == Stage::Unconfirmed => CreationStatus::Unconfirmed,
            Some(Creation { replaces: Some(_), .. }) => CreationStatus::Replacing,
            Some(_) => CreationStatus::Writing,
        };
        let is_made = matches!(creation, CreationStatus::Writing | CreationStatus::Replacing);
        let mut unwritten = 0;
        let counts = |name: &&SecretName| **name != SecretName::DehydratedDevice;
        for name in record.unwritten.keys().filter(counts) {
            unwritten += usize::from(self.held_secret(*name, step)?.is_some());
        }
        let has_key = self.storage.open.is_some() || record.creation.is_some();
        let is_writing = !self.storage.refused && (is_made || 0 < unwritten && has_key);
        Ok(StorageStatus {
            exists: default_key.is_some(),
            has_passphrase: default_key.is_some_and(|id| record.passphrase_keys.contains(id)),
            is_opening: self.storage.opening.is_some(),
            is_open: self.storage.open.is_some(),
            creation,
            unwritten,
            is_writing,
            is_fresh_start: fresh.is_some(),
            is_overtaken: record.overtaken,
        })
    }

    /// The start anew whose identity is in force.
    fn fresh_start<'r>(
        &self,
        record: &'r StorageRecord,
        step: &Step<'_>,
    ) -> Result<Option<&'r FreshStart>, MachineError> {
        let own = step.get::<Identity>(Table::Identity, self.core.user.as_str(), "")?;
        let is_in_force =
            |it: &&FreshStart| own.as_ref().is_some_and(|own| own.master_key == it.identity);
        Ok(record.fresh_start.as_ref().filter(is_in_force))
    }

    /// Takes an event of the account data: which key is the default, how keys are made, that there is a
    /// backup.
    ///
    /// # Errors
    /// When the store fails.
    pub fn receive_account_data(
        &mut self,
        event: &Event,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let mut record = StorageRecord::read(step)?;
        if event.kind == DEFAULT_KEY {
            let id = event.content_str("key").filter(|id| is_key_id(id));
            if record.default_key.as_deref() == id {
                return Ok(());
            }
            record.default_key = id.map(str::to_owned);
            // Another client made another storage: what is written to ours would not be found.
            self.storage.open.take_if(|open| Some(open.id.as_str()) != id);
            record.overtaken |= record.creation.take_if(|it| it.is_overtaken(id)).is_some();
        } else if let Some(id) = event.kind.strip_prefix(KEY_PREFIX).filter(|id| is_key_id(id)) {
            let content = serde_json::to_string(&event.content).unwrap_or_default();
            let has = Description::parse(&content).is_some_and(|it| it.has_passphrase());
            let changed = if has && record.passphrase_keys.len() < MAX_KEYS {
                record.passphrase_keys.insert(id.to_owned())
            } else {
                !has && record.passphrase_keys.remove(id)
            };
            if !changed {
                return Ok(());
            }
        } else if event.kind == SecretName::BackupKey.as_str() {
            // A client of this account made a backup.
            return self.check_backup_anew(step);
        } else {
            return Ok(());
        }
        record.write(step)?;
        step.tell(Notice::StorageChanged);
        Ok(())
    }
}

/// Whether a text can be the id of a key: it becomes part of a path and of our records.
pub(super) fn is_key_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= MAX_KEY_ID
}

mod key_base64 {
    //! A storage key as unpadded base64, in a record.
    use super::{BASE64, Secret, StorageKey, Zeroizing};
    use base64::Engine as _;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(
        key: &StorageKey,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(BASE64.encode(key.bytes())))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<StorageKey, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let bytes = BASE64.decode(text.as_str()).map(Zeroizing::new).ok();
        let key = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok());
        key.map(|key| StorageKey::new(Secret::new(key)))
            .ok_or_else(|| D::Error::custom("not a storage key"))
    }
}

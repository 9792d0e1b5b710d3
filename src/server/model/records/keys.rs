//! Keys of devices and users, and messages for devices. Tags 44-54 and 60-62.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use crate::{
    matrix::{OwnedDeviceId, OwnedUserId},
    server::model::table::Table,
};

/// `(user, device)`: the identity keys of a device, as it uploaded them.
pub(crate) const DEVICE_KEYS: Table<Value> = Table::new(44);
/// `(user, device, algorithm, number)`: keys to be given out, each once, in the order of numbers.
pub(crate) const ONE_TIME_KEYS: Table<OneTimeKeyRecord> = Table::new(45);
/// `(user, device, id of the key)`: which one-time keys there are and were.
pub(crate) const ONE_TIME_KEY_IDS: Table<KeyIdRecord> = Table::new(46);
/// `(user, device, algorithm)`: what is given out when there is no one-time key.
pub(crate) const FALLBACK_KEYS: Table<FallbackKeyRecord> = Table::new(47);
/// `(user, device)`: what each sync of the device says of its one-time keys.
pub(crate) const KEY_SUPPLY: Table<KeySupply> = Table::new(48);
/// `(user, usage)`: cross-signing keys; the usage is `master`, `self_signing`, `user_signing`.
pub(crate) const CROSS_SIGNING_KEYS: Table<Value> = Table::new(49);
/// `(user, device or public key, signer, id of the signer's key)`: signatures of a key that came
/// after it.
pub(crate) const KEY_SIGNATURES: Table<String> = Table::new(50);
/// `(user, device, number)`: messages that wait for a device.
pub(crate) const TO_DEVICE: Table<ToDeviceRecord> = Table::new(51);
/// `(user, device)`: how many wait.
pub(crate) const TO_DEVICE_COUNTS: Table<u64> = Table::new(52);
/// `(user)`: how many bytes wait for all devices of somebody.
pub(crate) const TO_DEVICE_SIZES: Table<u64> = Table::new(64);
/// `(user)`: the number of the last key backup, also of one that was deleted.
pub(crate) const BACKUP_LAST: Table<u64> = Table::new(60);
/// `(user, version)`: key backups.
pub(crate) const BACKUPS: Table<BackupRecord> = Table::new(61);
/// `(user, version, room, session)`: the keys of a backup.
pub(crate) const BACKUP_KEYS: Table<BackupKeyRecord> = Table::new(62);

/// `(user)`: the device that waits while none of theirs is logged in.
pub(crate) const DEHYDRATED: Table<DehydratedRecord> = Table::new(65);

/// A device whose private keys lie here, encrypted, until its owner logs in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DehydratedRecord {
    pub(crate) device: OwnedDeviceId,
    /// As it was uploaded.
    pub(crate) data: Value,
}

/// A key backup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BackupRecord {
    pub(crate) algorithm: String,
    pub(crate) auth_data: Value,
    /// Grows when its keys change.
    pub(crate) etag: u64,
    /// How many keys it has.
    pub(crate) count: u64,
}

/// A key of a backup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BackupKeyRecord {
    pub(crate) first_message_index: u64,
    pub(crate) forwarded_count: u64,
    pub(crate) is_verified: bool,
    /// Encrypted.
    pub(crate) session_data: Value,
}

/// A one-time key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct OneTimeKeyRecord {
    /// Algorithm and id: `signed_curve25519:AAAAHQ`.
    pub(crate) id: String,
    pub(crate) key: Value,
}

/// A one-time key that is there, or was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeyIdRecord {
    /// Its place in the order of upload.
    pub(crate) number: u64,
    /// Of the key without its signatures.
    pub(crate) digest: String,
    /// Given out.
    pub(crate) is_claimed: bool,
}

/// A fallback key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct FallbackKeyRecord {
    /// Algorithm and id.
    pub(crate) id: String,
    pub(crate) key: Value,
    /// Given out, so that the device should make another.
    pub(crate) is_used: bool,
}

/// How many keys of a device are left to be given out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeySupply {
    /// One-time keys, by algorithm.
    pub(crate) one_time_keys: BTreeMap<String, u64>,
    /// Algorithms with a fallback key that was not given out yet.
    pub(crate) unused_fallback: BTreeSet<String>,
}

/// A message for a device.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ToDeviceRecord {
    pub(crate) sender: OwnedUserId,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) content: Box<RawValue>,
}

//! A device of a user: its keys, checked, and what we decided about it.
//!
//! # Spec
//! Client-Server API, "End-to-End Encryption", "Device keys".

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use vodozemac::{Curve25519PublicKey, Ed25519PublicKey};

use crate::{
    matrix::{OwnedDeviceId, OwnedUserId},
    time::Timestamp,
};

/// What we decided about a device, apart from what its owner signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LocalTrust {
    /// Nothing.
    #[default]
    Unset,
    /// It gets no keys.
    Blocked,
}

/// Whether the owner's device list still names a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Listing {
    /// It does.
    #[default]
    Listed,
    /// It did. The record stays, so that the name cannot come back with other keys.
    Deleted,
}

/// A device with a valid signature by itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Device {
    pub(super) user: OwnedUserId,
    pub(super) device_id: OwnedDeviceId,
    #[serde(with = "curve25519_base64")]
    pub(super) curve25519: Curve25519PublicKey,
    #[serde(with = "ed25519_base64")]
    pub(super) ed25519: Ed25519PublicKey,
    pub(super) algorithms: Vec<String>,
    /// The signed object as the server gave it, with all its signatures.
    pub(super) raw: Box<RawValue>,
    pub(super) first_seen: Timestamp,
    #[serde(default)]
    pub(super) trust: LocalTrust,
    #[serde(default)]
    pub(super) listing: Listing,
    /// How many Olm sessions this device began with us: what was sent to it at a lower index may
    /// be lost.
    #[serde(default)]
    pub(super) wedging_index: u32,
    /// When we told it that we find no way to it, if no session came since.
    #[serde(default)]
    pub(super) no_olm_sent: Option<Timestamp>,
    /// When we last began a new session because its messages could not be read.
    #[serde(default)]
    pub(super) unwedged: Option<Timestamp>,
}

impl Device {
    /// Whether the user forbade it to get keys.
    pub(super) fn is_blocked(&self) -> bool {
        self.trust == LocalTrust::Blocked
    }

    /// Whether its owner's list names it no more.
    pub(super) fn is_deleted(&self) -> bool {
        self.listing == Listing::Deleted
    }
}

mod curve25519_base64 {
    //! Curve25519 keys as unpadded base64.
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use vodozemac::Curve25519PublicKey;

    pub(super) fn serialize<S: Serializer>(
        key: &Curve25519PublicKey,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&key.to_base64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Curve25519PublicKey, D::Error> {
        let text = String::deserialize(deserializer)?;
        Curve25519PublicKey::from_base64(&text).map_err(D::Error::custom)
    }
}

mod ed25519_base64 {
    //! Ed25519 keys as unpadded base64.
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use vodozemac::Ed25519PublicKey;

    use crate::matrix::ed25519_from_base64;

    pub(super) fn serialize<S: Serializer>(
        key: &Ed25519PublicKey,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&key.to_base64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Ed25519PublicKey, D::Error> {
        let text = String::deserialize(deserializer)?;
        ed25519_from_base64(&text).ok_or_else(|| D::Error::custom("not an Ed25519 key"))
    }
}

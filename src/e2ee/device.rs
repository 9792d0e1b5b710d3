//! A device of a user: its keys, checked, and what we decided about it.
//!
//! # Spec
//! Client-Server API, "End-to-End Encryption", "Device keys".

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use vodozemac::{Curve25519PublicKey, Ed25519PublicKey};

use crate::{
    matrix::{CanonicalValue, OwnedDeviceId, OwnedUserId, SignedJson, ed25519_from_base64},
    time::Timestamp,
};

use super::account::OLM;

/// Largest device object that is read, in bytes; real ones have less than a thousand.
const MAX_DEVICE_BYTES: usize = 64 << 10;

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

/// What sort of device it says it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum DeviceSort {
    /// Somebody is at it, at times.
    #[default]
    Ordinary,
    /// Keys laid down at the server, for messages that come while nobody is logged in. It never
    /// sends.
    Dehydrated,
}

/// Why a device object is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadDevice {
    #[error("larger than {MAX_DEVICE_BYTES} bytes")]
    TooLarge,
    #[error("not strict JSON")]
    NotStrict,
    #[error("a name or a key is missing or malformed")]
    Incomplete,
    #[error("not signed by itself")]
    Unsigned,
    #[error("does not speak Olm")]
    NoOlm,
}

/// That a self-signing key was looked for among the signatures of a device, and what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CrossSignature {
    /// The self-signing key, unpadded base64.
    pub(super) key: String,
    /// Whether its signature is there and holds.
    pub(super) holds: bool,
}

/// A device with a valid signature by itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "`device_id` is the specification's name")]
pub(super) struct Device {
    pub(super) user: OwnedUserId,
    pub(super) device_id: OwnedDeviceId,
    #[serde(with = "curve25519_base64")]
    pub(super) curve25519: Curve25519PublicKey,
    #[serde(with = "ed25519_base64")]
    pub(super) ed25519: Ed25519PublicKey,
    pub(super) algorithms: Vec<String>,
    #[serde(default)]
    pub(super) sort: DeviceSort,
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
    /// Whether `raw` is signed by its owner's identity, as last looked at: signatures are checked
    /// once, not with each message.
    #[serde(default)]
    pub(super) cross_signature: Option<CrossSignature>,
}

impl Device {
    /// Reads a device object and checks that it is whole and signed by itself. Whose it is and
    /// under which name it stands is for the caller to compare.
    pub(super) fn check(raw: &RawValue, now: Timestamp) -> Result<Self, BadDevice> {
        if raw.get().len() > MAX_DEVICE_BYTES {
            return Err(BadDevice::TooLarge);
        }
        let json = SignedJson::parse(raw.get()).ok().ok_or(BadDevice::NotStrict)?;
        let user = json.text_at(&["user_id"]).and_then(|id| OwnedUserId::try_from(id).ok());
        let user = user.ok_or(BadDevice::Incomplete)?;
        // To-device messages for a device named `*` would go to all devices of its owner.
        let device_id = json.text_at(&["device_id"]).filter(|id| !id.is_empty() && *id != "*");
        let device_id = OwnedDeviceId::from(device_id.ok_or(BadDevice::Incomplete)?);
        let key_id = format!("ed25519:{device_id}");
        let ed25519 = json.text_at(&["keys", &key_id]).and_then(ed25519_from_base64);
        let ed25519 = ed25519.ok_or(BadDevice::Incomplete)?;
        let curve25519 = json
            .text_at(&["keys", &format!("curve25519:{device_id}")])
            .and_then(|text| Curve25519PublicKey::from_base64(text).ok())
            .ok_or(BadDevice::Incomplete)?;
        json.verify(&user, &key_id, &ed25519).ok().ok_or(BadDevice::Unsigned)?;
        let algorithms = json.object().get("algorithms").and_then(CanonicalValue::as_array);
        let algorithms: Vec<String> = algorithms
            .unwrap_or_default()
            .iter()
            .filter_map(|name| name.as_str().map(ToOwned::to_owned))
            .collect();
        if !algorithms.iter().any(|name| name == OLM) {
            return Err(BadDevice::NoOlm);
        }
        let sort = match json.object().get("dehydrated") {
            Some(CanonicalValue::Bool(true)) => DeviceSort::Dehydrated,
            _ => DeviceSort::Ordinary,
        };
        Ok(Self {
            user,
            device_id,
            curve25519,
            ed25519,
            algorithms,
            sort,
            raw: raw.to_owned(),
            first_seen: now,
            trust: LocalTrust::Unset,
            listing: Listing::Listed,
            wedging_index: 0,
            no_olm_sent: None,
            unwedged: None,
            cross_signature: None,
        })
    }

    /// Whether both keys are the same as those of `other`.
    pub(super) fn has_keys_of(&self, other: &Self) -> bool {
        self.curve25519 == other.curve25519 && self.ed25519 == other.ed25519
    }

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

//! What `keys/upload` carries: our device keys and one-time keys, signed, and the answer to it.
//!
//! # Spec
//! Client-Server API, `POST /keys/upload`; Appendices, "Signing JSON".

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use vodozemac::olm::Account;

use crate::matrix::{
    CanonicalObject, CanonicalText, CanonicalValue, DeviceId, MatrixError, UserId, sign,
};

use super::account::{MEGOLM, OLM};

/// The body of `POST /keys/upload`; in order, so that it is the same text for the same keys.
#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the names of the specification")]
pub(super) struct Upload<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) device_keys: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) one_time_keys: BTreeMap<String, CanonicalValue>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) fallback_keys: BTreeMap<String, CanonicalValue>,
}

impl Upload<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.device_keys.is_none() && self.one_time_keys.is_empty() && self.fallback_keys.is_empty()
    }
}

#[derive(Default, Deserialize)]
pub(super) struct UploadAnswer {
    #[serde(default)]
    pub(super) one_time_key_counts: BTreeMap<String, u64>,
}

/// Synapse's wording; the specification has no code for it.
pub(super) fn is_conflict(error: &MatrixError) -> bool {
    error.status == 400 && error.error.to_lowercase().contains("already exists")
}

pub(super) fn signed_device_keys(
    olm: &Account,
    user: &UserId,
    device: &DeviceId,
) -> CanonicalObject {
    let keys = olm.identity_keys();
    let text = |text: String| CanonicalValue::String(text);
    let mut object: CanonicalObject = [
        ("user_id", text(user.to_string())),
        ("device_id", text(device.to_string())),
        ("algorithms", CanonicalValue::Array(vec![OLM.into(), MEGOLM.into()])),
        (
            "keys",
            CanonicalValue::Object(CanonicalObject::from([
                (format!("curve25519:{device}"), text(keys.curve25519.to_base64())),
                (format!("ed25519:{device}"), text(keys.ed25519.to_base64())),
            ])),
        ),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect();
    sign_as_device(&mut object, olm, user, device);
    object
}

/// Device keys with the signature of our self-signing key put beside that of the device.
pub(super) fn cross_signed(
    mut keys: CanonicalObject,
    user: &UserId,
    signature: Option<&(String, String)>,
) -> String {
    if let Some((key_id, signature)) = signature
        && let Some(CanonicalValue::Object(users)) = keys.get_mut("signatures")
        && let Some(CanonicalValue::Object(ours)) = users.get_mut(user.as_str())
    {
        ours.insert(key_id.clone(), CanonicalValue::String(signature.clone()));
    }
    CanonicalText(&keys).to_string()
}

pub(super) fn sign_as_device(
    object: &mut CanonicalObject,
    olm: &Account,
    user: &UserId,
    device: &DeviceId,
) {
    sign(object, user, &format!("ed25519:{device}"), |text| olm.sign(text));
}

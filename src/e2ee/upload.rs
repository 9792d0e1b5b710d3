//! Publishing our keys: made when they are due, uploaded in one request at a time, marked as
//! published by its answer.
//!
//! ```text
//!  sync says how many are left ─▶ Generator ─▶ upload (stored, repeated byte for byte) ─▶ 200
//!                                     ▲                                                  │
//!                                     └──────────── everything marked published ◀────────┘
//! ```
//!
//! vodozemac marks *all* unpublished keys as published at once. A key made while an upload is
//! under way would be marked without ever reaching the server, so the right to make keys, the
//! [`Generator`], is given up by an upload and comes back with its answer.
//!
//! # Spec
//! Client-Server API, `POST /keys/upload`, "One-time and fallback keys"; Appendices, "Signing
//! JSON".

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use vodozemac::{Curve25519PublicKey, olm::Account};

use crate::matrix::{
    CanonicalObject, CanonicalText, CanonicalValue, DeviceId, MatrixError, UserId, sign,
};

use super::{
    account::{AccountPart, KEY_ALGORITHM, MEGOLM, NextCount, OLM},
    core::Core,
    error::MachineError,
    lookup::Table,
    request::{self, Purpose, RequestKind},
    standing::{FALLBACK_FLOOR, FallbackUse, Standing},
    step::{Step, encode_text},
    types::{Alarm, Notice},
};

/// One-time keys that should lie on the server.
const ONE_TIME_KEYS: u64 = 50;
/// How many times in a row we skip key ids that the server has already.
const MAX_CONFLICTS: u32 = 20;

/// What a `keys/upload` request published.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct UploadPurpose {
    /// Whether a fallback key was in it.
    fallback: FallbackPart,
}

/// Whether an upload carries a fallback key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FallbackPart {
    Included,
    Left,
}

/// The right to make keys; given up by an upload until its answer.
#[derive(Debug)]
pub(super) struct Generator(());

impl Generator {
    /// The right, unless an earlier run gave it up for an upload that was not answered yet.
    pub(super) fn unless_under_way(step: &Step<'_>) -> Result<Option<Self>, MachineError> {
        let is_under_way = request::records(step)?
            .iter()
            .any(|record| matches!(record.purpose, Purpose::KeysUpload(_)));
        Ok((!is_under_way).then_some(Self(())))
    }

    fn one_time_keys(&self, account: &mut Account, count: u64) {
        let Self(()) = self;
        account.generate_one_time_keys(usize::try_from(count.min(ONE_TIME_KEYS)).unwrap_or(0));
    }

    fn fallback_key(&self, account: &mut Account) {
        let Self(()) = self;
        account.generate_fallback_key();
    }
}

impl AccountPart {
    /// Makes the keys that are due and the body that uploads them; `None` when there is nothing
    /// to upload or an upload is under way.
    fn prepare_upload(
        &mut self,
        step: &mut Step<'_>,
    ) -> Result<Option<(String, UploadPurpose)>, MachineError> {
        if self.is_replaced() {
            return Ok(None);
        }
        let Some(generator) = self.generator.take() else { return Ok(None) };
        if self.olm.one_time_keys().is_empty() {
            let missing = ONE_TIME_KEYS.saturating_sub(self.state.one_time_keys);
            let granted = self.state.ration.take(missing, step.now());
            generator.one_time_keys(&mut self.olm, granted);
        }
        if self.state.is_fallback_due(step.now()) {
            generator.fallback_key(&mut self.olm);
            self.state.fallback_made = Some(step.now());
            self.state.fallback_use = FallbackUse::Unused;
            self.state.forget_previous = None;
        }
        let Some(upload) = self.upload() else {
            self.generator = Some(generator);
            return Ok(None);
        };
        // The generator is dropped here: the answer makes another.
        self.save(step)?;
        let purpose = UploadPurpose {
            fallback: if upload.fallback_keys.is_empty() {
                FallbackPart::Left
            } else {
                FallbackPart::Included
            },
        };
        Ok(Some((encode_text(Table::Request, &upload)?, purpose)))
    }

    /// What is not on the server yet.
    fn upload(&self) -> Option<Upload<'_>> {
        let device_keys = match self.state.standing {
            Standing::Unpublished | Standing::Again => Some(self.device_keys()),
            Standing::Published | Standing::PublishedAgain | Standing::Replaced => None,
        };
        let owner = (&*self.state.user, &*self.state.device);
        let PublicKeys { one_time_keys, fallback_keys } = unpublished_keys(&self.olm, owner);
        let upload = Upload { device_keys, one_time_keys, fallback_keys };
        (!upload.is_empty()).then_some(upload)
    }

    fn uploaded(
        &mut self,
        purpose: UploadPurpose,
        answer: &str,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        self.olm.mark_keys_as_published();
        self.state.conflicts = 0;
        self.state.standing = match self.state.standing {
            Standing::Unpublished => Standing::Published,
            Standing::Again => Standing::PublishedAgain,
            other @ (Standing::Published | Standing::PublishedAgain | Standing::Replaced) => other,
        };
        let counts = serde_json::from_str::<UploadAnswer>(answer).unwrap_or_default();
        self.state.one_time_keys =
            counts.one_time_key_counts.get(KEY_ALGORITHM).copied().unwrap_or(ONE_TIME_KEYS);
        if purpose.fallback == FallbackPart::Included {
            self.state.forget_previous = Some(step.now().plus(FALLBACK_FLOOR));
        }
        self.next_count = NextCount::Stale;
        self.generator = Some(Generator(()));
        self.save(step)
    }

    /// The server refused the upload for good.
    fn refused(
        &mut self,
        purpose: UploadPurpose,
        error: &MatrixError,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        if !is_conflict(error) {
            // No generator: nothing more is uploaded until the next start.
            step.tell(Notice::Alarm(Alarm::KeysRefused(error.errcode.clone())));
            return Ok(());
        }
        // Our store went back in time: the ids that we give were given before. Skip a range of
        // them; whoever claims one of the lost keys is served by a new session (unwedging).
        step.tell(Notice::Alarm(Alarm::StoreRegressed));
        self.state.conflicts = self.state.conflicts.saturating_add(1);
        let generator = Generator(());
        generator.one_time_keys(&mut self.olm, ONE_TIME_KEYS);
        self.olm.mark_keys_as_published();
        if purpose.fallback == FallbackPart::Included {
            self.state.fallback_made = None;
        }
        if self.state.conflicts <= MAX_CONFLICTS {
            self.generator = Some(generator);
        }
        self.save(step)
    }
}

impl Core {
    /// Uploads what should be on the server and is not, unless an upload is under way.
    pub(super) fn publish_keys(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        if let Some((body, purpose)) = self.account.prepare_upload(step)? {
            let call = (RequestKind::KeysUpload, ["keys", "upload"].as_slice());
            self.requests.post(call, body, Purpose::KeysUpload(purpose), step)?;
        }
        Ok(())
    }

    /// Takes the answer to an upload.
    pub(super) fn receive_upload(
        &mut self,
        purpose: UploadPurpose,
        answer: Result<&str, &MatrixError>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        match answer {
            Ok(body) => self.account.uploaded(purpose, body, step)?,
            Err(error) => {
                self.account.refused(purpose, error, step)?;
                self.publish_keys(step)?;
            }
        }
        Ok(())
    }
}

/// The body of `POST /keys/upload`; in order, so that it is the same text for the same keys.
#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the names of the specification")]
struct Upload<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    device_keys: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    one_time_keys: BTreeMap<String, CanonicalValue>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    fallback_keys: BTreeMap<String, CanonicalValue>,
}

impl Upload<'_> {
    fn is_empty(&self) -> bool {
        self.device_keys.is_none() && self.one_time_keys.is_empty() && self.fallback_keys.is_empty()
    }
}

#[derive(Default, Deserialize)]
struct UploadAnswer {
    #[serde(default)]
    one_time_key_counts: BTreeMap<String, u64>,
}

/// Synapse's wording; the specification has no code for it.
fn is_conflict(error: &MatrixError) -> bool {
    error.status == 400 && error.error.to_lowercase().contains("already exists")
}

/// Public keys with the signature of their device, by the names they have at the server.
pub(super) struct PublicKeys {
    pub(super) one_time_keys: BTreeMap<String, CanonicalValue>,
    pub(super) fallback_keys: BTreeMap<String, CanonicalValue>,
}

/// The keys of an account that were not published yet.
pub(super) fn unpublished_keys(olm: &Account, owner: (&UserId, &DeviceId)) -> PublicKeys {
    let named = |(id, key): (vodozemac::KeyId, Curve25519PublicKey), flag| {
        (format!("{KEY_ALGORITHM}:{}", id.to_base64()), signed_key(olm, owner, key, flag))
    };
    PublicKeys {
        one_time_keys: olm.one_time_keys().into_iter().map(|key| named(key, None)).collect(),
        fallback_keys: olm
            .fallback_key()
            .into_iter()
            .map(|key| named(key, Some("fallback")))
            .collect(),
    }
}

/// A one-time key with the signature of its device; `flag` is a field that is `true` inside of it.
fn signed_key(
    olm: &Account,
    (user, device): (&UserId, &DeviceId),
    key: Curve25519PublicKey,
    flag: Option<&str>,
) -> CanonicalValue {
    let mut object = CanonicalObject::new();
    object.insert("key".to_owned(), CanonicalValue::String(key.to_base64()));
    if let Some(flag) = flag {
        object.insert(flag.to_owned(), CanonicalValue::Bool(true));
    }
    sign_as_device(&mut object, olm, user, device);
    CanonicalValue::Object(object)
}

pub(super) fn signed_device_keys(
    olm: &Account,
    user: &UserId,
    device: &DeviceId,
) -> CanonicalObject {
    let mut object = unsigned_device_keys(olm, user, device);
    sign_as_device(&mut object, olm, user, device);
    object
}

/// The device object of an account, without a signature.
pub(super) fn unsigned_device_keys(
    olm: &Account,
    user: &UserId,
    device: &DeviceId,
) -> CanonicalObject {
    let keys = olm.identity_keys();
    let text = |text: String| CanonicalValue::String(text);
    [
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
    .collect()
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

//! Our Olm account: device keys, one-time keys, fallback keys, and their publication.
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
//! Client-Server API, "End-to-End Encryption", "Device keys", "One-time and fallback keys".

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use vodozemac::{
    Curve25519PublicKey, Ed25519PublicKey,
    olm::{Account, AccountPickle},
};

use crate::{
    matrix::{
        CanonicalObject, CanonicalText, CanonicalValue, DeviceId, KeyCounts, MatrixError,
        OwnedDeviceId, OwnedUserId, UserId,
    },
    time::Timestamp,
};

use super::{
    core::Core,
    error::MachineError,
    lookup::Table,
    request::{self, Purpose, RequestKind},
    step::{Step, encode, raw},
    types::{Alarm, CryptoSync, Notice},
    upload::{Upload, UploadAnswer, cross_signed, is_conflict, sign_as_device, signed_device_keys},
};

/// One-time keys that should lie on the server.
const ONE_TIME_KEYS: u64 = 50;
/// vodozemac keeps the current and the previous fallback key only: two changes in quick
/// succession lose messages that are under way.
const FALLBACK_FLOOR: Duration = Duration::from_secs(60 * 60);
const FALLBACK_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How many times in a row we skip key ids that the server has already.
const MAX_CONFLICTS: u32 = 20;
/// One-time keys made in an hour: a server that always says it has none must not keep us making
/// them. Beyond that the fallback key serves.
const KEYS_PER_WINDOW: u64 = 1_000;
const WINDOW: Duration = Duration::from_secs(60 * 60);
const KEY_ALGORITHM: &str = "signed_curve25519";

pub(super) const OLM: &str = "m.olm.v1.curve25519-aes-sha2";
pub(super) const MEGOLM: &str = "m.megolm.v1.aes-sha2";

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

/// How our device stands with the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Standing {
    /// The device keys are to be uploaded.
    #[default]
    Unpublished,
    /// They are there.
    Published,
    /// They were there, were missing in an answer, and are to be uploaded once more.
    Again,
    /// They were uploaded once more.
    PublishedAgain,
    /// The server shows other keys for this device, or none whatever we upload: the end.
    Replaced,
}

/// The account's bookkeeping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    user: OwnedUserId,
    device: OwnedDeviceId,
    created: Timestamp,
    #[serde(default)]
    standing: Standing,
    /// One-time keys on the server, last it said.
    #[serde(default)]
    one_time_keys: u64,
    /// When the current fallback key was made.
    #[serde(default)]
    fallback_made: Option<Timestamp>,
    /// Whether the server handed it out.
    #[serde(default)]
    fallback_use: FallbackUse,
    /// From when on the previous fallback key may be forgotten.
    #[serde(default)]
    forget_previous: Option<Timestamp>,
    /// Uploads in a row that the server refused because it has the key ids already.
    #[serde(default)]
    conflicts: u32,
    /// Key id and signature of our self-signing key over our device keys.
    #[serde(default)]
    cross_signature: Option<(String, String)>,
    #[serde(default)]
    ration: Ration,
}

/// How many one-time keys were made in the current window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Ration {
    since: Timestamp,
    made: u64,
}

impl Ration {
    /// Takes up to `wanted` keys out of the ration.
    fn take(&mut self, wanted: u64, now: Timestamp) -> u64 {
        if self.since > now || now.since(self.since) >= WINDOW {
            *self = Self { since: now, made: 0 };
        }
        let granted = wanted.min(KEYS_PER_WINDOW.saturating_sub(self.made));
        self.made = self.made.saturating_add(granted);
        granted
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FallbackUse {
    #[default]
    Unused,
    Used,
}

#[derive(Deserialize)]
struct Record {
    state: State,
    pickle: AccountPickle,
}

#[derive(Serialize)]
struct RecordRef<'a> {
    state: &'a State,
    pickle: AccountPickle,
}

/// The right to make keys; given up by an upload until its answer.
#[derive(Debug)]
struct Generator(());

impl Generator {
    fn one_time_keys(&self, account: &mut Account, count: u64) {
        let Self(()) = self;
        account.generate_one_time_keys(usize::try_from(count.min(ONE_TIME_KEYS)).unwrap_or(0));
    }

    fn fallback_key(&self, account: &mut Account) {
        let Self(()) = self;
        account.generate_fallback_key();
    }
}

/// Our account and what the server knows of it.
pub(super) struct AccountPart {
    olm: Account,
    state: State,
    /// `None` while an upload is under way, or after one was refused for good.
    generator: Option<Generator>,
    /// The next sync answer was asked for before the last upload was answered: its count is old.
    next_count: NextCount,
    device_keys: Box<RawValue>,
    /// The same with the signature of our self-signing key, if there is one.
    sender_device_keys: Box<RawValue>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NextCount {
    Stale,
    Good,
}

impl fmt::Debug for AccountPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountPart").field("state", &self.state).finish_non_exhaustive()
    }
}

impl AccountPart {
    /// Opens the account, or makes it: it is stored before anything of it is uploaded.
    pub(super) fn open(
        user: &UserId,
        device: &DeviceId,
        step: &mut Step<'_>,
    ) -> Result<Self, MachineError> {
        let stored = step.get::<Record>(Table::Account, "", "")?;
        let is_new = stored.is_none();
        let (olm, state) = match stored {
            Some(Record { state, pickle }) => (Account::from_pickle(pickle), state),
            None => (Account::new(), State::new(user, device, step.now())),
        };
        if state.user != *user || state.device != *device {
            return Err(MachineError::other_account(user, &state.user));
        }
        let uploading = request::records(step)?
            .iter()
            .any(|record| matches!(record.purpose, Purpose::KeysUpload(_)));
        let keys = signed_device_keys(&olm, user, device);
        let device_keys = raw(Table::Account, &CanonicalText(&keys).to_string())?;
        let sender_device_keys =
            raw(Table::Account, &cross_signed(keys, user, state.cross_signature.as_ref()))?;
        let generator = (!uploading).then_some(Generator(()));
        let next_count = NextCount::Good;
        let mut account =
            Self { olm, state, generator, next_count, device_keys, sender_device_keys };
        if is_new || account.state.not_from_the_future(step.now()) {
            account.save(step)?;
        }
        if account.is_replaced() {
            step.tell(Notice::Alarm(Alarm::OwnKeysReplaced));
        }
        Ok(account)
    }

    /// Writes the account with everything that changed in it.
    fn save(&self, step: &mut Step<'_>) -> Result<(), MachineError> {
        let record = RecordRef { state: &self.state, pickle: self.olm.pickle() };
        step.put(Table::Account, "", "", &record)
    }

    /// The Olm account, to make outbound sessions with.
    pub(super) fn olm(&self) -> &Account {
        &self.olm
    }

    /// Changes the Olm account and writes it when `change` succeeded. (An inbound session uses up
    /// a one-time key: both must be in one step.)
    pub(super) fn with_olm<T, E>(
        &mut self,
        step: &mut Step<'_>,
        change: impl FnOnce(&mut Account) -> Result<T, E>,
    ) -> Result<Result<T, E>, MachineError> {
        let outcome = change(&mut self.olm);
        if outcome.is_ok() {
            self.save(step)?;
        }
        Ok(outcome)
    }

    /// Whether our device keys are on the server: nothing is encrypted before.
    pub(super) fn is_published(&self) -> bool {
        match self.state.standing {
            Standing::Published | Standing::Again | Standing::PublishedAgain => true,
            Standing::Unpublished | Standing::Replaced => false,
        }
    }

    /// Whether a device list that the server makes from now on must name this device: not while
    /// an upload that puts it there is under way.
    pub(super) fn is_on_server(&self) -> bool {
        match self.state.standing {
            Standing::Published | Standing::PublishedAgain => true,
            Standing::Unpublished | Standing::Again | Standing::Replaced => false,
        }
    }

    /// Whether the server publishes other keys for this device: nothing is encrypted any more.
    pub(super) fn is_replaced(&self) -> bool {
        self.state.standing == Standing::Replaced
    }

    /// Our curve25519 key.
    pub(super) fn curve25519(&self) -> Curve25519PublicKey {
        self.olm.curve25519_key()
    }

    /// Our ed25519 key.
    pub(super) fn ed25519(&self) -> Ed25519PublicKey {
        self.olm.ed25519_key()
    }

    /// Our device keys, signed by themselves.
    pub(super) fn device_keys(&self) -> &RawValue {
        &self.device_keys
    }

    /// The public halves of all one-time and fallback keys that we hold the private halves of.
    #[cfg(test)]
    pub(super) fn private_key_owners(&self) -> std::collections::BTreeSet<String> {
        let pickle = serde_json::to_value(self.olm.pickle()).unwrap();
        let fallback = |name: &str| pickle["fallback_keys"][name]["key"].clone();
        let one_time = pickle["one_time_keys"]["private_keys"].as_object().unwrap().values();
        one_time
            .cloned()
            .chain([fallback("fallback_key"), fallback("previous_fallback_key")])
            .filter_map(|key| serde_json::from_value::<[u8; 32]>(key).ok())
            .map(|key| vodozemac::Curve25519SecretKey::from_slice(&key))
            .map(|key| Curve25519PublicKey::from(&key).to_base64())
            .collect()
    }

    /// Our device keys with every signature that helps others to know them; goes into messages.
    pub(super) fn sender_device_keys(&self) -> &RawValue {
        &self.sender_device_keys
    }

    /// Our self-signing key signed this device; the caller checked it.
    pub(super) fn set_cross_signature(
        &mut self,
        key_id: String,
        signature: String,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let signature = Some((key_id, signature));
        if self.state.cross_signature == signature {
            return Ok(());
        }
        self.state.cross_signature = signature;
        let keys = signed_device_keys(&self.olm, &self.state.user, &self.state.device);
        self.sender_device_keys = raw(
            Table::Account,
            &cross_signed(keys, &self.state.user, self.state.cross_signature.as_ref()),
        )?;
        self.save(step)
    }

    /// One-time keys on the server, last it said.
    pub(super) fn one_time_keys(&self) -> u64 {
        self.state.one_time_keys
    }

    /// When keys must be looked at again without an event from outside.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let may_make = self.generator.is_some() && !self.is_replaced();
        let made = self.state.fallback_made.filter(|_| may_make)?;
        Some(made.plus(self.state.fallback_life()))
    }

    /// Takes what a sync answer says about our keys.
    pub(super) fn receive_counts(
        &mut self,
        sync: &CryptoSync<'_>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let before = self.state.clone();
        let is_stale = std::mem::replace(&mut self.next_count, NextCount::Good) == NextCount::Stale;
        let count = match sync.key_counts {
            KeyCounts::Absolute(count) => Some(count),
            KeyCounts::Changed(count) => count,
        };
        if let Some(count) = count.filter(|_| !is_stale && self.generator.is_some()) {
            self.state.one_time_keys = count;
        }
        if let Some(unused) = sync.unused_fallback_keys.filter(|_| !is_stale) {
            let is_used = !unused.iter().any(|algorithm| algorithm == KEY_ALGORITHM);
            self.state.fallback_use = if is_used { FallbackUse::Used } else { FallbackUse::Unused };
        }
        let may_forget = self.state.forget_previous.is_some_and(|at| at <= step.now());
        if may_forget && sync.to_device.is_empty() {
            self.state.forget_previous = None;
            self.olm.forget_fallback_key();
        }
        if before == self.state { Ok(()) } else { self.save(step) }
    }

    /// The server named a device with our id: `Some` with its keys, `None` when it named none.
    pub(super) fn check_listed(
        &mut self,
        listed: Option<(Curve25519PublicKey, Ed25519PublicKey)>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let is_ours = listed.map(|keys| keys == (self.curve25519(), self.ed25519()));
        let next = match (is_ours, self.state.standing) {
            (_, Standing::Replaced) | (None, Standing::Unpublished | Standing::Again) => {
                return Ok(());
            }
            (Some(true), Standing::PublishedAgain) => Standing::Published,
            (Some(true), _) => return Ok(()),
            (Some(false), _) | (None, Standing::PublishedAgain) => Standing::Replaced,
            (None, Standing::Published) => Standing::Again,
        };
        self.state.standing = next;
        if next == Standing::Replaced {
            step.tell(Notice::Alarm(Alarm::OwnKeysReplaced));
        }
        self.save(step)
    }

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
        Ok(Some((encode(Table::Request, &upload)?, purpose)))
    }

    /// What is not on the server yet.
    fn upload(&self) -> Option<Upload<'_>> {
        let device_keys = match self.state.standing {
            Standing::Unpublished | Standing::Again => Some(self.device_keys()),
            Standing::Published | Standing::PublishedAgain | Standing::Replaced => None,
        };
        let named = |(id, key): (vodozemac::KeyId, Curve25519PublicKey), extra| {
            (format!("{KEY_ALGORITHM}:{}", id.to_base64()), self.signed_key(key, extra))
        };
        let one_time_keys: BTreeMap<_, _> =
            self.olm.one_time_keys().into_iter().map(|key| named(key, None)).collect();
        let fallback_keys: BTreeMap<_, _> =
            self.olm.fallback_key().into_iter().map(|key| named(key, Some("fallback"))).collect();
        let upload = Upload { device_keys, one_time_keys, fallback_keys };
        (!upload.is_empty()).then_some(upload)
    }

    /// A one-time key with our signature; `flag` is a field that is `true` inside of it.
    fn signed_key(&self, key: Curve25519PublicKey, flag: Option<&str>) -> CanonicalValue {
        let mut object = CanonicalObject::new();
        object.insert("key".to_owned(), CanonicalValue::String(key.to_base64()));
        if let Some(flag) = flag {
            object.insert(flag.to_owned(), CanonicalValue::Bool(true));
        }
        sign_as_device(&mut object, &self.olm, &self.state.user, &self.state.device);
        CanonicalValue::Object(object)
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

impl State {
    fn new(user: &UserId, device: &DeviceId, now: Timestamp) -> Self {
        Self {
            user: user.to_owned(),
            device: device.to_owned(),
            created: now,
            standing: Standing::Unpublished,
            one_time_keys: 0,
            fallback_made: None,
            fallback_use: FallbackUse::Unused,
            forget_previous: None,
            conflicts: 0,
            cross_signature: None,
            ration: Ration::default(),
        }
    }

    /// Brings times that lie ahead back to now: the clock was set back since, and no key may wait
    /// for it to catch up. Whether there were any.
    fn not_from_the_future(&mut self, now: Timestamp) -> bool {
        let before = (self.fallback_made, self.forget_previous);
        self.fallback_made = self.fallback_made.map(|at| at.min(now));
        self.forget_previous = self.forget_previous.map(|at| at.min(now.plus(FALLBACK_FLOOR)));
        before != (self.fallback_made, self.forget_previous)
    }

    fn fallback_life(&self) -> Duration {
        match self.fallback_use {
            FallbackUse::Unused => FALLBACK_AGE,
            FallbackUse::Used => FALLBACK_FLOOR,
        }
    }

    fn is_fallback_due(&self, now: Timestamp) -> bool {
        self.fallback_made.is_none_or(|made| now.since(made) >= self.fallback_life())
    }
}

impl Core {
    /// Uploads what should be on the server and is not, unless an upload is under way.
    pub(super) fn publish_keys(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        if let Some((body, purpose)) = self.account.prepare_upload(step)? {
            self.requests.post(
                RequestKind::KeysUpload,
                body,
                Purpose::KeysUpload(purpose),
                step,
            )?;
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

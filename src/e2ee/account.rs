//! Our Olm account: the keys of this device, and what the server and we know of each other's.
//!
//! # Spec
//! Client-Server API, "End-to-End Encryption", "Device keys".

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use vodozemac::{
    Curve25519PublicKey, Ed25519PublicKey,
    olm::{Account, AccountPickle},
};

use crate::{
    matrix::{CanonicalObject, CanonicalText, DeviceId, KeyCounts, UserId},
    time::Timestamp,
};

use super::{
    error::MachineError,
    lookup::Table,
    standing::{FallbackUse, Standing, State},
    step::{Step, raw},
    types::{Alarm, CryptoSync, Notice},
    upload::{Generator, cross_signed, sign_as_device, signed_device_keys},
};

pub(super) const KEY_ALGORITHM: &str = "signed_curve25519";
pub(super) const OLM: &str = "m.olm.v1.curve25519-aes-sha2";
pub(super) const MEGOLM: &str = "m.megolm.v1.aes-sha2";

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

/// Our account and what the server knows of it.
pub(super) struct AccountPart {
    pub(super) olm: Account,
    pub(super) state: State,
    /// `None` while an upload is under way, or after one was refused for good.
    pub(super) generator: Option<Generator>,
    pub(super) next_count: NextCount,
    device_keys: Box<RawValue>,
    /// The same with the signature of our self-signing key, if there is one.
    sender_device_keys: Box<RawValue>,
}

/// Whether the key counts of the next sync answer can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextCount {
    /// It was asked for before the last upload was answered.
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
        let keys = signed_device_keys(&olm, user, device);
        let device_keys = raw(Table::Account, &CanonicalText(&keys).to_string())?;
        let sender_device_keys =
            raw(Table::Account, &cross_signed(keys, user, state.cross_signature.as_ref()))?;
        let generator = Generator::unless_under_way(step)?;
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
    pub(super) fn save(&self, step: &mut Step<'_>) -> Result<(), MachineError> {
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

    /// When this device was made.
    pub(super) fn created(&self) -> Timestamp {
        self.state.created
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

    /// Signs an object as this device.
    pub(super) fn sign(&self, object: &mut CanonicalObject) {
        sign_as_device(object, &self.olm, &self.state.user, &self.state.device);
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
}

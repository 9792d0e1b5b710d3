//! Answers of `keys/query`: device lists and identities, checked entry by entry.
//!
//! # Spec
//! Client-Server API, `POST /keys/query`, "Device keys".

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::matrix::{OwnedDeviceId, SignedJson, UserId, ed25519_from_base64};

use super::{
    core::Core,
    cross_signing::{Shown, is_verified_master},
    device::{Device, DeviceSort, Listing},
    devices::find_device,
    error::MachineError,
    identity::{Identity, IdentityJson, Looked},
    lookup::Table,
    step::Step,
    tracking::OwnDevice,
    types::{Alarm, Notice},
};

/// Devices of one user that are read; the rest of a longer list is not there for us.
const MAX_DEVICES: usize = 1_000;

/// Devices of one user that are remembered after they went, the first seen first: the server must
/// not fill the store with ever new ones.
const MAX_GONE: usize = 1_000;

type Objects = BTreeMap<String, Box<RawValue>>;

/// The parts of an answer, entries still raw.
#[derive(Deserialize)]
pub(super) struct Answer {
    #[serde(default)]
    device_keys: Objects,
    #[serde(default)]
    failures: Objects,
    #[serde(default)]
    master_keys: Objects,
    #[serde(default)]
    self_signing_keys: Objects,
    #[serde(default)]
    user_signing_keys: Objects,
}

impl Answer {
    pub(super) fn parse(body: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(body)
    }

    /// Whether our server could not reach `server`.
    pub(super) fn is_failed(&self, server: &str) -> bool {
        self.failures.contains_key(server)
    }

    /// The identity of `user`, if the answer shows a set.
    fn identity(&self, user: &UserId) -> Option<IdentityJson<'_>> {
        Some(IdentityJson {
            master: self.master_keys.get(user.as_str())?,
            self_signing: self.self_signing_keys.get(user.as_str())?,
            user_signing: self.user_signing_keys.get(user.as_str()).map(AsRef::as_ref),
        })
    }

    /// Whether the answer shows cross-signing keys of `user`, well formed or not.
    pub(super) fn shows_identity(&self, user: &UserId) -> Shown {
        let shows = |keys: &Objects| keys.contains_key(user.as_str());
        if shows(&self.master_keys) || shows(&self.self_signing_keys) {
            Shown::Something
        } else {
            Shown::Nothing
        }
    }

    /// The devices of `user` by name; `None` when their list is no object.
    fn devices(&self, user: &UserId) -> Option<Objects> {
        match self.device_keys.get(user.as_str()) {
            Some(raw) => serde_json::from_str::<Objects>(raw.get()).ok(),
            None => Some(Objects::new()),
        }
    }
}

impl Core {
    /// Takes the list of `user`: new devices are added, missing ones become deleted, changed keys
    /// are refused. Gives the number of devices listed.
    pub(super) fn receive_list(
        &mut self,
        user: &UserId,
        answer: &Answer,
        own_device: OwnDevice,
        step: &mut Step<'_>,
    ) -> Result<usize, MachineError> {
        let Some(listed) = answer.devices(user) else { return Ok(0) };
        let identity = self.receive_identity(user, (answer, &listed), step)?;
        if *user == *self.user && own_device == OwnDevice::Expected {
            let ours = listed.get(self.device.as_str()).map(|raw| keys_of(raw, &self.device));
            self.account.check_listed(ours.flatten(), step)?;
        }
        let mut known: BTreeMap<OwnedDeviceId, Device> = step
            .scan::<Device>(Table::Device, Some(user.as_str()))?
            .into_iter()
            .map(|(_, device)| (device.device_id.clone(), device))
            .collect();
        let before = self.device_changes();
        let mut count = 0;
        for (name, raw) in listed.iter().take(MAX_DEVICES) {
            // Left among the known ones it becomes deleted.
            if identity.as_ref().is_some_and(|identity| identity.has_key_named(name)) {
                continue;
            }
            let old = known.remove(name.as_str());
            let Some(device) = self.check_listed_device(user, name, raw, step) else { continue };
            count += 1;
            self.receive_device((device, identity.as_ref()), old, step)?;
        }
        if *user == *self.user {
            self.note_cross_signature(identity.as_ref(), step)?;
        }
        self.receive_gone(known.into_values().collect(), step)?;
        if before != self.device_changes() {
            step.tell(Notice::DevicesChanged(vec![user.to_owned()]));
        }
        Ok(count)
    }

    /// Keeps the devices that a list does not name any more, up to a bound: a device that comes
    /// again must have the keys it had. A blocked one is never forgotten.
    fn receive_gone(
        &mut self,
        mut gone: Vec<Device>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        gone.sort_by_key(|device| (!device.is_blocked(), device.first_seen));
        for (place, mut device) in gone.into_iter().enumerate() {
            if MAX_GONE <= place && !device.is_blocked() {
                self.tracker.note_change();
                self.tracker.note_gone(&device.user);
                step.delete(Table::Device, device.user.as_str(), device.device_id.as_str());
            } else if !device.is_deleted() {
                device.listing = Listing::Deleted;
                self.tracker.note_gone(&device.user);
                self.put_device(&device, step)?;
            }
        }
        Ok(())
    }

    /// Keeps the signature by which our own identity vouches for this device.
    pub(super) fn note_cross_signature(
        &mut self,
        identity: Option<&Identity>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let ours = find_device(&self.user, &self.device, step)?;
        let Some((identity, ours)) = identity.zip(ours) else { return Ok(()) };
        let key_id = format!("ed25519:{}", identity.self_signing_key);
        let json = SignedJson::parse(ours.raw.get()).ok().filter(|_| identity.signs(&ours));
        let path = ["signatures", self.user.as_str(), &key_id];
        let signature = json.and_then(|json| json.text_at(&path).map(ToOwned::to_owned));
        match signature {
            Some(signature) => self.account.set_cross_signature(key_id, signature, step),
            None => Ok(()),
        }
    }

    /// A device object that stands where it belongs.
    fn check_listed_device(
        &self,
        user: &UserId,
        name: &str,
        raw: &RawValue,
        step: &Step<'_>,
    ) -> Option<Device> {
        let device = Device::check(raw, step.now()).ok()?;
        let is_in_place = device.user == *user && device.device_id.as_str() == name;
        let is_us = *user == *self.user && device.device_id == self.device;
        let takes_our_key = device.curve25519 == self.account.curve25519() && !is_us;
        (is_in_place && !takes_our_key).then_some(device)
    }

    /// Takes a checked device over what was known under its name.
    fn receive_device(
        &mut self,
        (mut device, identity): (Device, Option<&Identity>),
        old: Option<Device>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let is_ours = device.user == self.user;
        let Some(mut old) = old else {
            if let Some(identity) = identity {
                identity.look_at(&mut device);
            }
            let is_new = device.device_id != self.device && self.tracker.was_answered(&device.user);
            if is_ours && is_new && !waits_for_us(&device, identity, step)? {
                step.tell(Notice::Alarm(Alarm::NewOwnDevice(device.device_id.clone())));
            }
            return self.put_device(&device, step);
        };
        if !device.has_keys_of(&old) {
            if !(is_ours && device.device_id == self.device) {
                let (user, device) = (device.user, device.device_id);
                step.tell(Notice::Alarm(Alarm::DeviceKeysChanged { user, device }));
            }
            return Ok(());
        }
        if device.raw.get() == old.raw.get() && !old.is_deleted() {
            let looked = identity.map_or(Looked::Before, |identity| identity.look_at(&mut old));
            return if looked == Looked::Now { self.put_device(&old, step) } else { Ok(()) };
        }
        if let Some(identity) = identity {
            identity.look_at(&mut device);
        }
        device.first_seen = old.first_seen;
        device.trust = old.trust;
        device.wedging_index = old.wedging_index;
        device.no_olm_sent = old.no_olm_sent;
        device.unwedged = old.unwedged;
        self.put_device(&device, step)
    }

    /// Takes the identity of `user` if it is whole, keeps the old one if not.
    fn receive_identity(
        &mut self,
        user: &UserId,
        (answer, listed): (&Answer, &Objects),
        step: &mut Step<'_>,
    ) -> Result<Option<Identity>, MachineError> {
        let known = step.get::<Identity>(Table::Identity, user.as_str(), "")?;
        let checked = answer
            .identity(user)
            .and_then(|json| Identity::check(user, json, known.as_ref(), step.now()).ok());
        let Some(mut identity) = checked.or_else(|| known.clone()) else { return Ok(None) };
        identity.note_names(listed.keys());
        if known.is_none_or(|known| !known.is_same(&identity)) {
            if *user == *self.user {
                self.own_identity_shown(&mut identity, step)?;
            }
            self.put_identity(identity.clone(), step)?;
        }
        Ok(Some(identity))
    }
}

/// Whether a device of our own is one that our verified identity laid down for the next login.
fn waits_for_us(
    device: &Device,
    identity: Option<&Identity>,
    step: &Step<'_>,
) -> Result<bool, MachineError> {
    let Some(identity) = identity.filter(|_| device.sort == DeviceSort::Dehydrated) else {
        return Ok(false);
    };
    Ok(identity.signs(device) && is_verified_master(identity, step)?)
}

/// The keys of a listed object, valid or not: a wrong object under our name must not pass for no
/// object.
fn keys_of(
    raw: &RawValue,
    device: &crate::matrix::DeviceId,
) -> Option<(vodozemac::Curve25519PublicKey, vodozemac::Ed25519PublicKey)> {
    let json = SignedJson::parse(raw.get()).ok()?;
    let curve25519 = json.text_at(&["keys", &format!("curve25519:{device}")])?;
    let ed25519 = json.text_at(&["keys", &format!("ed25519:{device}")])?;
    let curve25519 = vodozemac::Curve25519PublicKey::from_base64(curve25519).ok()?;
    Some((curve25519, ed25519_from_base64(ed25519)?))
}

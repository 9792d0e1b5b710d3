//! Signatures: of our identity over this device, of this device over our master key, of our
//! identity over other devices of ours and over other people.
//!
//! # Spec
//! Client-Server API, `POST /keys/signatures/upload`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::record::{OwnRecord, identity};
use crate::{
    e2ee::{
        Machine, MachineError,
        core::Core,
        device::Device,
        devices::find_device,
        lookup::Table,
        request::{Purpose, RequestKind},
        step::{Step, encode_text, raw},
    },
    matrix::{
        CanonicalObject, CanonicalText, CanonicalValue, DeviceId, MatrixError, OwnedUserId,
        SignedJson, UserId, ed25519_from_base64,
    },
};

/// How often a signature that the server does not take is made again in one run.
const MAX_FAILURES: u32 = 5;

/// What a `signatures/upload` request is for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::e2ee) enum SignaturesPurpose {
    /// Our identity over this device, this device over our identity.
    Ourselves,
    /// Another device of ours, or another user.
    Others,
}

/// What came of signing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::e2ee) enum Signed {
    /// The signature is made and on its way.
    Yes,
    /// The key that was to be signed is not the one that is shown now, or could be taken for
    /// another.
    NotCurrent,
    /// Our identity is not verified here, or the private key that signs is not.
    NoKey,
}

/// Objects to sign, by user and name.
type Objects = BTreeMap<OwnedUserId, BTreeMap<String, Box<RawValue>>>;

/// The part of the answer that says what was not taken.
#[derive(Default, Deserialize)]
struct Answer {
    #[serde(default)]
    failures: BTreeMap<String, BTreeMap<String, Box<RawValue>>>,
}

impl Machine {
    /// Our identity vouches for `user`, whose master key was compared. Verified from now on.
    pub(in crate::e2ee) fn sign_user(
        &mut self,
        user: &UserId,
        master_key: &str,
        step: &mut Step<'_>,
    ) -> Result<Signed, MachineError> {
        let core = &mut self.core;
        let Some(mut shown) = identity(user, step)? else { return Ok(Signed::NotCurrent) };
        if shown.master_key != master_key || shown.is_confused() || *user == *core.user {
            return Ok(Signed::NotCurrent);
        }
        let record = OwnRecord::read(step)?;
        let own = identity(&core.user, step)?.filter(|own| record.verifies(own));
        let (Some(_), Some(seed)) = (own, &record.keys.user_signing) else {
            return Ok(Signed::NoKey);
        };
        let Ok(mut object) = CanonicalValue::parse_object(shown.master.get()) else {
            return Ok(Signed::NotCurrent);
        };
        seed.sign(&mut object, &core.user);
        let path = ["signatures", core.user.as_str(), &format!("ed25519:{}", seed.public())];
        let text = CanonicalText(&object).to_string();
        let signed = SignedJson::parse(&text).ok();
        shown.our_signature = signed.and_then(|it| it.text_at(&path).map(ToOwned::to_owned));
        core.put_identity(shown, step)?;
        let object = BTreeMap::from([(master_key.to_owned(), raw(Table::Identity, &text)?)]);
        let objects = Objects::from([(user.to_owned(), object)]);
        core.upload_signatures(&objects, SignaturesPurpose::Others, step)?;
        Ok(Signed::Yes)
    }

    /// Our identity vouches for a device of ours, whose key was compared.
    pub(in crate::e2ee) fn sign_own_device(
        &mut self,
        device: &DeviceId,
        ed25519: &str,
        step: &mut Step<'_>,
    ) -> Result<Signed, MachineError> {
        let core = &mut self.core;
        let device = find_device(&core.user, device, step)?;
        let device = device.filter(|it| it.ed25519.to_base64() == ed25519 && !it.is_deleted());
        let Some(device) = device else { return Ok(Signed::NotCurrent) };
        let Some(signed) = core.signed_device(&device, step)? else { return Ok(Signed::NoKey) };
        let object = BTreeMap::from([(device.device_id.to_string(), signed)]);
        let objects = Objects::from([(core.user.clone(), object)]);
        core.upload_signatures(&objects, SignaturesPurpose::Others, step)?;
        Ok(Signed::Yes)
    }

    /// Signs an object as our master key and as this device, for the key backup; the master key's
    /// signature is left out when its private half is not here.
    pub(in crate::e2ee) fn sign_with_master(
        &self,
        object: &mut CanonicalObject,
        step: &Step<'_>,
    ) -> Result<(), MachineError> {
        let core = &self.core;
        core.account.sign(object);
        let record = OwnRecord::read(step)?;
        let own = identity(&core.user, step)?.filter(|own| record.verifies(own));
        if let (Some(_), Some(seed)) = (own, &record.keys.master) {
            seed.sign(object, &core.user);
        }
        Ok(())
    }

    /// Whether our verified master key, this device, or a device that our verified identity signed
    /// made a signature of `json`.
    pub(in crate::e2ee) fn verify_signed_by_own_master_or_device(
        &self,
        json: &SignedJson,
        step: &Step<'_>,
    ) -> Result<bool, MachineError> {
        let core = &self.core;
        let ours = format!("ed25519:{}", core.device);
        if json.verify(&core.user, &ours, &core.account.ed25519()).is_ok() {
            return Ok(true);
        }
        let record = OwnRecord::read(step)?;
        let Some(own) = identity(&core.user, step)?.filter(|own| record.verifies(own)) else {
            return Ok(false);
        };
        let master = ed25519_from_base64(&own.master_key);
        let id = format!("ed25519:{}", own.master_key);
        if master.is_some_and(|key| json.verify(&core.user, &id, &key).is_ok()) {
            return Ok(true);
        }
        let devices = crate::e2ee::devices::devices_of(&core.user, step)?;
        Ok(devices.iter().filter(|device| own.signs(device)).any(|device| {
            let id = format!("ed25519:{}", device.device_id);
            json.verify(&core.user, &id, &device.ed25519).is_ok()
        }))
    }
}

impl Core {
    /// A device object with the signature of our self-signing key; `None` without the key, or
    /// while our identity is not verified here.
    fn signed_device(
        &self,
        device: &Device,
        step: &Step<'_>,
    ) -> Result<Option<Box<RawValue>>, MachineError> {
        let Ok(object) = CanonicalValue::parse_object(device.raw.get()) else {
            return Ok(None);
        };
        self.sign_device_keys((&device.device_id, object), step)
    }

    /// The device keys of a device of ours with the signature of our self-signing key; `None`
    /// without the key, or while our identity is not verified here.
    pub(in crate::e2ee) fn sign_device_keys(
        &self,
        (device, mut object): (&DeviceId, CanonicalObject),
        step: &Step<'_>,
    ) -> Result<Option<Box<RawValue>>, MachineError> {
        let record = OwnRecord::read(step)?;
        let own = identity(&self.user, step)?.filter(|own| record.verifies(own));
        let (Some(own), Some(seed)) = (own, &record.keys.self_signing) else { return Ok(None) };
        if seed.public() != own.self_signing_key || own.has_key_named(device.as_str()) {
            return Ok(None);
        }
        seed.sign(&mut object, &self.user);
        raw(Table::Device, &CanonicalText(&object).to_string()).map(Some)
    }

    /// Makes the signatures by which this device and our identity belong together, as far as they
    /// are missing and nothing is under way. Does nothing before this device verified it.
    pub(in crate::e2ee) fn sign_ourselves(
        &mut self,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let record = OwnRecord::read(step)?;
        let own = identity(&self.user, step)?.filter(|own| record.verifies(own));
        let Some(own) = own else { return Ok(()) };
        if MAX_FAILURES <= self.cross_signing.failures
            || !self.account.is_published()
            || Machine::is_signing(step)?
        {
            return Ok(());
        }
        let mut objects = BTreeMap::new();
        let device = match find_device(&self.user, &self.device, step)? {
            Some(device) => Some(device),
            None => Device::check(self.account.device_keys(), step.now()).ok(),
        };
        if let Some(device) = device.filter(|device| !own.signs(device))
            && let Some(signed) = self.signed_device(&device, step)?
        {
            objects.insert(device.device_id.to_string(), signed);
        }
        let id = format!("ed25519:{}", self.device);
        let master = SignedJson::parse(own.master.get()).ok();
        let lacks = |it: &SignedJson| it.verify(&self.user, &id, &self.account.ed25519()).is_err();
        if master.as_ref().is_some_and(lacks)
            && let Ok(mut object) = CanonicalValue::parse_object(own.master.get())
        {
            self.account.sign(&mut object);
            let text = CanonicalText(&object).to_string();
            objects.insert(own.master_key.clone(), raw(Table::Identity, &text)?);
        }
        if objects.is_empty() {
            return Ok(());
        }
        let objects = Objects::from([(self.user.clone(), objects)]);
        self.upload_signatures(&objects, SignaturesPurpose::Ourselves, step)
    }

    fn upload_signatures(
        &mut self,
        objects: &Objects,
        purpose: SignaturesPurpose,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let body = encode_text(Table::Request, objects)?;
        let call = (RequestKind::SignaturesUpload, ["keys", "signatures", "upload"]);
        self.requests.post((call.0, &call.1), body, Purpose::Signatures(purpose), step)?;
        Ok(())
    }

    /// Takes the answer to signatures: those that were taken are put into the objects they are of;
    /// where one was not, the list is asked for anew, because ours is old.
    pub(in crate::e2ee) fn receive_signatures(
        &mut self,
        (purpose, body): (SignaturesPurpose, &str),
        answer: Result<&str, &MatrixError>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let objects = serde_json::from_str::<Objects>(body).unwrap_or_default();
        let answer: Option<Answer> = answer.ok().and_then(|text| serde_json::from_str(text).ok());
        let taken = |user: &UserId, name: &str| {
            answer.as_ref().is_some_and(|answer| {
                !answer.failures.get(user.as_str()).is_some_and(|of| of.contains_key(name))
            })
        };
        for (user, objects) in &objects {
            let mut failed = false;
            for (name, object) in objects {
                if taken(user, name) {
                    self.take_signed(user, name, object, step)?;
                } else {
                    failed = true;
                }
            }
            if failed {
                self.cross_signing.failures += 1;
                tracing::warn!(?purpose, "the server did not take a signature");
                self.call_into_question(user, step)?;
            }
        }
        let own = objects.get(&self.user);
        if own.is_some_and(|own| own.contains_key(self.device.as_str())) {
            return Ok(());
        }
        // The key that signs this device may have come in while these were under way.
        self.sign_ourselves(step)
    }

    /// The server has `object`, signed: it is what the next list will show.
    fn take_signed(
        &mut self,
        user: &UserId,
        name: &str,
        object: &RawValue,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        if let Some(mut device) = find_device(user, <&DeviceId>::from(name), step)?
            && *user == *self.user
        {
            device.raw = object.to_owned();
            device.cross_signature = None;
            self.put_device(&device, step)?;
            let own = identity(user, step)?;
            if device.device_id == self.device {
                self.note_cross_signature(own.as_ref(), step)?;
            }
            step.tell(crate::e2ee::Notice::OwnIdentity);
            return Ok(());
        }
        let Some(mut shown) = identity(user, step)? else { return Ok(()) };
        if shown.master_key == name {
            shown.master = object.to_owned();
            self.put_identity(shown, step)?;
        }
        Ok(())
    }
}

//! Our own identity as the server shows it: whether it is ours to use, what to do when it is not
//! what it was, and private keys that come in from elsewhere.

use serde::{Deserialize, Serialize};

use super::{
    keys::{SecretName, Seed},
    record::{How, OwnRecord, Setup, identity},
};
use crate::{
    e2ee::{
        Machine, MachineError,
        core::Core,
        device::{Device, DeviceSort},
        devices::{devices_of, find_device},
        identity::Identity,
        request::{self, Purpose},
        step::Step,
        types::{Alarm, KnownDevice, Notice},
    },
    matrix::UserId,
    secret::Secret,
};

/// How our own identity stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum OwnIdentity {
    /// The account shows none.
    None,
    /// The account has one, which this device did not verify: recover or verify.
    Theirs,
    /// This device verified it.
    Verified {
        /// Whether the private master key is here.
        has_master: bool,
        /// Whether the key that signs our devices is here.
        has_self_signing: bool,
        /// Whether the key that signs other users is here.
        has_user_signing: bool,
    },
}

/// What became of a secret that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::e2ee) enum Imported {
    /// It fits, and is kept.
    Kept,
    /// It does not fit what the server shows; it is not kept.
    DoesNotFit,
    /// There is nothing it could fit.
    NothingToFit,
    /// The server must be asked first what it could fit; until then it is kept in memory only.
    Asked,
}

/// Whether an answer of the server shows an identity of ours, well formed or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::e2ee) enum Shown {
    Something,
    Nothing,
}

impl Machine {
    /// Whether an identity of ours, or signatures of it, are under way.
    ///
    /// # Errors
    /// When the store fails.
    pub fn is_identity_under_way(&self, step: &Step<'_>) -> Result<bool, MachineError> {
        Ok(self.is_setting_up(step)? || Self::is_signing(step)?)
    }

    /// How our own identity stands.
    ///
    /// # Errors
    /// When the store fails.
    pub fn own_identity(&self, step: &Step<'_>) -> Result<OwnIdentity, MachineError> {
        let Some(own) = identity(&self.core.user, step)? else { return Ok(OwnIdentity::None) };
        let record = OwnRecord::read(step)?;
        if !record.verifies(&own) {
            return Ok(OwnIdentity::Theirs);
        }
        Ok(OwnIdentity::Verified {
            has_master: record.keys.master.is_some(),
            has_self_signing: record.keys.self_signing.is_some(),
            has_user_signing: record.keys.user_signing.is_some(),
        })
    }

    /// Whether our own identity signed this device.
    ///
    /// # Errors
    /// When the store fails.
    pub fn is_cross_signed(&self, step: &Step<'_>) -> Result<bool, MachineError> {
        let own = identity(&self.core.user, step)?;
        let device = find_device(&self.core.user, &self.core.device, step)?;
        Ok(own.zip(device).is_some_and(|(own, device)| own.signs(&device)))
    }

    /// The devices that the list of `user` names.
    ///
    /// # Errors
    /// When the store fails.
    pub fn known_devices(
        &self,
        user: &UserId,
        step: &Step<'_>,
    ) -> Result<Vec<KnownDevice>, MachineError> {
        let signer = identity(user, step)?;
        let own = *user == self.core.user;
        let record = OwnRecord::read(step)?;
        let signer = signer.filter(|it| !own || record.verifies(it));
        let devices = devices_of(user, step)?;
        let waits = |device: &Device| device.sort == DeviceSort::Dehydrated;
        // Nobody has two; who lists them wants one overlooked.
        let one_waits = devices.iter().filter(|it| waits(it)).count() == 1;
        let known = devices.into_iter().map(|device| {
            let cross_signed = signer.as_ref().is_some_and(|it| it.signs(&device));
            KnownDevice {
                ed25519: Some(device.ed25519.to_base64()),
                cross_signed,
                blocked: device.is_blocked(),
                dehydrated: one_waits && cross_signed && waits(&device),
                device_id: device.device_id,
            }
        });
        Ok(known.collect())
    }

    /// Whether signatures of ours are on their way.
    pub(in crate::e2ee) fn is_signing(step: &Step<'_>) -> Result<bool, MachineError> {
        let records = request::records(step)?;
        Ok(records.iter().any(|it| matches!(it.purpose, Purpose::Signatures(_))))
    }

    /// A private key of ours, to be kept elsewhere; those that sign nothing are not here.
    #[expect(clippy::unused_self, reason = "the machine is who has it, wherever it is kept")]
    pub(in crate::e2ee) fn signing_secret(
        &self,
        name: SecretName,
        step: &Step<'_>,
    ) -> Result<Option<Secret<[u8; 32]>>, MachineError> {
        let mut keys = OwnRecord::read(step)?.keys;
        Ok(keys.place(name).and_then(|place| place.as_ref().map(Seed::secret)))
    }

    /// Takes a private key from secret storage or another device of ours. It is kept only if it
    /// fits the public key that the server shows; a master key that fits makes our identity
    /// verified.
    pub(in crate::e2ee) fn import_signing_secret(
        &mut self,
        name: SecretName,
        secret: &Secret<[u8; 32]>,
        step: &mut Step<'_>,
    ) -> Result<Imported, MachineError> {
        let Some(own) = identity(&self.core.user, step)? else {
            return Ok(Imported::NothingToFit);
        };
        let public = match name {
            SecretName::Master => Some(&own.master_key),
            SecretName::SelfSigning => Some(&own.self_signing_key),
            SecretName::UserSigning => own.user_signing_key.as_ref(),
            SecretName::BackupKey | SecretName::DehydratedDevice => None,
        };
        let mut record = OwnRecord::read(step)?;
        let (Some(public), Some(place)) = (public, record.keys.place(name)) else {
            return Ok(Imported::NothingToFit);
        };
        let seed = Seed::of(secret);
        if seed.public() != *public {
            return Ok(Imported::DoesNotFit);
        }
        *place = Some(seed);
        record.write(step)?;
        if name == SecretName::Master {
            self.verify_own_master(&own.master_key, step)?;
        }
        self.core.sign_ourselves(step)?;
        Ok(Imported::Kept)
    }

    /// This device verified our own master key, by comparing it or by holding its private half.
    /// `false` when the server shows another one now.
    pub(in crate::e2ee) fn verify_own_master(
        &mut self,
        master_key: &str,
        step: &mut Step<'_>,
    ) -> Result<bool, MachineError> {
        let own = identity(&self.core.user, step)?;
        let Some(own) = own.filter(|own| own.master_key == master_key && !own.is_confused()) else {
            return Ok(false);
        };
        self.core.cancel_upload(step)?;
        let mut record = OwnRecord::read(step)?;
        record.verified = Some(master_key.to_owned());
        record.replaced_by = None;
        record.setup = Setup::Settled;
        record.keys.keep_matching(&own);
        record.write(step)?;
        self.core.put_identity(own, step)?;
        self.core.recompute_identities(step)?;
        self.core.cross_signing.failures = 0;
        self.core.sign_ourselves(step)?;
        Ok(true)
    }
}

impl Core {
    /// Our own list came, fresh: what is under way with our identity goes on.
    pub(in crate::e2ee) fn own_list_answered(
        &mut self,
        shown: Shown,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let own = identity(&self.user, step)?;
        let mut record = OwnRecord::read(step)?;
        match (&record.setup, own) {
            (Setup::Asked, None) if shown == Shown::Nothing && self.account.is_published() => {
                self.upload_identity(How::First, step)?;
            }
            (Setup::Asked, own) if own.is_some() || shown == Shown::Something => {
                record.setup = Setup::Settled;
                record.write(step)?;
                step.tell(Notice::OwnIdentity);
            }
            // It has what we sent, whatever became of the answer.
            (Setup::Uploading { keys, .. }, Some(own))
                if keys.master.public() == own.master_key =>
            {
                self.cancel_upload(step)?;
                self.identity_uploaded(step)?;
            }
            (Setup::Uploading { how: How::First, .. }, Some(_))
                if self.cross_signing.auth.is_some() =>
            {
                // Another client was first: ours is worth nothing.
                self.cancel_upload(step)?;
                record.setup = Setup::Settled;
                record.write(step)?;
                step.tell(Notice::OwnIdentity);
            }
            (Setup::Uploading { how: How::First, .. }, None)
                if self.cross_signing.auth.is_some() =>
            {
                step.tell(Notice::AuthNeeded);
            }
            // Our device keys come before our identity: their answer asks anew.
            (
                Setup::Asked
                | Setup::Uploading { .. }
                | Setup::Untried
                | Setup::Settled
                | Setup::Refused { .. },
                _,
            ) => {}
        }
        self.sign_ourselves(step)
    }

    /// The server shows another identity of ours than the one this device verified: the private
    /// keys are worth nothing any more, and nothing is signed until the user settles it.
    pub(in crate::e2ee) fn own_identity_shown(
        &mut self,
        shown: &mut Identity,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let mut record = OwnRecord::read(step)?;
        let ours = match &record.setup {
            Setup::Uploading { keys, .. } => Some(keys.master.public()),
            Setup::Untried | Setup::Asked | Setup::Settled | Setup::Refused { .. } => None,
        };
        let is_new = record.verified.as_ref().is_some_and(|key| *key != shown.master_key);
        if is_new && ours.as_ref() != Some(&shown.master_key) {
            record.verified = None;
            record.keys = super::keys::PrivateKeys::default();
            record.replaced_by = Some(shown.master_key.clone());
            record.write(step)?;
            shown.was_verified = false;
            self.cross_signing.is_new = true;
            let master_key = shown.master_key.clone();
            step.tell(Notice::Alarm(Alarm::OwnIdentityReplaced { master_key }));
        } else if record.verifies(shown) {
            // A self-signing key that was replaced under the same master key is no longer of use.
            record.keys.keep_matching(shown);
            record.write(step)?;
        }
        Ok(())
    }
}

//! Making a dehydrated device: its keys, the signatures over them, the upload.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;
use vodozemac::olm::Account;

use super::{
    record::{DehydratedPurpose, Phase, SealKey},
    rehydrated::SEALED_V2,
    take::{DEVICE, ROOT},
};
use crate::{
    e2ee::{
        Machine, MachineError,
        cross_signing::SecretName,
        lookup::Table,
        request::{Call, Purpose, RequestKind},
        step::{Step, encode_text},
        upload::{PublicKeys, sign_as_device, unpublished_keys, unsigned_device_keys},
    },
    matrix::{CanonicalValue, MatrixError, OwnedDeviceId},
};

/// What the user sees of it in lists of other clients.
const NAME: &str = "Dehydrated device";

#[derive(Serialize)]
struct Upload {
    device_id: OwnedDeviceId,
    device_data: Data,
    initial_device_display_name: &'static str,
    device_keys: Box<RawValue>,
    one_time_keys: BTreeMap<String, CanonicalValue>,
    fallback_keys: BTreeMap<String, CanonicalValue>,
}

#[derive(Serialize)]
struct Data {
    algorithm: &'static str,
    device_pickle: String,
    nonce: String,
}

impl Machine {
    /// Makes one that takes the place of what is there; first of all its key, if there is none.
    pub(super) fn make(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        if self.dehydration.record.key.is_none() {
            if !self.storage_status(step)?.is_open {
                return self.dehydration_ends(step);
            }
            self.dehydration.record.key = Some(SealKey::random()?);
            self.dehydration.write(step)?;
            self.secret_changed(SecretName::DehydratedDevice, step)?;
        }
        self.dehydration.phase = Phase::Storing;
        self.put_if_stored(step)
    }

    /// Uploads one once its key is in secret storage: before, nobody could take it over.
    pub(super) fn put_if_stored(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        if !Self::is_written(SecretName::DehydratedDevice, step)? {
            return Ok(());
        }
        let Some(key) = self.dehydration.record.key.clone() else {
            return self.dehydration_ends(step);
        };
        let Some(upload) = self.new_device(&key, step)? else {
            return self.dehydration_ends(step);
        };
        let call = Call {
            kind: RequestKind::DehydratedDevice,
            method: "PUT",
            path: &[DEVICE],
            query: Vec::new(),
            body: encode_text(Table::Request, &upload)?,
        };
        let purpose = Purpose::Dehydrated(DehydratedPurpose::Put(upload.device_id));
        let id = self.core.requests.call_below(ROOT, call, purpose, step)?;
        self.dehydration.phase = Phase::Sending(id);
        Ok(())
    }

    /// A new device with all its keys, sealed and signed; `None` when our identity cannot sign it.
    fn new_device(
        &self,
        SealKey(key): &SealKey,
        step: &Step<'_>,
    ) -> Result<Option<Upload>, MachineError> {
        let mut account = Account::new();
        account.generate_one_time_keys(account.max_number_of_one_time_keys());
        account.generate_fallback_key();
        let Ok(sealed) = account.to_dehydrated_device(key.expose()) else { return Ok(None) };
        let device_id = OwnedDeviceId::from(account.curve25519_key().to_base64());
        let user = &self.core.user;
        let mut keys = unsigned_device_keys(&account, user, &device_id);
        keys.insert("dehydrated".to_owned(), CanonicalValue::Bool(true));
        sign_as_device(&mut keys, &account, user, &device_id);
        let signed = self.core.sign_device_keys((&device_id, keys), step)?;
        let Some(device_keys) = signed else { return Ok(None) };
        let public = unpublished_keys(&account, (user, &device_id));
        let PublicKeys { one_time_keys, fallback_keys } = public;
        Ok(Some(Upload {
            device_id,
            device_data: Data {
                algorithm: SEALED_V2,
                device_pickle: sealed.ciphertext,
                nonce: sealed.nonce,
            },
            initial_device_display_name: NAME,
            device_keys,
            one_time_keys,
            fallback_keys,
        }))
    }

    pub(super) fn receive_put(
        &mut self,
        device: &OwnedDeviceId,
        answer: Result<&str, &MatrixError>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        if answer.is_err() {
            tracing::warn!("the server does not take the dehydrated device");
            return self.dehydration_ends(step);
        }
        self.dehydration.record.made = Some(device.clone());
        self.dehydration_ends(step)?;
        let user = self.core.user.clone();
        self.core.call_into_question(&user, step)
    }
}

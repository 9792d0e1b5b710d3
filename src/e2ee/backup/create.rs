//! A new backup.

use serde::Deserialize;
use serde_json::{Value, json};
use vodozemac::pk_encryption::PkDecryption;

use super::{
    ALGORITHM,
    record::{Name, Pinned, Seed, Trust},
    state::{BackupProblem, BackupPurpose},
};
use crate::{
    e2ee::{
        Machine, MachineError, RequestKind, Table,
        core::Core,
        cross_signing::SecretName,
        request::{Call, Purpose},
        step::{Step, encode_text},
    },
    matrix::{CanonicalObject, CanonicalText, CanonicalValue, MatrixError},
};

/// Account data that says whether the account wants a backup.
const PREFERENCE: &str = "m.key_backup";

impl Machine {
    /// Makes a new backup, unless the account says that it wants none: then
    /// [`BackupProblem::TurnedOff`] is told, and [`Machine::create_backup_anyway`] makes it. The
    /// new one replaces the one on the server as the current one.
    ///
    /// # Errors
    /// When the store fails.
    pub fn create_backup(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        if self.backup.creating {
            return Ok(());
        }
        self.backup.creating = true;
        let Core { requests, user, .. } = &mut self.core;
        let purpose = Purpose::Backup(BackupPurpose::Preference);
        let read = ("GET", user.as_ref(), PREFERENCE);
        requests.account_data(read, String::new(), purpose, step).map(drop)
    }

    /// Makes a new backup, whatever the account says.
    ///
    /// # Errors
    /// When the store fails.
    pub fn create_backup_anyway(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        self.backup.creating = true;
        let key = PkDecryption::new();
        let body = self.signed_backup(key.public_key().to_base64(), step)?;
        // Kept before it is used: an answer that is lost must not leave a backup without a key.
        self.backup.record.creating = Some(Seed::of(&key));
        self.backup.save(step)?;
        let at = (RequestKind::BackupWrite, &["room_keys", "version"][..]);
        self.core.requests.post(at, body, Purpose::Backup(BackupPurpose::Create), step).map(drop)
    }

    /// Our identity is another: it signs the backup too, for devices that know it by that.
    pub(in crate::e2ee) fn sign_backup_anew(
        &mut self,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let Some(Name { version, public_key }) = self.backup.readable().cloned() else {
            return Ok(());
        };
        let body = self.signed_backup(public_key, step)?;
        let call = Call {
            kind: RequestKind::BackupWrite,
            method: "PUT",
            path: &["room_keys", "version", &version],
            query: Vec::new(),
            body,
        };
        self.core.requests.call(call, Purpose::Backup(BackupPurpose::Sign), step).map(drop)
    }

    /// What the server is told of a backup with this public key.
    fn signed_backup(&self, public_key: String, step: &Step<'_>) -> Result<String, MachineError> {
        let mut auth_data = CanonicalObject::new();
        auth_data.insert("public_key".to_owned(), CanonicalValue::String(public_key));
        self.sign_with_master(&mut auth_data, step)?;
        let auth_data = CanonicalText(&auth_data).to_string();
        Ok(format!(r#"{{"algorithm":"{ALGORITHM}","auth_data":{auth_data}}}"#))
    }

    pub(super) fn on_preference(
        &mut self,
        answer: Result<&str, &MatrixError>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let enabled = match answer {
            Ok(body) => {
                serde_json::from_str::<Value>(body).unwrap_or_default().get("enabled").cloned()
            }
            Err(error) if error.status == 404 => None,
            Err(error) => {
                self.backup.creating = false;
                self.backup.problem = Some(BackupProblem::Refused(error.errcode.clone()));
                return Ok(());
            }
        };
        if enabled == Some(Value::Bool(false)) {
            self.backup.creating = false;
            self.backup.problem = Some(BackupProblem::TurnedOff);
            return Ok(());
        }
        self.create_backup_anyway(step)
    }

    pub(super) fn on_created(
        &mut self,
        answer: Result<&str, &MatrixError>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        #[derive(Deserialize)]
        struct Created {
            version: String,
        }
        self.backup.creating = false;
        let created = answer.map(|body| serde_json::from_str::<Created>(body).ok());
        let seed = self.backup.record.creating.take();
        let (Ok(Some(Created { version })), Some(seed)) = (created, seed) else {
            let code = answer.err().map_or("M_BAD_JSON", |error| error.errcode.as_str());
            self.backup.problem = Some(BackupProblem::Refused(code.to_owned()));
            return self.backup.save(step);
        };
        let name = Name { version, public_key: seed.public_key() };
        self.backup.record.pin(Some(Pinned { name, trust: Trust::Key }));
        self.backup.record.seed = Some(seed);
        self.backup.checked = true;
        // What was asked before it was made may be answered with the one before it.
        self.backup.question.outdate();
        self.backup.problem = None;
        self.backup.save(step)?;
        self.begin_marking(step)?;
        // It is empty: nothing is to be fetched from it.
        self.resume_restore(step)?;
        self.secret_changed(SecretName::BackupKey, step)?;
        self.enable_backup(step)
    }

    fn enable_backup(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        let Core { requests, user, .. } = &mut self.core;
        let purpose = Purpose::Backup(BackupPurpose::Enable);
        let write = ("PUT", user.as_ref(), PREFERENCE);
        let body = encode_text(Table::Request, &json!({ "enabled": true }))?;
        requests.account_data(write, body, purpose, step).map(drop)
    }
}

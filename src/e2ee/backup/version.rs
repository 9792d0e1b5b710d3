//! Which backup the server has, and whether it is one of ours.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    ALGORITHM,
    record::{Name, Pinned, Seed, Trust, curve25519_from_base64},
    state::{BackupProblem, BackupPurpose},
};
use crate::{
    e2ee::{
        Alarm, Machine, MachineError, Notice, RequestKind,
        cross_signing::{Imported, SecretName},
        request::{Call, Purpose},
        step::Step,
    },
    matrix::{MatrixError, SignedJson},
    secret::Secret,
};

/// Longest version that is taken.
const MAX_VERSION_BYTES: usize = 255;

/// The question which backup the server has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Question {
    /// Nobody asks it.
    #[default]
    None,
    /// Its answer is under way.
    Asked,
    /// The answer under way may be from before something changed: it is asked again.
    AskedEarly,
}

impl Question {
    /// Something changed that an answer under way may not know of.
    pub(super) fn outdate(&mut self) {
        if *self == Self::Asked {
            *self = Self::AskedEarly;
        }
    }
}

/// The answer of `GET /room_keys/version`.
#[derive(Deserialize)]
struct About {
    version: String,
    algorithm: String,
    auth_data: Box<RawValue>,
}

impl Machine {
    /// After a start: which backup is there now?
    pub(in crate::e2ee) fn resume_backup(
        &mut self,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        self.resume_restore(step)?;
        self.check_backup(step)?;
        self.proceed_backup(step)
    }

    /// Asks the server which backup there is: at the start, after it refused something, or when
    /// another client announced a change.
    ///
    /// # Errors
    /// When the store fails.
    pub fn check_backup(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        if self.backup.question != Question::None {
            return Ok(());
        }
        self.backup.question = Question::Asked;
        let call = Call {
            kind: RequestKind::BackupRead,
            method: "GET",
            path: &["room_keys", "version"],
            query: Vec::new(),
            body: String::new(),
        };
        let purpose = Purpose::Backup(BackupPurpose::Version);
        self.core.requests.call(call, purpose, step).map(drop)
    }

    /// Takes a private key. It is kept only if it is the one of the backup on the server.
    pub(in crate::e2ee) fn import_backup_key(
        &mut self,
        key: Secret<[u8; 32]>,
        step: &mut Step<'_>,
    ) -> Result<Imported, MachineError> {
        let seed = Seed::new(key);
        let public_key = seed.public_key();
        let pinned = self.backup.record.pinned.as_ref();
        if pinned.is_some_and(|pinned| pinned.name.public_key == public_key) {
            self.connect_backup(seed, step)?;
            return Ok(Imported::Kept);
        }
        // The last answer may be from before another device made the backup that this is the key of.
        self.backup.candidate = Some(seed);
        self.check_backup_anew(step)?;
        Ok(Imported::Asked)
    }

    /// Something of the backup changed: an answer to what was asked before is not worth waiting for.
    pub(in crate::e2ee) fn check_backup_anew(
        &mut self,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        self.backup.question.outdate();
        self.check_backup(step)
    }

    /// The private key of the backup, if this device has it.
    pub(in crate::e2ee) fn backup_key(&self) -> Option<Secret<[u8; 32]>> {
        self.backup.record.usable_seed().map(|seed| seed.secret().clone())
    }

    fn connect_backup(&mut self, seed: Seed, step: &mut Step<'_>) -> Result<(), MachineError> {
        let backup = &mut self.backup;
        backup.record.seed = Some(seed);
        if let Some(Pinned { name, .. }) = backup.record.pinned.clone() {
            backup.record.pin(Some(Pinned { name, trust: Trust::Key }));
        }
        backup.problem = None;
        backup.save(step)?;
        self.secret_settled(SecretName::BackupKey, step)?;
        self.begin_marking(step)?;
        self.resume_restore(step)?;
        self.proceed_backup(step)
    }

    pub(in crate::e2ee) fn receive_backup(
        &mut self,
        purpose: &BackupPurpose,
        answer: Result<&str, &MatrixError>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        self.backup.changed = true;
        match purpose {
            BackupPurpose::Version => self.on_version(answer, step),
            BackupPurpose::Preference => self.on_preference(answer, step),
            BackupPurpose::Create => self.on_created(answer, step),
            BackupPurpose::Enable | BackupPurpose::Sign => Ok(()),
            BackupPurpose::Upload { name, sessions } => {
                self.on_uploaded((name, sessions), answer, step)
            }
            BackupPurpose::Session { name, room, session_id } => {
                self.on_session(name, (room, session_id), answer, step)
            }
            BackupPurpose::Room { name, room } => self.on_room(name, room, answer, step),
        }
    }

    fn on_version(
        &mut self,
        answer: Result<&str, &MatrixError>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        match std::mem::take(&mut self.backup.question) {
            Question::AskedEarly => return self.check_backup(step),
            Question::Asked | Question::None => {}
        }
        let about = match answer {
            Ok(body) => serde_json::from_str::<About>(body).ok(),
            Err(error) if error.status == 404 => return self.on_no_backup(step),
            Err(error) => {
                self.backup.problem = Some(BackupProblem::Refused(error.errcode.clone()));
                self.backup.candidate = None;
                return Ok(());
            }
        };
        self.backup.checked = true;
        let Some((name, auth_data)) = about.and_then(name_of) else {
            self.backup.problem = Some(BackupProblem::Unsupported);
            return self.pin(None, step);
        };
        let trust = self.trust_of(&name, &auth_data, step)?;
        self.pin(Some(Pinned { name, trust }), step)?;
        self.try_candidate(step)
    }

    /// The backup is gone. (Its private key stays, should the server find it again.)
    fn on_no_backup(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        self.backup.checked = true;
        self.backup.candidate = None;
        let was_trusted = self.backup.record.trusted().cloned();
        if let Some(name) = was_trusted {
            self.backup.problem = Some(BackupProblem::Deleted);
            step.tell(Notice::Alarm(Alarm::BackupDeleted(name.version)));
        }
        self.pin(None, step)
    }

    fn try_candidate(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        let Some(seed) = self.backup.candidate.take() else { return Ok(()) };
        let public_key = seed.public_key();
        let pinned = self.backup.record.pinned.as_ref();
        if pinned.is_some_and(|pinned| pinned.name.public_key == public_key) {
            return self.connect_backup(seed, step);
        }
        self.backup.misfit = pinned.map(|pinned| pinned.name.clone());
        self.backup.problem = Some(BackupProblem::WrongKey);
        Ok(())
    }

    /// Why keys may go to a backup.
    fn trust_of(
        &self,
        name: &Name,
        auth_data: &RawValue,
        step: &Step<'_>,
    ) -> Result<Trust, MachineError> {
        let seed = self.backup.record.seed.as_ref();
        if seed.is_some_and(|seed| seed.public_key() == name.public_key) {
            return Ok(Trust::Key);
        }
        if self.backup.record.was_left(&name.public_key) {
            return Ok(Trust::None);
        }
        let signed = SignedJson::parse(auth_data.get()).ok();
        match signed {
            Some(json) if self.verify_signed_by_own_master_or_device(&json, step)? => {
                Ok(Trust::Signed)
            }
            Some(_) | None => Ok(Trust::None),
        }
    }

    /// Takes what the server has for what is there. What was trusted and is trusted no more is told.
    fn pin(&mut self, new: Option<Pinned>, step: &mut Step<'_>) -> Result<(), MachineError> {
        let old = self.backup.record.pinned.clone();
        if old == new {
            if new.is_some() {
                self.backup.problem = self.backup.misgiving();
            }
            return Ok(());
        }
        self.backup.record.pin(new.clone());
        self.backup.save(step)?;
        let Some(new) = new else { return self.resume_restore(step) };
        self.backup.problem = self.backup.misgiving();
        if new.trust == Trust::None {
            if old.is_some_and(|old| old.trust != Trust::None) {
                step.tell(Notice::Alarm(Alarm::BackupChanged(new.name.version)));
            }
            return self.resume_restore(step);
        }
        self.begin_marking(step)?;
        self.resume_restore(step)
    }
}

/// The name in what the server says of a backup, if it is one that we speak.
fn name_of(about: About) -> Option<(Name, Box<RawValue>)> {
    #[derive(Deserialize)]
    struct AuthData {
        public_key: String,
    }
    if about.algorithm != ALGORITHM || MAX_VERSION_BYTES < about.version.len() {
        return None;
    }
    let auth_data: AuthData = serde_json::from_str(about.auth_data.get()).ok()?;
    let public_key = curve25519_from_base64(&auth_data.public_key)?.to_base64();
    Some((Name { version: about.version, public_key }, about.auth_data))
}

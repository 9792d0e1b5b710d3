//! Opening secret storage with what the user typed, and taking the secrets out of it.

use std::collections::{BTreeMap, VecDeque};

use serde::Deserialize;

use super::{
    cipher::{Sealed, StorageKey},
    description::{Derivation, DerivedKey, Description, NoPassphrase, Rounds},
    record::{DEFAULT_KEY, KEY_PREFIX, OpenKey, StorageRecord, is_key_id},
};
use crate::{
    e2ee::{
        Machine, MachineError,
        core::Freshness,
        cross_signing::{Imported, SecretName},
        held_secrets::read_secret,
        recovery_key::{self, BadRecoveryKey},
        request::{Call, Purpose, RequestId, RequestKind},
        step::Step,
        types::Notice,
    },
    matrix::MatrixError,
    secret::Secret,
    time::Timestamp,
};

/// What the user opens secret storage with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoverySecret {
    /// A recovery key, as written down.
    RecoveryKey(Secret<String>),
    /// A passphrase.
    Passphrase(Secret<String>),
}

impl RecoverySecret {
    /// Tells a recovery key, also one with a mistake in it, from a passphrase.
    pub fn typed(text: Secret<String>) -> Self {
        if recovery_key::is_meant(text.expose()) {
            Self::RecoveryKey(text)
        } else {
            Self::Passphrase(text)
        }
    }
}

/// Why secret storage was not opened, or not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageRefusal {
    /// What was typed is no recovery key.
    #[error("this is not a recovery key: {0}")]
    NotAKey(#[from] BadRecoveryKey),
    /// The account has no secret storage.
    #[error("this account has no recovery key; make one with: grotto setup-recovery")]
    NoStorage,
    /// The storage's key is of a kind we do not know.
    #[error("the account's recovery key is of a kind that grotto does not know")]
    Unsupported,
    /// Another key.
    #[error("this is not the account's recovery key")]
    WrongKey,
    /// Another passphrase.
    #[error("this is not the account's recovery passphrase")]
    WrongPassphrase,
    /// Only a key opens it.
    #[error("this is not a recovery key, and the account has no recovery passphrase")]
    NoPassphrase,
    /// The server says that the passphrase is stretched so little that it would be given away.
    #[error(
        "the server describes a passphrase that could be guessed from what is stored; use the \
         recovery key itself"
    )]
    PassphraseTooWeak,
    /// The server says that the passphrase is stretched more than anybody needs.
    #[error("the server describes a passphrase that takes too long; use the recovery key itself")]
    PassphraseTooSlow,
    /// The server refuses.
    #[error("the server refuses: {}", .0.error)]
    Server(MatrixError),
}

/// What was typed, as far as it was understood.
#[derive(Debug)]
pub(super) enum Typed {
    Key(StorageKey),
    Passphrase(Secret<String>),
}

/// An attempt to open, by what it waits for.
#[derive(Debug)]
pub(super) enum Opening {
    /// The name of the default key.
    Default(RequestId, Typed),
    /// The description of the key of this name.
    Description(RequestId, String, Typed),
    /// A key made of the passphrase.
    Derivation { id: String, description: Description },
    /// Our own public keys, with which secrets are compared; not beyond this moment.
    Identity(Reading, Timestamp),
    /// A secret.
    Secret(RequestId, SecretName, Reading),
}

/// The reading of secrets.
#[derive(Debug)]
pub(super) struct Reading {
    key: OpenKey,
    /// Whether something proved the key: else nothing may be sealed with it.
    proved: bool,
    left: VecDeque<SecretName>,
    /// Those that the storage does not have.
    missing: Vec<SecretName>,
    /// Those that could not be used.
    bad: Vec<SecretName>,
}

impl Opening {
    /// The request whose answer it waits for.
    fn awaits(&self) -> Option<&RequestId> {
        match self {
            Self::Default(id, _) | Self::Description(id, ..) | Self::Secret(id, ..) => Some(id),
            Self::Derivation { .. } | Self::Identity(..) => None,
        }
    }
}

/// The content of an account data event that holds a secret.
#[derive(Deserialize)]
struct SecretContent {
    #[serde(default)]
    encrypted: BTreeMap<String, Sealed>,
}

impl Machine {
    /// Opens secret storage: asks the server for what is needed, takes out every secret that fits
    /// its public key, and tells how it went by [`Notice::StorageOpened`] or
    /// [`Notice::StorageRefused`]. A passphrase is made a key between, see
    /// [`Notice::DeriveStorageKey`]. An attempt under way is given up.
    ///
    /// # Errors
    /// When the store fails.
    pub fn open_secret_storage(
        &mut self,
        secret: RecoverySecret,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        self.storage.opening = None;
        self.storage.refused = false;
        let typed = match secret {
            RecoverySecret::Passphrase(passphrase) => Typed::Passphrase(passphrase),
            RecoverySecret::RecoveryKey(text) => match recovery_key::decode(text.expose()) {
                Ok(key) => Typed::Key(StorageKey::new(key)),
                Err(error) => {
                    step.tell(Notice::StorageRefused(error.into()));
                    return Ok(());
                }
            },
        };
        self.core.refresh([&self.core.user.clone()], step)?;
        let request = self.read(DEFAULT_KEY, step)?;
        self.storage.opening = Some(Opening::Default(request, typed));
        Ok(())
    }

    fn read(&mut self, kind: &str, step: &mut Step<'_>) -> Result<RequestId, MachineError> {
        let user = self.core.user.clone();
        let call = Call {
            kind: RequestKind::AccountData,
            method: "GET",
            path: &["user", user.as_str(), "account_data", kind],
            query: Vec::new(),
            body: String::new(),
        };
        self.core.requests.call(call, Purpose::StorageRead, step)
    }

    /// Takes the answer to a read; one that no attempt waits for means nothing.
    pub(in crate::e2ee) fn receive_storage_read(
        &mut self,
        id: &RequestId,
        answer: Result<&str, &MatrixError>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let is_awaited = |opening: &mut Opening| opening.awaits() == Some(id);
        match self.storage.opening.take_if(is_awaited) {
            Some(Opening::Default(_, typed)) => self.receive_default(typed, answer, step),
            Some(Opening::Description(_, key, typed)) => {
                self.receive_description((typed, key), answer, step)
            }
            Some(Opening::Secret(_, name, reading)) => {
                self.receive_secret((name, reading), answer, step)
            }
            Some(Opening::Derivation { .. } | Opening::Identity(..)) | None => Ok(()),
        }
    }

    fn receive_default(
        &mut self,
        typed: Typed,
        answer: Result<&str, &MatrixError>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        #[derive(Deserialize)]
        struct Content {
            key: String,
        }
        let content = match answer {
            Ok(body) => serde_json::from_str::<Content>(body).ok(),
            Err(error) if error.status == 404 => None,
            Err(error) => return refuse(StorageRefusal::Server(error.clone()), step),
        };
        let Some(Content { key }) = content.filter(|it| is_key_id(&it.key)) else {
            return refuse(StorageRefusal::NoStorage, step);
        };
        let request = self.read(&format!("{KEY_PREFIX}{key}"), step)?;
        self.storage.opening = Some(Opening::Description(request, key, typed));
        Ok(())
    }

    fn receive_description(
        &mut self,
        (typed, id): (Typed, String),
        answer: Result<&str, &MatrixError>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let content = match answer {
            Ok(body) => Description::parse(body),
            Err(error) if error.status == 404 => None,
            Err(error) => return refuse(StorageRefusal::Server(error.clone()), step),
        };
        let Some(description) = content else { return refuse(StorageRefusal::Unsupported, step) };
        let passphrase = match typed {
            Typed::Key(key) => {
                let key = OpenKey { id, key };
                return self.try_key(key, &description, StorageRefusal::WrongKey, step);
            }
            Typed::Passphrase(passphrase) => passphrase,
        };
        let rounds = match &description.passphrase {
            Ok(rounds) => rounds.clone(),
            Err(NoPassphrase::None) => return refuse(StorageRefusal::NoPassphrase, step),
            Err(NoPassphrase::Unsupported) => return refuse(StorageRefusal::Unsupported, step),
            Err(NoPassphrase::TooWeak) => return refuse(StorageRefusal::PassphraseTooWeak, step),
            Err(NoPassphrase::TooSlow) => return refuse(StorageRefusal::PassphraseTooSlow, step),
        };
        step.tell(Notice::DeriveStorageKey(Derivation { passphrase, rounds }));
        self.storage.opening = Some(Opening::Derivation { id, description });
        Ok(())
    }

    /// Goes on with the key that [`Notice::DeriveStorageKey`] asked for; one that nothing waits
    /// for means nothing.
    ///
    /// # Errors
    /// When the store fails.
    pub fn receive_derived_key(
        &mut self,
        derived: DerivedKey,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let fits = |rounds: &Result<Rounds, _>| rounds.as_ref() == Ok(&derived.rounds);
        let opening = self.storage.opening.take_if(|opening| {
            matches!(opening, Opening::Derivation { description, .. }
                if fits(&description.passphrase))
        });
        let Some(Opening::Derivation { id, description }) = opening else { return Ok(()) };
        let key = OpenKey { id, key: derived.key };
        self.try_key(key, &description, StorageRefusal::WrongPassphrase, step)
    }

    /// Compares a key with its description.
    fn try_key(
        &mut self,
        key: OpenKey,
        description: &Description,
        wrong: StorageRefusal,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let proved = match &description.check {
            // Without one, only what the key opens can prove it.
            None => false,
            Some(check) => match key.key.fits(check) {
                Ok(true) => true,
                Ok(false) => return refuse(wrong, step),
                Err(_) => return refuse(StorageRefusal::Unsupported, step),
            },
        };
        step.tell(Notice::StorageChanged);
        let left = SecretName::STORED.into();
        let reading = Reading { key, proved, left, missing: Vec::new(), bad: Vec::new() };
        match self.core.refresh([&self.core.user.clone()], step)? {
            Freshness::Ready => self.read_next(reading, step),
            Freshness::Waiting(until) => {
                self.storage.opening = Some(Opening::Identity(reading, until));
                Ok(())
            }
        }
    }

    /// Our own public keys may have come, or will not come any more.
    pub(in crate::e2ee) fn storage_progressed(
        &mut self,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        if !matches!(self.storage.opening, Some(Opening::Identity(..))) {
            return Ok(());
        }
        if let Freshness::Waiting(_) = self.core.refresh([&self.core.user.clone()], step)? {
            return Ok(());
        }
        match self.storage.opening.take_if(|opening| matches!(opening, Opening::Identity(..))) {
            Some(Opening::Identity(reading, _)) => self.read_next(reading, step),
            _ => Ok(()),
        }
    }

    /// When to look whether our public keys came.
    pub(in crate::e2ee) fn storage_deadline(&self) -> Option<Timestamp> {
        match self.storage.opening.as_ref()? {
            Opening::Identity(_, until) => Some(*until),
            Opening::Default(..)
            | Opening::Description(..)
            | Opening::Derivation { .. }
            | Opening::Secret(..) => None,
        }
    }

    /// Asks for the next secret, or ends.
    fn read_next(&mut self, mut reading: Reading, step: &mut Step<'_>) -> Result<(), MachineError> {
        let Some(name) = reading.left.pop_front() else { return self.end_reading(reading, step) };
        let request = self.read(name.as_str(), step)?;
        self.storage.opening = Some(Opening::Secret(request, name, reading));
        Ok(())
    }

    fn receive_secret(
        &mut self,
        (name, mut reading): (SecretName, Reading),
        answer: Result<&str, &MatrixError>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let sealed = match answer {
            Ok(body) => serde_json::from_str::<SecretContent>(body).ok(),
            Err(error) if error.status == 404 => None,
            Err(error) => return refuse(StorageRefusal::Server(error.clone()), step),
        };
        let sealed = sealed.and_then(|mut it| it.encrypted.remove(&reading.key.id));
        let Some(sealed) = sealed else {
            reading.missing.push(name);
            return self.read_next(reading, step);
        };
        let opened = reading.key.key.open(name.as_str(), &sealed).ok();
        // Nobody can seal what opens without having the key.
        reading.proved |= opened.is_some();
        let imported = match opened.and_then(|text| read_secret(&text)) {
            Some(secret) => self.import_secret(name, &secret, step)?,
            None => Imported::DoesNotFit,
        };
        if !matches!(imported, Imported::Kept | Imported::Asked) {
            reading.bad.push(name);
        }
        self.read_next(reading, step)
    }

    fn end_reading(&mut self, reading: Reading, step: &mut Step<'_>) -> Result<(), MachineError> {
        let Reading { key, proved, missing, bad, .. } = reading;
        let taken = SecretName::STORED.len() - missing.len() - bad.len();
        if proved {
            self.storage.open = Some(key);
            let mut record = StorageRecord::read(step)?;
            for name in missing {
                if self.held_secret(name, step)?.is_some() {
                    record.note_unwritten(name);
                } else if name == SecretName::DehydratedDevice {
                    self.wish_dehydrated(step)?;
                }
            }
            record.write(step)?;
            self.write_next(step)?;
        }
        step.tell(Notice::StorageOpened { taken, refused: bad.len() });
        Ok(())
    }
}

/// Tells why it does not go on; the attempt is over.
#[expect(clippy::unnecessary_wraps, reason = "it is what its callers return")]
fn refuse(why: StorageRefusal, step: &mut Step<'_>) -> Result<(), MachineError> {
    step.tell(Notice::StorageRefused(why));
    Ok(())
}

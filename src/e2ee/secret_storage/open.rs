//! Opening secret storage with what the user typed, and taking the secrets out of it.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

use super::{
    cipher::{Sealed, StorageKey},
    description::{Derivation, DerivedKey, Description, NoPassphrase, Rounds},
    record::{DEFAULT_KEY, KEY_PREFIX, OpenKey, StorageRecord, is_key_id},
};
use crate::{
    e2ee::{
        Machine, MachineError,
        core::{Core, Freshness},
        cross_signing::{Imported, SecretName},
        held_secrets::read_secret,
        recovery_key::{self, BadRecoveryKey},
        request::{Purpose, RequestId},
        step::Step,
        types::Notice,
    },
    matrix::MatrixError,
    secret::Secret,
    time::Timestamp,
};

/// How long the public keys are waited for, with which secrets are compared.
const PATIENCE: Duration = Duration::from_secs(15);

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
    /// The public keys with which secrets are compared: our identity's, and the backup's; not
    /// beyond this moment.
    PublicKeys(TypedKey, Timestamp),
    /// The secrets, all of them.
    Secrets(Reading),
}

/// A key that was typed.
#[derive(Debug)]
pub(super) struct TypedKey {
    key: OpenKey,
    /// Whether something proved it: else nothing may be sealed with it.
    proved: bool,
}

/// The reading of secrets. They are opened when all are there and kept in one step: whatever
/// interrupts it, the key need not be typed again for some of them.
#[derive(Debug)]
pub(super) struct Reading {
    typed: TypedKey,
    waiting: BTreeMap<RequestId, SecretName>,
    /// Those that came; what the storage does not have is not among them.
    sealed: BTreeMap<SecretName, Sealed>,
    /// The server did not give one.
    refused: Option<MatrixError>,
}

impl Opening {
    /// Whether it waits for the answer to this request.
    fn awaits(&self, request: &RequestId) -> bool {
        match self {
            Self::Default(id, _) | Self::Description(id, ..) => id == request,
            Self::Secrets(reading) => reading.waiting.contains_key(request),
            Self::Derivation { .. } | Self::PublicKeys(..) => false,
        }
    }
}

/// The content of an account data event that holds a secret.
#[derive(Deserialize)]
pub(super) struct SecretContent {
    #[serde(default)]
    pub(super) encrypted: BTreeMap<String, Sealed>,
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
        let Core { requests, user, .. } = &mut self.core;
        requests.account_data(("GET", user, kind), String::new(), Purpose::StorageRead, step)
    }

    /// Takes the answer to a read; one that no attempt waits for means nothing.
    pub(in crate::e2ee) fn receive_storage_read(
        &mut self,
        id: &RequestId,
        answer: Result<&str, &MatrixError>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let is_awaited = |opening: &mut Opening| opening.awaits(id);
        match self.storage.opening.take_if(is_awaited) {
            Some(Opening::Default(_, typed)) => self.receive_default(typed, answer, step),
            Some(Opening::Description(_, key, typed)) => {
                self.receive_description((typed, key), answer, step)
            }
            Some(Opening::Secrets(reading)) => self.receive_secret((id, reading), answer, step),
            Some(Opening::Derivation { .. } | Opening::PublicKeys(..)) | None => Ok(()),
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
        self.check_backup(step)?;
        let until = step.now().plus(PATIENCE);
        self.storage.opening = Some(Opening::PublicKeys(TypedKey { key, proved }, until));
        self.storage_progressed(step)
    }

    /// The public keys may have come, or will not come any more.
    pub(in crate::e2ee) fn storage_progressed(
        &mut self,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        if !matches!(self.storage.opening, Some(Opening::PublicKeys(..))) {
            return Ok(());
        }
        let fresh = self.core.refresh([&self.core.user.clone()], step)?;
        let Some(Opening::PublicKeys(_, until)) = &mut self.storage.opening else { return Ok(()) };
        if let Freshness::Waiting(longer) = fresh {
            *until = longer.max(*until);
            return Ok(());
        }
        if step.now() < *until && self.backup.is_asked() {
            return Ok(());
        }
        let waits = |opening: &mut Opening| matches!(opening, Opening::PublicKeys(..));
        match self.storage.opening.take_if(waits) {
            Some(Opening::PublicKeys(typed, _)) => self.read_all(typed, step),
            _ => Ok(()),
        }
    }

    /// When to look whether our public keys came.
    pub(in crate::e2ee) fn storage_deadline(&self) -> Option<Timestamp> {
        match self.storage.opening.as_ref()? {
            Opening::PublicKeys(_, until) => Some(*until),
            Opening::Default(..)
            | Opening::Description(..)
            | Opening::Derivation { .. }
            | Opening::Secrets(_) => None,
        }
    }

    /// Asks for the secrets.
    fn read_all(&mut self, typed: TypedKey, step: &mut Step<'_>) -> Result<(), MachineError> {
        let mut waiting = BTreeMap::new();
        for name in SecretName::STORED {
            waiting.insert(self.read(name.as_str(), step)?, name);
        }
        let reading = Reading { typed, waiting, sealed: BTreeMap::new(), refused: None };
        self.storage.opening = Some(Opening::Secrets(reading));
        Ok(())
    }

    fn receive_secret(
        &mut self,
        (id, mut reading): (&RequestId, Reading),
        answer: Result<&str, &MatrixError>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let Some(name) = reading.waiting.remove(id) else { return Ok(()) };
        let content = match answer {
            Ok(body) => serde_json::from_str::<SecretContent>(body).ok(),
            Err(error) => {
                reading.refused = Some(error.clone()).filter(|error| error.status != 404);
                None
            }
        };
        let sealed = content.and_then(|mut it| it.encrypted.remove(&reading.typed.key.id));
        reading.sealed.extend(sealed.map(|sealed| (name, sealed)));
        if reading.waiting.is_empty() {
            return self.end_reading(reading, step);
        }
        self.storage.opening = Some(Opening::Secrets(reading));
        Ok(())
    }

    /// Opens what came and keeps it.
    fn end_reading(&mut self, reading: Reading, step: &mut Step<'_>) -> Result<(), MachineError> {
        let Reading { typed: TypedKey { key, mut proved }, sealed, refused, .. } = reading;
        let (mut taken, mut bad) = (0, 0);
        for (name, sealed) in &sealed {
            let opened = key.key.open(name.as_str(), sealed).ok();
            // Nobody can seal what opens without having the key.
            proved |= opened.is_some();
            let imported = match opened.and_then(|text| read_secret(&text)) {
                Some(secret) => self.import_secret(*name, &secret, step)?,
                None => Imported::DoesNotFit,
            };
            match imported {
                Imported::Kept | Imported::Asked => taken += 1,
                Imported::DoesNotFit | Imported::NothingToFit => bad += 1,
            }
        }
        if let Some(error) = refused {
            return refuse(StorageRefusal::Server(error), step);
        }
        if proved {
            self.storage.open = Some(key);
            let mut record = StorageRecord::read(step)?;
            for name in SecretName::STORED {
                if sealed.contains_key(&name) {
                    continue;
                }
                if self.held_secret(name, step)?.is_some() {
                    record.note_unwritten(name);
                } else if name == SecretName::DehydratedDevice {
                    self.wish_dehydrated(step)?;
                }
            }
            record.write(step)?;
            self.write_next(step)?;
        }
        step.tell(Notice::StorageOpened { taken, refused: bad });
        Ok(())
    }
}

/// Tells why it does not go on; the attempt is over.
#[expect(clippy::unnecessary_wraps, reason = "it is what its callers return")]
fn refuse(why: StorageRefusal, step: &mut Step<'_>) -> Result<(), MachineError> {
    step.tell(Notice::StorageRefused(why));
    Ok(())
}

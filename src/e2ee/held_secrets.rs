//! The secrets of the account that are here, wherever they are kept; and those that come in, from
//! secret storage or from another device. One way in for all: nothing is kept that does not fit a
//! public key.

use base64::Engine as _;
use zeroize::Zeroizing;

use super::{
    Machine, MachineError,
    cross_signing::{Imported, SecretName},
    secret_storage::BASE64,
    step::Step,
};
use crate::secret::Secret;

/// The secret of a name in the protocol; `None` for one that we do not pass on.
pub(super) fn secret_named(name: &str) -> Option<SecretName> {
    SecretName::PASSED.into_iter().find(|known| known.as_str() == name)
}

/// The 32 bytes that a secret's text stands for.
pub(super) fn read_secret(text: &[u8]) -> Option<Secret<[u8; 32]>> {
    let bytes = BASE64.decode(text.trim_ascii()).map(Zeroizing::new).ok()?;
    <[u8; 32]>::try_from(bytes.as_slice()).ok().map(Secret::new)
}

/// The text of a secret.
pub(super) fn write_secret(secret: &Secret<[u8; 32]>) -> Zeroizing<String> {
    Zeroizing::new(BASE64.encode(secret.expose()))
}

impl Machine {
    /// A secret of the account, if it is here.
    pub(super) fn held_secret(
        &self,
        name: SecretName,
        step: &Step<'_>,
    ) -> Result<Option<Secret<[u8; 32]>>, MachineError> {
        match name {
            SecretName::Master | SecretName::SelfSigning | SecretName::UserSigning => {
                self.signing_secret(name, step)
            }
            SecretName::BackupKey => Ok(self.backup_key()),
            SecretName::DehydratedDevice => Ok(self.dehydration_key()),
        }
    }

    /// Takes a secret of the account, if it fits its public key; nobody is asked for it any more.
    pub(super) fn import_secret(
        &mut self,
        name: SecretName,
        secret: &Secret<[u8; 32]>,
        step: &mut Step<'_>,
    ) -> Result<Imported, MachineError> {
        let imported = match name {
            SecretName::Master | SecretName::SelfSigning | SecretName::UserSigning => {
                self.import_signing_secret(name, secret, step)?
            }
            SecretName::BackupKey => self.import_backup_key(secret.clone(), step)?,
            SecretName::DehydratedDevice => self.import_dehydration_key(secret, step)?,
        };
        if imported == Imported::Kept {
            self.secret_settled(name, step)?;
        }
        Ok(imported)
    }
}

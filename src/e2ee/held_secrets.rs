//! The secrets of the account that are here, wherever they are kept; and those that come in.

use zeroize::Zeroizing;

use super::{Machine, MachineError, step::Step};
use crate::secret::Secret;

use serde::{Deserialize, Serialize};

/// Shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum SecretName {
    /// The private master key.
    #[serde(rename = "m.cross_signing.master")]
    Master,
    /// The private key that signs our devices.
    #[serde(rename = "m.cross_signing.self_signing")]
    SelfSigning,
    /// The private key that signs other users.
    #[serde(rename = "m.cross_signing.user_signing")]
    UserSigning,
    /// The private key of the key backup.
    #[serde(rename = "m.megolm_backup.v1")]
    BackupKey,
}

impl SecretName {
    /// Every name.
    pub(super) const ALL: [Self; 4] =
        [Self::Master, Self::SelfSigning, Self::UserSigning, Self::BackupKey];

    /// The name in secret storage and in secret requests.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Master => "m.cross_signing.master",
            Self::SelfSigning => "m.cross_signing.self_signing",
            Self::UserSigning => "m.cross_signing.user_signing",
            Self::BackupKey => "m.megolm_backup.v1",
        }
    }
}

/// Shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Imported {
    Taken,
    Refused,
}

impl Machine {
    /// A secret of the account, if it is here.
    pub(super) fn held_secret(
        &self,
        _name: SecretName,
        _step: &Step<'_>,
    ) -> Result<Option<Secret<[u8; 32]>>, MachineError> {
        Ok(None)
    }

    /// Takes a secret of the account, if it fits its public key.
    pub(super) fn import_secret(
        &mut self,
        _name: SecretName,
        _secret: &Secret<[u8; 32]>,
        _step: &mut Step<'_>,
    ) -> Result<Imported, MachineError> {
        Ok(Imported::Refused)
    }
}

/// The 32 bytes that a secret's text stands for.
pub(super) fn read_secret(text: &[u8]) -> Option<Secret<[u8; 32]>> {
    use base64::Engine as _;
    let bytes = super::secret_storage::BASE64.decode(text.trim_ascii()).map(Zeroizing::new).ok()?;
    <[u8; 32]>::try_from(bytes.as_slice()).ok().map(Secret::new)
}

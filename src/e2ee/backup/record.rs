//! What is kept of the backup: which one it is, its private key, how far we are with it.

use std::collections::BTreeSet;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use vodozemac::{Curve25519PublicKey, Curve25519SecretKey, pk_encryption::PkDecryption};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::secret::{Secret, guarded};

/// Base64 as it comes: padded or not.
pub(super) const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Most backups that are remembered to have been left.
const MAX_LEFT: usize = 64;

/// The record of the table `Backup`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Record {
    /// The backup that the server had when it was asked last.
    #[serde(default)]
    pub(super) pinned: Option<Pinned>,
    /// A private key that fitted a backup once. It is used only while it fits the pinned one, and
    /// kept in any case: a server that shows another backup for a while must not destroy it.
    #[serde(default)]
    pub(super) seed: Option<Seed>,
    /// The private key of the backup whose making is under way.
    #[serde(default)]
    pub(super) creating: Option<Seed>,
    /// The backup for which every session of ours was marked to be uploaded.
    #[serde(default)]
    pub(super) marked_for: Option<Name>,
    /// How far that marking went, while it is under way: the last room and session.
    #[serde(default)]
    pub(super) marking: Option<(String, String)>,
    /// Public keys of backups that were trusted and left for others. Whatever signed them may sign
    /// still, but others may know their private keys: a server must not bring them back.
    #[serde(default)]
    left: BTreeSet<String>,
}

/// Which backup: its number and its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::e2ee) struct Name {
    pub(super) version: String,
    /// Unpadded base64.
    pub(super) public_key: String,
}

/// The backup on the server, and why keys may go there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pinned {
    pub(super) name: Name,
    pub(super) trust: Trust,
}

/// Why keys may be uploaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Trust {
    /// They may not.
    None,
    /// Our verified identity or a verified device of ours signed it.
    Signed,
    /// We hold its private key.
    Key,
}

impl Record {
    /// The private key, if it fits the backup on the server.
    pub(super) fn usable_seed(&self) -> Option<&Seed> {
        let pinned = self.pinned.as_ref()?;
        self.seed.as_ref().filter(|_| pinned.trust == Trust::Key)
    }

    /// The backup that keys may be uploaded to.
    pub(super) fn trusted(&self) -> Option<&Name> {
        let pinned = self.pinned.as_ref()?;
        (pinned.trust != Trust::None).then_some(&pinned.name)
    }
}

impl Record {
    /// What the server has is this now. The one that was trusted before is left once another one is.
    pub(super) fn pin(&mut self, new: Option<Pinned>) {
        self.pinned = new;
        let Some(name) = self.trusted().cloned() else { return };
        self.left.remove(&name.public_key);
        let has_room = self.left.len() < MAX_LEFT;
        let before = self.marked_for.as_ref().map(|before| before.public_key.clone());
        self.left.extend(before.filter(|before| has_room && *before != name.public_key));
    }

    /// Whether the backup with this public key was left for another.
    pub(super) fn was_left(&self, public_key: &str) -> bool {
        self.left.contains(public_key)
    }
}

/// A private key of a backup.
#[derive(Clone, Debug, ZeroizeOnDrop)]
pub(super) struct Seed(Secret<[u8; 32]>);
guarded!(Seed);

impl Seed {
    pub(super) fn new(seed: Secret<[u8; 32]>) -> Self {
        Self(seed)
    }

    pub(super) fn of(decryption: &PkDecryption) -> Self {
        Self(Secret::new(*decryption.secret_key().to_bytes()))
    }

    pub(super) fn secret(&self) -> &Secret<[u8; 32]> {
        &self.0
    }

    pub(super) fn decryption(&self) -> PkDecryption {
        PkDecryption::from_key(Curve25519SecretKey::from_slice(self.0.expose()))
    }

    /// Its public key, unpadded base64.
    pub(super) fn public_key(&self) -> String {
        self.decryption().public_key().to_base64()
    }
}

impl Serialize for Seed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Zeroizing::new(LENIENT.encode(self.0.expose())).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Seed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let wrong = || D::Error::custom("the private key of the backup is not 32 bytes");
        let bytes = Zeroizing::new(LENIENT.decode(text.as_bytes()).ok().ok_or_else(wrong)?);
        let seed = bytes.as_slice().try_into().ok().ok_or_else(wrong)?;
        Ok(Self(Secret::new(seed)))
    }
}

/// Reads a Curve25519 public key. (vodozemac's own reader must not be fed text from the network, see
/// [`crate::matrix::ed25519_from_base64`].)
pub(super) fn curve25519_from_base64(text: &str) -> Option<Curve25519PublicKey> {
    if 44 < text.len() {
        return None;
    }
    let bytes: [u8; 32] = LENIENT.decode(text).ok()?.try_into().ok()?;
    Some(Curve25519PublicKey::from_bytes(bytes))
}

//! The three private keys, as seeds, and the key objects made of them.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use vodozemac::{Ed25519PublicKey, Ed25519SecretKey};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::{
    e2ee::{MachineError, account::AccountPart, identity::Identity},
    matrix::{CanonicalObject, CanonicalText, CanonicalValue, UserId, sign},
    secret::{Secret, guarded},
};

/// A secret that devices of one user keep together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(in crate::e2ee) enum SecretName {
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
    /// The key of the dehydrated device.
    #[serde(rename = "org.matrix.msc3814")]
    DehydratedDevice,
}

impl SecretName {
    /// Those that devices pass to each other.
    pub(in crate::e2ee) const PASSED: [Self; 4] =
        [Self::Master, Self::SelfSigning, Self::UserSigning, Self::BackupKey];

    /// Those that secret storage has.
    pub(in crate::e2ee) const STORED: [Self; 5] = [
        Self::Master,
        Self::SelfSigning,
        Self::UserSigning,
        Self::BackupKey,
        Self::DehydratedDevice,
    ];

    /// The name in secret storage and in secret requests.
    pub(in crate::e2ee) fn as_str(self) -> &'static str {
        match self {
            Self::Master => "m.cross_signing.master",
            Self::SelfSigning => "m.cross_signing.self_signing",
            Self::UserSigning => "m.cross_signing.user_signing",
            Self::BackupKey => "m.megolm_backup.v1",
            Self::DehydratedDevice => "org.matrix.msc3814",
        }
    }
}

/// An Ed25519 seed.
#[derive(Clone, ZeroizeOnDrop)]
pub(super) struct Seed(Zeroizing<[u8; 32]>);
guarded!(Seed);

impl Seed {
    fn random() -> Result<Self, MachineError> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        getrandom::fill(bytes.as_mut()).map_err(MachineError::NoRandomness)?;
        Ok(Self(bytes))
    }

    pub(super) fn of(secret: &Secret<[u8; 32]>) -> Self {
        Self(Zeroizing::new(*secret.expose()))
    }

    pub(super) fn secret(&self) -> Secret<[u8; 32]> {
        Secret::new(*self.0)
    }

    fn key(&self) -> Ed25519SecretKey {
        Ed25519SecretKey::from_slice(&self.0)
    }

    /// The public key, unpadded base64.
    pub(super) fn public(&self) -> String {
        self.public_key().to_base64()
    }

    pub(super) fn public_key(&self) -> Ed25519PublicKey {
        self.key().public_key()
    }

    /// Signs `object` as `user`, under the key's own name.
    pub(super) fn sign(&self, object: &mut CanonicalObject, user: &UserId) {
        let key = self.key();
        let id = format!("ed25519:{}", key.public_key().to_base64());
        sign(object, user, &id, |text| key.sign(text.as_bytes()));
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed(..)")
    }
}

impl Serialize for Seed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(vodozemac::base64_encode(self.0.as_slice())))
    }
}

impl<'de> Deserialize<'de> for Seed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let bytes = vodozemac::base64_decode(text.as_str()).map(Zeroizing::new);
        let bytes = bytes.ok().and_then(|it| <[u8; 32]>::try_from(it.as_slice()).ok());
        bytes.map(|it| Self(Zeroizing::new(it))).ok_or_else(|| D::Error::custom("not a seed"))
    }
}

/// The private keys that are here.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct PrivateKeys {
    #[serde(default)]
    pub(super) master: Option<Seed>,
    #[serde(default)]
    pub(super) self_signing: Option<Seed>,
    #[serde(default)]
    pub(super) user_signing: Option<Seed>,
}

impl PrivateKeys {
    /// Keeps those whose public halves are in `identity`.
    pub(super) fn keep_matching(&mut self, identity: &Identity) {
        let fits = |seed: &Seed, key: &str| seed.public() == key;
        self.master = self.master.take().filter(|seed| fits(seed, &identity.master_key));
        self.self_signing =
            self.self_signing.take().filter(|seed| fits(seed, &identity.self_signing_key));
        self.user_signing = self
            .user_signing
            .take()
            .filter(|seed| identity.user_signing_key.as_ref().is_some_and(|key| fits(seed, key)));
    }

    /// The place of a key; those that sign nothing have none here.
    pub(super) fn place(&mut self, name: SecretName) -> Option<&mut Option<Seed>> {
        match name {
            SecretName::Master => Some(&mut self.master),
            SecretName::SelfSigning => Some(&mut self.self_signing),
            SecretName::UserSigning => Some(&mut self.user_signing),
            SecretName::BackupKey | SecretName::DehydratedDevice => None,
        }
    }
}

/// Three new keys, all there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct NewKeys {
    pub(super) master: Seed,
    pub(super) self_signing: Seed,
    pub(super) user_signing: Seed,
}

/// The public halves as key objects, signed.
pub(super) struct KeyObjects {
    pub(super) master: String,
    pub(super) self_signing: String,
    pub(super) user_signing: String,
}

impl NewKeys {
    /// Draws three keys.
    pub(super) fn random() -> Result<Self, MachineError> {
        Ok(Self {
            master: Seed::random()?,
            self_signing: Seed::random()?,
            user_signing: Seed::random()?,
        })
    }

    /// The key objects; the master key is signed by itself and by this device.
    pub(super) fn objects(&self, user: &UserId, account: &AccountPart) -> KeyObjects {
        let text = |object: CanonicalObject| CanonicalText(&object).to_string();
        let sub_key = |usage: &str, seed: &Seed| {
            let mut object = key_object(user, usage, &seed.public());
            self.master.sign(&mut object, user);
            text(object)
        };
        let mut master = key_object(user, "master", &self.master.public());
        self.master.sign(&mut master, user);
        account.sign(&mut master);
        KeyObjects {
            master: text(master),
            self_signing: sub_key("self_signing", &self.self_signing),
            user_signing: sub_key("user_signing", &self.user_signing),
        }
    }

    /// All of them, to keep.
    pub(super) fn into_private(self) -> PrivateKeys {
        PrivateKeys {
            master: Some(self.master),
            self_signing: Some(self.self_signing),
            user_signing: Some(self.user_signing),
        }
    }
}

fn key_object(user: &UserId, usage: &str, key: &str) -> CanonicalObject {
    let text = |text: &str| CanonicalValue::String(text.to_owned());
    let keys = CanonicalObject::from([(format!("ed25519:{key}"), text(key))]);
    CanonicalObject::from([
        ("user_id".to_owned(), text(user.as_str())),
        ("usage".to_owned(), CanonicalValue::Array(vec![text(usage)])),
        ("keys".to_owned(), CanonicalValue::Object(keys)),
    ])
}

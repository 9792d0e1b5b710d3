//! The cipher of secret storage: AES-256-CTR and HMAC-SHA-256, with keys made of the storage's key
//! and the secret's name.
//!
//! The MAC does not cover the IV: whoever can change that can change what comes out. So what
//! [`StorageKey::open`] gives is only a candidate, to be compared with a public key.
//!
//! # Spec
//! Client-Server API, "Secrets", `m.secret_storage.v1.aes-hmac-sha2`.

use aes::{
    Aes256,
    cipher::{KeyIvInit as _, StreamCipher as _},
};
use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use ctr::Ctr128BE;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::{
    e2ee::error::MachineError,
    secret::{Secret, guarded},
};

/// Bytes of every key and of every secret.
pub(in crate::e2ee) const KEY_BYTES: usize = 32;
const IV_BYTES: usize = 16;
/// Largest ciphertext that is looked at, in characters; ours have 58.
const MAX_CIPHERTEXT_CHARS: usize = 4 << 10;

/// Unpadded when written; padded or not when read.
pub(in crate::e2ee) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The key that opens secret storage.
#[derive(Clone, Debug, PartialEq, Eq, ZeroizeOnDrop)]
pub(in crate::e2ee) struct StorageKey(Secret<[u8; KEY_BYTES]>);
guarded!(StorageKey);

/// A secret, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sealed {
    pub(super) iv: String,
    pub(super) ciphertext: String,
    pub(super) mac: String,
}

/// Why what is stored does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadSealed {
    /// Not base64, or not as long as it must be.
    #[error("what is stored is malformed")]
    Malformed,
    /// The MAC is another: another key, another name, another ciphertext.
    #[error("what is stored was not sealed with this key")]
    Mac,
}

/// What proves that a key is the right one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeyCheck {
    pub(super) iv: String,
    pub(super) mac: String,
}

impl StorageKey {
    /// Takes the bytes for a key.
    pub(in crate::e2ee) fn new(bytes: Secret<[u8; KEY_BYTES]>) -> Self {
        Self(bytes)
    }

    /// Draws a key.
    pub(in crate::e2ee) fn random() -> Result<Self, MachineError> {
        let mut bytes = Zeroizing::new([0_u8; KEY_BYTES]);
        getrandom::fill(bytes.as_mut_slice()).map_err(MachineError::NoRandomness)?;
        Ok(Self(Secret::new(*bytes)))
    }

    /// The bytes, to be shown to the user or kept.
    pub(in crate::e2ee) fn bytes(&self) -> &[u8; KEY_BYTES] {
        self.0.expose()
    }

    /// Seals a secret under its name.
    pub(super) fn seal(&self, name: &str, secret: &[u8]) -> Result<Sealed, MachineError> {
        Ok(self.seal_with(name, secret, random_iv()?))
    }

    fn seal_with(&self, name: &str, secret: &[u8], iv: [u8; IV_BYTES]) -> Sealed {
        let mut bytes = Zeroizing::new(secret.to_vec());
        let keys = Keys::of(self, name);
        keys.apply(&iv, &mut bytes);
        let mac = keys.mac().chain_update(&bytes).finalize().into_bytes();
        Sealed {
            iv: BASE64.encode(iv),
            ciphertext: BASE64.encode(bytes.as_slice()),
            mac: BASE64.encode(mac),
        }
    }

    /// Opens what is stored under a name. Nothing may be done with it before it was compared with
    /// a public key: see the head of this file.
    pub(super) fn open(
        &self,
        name: &str,
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, BadSealed> {
        if MAX_CIPHERTEXT_CHARS < sealed.ciphertext.len() {
            return Err(BadSealed::Malformed);
        }
        let malformed = |_| BadSealed::Malformed;
        let iv = read_iv(&sealed.iv)?;
        let mut bytes = Zeroizing::new(BASE64.decode(&sealed.ciphertext).map_err(malformed)?);
        let mac = BASE64.decode(&sealed.mac).map_err(malformed)?;
        let keys = Keys::of(self, name);
        keys.mac().chain_update(&bytes).verify_slice(&mac).ok().ok_or(BadSealed::Mac)?;
        keys.apply(&iv, &mut bytes);
        Ok(bytes)
    }

    /// What later proves that a key is this one.
    pub(super) fn check(&self) -> Result<KeyCheck, MachineError> {
        let Sealed { iv, mac, ciphertext: _ } = self.seal("", &[0; KEY_BYTES])?;
        Ok(KeyCheck { iv, mac })
    }

    /// Whether this is the key that a check was made with.
    pub(super) fn fits(&self, check: &KeyCheck) -> Result<bool, BadSealed> {
        let iv = read_iv(&check.iv)?;
        let mac = BASE64.decode(&check.mac).ok().ok_or(BadSealed::Malformed)?;
        let mut bytes = [0_u8; KEY_BYTES];
        let keys = Keys::of(self, "");
        keys.apply(&iv, &mut bytes);
        Ok(keys.mac().chain_update(bytes).verify_slice(&mac).is_ok())
    }
}

/// The two keys for one name.
struct Keys {
    aes: Zeroizing<[u8; 32]>,
    /// Filled up with zeros to a block, as HMAC does with a shorter key.
    hmac: Zeroizing<[u8; 64]>,
}

impl Keys {
    #[expect(clippy::expect_used, reason = "it fails beyond 255 hashes, these are two")]
    fn of(key: &StorageKey, name: &str) -> Self {
        let hkdf = Hkdf::<Sha256>::new(Some(&[0; 32]), key.bytes());
        let mut both = Zeroizing::new([[0_u8; 32]; 2]);
        hkdf.expand(name.as_bytes(), both.as_flattened_mut()).expect("64 bytes can be had");
        let [aes, hmac] = *both;
        let mut block = Zeroizing::new([0; 64]);
        block.iter_mut().zip(hmac).for_each(|(place, byte)| *place = byte);
        Self { aes: Zeroizing::new(aes), hmac: block }
    }

    fn apply(&self, iv: &[u8; IV_BYTES], bytes: &mut [u8]) {
        Ctr128BE::<Aes256>::new((&*self.aes).into(), iv.into()).apply_keystream(bytes);
    }

    fn mac(&self) -> Hmac<Sha256> {
        Hmac::<Sha256>::new((&*self.hmac).into())
    }
}

/// Bit 63 is cleared, because some implementations count with 64 bits only.
fn random_iv() -> Result<[u8; IV_BYTES], MachineError> {
    let mut iv = [0_u8; IV_BYTES];
    getrandom::fill(&mut iv).map_err(MachineError::NoRandomness)?;
    if let Some(byte) = iv.get_mut(8) {
        *byte &= 0x7f;
    }
    Ok(iv)
}

fn read_iv(text: &str) -> Result<[u8; IV_BYTES], BadSealed> {
    let bytes = BASE64.decode(text).ok().and_then(|iv| <[u8; IV_BYTES]>::try_from(iv).ok());
    bytes.ok_or(BadSealed::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "m.megolm_backup.v1";
    const SECRET: &[u8] = b"ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8";

    fn key() -> StorageKey {
        StorageKey::new(Secret::new(std::array::from_fn(|place| u8::try_from(place).unwrap())))
    }

    fn sealed() -> Sealed {
        Sealed {
            iv: "AAECAwQFBgcICQoLDA0ODw".to_owned(),
            ciphertext: "rQsmgWtsAqDcOdfu2YB/Kxlt3dL81k6lArGpnaanoZy6x12axZCIZ0AKDA".to_owned(),
            mac: "3ytr2qtunj4xmVC22A5knePV5/PhQ+sYvHFNbXxocaQ".to_owned(),
        }
    }

    // T-90
    #[test]
    fn a_secret_is_sealed_and_opened_as_other_clients_do() {
        let iv = std::array::from_fn(|place| u8::try_from(place).unwrap());
        assert_eq!(key().seal_with(NAME, SECRET, iv), sealed());
        assert_eq!(*key().open(NAME, &sealed()).unwrap(), SECRET);
        let check = KeyCheck {
            iv: sealed().iv,
            mac: "ONrOSgDDUXMzIvXsfYBi1m8m075MdjPldfXCxIpU7IY".to_owned(),
        };
        assert_eq!(key().fits(&check), Ok(true));
        assert_eq!(StorageKey::random().unwrap().fits(&check), Ok(false));
        assert_eq!(key().fits(&key().check().unwrap()), Ok(true));
    }

    // T-92
    #[test]
    fn padding_is_taken_and_not_written() {
        let pad = |text: String| format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4));
        let Sealed { iv, ciphertext, mac } = sealed();
        let padded = Sealed { iv: pad(iv), ciphertext: pad(ciphertext), mac: pad(mac) };
        assert!(padded.iv.ends_with("==") && padded.mac.ends_with('='));
        assert_eq!(*key().open(NAME, &padded).unwrap(), SECRET);
        let written = key().seal(NAME, SECRET).unwrap();
        assert!(![written.iv, written.ciphertext, written.mac].concat().contains('='));
    }

    // T-91, A-8
    #[test]
    fn what_was_tampered_with_does_not_open_and_another_iv_gives_another_secret() {
        let open = |sealed: &Sealed| key().open(NAME, sealed);
        let other = |text: &str| text.replace(text.chars().next().unwrap(), "x");
        let ciphertext = Sealed { ciphertext: other(&sealed().ciphertext), ..sealed() };
        assert_eq!(open(&ciphertext), Err(BadSealed::Mac));
        let mac = Sealed { mac: other(&sealed().mac), ..sealed() };
        assert_eq!(open(&mac), Err(BadSealed::Mac));
        assert_eq!(key().open("m.cross_signing.master", &sealed()), Err(BadSealed::Mac));
        for iv in ["", "AAAA", "not base64 at all!!"] {
            let iv = Sealed { iv: iv.to_owned(), ..sealed() };
            assert_eq!(open(&iv), Err(BadSealed::Malformed));
        }
        let iv = Sealed { iv: other(&sealed().iv), ..sealed() };
        assert_ne!(*open(&iv).unwrap(), SECRET);
    }

    #[test]
    fn bit_63_of_every_iv_is_clear() {
        for _ in 0..64 {
            assert_eq!(random_iv().unwrap()[8] & 0x80, 0);
        }
    }

    #[test]
    fn a_key_is_not_printed() {
        insta::assert_snapshot!(format!("{:?}", key()), @"StorageKey(Secret<[u8; 32]>(..))");
    }
}

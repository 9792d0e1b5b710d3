//! Encrypted files, piece by piece: a key and IV of its own for each, a hash over the ciphertext.
//! Who reads, writes and sends the bytes is not said here.
//!
//! What the network says a file's key is goes through [`EncryptedFile::parse`], which refuses what
//! could not be checked: the file's hash is the only thing that protects its bytes.
//!
//! # Spec
//! Client-Server API, "Sending encrypted attachments".

use std::fmt;

use aes::Aes256;
use base64::{
    Engine as _, alphabet,
    engine::{
        DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig,
        general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
    },
};
use ctr::{
    Ctr128BE,
    cipher::{KeyIvInit as _, StreamCipher as _},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::error::MachineError;
use crate::{
    matrix::{BadMxc, MxcUri},
    secret::Secret,
};

/// Longest field that is read, in bytes; honest ones have at most some 100.
const MAX_FIELD_BYTES: usize = 4096;

/// Base64 that takes padding or not: old clients write it.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Why a file cannot be read, or must not be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachmentError {
    /// The address is none.
    #[error(transparent)]
    Address(#[from] BadMxc),
    /// The object that should hold the key is not of the form the spec gives.
    #[error("the message's `file` lacks a valid `{0}`; nothing was downloaded")]
    Field(&'static str),
    /// It is encrypted in a way of before or after our time.
    #[error("the file is encrypted in a way that grotto does not know; nothing was downloaded")]
    Version,
    /// What was downloaded is not what was sent.
    #[error("the downloaded bytes are not those that the sender sent; they were thrown away")]
    Hash,
}

/// Key and IV of one file.
#[derive(Clone)]
pub struct FileKey {
    key: Secret<[u8; 32]>,
    iv: [u8; 16],
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileKey(..)")
    }
}

impl FileKey {
    /// Draws a key and an IV: 8 random bytes, and a counter that begins at zero.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn generate() -> Result<Self, MachineError> {
        let (mut key, mut nonce) = (zeroize::Zeroizing::new([0; 32]), [0; 8]);
        getrandom::fill(&mut *key).map_err(MachineError::NoRandomness)?;
        getrandom::fill(&mut nonce).map_err(MachineError::NoRandomness)?;
        let mut iv = [0; 16];
        iv.iter_mut().zip(nonce).for_each(|(byte, drawn)| *byte = drawn);
        Ok(Self { key: Secret::new(*key), iv })
    }

    fn cipher(&self) -> Ctr128BE<Aes256> {
        Ctr128BE::new(self.key.expose().into(), (&self.iv).into())
    }
}

/// Encrypts one file. It takes its key: no second file can be encrypted with it.
pub struct Encryptor {
    key: FileKey,
    cipher: Ctr128BE<Aes256>,
    hash: Sha256,
}

impl fmt::Debug for Encryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encryptor(..)")
    }
}

impl Encryptor {
    /// Begins.
    pub fn new(key: FileKey) -> Self {
        Self { cipher: key.cipher(), key, hash: Sha256::new() }
    }

    /// Turns the next piece, of any length, into ciphertext.
    pub fn encrypt(&mut self, piece: &mut [u8]) {
        self.cipher.apply_keystream(piece);
        self.hash.update(piece);
    }

    /// What the message must say about the file, once it lies at `url`.
    pub fn finish(self) -> SealedFile {
        SealedFile { key: self.key, sha256: self.hash.finalize().into() }
    }
}

/// A file that was encrypted and has no address yet.
#[derive(Clone, Debug)]
pub struct SealedFile {
    key: FileKey,
    sha256: [u8; 32],
}

impl SealedFile {
    /// The file at its address.
    pub fn at(self, url: MxcUri) -> EncryptedFile {
        EncryptedFile { url, key: self.key, sha256: self.sha256 }
    }
}

/// Where an encrypted file lies, and what opens it: the `file` of a message.
#[derive(Clone)]
pub struct EncryptedFile {
    url: MxcUri,
    key: FileKey,
    sha256: [u8; 32],
}

impl fmt::Debug for EncryptedFile {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptedFile").field("url", &self.url).finish_non_exhaustive()
    }
}

impl EncryptedFile {
    /// Reads the `file` of a message.
    ///
    /// # Errors
    /// When it is of another version or algorithm, when key, IV or hash are missing or of another
    /// length, when the address is none.
    pub fn parse(file: &Value) -> Result<Self, AttachmentError> {
        let file = file.as_object().ok_or(AttachmentError::Field("file"))?;
        if text(file, "v") != Some("v2") {
            return Err(AttachmentError::Version);
        }
        let url = text(file, "url").ok_or(AttachmentError::Field("url"))?;
        let jwk =
            file.get("key").and_then(Value::as_object).ok_or(AttachmentError::Field("key"))?;
        if text(jwk, "alg") != Some("A256CTR") || text(jwk, "kty") != Some("oct") {
            return Err(AttachmentError::Version);
        }
        // Some clients write the standard alphabet here.
        let key = bytes(jwk, "k", &URL_SAFE).or_else(|| bytes(jwk, "k", &STANDARD));
        let iv = bytes(file, "iv", &STANDARD).or_else(|| bytes(file, "iv", &URL_SAFE));
        let hashes = file.get("hashes").and_then(Value::as_object);
        let sha256 = hashes.and_then(|hashes| {
            bytes(hashes, "sha256", &STANDARD).or_else(|| bytes(hashes, "sha256", &URL_SAFE))
        });
        Ok(Self {
            url: MxcUri::parse(url)?,
            key: FileKey {
                key: Secret::new(key.ok_or(AttachmentError::Field("key"))?),
                iv: iv.ok_or(AttachmentError::Field("iv"))?,
            },
            sha256: sha256.ok_or(AttachmentError::Field("hashes"))?,
        })
    }

    /// The `file` of a message. It holds the key: it must not leave this machine in clear.
    pub fn to_json(&self) -> Value {
        json!({
            "v": "v2",
            "url": self.url,
            "key": {
                "kty": "oct",
                "alg": "A256CTR",
                "ext": true,
                "key_ops": ["encrypt", "decrypt"],
                "k": URL_SAFE_NO_PAD.encode(self.key.key.expose()),
            },
            "iv": STANDARD_NO_PAD.encode(self.key.iv),
            "hashes": { "sha256": STANDARD_NO_PAD.encode(self.sha256) },
        })
    }

    /// Where it lies.
    pub fn url(&self) -> &MxcUri {
        &self.url
    }
}

impl PartialEq for EncryptedFile {
    fn eq(&self, other: &Self) -> bool {
        (&self.url, &self.key.key, self.key.iv, self.sha256)
            == (&other.url, &other.key.key, other.key.iv, other.sha256)
    }
}

impl Eq for EncryptedFile {}

/// In the encrypted store alone.
impl Serialize for EncryptedFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for EncryptedFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

fn text<'a>(object: &'a Map<String, Value>, field: &str) -> Option<&'a str> {
    object.get(field)?.as_str().filter(|text| text.len() <= MAX_FIELD_BYTES)
}

fn bytes<const N: usize>(
    object: &Map<String, Value>,
    field: &str,
    alphabet: &GeneralPurpose,
) -> Option<[u8; N]> {
    alphabet.decode(text(object, field)?).ok()?.try_into().ok()
}

/// Decrypts one file. What it gives must not be used before [`Decryptor::finish`] said that it is
/// what was sent: until then anybody may have written it.
pub struct Decryptor {
    cipher: Ctr128BE<Aes256>,
    hash: Sha256,
    expected: [u8; 32],
}

impl fmt::Debug for Decryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decryptor(..)")
    }
}

impl Decryptor {
    /// Begins.
    pub fn new(file: &EncryptedFile) -> Self {
        Self { cipher: file.key.cipher(), hash: Sha256::new(), expected: file.sha256 }
    }

    /// Turns the next piece, of any length, into clear bytes.
    pub fn decrypt(&mut self, piece: &mut [u8]) {
        self.hash.update(&*piece);
        self.cipher.apply_keystream(piece);
    }

    /// Says whether all of it is what the sender sent.
    ///
    /// # Errors
    /// [`AttachmentError::Hash`]: all of it is to be thrown away.
    pub fn finish(self) -> Result<(), AttachmentError> {
        let found: [u8; 32] = self.hash.finalize().into();
        if found.ct_eq(&self.expected).into() { Ok(()) } else { Err(AttachmentError::Hash) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn vector() -> Value {
        json!({
            "v": "v2",
            "url": "mxc://example.org/abc",
            "key": {
                "kty": "oct", "alg": "A256CTR", "ext": true, "key_ops": ["encrypt", "decrypt"],
                "k": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
            },
            "iv": "AAECAwQFBgcAAAAAAAAAAA",
            "hashes": { "sha256": "mL0GobD7moi9nt8ToTHWnyo5ZqwDbyiLIY7+807a4Rk" },
        })
    }

    fn open(file: &Value, ciphertext: &[u8]) -> Result<Vec<u8>, AttachmentError> {
        let mut decryptor = Decryptor::new(&EncryptedFile::parse(file)?);
        let mut bytes = ciphertext.to_vec();
        decryptor.decrypt(&mut bytes);
        decryptor.finish().map(|()| bytes)
    }

    // T-104
    #[test]
    fn the_vector_of_others_is_read_and_written() {
        let ciphertext = STANDARD_NO_PAD.decode("fcIbJINETXVYWXY").unwrap();
        assert_eq!(open(&vector(), &ciphertext).unwrap(), b"hello world");
        let file = EncryptedFile::parse(&vector()).unwrap();
        let mut encryptor = Encryptor::new(file.key);
        let mut bytes = b"hello world".to_vec();
        encryptor.encrypt(&mut bytes);
        assert_eq!(bytes, ciphertext);
        assert_eq!(encryptor.finish().at(file.url).to_json(), vector());
    }

    // T-105
    #[test]
    fn a_flipped_byte_and_a_missing_end_are_noticed() {
        let ciphertext = STANDARD_NO_PAD.decode("fcIbJINETXVYWXY").unwrap();
        for at in 0..ciphertext.len() {
            let mut forged = ciphertext.clone();
            forged[at] ^= 1;
            assert_eq!(open(&vector(), &forged), Err(AttachmentError::Hash));
            assert_eq!(open(&vector(), &ciphertext[..at]), Err(AttachmentError::Hash));
        }
    }

    /// The vector with the value at `pointer` replaced.
    fn with(pointer: &str, value: Value) -> Value {
        let mut file = vector();
        *file.pointer_mut(pointer).unwrap() = value;
        file
    }

    // T-105
    #[test]
    fn what_could_not_be_checked_is_refused() {
        for (pointer, value) in [
            ("/v", json!("v1")),
            ("/v", json!("v3")),
            ("/v", json!(2)),
            ("/url", json!("mxc://x/../..")),
            ("/url", json!(null)),
            ("/key", json!("AAEC")),
            ("/key/alg", json!("A128CTR")),
            ("/key/alg", json!("A256GCM")),
            ("/key/kty", json!("RSA")),
            ("/key/k", json!("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg")),
            ("/key/k", json!("")),
            ("/iv", json!("AAECAwQFBgcAAAAAAAAA")),
            ("/hashes", json!({})),
            ("/hashes", json!({ "sha1": "mL0GobD7moi9nt8ToTHWnyo5Zqw" })),
            ("/hashes/sha256", json!("")),
            ("/hashes/sha256", json!("mL0GobD7moi9nt8ToTHWnyo5ZqwDbyiLIY7+807a4Q")),
            ("/hashes/sha256", json!(["mL0GobD7moi9nt8ToTHWnyo5ZqwDbyiLIY7+807a4Rk"])),
        ] {
            assert!(
                EncryptedFile::parse(&with(pointer, value.clone())).is_err(),
                "{pointer}: {value}"
            );
        }
        for missing in ["v", "url", "key", "iv", "hashes"] {
            let mut file = vector();
            file.as_object_mut().unwrap().remove(missing);
            assert!(EncryptedFile::parse(&file).is_err(), "{missing}");
        }
        for nothing in [json!(null), json!([]), json!("file")] {
            assert!(EncryptedFile::parse(&nothing).is_err());
        }
    }

    // Old clients.
    #[test]
    fn padding_and_a_counter_that_wraps_are_taken() {
        let padded = with("/iv", json!("AAECAwQFBgcAAAAAAAAAAA=="));
        assert!(EncryptedFile::parse(&padded).is_ok());
        let wrapping = with("/iv", json!(STANDARD_NO_PAD.encode([0xff; 16])));
        let file = EncryptedFile::parse(&wrapping).unwrap();
        let mut encryptor = Encryptor::new(file.key.clone());
        let mut bytes = [7; 40];
        encryptor.encrypt(&mut bytes);
        // The block after the last counter is the one of counter zero.
        let zero = FileKey { iv: [0; 16], ..file.key };
        let mut block = [7; 24];
        Encryptor::new(zero).encrypt(&mut block);
        assert_eq!(bytes[16..], block);
    }

    // T-105
    #[test]
    fn no_two_files_share_a_key_or_an_iv() {
        let keys: Vec<FileKey> = (0..1000).map(|_| FileKey::generate().unwrap()).collect();
        let distinct: BTreeSet<_> = keys.iter().map(|it| *it.key.expose()).collect();
        let ivs: BTreeSet<_> = keys.iter().map(|it| it.iv).collect();
        assert_eq!((distinct.len(), ivs.len()), (1000, 1000));
        assert!(keys.iter().all(|key| key.iv[8..] == [0; 8]), "the counter begins at zero");
    }

    #[test]
    fn neither_key_nor_hash_is_printed() {
        let file = EncryptedFile::parse(&vector()).unwrap();
        let shown = format!("{file:?} {:?} {:?}", file.key, Encryptor::new(file.key.clone()));
        assert!(!shown.contains("31") && !shown.contains("HR4f"), "{shown}");
    }

    fn in_pieces(bytes: &mut [u8], sizes: &[usize], mut act: impl FnMut(&mut [u8])) {
        let mut rest = bytes;
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, left) = rest.split_at_mut((*size).min(rest.len()));
            act(piece);
            rest = left;
        }
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_file_comes_back(
            clear in prop::collection::vec(any::<u8>(), 0..3000),
            one in prop::collection::vec(1_usize..200, 1..8),
            other in prop::collection::vec(1_usize..200, 1..8),
        ) {
            let mut encryptor = Encryptor::new(FileKey::generate().unwrap());
            let mut bytes = clear.clone();
            in_pieces(&mut bytes, &one, |piece| encryptor.encrypt(piece));
            let url = MxcUri::parse("mxc://x/y").unwrap();
            let file = EncryptedFile::parse(&encryptor.finish().at(url).to_json()).unwrap();
            let mut decryptor = Decryptor::new(&file);
            in_pieces(&mut bytes, &other, |piece| decryptor.decrypt(piece));
            prop_assert_eq!(decryptor.finish(), Ok(()));
            prop_assert_eq!(bytes, clear);
        }

        #[test]
        fn no_file_object_makes_the_reader_panic(text in "\\PC{0,200}") {
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                drop(EncryptedFile::parse(&value));
            }
            for pointer in ["/url", "/key/k", "/iv", "/hashes/sha256"] {
                drop(EncryptedFile::parse(&with(pointer, json!(text))));
            }
        }
    }
}

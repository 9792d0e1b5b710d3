//! The key file: the random master key of a store, sealed under a passphrase or in clear.
//!
//! A passphrase is changed by sealing the same master key again, so the store itself is not
//! rewritten. The file is replaced in one step: there is always exactly one way in.
//!
//! ```text
//! passphrase ──Argon2id(salt, cost)──▶ XChaCha20-Poly1305 ──▶ master key
//! ```

use std::{fmt, fs::File, path::Path};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD as BASE64};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305,
    aead::{Aead as _, Payload},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

use super::{
    error::{OpenError, StoreError},
    files,
};
use crate::secret::Secret;

/// Name of the key file.
pub(super) const FILE: &str = "store.key";

/// Bytes of a master key.
const KEY_BYTES: usize = 32;

pub(super) type MasterKey = Zeroizing<[u8; KEY_BYTES]>;

/// What opens a store.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreKey {
    /// A passphrase; the key file holds the master key sealed under it.
    Passphrase(Secret<String>),
    /// The master key itself, 32 bytes; a store made with it has it in clear in its key file.
    Key(Secret<Vec<u8>>),
}

impl StoreKey {
    /// Draws a master key, for a store without passphrase.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn random() -> Result<Self, OpenError> {
        Ok(Self::Key(Secret::new(random_key()?.to_vec())))
    }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passphrase(_) => f.write_str("Passphrase(..)"),
            Self::Key(_) => f.write_str("Key(..)"),
        }
    }
}

/// What stands between the store and somebody who has its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// A passphrase.
    Passphrase,
    /// Nothing but the mode of the key file.
    KeyFile,
    /// It is in memory only.
    Memory,
}

impl Protection {
    /// What the user should know, in one sentence.
    pub fn warning(self) -> Option<&'static str> {
        match self {
            Self::KeyFile => Some(
                "messages and keys on this disk are protected by file permissions only; \
                 set a passphrase with `grotto passphrase set`",
            ),
            Self::Passphrase | Self::Memory => None,
        }
    }
}

/// How much work it takes to try a passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KdfCost {
    /// Memory in KiB; at most 1 GiB.
    pub memory_kib: u32,
    /// Passes over it; at most 64.
    pub passes: u32,
}

impl Default for KdfCost {
    /// 128 MiB and three passes: about 0.4 s on one core, and twice the memory of the second
    /// recommendation of RFC 9106.
    fn default() -> Self {
        Self { memory_kib: 128 * 1024, passes: 3 }
    }
}

/// What the key file says.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeyFile {
    /// The master key in clear, with a checksum that tells a damaged key file from a damaged store.
    Clear { key: Zeroizing<String>, check: String },
    /// The master key sealed under a passphrase.
    Argon2id { cost: KdfCost, salt: String, nonce: String, sealed: String },
}

/// Writes the key file of a store for the first time, or anew with another protection.
pub(super) fn write(
    dir: &Path,
    master: &MasterKey,
    passphrase: Option<&Secret<String>>,
    cost: KdfCost,
) -> Result<(), OpenError> {
    let file = match passphrase {
        Some(passphrase) => seal(master, passphrase, cost)?,
        None => {
            KeyFile::Clear { key: Zeroizing::new(BASE64.encode(**master)), check: checksum(master) }
        }
    };
    let text = serde_json::to_vec(&file)
        .map(Zeroizing::new)
        .map_err(|source| StoreError::Value { table: FILE, source })?;
    let path = dir.join(FILE);
    let old = File::options().write(true).open(&path).ok();
    files::replace(&path, &text).map_err(|source| OpenError::io(&path, source))?;
    match old.as_ref().map(files::overwrite) {
        Some(Err(source)) => Err(OpenError::io(&path, source)),
        Some(Ok(())) | None => Ok(()),
    }
}

/// Reads the key file and opens it.
pub(super) fn read(
    dir: &Path,
    key: Option<&StoreKey>,
) -> Result<(MasterKey, Protection), OpenError> {
    let path = dir.join(FILE);
    let io = |source| OpenError::io(&path, source);
    let Some(text) = files::read_small(&path).map_err(io)?.map(Zeroizing::new) else {
        return Err(OpenError::KeyMissing(path));
    };
    files::check_private(&path, 0o600)?;
    let Ok(file) = serde_json::from_slice::<KeyFile>(&text) else {
        return Err(OpenError::KeyDamaged(path));
    };
    match (file, key) {
        (KeyFile::Clear { .. }, Some(StoreKey::Key(key))) => Ok((given(key)?, Protection::KeyFile)),
        (KeyFile::Argon2id { .. }, Some(StoreKey::Key(key))) => {
            Ok((given(key)?, Protection::Passphrase))
        }
        // A passphrase that is not needed does no harm; `Store::protection` tells the truth.
        (KeyFile::Clear { key, check }, None | Some(StoreKey::Passphrase(_))) => {
            let master = decode::<KEY_BYTES>(&key).map(Zeroizing::new);
            let master = master.filter(|master| checksum(master) == check);
            Ok((master.ok_or(OpenError::KeyDamaged(path))?, Protection::KeyFile))
        }
        (KeyFile::Argon2id { .. }, None) => Err(OpenError::Locked(dir.to_owned())),
        (sealed @ KeyFile::Argon2id { .. }, Some(StoreKey::Passphrase(passphrase))) => {
            match unseal(&sealed, passphrase) {
                Unsealed::Key(master) => Ok((master, Protection::Passphrase)),
                Unsealed::WrongPassphrase => Err(OpenError::WrongPassphrase),
                Unsealed::Damaged => Err(OpenError::KeyDamaged(path)),
            }
        }
    }
}

/// The master key that a new store gets for `key`.
pub(super) fn master_for(key: &StoreKey) -> Result<MasterKey, OpenError> {
    match key {
        StoreKey::Passphrase(_) => random_key(),
        StoreKey::Key(key) => given(key),
    }
}

fn given(key: &Secret<Vec<u8>>) -> Result<MasterKey, OpenError> {
    let mut master = MasterKey::default();
    if key.expose().len() != KEY_BYTES {
        return Err(OpenError::WrongKey);
    }
    master.copy_from_slice(key.expose());
    Ok(master)
}

fn random_key() -> Result<MasterKey, OpenError> {
    Ok(Zeroizing::new(random()?))
}

pub(super) fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|source| StoreError::Random(source.to_string()))?;
    Ok(bytes)
}

fn seal(
    master: &MasterKey,
    passphrase: &Secret<String>,
    cost: KdfCost,
) -> Result<KeyFile, OpenError> {
    if passphrase.expose().is_empty() {
        return Err(OpenError::EmptyPassphrase);
    }
    let (salt, nonce): ([u8; 16], [u8; 24]) = (random()?, random()?);
    let sealed = derive(passphrase, &salt, cost).and_then(|key| {
        let aad = associated_data(cost, &salt);
        let payload = Payload { msg: master.as_slice(), aad: &aad };
        XChaCha20Poly1305::new((&*key).into()).encrypt((&nonce).into(), payload).ok()
    });
    Ok(KeyFile::Argon2id {
        cost,
        salt: BASE64.encode(salt),
        nonce: BASE64.encode(nonce),
        sealed: BASE64.encode(sealed.ok_or(OpenError::KdfCost(cost))?),
    })
}

/// What came of opening a sealed master key.
enum Unsealed {
    Key(MasterKey),
    /// Or what is sealed was damaged, which looks the same.
    WrongPassphrase,
    Damaged,
}

fn unseal(file: &KeyFile, passphrase: &Secret<String>) -> Unsealed {
    let KeyFile::Argon2id { cost, salt, nonce, sealed } = file else { return Unsealed::Damaged };
    let sealed = BASE64.decode(sealed).ok().filter(|sealed| sealed.len() == KEY_BYTES + 16);
    let parts = decode::<16>(salt).zip(decode::<24>(nonce)).zip(sealed);
    let Some(((salt, nonce), sealed)) = parts else { return Unsealed::Damaged };
    let Some(key) = derive(passphrase, &salt, *cost) else { return Unsealed::Damaged };
    let aad = associated_data(*cost, &salt);
    let opened = XChaCha20Poly1305::new((&*key).into())
        .decrypt((&nonce).into(), Payload { msg: &sealed, aad: &aad })
        .map(Zeroizing::new);
    let Ok(bytes) = opened else { return Unsealed::WrongPassphrase };
    bytes.as_slice().try_into().map_or(Unsealed::Damaged, |key| Unsealed::Key(Zeroizing::new(key)))
}

/// The key that a passphrase stands for; `None` when the cost is out of bounds.
fn derive(passphrase: &Secret<String>, salt: &[u8; 16], cost: KdfCost) -> Option<MasterKey> {
    if cost.memory_kib > 1024 * 1024 || cost.passes > 64 {
        return None;
    }
    let params = Params::new(cost.memory_kib, cost.passes, 1, Some(KEY_BYTES)).ok()?;
    let mut memory = vec![Block::default(); params.block_count()];
    let mut key = MasterKey::default();
    let derived = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(
            passphrase.expose().as_bytes(),
            salt,
            key.as_mut_slice(),
            &mut memory,
        );
    for block in &mut memory {
        block.zeroize();
    }
    derived.ok().map(|()| key)
}

/// Binds the seal to its purpose, its cost and its salt.
fn associated_data(cost: KdfCost, salt: &[u8; 16]) -> Vec<u8> {
    let KdfCost { memory_kib, passes } = cost;
    [b"grotto store key 1".as_slice(), &memory_kib.to_be_bytes(), &passes.to_be_bytes(), salt]
        .concat()
}

/// Four bytes that a damaged key in clear does not match; they say nothing useful about the key.
fn checksum(master: &MasterKey) -> String {
    let digest = Sha256::new().chain_update(b"grotto store key check").chain_update(**master);
    BASE64.encode(digest.finalize().get(..4).unwrap_or_default())
}

fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    Zeroizing::new(BASE64.decode(text).ok()?).as_slice().try_into().ok()
}

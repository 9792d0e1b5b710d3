//! Key files: sessions on their way to another client, under a passphrase.
//!
//! Written and read piece by piece. Nothing of a file is decrypted before all of it was proved to be
//! of whoever knows the passphrase, so it is read twice.
//!
//! ```text
//! BEGIN line | base64( 1 | salt 16 | IV 16 | rounds 4 | AES-256-CTR(JSON array) | HMAC 32 ) | END line
//! ```
//!
//! # Spec
//! End-to-End Encryption, "Key exports".

mod armor;
mod items;
mod read;
mod write;

use aes::Aes256;
use ctr::{Ctr128BE, cipher::KeyIvInit as _};
use hmac::{Hmac, KeyInit as _};
use sha2::{Sha256, Sha512};
use zeroize::Zeroizing;

pub use read::KeyFileReader;
pub use write::KeyFileWriter;

const BEGIN: &str = "-----BEGIN MEGOLM SESSION DATA-----";
const END: &str = "-----END MEGOLM SESSION DATA-----";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 37;
const MAC_BYTES: usize = 32;
/// How often the passphrase is hashed, when we write.
const ROUNDS: u32 = 500_000;
/// Most often, when we read: some ten seconds' work.
const MOST_ROUNDS: u32 = 10_000_000;

/// Why a key file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read or written.
    #[error("the key file cannot be read or written")]
    Io(#[from] std::io::Error),
    /// There is no such file in it, or not all of it.
    #[error("this is no key file, or only a part of one")]
    NotOne,
    /// A later version of the format.
    #[error("the key file has format {0}, and grotto knows only 1")]
    Version(u8),
    /// The work factor is absurd.
    #[error("the key file asks for {0} rounds of hashing; more than {MOST_ROUNDS} are refused")]
    Rounds(u32),
    /// The passphrase is another, or the file was changed.
    #[error("the passphrase is wrong, or the file is damaged; nothing was imported")]
    Passphrase,
    /// What is inside is no list of sessions.
    #[error("the key file holds something else than a list of keys")]
    Content,
    /// The system gave no random bytes.
    #[error("the system gives no random bytes: {0}")]
    NoRandomness(getrandom::Error),
}

type Cipher = Ctr128BE<Aes256>;
type Mac = Hmac<Sha256>;

/// Salt, IV and rounds.
struct Header {
    salt: [u8; 16],
    iv: [u8; 16],
    rounds: u32,
}

impl Header {
    fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let parts = [&[VERSION][..], &self.salt, &self.iv, &self.rounds.to_be_bytes()];
        for (place, byte) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *place = *byte;
        }
        bytes
    }

    fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, KeyFileError> {
        let [version, rest @ ..] = bytes;
        if *version != VERSION {
            return Err(KeyFileError::Version(*version));
        }
        let (salt, rest) = rest.split_first_chunk().ok_or(KeyFileError::NotOne)?;
        let (iv, rest) = rest.split_first_chunk().ok_or(KeyFileError::NotOne)?;
        let (rounds, _) = rest.split_first_chunk().ok_or(KeyFileError::NotOne)?;
        let rounds = u32::from_be_bytes(*rounds);
        if rounds == 0 || MOST_ROUNDS < rounds {
            return Err(KeyFileError::Rounds(rounds));
        }
        Ok(Self { salt: *salt, iv: *iv, rounds })
    }

    /// The cipher and the MAC; takes a while.
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    fn keys(&self, passphrase: &str) -> (Cipher, Mac) {
        let mut keys = Zeroizing::new([0_u8; 64]);
        let out = keys.as_mut_slice();
        pbkdf2::pbkdf2::<Hmac<Sha512>>(passphrase.as_bytes(), &self.salt, self.rounds, out)
            .expect("any passphrase will do");
        let (key, mac) = keys.split_at(32);
        let mut cipher_key = aes::cipher::Key::<Cipher>::default();
        cipher_key.copy_from_slice(key);
        let cipher = Cipher::new(&cipher_key, &self.iv.into());
        zeroize::Zeroize::zeroize(cipher_key.as_mut_slice());
        (cipher, Mac::new_from_slice(mac).expect("any key will do"))
    }
}

#[cfg(test)]
mod tests;

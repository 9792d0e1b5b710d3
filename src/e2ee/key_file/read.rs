//! Reading a key file: once to prove it, once to decrypt it.

use std::{
    fmt,
    io::{BufRead, Seek, SeekFrom},
};

use ctr::cipher::StreamCipher as _;
use hmac::Mac as _;
use zeroize::Zeroizing;

use super::{Cipher, HEADER_BYTES, Header, KeyFileError, MAC_BYTES, armor::Armor, items::Items};

/// The sessions of a key file, one after the other.
pub struct KeyFileReader<R> {
    body: Body<R>,
    cipher: Cipher,
    items: Items,
    /// Decrypted and not looked at yet.
    plain: Zeroizing<Vec<u8>>,
    at: usize,
}

impl<R> fmt::Debug for KeyFileReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyFileReader(..)")
    }
}

impl<R: BufRead + Seek> KeyFileReader<R> {
    /// Proves that the file is whole and of whoever knows the passphrase; takes a while.
    ///
    /// # Errors
    /// When it is not, or cannot be read.
    pub fn open(source: R, passphrase: &str) -> Result<Self, KeyFileError> {
        let (header, mut body) = Body::open(source)?;
        let (cipher, mac) = header.keys(passphrase);
        let mut mac = mac.chain_update(header.to_bytes());
        while let Some(piece) = body.next()? {
            mac.update(&piece);
        }
        let told = body.mac()?;
        mac.verify_slice(&told).ok().ok_or(KeyFileError::Passphrase)?;
        let mut source = body.armor.into_source();
        source.seek(SeekFrom::Start(0))?;
        let (_, body) = Body::open(source)?;
        let plain = Zeroizing::new(Vec::new());
        Ok(Self { body, cipher, items: Items::new(), plain, at: 0 })
    }

    /// The JSON text of the next session; `None` at the end.
    ///
    /// # Errors
    /// When what is inside is no list of objects, or the file cannot be read.
    #[expect(clippy::should_implement_trait, reason = "an error ends it; there is no next then")]
    pub fn next(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, KeyFileError> {
        loop {
            while let Some(byte) = self.plain.get(self.at) {
                self.at += 1;
                if let Some(item) = self.items.push(*byte)? {
                    return Ok(Some(item));
                }
            }
            let Some(piece) = self.body.next()? else {
                return if self.items.is_whole() { Ok(None) } else { Err(KeyFileError::Content) };
            };
            self.plain = Zeroizing::new(piece);
            self.cipher.apply_keystream(&mut self.plain);
            self.at = 0;
        }
    }
}

/// The data less its header; the MAC at its end is held back.
struct Body<R> {
    armor: Armor<R>,
    held: Vec<u8>,
}

impl<R: BufRead> Body<R> {
    fn open(source: R) -> Result<(Header, Self), KeyFileError> {
        let mut armor = Armor::open(source)?;
        let mut held = Vec::new();
        while held.len() < HEADER_BYTES {
            held.extend(armor.next()?.ok_or(KeyFileError::NotOne)?);
        }
        let (header, rest) = held.split_first_chunk().ok_or(KeyFileError::NotOne)?;
        let header = Header::parse(header)?;
        Ok((header, Self { held: rest.to_vec(), armor }))
    }

    /// The next piece of the ciphertext.
    fn next(&mut self) -> Result<Option<Vec<u8>>, KeyFileError> {
        while self.held.len() <= MAC_BYTES {
            let Some(piece) = self.armor.next()? else { return Ok(None) };
            self.held.extend(piece);
        }
        let whole = self.held.len().saturating_sub(MAC_BYTES);
        Ok(Some(self.held.drain(..whole).collect()))
    }

    /// The MAC, when all else was read.
    fn mac(&self) -> Result<[u8; MAC_BYTES], KeyFileError> {
        self.held.as_slice().try_into().ok().ok_or(KeyFileError::NotOne)
    }
}

#[cfg(test)]
pub(super) fn test_header(file: &str) -> (Header, ()) {
    (Body::open(file.as_bytes()).unwrap().0, ())
}

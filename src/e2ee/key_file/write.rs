//! Writing a key file.

use std::{fmt, io::Write};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ctr::cipher::StreamCipher as _;
use hmac::Mac as _;
use zeroize::Zeroizing;

use super::{BEGIN, Cipher, END, Header, KeyFileError, Mac, ROUNDS};

/// Bytes of one line: 96 characters.
const LINE_BYTES: usize = 72;

/// Takes sessions and writes them.
pub struct KeyFileWriter<W> {
    out: W,
    cipher: Cipher,
    mac: Mac,
    /// Encrypted, and not a whole line yet.
    line: Vec<u8>,
    count: u64,
}

impl<W> fmt::Debug for KeyFileWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFileWriter").field("count", &self.count).finish_non_exhaustive()
    }
}

impl<W: Write> KeyFileWriter<W> {
    /// Begins a file; takes a while.
    ///
    /// # Errors
    /// When it cannot be written, or the system gives no random bytes.
    pub fn new(out: W, passphrase: &str) -> Result<Self, KeyFileError> {
        let (mut salt, mut iv) = ([0; 16], [0; 16]);
        getrandom::fill(&mut salt).map_err(KeyFileError::NoRandomness)?;
        getrandom::fill(&mut iv).map_err(KeyFileError::NoRandomness)?;
        // Some implementations count in 64 bits only: their counter must not overflow.
        if let Some(byte) = iv.get_mut(8) {
            *byte &= 0x7f;
        }
        Self::with(out, passphrase, &Header { salt, iv, rounds: ROUNDS })
    }

    pub(super) fn with(
        mut out: W,
        passphrase: &str,
        header: &Header,
    ) -> Result<Self, KeyFileError> {
        let (cipher, mac) = header.keys(passphrase);
        writeln!(out, "{BEGIN}")?;
        let bytes = header.to_bytes();
        let mac = mac.chain_update(bytes);
        Ok(Self { out, cipher, mac, line: bytes.to_vec(), count: 0 })
    }

    /// Adds a session, as JSON text.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn push(&mut self, session: &str) -> Result<(), KeyFileError> {
        let before = if self.count == 0 { b"[" } else { b"," };
        self.count += 1;
        self.encrypt(before)?;
        self.encrypt(session.as_bytes())
    }

    /// Ends the file and gives back what it was written to; nothing says that it reached the disk.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> Result<W, KeyFileError> {
        let end = if self.count == 0 { &b"[]"[..] } else { b"]" };
        self.encrypt(end)?;
        let mac = self.mac.clone().finalize().into_bytes();
        self.write(&mac)?;
        let rest = std::mem::take(&mut self.line);
        if !rest.is_empty() {
            writeln!(self.out, "{}", STANDARD.encode(rest))?;
        }
        writeln!(self.out, "{END}")?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn encrypt(&mut self, plain: &[u8]) -> Result<(), KeyFileError> {
        let mut bytes = Zeroizing::new(plain.to_vec());
        self.cipher.apply_keystream(&mut bytes);
        self.mac.update(&bytes);
        self.write(&bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), KeyFileError> {
        self.line.extend_from_slice(bytes);
        let whole = self.line.len() / LINE_BYTES * LINE_BYTES;
        let rest = self.line.split_off(whole);
        for line in std::mem::replace(&mut self.line, rest).chunks(LINE_BYTES) {
            writeln!(self.out, "{}", STANDARD.encode(line))?;
        }
        Ok(())
    }
}

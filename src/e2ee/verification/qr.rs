//! The bytes of a verification code, and what a scan of one shows.
//!
//! ```text
//! "MATRIX" 02 mode len₁₆ flow-id key₁[32] key₂[32] secret[8..]
//! ```
//!
//! # Spec
//! Client-Server API, "QR codes".

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use vodozemac::Ed25519PublicKey;

use super::{
    code::CancelCode,
    keys::{Bound, OwnTrust},
    proof::{Checked, Checks, KeysChecked},
};
use crate::{matrix::ed25519_from_base64, secret::Secret};

const MAGIC: &[u8] = b"MATRIX";
const VERSION: u8 = 2;
const KEY_BYTES: usize = 32;
/// Bytes beside the name of the verification and the secret.
const FIXED_BYTES: usize = 10 + 2 * KEY_BYTES;
/// Shortest secret that the specification allows, and the one that we use where it costs nothing.
const SHORTEST_SECRET: usize = 8;
pub(super) const USUAL_SECRET: usize = 16;
/// How many bytes QR codes of growing size hold, at the lowest error correction. Each size is four
/// modules wider than the one before; the smallest of these fits into a terminal of 24 rows.
const CAPACITIES: [usize; 4] = [106, 134, 154, 192];
/// Longest secret of a peer that is read.
const LONGEST_SECRET: usize = 256;

/// What a code is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Another user: both master keys.
    OtherUser,
    /// Two devices of one user; the showing one trusts the master key.
    OwnTrusting,
    /// Two devices of one user; the showing one does not.
    OwnUntrusting,
}

impl Mode {
    fn byte(self) -> u8 {
        match self {
            Self::OtherUser => 0,
            Self::OwnTrusting => 1,
            Self::OwnUntrusting => 2,
        }
    }

    fn of(byte: u8) -> Option<Self> {
        [Self::OtherUser, Self::OwnTrusting, Self::OwnUntrusting]
            .into_iter()
            .find(|mode| mode.byte() == byte)
    }
}

/// The content of a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct QrData {
    pub(super) mode: Mode,
    pub(super) flow: String,
    pub(super) first: [u8; KEY_BYTES],
    pub(super) second: [u8; KEY_BYTES],
    pub(super) secret: Secret<Vec<u8>>,
}

impl QrData {
    /// The bytes to show.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(160);
        bytes.extend(MAGIC);
        bytes.extend([VERSION, self.mode.byte()]);
        let length = u16::try_from(self.flow.len()).unwrap_or(u16::MAX);
        bytes.extend(length.to_be_bytes());
        bytes.extend(self.flow.bytes());
        bytes.extend(self.first);
        bytes.extend(self.second);
        bytes.extend(self.secret.expose());
        bytes
    }

    /// Reads scanned bytes; `None` when they are no such code.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (&[version, mode, high, low], rest) = rest.split_first_chunk()?;
        let mode = Mode::of(mode).filter(|_| version == VERSION)?;
        let (flow, rest) = rest.split_at_checked(u16::from_be_bytes([high, low]).into())?;
        let flow = String::from_utf8(flow.to_vec()).ok()?;
        let (first, rest) = rest.split_first_chunk()?;
        let (second, secret) = rest.split_first_chunk()?;
        if !(SHORTEST_SECRET..=LONGEST_SECRET).contains(&secret.len()) {
            return None;
        }
        let secret = Secret::new(secret.to_vec());
        Some(Self { mode, flow, first: *first, second: *second, secret })
    }
}

/// The longest secret that does not make the code larger.
fn secret_bytes(flow_bytes: usize) -> usize {
    let rest = FIXED_BYTES + flow_bytes;
    let room = CAPACITIES.into_iter().find(|bytes| rest + SHORTEST_SECRET <= *bytes);
    room.map_or(USUAL_SECRET, |bytes| (bytes - rest).min(USUAL_SECRET))
}

fn master(key: Option<&String>) -> Option<[u8; KEY_BYTES]> {
    key.and_then(|key| ed25519_from_base64(key)).map(|key: Ed25519PublicKey| *key.as_bytes())
}

/// A code of ours that is on show.
#[derive(Debug)]
pub(super) struct Shown {
    secret: Secret<Vec<u8>>,
    checked: Mode,
    pub(super) bytes: Vec<u8>,
}

impl Shown {
    /// Makes the code of this device; `None` where there is nothing to show.
    pub(super) fn new(bound: &Bound, flow: &str, secret: &[u8; USUAL_SECRET]) -> Option<Self> {
        let ours = master(bound.us.master.as_ref());
        let (mode, first, second) = if !bound.is_own() {
            (Mode::OtherUser, ours?, master(bound.them.master.as_ref())?)
        } else if bound.trust == OwnTrust::Verified {
            (Mode::OwnTrusting, ours?, *bound.them.ed25519.as_bytes())
        } else {
            (Mode::OwnUntrusting, *bound.us.ed25519.as_bytes(), ours?)
        };
        let (secret, _) = secret.split_at_checked(secret_bytes(flow.len()))?;
        let secret = Secret::new(secret.to_vec());
        let flow = flow.to_owned();
        let data = QrData { mode, flow, first, second, secret };
        let bytes = data.encode();
        Some(Self { secret: data.secret, checked: mode, bytes })
    }

    /// The other side says that it scanned the code, and proves it by the secret.
    pub(super) fn scanned(self, secret: &str, bound: &Bound) -> Result<KeysChecked, CancelCode> {
        let shown = STANDARD_NO_PAD.decode(secret.trim_end_matches('='));
        let shown = Secret::new(shown.ok().ok_or(CancelCode::InvalidMessage)?);
        // Its user confirms that the scan went well: then the keys in the code were those that the
        // other side holds, ours and its own.
        let what = match self.checked {
            Mode::OtherUser | Mode::OwnUntrusting => Checked::Master,
            Mode::OwnTrusting => Checked::Device,
        };
        let mut checks = Checks::default();
        // The one place that compares the secret: without it, anybody's word would do.
        let same = checks.check(what, self.secret.expose(), shown.expose());
        let checked = if same { checks.suffice(bound) } else { None };
        checked.ok_or(CancelCode::KeyMismatch)
    }
}

/// Checks a code that was scanned against the keys that were bound; gives the check and the secret
/// to send back.
pub(super) fn scan(
    bytes: &[u8],
    flow: &str,
    bound: &Bound,
) -> Result<(KeysChecked, String), CancelCode> {
    let data = QrData::decode(bytes).ok_or(CancelCode::InvalidMessage)?;
    if data.flow != flow {
        return Err(CancelCode::UnknownTransaction);
    }
    let ours = master(bound.us.master.as_ref()).ok_or(CancelCode::KeyMismatch)?;
    let theirs = master(bound.them.master.as_ref()).ok_or(CancelCode::KeyMismatch)?;
    let (us, them) = (bound.us.ed25519.as_bytes(), bound.them.ed25519.as_bytes());
    let (fits, first, second, what, expected) = match data.mode {
        Mode::OtherUser => (!bound.is_own(), &theirs, &ours, Checked::Master, &theirs),
        Mode::OwnTrusting => (bound.is_own(), &theirs, us, Checked::Master, &theirs),
        Mode::OwnUntrusting => {
            let trusts = bound.trust == OwnTrust::Verified;
            (bound.is_own() && trusts, them, &ours, Checked::Device, them)
        }
    };
    if !fits {
        return Err(CancelCode::KeyMismatch);
    }
    let mut checks = Checks::default();
    let same = data.first == *first && data.second == *second;
    if !same || !checks.check(what, expected, &data.first) {
        return Err(CancelCode::KeyMismatch);
    }
    let checked = checks.suffice(bound).ok_or(CancelCode::KeyMismatch)?;
    Ok((checked, STANDARD_NO_PAD.encode(data.secret.expose())))
}

/// Longest base64 of a code that is read.
const LONGEST_TEXT: usize = 4096;

/// Reads the base64 of scanned bytes, whichever alphabet it is in.
pub(super) fn from_text(text: &str) -> Option<Vec<u8>> {
    let text: String = text.chars().filter(|c| !c.is_whitespace() && *c != '=').collect();
    if LONGEST_TEXT < text.len() {
        return None;
    }
    let text = text.replace('-', "+").replace('_', "/");
    STANDARD_NO_PAD.decode(text).ok()
}

//! One entry of a backup: sealed for the backup's public key, opened with its private one.

use base64::Engine as _;
use serde::{Deserialize, Serialize};
use vodozemac::{
    Curve25519PublicKey,
    pk_encryption::{Message, PkDecryption, PkEncryption},
};
use zeroize::Zeroizing;

use super::record::{LENIENT, curve25519_from_base64};
use crate::e2ee::{
    MachineError, exported::ExportedSession, lookup::Table, megolm::inbound::InboundSession,
    step::encode,
};

/// Largest entry that is read; a real one has about a kilobyte.
const MAX_ENTRY_BYTES: usize = 16 << 10;

/// An entry as it goes out.
#[derive(Serialize)]
pub(super) struct Entry {
    first_message_index: u32,
    forwarded_count: u32,
    /// Never said. Nobody could rely on it, and of two copies servers keep one with it, however late
    /// it begins: a new device, sure of whose session it got the end of, would push out the copy of
    /// an old one that opens everything.
    is_verified: bool,
    session_data: Sealed,
}

/// An entry as it comes in; what the server says beside the sealed data is not used.
#[derive(Deserialize)]
struct Incoming {
    session_data: Sealed,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    ephemeral: String,
    ciphertext: String,
    mac: String,
}

impl Entry {
    /// Seals a session; `None` when the backup's key is not one that anything can be sealed for.
    pub(super) fn seal(
        record: &InboundSession,
        key: Curve25519PublicKey,
    ) -> Result<Option<Self>, MachineError> {
        let session = ExportedSession::of(record);
        let plain = Zeroizing::new(encode(Table::Backup, &session)?);
        let Ok(message) = PkEncryption::from_key(key).encrypt(&plain) else { return Ok(None) };
        Ok(Some(Self {
            first_message_index: record.session.first_known_index(),
            forwarded_count: u32::try_from(record.chain.len()).unwrap_or(u32::MAX),
            is_verified: false,
            session_data: Sealed {
                ephemeral: message.ephemeral_key.to_base64(),
                ciphertext: LENIENT.encode(message.ciphertext),
                mac: LENIENT.encode(message.mac),
            },
        }))
    }
}

/// Opens an entry; `text` is its JSON. `None` when it is not one, or sealed for another key.
pub(super) fn open(text: &str, key: &PkDecryption) -> Option<ExportedSession> {
    if MAX_ENTRY_BYTES < text.len() {
        return None;
    }
    let Sealed { ephemeral, ciphertext, mac } =
        serde_json::from_str::<Incoming>(text).ok()?.session_data;
    let message = Message {
        ciphertext: LENIENT.decode(ciphertext).ok()?,
        mac: LENIENT.decode(mac).ok()?,
        ephemeral_key: curve25519_from_base64(&ephemeral)?,
    };
    let plain = Zeroizing::new(key.decrypt(&message).ok()?);
    serde_json::from_slice(&plain).ok()
}

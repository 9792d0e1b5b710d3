//! Encrypting a room event.
//!
//! # Spec
//! End-to-End Encryption, `m.room.encrypted`, `m.megolm.v1.aes-sha2`.

use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{
    MEGOLM_V1,
    outbound::Outbound,
    payload::{Outgoing, RELATION, WithoutRelation},
};
use crate::{
    e2ee::{
        EncryptError, MegolmCiphertext, Plaintext,
        core::Core,
        lookup::Table,
        step::{Step, encode, encode_text},
    },
    matrix::{DeviceId, RoomId},
};

/// Largest payload. Servers take events of 65,536 bytes, base64 makes four of three, and the
/// signatures and references that servers add need some room.
const MAX_PAYLOAD_BYTES: usize = 45_000;

/// The content of `m.room.encrypted`. `sender_key` and `device_id` are deprecated, but old clients
/// do not read events without them.
#[derive(Serialize)]
struct Encrypted<'a> {
    algorithm: &'a str,
    ciphertext: String,
    device_id: &'a DeviceId,
    #[serde(rename = "m.relates_to", skip_serializing_if = "Option::is_none")]
    relation: Option<&'a Value>,
    sender_key: String,
    session_id: &'a str,
}

/// Encrypts an event of `room` with its session, which must have been prepared.
pub(in crate::e2ee) fn encrypt(
    core: &Core,
    (room, outbound): (&RoomId, &mut Outbound),
    plaintext: &Plaintext,
    step: &mut Step<'_>,
) -> Result<MegolmCiphertext, EncryptError> {
    let payload = Outgoing {
        kind: &plaintext.kind,
        content: WithoutRelation(&plaintext.content),
        room_id: room,
    };
    let payload = Zeroizing::new(encode(Table::OutboundGroupSession, &payload)?);
    let relation = plaintext.content.get(RELATION);
    let bytes = payload.len() + relation.map_or(0, |relation| relation.to_string().len());
    if MAX_PAYLOAD_BYTES < bytes {
        return Err(EncryptError::TooLarge { bytes, limit: MAX_PAYLOAD_BYTES });
    }
    let message = outbound.record.session.encrypt(&*payload);
    outbound.write(room, step)?;
    let content = Encrypted {
        algorithm: MEGOLM_V1,
        ciphertext: message.to_base64(),
        device_id: &core.device,
        relation,
        sender_key: core.account.curve25519().to_base64(),
        session_id: &outbound.id,
    };
    Ok(MegolmCiphertext { json: encode_text(Table::OutboundGroupSession, &content)? })
}

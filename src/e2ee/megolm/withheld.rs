//! Withheld notices: word that a device gets no key.
//!
//! Those of others are hints for the text beside an undecryptable event, nothing more: they come
//! unencrypted, so anybody on the way can write them. One never removes a key and is looked at only
//! while there is none. Ours are sent once for each session and device.
//!
//! # Spec
//! End-to-End Encryption, "Reporting that decryption keys are withheld".

use serde::{Deserialize, Serialize};

use super::MEGOLM_V1;
use crate::{
    e2ee::{
        Machine, MachineError, Notice,
        device::Device,
        lookup::Table,
        request::{DEVICES_PER_REQUEST, Purpose, ToDeviceMessage},
        step::{Step, encode_text, raw},
        story::WithheldKey,
    },
    matrix::{OwnedRoomId, RoomId, UserId},
    time::Timestamp,
};

/// Longest code that is kept; the specified ones have at most 23 bytes.
const MAX_CODE_BYTES: usize = 64;
/// Most notices kept of one sender, so that nobody fills the store with them.
const MAX_NOTICES: u64 = 1_000;

/// What is kept of a notice.
#[derive(Serialize, Deserialize)]
struct Withheld {
    code: String,
    from: String,
    at: Timestamp,
}

/// The part of `m.room_key.withheld` that we read.
#[derive(Deserialize)]
struct Content {
    algorithm: String,
    code: String,
    room_id: Option<OwnedRoomId>,
    session_id: Option<String>,
}

/// What we write of a key that somebody does not get.
#[derive(Serialize)]
pub(in crate::e2ee) struct Notification<'a> {
    pub(in crate::e2ee) algorithm: &'a str,
    pub(in crate::e2ee) code: &'a str,
    pub(in crate::e2ee) reason: &'a str,
    pub(in crate::e2ee) room_id: &'a RoomId,
    pub(in crate::e2ee) sender_key: &'a str,
    pub(in crate::e2ee) session_id: &'a str,
}

/// What a notice asks of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::e2ee) enum Received {
    /// Nothing: it was kept, or ignored.
    Done,
    /// `m.no_olm`: that device could not start an Olm session with us; the sender may need a fresh
    /// one.
    NoOlm,
}

/// Takes an `m.room_key.withheld` of `sender`; `content` is its JSON text.
///
/// # Errors
/// When the store fails; a malformed notice is ignored.
pub(in crate::e2ee) fn receive(
    sender: &UserId,
    content: &str,
    step: &mut Step<'_>,
) -> Result<Received, MachineError> {
    let Ok(content) = serde_json::from_str::<Content>(content) else { return Ok(Received::Done) };
    if content.algorithm != MEGOLM_V1 || MAX_CODE_BYTES < content.code.len() {
        return Ok(Received::Done);
    }
    if content.code == "m.no_olm" {
        return Ok(Received::NoOlm);
    }
    let (Some(room), Some(session)) = (content.room_id, content.session_id) else {
        return Ok(Received::Done);
    };
    if has_key(&room, &session, step)? || !super::inbound::is_session_id(&session) {
        return Ok(Received::Done);
    }
    let known: Option<Withheld> = step.get(Table::Withheld, room.as_str(), &session)?;
    if known.is_none() && !count_one(sender, step)? {
        return Ok(Received::Done);
    }
    let kept = Withheld { code: content.code, from: sender.to_string(), at: step.now() };
    step.put(Table::Withheld, room.as_str(), &session, &kept)?;
    step.tell(Notice::Withheld { room, session_id: session });
    Ok(Received::Done)
}

/// The last word that a session is withheld, if there is one.
pub(in crate::e2ee) fn notice(
    room: &RoomId,
    session: &str,
    step: &Step<'_>,
) -> Result<Option<WithheldKey>, MachineError> {
    let kept: Option<Withheld> = step.get(Table::Withheld, room.as_str(), session)?;
    Ok(kept.map(|Withheld { code, from, at }| WithheldKey { code, sender: from, at }))
}

fn has_key(room: &RoomId, session: &str, step: &Step<'_>) -> Result<bool, MachineError> {
    let room: Option<serde::de::IgnoredAny> =
        step.get(Table::SessionRoom, session, room.as_str())?;
    Ok(room.is_some())
}

/// Whether `sender` may leave another notice.
fn count_one(sender: &UserId, step: &mut Step<'_>) -> Result<bool, MachineError> {
    let count: u64 = step.get(Table::Misc, "withheld_notices", sender.as_str())?.unwrap_or(0);
    if MAX_NOTICES <= count {
        return Ok(false);
    }
    step.put(Table::Misc, "withheld_notices", sender.as_str(), &(count + 1))?;
    Ok(true)
}

/// Tells devices that they do not get the session of `room`, each with its code.
///
/// # Errors
/// When the store fails.
pub(super) fn send(
    machine: &mut Machine,
    room: &RoomId,
    devices: &[(&Device, &'static str)],
    step: &mut Step<'_>,
) -> Result<(), MachineError> {
    let Some(outbound) = machine.megolm.outbound.get_mut(room).filter(|_| !devices.is_empty())
    else {
        return Ok(());
    };
    for (device, code) in devices {
        outbound.offers.note_withheld(device, code);
    }
    outbound.offers.write(&outbound.id, devices.iter().map(|(device, _)| &device.user), step)?;
    let id = outbound.id.clone();
    let sender_key = machine.core.account.curve25519().to_base64();
    let mut messages = Vec::with_capacity(devices.len());
    for (device, code) in devices {
        let notification = Notification {
            algorithm: MEGOLM_V1,
            code,
            reason: reason(code),
            room_id: room,
            sender_key: &sender_key,
            session_id: &id,
        };
        messages.push(ToDeviceMessage {
            user: device.user.clone(),
            device_id: device.device_id.clone(),
            content: raw(Table::Withheld, &encode_text(Table::Withheld, &notification)?)?,
        });
    }
    for batch in messages.chunks(DEVICES_PER_REQUEST) {
        machine.core.requests.to_device("m.room_key.withheld", batch, Purpose::Notice, step)?;
    }
    Ok(())
}

/// The words of the specification, for clients that do not know the code.
fn reason(code: &str) -> &'static str {
    match code {
        "m.blacklisted" => "The sender has blocked you.",
        _ => "The sender has not sent you the key.",
    }
}

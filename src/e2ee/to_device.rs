//! To-device events: one at a time, in order, each type only in the way it may come.
//!
//! What must be encrypted is dropped when it comes in clear, what is not on a list is dropped
//! either way. An event that cannot be used loses only itself.
//!
//! # Spec
//! Client-Server API, "Send-to-Device messaging", "Extensions to /sync".

use serde::Deserialize;
use vodozemac::Curve25519PublicKey;

use crate::matrix::{ToDeviceEvent, UserId};

use super::{
    error::MachineError,
    history_sharing,
    machine::Machine,
    megolm::{
        inbound,
        withheld::{self, Received},
    },
    olm::{OlmEvent, Opened, Unproved},
    secret_sharing,
    step::Step,
    verification,
};

/// What is done with a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Encrypted,
    RoomKey,
    Withheld,
    SecretRequest,
    SecretSend,
    KeyRequest,
    ForwardedKey,
    HistoryOffer,
    /// Its coming was all it had to say.
    Dummy,
    Verification,
    /// It may come encrypted only, and did not.
    MustBeEncrypted,
    /// Not on the list: room events, unknown types, Olm in Olm.
    Foreign,
}

/// What may come in clear.
fn use_in_clear(kind: &str) -> Use {
    match kind {
        "m.room.encrypted" => Use::Encrypted,
        "m.room_key.withheld" => Use::Withheld,
        "m.room_key"
        | "m.forwarded_room_key"
        | history_sharing::TYPE
        | history_sharing::UNSTABLE_TYPE
        | "m.secret.send" => Use::MustBeEncrypted,
        "m.secret.request" => Use::SecretRequest,
        "m.room_key_request" => Use::KeyRequest,
        kind if kind.starts_with(verification::PREFIX) => Use::Verification,
        _ => Use::Foreign,
    }
}

/// What may come in an Olm message.
fn use_encrypted(kind: &str) -> Use {
    match kind {
        "m.room_key" => Use::RoomKey,
        "m.room_key.withheld" => Use::Withheld,
        "m.dummy" => Use::Dummy,
        "m.secret.send" => Use::SecretSend,
        history_sharing::TYPE | history_sharing::UNSTABLE_TYPE => Use::HistoryOffer,
        "m.forwarded_room_key" => Use::ForwardedKey,
        kind if kind.starts_with(verification::PREFIX) => Use::Verification,
        _ => Use::Foreign,
    }
}

/// The part of a withheld notice that names its sender's key.
#[derive(Deserialize)]
struct SenderKey {
    sender_key: String,
}

impl Machine {
    /// Takes one to-device event.
    pub(super) fn receive_to_device(
        &mut self,
        event: &ToDeviceEvent,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        match use_in_clear(&event.kind) {
            Use::Encrypted => self.receive_encrypted(event, step)?,
            Use::Withheld => self.receive_withheld(&event.sender, event.content.get(), step)?,
            Use::SecretRequest => self.receive_secret_request(event, step)?,
            Use::Verification => {
                let event_of = (event.kind.as_str(), event.content.get());
                self.receive_verification_to_device((&event.sender, None), event_of, step)?;
            }
            Use::KeyRequest => self.receive_key_request(event, step)?,
            Use::MustBeEncrypted => self.core.dropped.in_clear += 1,
            Use::RoomKey
            | Use::SecretSend
            | Use::ForwardedKey
            | Use::HistoryOffer
            | Use::Dummy
            | Use::Foreign => {
                self.core.dropped.foreign += 1;
            }
        }
        Ok(())
    }

    fn receive_encrypted(
        &mut self,
        event: &ToDeviceEvent,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        match self.core.open_olm(event, step)? {
            Opened::Event(event) => return self.dispatch(*event, step),
            Opened::NotForUs => self.core.dropped.foreign += 1,
            Opened::Replayed => self.core.dropped.replayed += 1,
            Opened::Wedged(key) => {
                self.core.dropped.wedged += 1;
                return self.core.unwedge(&event.sender, &key, step);
            }
            Opened::Unproved(why) => {
                self.core.dropped.unproved += 1;
                if why == Unproved::UnknownDevice {
                    return self.core.suspect(&event.sender, step);
                }
            }
        }
        Ok(())
    }

    fn dispatch(&mut self, event: OlmEvent, step: &mut Step<'_>) -> Result<(), MachineError> {
        let OlmEvent { sender, kind, content } = event;
        match use_encrypted(&kind) {
            Use::RoomKey => {
                inbound::receive_room_key(&mut self.megolm, &sender, &content, step)?;
                if sender.device.is_none() {
                    self.core.suspect(&sender.user, step)?;
                }
            }
            Use::Withheld => self.receive_withheld(&sender.user, &content, step)?,
            Use::Verification => {
                let device = sender.device.as_ref().map(|device| &*device.device_id);
                let from = (&*sender.user, device);
                self.receive_verification_to_device(from, (&kind, &content), step)?;
            }
            Use::SecretSend => {
                let received = self.receive_secret_send(&sender, &content, step)?;
                self.count_received(received);
            }
            Use::ForwardedKey if !self.forwards_keys() => self.core.dropped.unsupported += 1,
            Use::ForwardedKey => {
                let received = self.receive_forwarded_key(&sender, &content, step)?;
                self.count_received(received);
            }
            Use::HistoryOffer => {
                if !self.receive_history_offer(&sender, &content, step)? {
                    self.core.dropped.unproved += 1;
                }
            }
            Use::Dummy => {}
            Use::Encrypted
            | Use::SecretRequest
            | Use::KeyRequest
            | Use::MustBeEncrypted
            | Use::Foreign => {
                self.core.dropped.foreign += 1;
            }
        }
        Ok(())
    }

    fn count_received(&mut self, received: secret_sharing::Received) {
        match received {
            secret_sharing::Received::Taken => {}
            secret_sharing::Received::Unproved => self.core.dropped.unproved += 1,
            secret_sharing::Received::Foreign => self.core.dropped.foreign += 1,
        }
    }

    fn receive_withheld(
        &mut self,
        sender: &UserId,
        content: &str,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        match withheld::receive(sender, content, step)? {
            Received::Done => Ok(()),
            Received::NoOlm => {
                let key = serde_json::from_str::<SenderKey>(content).ok();
                let key = key.and_then(|it| Curve25519PublicKey::from_base64(&it.sender_key).ok());
                key.map_or(Ok(()), |key| self.core.unwedge(sender, &key, step))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_taken_encrypted_only_and_nothing_is_taken_that_is_not_listed() {
        for kind in ["m.room_key", "m.forwarded_room_key", "m.room_key_bundle", "m.secret.send"] {
            assert_eq!(use_in_clear(kind), Use::MustBeEncrypted);
        }
        for kind in ["m.room.encrypted", "m.room.message", "m.room.member", "m.new_device", ""] {
            assert_eq!(use_encrypted(kind), Use::Foreign);
        }
        for kind in ["m.room.message", "m.dummy", "m.room_key.", ""] {
            assert_eq!(use_in_clear(kind), Use::Foreign);
        }
    }
}

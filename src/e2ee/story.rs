//! What is known of the key of one event, for whoever asks why it can be read or cannot.

use serde::{Deserialize, Serialize};
use vodozemac::megolm::MegolmMessage;

use super::{
    BackupSearch, IdentityState, KeyAsked, KeyForwarding, Machine, MachineError,
    decrypt::session_named,
    devices::devices_of,
    megolm::{Source, inbound::InboundSession, withheld},
    step::Step,
    trust::SenderData,
};
use crate::{
    matrix::{Event, OwnedDeviceId, OwnedUserId, RoomId},
    time::Timestamp,
};

/// The story of the key of one encrypted event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyStory {
    /// The session it names, if it names one.
    pub session_id: Option<String>,
    /// Its place in the session, if its ciphertext is one.
    pub message_index: Option<u32>,
    /// What this device has of the session.
    pub held: Option<HeldKey>,
    /// The last word that the key is kept from us.
    pub withheld: Option<WithheldKey>,
    /// What came of looking for the session in the key backup, where what this device has of it
    /// cannot read the event.
    pub backup: Option<BackupSearch>,
    /// How the identity of the event's sender stands.
    pub identity: Option<IdentityState>,
    /// Whether other devices of ours may be asked for it.
    #[serde(default)]
    pub asking: KeyForwarding,
    /// That they were.
    #[serde(default)]
    pub asked: Option<KeyAsked>,
}

impl KeyStory {
    /// Whether what this device has of the session reads the event.
    fn is_readable(&self) -> bool {
        let begins = self.held.as_ref().map(|held| held.first_known_index);
        begins.is_some_and(|begins| self.message_index.is_none_or(|index| begins <= index))
    }
}

/// A session that this device has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldKey {
    /// How it came.
    pub source: Source,
    /// The first message that can be read with it.
    pub first_known_index: u32,
    /// Whose it is; proved only if the source proves it.
    pub sender: Option<OwnedUserId>,
    /// The device that made it, if one of its owner's has its keys.
    pub device: Option<OwnedDeviceId>,
    /// Fingerprint of the device that made it (ed25519, unpadded base64), as the source has it.
    pub ed25519: String,
    /// Whether its maker lets members that are invited later have it.
    pub shared_history: bool,
    /// Who handed it over with the history of the room, if it came so.
    #[serde(default)]
    pub shared_by: Option<OwnedUserId>,
    /// Which device of ours sent it, if it came so and that device is still there.
    #[serde(default)]
    pub forwarded_by: Option<OwnedDeviceId>,
}

/// Word that a key is withheld. It comes unencrypted, so anybody on the way can have written it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithheldKey {
    /// Why, for instance `m.unverified`.
    pub code: String,
    /// Who says so.
    pub sender: String,
    /// When it came.
    pub at: Timestamp,
}

impl HeldKey {
    fn of(record: &InboundSession) -> Self {
        let device = match &record.sender {
            SenderData::Device { device, .. } => Some(device.clone()),
            SenderData::Own { .. } | SenderData::Unknown { .. } => None,
        };
        Self {
            source: record.source,
            first_known_index: record.session.first_known_index(),
            sender: record.sender.user().map(ToOwned::to_owned),
            device,
            ed25519: record.creator.ed25519.clone(),
            shared_history: record.shared_history,
            shared_by: record.sharer().cloned(),
            forwarded_by: None,
        }
    }
}

/// Tells the story of the key of `event`.
///
/// # Errors
/// When the store fails.
pub(super) fn tell(
    machine: &mut Machine,
    room: &RoomId,
    event: &Event,
    step: &Step<'_>,
) -> Result<KeyStory, MachineError> {
    let message = event.content_str("ciphertext").map(MegolmMessage::from_base64);
    let message_index = message.and_then(Result::ok).map(|message| message.message_index());
    let mut story =
        KeyStory { message_index, asking: machine.key_forwarding(), ..KeyStory::default() };
    if let Some(sender) = &event.sender {
        story.identity = Some(machine.identity_status(sender, step)?.state);
    }
    let Some(session) = session_named(event) else { return Ok(story) };
    story.session_id = Some(session.to_owned());
    let forwarder = match machine.megolm.inbound(room, session, step)? {
        Some(cached) => {
            story.held = Some(HeldKey::of(&cached.record));
            let is_forwarded = cached.record.source == Source::Forwarded;
            cached.record.chain.last().filter(|_| is_forwarded).cloned()
        }
        None => None,
    };
    if let (Some(held), Some(key)) = (&mut story.held, forwarder) {
        let ours = devices_of(&machine.core.user, step)?;
        let forwarder = ours.into_iter().find(|device| device.curve25519.to_base64() == key);
        held.forwarded_by = forwarder.map(|device| device.device_id);
    }
    story.withheld = withheld::notice(room, session, step)?;
    story.asked = Machine::key_asked(room, session, step)?;
    if !story.is_readable() {
        story.backup = Some(machine.backup.search_of(room, session));
    }
    Ok(story)
}

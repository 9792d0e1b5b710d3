//! Taking history from whoever invited us.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use vodozemac::Curve25519PublicKey;

use super::{Content, is_cross_signed};
use crate::{
    e2ee::{
        EncryptedFile, Machine, MachineError, Notice,
        core::OlmSender,
        devices::find_device,
        exported::{ExportedSession, Import},
        lookup::Table,
        megolm::{Source, withheld},
        step::Step,
    },
    matrix::{OwnedDeviceId, OwnedRoomId, OwnedUserId, RoomId, UserId},
    time::Timestamp,
};

/// The to-device event, and its name before MSC4268 was accepted.
pub(in crate::e2ee) const TYPE: &str = "m.room_key_bundle";
pub(in crate::e2ee) const UNSTABLE_TYPE: &str = "io.element.msc4268.room_key_bundle";

/// The largest bundle that is taken, in bytes.
pub const MAX_BUNDLE_BYTES: u64 = 50 << 20;
/// Most keys that are taken of one bundle, and most words that a key is kept back.
const MAX_KEYS: usize = 20_000;
const MAX_WITHHELD: usize = 1_000;
/// Longest entry that is read; a real one has about a kilobyte.
const MAX_ENTRY_BYTES: usize = 16 << 10;
/// How long after the invite was accepted history is taken.
const ACCEPT_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);
/// Most offers that are kept, the newest.
const MAX_OFFERS: usize = 100;
/// Whose invite was accepted; key `(ACCEPTED, room)`.
const ACCEPTED: &str = "invite_accepted";

/// An offer that was not taken yet.
#[derive(Debug, Serialize, Deserialize)]
struct Offer {
    /// The device that made it, by keys that its message proved.
    device: OwnedDeviceId,
    curve25519: String,
    file: EncryptedFile,
    came: Timestamp,
}

/// An invite that we accepted.
#[derive(Debug, Serialize, Deserialize)]
struct Accepted {
    inviter: OwnedUserId,
    at: Timestamp,
}

/// What was taken of a bundle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryImport {
    /// Keys that are new or better than what we had.
    pub improved: usize,
    /// Keys that we had.
    pub known: usize,
    /// Entries that are not what they say, or of another room.
    pub refused: usize,
}

/// A bundle; each entry is read by itself, so that a malformed one loses only itself.
#[derive(Deserialize)]
struct Bundle<'a> {
    #[serde(borrow, default)]
    room_keys: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    withheld: Vec<&'a RawValue>,
}

impl Machine {
    /// Takes an `m.room_key_bundle` that came over Olm; `false` if it proves nothing.
    pub(in crate::e2ee) fn receive_history_offer(
        &mut self,
        from: &OlmSender,
        content: &str,
        step: &mut Step<'_>,
    ) -> Result<bool, MachineError> {
        let Some(device) = &from.device else { return Ok(false) };
        let Ok(content) = serde_json::from_str::<Content>(content) else { return Ok(true) };
        let Ok(file) = EncryptedFile::parse(&content.file) else { return Ok(true) };
        make_room(step)?;
        let offer = Offer {
            device: device.device_id.clone(),
            curve25519: from.curve25519.to_base64(),
            file,
            came: step.now(),
        };
        step.put(Table::HistoryOffer, content.room_id.as_str(), from.user.as_str(), &offer)?;
        self.history.has_offers = true;
        self.history_progressed(step)?;
        Ok(true)
    }

    /// We accepted the invite of `inviter` to `room`, just now: history that this user offers is
    /// taken for a day.
    ///
    /// # Errors
    /// When the store fails.
    pub fn invite_accepted(
        &mut self,
        room: &RoomId,
        inviter: &UserId,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let accepted = Accepted { inviter: inviter.to_owned(), at: step.now() };
        step.put(Table::Misc, ACCEPTED, room.as_str(), &accepted)?;
        self.history_progressed(step)
    }

    /// Tells of offers that may be taken, and forgets those that never will be.
    pub(in crate::e2ee) fn offers_progressed(
        &mut self,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        if !self.history.has_offers {
            return Ok(());
        }
        let offers = step.scan::<Offer>(Table::HistoryOffer, None)?;
        self.history.has_offers = !offers.is_empty();
        for (key, offer) in offers {
            let Ok(room) = OwnedRoomId::try_from(key.0.as_str()) else { continue };
            let accepted = step.get::<Accepted>(Table::Misc, ACCEPTED, room.as_str())?;
            let Some(accepted) = accepted.filter(|it| it.inviter.as_str() == key.1) else {
                continue;
            };
            let inviter = accepted.inviter;
            // (A clock that was set back a little must not lose history.)
            if ACCEPT_WITHIN < step.now().since(accepted.at) {
                step.delete(Table::HistoryOffer, room.as_str(), inviter.as_str());
                continue;
            }
            if is_of_cross_signed(&offer, &inviter, step)? {
                step.tell(Notice::HistoryOffered { room, inviter, file: offer.file });
            } else {
                self.core.track([&*inviter], step)?;
            }
        }
        Ok(())
    }

    /// An offer is done with: taken, or gone.
    pub fn drop_history_offer(&mut self, room: &RoomId, inviter: &UserId, step: &mut Step<'_>) {
        step.delete(Table::HistoryOffer, room.as_str(), inviter.as_str());
    }

    /// Takes the keys of a bundle that `inviter` offered for `room`, and no others. Nothing that
    /// they say of their makers is believed; that they came from `inviter` is kept with them.
    ///
    /// # Errors
    /// When the store fails. A malformed bundle has no keys.
    pub fn import_history(
        &mut self,
        (room, inviter): (&RoomId, &UserId),
        bundle: &[u8],
        step: &mut Step<'_>,
    ) -> Result<HistoryImport, MachineError> {
        self.drop_history_offer(room, inviter, step);
        let mut import = HistoryImport::default();
        let Ok(bundle) = serde_json::from_slice::<Bundle<'_>>(bundle) else {
            tracing::warn!("a bundle of history cannot be read");
            return Ok(import);
        };
        for entry in bundle.room_keys.into_iter().take(MAX_KEYS) {
            match self.import_entry((room, inviter), entry, step)? {
                Import::Improved => import.improved += 1,
                Import::Known => import.known += 1,
                Import::Refused => import.refused += 1,
            }
        }
        // After the keys: of a session in both lists the key counts.
        for entry in bundle.withheld.into_iter().take(MAX_WITHHELD) {
            if is_of_room(entry, room) {
                withheld::receive(inviter, entry.get(), step)?;
            }
        }
        Ok(import)
    }

    fn import_entry(
        &mut self,
        (room, inviter): (&RoomId, &UserId),
        entry: &RawValue,
        step: &mut Step<'_>,
    ) -> Result<Import, MachineError> {
        let text = Some(entry.get()).filter(|text| text.len() <= MAX_ENTRY_BYTES);
        let session = text.and_then(|text| serde_json::from_str::<ExportedSession>(text).ok());
        let Some(session) = session.filter(|it| it.room_id.as_deref() == Some(room)) else {
            return Ok(Import::Refused);
        };
        let Some(id) = session.session_id.clone() else { return Ok(Import::Refused) };
        let import = self.import_session((room, &id), session.shareable(), Source::Bundle, step)?;
        if import == Import::Improved
            && let Some(cached) = self.megolm.inbound(room, &id, step)?
            && cached.record.source == Source::Bundle
        {
            cached.record.shared_by = Some(inviter.to_owned());
            self.megolm.write_inbound(room, &id, step)?;
        }
        Ok(import)
    }
}

fn is_of_room(entry: &RawValue, room: &RoomId) -> bool {
    #[derive(Deserialize)]
    struct Place {
        room_id: OwnedRoomId,
    }
    let is_short = entry.get().len() <= MAX_ENTRY_BYTES;
    is_short && serde_json::from_str::<Place>(entry.get()).is_ok_and(|it| it.room_id == room)
}

/// Whether the device that made an offer is one that its owner signed, with the keys it had then.
fn is_of_cross_signed(
    offer: &Offer,
    owner: &UserId,
    step: &Step<'_>,
) -> Result<bool, MachineError> {
    let Some(device) = find_device(owner, &offer.device, step)? else { return Ok(false) };
    let key = Curve25519PublicKey::from_base64(&offer.curve25519).ok();
    Ok(key == Some(device.curve25519) && is_cross_signed(&device, step)?)
}

/// Drops the oldest offers when there are too many.
fn make_room(step: &mut Step<'_>) -> Result<(), MachineError> {
    let mut offers = step.scan::<Offer>(Table::HistoryOffer, None)?;
    offers.sort_by_key(|(_, offer)| offer.came);
    let surplus = (offers.len() + 1).saturating_sub(MAX_OFFERS);
    for (key, _) in offers.into_iter().take(surplus) {
        step.delete(Table::HistoryOffer, &key.0, &key.1);
    }
    Ok(())
}

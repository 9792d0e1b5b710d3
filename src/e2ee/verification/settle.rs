//! Does what flows hand out: sends their events to devices and rooms, and signs what was verified.

use super::{
    code::CancelCode,
    flow::Effect,
    outgoing::{self, Outgoing},
    place::{Place, address},
    proof::{Verified, Whose},
    view::VerificationId,
};
use crate::{
    e2ee::{Machine, MachineError, Notice, cross_signing::Signed, request::RequestId, step::Step},
    matrix::{OwnedDeviceId, OwnedTransactionId, RoomId, UserId},
};

impl Machine {
    /// Sends one event to some devices of a user, in clear: what it says is public, and what must
    /// not be changed is checked by the other side.
    pub(super) fn send_to_devices(
        &mut self,
        (place, user, devices): (&Place, &UserId, &[OwnedDeviceId]),
        outgoing: Outgoing,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let Some(content) = address(place, outgoing.content) else { return Ok(()) };
        let kind = outgoing.kind.as_str();
        self.core.requests.notify_devices(kind, (user, devices), &content, step)
    }

    /// Sends and signs what a flow handed out.
    pub(super) fn carry_out(
        &mut self,
        id: VerificationId,
        effects: Vec<Effect>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        for effect in effects {
            let Some(flow) = self.verifications.get(id) else { return Ok(()) };
            let (place, peer) = (flow.place.clone(), flow.peer.clone());
            let bound = flow.bound.as_ref().map(|bound| bound.them.device.clone());
            let asked = flow.asked.clone();
            match effect {
                Effect::Send(outgoing) => match &place {
                    Place::Devices { .. } => {
                        let devices = bound.map_or(asked, |device| vec![device]);
                        self.send_to_devices((&place, &peer, &devices), outgoing, step)?;
                    }
                    Place::Room { room, .. } => tell_room(&place, room, outgoing, step)?,
                },
                Effect::Dismiss => {
                    let others: Vec<OwnedDeviceId> =
                        asked.into_iter().filter(|it| Some(it) != bound.as_ref()).collect();
                    let cancel = outgoing::cancel(&CancelCode::Accepted);
                    self.send_to_devices((&place, &peer, &others), cancel, step)?;
                }
                Effect::Sign(verified) => {
                    if !self.sign_verified(&peer, &verified, step)? {
                        return self.fail(id, step);
                    }
                }
                Effect::AskSecrets => self.request_secrets(step)?,
            }
        }
        Ok(())
    }

    /// What was compared is not what the server shows any more: nothing was verified.
    fn fail(&mut self, id: VerificationId, step: &mut Step<'_>) -> Result<(), MachineError> {
        let Some(flow) = self.verifications.get(id) else { return Ok(()) };
        let effects = flow.withdraw(CancelCode::KeyMismatch);
        let view = flow.view();
        self.carry_out(id, effects, step)?;
        step.tell(Notice::Verification(view));
        Ok(())
    }

    /// Signs what was verified, nothing else. Uploads are repeated until the server has them.
    /// `false` when nothing could be signed.
    fn sign_verified(
        &mut self,
        peer: &UserId,
        verified: &Verified,
        step: &mut Step<'_>,
    ) -> Result<bool, MachineError> {
        let (device, master) = match verified.whose() {
            Whose::Other { master } => {
                return Ok(self.sign_user(peer, master, step)? == Signed::Yes);
            }
            Whose::Own { device, master } => (device, master),
        };
        if let Some(master) = master {
            if !self.verify_own_master(master, step)? {
                return Ok(false);
            }
            // A backup that it signed is trusted from now on.
            self.check_backup(step)?;
        }
        // Without the key for it, the other device signs this one, and the key comes by gossip.
        match device {
            Some((device, ed25519)) => {
                Ok(self.sign_own_device(device, ed25519, step)? != Signed::NotCurrent)
            }
            None => Ok(true),
        }
    }
}

/// Hands an event to the room's outbox.
fn tell_room(
    place: &Place,
    room: &RoomId,
    outgoing: Outgoing,
    step: &mut Step<'_>,
) -> Result<(), MachineError> {
    let kind = outgoing.kind.as_str().to_owned();
    if let Some(content) = address(place, outgoing.content) {
        let (room, txn) = (room.to_owned(), random_txn()?);
        step.tell(Notice::SendVerification { room, txn, kind, content });
    }
    Ok(())
}

/// A fresh name for an event of ours.
pub(super) fn random_txn() -> Result<OwnedTransactionId, MachineError> {
    Ok(OwnedTransactionId::from(RequestId::random()?.0))
}

//! What our user wants of verifications: to ask somebody for one, and to go on with one that is
//! under way. Who may be asked, and by whom, is decided here.

use super::{
    act::{VerificationAct, VerificationError},
    desk::draw,
    flow::{Flow, New, Own},
    keys::master_of,
    outgoing::{self, Scan},
    place::Place,
    settle::random_txn,
    view::{VerificationId, VerificationView},
    wish::{OutOfTurn, Wish},
};
use crate::{
    e2ee::{
        Machine, MachineError, Notice, core::Freshness, cross_signing::OwnIdentity,
        device::DeviceSort, devices::devices_of, identity::Identity, lookup::Table,
        request::RequestId, step::Step,
    },
    matrix::{DeviceId, OwnedDeviceId, RoomId, UserId},
};

impl Machine {
    /// Asks `user` for a verification: in `room` if one is given, else the devices themselves,
    /// `device` or all that there are.
    ///
    /// # Errors
    /// When the store fails; that it cannot begin is the inner error.
    pub fn start_verification(
        &mut self,
        (user, device): (&UserId, Option<&DeviceId>),
        room: Option<&RoomId>,
        scan: Scan,
        step: &mut Step<'_>,
    ) -> Result<Result<VerificationView, VerificationError>, MachineError> {
        if let Err(error) = self.may_verify(user, step)? {
            return Ok(Err(error));
        }
        let (place, devices) = match room {
            Some(room) => {
                let txn = random_txn()?;
                let place = Place::Room { room: room.to_owned(), txn: Some(txn), request: None };
                (place, Vec::new())
            }
            None => match self.devices_to_ask(user, device, step)? {
                Ok(devices) => (Place::Devices { transaction: RequestId::random()?.0 }, devices),
                Err(error) => return Ok(Err(error)),
            },
        };
        let id = self.verifications.next_id();
        let now = step.now();
        let new =
            New { id, place, peer: user.to_owned(), own: self.own_names(), began: now, came: now };
        let mut flow = Flow::asked(new, devices, scan);
        flow.expected_master = master_of(user, step)?;
        self.ask(&flow, scan, step)?;
        let view = flow.view();
        self.verifications.push(flow);
        step.tell(Notice::Verification(view.clone()));
        Ok(Ok(view))
    }

    /// Who we are.
    pub(super) fn own_names(&self) -> Own {
        Own { user: self.core.user.clone(), device: self.core.device.clone() }
    }

    /// Whether a verification with `user` can begin now.
    fn may_verify(
        &mut self,
        user: &UserId,
        step: &mut Step<'_>,
    ) -> Result<Result<(), VerificationError>, MachineError> {
        if self.verifications.active().any(|flow| *flow.peer == *user) {
            return Ok(Err(VerificationError::UnderWay(user.to_owned())));
        }
        if !self.verifications.has_room(user) {
            return Ok(Err(VerificationError::TooMany));
        }
        let fresh = self.core.refresh([&user.to_owned()], step)?;
        let identity = step.get::<Identity>(Table::Identity, user.as_str(), "")?;
        let known = identity.is_some_and(|it| !it.is_confused());
        let own = *user == *self.core.user;
        let waits = matches!(fresh, Freshness::Waiting(_)) || (own && self.is_setting_up(step)?);
        if !known && waits {
            return Ok(Err(VerificationError::NotYet(user.to_owned())));
        }
        if own && known {
            return Ok(Ok(()));
        }
        if !known {
            return Ok(Err(VerificationError::NoIdentity(user.to_owned())));
        }
        self.may_vouch(user, step)
    }

    /// Whether this device can vouch for other users, or will be able to at once.
    fn may_vouch(
        &self,
        user: &UserId,
        step: &Step<'_>,
    ) -> Result<Result<(), VerificationError>, MachineError> {
        let own = self.own_identity(step)?;
        if matches!(own, OwnIdentity::Verified { has_user_signing: true, .. }) {
            return Ok(Ok(()));
        }
        let soon = self.is_setting_up(step)?;
        Ok(Err(if soon {
            VerificationError::NotYet(user.to_owned())
        } else {
            VerificationError::OwnDevice
        }))
    }

    fn devices_to_ask(
        &self,
        user: &UserId,
        device: Option<&DeviceId>,
        step: &Step<'_>,
    ) -> Result<Result<Vec<OwnedDeviceId>, VerificationError>, MachineError> {
        let own = *user == *self.core.user;
        let devices = devices_of(user, step)?.into_iter().filter(|it| {
            let is_us = own && it.device_id == self.core.device;
            let wanted = device.is_none_or(|device| it.device_id == device);
            it.sort == DeviceSort::Ordinary && !is_us && wanted
        });
        let devices: Vec<OwnedDeviceId> = devices.map(|it| it.device_id).collect();
        if devices.is_empty() {
            let nobody = own && device.is_none();
            return Ok(Err(if nobody {
                VerificationError::NoOtherDevice
            } else {
                VerificationError::NoDevice(user.to_owned())
            }));
        }
        Ok(Ok(devices))
    }

    /// Sends the request.
    fn ask(&mut self, flow: &Flow, scan: Scan, step: &mut Step<'_>) -> Result<(), MachineError> {
        let request = match &flow.place {
            Place::Devices { .. } => outgoing::request(&self.core.device, scan, step.now()),
            Place::Room { txn: None, .. } => return Ok(()),
            Place::Room { room, txn: Some(txn), .. } => {
                let users = (&*self.core.user, &*flow.peer);
                let request = outgoing::room_request(&self.core.device, users, scan);
                step.tell(Notice::SendVerification {
                    room: room.clone(),
                    txn: txn.clone(),
                    kind: "m.room.message".to_owned(),
                    content: request.content,
                });
                return Ok(());
            }
        };
        let devices = flow.asked.clone();
        self.send_to_devices((&flow.place, &flow.peer, &devices), request, step)
    }

    /// Does with a verification what its user wants.
    ///
    /// # Errors
    /// When the store fails; that it cannot be done now is the inner error.
    pub fn act_on_verification(
        &mut self,
        id: VerificationId,
        act: VerificationAct,
        step: &mut Step<'_>,
    ) -> Result<Result<VerificationView, VerificationError>, MachineError> {
        let Some(wish) = Wish::of(act) else { return Ok(Err(VerificationError::BadCode)) };
        let Some(flow) = self.verifications.get(id) else {
            return Ok(Err(VerificationError::Unknown));
        };
        // Whoever cannot vouch for others has nothing to gain from comparing keys with them.
        if matches!(wish, Wish::Accept(_)) && flow.peer != self.core.user {
            let user = self.core.user.clone();
            if let Err(error) = self.may_vouch(&user, step)? {
                return Ok(Err(error));
            }
        }
        let secret = draw()?;
        let Some(flow) = self.verifications.get(id) else {
            return Ok(Err(VerificationError::Unknown));
        };
        let effects = match flow.wish(wish, &secret) {
            Ok(effects) => effects,
            Err(OutOfTurn) => return Ok(Err(VerificationError::OutOfTurn)),
        };
        self.carry_out(id, effects, step)?;
        let view = self.verifications.get(id).map(|flow| flow.view());
        if let Some(view) = view.clone() {
            step.tell(Notice::Verification(view));
        }
        self.verifications.prune();
        Ok(view.ok_or(VerificationError::Unknown))
    }

    /// The verifications that are under way.
    pub fn verifications(&self) -> Vec<VerificationView> {
        self.verifications.active().map(Flow::view).collect()
    }

    /// How many flows and waiting events are in memory.
    #[cfg(test)]
    pub(in crate::e2ee) fn verifications_held(&self) -> usize {
        self.verifications.flows.len() + self.verifications.waiting.len()
    }
}

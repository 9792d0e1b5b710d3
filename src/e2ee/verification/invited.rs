//! Verifications that others want: which ones may begin here.

use std::time::Duration;

use super::{
    code::CancelCode,
    content::{Methods, Request, Start},
    flow::{Flow, LIFE, New},
    incoming::{Incoming, IncomingPlace},
    place::Place,
    view::VerificationId,
};
use crate::{
    e2ee::{Machine, MachineError, Notice, step::Step},
    matrix::{OwnedDeviceId, UserId},
    time::Timestamp,
};

/// How far in the future a request may be: clocks differ.
const AHEAD: Duration = Duration::from_secs(5 * 60);

/// The wish of another side to begin.
struct Invitation {
    place: Place,
    /// The device that wants it.
    from: OwnedDeviceId,
    began: Timestamp,
    methods: Methods,
    /// Older clients begin between devices with a start, without a request.
    start: Option<Start>,
}

impl Invitation {
    /// A request; `None` for one that is not whole or not for `us`.
    fn requested(incoming: &Incoming, request: Request, us: &UserId) -> Option<Self> {
        let (place, began) = match &incoming.place {
            IncomingPlace::Devices => {
                let transaction = incoming.content.transaction()?;
                (Place::Devices { transaction }, request.timestamp?)
            }
            IncomingPlace::Room { room, event, at } => {
                let (room, event) = (room.clone(), Some(event.clone()));
                request.to.filter(|to| *to == *us)?;
                (Place::Room { room, txn: None, request: event }, *at)
            }
        };
        let (from, methods) = (request.from_device, request.methods);
        Some(Self { place, from, began, methods, start: None })
    }

    /// A start that no request came before; `None` for one in a room, where there is none.
    fn started(incoming: &Incoming, start: Start) -> Option<Self> {
        let IncomingPlace::Devices = incoming.place else { return None };
        let transaction = incoming.content.transaction()?;
        let (from, methods) = (start.from_device.clone(), Methods::default());
        let place = Place::Devices { transaction };
        Some(Self { place, from, began: incoming.came, methods, start: Some(start) })
    }
}

impl Machine {
    /// Somebody asks for a verification.
    pub(super) fn on_request(
        &mut self,
        incoming: Incoming,
        request: Request,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        match Invitation::requested(&incoming, request, &self.core.user) {
            Some(invitation) => self.on_invitation(incoming, invitation, step),
            None => Ok(()),
        }
    }

    /// Somebody starts a verification that nobody asked for.
    pub(super) fn on_bare_start(
        &mut self,
        incoming: Incoming,
        start: Start,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        match Invitation::started(&incoming, start) {
            Some(invitation) => self.on_invitation(incoming, invitation, step),
            None => Ok(()),
        }
    }

    fn on_invitation(
        &mut self,
        incoming: Incoming,
        invitation: Invitation,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        if !self.may_begin(&incoming, &invitation, step)? {
            return Ok(());
        }
        let Some(bound) = self.bind(&incoming.sender, &invitation.from, step)? else {
            return self.wait_for_keys(incoming, step);
        };
        let Invitation { place, began, methods, start, .. } = invitation;
        let (id, own) = (self.verifications.next_id(), self.own_names());
        let new = New { id, place, peer: incoming.sender, own, began, came: step.now() };
        let flow = Flow::invited(new, methods, start, bound);
        step.tell(Notice::Verification(flow.view()));
        self.verifications.push(flow);
        Ok(())
    }

    /// Whether a verification may begin that the other side wants: it is neither old nor from the
    /// future, not known, and there is room. A second one with the same device ends both.
    fn may_begin(
        &mut self,
        incoming: &Incoming,
        Invitation { place, from, began, .. }: &Invitation,
        step: &mut Step<'_>,
    ) -> Result<bool, MachineError> {
        let now = step.now();
        let is_us = incoming.sender == self.core.user && *from == self.core.device;
        let spoof = incoming.device.as_ref().is_some_and(|device| device != from);
        if LIFE <= now.since(*began) || AHEAD < began.since(now) || is_us || spoof {
            return Ok(false);
        }
        let mut with_them =
            self.verifications.flows.iter().filter(|flow| flow.peer == incoming.sender);
        if with_them.any(|flow| flow.place.name() == place.name()) {
            return Ok(false);
        }
        let rivals = self.rivals(incoming, from);
        if rivals.is_empty() {
            return Ok(self.verifications.has_room(&incoming.sender));
        }
        for id in rivals {
            self.end_flow(id, CancelCode::UnexpectedMessage, step)?;
        }
        self.refuse(incoming, from, &CancelCode::UnexpectedMessage, step)?;
        Ok(false)
    }

    /// Verifications under way with the device that wants another.
    fn rivals(&self, incoming: &Incoming, from: &OwnedDeviceId) -> Vec<VerificationId> {
        let with_it = |flow: &&Flow| {
            let device = flow.bound.as_ref().map(|bound| &bound.them.device);
            flow.peer == incoming.sender && device == Some(from)
        };
        self.verifications.active().filter(with_it).map(|flow| flow.id).collect()
    }

    /// Keeps a first event until the keys of its device are there.
    pub(super) fn wait_for_keys(
        &mut self,
        incoming: Incoming,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let user = incoming.sender.clone();
        self.verifications.wait(incoming);
        self.core.refresh([&user], step)?;
        self.core.suspect(&user, step)?;
        self.core.query(step)
    }
}

//! Events of verifications as they come: from devices, from rooms, and from our own other devices.

use std::time::Duration;

use super::{
    code::CancelCode,
    content::{Content, Kind, Message, REQUEST, Request, Start},
    desk::{Incoming, IncomingPlace, RoomVerification, draw},
    flow::{Effect, Flow, LIFE, New, Own, Place},
    outgoing,
    view::VerificationId,
};
use crate::{
    e2ee::{Machine, MachineError, Notice, step::Step},
    matrix::{DeviceId, EventId, OwnedDeviceId, OwnedEventId, TransactionId, UserId},
    time::Timestamp,
};

/// How far in the future a request may be: clocks differ.
const AHEAD: Duration = Duration::from_secs(5 * 60);

impl Machine {
    /// Takes a to-device event; `device` is who sent it, where Olm proves that.
    pub(in crate::e2ee) fn receive_verification_to_device(
        &mut self,
        (sender, device): (&UserId, Option<&DeviceId>),
        (kind, content): (&str, &str),
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let known = Kind::parse(kind).zip(Content::parse(content));
        let Some((kind, content)) = known else { return Ok(()) };
        // Strangers have no business here: nobody could know whose request it is.
        let tracked = *sender == *self.core.user || self.core.tracker.was_answered(sender);
        if !tracked {
            return Ok(());
        }
        let sender = sender.to_owned();
        let device = device.map(ToOwned::to_owned);
        let place = IncomingPlace::Devices;
        self.receive_incoming(Incoming { sender, device, place, kind, content }, step)
    }

    /// Takes an event of a room that was just received, decrypted if need be. Other events than
    /// those of verifications change nothing.
    ///
    /// # Errors
    /// When the store fails.
    pub fn receive_verification(
        &mut self,
        event: &RoomVerification<'_>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let is_request = event.kind == "m.room.message"
            && event.content.get("msgtype").and_then(|it| it.as_str()) == Some(REQUEST);
        let kind = if is_request {
            Some(Kind::Request)
        } else {
            Kind::parse(event.kind).filter(|kind| *kind != Kind::Request)
        };
        let text = serde_json::to_string(event.content).ok();
        let known = kind.zip(text.and_then(|text| Content::parse(&text)));
        let Some((kind, content)) = known else { return Ok(()) };
        if *event.sender == *self.core.user {
            if event.txn.is_none() {
                self.taken_elsewhere(kind, &content, step);
            }
            return Ok(());
        }
        let (room, id, at) = (event.room.to_owned(), event.event.to_owned(), event.at);
        let place = IncomingPlace::Room { room, event: id, at };
        let sender = event.sender.to_owned();
        let incoming = Incoming { sender, device: None, place, kind, content };
        self.receive_incoming(incoming, step)
    }

    /// Another device of ours wrote in a verification that this one was asked for too.
    fn taken_elsewhere(&mut self, kind: Kind, content: &Content, step: &mut Step<'_>) {
        let takes = matches!(kind, Kind::Ready | Kind::Start | Kind::Cancel | Kind::Done);
        let Some(request) = content.request_event().filter(|_| takes) else { return };
        let flows = self.verifications.flows.iter_mut();
        let named = |flow: &&mut Flow| {
            matches!(flow.place, Place::Room { .. }) && flow.place.name() == Some(&*request)
        };
        for flow in flows.filter(named).filter(|flow| flow.is_invited()) {
            flow.taken_elsewhere();
            step.tell(Notice::Verification(flow.view()));
        }
    }

    fn receive_incoming(
        &mut self,
        incoming: Incoming,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let message = incoming.content.message(incoming.kind);
        if incoming.kind == Kind::Request {
            return match message {
                Some(Message::Request(request)) => self.on_request(incoming, request, step),
                _ => Ok(()),
            };
        }
        let Some(id) = self.flow_of(&incoming) else {
            return match message {
                Some(Message::Start(start)) => self.on_bare_start(incoming, start, step),
                Some(Message::Ready { from_device, .. }) => {
                    self.refuse(&incoming, &from_device, &CancelCode::UnknownTransaction, step)
                }
                _ => Ok(()),
            };
        };
        self.receive_in_flow(id, (incoming, message), step)
    }

    /// The flow that an event belongs to: same name, same place, same user. An event of somebody
    /// else is not heard at all.
    fn flow_of(&self, incoming: &Incoming) -> Option<VerificationId> {
        let name = match &incoming.place {
            IncomingPlace::Devices => incoming.content.transaction()?,
            IncomingPlace::Room { .. } => incoming.content.request_event()?,
        };
        let is_here = |flow: &&Flow| match (&flow.place, &incoming.place) {
            (Place::Devices { .. }, IncomingPlace::Devices) => true,
            (Place::Room { room, .. }, IncomingPlace::Room { room: other, .. }) => room == other,
            (Place::Devices { .. } | Place::Room { .. }, _) => false,
        };
        let flows = self.verifications.flows.iter().filter(is_here);
        let mut named = flows.filter(|flow| flow.place.name() == Some(&*name));
        named.find(|flow| flow.peer == incoming.sender).map(|flow| flow.id)
    }

    fn receive_in_flow(
        &mut self,
        id: VerificationId,
        (incoming, message): (Incoming, Option<Message>),
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let named = match &message {
            Some(Message::Ready { from_device, .. }) => Some(from_device.clone()),
            Some(Message::Start(start)) => Some(start.from_device.clone()),
            _ => None,
        };
        let Some(flow) = self.verifications.get(id) else { return Ok(()) };
        let bound = flow.bound.as_ref().map(|bound| bound.them.device.clone());
        let speaks = incoming.device.as_ref().or(named.as_ref());
        if let (Some(bound), Some(speaks)) = (&bound, speaks)
            && bound != speaks
        {
            let late = flow.is_ours && matches!(message, Some(Message::Ready { .. }));
            let code = CancelCode::Accepted;
            return if late { self.refuse(&incoming, speaks, &code, step) } else { Ok(()) };
        }
        if flow.waits_for_device()
            && let Some(Message::Ready { from_device, .. }) = &message
            && !self.bind_ours(id, from_device, &incoming, step)?
        {
            return Ok(());
        }
        let secret = draw()?;
        let Some(flow) = self.verifications.get(id) else { return Ok(()) };
        let before = flow.view();
        let effects = match message {
            Some(message) => flow.receive(message, &secret),
            None => flow.cancel(CancelCode::InvalidMessage),
        };
        self.carry_out(id, effects, step)?;
        let after = self.verifications.get(id).map(|flow| flow.view());
        let news = after.filter(|after| before != *after);
        if let Some(view) = news {
            step.tell(Notice::Verification(view));
        }
        self.verifications.prune();
        Ok(())
    }

    /// The first device that answers a request of ours: its keys are bound. `false` when it has to
    /// wait until they are known, or was never asked.
    fn bind_ours(
        &mut self,
        id: VerificationId,
        device: &OwnedDeviceId,
        incoming: &Incoming,
        step: &mut Step<'_>,
    ) -> Result<bool, MachineError> {
        let Some(bound) = self.bind(&incoming.sender, device, step)? else {
            self.wait_for_keys(incoming.clone(), step)?;
            return Ok(false);
        };
        let Some(flow) = self.verifications.get(id) else { return Ok(false) };
        let in_clear = matches!(flow.place, Place::Devices { .. });
        if in_clear && !flow.asked.contains(device) {
            return Ok(false);
        }
        let same = flow.expected_master == bound.them.master;
        flow.bound = Some(bound);
        if !same {
            let effects = flow.cancel(CancelCode::KeyMismatch);
            let view = flow.view();
            self.carry_out(id, effects, step)?;
            step.tell(Notice::Verification(view));
        }
        Ok(same)
    }

    /// Keeps a first event until the keys of its device are there.
    fn wait_for_keys(
        &mut self,
        incoming: Incoming,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let user = incoming.sender.clone();
        self.verifications.wait(incoming, step.now());
        self.core.refresh([&user], step)?;
        self.core.suspect(&user, step)?;
        self.core.query(step)
    }

    fn own_names(&self) -> Own {
        Own { user: self.core.user.clone(), device: self.core.device.clone() }
    }

    fn on_request(
        &mut self,
        incoming: Incoming,
        request: Request,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let (place, began) = match &incoming.place {
            IncomingPlace::Devices => {
                let began = request.timestamp;
                let name = incoming.content.transaction();
                let Some((transaction, began)) = name.zip(began) else { return Ok(()) };
                (Place::Devices { transaction }, began)
            }
            IncomingPlace::Room { room, event, at } => {
                if request.to.as_ref() != Some(&self.core.user) {
                    return Ok(());
                }
                let (room, request) = (room.clone(), Some(event.clone()));
                (Place::Room { room, txn: None, request }, *at)
            }
        };
        let from = request.from_device.clone();
        if !self.may_begin((&incoming, &place), &from, began, step)? {
            return Ok(());
        }
        let Some(bound) = self.bind(&incoming.sender, &from, step)? else {
            return self.wait_for_keys(incoming, step);
        };
        let new = self.new_flow(place, incoming.sender, began, step.now());
        let flow = Flow::invited(new, request.methods, None, bound);
        step.tell(Notice::Verification(flow.view()));
        self.verifications.push(flow);
        Ok(())
    }

    fn new_flow(
        &mut self,
        place: Place,
        peer: crate::matrix::OwnedUserId,
        began: Timestamp,
        came: Timestamp,
    ) -> New {
        let id = self.verifications.next_id();
        New { id, place, peer, own: self.own_names(), began, came }
    }

    /// A start that no request came before: older clients did so between devices.
    fn on_bare_start(
        &mut self,
        incoming: Incoming,
        start: Start,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let name = incoming.content.transaction();
        let (IncomingPlace::Devices, Some(transaction)) = (&incoming.place, name) else {
            return Ok(());
        };
        let place = Place::Devices { transaction };
        let (from, now) = (start.from_device.clone(), step.now());
        if !self.may_begin((&incoming, &place), &from, now, step)? {
            return Ok(());
        }
        let Some(bound) = self.bind(&incoming.sender, &from, step)? else {
            return self.wait_for_keys(incoming, step);
        };
        let new = self.new_flow(place, incoming.sender, now, now);
        let flow = Flow::invited(new, super::content::Methods::default(), Some(start), bound);
        step.tell(Notice::Verification(flow.view()));
        self.verifications.push(flow);
        Ok(())
    }

    /// Whether a verification may begin that the other side wants: it is neither old nor from the
    /// future, not known, and there is room. A second one with the same device ends both.
    fn may_begin(
        &mut self,
        (incoming, place): (&Incoming, &Place),
        from: &OwnedDeviceId,
        began: Timestamp,
        step: &mut Step<'_>,
    ) -> Result<bool, MachineError> {
        let now = step.now();
        let is_us = incoming.sender == self.core.user && *from == self.core.device;
        let spoof = incoming.device.as_ref().is_some_and(|device| device != from);
        if LIFE <= now.since(began) || AHEAD < began.since(now) || is_us || spoof {
            return Ok(false);
        }
        let known = self
            .verifications
            .flows
            .iter()
            .any(|flow| flow.place.name() == place.name() && flow.peer == incoming.sender);
        if known {
            return Ok(false);
        }
        let same = |flow: &&Flow| {
            let device = flow.bound.as_ref().map(|bound| &bound.them.device);
            flow.is_active() && flow.peer == incoming.sender && device == Some(from)
        };
        let rivals: Vec<VerificationId> =
            self.verifications.flows.iter().filter(same).map(|flow| flow.id).collect();
        if !rivals.is_empty() {
            for id in rivals {
                self.end_flow(id, CancelCode::UnexpectedMessage, step)?;
            }
            self.refuse(incoming, from, &CancelCode::UnexpectedMessage, step)?;
            return Ok(false);
        }
        Ok(self.verifications.has_room(&incoming.sender))
    }

    fn end_flow(
        &mut self,
        id: VerificationId,
        code: CancelCode,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let Some(flow) = self.verifications.get(id) else { return Ok(()) };
        let effects = flow.cancel(code);
        let view = flow.view();
        self.carry_out(id, effects, step)?;
        step.tell(Notice::Verification(view));
        Ok(())
    }

    /// Answers an event that belongs to no verification of ours, between devices only: in a room,
    /// others may verify each other.
    fn refuse(
        &mut self,
        incoming: &Incoming,
        device: &OwnedDeviceId,
        code: &CancelCode,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let name = incoming.content.transaction();
        let (IncomingPlace::Devices, Some(transaction)) = (&incoming.place, name) else {
            return Ok(());
        };
        if !self.verifications.may_refuse(step.now()) {
            return Ok(());
        }
        let place = Place::Devices { transaction };
        let devices = std::slice::from_ref(device);
        self.send_to_devices((&place, &incoming.sender, devices), outgoing::cancel(code), step)
    }

    /// The server has the request that we sent into a room: its event names the verification.
    ///
    /// # Errors
    /// When the store fails.
    pub fn verification_sent(
        &mut self,
        txn: &TransactionId,
        event: &EventId,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let wanted = |flow: &&mut Flow| matches!(&flow.place, Place::Room { txn: Some(ours), .. } if *ours == *txn);
        let Some(flow) = self.verifications.flows.iter_mut().find(wanted) else { return Ok(()) };
        let over = !flow.is_active();
        if let Place::Room { request, .. } = &mut flow.place
            && request.is_none()
        {
            *request = Some(OwnedEventId::from(event));
            let id = flow.id;
            // It was ended before it had a name: now the other side can be told.
            if over {
                let cancel = outgoing::cancel(&CancelCode::User);
                return self.carry_out(id, vec![Effect::Send(cancel)], step);
            }
        }
        Ok(())
    }

    /// What we wrote into a room could not be sent.
    pub fn verification_unsent(&mut self, room: &crate::matrix::RoomId, step: &mut Step<'_>) {
        for flow in &mut self.verifications.flows {
            let here = matches!(&flow.place, Place::Room { room: it, .. } if *it == *room);
            if here && flow.is_active() {
                flow.end(CancelCode::User);
                step.tell(Notice::Verification(flow.view()));
            }
        }
    }

    /// Lists came: whoever's keys are not those that were bound is cancelled; what waited for keys
    /// is looked at again.
    pub(in crate::e2ee) fn verifications_progressed(
        &mut self,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let mut swapped = Vec::new();
        for flow in self.verifications.active() {
            let Some(bound) = &flow.bound else { continue };
            let now = self.bind(&flow.peer, &bound.them.device, step)?;
            let same = now.is_some_and(|now| now.us == bound.us && now.them == bound.them);
            if !same {
                swapped.push(flow.id);
            }
        }
        for id in swapped {
            self.end_flow(id, CancelCode::KeyMismatch, step)?;
        }
        let now = step.now();
        for waiting in std::mem::take(&mut self.verifications.waiting) {
            if now.since(waiting.since) < LIFE {
                self.receive_incoming(waiting.incoming, step)?;
            }
        }
        Ok(())
    }

    /// Time passed.
    pub(in crate::e2ee) fn tick_verifications(
        &mut self,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let now = step.now();
        self.verifications.waiting.retain(|waiting| now.since(waiting.since) < LIFE);
        let due: Vec<VerificationId> = self
            .verifications
            .active()
            .filter(|flow| flow.until() <= now)
            .map(|flow| flow.id)
            .collect();
        for id in due {
            let Some(flow) = self.verifications.get(id) else { continue };
            let effects = flow.tick(now);
            let view = flow.view();
            self.carry_out(id, effects, step)?;
            step.tell(Notice::Verification(view));
        }
        self.verifications.prune();
        Ok(())
    }
}

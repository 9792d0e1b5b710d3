//! Events of verifications as they come: from devices, from rooms, and from our own other devices.

use super::{
    code::CancelCode,
    content::{Content, Kind, Message, REQUEST},
    desk::draw,
    flow::Flow,
    outgoing,
    place::Place,
    view::VerificationId,
};
use crate::{
    e2ee::{Machine, MachineError, Notice, step::Step},
    matrix::{
        DeviceId, EventId, OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId,
        TransactionId, UserId,
    },
    time::Timestamp,
};

/// An event of a verification, from wherever it came.
#[derive(Clone, Debug)]
pub(super) struct Incoming {
    pub(super) sender: OwnedUserId,
    /// The device that sent it, where that is proved.
    pub(super) device: Option<OwnedDeviceId>,
    pub(super) place: IncomingPlace,
    pub(super) kind: Kind,
    pub(super) content: Content,
    /// When it came to us.
    pub(super) came: Timestamp,
}

/// Where an event came.
#[derive(Clone, Debug)]
pub(super) enum IncomingPlace {
    Devices,
    Room { room: OwnedRoomId, event: OwnedEventId, at: Timestamp },
}

impl Incoming {
    /// Whether both belong to one verification, as they say.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        let same_place = match (&self.place, &other.place) {
            (IncomingPlace::Devices, IncomingPlace::Devices) => true,
            (IncomingPlace::Room { room, .. }, IncomingPlace::Room { room: other, .. }) => {
                room == other
            }
            (IncomingPlace::Devices | IncomingPlace::Room { .. }, _) => false,
        };
        same_place && self.sender == other.sender && self.flow_name() == other.flow_name()
    }

    /// The name of the verification that it says to belong to.
    fn flow_name(&self) -> Option<String> {
        match &self.place {
            IncomingPlace::Devices => self.content.transaction(),
            IncomingPlace::Room { .. } => self.content.request_event(),
        }
    }

    /// Whether `cancel` ends the verification that this event would begin.
    fn is_ended_by(&self, cancel: &Self) -> bool {
        let name = match &self.place {
            IncomingPlace::Devices => self.content.transaction(),
            IncomingPlace::Room { event, .. } => Some(event.to_string()),
        };
        self.sender == cancel.sender && name == cancel.flow_name()
    }
}

/// A verification event of a room, decrypted if it came so.
#[derive(Clone, Copy, Debug)]
pub struct RoomVerification<'a> {
    /// The room.
    pub room: &'a RoomId,
    /// Its event.
    pub event: &'a EventId,
    /// Its sender; proved by the session for what came encrypted.
    pub sender: &'a UserId,
    /// When it was sent, says the server.
    pub at: Timestamp,
    /// The name this device gave it, if it sent it.
    pub txn: Option<&'a TransactionId>,
    /// Its type.
    pub kind: &'a str,
    /// Its content.
    pub content: &'a serde_json::Map<String, serde_json::Value>,
}

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
        let (place, came) = (IncomingPlace::Devices, step.now());
        self.receive_incoming(Incoming { sender, device, place, kind, content, came }, step)
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
        let (sender, came) = (event.sender.to_owned(), step.now());
        let incoming = Incoming { sender, device: None, place, kind, content, came };
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

    pub(super) fn receive_incoming(
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
                Some(Message::Cancel(_)) => {
                    self.verifications.waiting.retain(|first| !first.is_ended_by(&incoming));
                    Ok(())
                }
                _ => Ok(()),
            };
        };
        if let Some(Message::Start(start)) = &message
            && self.verifications.holds_ready(&incoming, &start.from_device)
        {
            self.verifications.wait_behind(incoming);
            return Ok(());
        }
        self.receive_in_flow(id, (incoming, message), step)
    }

    /// The flow that an event belongs to: same name, same place, same user. An event of somebody
    /// else is not heard at all.
    fn flow_of(&self, incoming: &Incoming) -> Option<VerificationId> {
        let name = incoming.flow_name()?;
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
        let Some(flow) = self.verifications.get(id) else { return Ok(()) };
        if let Some(stranger) = stranger(flow, &incoming, message.as_ref()) {
            let late = flow.is_ours && matches!(message, Some(Message::Ready { .. }));
            let code = CancelCode::Accepted;
            return if late { self.refuse(&incoming, &stranger, &code, step) } else { Ok(()) };
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

    /// Answers an event that belongs to no verification of ours, between devices only: in a room,
    /// others may verify each other.
    pub(super) fn refuse(
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
}

/// The device that speaks, if it is another one than that which the verification is with.
fn stranger(flow: &Flow, incoming: &Incoming, message: Option<&Message>) -> Option<OwnedDeviceId> {
    let named = match message {
        Some(Message::Ready { from_device, .. }) => Some(from_device),
        Some(Message::Start(start)) => Some(&start.from_device),
        _ => None,
    };
    let bound = &flow.bound.as_ref()?.them.device;
    incoming.device.as_ref().or(named).filter(|speaks| *speaks != bound).cloned()
}

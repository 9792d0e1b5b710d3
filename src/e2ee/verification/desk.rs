//! All verifications of this device: who may begin one, which one an event belongs to, which keys
//! it is about, and what is signed in the end.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    code::CancelCode,
    content::{Content, Kind},
    flow::{Draw, Effect, Flow, LIFE, New, OutOfTurn, Own, Place, Wish, address},
    keys::{Bound, OwnTrust, Side},
    outgoing::{self, Outgoing, Scan},
    proof::Verified,
    qr,
    view::{VerificationId, VerificationView},
};
use crate::{
    e2ee::{
        Machine, MachineError, Notice,
        core::Freshness,
        cross_signing::{OwnIdentity, Signed},
        device::DeviceSort,
        devices::{devices_of, find_device},
        identity::Identity,
        lookup::Table,
        request::{Purpose, RequestId, ToDeviceMessage},
        step::{Step, encode_text, raw},
    },
    matrix::{
        DeviceId, EventId, OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedTransactionId,
        OwnedUserId, RoomId, TransactionId, UserId,
    },
    time::Timestamp,
};

/// Verifications under way at once, with everybody together and with one user.
const MOST_ACTIVE: usize = 8;
const MOST_WITH_ONE: usize = 3;
/// Ended ones that are remembered, so that late events of theirs are not taken for news.
const MOST_ENDED: usize = 32;
const MINUTE: Duration = Duration::from_secs(60);
/// Answers to what belongs to no verification, in a minute.
const MOST_REFUSALS: u32 = 20;
/// Requests that wait for the keys of their device.
const MOST_WAITING: usize = 8;

/// The flows, in memory only.
#[derive(Debug)]
pub(in crate::e2ee) struct Verifications {
    pub(super) flows: Vec<Flow>,
    /// First events of verifications with devices that are not known yet.
    pub(super) waiting: VecDeque<Waiting>,
    next: u64,
    /// When we began to count answers to what belongs to nothing, and how many there were.
    refused: (Timestamp, u32),
}

/// An event that waits for the keys of the device it names.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) incoming: Incoming,
    pub(super) since: Timestamp,
}

/// An event of a verification, from wherever it came.
#[derive(Clone, Debug)]
pub(super) struct Incoming {
    pub(super) sender: OwnedUserId,
    /// The device that sent it, where that is proved.
    pub(super) device: Option<OwnedDeviceId>,
    pub(super) place: IncomingPlace,
    pub(super) kind: Kind,
    pub(super) content: Content,
}

/// Where an event came.
#[derive(Clone, Debug)]
pub(super) enum IncomingPlace {
    Devices,
    Room { room: OwnedRoomId, event: OwnedEventId, at: Timestamp },
}

/// What the user does with a verification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum VerificationAct {
    /// Agrees to a request.
    Accept {
        /// Whether a code of the other side can be read.
        #[serde(default)]
        scan: Scan,
    },
    /// Wants to compare emoji.
    StartSas,
    /// Read the code that the other side shows.
    Scanned {
        /// Base64 of its bytes.
        code: String,
    },
    /// Says that both sides show the same, or that the other side reports success.
    Confirm,
    /// Says that they differ.
    Mismatch,
    /// Ends it.
    Cancel,
}

/// Why a verification cannot begin or go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerificationError {
    /// There is no other device of ours.
    #[error("this account has no other device that could be asked")]
    NoOtherDevice,
    /// The device is not known.
    #[error("{0} has no such device")]
    NoDevice(OwnedUserId),
    /// The user shows no cross-signing identity.
    #[error("{0} has no cross-signing keys that could be verified; their client has to make some")]
    NoIdentity(OwnedUserId),
    /// This device cannot vouch for others.
    #[error("this device is not verified itself; verify it first, or type in the recovery key")]
    OwnDevice,
    /// The lists are being asked for.
    #[error("the keys of {0} are being asked for; try again in a moment")]
    NotYet(OwnedUserId),
    /// There is no direct chat to verify in.
    #[error("there is no direct chat with {0}; make one first")]
    NoRoom(OwnedUserId),
    /// One is under way.
    #[error("a verification with {0} is under way; end that one first")]
    UnderWay(OwnedUserId),
    /// Too many are under way.
    #[error("too many verifications are under way; end some first")]
    TooMany,
    /// No such verification.
    #[error("this verification is over")]
    Unknown,
    /// It is not where this could be done.
    #[error("the verification is not at that point")]
    OutOfTurn,
    /// What was given is no code.
    #[error("this is not the base64 of a verification code")]
    BadCode,
}

impl VerificationError {
    /// A name for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoOtherDevice => "no_other_device",
            Self::NoDevice(_) => "unknown_device",
            Self::NoIdentity(_) => "no_identity",
            Self::OwnDevice => "own_device_unverified",
            Self::NotYet(_) => "looking_up",
            Self::NoRoom(_) => "unknown_room",
            Self::UnderWay(_) => "under_way",
            Self::TooMany => "too_many",
            Self::Unknown => "unknown_verification",
            Self::OutOfTurn => "out_of_turn",
            Self::BadCode => "bad_code",
        }
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

impl Verifications {
    /// Names begin with the time, so that those of an earlier run are not used again.
    pub(in crate::e2ee) fn new(now: Timestamp) -> Self {
        Self { flows: Vec::new(), waiting: VecDeque::new(), next: now.0, refused: (now, 0) }
    }

    pub(super) fn next_id(&mut self) -> VerificationId {
        self.next = self.next.wrapping_add(1);
        VerificationId(self.next)
    }

    pub(super) fn active(&self) -> impl Iterator<Item = &Flow> {
        self.flows.iter().filter(|flow| flow.is_active())
    }

    /// Whether one more may begin.
    pub(super) fn has_room(&self, user: &UserId) -> bool {
        let with_one = self.active().filter(|flow| *flow.peer == *user).count();
        self.active().count() < MOST_ACTIVE && with_one < MOST_WITH_ONE
    }

    /// Takes a new one.
    pub(super) fn push(&mut self, flow: Flow) {
        self.flows.push(flow);
        self.prune();
    }

    /// Whether one more answer to what belongs to nothing may be sent.
    pub(super) fn may_refuse(&mut self, now: Timestamp) -> bool {
        let (since, count) = &mut self.refused;
        if MINUTE <= now.since(*since) {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= MOST_REFUSALS
    }

    pub(super) fn get(&mut self, id: VerificationId) -> Option<&mut Flow> {
        self.flows.iter_mut().find(|flow| flow.id == id)
    }

    /// Forgets the oldest of those that ended.
    pub(super) fn prune(&mut self) {
        let ended = self.flows.iter().filter(|flow| !flow.is_active()).count();
        let mut surplus = ended.saturating_sub(MOST_ENDED);
        self.flows.retain(|flow| {
            let drop = 0 < surplus && !flow.is_active();
            surplus -= usize::from(drop);
            !drop
        });
    }

    /// Keeps a first event until its device is known; beyond the bound the oldest is lost.
    pub(super) fn wait(&mut self, incoming: Incoming, now: Timestamp) {
        while MOST_WAITING <= self.waiting.len() {
            self.waiting.pop_front();
        }
        self.waiting.push_back(Waiting { incoming, since: now });
    }

    /// When time is to be told.
    pub(in crate::e2ee) fn deadline(&self) -> Option<Timestamp> {
        let flows = self.active().map(Flow::until);
        flows.chain(self.waiting.iter().map(|it| it.since.plus(LIFE))).min()
    }
}

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
        let new = New { id, place, peer: user.to_owned(), own: self.own(), began: now, came: now };
        let mut flow = Flow::asked(new, devices, scan);
        flow.expected_master = master_of(user, step)?;
        self.ask(&flow, scan, step)?;
        let view = flow.view();
        self.verifications.push(flow);
        step.tell(Notice::Verification(view.clone()));
        Ok(Ok(view))
    }

    fn own(&self) -> Own {
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

    /// Sends one event to some devices of a user, in clear: what it says is public, and what must
    /// not be changed is checked by the other side.
    pub(super) fn send_to_devices(
        &mut self,
        (place, user, devices): (&Place, &UserId, &[OwnedDeviceId]),
        outgoing: Outgoing,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let Some(content) = address(place, outgoing.content) else { return Ok(()) };
        let content = raw(Table::Request, &encode_text(Table::Request, &content)?)?;
        let messages: Vec<ToDeviceMessage> = devices
            .iter()
            .map(|device| ToDeviceMessage {
                user: user.to_owned(),
                device_id: device.clone(),
                content: content.clone(),
            })
            .collect();
        for messages in messages.chunks(crate::e2ee::request::DEVICES_PER_REQUEST) {
            let kind = outgoing.kind.as_str();
            self.core.requests.to_device(kind, messages, Purpose::Notice, step)?;
        }
        Ok(())
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
        let wish = match act {
            VerificationAct::Accept { scan } => Wish::Accept(scan),
            VerificationAct::StartSas => Wish::StartSas,
            VerificationAct::Scanned { code } => match qr::from_text(&code) {
                Some(bytes) => Wish::Scanned(bytes),
                None => return Ok(Err(VerificationError::BadCode)),
            },
            VerificationAct::Confirm => Wish::Confirm,
            VerificationAct::Mismatch => Wish::Mismatch,
            VerificationAct::Cancel => Wish::Cancel,
        };
        let is_accept = matches!(wish, Wish::Accept(_));
        let secret = draw()?;
        let other = self.verifications.get(id).is_some_and(|flow| flow.peer != self.core.user);
        if is_accept && other {
            let user = self.core.user.clone();
            if let Err(error) = self.may_vouch(&user, step)? {
                return Ok(Err(error));
            }
        }
        let Some(flow) = self.verifications.get(id) else {
            return Ok(Err(VerificationError::Unknown));
        };
        match flow.wish(wish, &secret) {
            Ok(effects) => {
                self.carry_out(id, effects, step)?;
                let view = self.verifications.get(id).map(|flow| flow.view());
                if let Some(view) = view.clone() {
                    step.tell(Notice::Verification(view));
                }
                self.verifications.prune();
                Ok(view.ok_or(VerificationError::Unknown))
            }
            Err(OutOfTurn) => Ok(Err(VerificationError::OutOfTurn)),
        }
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
                    if !self.sign_verified(&peer, verified, step)? {
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
        verified: Verified,
        step: &mut Step<'_>,
    ) -> Result<bool, MachineError> {
        let Verified { user_master, own_device, own_master } = verified;
        if let Some(master) = user_master {
            return Ok(self.sign_user(peer, &master, step)? == Signed::Yes);
        }
        if let Some(master) = own_master
            && !self.verify_own_master(&master, step)?
        {
            return Ok(false);
        }
        // Without the key for it, the other device signs this one, and the key comes by gossip.
        match own_device {
            Some((device, ed25519)) => {
                Ok(self.sign_own_device(&device, &ed25519, step)? != Signed::NotCurrent)
            }
            None => Ok(true),
        }
    }

    /// Whether this device verified our own identity.
    fn own_trust(&self, step: &Step<'_>) -> Result<OwnTrust, MachineError> {
        Ok(match self.own_identity(step)? {
            OwnIdentity::Verified { .. } => OwnTrust::Verified,
            OwnIdentity::None | OwnIdentity::Theirs => OwnTrust::Unverified,
        })
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

    /// The keys of both sides as they are known now; `None` while the device or one of the two
    /// identities is not known, or cannot be verified.
    pub(super) fn bind(
        &self,
        user: &UserId,
        device: &DeviceId,
        step: &Step<'_>,
    ) -> Result<Option<Bound>, MachineError> {
        let is_us = *user == *self.core.user && *device == *self.core.device;
        let found = find_device(user, device, step)?.filter(|it| !it.is_deleted() && !is_us);
        let Some(found) = found.filter(|it| it.sort == DeviceSort::Ordinary) else {
            return Ok(None);
        };
        let identity = step.get::<Identity>(Table::Identity, user.as_str(), "")?;
        // A device named like a key of its owner could be taken for the key.
        let clear = |it: &Identity| !it.is_confused() && !it.has_key_named(device.as_str());
        let (Some(identity), Some(own)) =
            (identity.filter(clear), master_of(&self.core.user, step)?)
        else {
            return Ok(None);
        };
        let us = Side {
            user: self.core.user.clone(),
            device: self.core.device.clone(),
            ed25519: self.core.account.ed25519(),
            master: Some(own),
        };
        let them = Side {
            user: user.to_owned(),
            device: device.to_owned(),
            ed25519: found.ed25519,
            master: Some(identity.master_key),
        };
        Ok(Some(Bound { us, trust: self.own_trust(step)?, them }))
    }
}

/// The current master key of a user, unpadded base64.
fn master_of(user: &UserId, step: &Step<'_>) -> Result<Option<String>, MachineError> {
    let identity = step.get::<Identity>(Table::Identity, user.as_str(), "")?;
    Ok(identity.map(|it| it.master_key))
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

fn random_txn() -> Result<OwnedTransactionId, MachineError> {
    Ok(OwnedTransactionId::from(RequestId::random()?.0))
}

/// Random bytes.
pub(super) fn draw() -> Result<Draw, MachineError> {
    let mut bytes = Draw::default();
    getrandom::fill(&mut bytes).map_err(MachineError::NoRandomness)?;
    Ok(bytes)
}

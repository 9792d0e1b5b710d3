//! One verification: where it stands, since when, and with whom. What the other side and our user
//! do to it is in `heard` and `wish`. It knows neither store nor network: what is to be sent or
//! signed is handed out.
//!
//! # Spec
//! Client-Server API, "Key verification framework".

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    code::CancelCode,
    content::{Methods, RECIPROCATE, SAS, SHOW, Start},
    keys::Bound,
    outgoing::{self, Outgoing, Scan},
    place::Place,
    proof::{KeysChecked, Verified},
    qr::{self, Shown},
    sas::Sas,
    view::{Ending, VerificationId, VerificationStage, VerificationView},
};
use crate::{
    matrix::{OwnedDeviceId, OwnedUserId},
    time::Timestamp,
};

/// Random bytes, drawn anew for each use.
pub(super) type Draw = [u8; qr::USUAL_SECRET];

/// How long a verification may take in all.
pub(super) const LIFE: Duration = Duration::from_secs(10 * 60);
/// How long a request waits for our user.
pub(super) const PROMPT: Duration = Duration::from_secs(2 * 60);

/// What is to be done, in this order.
#[derive(Debug, PartialEq)]
pub(super) enum Effect {
    /// Send this to the other side.
    Send(Outgoing),
    /// Tell the other devices that were asked that one took it.
    Dismiss,
    /// Sign what was verified.
    Sign(Verified),
    /// Another device of ours trusts this one from now on: ask it for secrets.
    AskSecrets,
}

/// Where a verification stands.
#[derive(Debug)]
pub(super) enum State {
    /// We sent the request.
    Asked,
    /// They did; perhaps without a request, by a start.
    Invited {
        theirs: Methods,
        start: Option<Start>,
    },
    /// Both know what the other can.
    Ready {
        theirs: Methods,
        shown: Option<Shown>,
    },
    Sas(Sas),
    /// Our code was scanned, by somebody who proved it.
    Scanned(KeysChecked),
    /// We scanned theirs and told them.
    Reciprocated {
        checked: KeysChecked,
        shown: Option<Shown>,
    },
    /// Verified; they have not said the same yet.
    Signed,
    /// Verified, on both sides.
    Done,
    Cancelled {
        code: CancelCode,
        by: Ending,
    },
    Elsewhere,
}

/// Who we are.
#[derive(Clone, Debug)]
pub(super) struct Own {
    pub(super) user: OwnedUserId,
    pub(super) device: OwnedDeviceId,
}

/// One verification.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) id: VerificationId,
    pub(super) place: Place,
    pub(super) peer: OwnedUserId,
    /// Devices that were asked, where it is between devices and we began.
    pub(super) asked: Vec<OwnedDeviceId>,
    pub(super) is_ours: bool,
    /// The keys, once the other device is known.
    pub(super) bound: Option<Bound>,
    /// The other user's master key when we asked.
    pub(super) expected_master: Option<String>,
    pub(super) began: Timestamp,
    /// When it came to us.
    pub(super) came: Timestamp,
    pub(super) own: Own,
    pub(super) scan: Scan,
    pub(super) state: State,
}

/// What a flow is made of.
#[derive(Debug)]
pub(super) struct New {
    pub(super) id: VerificationId,
    pub(super) place: Place,
    pub(super) peer: OwnedUserId,
    pub(super) own: Own,
    pub(super) began: Timestamp,
    pub(super) came: Timestamp,
}

/// What came of a step; an error ends the verification and is told to the other side.
pub(super) type Effects = Result<Vec<Effect>, CancelCode>;

impl Flow {
    /// We ask.
    pub(super) fn asked(new: New, devices: Vec<OwnedDeviceId>, scan: Scan) -> Self {
        Self { asked: devices, is_ours: true, scan, ..Self::new(new, State::Asked) }
    }

    /// They ask; the keys are known.
    pub(super) fn invited(new: New, theirs: Methods, start: Option<Start>, bound: Bound) -> Self {
        let flow = Self::new(new, State::Invited { theirs, start });
        Self { bound: Some(bound), ..flow }
    }

    fn new(new: New, state: State) -> Self {
        let New { id, place, peer, own, began, came } = new;
        Self {
            id,
            place,
            peer,
            asked: Vec::new(),
            is_ours: false,
            bound: None,
            expected_master: None,
            began,
            came,
            own,
            scan: Scan::No,
            state,
        }
    }

    /// Whether it waits for one of several devices to answer.
    pub(super) fn waits_for_device(&self) -> bool {
        matches!(self.state, State::Asked)
    }

    /// Whether it waits for our user to accept.
    pub(super) fn is_invited(&self) -> bool {
        matches!(self.state, State::Invited { .. })
    }

    /// Whether something can still happen.
    pub(super) fn is_active(&self) -> bool {
        match self.state {
            State::Signed | State::Done | State::Cancelled { .. } | State::Elsewhere => false,
            State::Asked
            | State::Invited { .. }
            | State::Ready { .. }
            | State::Sas(_)
            | State::Scanned(_)
            | State::Reciprocated { .. } => true,
        }
    }

    /// Ends it and tells the other side why, unless it is over.
    pub(super) fn cancel(&mut self, code: CancelCode) -> Vec<Effect> {
        if self.is_active() { self.withdraw(code) } else { Vec::new() }
    }

    /// Ends it though it may be done as far as both sides could see: it could not be signed.
    pub(super) fn withdraw(&mut self, code: CancelCode) -> Vec<Effect> {
        let send = Effect::Send(outgoing::cancel(&code));
        self.state = State::Cancelled { code, by: Ending::Us };
        vec![send]
    }

    /// Ends it without a word.
    pub(super) fn end(&mut self, code: CancelCode) {
        if self.is_active() {
            self.state = State::Cancelled { code, by: Ending::Us };
        }
    }

    /// Why this device ended it, if it did.
    pub(super) fn ended_here(&self) -> Option<CancelCode> {
        match &self.state {
            State::Cancelled { code, by: Ending::Us } => Some(code.clone()),
            State::Cancelled { by: Ending::Them, .. }
            | State::Asked
            | State::Invited { .. }
            | State::Ready { .. }
            | State::Sas(_)
            | State::Scanned(_)
            | State::Reciprocated { .. }
            | State::Signed
            | State::Done
            | State::Elsewhere => None,
        }
    }

    /// Another device of ours took it.
    pub(super) fn taken_elsewhere(&mut self) {
        if self.is_invited() {
            self.state = State::Elsewhere;
        }
    }

    /// The keys and the name, which both sides derive with.
    pub(super) fn context(&self) -> Result<(Bound, String), CancelCode> {
        let bound = self.bound.clone().ok_or(CancelCode::UnexpectedMessage)?;
        let name = self.place.name().ok_or(CancelCode::UnexpectedMessage)?;
        Ok((bound, name.to_owned()))
    }

    /// Takes the state out, to be replaced by the next one. Whatever fails before that ends the
    /// verification; what is left in between holds nothing and allows nothing but that.
    pub(super) fn take_state(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Asked)
    }

    /// When it ends by itself.
    pub(super) fn until(&self) -> Timestamp {
        let life = self.began.plus(LIFE);
        if self.is_invited() { life.min(self.came.plus(PROMPT)) } else { life }
    }

    /// Time passed.
    pub(super) fn tick(&mut self, now: Timestamp) -> Vec<Effect> {
        if now < self.until() || !self.is_active() {
            return Vec::new();
        }
        // A device that nobody sits at must not end what another one may still take.
        if self.is_invited() {
            self.end(CancelCode::Timeout);
            return Vec::new();
        }
        self.cancel(CancelCode::Timeout)
    }

    /// What a face shows.
    pub(super) fn view(&self) -> VerificationView {
        let device = self.bound.as_ref().map(|bound| bound.them.device.clone());
        let room = match &self.place {
            Place::Devices { .. } => None,
            Place::Room { room, .. } => Some(room.clone()),
        };
        VerificationView {
            id: self.id,
            user: self.peer.clone(),
            device,
            is_own: self.peer == self.own.user,
            is_ours: self.is_ours,
            room,
            until: self.until(),
            stage: self.stage(),
        }
    }

    fn stage(&self) -> VerificationStage {
        match &self.state {
            State::Asked => VerificationStage::Asked,
            State::Invited { .. } => VerificationStage::Invited,
            State::Ready { theirs, shown } => VerificationStage::Ready {
                emoji: theirs.has(SAS),
                code: shown.as_ref().map(|shown| STANDARD.encode(&shown.bytes)),
                scan: theirs.has(SHOW) && theirs.has(RECIPROCATE),
            },
            State::Sas(Sas::Started(_) | Sas::KeySent(_) | Sas::Accepted(_)) => {
                VerificationStage::Waiting
            }
            State::Sas(Sas::Compare(compare)) => VerificationStage::Compare {
                emoji: compare.short.emoji.clone(),
                decimals: compare.short.decimals,
            },
            State::Sas(Sas::Confirmed(_)) => VerificationStage::Confirmed,
            State::Scanned(_) => VerificationStage::Scanned,
            State::Reciprocated { .. } => VerificationStage::Reciprocated,
            State::Signed | State::Done => VerificationStage::Done,
            State::Cancelled { code, by } => {
                VerificationStage::Cancelled { code: code.clone(), by: *by }
            }
            State::Elsewhere => VerificationStage::Elsewhere,
        }
    }
}

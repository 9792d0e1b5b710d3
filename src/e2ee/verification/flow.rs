//! One verification: what each event and each word of the user does to it. It knows neither store
//! nor network: what is to be sent or signed is handed out.
//!
//! # Spec
//! Client-Server API, "Key verification framework".

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    code::CancelCode,
    content::{Message, Methods, RECIPROCATE, SAS, SCAN, SHOW, Start, StartMethod},
    keys::Bound,
    outgoing::{self, Outgoing, Scan, methods},
    proof::{Confirmed, KeysChecked, Verified},
    qr::{self, Shown},
    sas::{Next, Sas, Stepped},
    short::Macs,
    view::{Ending, VerificationId, VerificationStage, VerificationView},
};
use crate::{
    matrix::{OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedTransactionId, OwnedUserId},
    time::Timestamp,
};

/// Random bytes, drawn anew for each use.
pub(super) type Draw = [u8; qr::USUAL_SECRET];

/// How long a verification may take in all.
pub(super) const LIFE: Duration = Duration::from_secs(10 * 60);
/// How long a request waits for our user.
pub(super) const PROMPT: Duration = Duration::from_secs(2 * 60);

/// Where the events go, and how the verification is named in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// From device to device.
    Devices { transaction: String },
    /// In a direct chat; the request's event once the server has it.
    Room { room: OwnedRoomId, txn: Option<OwnedTransactionId>, request: Option<OwnedEventId> },
}

impl Place {
    /// The name of the verification, which both sides derive with.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Devices { transaction } => Some(transaction),
            Self::Room { request, .. } => request.as_deref().map(ruma::EventId::as_str),
        }
    }
}

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

/// What the user wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Accept(Scan),
    StartSas,
    Scanned(Vec<u8>),
    Confirm,
    Mismatch,
    Cancel,
}

/// The verification is not where this can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutOfTurn;

#[derive(Debug)]
enum State {
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
    /// Verified; whether they said the same.
    Done {
        theirs: bool,
    },
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
    scan: Scan,
    state: State,
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

type Effects = Result<Vec<Effect>, CancelCode>;

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
        !self.view().stage.is_over()
    }

    /// Takes an event of the other side.
    pub(super) fn receive(&mut self, message: Message, secret: &Draw) -> Vec<Effect> {
        if let Message::Cancel(code) = message {
            if self.is_active() {
                self.state = State::Cancelled { code, by: Ending::Them };
            }
            return Vec::new();
        }
        match self.take(message, secret) {
            Ok(effects) => effects,
            Err(code) => self.cancel(code),
        }
    }

    /// Ends it and tells the other side why, unless it is over.
    pub(super) fn cancel(&mut self, code: CancelCode) -> Vec<Effect> {
        if !self.is_active() {
            return Vec::new();
        }
        let send = Effect::Send(outgoing::cancel(&code));
        self.state = State::Cancelled { code, by: Ending::Us };
        vec![send]
    }

    /// It was done as far as both sides could see, and could not be signed.
    pub(super) fn withdraw(&mut self, code: CancelCode) -> Vec<Effect> {
        self.state = State::Asked;
        self.cancel(code)
    }

    /// Ends it without a word.
    pub(super) fn end(&mut self, code: CancelCode) {
        if self.is_active() {
            self.state = State::Cancelled { code, by: Ending::Us };
        }
    }

    /// Another device of ours took it.
    pub(super) fn taken_elsewhere(&mut self) {
        if self.is_invited() {
            self.state = State::Elsewhere;
        }
    }

    fn context(&self) -> Result<(Bound, String), CancelCode> {
        let bound = self.bound.clone().ok_or(CancelCode::UnexpectedMessage)?;
        let name = self.place.name().ok_or(CancelCode::UnexpectedMessage)?;
        Ok((bound, name.to_owned()))
    }

    /// Takes the state out, to be replaced by the next one. Whatever fails before that ends the
    /// verification; what is left in between holds nothing and allows nothing but that.
    fn take_state(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Asked)
    }

    fn take(&mut self, message: Message, secret: &Draw) -> Effects {
        match (self.take_state(), message) {
            (State::Asked, Message::Ready { from_device, methods }) => {
                self.on_ready(&from_device, methods, secret)
            }
            (state @ State::Ready { .. }, Message::Start(start)) => self.on_start(state, &start),
            (State::Sas(sas), Message::Start(start)) if sas.is_started() => {
                self.on_crossing(State::Sas(sas), &start, SAS)
            }
            (state @ State::Reciprocated { .. }, Message::Start(start)) => {
                self.on_crossing(state, &start, RECIPROCATE)
            }
            (State::Sas(sas), message) => self.on_sas(sas, message),
            (State::Reciprocated { checked, .. }, Message::Done) => {
                let (bound, _) = self.context()?;
                let verified = Verified::new(Confirmed::by_user(), &checked, &bound);
                self.state = State::Done { theirs: true };
                let mut effects = vec![Effect::Sign(verified), Effect::Send(outgoing::done())];
                effects.extend(bound.is_own().then_some(Effect::AskSecrets));
                Ok(effects)
            }
            (State::Done { theirs: false }, Message::Done) => {
                self.state = State::Done { theirs: true };
                let own = self.bound.as_ref().is_some_and(Bound::is_own);
                Ok(own.then_some(Effect::AskSecrets).into_iter().collect())
            }
            (state @ (State::Done { .. } | State::Cancelled { .. } | State::Elsewhere), _) => {
                self.state = state;
                Ok(Vec::new())
            }
            (_, _) => Err(CancelCode::UnexpectedMessage),
        }
    }

    fn on_ready(&mut self, device: &OwnedDeviceId, theirs: Methods, secret: &Draw) -> Effects {
        let (bound, name) = self.context()?;
        if bound.them.device != *device {
            return Err(CancelCode::UserMismatch);
        }
        self.ready(theirs, (&bound, &name), secret)?;
        Ok(vec![Effect::Dismiss])
    }

    /// Both are there: what they have in common decides how it may go on.
    fn ready(
        &mut self,
        theirs: Methods,
        (bound, name): (&Bound, &str),
        secret: &Draw,
    ) -> Result<(), CancelCode> {
        let scans = theirs.has(SCAN) && theirs.has(RECIPROCATE);
        let shown = if scans { Shown::new(bound, name, secret) } else { None };
        if !theirs.has(SAS) && shown.is_none() && !self.may_scan(&theirs) {
            return Err(CancelCode::UnknownMethod);
        }
        self.state = State::Ready { theirs, shown };
        Ok(())
    }

    fn may_scan(&self, theirs: &Methods) -> bool {
        self.scan == Scan::Yes && theirs.has(SHOW) && theirs.has(RECIPROCATE)
    }

    fn on_start(&mut self, state: State, start: &Start) -> Effects {
        let (bound, _) = self.context()?;
        if bound.them.device != start.from_device {
            return Err(CancelCode::UserMismatch);
        }
        match (&start.method, state) {
            (StartMethod::Sas(offer), _) => {
                let (sas, accept) = Sas::accept(offer, &start.canonical)?;
                self.state = State::Sas(sas);
                Ok(vec![Effect::Send(accept)])
            }
            (
                StartMethod::Reciprocate(secret),
                State::Ready { shown: Some(shown), .. }
                | State::Reciprocated { shown: Some(shown), .. },
            ) => {
                self.state = State::Scanned(shown.scanned(secret, &bound)?);
                Ok(Vec::new())
            }
            (StartMethod::Reciprocate(_) | StartMethod::Unknown, _) => {
                Err(CancelCode::UnknownMethod)
            }
        }
    }

    /// Both sides started at once: if they want the same, the smaller name goes first.
    fn on_crossing(&mut self, state: State, start: &Start, ours: &str) -> Effects {
        let theirs = match start.method {
            StartMethod::Sas(_) => SAS,
            StartMethod::Reciprocate(_) => RECIPROCATE,
            StartMethod::Unknown => "",
        };
        if theirs != ours {
            return Err(CancelCode::UnexpectedMessage);
        }
        let (bound, _) = self.context()?;
        let name = |side: &super::keys::Side| (side.user.clone(), side.device.clone());
        if name(&bound.us) < name(&bound.them) {
            self.state = state;
            return Ok(Vec::new());
        }
        self.on_start(state, start)
    }

    fn on_sas(&mut self, sas: Sas, message: Message) -> Effects {
        let (bound, name) = self.context()?;
        let context = (&bound, name.as_str());
        let stepped = match message {
            Message::Accept(accept) => sas.accepted(&accept)?,
            Message::Key { key } => sas.key(&key, context)?,
            Message::Mac { macs, keys } => sas.mac(&Macs { macs, keys }, context)?,
            Message::Request(_)
            | Message::Ready { .. }
            | Message::Start(_)
            | Message::Done
            | Message::Cancel(_) => return Err(CancelCode::UnexpectedMessage),
        };
        Ok(self.stepped(stepped))
    }

    fn stepped(&mut self, Stepped { sas, send }: Stepped) -> Vec<Effect> {
        let mut effects: Vec<Effect> = send.into_iter().map(Effect::Send).collect();
        match sas {
            Next::On(sas) => self.state = State::Sas(sas),
            Next::Verified(verified) => {
                self.state = State::Done { theirs: false };
                effects.extend([Effect::Sign(verified), Effect::Send(outgoing::done())]);
            }
        }
        effects
    }

    /// Does what the user wants, if it is the time for it.
    pub(super) fn wish(&mut self, wish: Wish, secret: &Draw) -> Result<Vec<Effect>, OutOfTurn> {
        if !self.is_active() {
            return Err(OutOfTurn);
        }
        match wish {
            Wish::Cancel => Ok(self.cancel(CancelCode::User)),
            Wish::Mismatch => self.mismatch(),
            Wish::Accept(scan) => self.accept(scan, secret),
            Wish::StartSas => self.start_sas(),
            Wish::Scanned(bytes) => self.scan_code(&bytes),
            Wish::Confirm => self.confirm(),
        }
    }

    fn accept(&mut self, scan: Scan, secret: &Draw) -> Result<Vec<Effect>, OutOfTurn> {
        let state = self.take_state();
        let State::Invited { theirs, start } = state else { return Err(self.not_now(state)) };
        self.scan = scan;
        // A fault from here on is theirs.
        Ok(match self.accept_request(theirs, start, secret) {
            Ok(effects) => effects,
            Err(code) => self.cancel(code),
        })
    }

    fn accept_request(&mut self, theirs: Methods, start: Option<Start>, secret: &Draw) -> Effects {
        let (bound, name) = self.context()?;
        if let Some(start) = start {
            let shown = None;
            return self.on_start(State::Ready { theirs, shown }, &start);
        }
        // Those of ours that go with theirs.
        let pairs = [(SAS, SAS), (SHOW, SCAN), (SCAN, SHOW), (RECIPROCATE, RECIPROCATE)];
        let ours = methods(self.scan);
        let fits = |ours: &&str| pairs.iter().any(|(one, two)| one == ours && theirs.has(two));
        let common: Vec<String> = ours.into_iter().filter(fits).map(str::to_owned).collect();
        self.ready(theirs, (&bound, &name), secret)?;
        Ok(vec![Effect::Send(outgoing::ready(&self.own.device, &common))])
    }

    fn start_sas(&mut self) -> Result<Vec<Effect>, OutOfTurn> {
        let State::Ready { theirs, .. } = &self.state else { return Err(OutOfTurn) };
        if !theirs.has(SAS) {
            return Err(OutOfTurn);
        }
        let start = outgoing::start_sas(&self.own.device);
        let canonical = self.addressed_text(&start).ok_or(OutOfTurn)?;
        self.state = State::Sas(Sas::start(canonical));
        Ok(vec![Effect::Send(start)])
    }

    fn scan_code(&mut self, bytes: &[u8]) -> Result<Vec<Effect>, OutOfTurn> {
        let State::Ready { theirs, .. } = &self.state else { return Err(OutOfTurn) };
        if !theirs.has(SHOW) || !theirs.has(RECIPROCATE) {
            return Err(OutOfTurn);
        }
        let scanned = self.context().and_then(|(bound, name)| qr::scan(bytes, &name, &bound));
        Ok(match scanned {
            Ok((checked, secret)) => {
                let start = outgoing::start_reciprocate(&self.own.device, &secret);
                let State::Ready { shown, .. } = self.take_state() else { return Err(OutOfTurn) };
                self.state = State::Reciprocated { checked, shown };
                vec![Effect::Send(start)]
            }
            Err(code) => self.cancel(code),
        })
    }

    fn confirm(&mut self) -> Result<Vec<Effect>, OutOfTurn> {
        let Ok((bound, name)) = self.context() else { return Err(OutOfTurn) };
        match self.take_state() {
            State::Sas(sas) => match sas.confirm((&bound, &name)) {
                Ok(stepped) => Ok(self.stepped(stepped)),
                Err(sas) => Err(self.not_now(State::Sas(sas))),
            },
            State::Scanned(checked) => {
                let verified = Verified::new(Confirmed::by_user(), &checked, &bound);
                self.state = State::Done { theirs: false };
                Ok(vec![Effect::Sign(verified), Effect::Send(outgoing::done())])
            }
            state @ (State::Asked
            | State::Invited { .. }
            | State::Ready { .. }
            | State::Reciprocated { .. }
            | State::Done { .. }
            | State::Cancelled { .. }
            | State::Elsewhere) => Err(self.not_now(state)),
        }
    }

    fn not_now(&mut self, state: State) -> OutOfTurn {
        self.state = state;
        OutOfTurn
    }

    fn mismatch(&mut self) -> Result<Vec<Effect>, OutOfTurn> {
        if let State::Sas(Sas::Compare(_)) = &self.state {
            Ok(self.cancel(CancelCode::MismatchedSas))
        } else if let State::Scanned(_) = &self.state {
            Ok(self.cancel(CancelCode::User))
        } else {
            Err(OutOfTurn)
        }
    }

    /// The content of an event with what says to which verification it belongs; canonical.
    fn addressed_text(&self, outgoing: &Outgoing) -> Option<String> {
        let content = address(&self.place, outgoing.content.clone())?;
        let text = serde_json::to_string(&content).ok()?;
        let object = crate::matrix::CanonicalValue::parse_object(&text).ok()?;
        Some(crate::matrix::CanonicalText(&object).to_string())
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
        let stage = match &self.state {
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
            State::Done { .. } => VerificationStage::Done,
            State::Cancelled { code, by } => {
                VerificationStage::Cancelled { code: code.clone(), by: *by }
            }
            State::Elsewhere => VerificationStage::Elsewhere,
        };
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
            stage,
        }
    }
}

/// Says in a content to which verification it belongs; `None` while a request in a room has no
/// event yet.
pub(super) fn address(
    place: &Place,
    mut content: serde_json::Map<String, serde_json::Value>,
) -> Option<serde_json::Map<String, serde_json::Value>> {
    match place {
        Place::Devices { transaction } => {
            content.insert("transaction_id".to_owned(), serde_json::json!(transaction));
        }
        Place::Room { request, .. } => {
            let relation =
                serde_json::json!({ "rel_type": "m.reference", "event_id": request.as_ref()? });
            content.insert("m.relates_to".to_owned(), relation);
        }
    }
    Some(content)
}

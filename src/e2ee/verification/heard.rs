//! What each event of the other side does to a verification.

use super::{
    code::CancelCode,
    content::{Message, Methods, RECIPROCATE, SAS, SCAN, SHOW, Start, StartMethod},
    flow::{Draw, Effect, Effects, Flow, State},
    keys::{Bound, Side},
    outgoing::{self, Scan},
    proof::{Confirmed, Verified},
    qr::Shown,
    sas::{Next, Sas, Stepped},
    short::Macs,
    view::Ending,
};
use crate::matrix::OwnedDeviceId;

impl Flow {
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
                let verified = Verified::new(Confirmed::by_user(), checked);
                self.state = State::Done;
                let mut effects = vec![Effect::Sign(verified), Effect::Send(outgoing::done())];
                effects.extend(bound.is_own().then_some(Effect::AskSecrets));
                Ok(effects)
            }
            (State::Signed, Message::Done) => {
                self.state = State::Done;
                let own = self.bound.as_ref().is_some_and(Bound::is_own);
                Ok(own.then_some(Effect::AskSecrets).into_iter().collect())
            }
            (
                state @ (State::Signed | State::Done | State::Cancelled { .. } | State::Elsewhere),
                _,
            ) => {
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
    pub(super) fn ready(
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

    pub(super) fn on_start(&mut self, state: State, start: &Start) -> Effects {
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
        let name = |side: &Side| (side.user.clone(), side.device.clone());
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

    pub(super) fn stepped(&mut self, Stepped { sas, send }: Stepped) -> Vec<Effect> {
        let mut effects: Vec<Effect> = send.into_iter().map(Effect::Send).collect();
        match sas {
            Next::On(sas) => self.state = State::Sas(sas),
            Next::Verified(verified) => {
                self.state = State::Signed;
                effects.extend([Effect::Sign(verified), Effect::Send(outgoing::done())]);
            }
        }
        effects
    }
}

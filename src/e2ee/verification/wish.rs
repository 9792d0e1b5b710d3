//! What each word of our user does to a verification.

use super::{
    act::VerificationAct,
    code::CancelCode,
    content::{Methods, RECIPROCATE, SAS, SCAN, SHOW, Start},
    flow::{Draw, Effect, Effects, Flow, State},
    outgoing::{self, Outgoing, Scan, methods},
    place::address,
    proof::{Confirmed, Verified},
    qr,
    sas::Sas,
};
use crate::matrix::{CanonicalText, CanonicalValue};

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

impl Wish {
    /// What an act means to a flow; `None` for a code that cannot be read.
    pub(super) fn of(act: VerificationAct) -> Option<Self> {
        Some(match act {
            VerificationAct::Accept { scan } => Self::Accept(scan),
            VerificationAct::StartSas => Self::StartSas,
            VerificationAct::Scanned { code } => Self::Scanned(qr::from_text(&code)?),
            VerificationAct::Confirm => Self::Confirm,
            VerificationAct::Mismatch => Self::Mismatch,
            VerificationAct::Cancel => Self::Cancel,
        })
    }
}

impl Flow {
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
                let verified = Verified::new(Confirmed::by_user(), checked);
                self.state = State::Signed;
                Ok(vec![Effect::Sign(verified), Effect::Send(outgoing::done())])
            }
            state @ (State::Asked
            | State::Invited { .. }
            | State::Ready { .. }
            | State::Reciprocated { .. }
            | State::Signed
            | State::Done
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
        let object = CanonicalValue::parse_object(&text).ok()?;
        Some(CanonicalText(&object).to_string())
    }
}

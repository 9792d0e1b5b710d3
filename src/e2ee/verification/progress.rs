//! What befalls verifications beside the events of the other side: ours reach the server or do not,
//! keys are looked up, time passes.

use serde_json::{Map, Value};

use super::{
    code::CancelCode,
    flow::{Effect, Flow},
    outgoing,
    place::Place,
    view::VerificationId,
};
use crate::{
    e2ee::{Machine, MachineError, Notice, step::Step},
    matrix::{EventId, OwnedEventId, RoomId, TransactionId},
};

impl Machine {
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
        let told = flow.ended_here();
        if let Place::Room { request, .. } = &mut flow.place
            && request.is_none()
        {
            *request = Some(OwnedEventId::from(event));
            let id = flow.id;
            // It was ended before it had a name: now the other side can be told.
            if let Some(code) = told {
                let cancel = outgoing::cancel(&code);
                return self.carry_out(id, vec![Effect::Send(cancel)], step);
            }
        }
        Ok(())
    }

    /// The server takes an event of ours for good not: the verification that it belongs to is over.
    /// The other side is told, as far as that can be sent; our user is told `why`.
    ///
    /// # Errors
    /// When the store fails.
    pub fn verification_unsent(
        &mut self,
        (room, txn): (&RoomId, &TransactionId),
        content: &Map<String, Value>,
        why: &str,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let named = content.get("m.relates_to").and_then(|it| it.get("event_id")?.as_str());
        let belongs = |flow: &&Flow| match &flow.place {
            Place::Room { room: it, txn: ours, request } if *it == *room => match named {
                Some(event) => request.as_ref().is_some_and(|request| request == event),
                None => ours.as_deref() == Some(txn),
            },
            Place::Room { .. } | Place::Devices { .. } => false,
        };
        let found = self.verifications.active().find(belongs).map(|flow| flow.id);
        let Some(id) = found else { return Ok(()) };
        self.end_flow(id, CancelCode::Unsent(why.to_owned()), step)
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
        self.verifications.forget_stale(step.now());
        for incoming in std::mem::take(&mut self.verifications.waiting) {
            self.receive_incoming(incoming, step)?;
        }
        Ok(())
    }

    /// Time passed.
    pub(in crate::e2ee) fn tick_verifications(
        &mut self,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let now = step.now();
        self.verifications.forget_stale(now);
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

    /// Ends one and tells the other side why.
    pub(super) fn end_flow(
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
}

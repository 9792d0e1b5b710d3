//! What befalls verifications beside the events of the other side: ours reach the server or do not,
//! keys are looked up, time passes.

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
    pub fn verification_unsent(&mut self, room: &RoomId, step: &mut Step<'_>) {
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

//! All verifications of this device, in memory: how many there may be, and which one has which name.

use std::{collections::VecDeque, time::Duration};

use super::{
    content::{Kind, Message},
    flow::{Draw, Flow, LIFE},
    incoming::Incoming,
    view::VerificationId,
};
use crate::{
    e2ee::MachineError,
    matrix::{DeviceId, UserId},
    time::Timestamp,
};

/// Verifications under way at once, with everybody together.
const MOST_ACTIVE: usize = 8;
/// The same with one user.
const MOST_WITH_ONE: usize = 3;
/// Ended ones that are remembered, so that late events of theirs are not taken for news.
const MOST_ENDED: usize = 32;
/// Answers to what belongs to no verification, in a minute.
const MOST_REFUSALS: u32 = 20;
const MINUTE: Duration = Duration::from_secs(60);
/// Requests that wait for the keys of their device.
const MOST_WAITING: usize = 8;

/// The flows, in memory only.
#[derive(Debug)]
pub(in crate::e2ee) struct Verifications {
    pub(super) flows: Vec<Flow>,
    /// First events of verifications with devices that are not known yet.
    pub(super) waiting: VecDeque<Incoming>,
    next: u64,
    /// When we began to count answers to what belongs to nothing, and how many there were.
    refused: (Timestamp, u32),
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
    pub(super) fn wait(&mut self, incoming: Incoming) {
        while MOST_WAITING <= self.waiting.len() {
            self.waiting.pop_front();
        }
        self.waiting.push_back(incoming);
    }

    /// Whether the answer of this device to a request of ours waits for its keys: what the device
    /// says after it waits too.
    pub(super) fn holds_ready(&self, incoming: &Incoming, device: &DeviceId) -> bool {
        let is_its_answer = |held: &&Incoming| match held.content.message(held.kind) {
            Some(Message::Ready { from_device, .. }) => from_device == *device,
            _ => false,
        };
        self.waiting.iter().filter(|held| held.is_beside(incoming)).any(|it| is_its_answer(&it))
    }

    /// Keeps the start that came before the keys of the device that answered; a second one is not
    /// heard.
    pub(super) fn wait_behind(&mut self, start: Incoming) {
        let is_start = |held: &Incoming| held.kind == Kind::Start && held.is_beside(&start);
        if !self.waiting.iter().any(is_start) {
            self.wait(start);
        }
    }

    /// Forgets first events that have waited as long as a verification may take.
    pub(super) fn forget_stale(&mut self, now: Timestamp) {
        self.waiting.retain(|incoming| now.since(incoming.came) < LIFE);
    }

    /// When time is to be told.
    pub(in crate::e2ee) fn deadline(&self) -> Option<Timestamp> {
        let flows = self.active().map(Flow::until);
        flows.chain(self.waiting.iter().map(|it| it.came.plus(LIFE))).min()
    }
}

/// Random bytes.
pub(super) fn draw() -> Result<Draw, MachineError> {
    let mut bytes = Draw::default();
    getrandom::fill(&mut bytes).map_err(MachineError::NoRandomness)?;
    Ok(bytes)
}

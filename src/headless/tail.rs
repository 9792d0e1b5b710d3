//! `tail`: follows rooms until it is stopped.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    errand::Errand,
    error::HeadlessError,
    feed::Feed,
    line::{Line, What},
    output::Output,
    people::{self, Rooms, Style},
    resolve::{resolve, unexpected},
};
use crate::{
    engine::{Alarm, Command, LinkState, Outcome, Request, Update, driver::Clock},
    matrix::{Membership, OwnedRoomId},
    rooms::{RoomSummary, TimelineDelta},
};

/// Most that is said of why the connection went: parts may come from a server.
const MAX_REASON_CHARS: usize = 200;

/// What to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailOptions {
    /// Rooms, as typed; none means all.
    pub rooms: Vec<String>,
    /// Where it begins.
    pub start: Start,
}

/// Where following begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what came while no grotto was running.
    Missed,
    /// With what comes from now on.
    Now,
    /// With the newest events of each room, at most this many.
    Backlog(u32),
}

/// Prints what happens, for as long as its future is kept and somebody reads.
///
/// # Errors
/// When a room is not known, the first sync does not come in time, nobody reads any more, or the
/// engine ends.
pub async fn tail(
    errand: &mut Errand,
    output: &mut Output,
    options: &TailOptions,
) -> Result<(), HeadlessError> {
    errand.tell(Command::FollowAll).await?;
    let mut tail = Tail::new(output, options.start);
    let mut early = Vec::new();
    while !errand.is_ready() {
        early.push(errand.next_in_time().await?);
    }
    errand.be_patient();
    for room in &options.rooms {
        let room = resolve(errand, room).await?;
        tail.only.insert(room);
    }
    tail.begin(errand, early).await?;
    loop {
        let update = errand.next().await?;
        tail.take(update, errand.rooms())?;
    }
}

/// What is printed, and what was.
struct Tail<'o> {
    output: &'o mut Output,
    style: Style,
    start: Start,
    only: BTreeSet<OwnedRoomId>,
    feed: Feed,
    invites: BTreeSet<OwnedRoomId>,
    link: Option<&'static str>,
    clock: Clock,
}

impl<'o> Tail<'o> {
    fn new(output: &'o mut Output, start: Start) -> Self {
        Self {
            output,
            style: Style { zone: jiff::tz::TimeZone::system(), rooms: Rooms::Named },
            start,
            only: BTreeSet::new(),
            feed: Feed::default(),
            invites: BTreeSet::new(),
            link: None,
            clock: Clock::start(),
        }
    }

    fn wants(&self, room: &OwnedRoomId) -> bool {
        self.only.is_empty() || self.only.contains(room)
    }

    /// Prints what comes before the present, as the options say.
    async fn begin(
        &mut self,
        errand: &mut Errand,
        early: Vec<Update>,
    ) -> Result<(), HeadlessError> {
        for update in early {
            let is_news = matches!(update, Update::Timeline { .. });
            if !is_news || self.start == Start::Missed {
                self.take(update, errand.rooms())?;
            }
        }
        if let Start::Backlog(limit) = self.start {
            let rooms: Vec<OwnedRoomId> = self.joined(errand.rooms());
            for room in rooms {
                self.backlog(errand, room, limit).await?;
            }
        }
        Ok(())
    }

    fn joined(&self, rooms: &BTreeMap<OwnedRoomId, RoomSummary>) -> Vec<OwnedRoomId> {
        let joined = rooms.values().filter(|room| room.membership == Membership::Join);
        joined.map(|room| room.room_id.clone()).filter(|room| self.wants(room)).collect()
    }

    async fn backlog(
        &mut self,
        errand: &mut Errand,
        room: OwnedRoomId,
        limit: u32,
    ) -> Result<(), HeadlessError> {
        errand.be_patient();
        let request = Request::History { room: room.clone(), limit, before: None };
        let outcome = errand.ask(request).await?;
        let Outcome::History(page) = outcome else { return Err(unexpected(&outcome).into()) };
        self.feed.learn(page.related);
        for line in self.feed.lines(&room, &page.events) {
            self.print(&line, errand.rooms())?;
        }
        Ok(())
    }

    fn take(
        &mut self,
        update: Update,
        rooms: &BTreeMap<OwnedRoomId, RoomSummary>,
    ) -> Result<(), HeadlessError> {
        match update {
            Update::Timeline { room, delta: TimelineDelta::Events(events), live: true }
                if self.wants(&room) =>
            {
                for line in self.feed.lines(&room, &events) {
                    self.print(&line, rooms)?;
                }
                Ok(())
            }
            Update::Timeline { delta: TimelineDelta::Events(context), live: false, .. } => {
                self.feed.learn(context);
                Ok(())
            }
            Update::Rooms(changed) => self.invites(&changed, rooms),
            Update::Link(state) => self.link(&state, rooms),
            Update::Typing { room, users } if self.wants(&room) => {
                self.now(What::Typing { users }, Some(room), rooms)
            }
            Update::Receipts { room, read } if self.wants(&room) => {
                for (user, event_id) in read {
                    self.now(What::Receipt { user, event_id }, Some(room.clone()), rooms)?;
                }
                Ok(())
            }
            Update::Alarm(alarm) => self.now(alarm_line(&alarm), None, rooms),
            Update::Timeline { .. }
            | Update::Typing { .. }
            | Update::Receipts { .. }
            | Update::Synced
            | Update::CaughtUp
            | Update::RoomsGone(_)
            | Update::LastVisited(_)
            | Update::Members { .. }
            | Update::Outbox { .. }
            | Update::Verification(_)
            | Update::Progress { .. }
            | Update::AuthNeeded(_)
            | Update::AuthOver
            | Update::RoomTrust(_)
            | Update::Recovery(_)
            | Update::Backup(_)
            | Update::Outcome { .. }
            | Update::Ended { .. } => Ok(()),
        }
    }

    fn invites(
        &mut self,
        changed: &[RoomSummary],
        rooms: &BTreeMap<OwnedRoomId, RoomSummary>,
    ) -> Result<(), HeadlessError> {
        for room in changed {
            if room.membership != Membership::Invite {
                self.invites.remove(&room.room_id);
            } else if self.wants(&room.room_id) && self.invites.insert(room.room_id.clone()) {
                let what = What::Invite { inviter: room.inviter.clone(), name: room.name.clone() };
                self.now(what, Some(room.room_id.clone()), rooms)?;
            }
        }
        Ok(())
    }

    fn link(
        &mut self,
        state: &LinkState,
        rooms: &BTreeMap<OwnedRoomId, RoomSummary>,
    ) -> Result<(), HeadlessError> {
        let (word, retry_at, reason) = match state {
            LinkState::Connecting => return Ok(()),
            LinkState::Online => ("up", None, None),
            LinkState::Offline { retry_at, reason } => ("down", Some(*retry_at), Some(reason)),
            LinkState::Ended { reason } => ("down", None, Some(reason)),
        };
        if self.link.replace(word) == Some(word) {
            return Ok(());
        }
        let now = self.clock.now();
        let wait = retry_at.map(|at| at.since(now).as_millis());
        let retry_ms = wait.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX));
        let reason = reason.map(|reason| reason.chars().take(MAX_REASON_CHARS).collect());
        self.now(What::Link { state: word, retry_ms, reason }, None, rooms)
    }

    /// Prints something that has no time of its own.
    fn now(
        &mut self,
        what: What,
        room_id: Option<OwnedRoomId>,
        rooms: &BTreeMap<OwnedRoomId, RoomSummary>,
    ) -> Result<(), HeadlessError> {
        let line = Line { what, room_id, ts: self.clock.now() };
        self.print(&line, rooms)
    }

    fn print(
        &mut self,
        line: &Line,
        rooms: &BTreeMap<OwnedRoomId, RoomSummary>,
    ) -> Result<(), HeadlessError> {
        self.output.show(line, |line| people::words(line, rooms, &self.style))
    }
}

/// An alarm's name on the wire is its code, what it holds is the detail.
fn alarm_line(alarm: &Alarm) -> What {
    match serde_json::to_value(alarm) {
        Ok(Value::String(code)) => What::Alarm { code, detail: Value::Null },
        Ok(Value::Object(named)) => {
            let (code, detail) = named.into_iter().next().unwrap_or_default();
            What::Alarm { code, detail }
        }
        Ok(detail) => What::Alarm { code: "unnamed".to_owned(), detail },
        Err(_unserializable) => What::Alarm { code: "unnamed".to_owned(), detail: Value::Null },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::OwnedDeviceId;

    #[test]
    fn an_alarm_is_told_by_code_and_detail() {
        let line = |alarm| serde_json::to_value(alarm_line(&alarm)).unwrap();
        assert_eq!(line(Alarm::OwnKeysReplaced)["code"], "own_keys_replaced");
        let new = line(Alarm::NewOwnDevice(OwnedDeviceId::from("PHONE")));
        assert_eq!((&new["code"], &new["detail"]), (&"new_own_device".into(), &"PHONE".into()));
    }
}

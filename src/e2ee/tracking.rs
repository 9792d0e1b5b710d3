//! Whose devices are tracked, and how their lists are kept current.
//!
//! ```text
//!            track, changed, initial sync                answered, not invalidated since the asking
//!  Unwatched ────────────────────────────▶ Stale ──────────────────────────▶ Current
//!      ▲                                     │ ▲                                │
//!      └─────────────── left ────────────────┴─┼──────── changed, 24 h ─────────┘
//! ```
//! Who is unwatched and has a marked message is *wanted*: asked for once, then unwatched again.
//!
//! Each invalidation takes the next number of one counter; a query remembers the counter at its
//! making, and clears nobody who was invalidated later. One generation of queries is under way
//! at a time, so no old answer overwrites a newer one.
//!
//! # Spec
//! Client-Server API, "Tracking the device list for a user".

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    matrix::{DeviceLists, MatrixError, OwnedDeviceId, OwnedUserId, UserId},
    time::Timestamp,
};

use super::{
    core::{Core, Freshness},
    error::MachineError,
    failures::Failures,
    lookup::Table,
    request::{self, Purpose, RequestId, RequestKind},
    step::{Step, encode_text},
    types::Notice,
};

/// Users in one query.
const USERS_PER_QUERY: usize = 250;
/// Queries at once.
const QUERIES: usize = 10;
/// How long a sender waits for a list before it uses the one it has.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same for a list that was never seen: without it the message would reach nobody there, and
/// the key sent later could not open it.
const FIRST_PATIENCE: Duration = Duration::from_secs(10 * 60);
/// A list that was not confirmed for so long is asked for before it is used: a lost announcement
/// must not hide a device for ever.
const CONFIRM_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// A user without devices is looked at again after this time.
const EMPTY_AFTER: Duration = Duration::from_secs(10 * 60);
/// Untracked users that are looked up because they wrote to us; more are ignored.
const MAX_STRANGERS: usize = 100;
/// How often a user is looked up at most because their messages say that the list is old.
const SUSPECT_AGAIN: Duration = Duration::from_secs(60);
/// Users whose last such look-up is remembered; while there are as many, no more are suspected.
const MAX_SUSPECTED: usize = 1_000;

/// What a `keys/query` request asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct QueryPurpose {
    pub(super) users: Vec<OwnedUserId>,
    /// The counter of invalidations when it was made.
    invalidation: u64,
    /// Whether our own device was on the server by then.
    pub(super) own_device: OwnDevice,
}

/// Whether a query must find our own device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OwnDevice {
    Expected,
    NotYet,
}

/// How far a device list can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum List {
    Current,
    /// To be asked for.
    Stale,
    /// Changes are not announced to us; to be asked for when needed.
    Unwatched,
    /// Not announced either, and to be asked for once: a message of theirs is marked.
    Wanted,
}

impl List {
    /// Whether it is kept current.
    const fn is_watched(self) -> bool {
        match self {
            Self::Current | Self::Stale => true,
            Self::Unwatched | Self::Wanted => false,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct TrackedUser {
    list: List,
    invalidation: u64,
    /// When the server last answered for this user.
    #[serde(default)]
    answered: Option<Timestamp>,
    /// Devices in that answer.
    #[serde(default)]
    devices: usize,
}

impl TrackedUser {
    /// Whether a list that nobody called into question should be confirmed before it is used. One
    /// that came in the future (the clock was set back since) is as good as old.
    fn is_worn(&self, now: Timestamp) -> bool {
        let limit = if self.devices == 0 { EMPTY_AFTER } else { CONFIRM_AFTER };
        self.answered.is_none_or(|at| now < at || limit < now.since(at))
    }
}

/// The tracked users and the queries about them.
#[derive(Debug)]
pub(super) struct Tracker {
    users: BTreeMap<OwnedUserId, TrackedUser>,
    invalidation: u64,
    under_way: BTreeSet<RequestId>,
    servers: Failures<String>,
    /// Set while our own server refuses or answers nonsense.
    outage: Failures<()>,
    /// Since when a sender waits for whom.
    wanted: BTreeMap<OwnedUserId, Timestamp>,
    /// Users who wrote to us from devices we do not know.
    strangers: BTreeSet<OwnedUserId>,
    /// When users were last looked up because of their messages.
    suspected: BTreeMap<OwnedUserId, Timestamp>,
    /// Users who are [`List::Wanted`].
    departed: BTreeSet<OwnedUserId>,
    /// Users of whom a list just came that lacks a device.
    bereft: BTreeSet<OwnedUserId>,
    changes: u64,
}

impl Tracker {
    /// Reads who is tracked and what was asked in an earlier run.
    pub(super) fn open(step: &Step<'_>) -> Result<Self, MachineError> {
        let mut users = BTreeMap::new();
        for (key, user) in step.scan::<TrackedUser>(Table::TrackedUser, None)? {
            if let Ok(id) = OwnedUserId::try_from(key.0) {
                users.insert(id, user);
            }
        }
        let departed = users.iter().filter(|(_, user)| user.list == List::Wanted);
        let departed = departed.map(|(user, _)| OwnedUserId::clone(user)).collect();
        let under_way = request::records(step)?
            .into_iter()
            .filter(|record| matches!(record.purpose, Purpose::KeysQuery(_)))
            .map(|record| record.request.id)
            .collect();
        Ok(Self {
            invalidation: users.values().map(|user| user.invalidation).max().unwrap_or(0),
            users,
            under_way,
            servers: Failures::new(),
            outage: Failures::new(),
            wanted: BTreeMap::new(),
            strangers: BTreeSet::new(),
            suspected: BTreeMap::new(),
            departed,
            bereft: BTreeSet::new(),
            changes: 0,
        })
    }

    /// How many users are tracked.
    pub(super) fn len(&self) -> usize {
        self.users.values().filter(|user| user.list.is_watched()).count()
    }

    /// Changes with every list, device or identity that changed or was called into question.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Notes that a device or an identity changed.
    pub(super) fn note_change(&mut self) {
        self.changes = self.changes.wrapping_add(1);
    }

    /// Notes that a device of `user` is gone.
    pub(super) fn note_gone(&mut self, user: &UserId) {
        self.bereft.insert(user.to_owned());
    }

    /// The users noted so since the last call.
    pub(super) fn take_bereft(&mut self) -> BTreeSet<OwnedUserId> {
        std::mem::take(&mut self.bereft)
    }

    /// Whether a list was ever received for `user`.
    pub(super) fn was_answered(&self, user: &UserId) -> bool {
        self.users.get(user).is_some_and(|tracked| tracked.answered.is_some())
    }

    fn invalidate(&mut self, user: &UserId, step: &mut Step<'_>) -> Result<(), MachineError> {
        self.note_change();
        self.departed.remove(user);
        self.call_for(user, List::Stale, step)
    }

    /// The list of a user that nobody keeps current is to be asked for once. That is on disk: a
    /// crash must not leave a mark that nothing looks at again.
    fn want_once(&mut self, user: &UserId, step: &mut Step<'_>) -> Result<(), MachineError> {
        if MAX_STRANGERS <= self.departed.len() && !self.departed.contains(user) {
            return Ok(());
        }
        self.departed.insert(user.to_owned());
        self.call_for(user, List::Wanted, step)
    }

    fn call_for(
        &mut self,
        user: &UserId,
        list: List,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        self.invalidation += 1;
        let tracked = self.users.entry(user.to_owned()).or_insert(TrackedUser {
            list: List::Stale,
            invalidation: 0,
            answered: None,
            devices: 0,
        });
        tracked.list = list;
        tracked.invalidation = self.invalidation;
        step.put(Table::TrackedUser, user.as_str(), "", tracked)
    }

    fn is_watched(&self, user: &UserId) -> bool {
        self.users.get(user).is_some_and(|tracked| tracked.list.is_watched())
    }

    /// Whether nothing called the list of `user` into question since it came.
    fn is_current(&self, user: &UserId) -> bool {
        self.users.get(user).is_some_and(|tracked| tracked.list == List::Current)
    }

    /// The server answered for `user`, as asked when the counter stood at `asked`.
    fn answered(
        &mut self,
        user: &UserId,
        asked: u64,
        devices: usize,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        self.strangers.remove(user);
        self.servers.succeed(&user.server_name().to_string());
        let Some(tracked) = self.users.get_mut(user) else { return Ok(()) };
        tracked.answered = Some(step.now());
        tracked.devices = devices;
        if tracked.invalidation <= asked {
            match tracked.list {
                List::Stale => {
                    tracked.list = List::Current;
                    self.wanted.remove(user);
                }
                List::Wanted => {
                    tracked.list = List::Unwatched;
                    self.departed.remove(user);
                }
                List::Current | List::Unwatched => {}
            }
        }
        step.put(Table::TrackedUser, user.as_str(), "", tracked)
    }

    /// Whom to ask about now.
    fn due(&self, now: Timestamp) -> Vec<OwnedUserId> {
        let is_due = |user: &UserId, tracked: &TrackedUser| match tracked.list {
            List::Stale => true,
            List::Wanted => !self.was_looked_up(user, now),
            List::Current | List::Unwatched => false,
        };
        let due = self.users.iter().filter(|(user, tracked)| is_due(user, tracked));
        due.map(|(user, _)| user)
            .chain(&self.strangers)
            .filter(|user| !self.is_paused(user, now))
            .take(USERS_PER_QUERY * QUERIES)
            .cloned()
            .collect()
    }

    fn is_paused(&self, user: &UserId, now: Timestamp) -> bool {
        self.servers.paused_until(&user.server_name().to_string(), now).is_some()
    }

    /// Whether `user` may be looked up because of a message; if so, not again for a while.
    fn may_suspect(&mut self, user: &UserId, now: Timestamp) -> bool {
        if MAX_SUSPECTED <= self.suspected.len() {
            self.suspected.retain(|_, at| now.since(*at) < SUSPECT_AGAIN);
        }
        let may = self.suspected.len() < MAX_SUSPECTED && !self.was_looked_up(user, now);
        if may {
            self.suspected.insert(user.to_owned(), now);
        }
        may
    }

    /// Whether `user` was looked up because of a message, a moment ago.
    fn was_looked_up(&self, user: &UserId, now: Timestamp) -> bool {
        self.suspected.get(user).is_some_and(|at| now.since(*at) < SUSPECT_AGAIN)
    }

    /// Users are being asked for: those that are wanted, not again for a while.
    fn note_looks(&mut self, users: &[OwnedUserId], now: Timestamp) {
        for user in users {
            if self.departed.contains(user) {
                self.may_suspect(user, now);
            }
        }
    }

    /// A link came up: time without one does not count as waiting.
    pub(super) fn wait_anew(&mut self) {
        self.wanted.clear();
    }

    /// When to look again at users whose server did not answer, or who are wanted.
    pub(super) fn deadline(&self, now: Timestamp) -> Option<Timestamp> {
        let looked_up = self.departed.iter().filter_map(|user| self.suspected.get(user));
        let looks = looked_up.map(|at| at.plus(SUSPECT_AGAIN));
        let ends = [self.servers.next_end(now), self.outage.next_end(now)];
        ends.into_iter().flatten().chain(looks.filter(|at| now < *at)).min()
    }
}

impl Core {
    /// Tracks `users` from now on, asking for lists that were never asked for. Unlike
    /// [`Core::refresh`] nobody waits for the answer.
    pub(super) fn track<'u>(
        &mut self,
        users: impl IntoIterator<Item = &'u UserId>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        for user in users {
            if !self.tracker.is_watched(user) {
                self.tracker.invalidate(user, step)?;
            }
        }
        self.query(step)
    }

    /// Tracks `users` from now on, asks for the lists that are not current, and says how long to
    /// wait for them: at most 5 s each since first asked on this link, then the lists at hand must
    /// do. For a list that was never seen it is longer.
    pub(super) fn refresh<'u>(
        &mut self,
        users: impl IntoIterator<Item = &'u OwnedUserId>,
        step: &mut Step<'_>,
    ) -> Result<Freshness, MachineError> {
        let now = step.now();
        let mut until = None;
        for user in users {
            let is_sound = self.tracker.users.get(user).is_some_and(|tracked| match tracked.list {
                List::Current => !tracked.is_worn(now),
                List::Stale => true,
                List::Unwatched | List::Wanted => false,
            });
            if !is_sound {
                self.tracker.invalidate(user, step)?;
            }
            let is_current =
                self.tracker.users.get(user).is_some_and(|tracked| tracked.list == List::Current);
            if is_current || self.tracker.is_paused(user, now) {
                continue;
            }
            let since = *self.tracker.wanted.entry(user.clone()).or_insert(now);
            let known = self.tracker.users.get(user).is_some_and(|it| it.answered.is_some());
            let patience = if known { PATIENCE } else { FIRST_PATIENCE };
            until = until.max(Some(since.plus(patience)));
        }
        self.query(step)?;
        Ok(until.filter(|until| *until > now).map_or(Freshness::Ready, Freshness::Waiting))
    }

    /// Takes `device_lists` of a sync answer; after an initial sync nothing is current, because
    /// no answer told what changed before.
    pub(super) fn receive_device_lists(
        &mut self,
        lists: &DeviceLists,
        is_initial: IsInitial,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let everybody: Vec<OwnedUserId> = match is_initial {
            IsInitial::Yes => self.tracker.users.keys().cloned().collect(),
            IsInitial::No => Vec::new(),
        };
        for user in everybody.iter().chain(&lists.changed) {
            if self.tracker.is_watched(user) {
                self.tracker.invalidate(user, step)?;
            }
        }
        for user in &lists.left {
            self.unwatch(user, step)?;
        }
        Ok(())
    }

    /// Somebody is in a room with us no more, so that changes of their devices may not be announced.
    /// Servers say so around a rejoin too, and of who is in another room we may hear on. It costs
    /// one query: whoever is still written to is tracked again by [`Core::refresh`].
    pub(super) fn unwatch(
        &mut self,
        user: &UserId,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        if *user == *self.user {
            return Ok(());
        }
        let Some(tracked) = self.tracker.users.get_mut(user) else { return Ok(()) };
        if tracked.list.is_watched() {
            tracked.list = List::Unwatched;
        }
        self.tracker.changes = self.tracker.changes.wrapping_add(1);
        step.put(Table::TrackedUser, user.as_str(), "", tracked)?;
        // What changed before they went is announced no more: marks are looked at again.
        step.tell(Notice::DevicesChanged(vec![user.to_owned()]));
        Ok(())
    }

    /// Somebody used a device that the list at hand does not name. Anybody can write such
    /// messages, so they cause a look at the list now and then, not each.
    pub(super) fn suspect(
        &mut self,
        user: &UserId,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        if !self.tracker.may_suspect(user, step.now()) {
            return Ok(());
        }
        if self.tracker.is_watched(user) {
            return self.tracker.invalidate(user, step);
        }
        if self.tracker.strangers.len() < MAX_STRANGERS {
            self.tracker.strangers.insert(user.to_owned());
        }
        Ok(())
    }

    /// Somebody spoke from a device that does not pass for theirs, and changes of their devices are
    /// not announced to us, or not any more: they are looked up, now and then.
    pub(super) fn look_up_departed(
        &mut self,
        user: &UserId,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        if self.tracker.is_watched(user) {
            return Ok(());
        }
        self.tracker.want_once(user, step)?;
        self.query(step)
    }

    /// What is known of `user` may be old: their list is asked for anew, if it is kept at all.
    pub(super) fn call_into_question(
        &mut self,
        user: &UserId,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        if self.tracker.is_watched(user) {
            self.tracker.invalidate(user, step)?;
        }
        self.query(step)
    }

    /// Asks for the lists that are due, unless an earlier round of queries is under way.
    pub(super) fn query(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        let now = step.now();
        if !self.tracker.under_way.is_empty()
            || self.tracker.outage.paused_until(&(), now).is_some()
        {
            return Ok(());
        }
        let own_device =
            if self.account.is_on_server() { OwnDevice::Expected } else { OwnDevice::NotYet };
        let due = self.tracker.due(now);
        self.tracker.note_looks(&due, now);
        for users in due.chunks(USERS_PER_QUERY) {
            let body = QueryBody {
                device_keys: users.iter().map(|user| (user, &[][..])).collect(),
                timeout: 10_000,
            };
            let body = encode_text(Table::Request, &body)?;
            let invalidation = self.tracker.invalidation;
            let purpose = QueryPurpose { users: users.to_vec(), invalidation, own_device };
            let purpose = Purpose::KeysQuery(purpose);
            let id = self.requests.post(
                (RequestKind::KeysQuery, &["keys", "query"]),
                body,
                purpose,
                step,
            )?;
            self.tracker.under_way.insert(id);
        }
        Ok(())
    }

    /// Takes the answer to a query. The users whose devices changed are told of.
    pub(super) fn receive_query(
        &mut self,
        id: &RequestId,
        purpose: &QueryPurpose,
        answer: Result<&str, &MatrixError>,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        self.tracker.under_way.remove(id);
        let answer = answer.ok().and_then(|body| super::query::Answer::parse(body).ok());
        let Some(answer) = answer else {
            self.tracker.outage.fail((), step.now());
            return Ok(());
        };
        self.tracker.outage.succeed(&());
        let mut failed = BTreeSet::new();
        for user in &purpose.users {
            let server = user.server_name();
            if answer.is_failed(server.as_str()) && server != self.user.server_name() {
                failed.insert(server.to_string());
                continue;
            }
            let devices = self.receive_list(user, &answer, purpose.own_device, step)?;
            self.tracker.answered(user, purpose.invalidation, devices, step)?;
            if *user == self.user && self.tracker.is_current(user) {
                self.own_list_answered(answer.shows_identity(user), step)?;
            }
            self.claims.server_answers(server.as_str());
            self.decide_unwedging(user, step)?;
        }
        for server in failed {
            self.tracker.servers.fail(server, step.now());
        }
        Ok(())
    }
}

/// Whether a sync answer continues no earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IsInitial {
    Yes,
    No,
}

/// The body of `POST /keys/query`; an empty list asks for all devices.
#[derive(Serialize)]
struct QueryBody<'a> {
    device_keys: BTreeMap<&'a OwnedUserId, &'a [OwnedDeviceId]>,
    /// Milliseconds that our server may wait for others.
    timeout: u64,
}

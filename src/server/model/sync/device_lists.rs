//! Whose devices a client has to ask for again, and whose it no longer has to follow.
//!
//! # Spec
//! Client-Server API, "Tracking the device list for a user".

use std::collections::BTreeSet;

use ruma::api::client::sync::sync_events::DeviceLists;

use super::{
    News, Question,
    state::{MEMBER, changes},
};
use crate::{
    matrix::{OwnedUserId, RoomId, UserId},
    server::model::{
        records::{DEVICE_LOG, JOINED, MEMBERSHIPS, STATE, STATE_LOG},
        rooms::{Sight, joined_members, membership_of},
        step::{Span, Step},
        table::{Broken, Order},
    },
};

/// What changed since the device asked last; nothing for a device that asks for the first time,
/// which has to ask for everybody's devices anyway.
///
/// # Errors
/// When the records are broken.
pub(crate) fn read(
    step: &Step<'_>,
    question: &Question<'_>,
    news: &News,
) -> Result<DeviceLists, Broken> {
    let Some(since) = question.since else {
        return Ok(DeviceLists::new());
    };
    let me = &question.caller.user;
    let mut gathering =
        Gathering { me, since: since.number, now: question.now.number, ..Gathering::new(me) };
    if news.devices {
        gathering.read_log(step)?;
    }
    for room in &news.rooms {
        gathering.read_room(step, room)?;
    }
    gathering.changed.extend(news.signed.iter().cloned());
    gathering.finish(step)
}

/// Who was found so far.
struct Gathering<'a> {
    me: &'a UserId,
    since: u64,
    now: u64,
    changed: BTreeSet<OwnedUserId>,
    /// Those who left a room, or whom the device's owner left there.
    parted: BTreeSet<OwnedUserId>,
}

impl<'a> Gathering<'a> {
    fn new(me: &'a UserId) -> Self {
        let (changed, parted) = (BTreeSet::new(), BTreeSet::new());
        Self { me, since: 0, now: 0, changed, parted }
    }

    /// Those whose devices or keys changed.
    fn read_log(&mut self, step: &Step<'_>) -> Result<(), Broken> {
        let order = Order::Ascending;
        let span = Span { after: self.since, up_to: self.now, order, limit: usize::MAX };
        for (_, user) in step.scan_numbers(DEVICE_LOG, (), &span)? {
            if user == self.me || share_a_room(step, self.me, &user)? {
                self.changed.insert(user);
            }
        }
        Ok(())
    }

    /// Those who came into a room or left it.
    fn read_room(&mut self, step: &Step<'_>, room: &RoomId) -> Result<(), Broken> {
        let order = Order::Ascending;
        let span = Span { after: self.since, up_to: self.now, order, limit: usize::MAX };
        let changes = step.scan_numbers(STATE_LOG, (room,), &span)?;
        if !changes.iter().any(|(_, (kind, _))| kind == MEMBER) {
            // Mostly somebody only said something.
            return Ok(());
        }
        let sight = Sight::read(step, room, self.me)?;
        let was_in = sight.membership_at(self.since) == "join";
        match (was_in, sight.is_joined()) {
            (_, true) if !sight.was_joined_since(self.since) => {
                self.changed.extend(joined_members(step, room)?);
                self.read_outside(step, room)?;
            }
            (true, true) => self.read_members(step, room)?,
            (true, false) => self.parted.extend(joined_members(step, room)?),
            (false, false) if sight.has_joined_after(self.since) => {
                self.parted.extend(joined_members(step, room)?);
            }
            (false, _) => {}
        }
        Ok(())
    }

    /// Those who may come into a room that the device's owner came into, or ask to: messages may be
    /// encrypted for them too.
    fn read_outside(&mut self, step: &Step<'_>, room: &RoomId) -> Result<(), Broken> {
        for (mut key, _) in step.scan(STATE, (room, MEMBER))? {
            key.text()?;
            key.text()?;
            let Ok(user) = OwnedUserId::try_from(key.text()?) else {
                continue;
            };
            let membership = membership_of(step, room, &user)?;
            if matches!(membership.as_deref(), Some("invite" | "knock")) {
                self.changed.insert(user);
            }
        }
        Ok(())
    }

    fn read_members(&mut self, step: &Step<'_>, room: &RoomId) -> Result<(), Broken> {
        for (kind, user) in changes(step, room, self.since, self.now)?.into_keys() {
            let Ok(user) = OwnedUserId::try_from(user) else {
                continue;
            };
            if kind != MEMBER || user == self.me {
                continue;
            }
            let sight = Sight::read(step, room, &user)?;
            let is_other = sight.membership_at(self.since) != sight.membership();
            match sight.membership() {
                "join" | "invite" | "knock" if is_other => {
                    self.changed.insert(user);
                }
                "leave" | "ban"
                    if sight.membership_at(self.since) == "join"
                        || sight.has_joined_after(self.since) =>
                {
                    self.parted.insert(user);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn finish(mut self, step: &Step<'_>) -> Result<DeviceLists, Broken> {
        let mut lists = DeviceLists::new();
        for user in self.parted {
            if user != self.me && !share_a_room(step, self.me, &user)? {
                self.changed.remove(&user);
                lists.left.push(user);
            }
        }
        lists.changed.extend(self.changed);
        Ok(lists)
    }
}

/// Whether two users are in a room together.
///
/// # Errors
/// When the records are broken.
pub(crate) fn share_a_room(step: &Step<'_>, one: &UserId, other: &UserId) -> Result<bool, Broken> {
    for (mut key, membership) in step.scan(MEMBERSHIPS, (other,))? {
        if membership.membership != "join" {
            continue;
        }
        key.text()?;
        if step.get(JOINED, (&key.text()?, one))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

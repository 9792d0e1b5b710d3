//! How much of a room somebody has not read.

use std::collections::BTreeMap;

use crate::{
    matrix::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId},
    server::model::{
        receipts::own_receipts,
        records::{MEMBERSHIPS, NOTIFICATIONS, Notice},
        step::{Span, Step},
        table::{Broken, Order},
    },
};

/// Most rooms whose counts are kept ready, of all users together.
const MOST_KEPT: usize = 20_000;

/// Notifications, and those of them that are meant for somebody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) notifications: u64,
    pub(crate) highlights: u64,
}

impl Count {
    fn add(&mut self, notice: Notice) {
        match notice {
            Notice::None => {}
            Notice::Notify => self.notifications += 1,
            Notice::Highlight => {
                self.notifications += 1;
                self.highlights += 1;
            }
        }
    }
}

/// What of a room somebody has not read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Outside of threads.
    pub(crate) main: Count,
    /// By the first event of the thread.
    pub(crate) threads: BTreeMap<OwnedEventId, Count>,
}

impl Counts {
    /// All of it in one.
    pub(crate) fn total(&self) -> Count {
        self.threads.values().fold(self.main, |sum, count| Count {
            notifications: sum.notifications + count.notifications,
            highlights: sum.highlights + count.highlights,
        })
    }
}

/// Up to where somebody has read, by their receipts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReadUpTo {
    /// Everything.
    pub(crate) all: Option<u64>,
    /// Outside of threads, or within the thread of this name.
    pub(crate) by_thread: BTreeMap<String, u64>,
}

/// Counts that were made, so that a new event costs one addition.
#[derive(Debug, Default)]
pub(crate) struct UnreadCache {
    by_room: BTreeMap<OwnedRoomId, BTreeMap<OwnedUserId, Known>>,
    size: usize,
}

#[derive(Clone, Debug)]
struct Known {
    read: ReadUpTo,
    /// All up to this number is counted.
    up_to: u64,
    counts: Counts,
}

impl UnreadCache {
    /// To be called when an event of the room no longer notifies anybody.
    pub(crate) fn forget(&mut self, room: &RoomId) {
        let gone = self.by_room.remove(room);
        self.size -= gone.map_or(0, |users| users.len()).min(self.size);
    }

    fn get(&self, room: &RoomId, user: &UserId, read: &ReadUpTo) -> Option<Known> {
        let known = self.by_room.get(room)?.get(user)?;
        (known.read == *read).then(|| known.clone())
    }

    fn put(&mut self, room: &RoomId, user: &UserId, known: Known) {
        if MOST_KEPT <= self.size {
            *self = Self::default();
        }
        let users = self.by_room.entry(room.to_owned()).or_default();
        if users.insert(user.to_owned(), known).is_none() {
            self.size += 1;
        }
    }
}

/// What somebody who is joined has not read of a room.
///
/// # Errors
/// When the records are broken.
pub(crate) fn unread(step: &mut Step<'_>, room: &RoomId, user: &UserId) -> Result<Counts, Broken> {
    let mut read = own_receipts(step, room, user)?;
    if read.all.is_none() {
        // Who has read nothing begins where they came in.
        read.all = step.get(MEMBERSHIPS, (user, room))?.map(|record| record.number);
    }
    let all = read.all.unwrap_or(0);
    let now = step.position()?;
    let known = step.volatile.unread.get(room, user, &read);
    let mut known = known.unwrap_or_else(|| Known { read, up_to: all, counts: Counts::default() });
    if known.up_to < now {
        let span =
            Span { after: known.up_to, up_to: now, order: Order::Ascending, limit: usize::MAX };
        let owned = user.to_owned();
        for (mut key, record) in step.scan_numbers(NOTIFICATIONS, (room,), &span)? {
            key.text()?;
            let number = key.number()?;
            let thread = record.thread.as_ref().map_or("main", |thread| thread.as_str());
            if known.read.by_thread.get(thread).is_some_and(|reached| number <= *reached) {
                continue;
            }
            let notice = record.of(&owned);
            match record.thread {
                None => known.counts.main.add(notice),
                Some(thread) if notice != Notice::None => {
                    known.counts.threads.entry(thread).or_default().add(notice);
                }
                Some(_) => {}
            }
        }
        known.up_to = now;
    }
    let counts = known.counts.clone();
    // The numbers of a step that is refused are given again, to events that count.
    if !step.has_published() {
        step.volatile.unread.put(room, user, known);
    }
    Ok(counts)
}

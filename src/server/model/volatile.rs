//! What a server knows that is not on its disk, and may be lost with it: who types, how often who
//! asked.

use super::{
    expiring::{Allotted, Expiring},
    presence::Presence,
    push::{PersonalCache, UnreadCache},
    rate::Buckets,
    rooms::RoomCache,
    sliding::Connections,
    sync::SentMembers,
    typing::Typing,
    uia::Proof,
};
use crate::{matrix::OwnedUserId, time::Timestamp};

/// What is not on the disk.
#[derive(Debug, Default)]
pub(super) struct Volatile {
    /// How often who asked.
    pub(super) buckets: Buckets,
    /// Who is about to prove who they are.
    pub(super) proofs: Allotted<Proof>,
    /// One-time tokens with which another device logs in, by hash.
    pub(super) login_tokens: Expiring<String, OwnedUserId>,
    /// Who is there.
    pub(super) presence: Expiring<OwnedUserId, Presence>,
    /// Numbers for changes of what stands here.
    pub(super) serials: Serials,
    /// Who types where.
    pub(super) typing: Typing,
    /// Push rules and the like, kept ready.
    pub(super) personal: PersonalCache,
    /// Members and power levels of rooms, kept ready.
    pub(super) rooms: RoomCache,
    /// Unread counts, kept ready.
    pub(super) unread: UnreadCache,
    /// Which members which device has been sent.
    pub(super) sent_members: SentMembers,
    /// Uploads that go on, by their id.
    pub(super) uploads: Expiring<String, ()>,
    /// Connections of sliding sync.
    pub(super) connections: Connections,
}

impl Volatile {
    /// Forgets everything that follows from the records: some that it was made of were not
    /// written. What clients were sent goes too: the answers were not, and the numbers they end at
    /// will be given again.
    pub(super) fn forget_derived(&mut self) {
        self.personal = PersonalCache::default();
        self.rooms = RoomCache::default();
        self.unread = UnreadCache::default();
        self.sent_members = SentMembers::default();
        self.connections = Connections::default();
    }
}

/// Gives growing numbers to changes that are not on the disk. They go on growing when the server
/// starts again, because none is below the time in milliseconds.
#[derive(Debug, Default)]
pub(super) struct Serials {
    last: u64,
}

impl Serials {
    /// To be called with the time of each call.
    pub(super) fn advance(&mut self, now: Timestamp) {
        self.last = self.last.max(now.0);
    }

    /// The next number.
    pub(super) fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// The last number given, or a later one.
    pub(super) fn last(&self) -> u64 {
        self.last
    }
}

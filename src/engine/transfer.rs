//! Files on their way: what the driver is asked to carry, what it tells, and which of it is under
//! way. The bytes themselves never come here.

use std::time::Duration;

use crate::{
    e2ee::EncryptedFile,
    matrix::{
        MatrixError, MxcUri, OwnedRoomId, OwnedTransactionId, OwnedUserId, RoomId, TransactionId,
    },
    secret::Secret,
    store::UploadedFile,
    time::{Backoff, Timestamp},
};

use super::{CommandError, CommandId, FaceId, SaveTo};

/// Transfers at once; others wait. Each has a window of chunks of its own.
const MAX_UNDER_WAY: usize = 3;
/// How often a transfer that the server or the link broke is begun anew.
const MOST_TRIES: u32 = 8;
/// The first pause before that, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Something for the driver to carry, or to carry no further.
#[derive(Clone, Debug)]
pub struct TransferOrder {
    /// The id of its request on the stream; names it in every event.
    pub id: u64,
    /// What.
    pub kind: TransferKind,
}

/// What is to be carried.
#[derive(Clone, Debug)]
pub enum TransferKind {
    /// To the server.
    Upload(Upload),
    /// From the server.
    Download(Download),
    /// Nothing any more.
    Cancel,
}

/// A file for the server. It gets a key of its own each time it is begun.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Where it is read from.
    pub source: UploadSource,
    /// What the server may see of it.
    pub secrecy: Secrecy,
    /// The largest file that the server takes, in bytes, where it says so.
    pub limit: Option<u64>,
}

/// Where a file is read from.
#[derive(Clone, Debug)]
pub enum UploadSource {
    /// A file of this absolute path.
    File(String),
    /// These bytes.
    Memory(Secret<Vec<u8>>),
}

/// Where a file is put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// On disk.
    Save {
        /// Where.
        to: SaveTo,
        /// What its sender calls it; untrusted.
        name: String,
    },
    /// Nowhere: it is told whole, with [`TransferEvent::Fetched`].
    Memory,
}

/// What the server may see of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secrecy {
    /// Its length.
    Encrypted,
    /// All of it.
    Clear {
        /// Its media type.
        content_type: String,
    },
}

/// A file from the server.
#[derive(Clone, Debug)]
pub struct Download {
    /// Where it lies, encrypted or not.
    pub place: Place,
    /// Where it is put.
    pub sink: Sink,
    /// The largest that is taken, in bytes.
    pub limit: u64,
}

/// Where a file lies on the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Encrypted.
    Encrypted(EncryptedFile),
    /// In clear: nothing proves what it was when it was sent.
    Clear(MxcUri),
}

impl Place {
    /// Its address.
    pub fn url(&self) -> &MxcUri {
        match self {
            Self::Encrypted(file) => file.url(),
            Self::Clear(url) => url,
        }
    }
}

/// What became of a transfer.
#[derive(Clone, Debug)]
pub enum TransferEvent {
    /// It goes on.
    Progress {
        /// Bytes that are through.
        done: u64,
        /// Bytes in all, where they are known.
        total: Option<u64>,
    },
    /// The server has it; the end.
    Uploaded(UploadedFile),
    /// It is saved, and what was sent; the end.
    Saved {
        /// Where.
        path: String,
        /// Its length in bytes.
        size: u64,
    },
    /// These are its bytes, and what was sent; the end.
    Fetched(Secret<Vec<u8>>),
    /// It is not, and nothing is left of it; the end.
    Failed(TransferFailure),
}

/// Why a transfer failed.
#[derive(Clone, Debug)]
pub enum TransferFailure {
    /// The server answered so.
    Refused {
        /// What it said.
        error: MatrixError,
        /// When to come again.
        retry_after: Option<Duration>,
    },
    /// It broke off on its way: worth another try.
    Broken(CommandError),
    /// It cannot be done: the file is not there, the disk is full, the hash is wrong.
    Final(CommandError),
}

/// For whom a transfer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// A message of the outbox.
    Send(OwnedRoomId, OwnedTransactionId),
    /// A face that wants a file.
    Save(FaceId, CommandId),
    /// History for this user, who is to be invited to this room.
    ShareHistory(OwnedRoomId, OwnedUserId),
    /// History of this room that this user offers.
    TakeHistory(OwnedRoomId, OwnedUserId),
}

impl Job {
    /// Whether it is for this message.
    pub(super) fn sends(&self, txn: &TransactionId) -> bool {
        matches!(self, Self::Send(_, other) if other == txn)
    }

    /// Whether it is for a message of this room.
    pub(super) fn is_in(&self, room: &RoomId) -> bool {
        matches!(self, Self::Send(other, _) if other == room)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Waiting,
    Later(Timestamp),
    UnderWay(u64),
}

/// A transfer that has not ended.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) job: Job,
    pub(super) kind: TransferKind,
    standing: Standing,
    backoff: Backoff,
}

impl Entry {
    fn id(&self) -> Option<u64> {
        match self.standing {
            Standing::UnderWay(id) => Some(id),
            Standing::Waiting | Standing::Later(_) => None,
        }
    }
}

/// The transfers that have not ended, in the order they were asked for.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    entries: Vec<Entry>,
}

impl Transfers {
    /// Notes one; it is ordered with the next [`Transfers::release`].
    pub(super) fn start(&mut self, job: Job, kind: TransferKind) {
        let backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        self.entries.push(Entry { job, kind, standing: Standing::Waiting, backoff });
    }

    /// Whether one like this is noted.
    pub(super) fn has(&self, matches: impl Fn(&Job) -> bool) -> bool {
        self.entries.iter().any(|entry| matches(&entry.job))
    }

    /// What may begin now, under ids that `new_id` gives.
    pub(super) fn release(
        &mut self,
        now: Timestamp,
        mut new_id: impl FnMut() -> u64,
    ) -> Vec<TransferOrder> {
        let mut under_way = self.entries.iter().filter(|entry| entry.id().is_some()).count();
        let mut orders = Vec::new();
        for entry in &mut self.entries {
            match entry.standing {
                Standing::UnderWay(_) => continue,
                Standing::Later(at) if now < at => continue,
                Standing::Waiting | Standing::Later(_) => entry.standing = Standing::Waiting,
            }
            if under_way < MAX_UNDER_WAY {
                let id = new_id();
                entry.standing = Standing::UnderWay(id);
                under_way += 1;
                orders.push(TransferOrder { id, kind: entry.kind.clone() });
            }
        }
        orders
    }

    /// When the first paused one is due.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let due = self.entries.iter().filter_map(|entry| match entry.standing {
            Standing::Later(at) => Some(at),
            Standing::Waiting | Standing::UnderWay(_) => None,
        });
        due.min()
    }

    /// The link is gone, and what was under way with it: begun anew on the next one. Gives those
    /// that were begun too often.
    pub(super) fn on_lost(&mut self) -> Vec<Entry> {
        for entry in &mut self.entries {
            if entry.id().is_some() {
                entry.standing = Standing::Waiting;
                entry.backoff.next_pause(1.0);
            }
        }
        let given_up = |entry: &mut Entry| MOST_TRIES <= entry.backoff.failures();
        self.entries.extract_if(.., given_up).collect()
    }

    /// For whom the one under way with this id is.
    pub(super) fn job(&self, id: u64) -> Option<&Job> {
        self.entries.iter().find(|entry| entry.id() == Some(id)).map(|entry| &entry.job)
    }

    /// Takes out the one under way with this id: it ended.
    pub(super) fn take(&mut self, id: u64) -> Option<Entry> {
        let at = self.entries.iter().position(|entry| entry.id() == Some(id))?;
        Some(self.entries.remove(at))
    }

    /// Puts one back that broke off, to be begun anew after a pause; gives it back when that was
    /// tried too often.
    pub(super) fn postpone(
        &mut self,
        mut entry: Entry,
        pause: Option<Duration>,
        now: Timestamp,
    ) -> Option<Entry> {
        let own = entry.backoff.next_pause(1.0);
        if MOST_TRIES <= entry.backoff.failures() {
            return Some(entry);
        }
        entry.standing = Standing::Later(now.plus(pause.unwrap_or(own)));
        self.entries.push(entry);
        None
    }

    /// Gives some up; the orders that say so to the driver.
    pub(super) fn cancel(&mut self, matches: impl Fn(&Job) -> bool) -> Vec<TransferOrder> {
        let gone: Vec<Entry> = self.entries.extract_if(.., |entry| matches(&entry.job)).collect();
        let under_way = gone.iter().filter_map(Entry::id);
        under_way.map(|id| TransferOrder { id, kind: TransferKind::Cancel }).collect()
    }
}

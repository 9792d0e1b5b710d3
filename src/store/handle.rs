//! The open store: its reads, and how it comes to be open.

use std::fmt;

use rusqlite::Connection;

use super::{
    account::{self, Account, Origin},
    error::{OpenError, StoreError},
    event,
    key::Protection,
    lease::Lease,
    lock::Lock,
    outbox,
    outbox::OutboxRow,
    room::{self, Gap, RoomRow},
    schema,
};
use crate::{
    matrix::{Event, EventId, OwnedRoomId, Position, RoomId, UserId},
    rooms::StoredEvent,
    secret::Secret,
};

/// An open store. Owned by one thread; every call blocks until the file answered.
pub struct Store {
    connection: Connection,
    account: Account,
    lease: Lease,
    protection: Protection,
    origin: Origin,
    // Last, so that the file is closed before another process may open it.
    _lock: Option<Lock>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store(..)")
    }
}

impl Store {
    /// Makes a store in memory, with the same tables, for tests, simulations and measurements.
    ///
    /// # Errors
    /// When SQLite gives no memory.
    pub fn in_memory(account: &Account) -> Result<Self, OpenError> {
        let mut connection = Connection::open_in_memory()?;
        configure(&connection)?;
        schema::migrate(&mut connection)?;
        account::insert(&connection, account)?;
        let here = (Protection::Memory, Origin::Original);
        Ok(Self::new(connection, (account.clone(), Lease::default()), here, None))
    }

    pub(super) fn new(
        connection: Connection,
        (account, lease): (Account, Lease),
        (protection, origin): (Protection, Origin),
        lock: Option<Lock>,
    ) -> Self {
        Self { connection, account, lease, protection, origin, _lock: lock }
    }
}

/// Settings that hold for every connection, in memory or not.
pub(super) fn configure(connection: &Connection) -> Result<(), OpenError> {
    connection.set_prepared_statement_cache_capacity(64);
    connection.execute_batch(
        "PRAGMA foreign_keys = ON;
         PRAGMA trusted_schema = OFF;
         PRAGMA temp_store = MEMORY;
         PRAGMA secure_delete = ON;
         PRAGMA synchronous = FULL;",
    )?;
    Ok(())
}

// What is read. The names say what comes; the order is that of the contract.
impl Store {
    /// The login this store belongs to.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// How long its access token lives, and what renews it.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// What protects it on disk, and the warning that goes with it.
    pub fn protection(&self) -> Protection {
        self.protection
    }

    /// Whether it was found where it was left.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The random name of this store, and how many commits it has seen. A store that was copied
    /// or restored has the same name and a count that does not fit.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn instance(&self) -> Result<(Vec<u8>, u64), StoreError> {
        account::instance(&self.connection)
    }

    /// Place in the sync stream up to which everything is stored; `None` before the first answer.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn position(&self) -> Result<Option<Position>, StoreError> {
        account::position(&self.connection)
    }

    /// All listed rooms, ordered by id.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn rooms(&self) -> Result<Vec<RoomRow>, StoreError> {
        room::rooms(&self.connection)
    }

    /// The current state events of a room, members included, ordered by type and key.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn state(&self, room: &RoomId) -> Result<Vec<Event>, StoreError> {
        room::state(&self.connection, room)
    }

    /// At most `limit` of the newest events, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn newest(&self, room: &RoomId, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        event::newest(&self.connection, room, limit)
    }

    /// At most `limit` of the events just before `position`, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn before(
        &self,
        room: &RoomId,
        position: i64,
        limit: usize,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        event::before(&self.connection, room, position, limit)
    }

    /// One event.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn event(&self, room: &RoomId, event: &EventId) -> Result<Option<StoredEvent>, StoreError> {
        event::by_id(&self.connection, room, event)
    }

    /// The events whose clear relation (`m.relates_to.event_id`) names `target`, and redactions of
    /// it, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn relations(
        &self,
        room: &RoomId,
        target: &EventId,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        event::relations(&self.connection, room, target)
    }

    /// The first redaction of an event.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn redaction(
        &self,
        room: &RoomId,
        target: &EventId,
    ) -> Result<Option<StoredEvent>, StoreError> {
        event::redaction(&self.connection, room, target)
    }

    /// The events that wait for this session, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn undecrypted(
        &self,
        room: &RoomId,
        session_id: &str,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        event::undecrypted(&self.connection, room, session_id)
    }

    /// At most `limit` sessions whose key would make an event of this room readable, those of the
    /// newest events first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn missing_sessions(&self, room: &RoomId, limit: usize) -> Result<Vec<String>, StoreError> {
        event::missing_sessions(&self.connection, room, limit)
    }

    /// At most `limit` decrypted events of `sender` that carry a red mark, of all rooms; the newest
    /// of each room first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn marked(
        &self,
        sender: &UserId,
        limit: usize,
    ) -> Result<Vec<(OwnedRoomId, StoredEvent)>, StoreError> {
        event::marked(&self.connection, sender, limit)
    }

    /// How many events cannot be decrypted, by reason (`no_room_key`, `withheld:m.unverified`, …).
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn undecryptable_counts(&self) -> Result<Vec<(String, u64)>, StoreError> {
        event::undecryptable_counts(&self.connection)
    }

    /// The smallest and the largest position in a room.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn bounds(&self, room: &RoomId) -> Result<Option<(i64, i64)>, StoreError> {
        event::bounds(&self.connection, room)
    }

    /// Where events of a room are missing, in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn gaps(&self, room: &RoomId) -> Result<Vec<Gap>, StoreError> {
        room::gaps(&self.connection, room)
    }

    /// Whether the first event of a room is known.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn has_reached_start(&self, room: &RoomId) -> Result<bool, StoreError> {
        room::reached_start(&self.connection, room)
    }

    /// Messages of ours that the server has not answered, in the order they were typed.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn outbox(&self) -> Result<Vec<OutboxRow>, StoreError> {
        outbox::read(&self.connection)
    }

    /// One message of ours, by its transaction id.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn outbox_row(&self, txn: &str) -> Result<Option<OutboxRow>, StoreError> {
        outbox::read_one(&self.connection, txn)
    }
}

// For the other files of this folder.
impl Store {
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn connection_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }

    pub(super) fn replace_access_token(&mut self, token: Secret<String>) {
        self.account.access_token = token;
    }

    pub(super) fn replace_lease(&mut self, lease: Lease) {
        self.lease = lease;
    }
}

//! What the session layer reads and writes: records under keys, nothing about files.
//!
//! The store keeps [`Table`]s of opaque values; the format of a value is this module's business
//! (JSON, versioned by serde defaults). Reads come through [`Lookup`], writes leave as [`Changes`].

use zeroize::Zeroizing;

/// The kinds of record. The name is what the store writes; never rename one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// The Olm account and its bookkeeping; key `("", "")`.
    Account,
    /// Requests prepared and not yet answered; key `(request id, "")`.
    Request,
    /// Users whose devices are tracked; key `(user, "")`.
    TrackedUser,
    /// Devices; key `(user, device)`.
    Device,
    /// Cross-signing identities; key `(user, "")`.
    Identity,
    /// Olm sessions; key `(peer curve25519, session id)`.
    OlmSession,
    /// Hashes of Olm messages that were decrypted; key `(hash, "")`.
    OlmHash,
    /// Inbound group sessions; key `(room, session id)`.
    InboundGroupSession,
    /// Room of a known inbound session; key `(session id, room)`.
    SessionRoom,
    /// Withheld notices; key `(room, session id)`.
    Withheld,
    /// Outbound group session of a room; key `(room, "")`.
    OutboundGroupSession,
    /// Which devices of a user were offered an outbound session; key `(session id, user)`.
    RoomKeyShare,
    /// Used message indices; key `(session id, index)`.
    MessageIndex,
    /// Encryption settings of a room, latched; key `(room, "")`.
    RoomSettings,
    /// Our own private cross-signing keys; key `("", "")`.
    CrossSigning,
    /// Secrets asked of our other devices; key `(request id, "")`.
    SecretRequest,
    /// The key backup and its private key; key `("", "")`.
    Backup,
    /// Sessions that the backup does not have as they are now; key `(room, session id)`.
    ToBackUp,
    /// Sessions looked for in the backup; key `(room, session id)`.
    BackupSearch,
    /// Room keys asked of our other devices; key `(room, session id)`.
    KeyRequest,
    /// History that an inviter offers; key `(room, inviter)`.
    HistoryOffer,
    /// Failure caches, counters and the like; key `(name, …)`.
    Misc,
}

impl Table {
    /// Every table, for a store that makes one list of them.
    pub const ALL: [Self; 22] = [
        Self::Account,
        Self::Request,
        Self::TrackedUser,
        Self::Device,
        Self::Identity,
        Self::OlmSession,
        Self::OlmHash,
        Self::InboundGroupSession,
        Self::SessionRoom,
        Self::Withheld,
        Self::OutboundGroupSession,
        Self::RoomKeyShare,
        Self::MessageIndex,
        Self::RoomSettings,
        Self::CrossSigning,
        Self::SecretRequest,
        Self::Backup,
        Self::ToBackUp,
        Self::BackupSearch,
        Self::KeyRequest,
        Self::HistoryOffer,
        Self::Misc,
    ];

    /// The name on disk.
    pub fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Request => "request",
            Self::TrackedUser => "tracked_user",
            Self::Device => "device",
            Self::Identity => "identity",
            Self::OlmSession => "olm_session",
            Self::OlmHash => "olm_hash",
            Self::InboundGroupSession => "inbound_group_session",
            Self::SessionRoom => "session_room",
            Self::Withheld => "withheld",
            Self::OutboundGroupSession => "outbound_group_session",
            Self::RoomKeyShare => "room_key_share",
            Self::MessageIndex => "message_index",
            Self::RoomSettings => "room_settings",
            Self::CrossSigning => "cross_signing",
            Self::SecretRequest => "secret_request",
            Self::Backup => "backup",
            Self::ToBackUp => "to_back_up",
            Self::BackupSearch => "backup_search",
            Self::KeyRequest => "key_request",
            Self::HistoryOffer => "history_offer",
            Self::Misc => "misc",
        }
    }
}

/// Where a record stands in its table: two parts, so that one can list all that share the first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey(pub String, pub String);

/// One write. Values may hold keys, so they are wiped when dropped; `None` deletes.
#[derive(Clone)]
pub struct Write {
    /// Which table.
    pub table: Table,
    /// Which record.
    pub key: RecordKey,
    /// The new value; `None` deletes the record.
    pub value: Option<Zeroizing<Vec<u8>>>,
}

impl std::fmt::Debug for Write {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Write")
            .field("table", &self.table)
            .field("key", &self.key)
            .field("bytes", &self.value.as_ref().map(|value| value.len()))
            .finish()
    }
}

/// Everything one step wants written, at most one write a record.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The writes, in key order.
    pub writes: Vec<Write>,
}

impl Changes {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

/// The store could not answer. The text is the store's, free of content.
#[derive(Debug, thiserror::Error)]
#[error("the store cannot be read: {0}")]
pub struct LookupError(pub String);

/// Synchronous reads of committed records.
pub trait Lookup {
    /// The value of one record.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn get(&self, table: Table, key: &RecordKey)
    -> Result<Option<Zeroizing<Vec<u8>>>, LookupError>;

    /// All records of `table` whose first key part is `first` (all of the table for `None`),
    /// ordered by key.
    ///
    /// # Errors
    /// When the store cannot be read.
    #[expect(clippy::type_complexity, reason = "the alias would hide that values are wiped")]
    fn scan(
        &self,
        table: Table,
        first: Option<&str>,
    ) -> Result<Vec<(RecordKey, Zeroizing<Vec<u8>>)>, LookupError>;

    /// The keys of at most `limit` records of `table` that come after `after`, in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn keys_after(
        &self,
        table: Table,
        after: Option<&RecordKey>,
        limit: usize,
    ) -> Result<Vec<RecordKey>, LookupError> {
        let keys = self.scan(table, None)?.into_iter().map(|(key, _)| key);
        Ok(keys.filter(|key| after.is_none_or(|after| after < key)).take(limit).collect())
    }

    /// How many records `table` has.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn count(&self, table: Table) -> Result<u64, LookupError> {
        Ok(self.scan(table, None)?.len() as u64)
    }
}

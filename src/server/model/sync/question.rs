//! What a sync asks for.

use ruma::api::client::filter::FilterDefinition;

use crate::server::model::{route::Caller, token::SyncToken};

/// What a sync asks for.
#[derive(Clone, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) filter: FilterDefinition,
    /// Where the last answer ended; nothing for the first.
    pub(crate) since: Option<SyncToken>,
    /// Where this one ends.
    pub(crate) now: SyncToken,
    /// Whether the whole state is wanted, not what changed of it.
    pub(crate) extent: Extent,
    pub(crate) placing: Placing,
}

/// How much of the state is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What changed.
    Changes,
    /// All of it, of all rooms.
    Full,
}

/// At which moment of the timeline the state is wanted.
///
/// # Spec
/// Client-Server API, `use_state_after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placing {
    /// Before its first event.
    Before,
    /// After its last event.
    After,
}

impl Question<'_> {
    /// The number after which everything is new.
    pub(crate) fn since_number(&self) -> u64 {
        self.since.map_or(0, |since| since.number)
    }

    /// The serial after which everything is new.
    pub(crate) fn since_serial(&self) -> u64 {
        self.since.map_or(0, |since| since.serial)
    }

    /// Whether all rooms are wanted, whether or not something happened there.
    pub(crate) fn wants_all(&self) -> bool {
        self.since.is_none() || self.extent == Extent::Full
    }
}

//! Sync answers: the words ([`delta`]) and the reader of sync v2 ([`parse`]).

mod delta;
mod parse;
#[cfg(test)]
mod tests;

pub use delta::{
    DeviceLists, KeyCounts, Membership, Position, RoomDelta, RoomHeroes, SyncDelta, SyncError,
    ToDeviceEvent,
};

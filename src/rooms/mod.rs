//! Rooms and timelines as pure values: events in, what people see out, the same for any order of
//! arrival.

mod state;
mod summary;
mod timeline;

pub use state::{
    ClearRoom, Direct, Member, MemberState, PowerLevels, RoomState, direct_rooms, newest_successor,
};
pub use summary::{RoomKind, RoomSummary};
pub use timeline::{Echo, EventBody, SendError, SendState, StoredEvent, Timeline, TimelineDelta};

// What faces need of the session layer, so that they need not name it.
pub use crate::e2ee::{Decrypted, Shield, ShieldReason, Undecryptable, UndecryptableReason};

//! Rooms and timelines as pure values: events in, what people see out, the same for any order of
//! arrival.

mod attach;
mod compose;
mod media_type;
mod receipt;
mod state;
mod summary;
mod timeline;
mod words;

pub use attach::{FileFacts, compose_file};
pub use compose::{Form, Markup, Target, Typed, compose_reaction};
pub use media_type::{SNIFFED_BYTES, media_type};
pub use receipt::Receipts;
pub use state::{
    ClearRoom, Direct, Member, MemberState, RoomState, direct_rooms, newest_successor,
};
pub use summary::{RoomKind, RoomSummary};
pub use timeline::{
    Change, ChangeKind, Echo, EventBody, FileContent, FileKind, FoldedChange, Item, ItemId,
    ItemKind, Items, MemberChange, Message, MessageContent, Quote, Reaction, Relation, Removed,
    Reply, SendError, SendState, Sending, StoredEvent, Timeline, TimelineDelta, Unreadable,
    fold_changes, is_valid_edit, is_verification, message_content,
};

pub use words::{shield_meaning, why_undecryptable};

// What faces need of the session layer, so that they need not name it.
pub use crate::e2ee::{Decrypted, Shield, ShieldReason, Undecryptable, UndecryptableReason};

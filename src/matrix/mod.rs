//! The words of the protocol: identifiers, events, sync answers, canonical JSON, signatures.
//!
//! Identifiers are ruma's, re-exported here so that the rest of the house names ours and ruma's
//! changes stay in this room. Whatever the network sent is parsed leniently, event by event: one
//! malformed event loses only itself.

mod canonical_json;
mod error;
mod event;
mod id;
mod mxc;
mod safe_text;
mod signature;
mod sync;

pub use canonical_json::{
    CanonicalJsonError, CanonicalObject, CanonicalText, CanonicalValue, MAX_CANONICAL_BYTES,
    MAX_CANONICAL_DEPTH,
};
pub use error::{AuthFlow, MatrixError, UserAuth};
pub use event::{BadField, Event, EventError, Unsigned};
pub use id::{
    DeviceId, EventId, OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedTransactionId, OwnedUserId,
    RoomId, TransactionId, UserId,
};
pub use mxc::{BadMxc, MxcUri};
pub use safe_text::{SafeText, grapheme_width, safe_file_name};
pub use signature::{BadSignature, SignedJson, ed25519_from_base64, sign, signed_text};
pub use sync::{
    DeviceLists, KeyCounts, Membership, Position, RoomDelta, RoomHeroes, SyncDelta, SyncError,
    ToDeviceEvent,
};

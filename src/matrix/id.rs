//! Identifiers, ruma's by our names.

pub use ruma::{
    DeviceId, EventId, OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedTransactionId, OwnedUserId,
    RoomId, TransactionId, UserId,
};

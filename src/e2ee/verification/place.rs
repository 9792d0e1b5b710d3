//! Where a verification takes place, and how its events say to which one they belong.

use crate::matrix::{OwnedEventId, OwnedRoomId, OwnedTransactionId};

/// Where the events go, and how the verification is named in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// From device to device.
    Devices { transaction: String },
    /// In a direct chat; the request's event once the server has it.
    Room { room: OwnedRoomId, txn: Option<OwnedTransactionId>, request: Option<OwnedEventId> },
}

impl Place {
    /// The name of the verification, which both sides derive with.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Devices { transaction } => Some(transaction),
            Self::Room { request, .. } => request.as_deref().map(ruma::EventId::as_str),
        }
    }
}

/// Says in a content to which verification it belongs; `None` while a request in a room has no
/// event yet.
pub(super) fn address(
    place: &Place,
    mut content: serde_json::Map<String, serde_json::Value>,
) -> Option<serde_json::Map<String, serde_json::Value>> {
    match place {
        Place::Devices { transaction } => {
            content.insert("transaction_id".to_owned(), serde_json::json!(transaction));
        }
        Place::Room { request, .. } => {
            let relation =
                serde_json::json!({ "rel_type": "m.reference", "event_id": request.as_ref()? });
            content.insert("m.relates_to".to_owned(), relation);
        }
    }
    Some(content)
}

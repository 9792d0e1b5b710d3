//! The versions of rooms that this server makes.

use ruma::{RoomVersionId, room_version_rules::RoomVersionRules};

use crate::server::model::{records::RoomRecord, refusal::Refusal};

/// What a room gets that asks for none.
pub(crate) const DEFAULT_VERSION: RoomVersionId = RoomVersionId::V12;

/// What a room may ask for. Older ones have known weaknesses.
pub(crate) const VERSIONS: [RoomVersionId; 3] =
    [RoomVersionId::V10, RoomVersionId::V11, RoomVersionId::V12];

/// The rules of a version that this server makes.
///
/// # Errors
/// `M_UNSUPPORTED_ROOM_VERSION` for any other.
pub(crate) fn rules(version: &RoomVersionId) -> Result<RoomVersionRules, Refusal> {
    let rules = VERSIONS.contains(version).then(|| version.rules()).flatten();
    rules.ok_or_else(|| {
        Refusal::new(
            400,
            "M_UNSUPPORTED_ROOM_VERSION",
            format!("this server makes no rooms of version {version}"),
        )
    })
}

/// The rules of a room.
///
/// # Errors
/// Never for a room of this server.
pub(crate) fn rules_of(room: &RoomRecord) -> Result<RoomVersionRules, Refusal> {
    let version = RoomVersionId::try_from(room.version.as_str())
        .map_err(|error| Refusal::new(500, "M_UNKNOWN", error.to_string()))?;
    rules(&version)
}

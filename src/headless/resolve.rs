//! Which room a person means: an id, an alias, the exact name, or the direct chat with somebody.

use super::{
    errand::Errand,
    error::{HeadlessError, RoomError},
};
use crate::{
    engine::{CommandError, Outcome, Request},
    matrix::{Membership, OwnedRoomId, RoomId},
};

/// Finds the room that `name` means. The errand must be ready.
///
/// # Errors
/// When no room or several have that name.
pub(super) async fn resolve(errand: &mut Errand, name: &str) -> Result<OwnedRoomId, HeadlessError> {
    match name.chars().next() {
        Some('!') => {
            Ok(RoomId::parse(name).map_err(|_malformed| RoomError::Malformed(name.to_owned()))?)
        }
        Some('#' | '@') => {
            let outcome = errand.ask(Request::Find { name: name.to_owned() }).await?;
            let Outcome::Room { room_id } = outcome else {
                return Err(unexpected(&outcome).into());
            };
            Ok(room_id)
        }
        Some(_) | None => Ok(by_name(errand, name)?),
    }
}

/// The one joined room, or invite, of this exact name.
fn by_name(errand: &Errand, name: &str) -> Result<OwnedRoomId, RoomError> {
    let is_ours = |membership| matches!(membership, Membership::Join | Membership::Invite);
    let mut found: Vec<&OwnedRoomId> = errand
        .rooms()
        .values()
        .filter(|room| room.name == name && is_ours(room.membership))
        .map(|room| &room.room_id)
        .collect();
    match (found.pop(), found.is_empty()) {
        (Some(room), true) => Ok(room.clone()),
        (None, _) => Err(RoomError::Unknown(name.to_owned())),
        (Some(last), false) => {
            found.push(last);
            let ids: Vec<&str> = found.iter().map(|room| room.as_str()).collect();
            Err(RoomError::Ambiguous {
                name: name.to_owned(),
                count: ids.len(),
                ids: ids.join(" "),
            })
        }
    }
}

/// The engine answered something else than was asked: a fault of ours, said rather than hidden.
pub(super) fn unexpected(outcome: &Outcome) -> CommandError {
    let kind = match outcome {
        Outcome::Done => "done",
        Outcome::Room { .. } => "a room",
        Outcome::Rooms { .. } => "rooms",
        Outcome::History(_) => "history",
        Outcome::KeyStatus { .. } => "key status",
        Outcome::Invited { .. } => "an invite",
        Outcome::Saved { .. } => "a saved file",
        Outcome::Recovered { .. } => "recovered",
        Outcome::RecoveryKey { .. } => "a recovery key",
        Outcome::Unsent { .. } => "what is not sent",
        Outcome::Verification(_) | Outcome::Verifications { .. } => "a verification",
        Outcome::KeyStory(_) => "the story of a message",
        Outcome::Sent { .. } => "sent",
        Outcome::Identity { .. } => "identities",
        Outcome::RoomTrust(_) => "whose devices get keys",
        Outcome::Devices { .. } => "devices",
        Outcome::Backup { .. } => "the key backup",
        Outcome::ExportedKeys { .. } => "keys",
        Outcome::ImportedKeys(_) => "a count of keys",
    };
    CommandError {
        code: "internal".to_owned(),
        message: format!(
            "the engine answered with {kind}, which was not asked; please report this"
        ),
    }
}

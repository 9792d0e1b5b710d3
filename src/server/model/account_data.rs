//! Account data: what a user's clients keep for each other.

use serde_json::value::RawValue;

use super::{
    records::{ACCOUNT_DATA, ACCOUNT_DATA_SIZES, Change},
    refusal::Refusal,
    step::Step,
    table::Broken,
};
use crate::matrix::{OwnedRoomId, RoomId, UserId};

/// Largest content, in bytes.
const MAX_CONTENT: usize = 64 << 10;
/// Most bytes of a user, keys included.
const MAX_BYTES: u64 = 16 << 20;
/// The type of tags.
pub(crate) const TAGS: &str = "m.tag";
/// The type of read markers.
pub(crate) const FULLY_READ: &str = "m.fully_read";
/// The type of push rules.
pub(crate) const PUSH_RULES: &str = "m.push_rules";

/// The content of some account data, of a room or of none.
pub(crate) fn get(
    step: &Step<'_>,
    user: &UserId,
    room: Option<&RoomId>,
    kind: &str,
) -> Result<Option<Box<RawValue>>, Broken> {
    step.get(ACCOUNT_DATA, (user, room.map_or("", RoomId::as_str), kind))
}

/// All account data of a room, or of none: type and content.
pub(crate) fn all(
    step: &Step<'_>,
    user: &UserId,
    room: Option<&RoomId>,
) -> Result<Vec<(String, Box<RawValue>)>, Broken> {
    let found = step.scan(ACCOUNT_DATA, (user, room.map_or("", RoomId::as_str)))?;
    found
        .into_iter()
        .map(|(mut key, content)| {
            key.text()?;
            key.text()?;
            Ok((key.text()?, content))
        })
        .collect()
}

/// Whose account data, of which room or of none, and which type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) user: &'a UserId,
    pub(crate) room: Option<&'a RoomId>,
    pub(crate) kind: &'a str,
}

/// Writes account data and tells the user's other clients; not when it is there already.
///
/// # Errors
/// `M_TOO_LARGE` when it is, or all of the user's together would be.
pub(crate) fn put(
    step: &mut Step<'_>,
    place: Place<'_>,
    content: &RawValue,
) -> Result<(), Refusal> {
    let Place { user, room, kind } = place;
    let key = (user, room.map_or("", RoomId::as_str), kind);
    let size = |content: &RawValue| {
        u64::try_from(kind.len() + key.1.len() + content.get().len()).unwrap_or(u64::MAX)
    };
    let old = step.get(ACCOUNT_DATA, key)?;
    if old.as_ref().is_some_and(|old| old.get() == content.get()) {
        return Ok(());
    }
    let before = step.get(ACCOUNT_DATA_SIZES, (user,))?.unwrap_or(0);
    let after = before.saturating_sub(old.as_deref().map_or(0, size)).saturating_add(size(content));
    if MAX_CONTENT < content.get().len() || (before < after && MAX_BYTES < after) {
        return Err(Refusal::new(413, "M_TOO_LARGE", "this is too much account data"));
    }
    step.put(ACCOUNT_DATA_SIZES, (user,), &after)?;
    step.put(ACCOUNT_DATA, key, &content.to_owned())?;
    let room: Option<OwnedRoomId> = room.map(ToOwned::to_owned);
    let (user, kind) = (user.to_owned(), kind.to_owned());
    step.publish(&Change::AccountData { user: user.clone(), room, kind })?;
    step.wake(user);
    Ok(())
}

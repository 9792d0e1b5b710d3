//! A room in a few words, for those who may come in, and who those are.

use serde::{Deserialize, Serialize};

use super::membership::{Allow, is_in_any};
use crate::{
    matrix::{OwnedRoomId, RoomId, UserId},
    server::model::{
        records::ROOMS,
        rooms::{current, membership_of},
        step::Step,
        table::Broken,
    },
};

/// A room in a few words.
///
/// # Spec
/// Client-Server API, "GET `publicRooms`" and "GET `room_summary`".
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) room_id: OwnedRoomId,
    room_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) canonical_alias: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    avatar_url: Option<String>,
    pub(crate) num_joined_members: u64,
    world_readable: bool,
    guest_can_join: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) room_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    join_rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed_room_ids: Vec<OwnedRoomId>,
}

impl Summary {
    /// Of a room; `None` when there is none.
    ///
    /// # Errors
    /// When the records are broken.
    pub(crate) fn read(step: &Step<'_>, room: &RoomId) -> Result<Option<Self>, Broken> {
        let Some(record) = step.get(ROOMS, (room,))? else {
            return Ok(None);
        };
        let text = |kind: &str, field: &str| text(step, room, kind, field);
        let access = Access::read(step, room)?;
        let is_restricted = access.is_restricted();
        let rooms = access.allow.into_iter().filter_map(|allow| allow.room_id);
        Ok(Some(Self {
            room_id: room.to_owned(),
            room_version: record.version,
            name: text("m.room.name", "name")?.filter(|name| !name.is_empty()),
            topic: text("m.room.topic", "topic")?.filter(|topic| !topic.is_empty()),
            canonical_alias: text("m.room.canonical_alias", "alias")?,
            avatar_url: text("m.room.avatar", "url")?,
            num_joined_members: record.joined,
            world_readable: is_world_readable(step, room)?,
            guest_can_join: text("m.room.guest_access", "guest_access")?.as_deref()
                == Some("can_join"),
            room_type: text("m.room.create", "type")?,
            encryption: text("m.room.encryption", "algorithm")?,
            allowed_room_ids: if is_restricted { rooms.collect() } else { Vec::new() },
            join_rule: access.join_rule,
        }))
    }

    /// Whether a search for this text, in small letters, finds it.
    pub(crate) fn is_like(&self, text: &str) -> bool {
        [&self.name, &self.topic, &self.canonical_alias]
            .into_iter()
            .flatten()
            .any(|field| field.to_lowercase().contains(text))
    }
}

/// A text in the content of a state event.
fn text(step: &Step<'_>, room: &RoomId, kind: &str, field: &str) -> Result<Option<String>, Broken> {
    let content: Option<serde_json::Map<String, serde_json::Value>> =
        current(step, room, kind, "")?.and_then(|event| event.content());
    Ok(content.and_then(|mut content| match content.remove(field) {
        Some(serde_json::Value::String(text)) => Some(text),
        _ => None,
    }))
}

fn is_world_readable(step: &Step<'_>, room: &RoomId) -> Result<bool, Broken> {
    let visibility = text(step, room, "m.room.history_visibility", "history_visibility")?;
    Ok(visibility.as_deref() == Some("world_readable"))
}

/// Who may come in.
#[derive(Debug, Default, Deserialize)]
struct Access {
    join_rule: Option<String>,
    #[serde(default)]
    allow: Vec<Allow>,
}

impl Access {
    fn read(step: &Step<'_>, room: &RoomId) -> Result<Self, Broken> {
        let event = current(step, room, "m.room.join_rules", "")?;
        Ok(event.and_then(|event| event.content()).unwrap_or_default())
    }

    fn is_restricted(&self) -> bool {
        matches!(self.join_rule.as_deref(), Some("restricted" | "knock_restricted"))
    }
}

/// Whether somebody, or anybody, may know that there is this room, and what it is about: whoever is
/// in it or could come in or ask to.
///
/// # Errors
/// When the records are broken.
///
/// # Spec
/// Client-Server API, "GET hierarchy": accessible rooms.
pub(crate) fn may_know(
    step: &Step<'_>,
    room: &RoomId,
    user: Option<&UserId>,
) -> Result<bool, Broken> {
    if step.get(ROOMS, (room,))?.is_none_or(|record| record.joined == 0) {
        return Ok(false);
    }
    let access = Access::read(step, room)?;
    let is_open =
        matches!(access.join_rule.as_deref(), Some("public" | "knock" | "knock_restricted"));
    if is_open || is_world_readable(step, room)? {
        return Ok(true);
    }
    let Some(user) = user else {
        return Ok(false);
    };
    let membership = membership_of(step, room, user)?;
    let is_inside = matches!(membership.as_deref(), Some("join" | "invite"));
    Ok(is_inside || access.is_restricted() && is_in_any(step, user, &access.allow)?)
}

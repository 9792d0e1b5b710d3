//! Reads the body of a sync v2 answer.
//!
//! The answer is taken apart piece by piece over raw text, so that a piece that is not what it
//! should be is counted and left out, and everything beside it stays.
//!
//! # Spec
//! Client-Server API, "Syncing".

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{
    DeviceLists, KeyCounts, Membership, RoomDelta, RoomHeroes, SyncDelta, SyncError, ToDeviceEvent,
};
use crate::matrix::{event::Event, id::OwnedRoomId};

impl SyncDelta {
    /// Reads the body of a sync v2 answer. Malformed events and ids are counted in
    /// [`SyncDelta::malformed`] and left out.
    ///
    /// # Errors
    /// When the body is not a JSON object.
    pub fn parse_v2(body: &str) -> Result<Self, SyncError> {
        let mut reader = Reader::default();
        let answer = Object { fields: serde_json::from_str(body)? };
        let rooms = reader.rooms(&answer);
        let lists = reader.object(&answer, "device_lists");
        let to_device = reader.object(&answer, "to_device");
        let account_data = reader.object(&answer, "account_data");
        Ok(Self {
            account_data: reader.events(&account_data, Place::Bare),
            to_device: reader.device_events(&to_device),
            device_lists: DeviceLists {
                changed: reader.list(&lists, "changed"),
                left: reader.list(&lists, "left"),
            },
            key_counts: reader.key_counts(&answer),
            unused_fallback_keys: reader.unused_fallback_keys(&answer),
            rooms,
            malformed: reader.malformed,
        })
    }
}

/// The fields of a JSON object, each still text. Of a repeated field the last one holds.
#[derive(Default)]
struct Object<'a> {
    fields: BTreeMap<String, &'a RawValue>,
}

impl<'a> Object<'a> {
    /// A field that is there and not `null`.
    fn field(&self, name: &str) -> Option<&'a RawValue> {
        self.fields.get(name).copied().filter(|raw| raw.get() != "null")
    }
}

/// What an event must carry, by where it stands.
#[derive(Clone, Copy)]
enum Place {
    /// Account data, typing, receipts: type and content.
    Bare,
    /// State of a room that we see only from outside: sender and state key.
    Stripped,
    /// State: sender, id and state key.
    State,
    /// Timeline: sender and id.
    Timeline,
}

impl Place {
    fn fits(self, event: &Event) -> bool {
        let (sent, named) = (event.sender.is_some(), event.event_id.is_some());
        match self {
            Self::Bare => true,
            Self::Stripped => sent && event.state_key.is_some(),
            Self::State => sent && named && event.state_key.is_some(),
            Self::Timeline => sent && named,
        }
    }
}

/// Deepest nesting that is kept where text stays raw; parsers further on stop at 128.
const MAX_RAW_DEPTH: usize = 64;

/// The sections of `rooms`; of a room that stands in several, the first holds.
const SECTIONS: [(&str, Membership); 4] = [
    ("join", Membership::Join),
    ("invite", Membership::Invite),
    ("knock", Membership::Knock),
    ("leave", Membership::Leave),
];

/// Takes pieces out of the answer and counts those that are not what they should be.
#[derive(Default)]
struct Reader {
    malformed: usize,
}

impl Reader {
    /// Counts `None` as a malformed piece.
    fn kept<T>(&mut self, piece: Option<T>) -> Option<T> {
        self.malformed += usize::from(piece.is_none());
        piece
    }

    /// A field that may be absent; one that is there and no `T` is malformed.
    fn value<T: DeserializeOwned>(&mut self, object: &Object<'_>, name: &str) -> Option<T> {
        object.field(name).and_then(|raw| self.kept(serde_json::from_str(raw.get()).ok()))
    }

    /// A field that is an object; empty when absent or malformed.
    fn object<'a>(&mut self, object: &Object<'a>, name: &str) -> Object<'a> {
        let raw = object.field(name);
        let fields = raw.and_then(|raw| self.kept(serde_json::from_str(raw.get()).ok()));
        Object { fields: fields.unwrap_or_default() }
    }

    /// The elements of a field that is an array; none when absent or malformed.
    fn elements<'a>(&mut self, object: &Object<'a>, name: &str) -> Vec<&'a RawValue> {
        let raw = object.field(name);
        raw.and_then(|raw| self.kept(serde_json::from_str(raw.get()).ok())).unwrap_or_default()
    }

    /// The elements of an array that are well formed.
    fn list<T: DeserializeOwned>(&mut self, object: &Object<'_>, name: &str) -> Vec<T> {
        let elements = self.elements(object, name);
        elements.iter().filter_map(|raw| self.kept(serde_json::from_str(raw.get()).ok())).collect()
    }

    /// The `events` of an object that fit their place.
    fn events(&mut self, object: &Object<'_>, place: Place) -> Vec<Event> {
        let elements = self.elements(object, "events");
        let event = |raw: &&RawValue| Event::parse(raw.get()).ok().filter(|e| place.fits(e));
        elements.iter().filter_map(|raw| self.kept(event(raw))).collect()
    }

    fn device_events(&mut self, object: &Object<'_>) -> Vec<ToDeviceEvent> {
        let elements = self.elements(object, "events");
        elements.iter().filter_map(|raw| self.kept(to_device_event(raw))).collect()
    }

    /// Absent is zero; a count that cannot be read is no count at all.
    fn key_counts(&mut self, answer: &Object<'_>) -> KeyCounts {
        let before = self.malformed;
        let counts = self.object(answer, "device_one_time_keys_count");
        let count = self.value(&counts, "signed_curve25519");
        if self.malformed == before {
            KeyCounts::Absolute(count.unwrap_or(0))
        } else {
            KeyCounts::Changed(None)
        }
    }

    fn unused_fallback_keys(&mut self, answer: &Object<'_>) -> Option<Vec<String>> {
        let unstable = "org.matrix.msc2732.device_unused_fallback_key_types";
        let name = ["device_unused_fallback_key_types", unstable]
            .into_iter()
            .find(|name| answer.field(name).is_some())?;
        Some(self.list(answer, name))
    }

    fn rooms(&mut self, answer: &Object<'_>) -> BTreeMap<OwnedRoomId, RoomDelta> {
        let sections = self.object(answer, "rooms");
        let mut rooms = BTreeMap::new();
        for (name, membership) in SECTIONS {
            for (id, raw) in self.object(&sections, name).fields {
                let id = OwnedRoomId::try_from(id).ok().filter(|id| !rooms.contains_key(id));
                let fields = serde_json::from_str(raw.get()).ok();
                if let Some((id, fields)) = self.kept(id.zip(fields)) {
                    let delta = self.room(&Object { fields }, membership);
                    rooms.insert(id, delta);
                }
            }
        }
        rooms
    }

    fn room(&mut self, room: &Object<'_>, membership: Membership) -> RoomDelta {
        let (state, place) = match membership {
            Membership::Join | Membership::Leave => ("state", Place::State),
            Membership::Invite => ("invite_state", Place::Stripped),
            Membership::Knock => ("knock_state", Place::Stripped),
        };
        let state = self.object(room, state);
        let timeline = self.object(room, "timeline");
        let ephemeral = self.object(room, "ephemeral");
        let account_data = self.object(room, "account_data");
        let unread = self.object(room, "unread_notifications");
        let summary = self.object(room, "summary");
        RoomDelta {
            membership,
            state: self.events(&state, place),
            timeline: self.events(&timeline, Place::Timeline),
            limited: self.value(&timeline, "limited").unwrap_or(false),
            prev_batch: self.value(&timeline, "prev_batch"),
            ephemeral: self.events(&ephemeral, Place::Bare),
            account_data: self.events(&account_data, Place::Bare),
            unread: self.value(&unread, "notification_count"),
            highlights: self.value(&unread, "highlight_count"),
            heroes: RoomHeroes {
                heroes: summary
                    .field("m.heroes")
                    .is_some()
                    .then(|| self.list(&summary, "m.heroes")),
                joined: self.value(&summary, "m.joined_member_count"),
                invited: self.value(&summary, "m.invited_member_count"),
            },
        }
    }
}

fn to_device_event(raw: &RawValue) -> Option<ToDeviceEvent> {
    let fields = Object { fields: serde_json::from_str(raw.get()).ok()? };
    let content = fields.field("content")?;
    let is_object = content.get().starts_with('{') && depth(content.get()) <= MAX_RAW_DEPTH;
    is_object.then_some(())?;
    Some(ToDeviceEvent {
        kind: serde_json::from_str(fields.field("type")?.get()).ok()?,
        sender: serde_json::from_str(fields.field("sender")?.get()).ok()?,
        content: content.to_owned(),
    })
}

/// How deep brackets nest in JSON text that is known to be well formed.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

//! Values that an engine would tell, made up.

use grotto::{
    engine::Update,
    matrix::{Event, Membership},
    rooms::{
        Decrypted, Echo, EventBody, RoomKind, RoomSummary, SendState, Shield, StoredEvent,
        TimelineDelta, Undecryptable, UndecryptableReason,
    },
    time::Timestamp,
};
use serde_json::{Map, Value, json};

use super::{NOON, Screen};

pub(crate) const ROOM: &str = "!room:example.org";

/// A summary of an encrypted group.
pub(crate) fn room(id: &str, name: &str) -> RoomSummary {
    RoomSummary {
        room_id: id.try_into().unwrap(),
        name: name.to_owned(),
        kind: RoomKind::Group,
        membership: Membership::Join,
        encrypted: true,
        unread: 0,
        highlights: 0,
        members: 3,
        topic: None,
        last_activity: Timestamp(0),
        inviter: None,
    }
}

/// An event of a room, decrypted.
pub(crate) fn event(position: i64, sender: &str, kind: &str, content: Value) -> StoredEvent {
    let mut stored = clear_event(position, sender, "m.room.encrypted", json!({}));
    stored.body = EventBody::Decrypted(Decrypted {
        kind: kind.to_owned(),
        content: object(content),
        session_id: "session".to_owned(),
        message_index: 0,
        shield: Shield::None,
        shared_by: None,
    });
    stored
}

/// An event that was not encrypted; state if its content has a `state_key`.
pub(crate) fn clear_event(
    position: i64,
    sender: &str,
    kind: &str,
    mut content: Value,
) -> StoredEvent {
    let state_key =
        content.as_object_mut().and_then(|c| c.remove("state_key")).and_then(|k| match k {
            Value::String(key) => Some(key),
            _ => None,
        });
    let at = i64::try_from(NOON.0).unwrap() + position * 60_000;
    let event = Event {
        kind: kind.to_owned(),
        event_id: Some(format!("$e{position}").try_into().unwrap()),
        sender: Some(sender.try_into().unwrap()),
        state_key,
        origin_server_ts: Timestamp(u64::try_from(at).unwrap()),
        content: object(content),
        redacts: None,
        unsigned: grotto::matrix::Unsigned::default(),
    };
    StoredEvent { position, event, body: EventBody::Clear(Shield::None) }
}

/// A text message.
pub(crate) fn text(position: i64, sender: &str, body: &str) -> StoredEvent {
    event(position, sender, "m.room.message", json!({"msgtype": "m.text", "body": body}))
}

/// A message whose key did not arrive.
pub(crate) fn undecryptable(
    position: i64,
    sender: &str,
    reason: UndecryptableReason,
) -> StoredEvent {
    let mut stored = clear_event(position, sender, "m.room.encrypted", json!({}));
    stored.body = EventBody::Undecryptable(Undecryptable { session_id: None, reason });
    stored
}

/// The same message under another shield.
pub(crate) fn shielded(mut stored: StoredEvent, shield: Shield) -> StoredEvent {
    match &mut stored.body {
        EventBody::Decrypted(inner) => inner.shield = shield,
        EventBody::Clear(own) => *own = shield,
        EventBody::Undecryptable(_) => {}
    }
    stored
}

/// An echo of ours.
pub(crate) fn echo(txn: &str, body: &str, state: SendState) -> TimelineDelta {
    TimelineDelta::Echo(Echo {
        txn: txn.into(),
        kind: "m.room.message".to_owned(),
        content: object(json!({"msgtype": "m.text", "body": body})),
        at: Timestamp(NOON.0 + 3_600_000),
        state,
    })
}

/// A change of the timeline of [`ROOM`].
pub(crate) fn delta(delta: TimelineDelta) -> Update {
    Update::Timeline { room: ROOM.try_into().unwrap(), delta, live: true }
}

/// New events in [`ROOM`].
pub(crate) fn events(events: impl IntoIterator<Item = StoredEvent>) -> Update {
    delta(TimelineDelta::Events(events.into_iter().collect()))
}

/// A screen with [`ROOM`] open, its beginning loaded, and two members with names.
pub(crate) fn open_room(width: u16, height: u16) -> Screen {
    let mut screen = Screen::new(width, height);
    screen.tell([Update::Rooms(vec![room(ROOM, "Garden")])]);
    screen.press("enter");
    let names =
        [("@ana:example.org", "Ana"), ("@bob:example.org", "Bob"), ("@eve:example.org", "Eve")];
    screen.tell([Update::Members {
        room: ROOM.try_into().unwrap(),
        names: names.map(|(user, name)| (user.try_into().unwrap(), name.to_owned())).to_vec(),
    }]);
    screen.tell([delta(TimelineDelta::ReachedStart)]);
    screen.asked();
    screen
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

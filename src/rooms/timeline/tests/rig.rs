//! Events to fold, and timelines as lines of text.

pub(super) use serde_json::{Value, json};

pub(super) use super::super::*;
pub(super) use crate::{
    e2ee::{Decrypted, Shield, ShieldReason, Undecryptable, UndecryptableReason},
    matrix::{Event, EventId, OwnedEventId, UserId},
    time::Timestamp,
};

pub(super) const ALICE: &str = "@alice:x";
pub(super) const BOB: &str = "@bob:x";

pub(super) fn user(id: &str) -> &UserId {
    <&UserId>::try_from(id).expect("a user id")
}

pub(super) fn id(id: &str) -> OwnedEventId {
    EventId::parse(id).expect("an event id")
}

/// An event `$<position>`, in clear.
#[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
pub(super) fn clear(position: i64, sender: &str, kind: &str, content: Value) -> StoredEvent {
    let mut json = json!({
        "type": kind, "event_id": format!("${position}"), "sender": sender,
        "origin_server_ts": 1000 + position, "content": content,
    });
    if let Some(key) = json["content"].as_object_mut().and_then(|c| c.remove("state_key")) {
        json["state_key"] = key;
    }
    if let Some(unsigned) = json["content"].as_object_mut().and_then(|c| c.remove("unsigned")) {
        json["unsigned"] = unsigned;
    }
    let event = Event::parse(&json.to_string()).expect("an event");
    StoredEvent { position, event, body: EventBody::Clear(Shield::None) }
}

/// The same, encrypted.
pub(super) fn secret(position: i64, sender: &str, kind: &str, content: Value) -> StoredEvent {
    let inner = clear(position, sender, kind, content);
    let mut event = clear(position, sender, "m.room.encrypted", json!({}));
    event.event.unsigned = inner.event.unsigned;
    event.body = EventBody::Decrypted(Decrypted {
        kind: kind.to_owned(),
        content: inner.event.content,
        session_id: "session".to_owned(),
        message_index: 0,
        shield: Shield::None,
        shared_by: None,
    });
    event
}

pub(super) fn unreadable(position: i64, sender: &str) -> StoredEvent {
    let mut event = clear(position, sender, "m.room.encrypted", json!({}));
    event.body = EventBody::Undecryptable(Undecryptable {
        session_id: Some("session".to_owned()),
        reason: UndecryptableReason::NoRoomKey,
    });
    event
}

pub(super) fn text(body: &str) -> Value {
    json!({"msgtype": "m.text", "body": body})
}

pub(super) fn reply(body: &str, to: &str) -> Value {
    json!({"msgtype": "m.text", "body": body, "m.relates_to": {"m.in_reply_to": {"event_id": to}}})
}

pub(super) fn edit(body: &str, target: &str) -> Value {
    json!({"msgtype": "m.text", "body": format!("* {body}"), "m.new_content": text(body),
        "m.relates_to": {"rel_type": "m.replace", "event_id": target}})
}

pub(super) fn reaction(key: &str, target: &str) -> Value {
    json!({"m.relates_to": {"rel_type": "m.annotation", "event_id": target, "key": key}})
}

pub(super) fn member(who: &str, membership: &str) -> Value {
    json!({"state_key": who, "membership": membership})
}

pub(super) fn fold(events: impl IntoIterator<Item = StoredEvent>) -> Timeline {
    let mut timeline = Timeline::new(user(ALICE));
    timeline.apply(TimelineDelta::Events(events.into_iter().collect()));
    timeline
}

/// A timeline as lines of text.
pub(super) fn shown(timeline: &Timeline) -> Vec<String> {
    timeline.items().map(|item| line(&item)).collect()
}

pub(super) fn line(item: &Item<'_>) -> String {
    match &item.kind {
        ItemKind::Start => "start".to_owned(),
        ItemKind::Gap => "gap".to_owned(),
        ItemKind::UnreadMarker => "unread".to_owned(),
        ItemKind::Message(message) => message_line(message),
        ItemKind::Removed(removed) => {
            let by = removed.by.map(UserId::localpart).unwrap_or_default();
            format!("removed by {by}: {}", removed.reason.unwrap_or_default())
        }
        ItemKind::Unreadable(why) => format!("unreadable {:?}", why.reason),
        ItemKind::Changes(changes) => {
            let folded = fold_changes(changes);
            let told = folded.iter().map(|change| match change {
                FoldedChange::Members { what, users } => format!("{} {what:?}", users.len()),
                FoldedChange::Single(change) => format!("{:?}", change.kind),
            });
            told.collect::<Vec<_>>().join(", ")
        }
    }
}

pub(super) fn message_line(message: &Message<'_>) -> String {
    let mut line = format!("{}: ", message.sender.map(UserId::localpart).unwrap_or_default());
    if let Some(reply) = &message.reply {
        let words = match reply.quote {
            Quote::Unknown => "?",
            Quote::Removed => "removed",
            Quote::Unreadable { .. } => "unreadable",
            Quote::Message { content, .. } => content.text(),
        };
        line.extend(["[", words, "] "]);
    }
    line += message.content.text();
    line += if message.is_edited { " (edited)" } else { "" };
    for reaction in &message.reactions {
        let ours = if reaction.ours.is_some() { "!" } else { "" };
        line.extend([" ", reaction.key, &reaction.count.to_string(), ours]);
    }
    if let Some(root) = message.thread {
        line.extend([" in ", root.as_str()]);
    }
    if message.thread_len > 0 {
        line.extend([" thread of ", &message.thread_len.to_string()]);
    }
    if message.shield != Shield::None {
        line.extend([" ", &format!("{:?}", message.shield)]);
    }
    if let Some(send) = &message.send {
        line.extend([" ", &format!("{:?}", send.state)]);
    }
    if let Some(removal) = &message.removal {
        line.extend([" removal ", &format!("{:?}", removal.state)]);
    }
    line
}

pub(super) fn version(timeline: &Timeline, position: i64) -> u64 {
    timeline.item(&ItemId::Event(position)).expect("an item").version
}

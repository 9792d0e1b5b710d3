//! What people see, whatever came and in whatever order.

mod arrival;
mod echo;

use serde_json::{Value, json};

use super::*;
use crate::{
    e2ee::{Decrypted, Shield, ShieldReason, Undecryptable, UndecryptableReason},
    matrix::{Event, EventId, OwnedEventId, UserId},
    time::Timestamp,
};

const ALICE: &str = "@alice:x";
const BOB: &str = "@bob:x";

fn user(id: &str) -> &UserId {
    <&UserId>::try_from(id).expect("a user id")
}

fn id(id: &str) -> OwnedEventId {
    EventId::parse(id).expect("an event id")
}

/// An event `$<position>`, in clear.
fn clear(position: i64, sender: &str, kind: &str, content: Value) -> StoredEvent {
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
fn secret(position: i64, sender: &str, kind: &str, content: Value) -> StoredEvent {
    let inner = clear(position, sender, kind, content);
    let mut event = clear(position, sender, "m.room.encrypted", json!({}));
    event.event.unsigned = inner.event.unsigned;
    event.body = EventBody::Decrypted(Decrypted {
        kind: kind.to_owned(),
        content: inner.event.content,
        session_id: "session".to_owned(),
        message_index: 0,
        shield: Shield::None,
    });
    event
}

fn unreadable(position: i64, sender: &str) -> StoredEvent {
    let mut event = clear(position, sender, "m.room.encrypted", json!({}));
    event.body = EventBody::Undecryptable(Undecryptable {
        session_id: Some("session".to_owned()),
        reason: UndecryptableReason::NoRoomKey,
    });
    event
}

fn text(body: &str) -> Value {
    json!({"msgtype": "m.text", "body": body})
}

fn reply(body: &str, to: &str) -> Value {
    json!({"msgtype": "m.text", "body": body, "m.relates_to": {"m.in_reply_to": {"event_id": to}}})
}

fn edit(body: &str, target: &str) -> Value {
    json!({"msgtype": "m.text", "body": format!("* {body}"), "m.new_content": text(body),
        "m.relates_to": {"rel_type": "m.replace", "event_id": target}})
}

fn reaction(key: &str, target: &str) -> Value {
    json!({"m.relates_to": {"rel_type": "m.annotation", "event_id": target, "key": key}})
}

fn member(who: &str, membership: &str) -> Value {
    json!({"state_key": who, "membership": membership})
}

fn fold(events: impl IntoIterator<Item = StoredEvent>) -> Timeline {
    let mut timeline = Timeline::new(user(ALICE));
    timeline.apply(TimelineDelta::Events(events.into_iter().collect()));
    timeline
}

/// A timeline as lines of text.
fn shown(timeline: &Timeline) -> Vec<String> {
    timeline.items().map(|item| line(&item)).collect()
}

fn line(item: &Item<'_>) -> String {
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

fn message_line(message: &Message<'_>) -> String {
    let mut line = format!("{}: ", message.sender.map(UserId::localpart).unwrap_or_default());
    if let Some(reply) = &message.reply {
        line += &match reply.quote {
            Quote::Unknown => "[?] ".to_owned(),
            Quote::Removed => "[removed] ".to_owned(),
            Quote::Unreadable { .. } => "[unreadable] ".to_owned(),
            Quote::Message { content, .. } => format!("[{}] ", content.text()),
        };
    }
    line += message.content.text();
    line += if message.is_edited { " (edited)" } else { "" };
    for reaction in &message.reactions {
        let ours = if reaction.ours.is_some() { "!" } else { "" };
        line += &format!(" {}{}{ours}", reaction.key, reaction.count);
    }
    if let Some(root) = message.thread {
        line += &format!(" in {root}");
    }
    if message.thread_len > 0 {
        line += &format!(" thread of {}", message.thread_len);
    }
    if message.shield != Shield::None {
        line += &format!(" {:?}", message.shield);
    }
    if let Some(send) = &message.send {
        line += &format!(" {:?}", send.state);
    }
    line
}

fn version(timeline: &Timeline, position: i64) -> u64 {
    timeline.item(&ItemId::Event(position)).expect("an item").version
}

#[test]
fn a_conversation_shows_edits_reactions_replies_and_threads() {
    let timeline = fold([
        clear(1, BOB, "m.room.message", text("helo")),
        clear(2, BOB, "m.room.message", edit("hello", "$1")),
        clear(3, ALICE, "m.reaction", reaction("👍", "$1")),
        clear(4, BOB, "m.reaction", reaction("👍", "$1")),
        clear(5, BOB, "m.reaction", reaction("👍", "$1")),
        clear(6, ALICE, "m.room.message", reply("> <@bob:x> helo\n\nhi", "$1")),
        clear(
            7,
            BOB,
            "m.room.message",
            json!({"msgtype": "m.notice", "body": "aside", "m.relates_to": {
                "rel_type": "m.thread", "event_id": "$6", "is_falling_back": true,
                "m.in_reply_to": {"event_id": "$6"}}}),
        ),
        clear(8, ALICE, "m.room.message", reply("what?", "$far")),
    ]);
    assert_eq!(
        shown(&timeline),
        [
            "bob: hello (edited) 👍2!",
            "alice: [hello] hi thread of 1",
            "bob: aside in $6",
            "alice: [?] what?",
        ]
    );
}

#[test]
fn an_edit_needs_the_sender_the_type_and_the_encryption_of_the_original() {
    let original = secret(1, BOB, "m.room.message", text("pay bob"));
    for bad in [
        secret(2, ALICE, "m.room.message", edit("pay eve", "$1")),
        clear(2, BOB, "m.room.message", edit("pay eve", "$1")),
        secret(2, BOB, "m.sticker", edit("pay eve", "$1")),
        secret(
            2,
            BOB,
            "m.room.message",
            json!({"body": "pay eve", "msgtype": "m.text",
            "m.relates_to": {"rel_type": "m.replace", "event_id": "$1"}}),
        ),
        {
            let mut edit = secret(2, BOB, "m.room.message", edit("pay eve", "$1"));
            if let EventBody::Decrypted(inner) = &mut edit.body {
                inner.shield = Shield::Red(ShieldReason::MismatchedSender);
            }
            edit
        },
    ] {
        assert!(!is_valid_edit(&original, &bad));
        let quoting = secret(3, ALICE, "m.room.message", reply("ok", "$1"));
        let timeline = fold([original.clone(), bad, quoting]);
        assert_eq!(shown(&timeline), ["bob: pay bob", "alice: [pay bob] ok"]);
    }
    let good = secret(2, BOB, "m.room.message", edit("pay carol", "$1"));
    assert!(is_valid_edit(&original, &good));
    let of_the_edit = secret(3, BOB, "m.room.message", edit("pay eve", "$2"));
    assert!(!is_valid_edit(&good, &of_the_edit));
    let timeline = fold([original, good, of_the_edit]);
    assert_eq!(shown(&timeline), ["bob: pay carol (edited)"]);
}

#[test]
fn an_edit_less_trusted_than_the_message_marks_it() {
    let mut bad = secret(2, BOB, "m.room.message", edit("b", "$1"));
    if let EventBody::Decrypted(inner) = &mut bad.body {
        inner.shield = Shield::Red(ShieldReason::UnknownDevice);
    }
    let timeline = fold([secret(1, BOB, "m.room.message", text("a")), bad]);
    assert_eq!(shown(&timeline), ["bob: b (edited) Red(UnknownDevice)"]);
}

#[test]
fn a_redaction_takes_text_reactions_and_edits_away() {
    let redact = |position, target: &str, reason: &str| {
        clear(position, BOB, "m.room.redaction", json!({"redacts": target, "reason": reason}))
    };
    let timeline = fold([
        clear(1, BOB, "m.room.message", text("secret")),
        clear(2, ALICE, "m.reaction", reaction("👍", "$1")),
        clear(3, ALICE, "m.room.message", reply("wow", "$1")),
        redact(4, "$1", "oops"),
        clear(5, BOB, "m.room.message", text("a")),
        clear(6, BOB, "m.room.message", edit("b", "$5")),
        redact(7, "$6", ""),
        clear(8, ALICE, "m.reaction", reaction("👍", "$5")),
        redact(9, "$8", ""),
    ]);
    assert_eq!(shown(&timeline), ["removed by bob: oops", "alice: [removed] wow", "bob: a"]);
}

#[test]
fn a_redaction_that_claims_to_be_encrypted_is_none() {
    let timeline = fold([
        secret(1, BOB, "m.room.message", text("stays")),
        secret(2, ALICE, "m.room.redaction", json!({"redacts": "$1"})),
    ]);
    assert_eq!(shown(&timeline), ["bob: stays"]);
}

#[test]
fn a_message_that_was_removed_before_it_came_says_so() {
    let because = json!({"redacted_because": {"sender": BOB, "content": {"reason": "spam"}}});
    let mut encrypted = unreadable(2, BOB);
    encrypted.event = clear(2, BOB, "m.room.encrypted", json!({"unsigned": because})).event;
    let timeline = fold([clear(1, BOB, "m.room.message", json!({"unsigned": because})), encrypted]);
    assert_eq!(shown(&timeline), ["removed by bob: spam", "removed by bob: spam"]);
}

#[test]
fn members_who_come_and_go_are_told_in_one_item() {
    let mut events: Vec<_> = (1..=3)
        .map(|n| {
            let who = format!("@user{n}:x");
            clear(n, &who, "m.room.member", member(&who, "join"))
        })
        .collect();
    events.push(clear(4, "@user1:x", "m.room.member", member("@user1:x", "leave")));
    events.push(clear(5, BOB, "m.room.name", json!({"state_key": "", "name": "den"})));
    events.push(clear(6, BOB, "m.room.member", member("@user2:x", "ban")));
    events.push(clear(7, BOB, "m.room.message", text("so")));
    events.push(clear(8, "@user4:x", "m.room.member", member("@user4:x", "join")));
    let timeline = fold(events);
    assert_eq!(
        shown(&timeline),
        ["3 Joined, 1 Left, Name(Some(\"den\")), 1 Banned", "bob: so", "1 Joined"]
    );
    let backwards: Vec<_> = timeline.items().rev().map(|item| line(&item)).collect();
    let mut forwards = shown(&timeline);
    forwards.reverse();
    assert_eq!(backwards, forwards);
    assert_eq!(timeline.items_before(&ItemId::Event(7)).count(), 1);
    assert_eq!(timeline.items_from(&ItemId::Event(7)).count(), 2);
}

#[test]
fn gaps_the_start_and_the_unread_line_stand_in_their_places() {
    let mut timeline = fold([1, 2, 9].map(|n| clear(n, BOB, "m.room.message", text("x"))));
    timeline.apply(TimelineDelta::Gap { position: 9 });
    timeline.apply(TimelineDelta::ReachedStart);
    timeline.apply(TimelineDelta::FullyRead(id("$2")));
    assert_eq!(shown(&timeline), ["start", "bob: x", "bob: x", "unread", "gap", "bob: x"]);
    timeline.apply(TimelineDelta::GapClosed { position: 9 });
    timeline.apply(TimelineDelta::FullyRead(id("$9")));
    assert_eq!(shown(&timeline), ["start", "bob: x", "bob: x", "bob: x"]);
}

#[test]
fn a_late_key_makes_the_message_readable_and_changes_those_that_quote_it() {
    let mut timeline =
        fold([unreadable(1, BOB), secret(2, ALICE, "m.room.message", reply("?", "$1"))]);
    assert_eq!(shown(&timeline), ["unreadable NoRoomKey", "alice: [unreadable] ?"]);
    let before = (version(&timeline, 1), version(&timeline, 2));
    let readable = secret(1, BOB, "m.room.message", text("here"));
    timeline.apply(TimelineDelta::Events(vec![readable.clone()]));
    assert_eq!(shown(&timeline), ["bob: here", "alice: [here] ?"]);
    assert!(before.0 < version(&timeline, 1) && before.1 < version(&timeline, 2));
    timeline.apply(TimelineDelta::Events(vec![unreadable(1, BOB)]));
    assert_eq!(shown(&timeline), ["bob: here", "alice: [here] ?"]);
    let settled = version(&timeline, 1);
    timeline.apply(TimelineDelta::Events(vec![readable]));
    assert_eq!(version(&timeline, 1), settled);
}

#[test]
fn only_what_looks_different_gets_a_new_version() {
    let mut timeline = fold((1..=50).map(|n| clear(n, BOB, "m.room.message", text("x"))));
    let before: Vec<u64> = timeline.items().map(|item| item.version).collect();
    timeline.apply(TimelineDelta::Events(vec![clear(
        60,
        ALICE,
        "m.reaction",
        reaction("👍", "$7"),
    )]));
    let after: Vec<u64> = timeline.items().map(|item| item.version).collect();
    let changed: Vec<usize> = (0..50).filter(|at| before[*at] != after[*at]).collect();
    assert_eq!(changed, [6]);
}

#[test]
fn files_show_name_size_and_type_and_the_unknown_shows_its_words() {
    let image = json!({"msgtype": "m.image", "body": "look", "filename": "cat.png",
        "info": {"size": 12, "mimetype": "image/png", "w": "odd"}});
    let image = image.as_object().expect("an object").clone();
    let file = FileContent {
        kind: FileKind::Image,
        name: "cat.png",
        caption: Some("look"),
        size: Some(12),
        mimetype: Some("image/png"),
    };
    assert_eq!(message_content("m.room.message", &image), Some(MessageContent::File(file)));
    for (kind, content, told) in [
        ("m.room.message", json!({"msgtype": "x.y", "body": "words"}), Some("words")),
        ("m.room.message", json!({}), Some("m.room.message")),
        ("m.room.message", json!({"msgtype": "m.text", "body": 7}), Some("m.text")),
        ("x.custom", json!({"m.text": [{"body": "ext"}]}), Some("ext")),
        ("x.custom", json!({"data": 1}), None),
        ("m.poll.start", json!({"m.poll": {"question": {"m.text": "Tea?"}}}), Some("Tea?")),
        ("m.location", json!({}), None),
    ] {
        let content = content.as_object().expect("an object").clone();
        let read = message_content(kind, &content);
        assert_eq!(read.as_ref().map(MessageContent::text), told, "{kind}");
    }
}

#[test]
fn a_quotation_without_an_answer_stays() {
    let timeline = fold([
        clear(1, BOB, "m.room.message", reply("> only this", "$0")),
        clear(2, BOB, "m.room.message", text("> a\n\nb")),
        clear(3, BOB, "m.room.message", reply("> a\n> b\n\n> c\nd", "$0")),
    ]);
    assert_eq!(shown(&timeline), ["bob: [?] > only this", "bob: > a\n\nb", "bob: [?] > c\nd"]);
}

#[test]
fn a_trimmed_timeline_holds_the_newest_events_only() {
    let mut timeline = fold((1..=100).flat_map(|n| {
        let message = clear(n, BOB, "m.room.message", text("x"));
        [message, clear(1000 + n, ALICE, "m.reaction", reaction("👍", &format!("${n}")))]
    }));
    timeline.apply(TimelineDelta::ReachedStart);
    timeline.trim(110);
    assert_eq!((timeline.len(), timeline.oldest()), (110, Some(91)));
    assert_eq!(shown(&timeline).len(), 10);
    assert!(!timeline.reached_start());
}

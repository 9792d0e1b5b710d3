//! What lines events become.

use serde_json::json;

use super::*;
use crate::{
    matrix::{Event, OwnedRoomId},
    rooms::{Decrypted, Undecryptable, UndecryptableReason},
};

fn room() -> OwnedRoomId {
    OwnedRoomId::try_from("!room:example.org").unwrap()
}

fn event(id: &str, kind: &str, content: &Value) -> StoredEvent {
    let event = json!({
        "type": kind, "event_id": id, "sender": "@bob:example.org", "origin_server_ts": 7,
        "content": content,
    });
    StoredEvent {
        position: 1,
        event: Event::parse(&event.to_string()).unwrap(),
        body: EventBody::Clear(Shield::None),
    }
}

fn decrypted(id: &str, content: &Value) -> StoredEvent {
    let mut stored = event(id, "m.room.encrypted", &json!({}));
    stored.body = EventBody::Decrypted(Decrypted {
        kind: "m.room.message".to_owned(),
        content: content.as_object().unwrap().clone(),
        session_id: "session".to_owned(),
        message_index: 0,
        shield: Shield::Grey(ShieldReason::UnsignedDevice),
        shared_by: None,
    });
    stored
}

fn undecryptable(id: &str) -> StoredEvent {
    let mut stored = event(id, "m.room.encrypted", &json!({}));
    stored.body = EventBody::Undecryptable(Undecryptable {
        session_id: Some("session".to_owned()),
        reason: UndecryptableReason::Withheld("m.unverified".to_owned()),
    });
    stored
}

/// The lines as JSON, without what is the same in all of them.
fn lines(feed: &mut Feed, events: &[StoredEvent]) -> Vec<Value> {
    let lines = feed.lines(&room(), events);
    let mut values: Vec<Value> =
        lines.iter().map(|line| serde_json::to_value(line).unwrap()).collect();
    for value in &mut values {
        let object = value.as_object_mut().unwrap();
        assert_eq!(object.remove("room_id"), Some(json!("!room:example.org")));
        assert_eq!(object.remove("ts"), Some(json!(7)));
    }
    values
}

#[test]
fn a_message_has_the_promised_fields() {
    let content = json!({
        "msgtype": "m.notice", "body": "> <@a:b> x\n\nyes", "format": "org.matrix.custom.html",
        "formatted_body": "<b>yes</b>",
        "m.relates_to": {"m.in_reply_to": {"event_id": "$asked"}},
    });
    let expected = json!({
        "type": "message", "event_id": "$1", "sender": "@bob:example.org", "kind": "notice",
        "body": "yes", "html": "<b>yes</b>", "encrypted": true, "shield": "grey",
        "shield_reason": "unsigned_device", "reply_to": "$asked", "edited": false,
    });
    assert_eq!(lines(&mut Feed::default(), &[decrypted("$1", &content)]), [expected]);
}

#[test]
fn an_event_is_told_once_and_again_when_its_key_came() {
    let mut feed = Feed::default();
    let text = json!({"msgtype": "m.text", "body": "x"});
    let first = lines(&mut feed, &[undecryptable("$1"), undecryptable("$1")]);
    assert_eq!(first.len(), 1);
    assert_eq!(first[0]["type"], "undecryptable");
    assert_eq!(first[0]["reason"], "withheld:m.unverified");
    let second = lines(&mut feed, &[decrypted("$1", &text), decrypted("$1", &text)]);
    assert_eq!(second.len(), 1);
    assert_eq!(second[0]["type"], "decrypted_late");
    assert_eq!(second[0]["body"], "x");
}

#[test]
fn edits_reactions_and_redactions_name_what_they_change() {
    let text = json!({"msgtype": "m.text", "body": "x"});
    let edit = json!({
        "msgtype": "m.text", "body": "* y", "m.new_content": {"msgtype": "m.text", "body": "y"},
        "m.relates_to": {"rel_type": "m.replace", "event_id": "$1"},
    });
    let reaction =
        json!({"m.relates_to": {"rel_type": "m.annotation", "event_id": "$1", "key": "👍"}});
    let told = lines(
        &mut Feed::default(),
        &[
            event("$1", "m.room.message", &text),
            event("$2", "m.room.message", &edit),
            event("$3", "m.reaction", &reaction),
            event("$4", "m.room.redaction", &json!({"redacts": "$3", "reason": "no"})),
        ],
    );
    assert_eq!(told[0]["edited"], true);
    assert_eq!((&told[1]["type"], &told[1]["body"]), (&json!("edit"), &json!("y")));
    assert_eq!((&told[2]["type"], &told[2]["key"]), (&json!("reaction"), &json!("👍")));
    assert_eq!((&told[3]["type"], &told[3]["reason"]), (&json!("redaction"), &json!("no")));
    assert_eq!([&told[1]["relates_to"], &told[2]["relates_to"]], [&json!("$1"), &json!("$1")]);
    assert_eq!(told[3]["relates_to"], "$3");
}

#[test]
fn history_shows_messages_as_they_are_now() {
    let text = json!({
        "msgtype": "m.text", "body": "x",
        "m.relates_to": {"m.in_reply_to": {"event_id": "$0"}},
    });
    let edit = |target: &str, body: &str| {
        json!({
            "msgtype": "m.text", "body": format!("* {body}"),
            "m.new_content": {"msgtype": "m.text", "body": body},
            "m.relates_to": {"rel_type": "m.replace", "event_id": target},
        })
    };
    let at = |position, event: StoredEvent| StoredEvent { position, ..event };
    let by_carol = |mut stored: StoredEvent| {
        stored.event.sender = "@carol:example.org".try_into().ok();
        stored
    };
    let redaction =
        |id: &str, target: &str| event(id, "m.room.redaction", &json!({"redacts": target}));
    let events = vec![
        at(1, decrypted("$1", &text)),
        at(2, decrypted("$2", &text)),
        at(3, event("$3", "m.room.message", &edit("$1", "sent in clear"))),
        at(4, by_carol(decrypted("$4", &edit("$1", "by another")))),
        at(5, decrypted("$5", &text)),
    ];
    // What is newer than the page: the edit that holds, one taken back, a message taken back.
    let related = vec![
        at(6, decrypted("$6", &edit("$1", "y"))),
        at(7, decrypted("$7", &edit("$2", "taken back"))),
        at(8, redaction("$8", "$7")),
        at(9, redaction("$9", "$5")),
    ];
    let shown = page(&room(), &Page { events, related, reached_start: false });
    let shown: Vec<Value> = shown.iter().map(|line| serde_json::to_value(line).unwrap()).collect();
    let messages: Vec<&Value> = shown.iter().filter(|line| line["type"] == "message").collect();
    assert_eq!(messages.len(), 2, "{shown:#?}");
    assert_eq!((&messages[0]["body"], &messages[0]["edited"]), (&json!("y"), &json!(true)));
    assert_eq!(messages[0]["reply_to"], "$0", "what it answers stays");
    assert_eq!((&messages[1]["body"], &messages[1]["edited"]), (&json!("x"), &json!(false)));
}

#[test]
fn malformed_events_lose_only_themselves() {
    let told = lines(
        &mut Feed::default(),
        &[
            event("$1", "m.room.message", &json!({"msgtype": 5})),
            event("$2", "m.reaction", &json!({"m.relates_to": []})),
            event("$3", "m.room.redaction", &json!({"redacts": "no id"})),
            event("$4", "m.room.message", &json!({"msgtype": "org.odd", "body": "seen"})),
        ],
    );
    assert_eq!(told.len(), 1);
    assert_eq!((&told[0]["kind"], &told[0]["body"]), (&json!("text"), &json!("seen")));
}

fn edit_of(target: &str, body: &str) -> Value {
    json!({
        "msgtype": "m.text", "body": format!("* {body}"),
        "m.new_content": {"msgtype": "m.text", "body": body},
        "m.relates_to": {"rel_type": "m.replace", "event_id": target},
    })
}

fn by(sender: &str, mut stored: StoredEvent) -> StoredEvent {
    stored.event.sender = sender.try_into().ok();
    stored
}

#[test]
fn edits_that_the_screen_ignores_are_not_told() {
    let text = json!({"msgtype": "m.text", "body": "x"});
    let removed = || event("$r", "m.room.redaction", &json!({"redacts": "$1"}));
    let good = || decrypted("$2", &edit_of("$1", "y"));
    let cases: [(&str, Vec<StoredEvent>, StoredEvent); 5] = [
        ("by another", vec![decrypted("$1", &text)], by("@carol:example.org", good())),
        (
            "in clear",
            vec![decrypted("$1", &text)],
            event("$2", "m.room.message", &edit_of("$1", "y")),
        ),
        ("taken back", vec![decrypted("$1", &text), removed()], good()),
        ("of an edit", vec![decrypted("$1", &edit_of("$0", "z"))], good()),
        ("by another, unreadable", vec![undecryptable("$1")], by("@carol:example.org", good())),
    ];
    for (what, context, edit) in cases {
        // Known from the store, and as news in one piece with it.
        let mut feed = Feed::default();
        feed.learn(context.clone());
        assert_eq!(lines(&mut feed, std::slice::from_ref(&edit)), Vec::<Value>::new(), "{what}");
        let together: Vec<StoredEvent> = context.into_iter().chain([edit]).collect();
        let told = lines(&mut Feed::default(), &together);
        assert!(told.iter().all(|line| line["event_id"] != "$2"), "{what}: {told:#?}");
        let shown =
            page(&room(), &Page { events: together, related: Vec::new(), reached_start: false });
        let ids = shown.iter().map(|line| serde_json::to_value(line).unwrap()["event_id"].clone());
        assert!(ids.into_iter().all(|id| id != "$2"), "{what}");
    }
}

#[test]
fn an_edit_says_whether_it_could_be_checked() {
    let text = json!({"msgtype": "m.text", "body": "x"});
    let edit = || [decrypted("$2", &edit_of("$1", "y"))];
    let mut feed = Feed::default();
    feed.learn(vec![decrypted("$1", &text)]);
    assert_eq!(lines(&mut feed, &edit())[0]["checked"], true);
    assert_eq!(lines(&mut Feed::default(), &edit())[0]["checked"], false);
    let mut feed = Feed::default();
    feed.learn(vec![undecryptable("$1")]);
    assert_eq!(lines(&mut feed, &edit())[0]["checked"], false, "nobody knows what it says");
    // What was learned for one piece of news says nothing of the next.
    assert_eq!(lines(&mut feed, &[decrypted("$3", &edit_of("$1", "z"))])[0]["checked"], false);
}

#[test]
fn who_handed_over_the_key_of_a_message_is_told_with_it() {
    let text = json!({"msgtype": "m.text", "body": "x"});
    let mut shared = [decrypted("$1", &text), decrypted("$2", &edit_of("$1", "y"))];
    for stored in &mut shared {
        let EventBody::Decrypted(inner) = &mut stored.body else { panic!("it is") };
        inner.shared_by = "@ana:example.org".try_into().ok();
    }
    let told = lines(&mut Feed::default(), &shared);
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|line| line["shared_by"] == "@ana:example.org"), "{told:#?}");
}

//! What messages show, and what may change them.

use super::rig::*;

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
fn only_messages_that_came_as_they_should_call_for_attention() {
    let content = json!({"msgtype": "m.text", "body": "x", "m.mentions": {"user_ids": [ALICE, 7]}});
    let asked = secret(1, BOB, "m.room.message", content.clone());
    assert!(asked.mentions(user(ALICE)) && !asked.mentions(user(BOB)));
    let mut injected = clear(1, BOB, "m.room.message", content.clone());
    assert!(injected.mentions(user(ALICE)));
    injected.body = EventBody::Clear(Shield::Red(ShieldReason::SentInClear));
    assert!(!injected.mentions(user(ALICE)));
    assert!(!secret(1, ALICE, "m.room.message", content).mentions(user(ALICE)));
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

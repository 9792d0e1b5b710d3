//! What is seen of rooms and their messages.

use std::time::Duration;

use grotto::{
    engine::{
        Alarm, BackupSearch, Command, IdentityState, KeyAsked, KeyForwarding, KeyStory, LinkState,
        MessageStory, Outcome, Request, Update, WithheldKey,
    },
    matrix::Membership,
    rooms::{
        EventBody, RoomKind, RoomSummary, SendError, SendState, Shield, ShieldReason,
        TimelineDelta, UndecryptableReason,
    },
    time::Timestamp,
    tui::TerminalEffect,
};
use serde_json::json;

use super::{
    NOON, OWN, Screen,
    feed::{
        ROOM, clear_event, delta, echo, event, events, open_room, room, shielded, text,
        undecryptable,
    },
    seen,
};

const BOB: &str = "@bob:example.org";
const EVE: &str = "@eve:example.org";

#[test]
fn the_room_list_has_invites_then_unread_then_recent_rooms() {
    let mut screen = Screen::new(80, 12);
    let mut busy = room("!b:x", "Busy");
    (busy.unread, busy.highlights) = (12, 1);
    let mut unread = room("!u:x", "Unread");
    unread.unread = 3;
    let mut invite = room("!i:x", "Party");
    invite.membership = Membership::Invite;
    let mut recent = room("!r:x", "Recent");
    recent.last_activity = NOON;
    screen.tell([Update::Rooms(vec![room("!o:x", "Old"), recent, unread, busy, invite])]);
    seen("room_list", &mut screen);
}

#[test]
fn a_conversation_has_days_replies_reactions_edits_and_removals() {
    let mut screen = open_room(80, 20);
    let reply = json!({"msgtype": "m.text", "body": "I do",
        "m.relates_to": {"m.in_reply_to": {"event_id": "$e2"}}});
    let edit = json!({"msgtype": "m.text", "body": "* late", "m.new_content":
        {"msgtype": "m.text", "body": "Who has the key to the shed?"},
        "m.relates_to": {"rel_type": "m.replace", "event_id": "$e2"}});
    let reaction = |key: &str| json!({"m.relates_to": {"rel_type": "m.annotation", "event_id": "$e3", "key": key}});
    screen.tell([events([
        clear_event(-800, BOB, "m.room.member", json!({"state_key": BOB, "membership": "join"})),
        clear_event(-799, EVE, "m.room.member", json!({"state_key": EVE, "membership": "join"})),
        text(-798, BOB, "こんにちは 👋🏽 welcome"),
        text(2, BOB, "Who has the key?"),
        event(3, OWN, "m.room.message", reply),
        event(4, BOB, "m.room.message", edit),
        event(5, BOB, "m.reaction", reaction("👍")),
        event(6, EVE, "m.reaction", reaction("👍")),
        event(7, EVE, "m.room.message", json!({"msgtype": "m.emote", "body": "waves"})),
        event(
            8,
            EVE,
            "m.room.message",
            json!({"msgtype": "m.image", "body": "shed.jpg", "info": {"size": 123_456}}),
        ),
        text(9, EVE, "a line\nand another"),
    ])]);
    seen("conversation", &mut screen);
}

#[test]
fn shields_and_missing_keys_are_said_in_words() {
    let mut screen = open_room(80, 16);
    screen.tell([events([
        shielded(text(1, BOB, "hello"), Shield::Grey(ShieldReason::UnsignedDevice)),
        shielded(
            clear_event(2, EVE, "m.room.message", json!({"msgtype": "m.text", "body": "psst"})),
            Shield::Red(ShieldReason::SentInClear),
        ),
        undecryptable(3, BOB, UndecryptableReason::NoRoomKey),
        undecryptable(4, BOB, UndecryptableReason::Withheld("m.unverified".to_owned())),
    ])]);
    seen("shields", &mut screen);
}

#[test]
fn a_restored_history_carries_a_small_sign_and_the_selected_message_says_what_it_means() {
    let mut screen = open_room(80, 16);
    let restored = Shield::Grey(ShieldReason::AuthenticityNotGuaranteed);
    screen.tell([events([
        shielded(text(1, BOB, "hello"), restored),
        shielded(text(2, EVE, "hello Bob"), restored),
    ])]);
    let shown = screen.text();
    assert!(shown.contains("hello  ?") && !shown.contains("not proved"), "{shown}");
    screen.press("tab");
    assert_eq!(screen.text().matches("not proved").count(), 1, "{}", screen.text());
}

#[test]
fn how_a_message_was_encrypted_is_told_over_the_screen() {
    let mut screen = open_room(80, 20);
    screen.tell([events([undecryptable(3, BOB, UndecryptableReason::BeforeLogin)])]);
    screen.press("tab w");
    let asked = screen.asked();
    let story = asked.iter().find_map(|command| match command {
        Command::Request { id, request: Request::KeyStory { event, .. } } => Some((*id, event)),
        _ => None,
    });
    let (id, event) = story.expect("the story was asked for");
    let withheld = WithheldKey {
        code: "m.\u{1b}[31mred".to_owned(),
        sender: BOB.to_owned(),
        at: Timestamp(1),
    };
    let key = KeyStory {
        session_id: Some("A".repeat(43)),
        message_index: Some(7),
        held: None,
        withheld: Some(withheld),
        backup: Some(BackupSearch::Missing {
            times: 3,
            last_at: Some(Timestamp(50_000)),
            retry_at: Timestamp(7_300_000),
        }),
        identity: Some(IdentityState::Pinned),
        asking: KeyForwarding::OwnDevices,
        asked: Some(KeyAsked {
            at: Timestamp(40_000),
            devices: vec!["PHONE".into(), "T\u{1b}[31mABLET".into()],
            open: vec!["PHONE".into()],
        }),
    };
    let story = MessageStory {
        event_id: event.clone(),
        sender: Some(BOB.try_into().unwrap()),
        ts: Timestamp(1),
        told_at: Timestamp(100_000),
        shield: Shield::None,
        undecryptable: Some(UndecryptableReason::BeforeLogin),
        key: Some(key),
    };
    screen.tell([Update::Outcome { id, result: Ok(Outcome::KeyStory(Box::new(story))) }]);
    seen("story", &mut screen);
    screen.press("esc");
    assert!(!screen.text().contains("This message"));
}

#[test]
fn a_message_of_ours_says_where_it_stands() {
    let mut screen = open_room(80, 14);
    let failed = SendError { code: "M_FORBIDDEN".to_owned(), message: "you may not".to_owned() };
    screen.tell([
        delta(echo("t1", "one", SendState::Sending)),
        delta(echo("t2", "two", SendState::WaitingForKeys)),
        delta(echo("t3", "three", SendState::Queued)),
        delta(echo("t4", "four", SendState::Failed(failed))),
        Update::Outbox { waiting: 3, failed: 1, failed_in: vec![ROOM.try_into().unwrap()] },
        Update::Link(LinkState::Offline {
            retry_at: Timestamp(NOON.0 + 4200),
            reason: "gone".to_owned(),
        }),
    ]);
    seen("send_states", &mut screen);
    screen.press("tab R D");
    let asked = screen.asked();
    assert!(asked.contains(&Command::Retry("t4".into())), "{asked:?}");
    assert!(asked.contains(&Command::Discard("t4".into())), "{asked:?}");
}

/// How long the bell is quiet after it rang.
const PAUSE: Duration = Duration::from_secs(3);

#[test]
fn the_bell_rings_for_mentions_and_direct_chats_once_each() {
    let mut screen = Screen::new(80, 20);
    let (mut group, mut chat) = (room("!g:x", "Group"), room("!d:x", "Direct"));
    (group.kind, chat.kind) = (RoomKind::Group, RoomKind::Dm);
    let rings = |screen: &mut Screen, group: &RoomSummary, chat: &RoomSummary| {
        screen.terminal.clear();
        screen.tell([Update::Rooms(vec![group.clone(), chat.clone()])]);
        screen.terminal.iter().filter(|effect| **effect == TerminalEffect::Ring).count()
    };
    assert_eq!(rings(&mut screen, &group, &chat), 0);
    group.unread = 5;
    assert_eq!(rings(&mut screen, &group, &chat), 0, "chatter in a group");
    group.highlights = 1;
    assert_eq!(rings(&mut screen, &group, &chat), 1, "a mention");
    assert_eq!(rings(&mut screen, &group, &chat), 0, "the same again");
    screen.now = screen.now.plus(PAUSE);
    chat.unread = 1;
    assert_eq!(rings(&mut screen, &group, &chat), 1, "a direct chat");
    // A-49: somebody who writes without end.
    let mut heard = 0;
    for _ in 0..1_000 {
        chat.unread += 1;
        screen.now = screen.now.plus(PAUSE / 100);
        heard += rings(&mut screen, &group, &chat);
    }
    assert_eq!(heard, 10);
    screen.now = Timestamp(screen.now.0 - 3_600_000);
    chat.unread += 1;
    assert_eq!(rings(&mut screen, &group, &chat), 1, "a clock that was set back");
}

#[test]
fn a_narrow_screen_shows_one_thing_at_a_time() {
    let mut screen = open_room(40, 12);
    screen.tell([events([text(1, BOB, "a long message that needs more than one row here")])]);
    seen("narrow_room", &mut screen);
    screen.press("esc");
    seen("narrow_rooms", &mut screen);
}

#[test]
fn a_screen_that_is_too_small_says_so() {
    let mut screen = open_room(30, 5);
    assert_eq!(screen.text().trim_end(), "grotto needs 40 × 12 cells");
}

#[test]
fn alarms_stay_until_they_are_read_to_their_last_word() {
    let mut screen = open_room(60, 12);
    let alarm = Alarm::NewOwnDevice("ABCDEF".into());
    screen.tell([Update::Alarm(alarm.clone()), Update::Alarm(alarm)]);
    let seen = screen.text();
    assert!(seen.lines().next().unwrap().contains("New device ABCDEF"), "{seen}");
    assert!(!seen.contains("password"), "too long for the bar: {seen}");
    screen.press("alt-x");
    let whole = screen.text();
    assert!(whole.contains("password") && whole.contains("grotto devices"), "{whole}");
    screen.press("esc");
    assert!(!screen.text().contains("New device"));
}

#[test]
fn a_warning_is_not_opened_over_something_that_is_being_typed() {
    let mut screen = open_room(80, 12);
    screen.tell([Update::Alarm(Alarm::StoreCopied)]);
    screen.press("alt-i '@bob:exam' alt-x");
    let seen = screen.text();
    assert!(seen.contains("@bob:exam") && seen.contains("This store is a copy"), "{seen}");
}

#[test]
fn a_scrolled_screen_stays_when_messages_come_and_says_how_many() {
    let mut screen = open_room(60, 14);
    screen.tell([events((0..40).map(|n| text(n, BOB, &format!("message {n}"))))]);
    screen.text();
    screen.press("pageup pageup");
    let before = screen.text();
    screen.tell([
        events((40..45).map(|n| text(n, BOB, &format!("message {n}")))),
        events((-30..0).map(|n| text(n, BOB, &format!("old {n}")))),
    ]);
    let after = screen.text();
    let messages = |text: &str| -> Vec<String> {
        let rows = text.lines().filter(|row| row.contains("message "));
        rows.map(|row| row.split('↓').next().unwrap().trim_end().to_owned()).collect()
    };
    assert_eq!(messages(&before), messages(&after));
    assert!(after.contains("newer (ctrl-end)"), "{after}");
    screen.press("ctrl-end");
    assert!(screen.text().contains("message 44"));
}

#[test]
fn older_messages_are_asked_for_once_when_the_beginning_comes_near() {
    let mut screen = Screen::new(60, 14);
    screen.tell([Update::Rooms(vec![room(ROOM, "Garden")])]);
    screen.press("enter");
    screen.tell([events((0..60).map(|n| text(n, BOB, "x")))]);
    screen.frame();
    let loads = |commands: Vec<Command>| {
        commands.into_iter().filter(|c| matches!(c, Command::LoadOlder { before: 0, .. })).count()
    };
    assert_eq!(loads(screen.asked()), 0);
    screen.press("pageup pageup pageup pageup pageup pageup pageup");
    screen.frame();
    screen.frame();
    assert_eq!(loads(screen.asked()), 1);
    screen.tell([delta(TimelineDelta::ReachedStart)]);
    screen.frame();
    assert_eq!(loads(screen.asked()), 0);
}

#[test]
fn older_messages_on_their_way_are_said_to_be() {
    let mut screen = Screen::new(60, 14);
    screen.tell([Update::Rooms(vec![room(ROOM, "Garden")])]);
    screen.press("enter");
    screen.tell([events((0..60).map(|n| text(n, BOB, "x")))]);
    screen.frame();
    screen.press("tab home");
    let seen = screen.text();
    assert!(seen.lines().nth(1).unwrap().ends_with("loading older messages …"), "{seen}");
    screen.tell([events((-5..0).map(|n| text(n, BOB, "old"))), delta(TimelineDelta::ReachedStart)]);
    let seen = screen.text();
    assert!(!seen.contains("loading older messages"), "{seen}");
}

#[test]
fn a_gap_among_the_messages_is_seen_and_asked_for() {
    let mut screen = open_room(60, 14);
    screen.tell([
        events([text(1, BOB, "before"), text(9, BOB, "after")]),
        delta(TimelineDelta::Gap { position: 9 }),
    ]);
    let seen = screen.text();
    assert!(seen.contains("── messages are missing: loading … ──"), "{seen}");
    let asked = screen.asked();
    let fills = |c: &Command| matches!(c, Command::LoadOlder { before: 9, .. });
    assert!(asked.iter().any(fills), "{asked:?}");
    screen
        .tell([events([text(5, BOB, "between")]), delta(TimelineDelta::GapClosed { position: 9 })]);
    let seen = screen.text();
    assert!(seen.contains("between") && !seen.contains("missing"), "{seen}");
}

/// Whether the line above what is new is seen.
fn has_line(screen: &mut Screen) -> bool {
    screen.text().contains("── new ──")
}

#[test]
fn what_comes_while_one_watches_is_not_new() {
    let mut screen = open_room(60, 14);
    screen.tell([events([text(1, BOB, "first")])]);
    screen.press("'x'");
    screen.frame();
    let read = |id: &str| delta(TimelineDelta::FullyRead(id.try_into().unwrap()));
    screen.tell([read("$e1")]);
    for n in 2..6 {
        screen.tell([events([text(n, BOB, "more")])]);
        assert!(!has_line(&mut screen), "message {n}");
        screen.tell([read(&format!("$e{n}"))]);
        assert!(!has_line(&mut screen), "message {n} was read");
    }
}

#[test]
fn what_comes_while_one_is_away_is_new_until_one_answers() {
    use grotto::tui::{Attention, Input};
    let mut screen = open_room(60, 14);
    screen.tell([events([text(1, BOB, "first")])]);
    screen.press("'x'");
    screen.frame();
    screen.input(Input::Attention(Attention::Elsewhere));
    screen.tell([events([text(2, BOB, "second"), text(3, BOB, "third")])]);
    assert!(has_line(&mut screen));
    screen.input(Input::Attention(Attention::Here));
    screen.frame();
    screen.tell([delta(TimelineDelta::FullyRead("$e3".try_into().unwrap()))]);
    assert!(has_line(&mut screen), "the line stays before the eyes");
    screen.press("enter");
    assert!(!has_line(&mut screen), "answered");
}

#[test]
fn where_the_terminal_does_not_tell_what_comes_long_after_the_last_key_is_new() {
    let mut screen = open_room(60, 14);
    screen.tell([events([text(1, BOB, "first")])]);
    screen.press("'x'");
    screen.frame();
    screen.now = Timestamp(screen.now.0 + 3_600_000);
    screen.frame();
    screen.tell([events([text(2, BOB, "second")])]);
    assert!(has_line(&mut screen));
}

#[test]
fn a_message_stays_readable_while_its_removal_is_on_its_way_and_when_that_fails() {
    let mut screen = open_room(80, 14);
    let removal = |state| {
        TimelineDelta::Echo(grotto::rooms::Echo {
            txn: "d".into(),
            kind: "m.room.redaction".to_owned(),
            content: serde_json::from_value(json!({"redacts": "$e1"})).unwrap(),
            at: NOON,
            state,
        })
    };
    screen.tell([events([text(1, OWN, "oops")]), delta(removal(SendState::Queued))]);
    assert!(screen.text().contains("oops  … being removed"), "{}", screen.text());
    let failed = SendError { code: "M_FORBIDDEN".to_owned(), message: "you may not".to_owned() };
    screen.tell([delta(removal(SendState::Failed(failed)))]);
    let seen = screen.text();
    assert!(seen.contains("oops  ✗ not removed") && seen.contains("you may not"), "{seen}");
    screen.press("tab R D");
    let asked = screen.asked();
    assert!(asked.contains(&Command::Retry("d".into())), "{asked:?}");
    assert!(asked.contains(&Command::Discard("d".into())), "{asked:?}");
    screen.tell([delta(removal(SendState::Sent("$r".try_into().unwrap())))]);
    let seen = screen.text();
    assert!(!seen.contains("oops") && seen.contains("(message removed)"), "{seen}");
}

#[test]
fn a_room_one_was_put_out_of_is_said_to_be_gone() {
    let mut screen = open_room(80, 14);
    screen.tell([Update::RoomsGone(vec![ROOM.try_into().unwrap()])]);
    let seen = screen.text();
    assert!(seen.contains("you are no longer in Garden"), "{seen}");
    assert!(!seen.contains("draft"), "{seen}");
}

#[test]
fn a_draft_outlives_being_put_out_of_its_room() {
    let mut screen = open_room(80, 14);
    screen.press("'half a thought'");
    screen.tell([Update::RoomsGone(vec![ROOM.try_into().unwrap()])]);
    let seen = screen.text();
    assert!(seen.contains("your draft is kept"), "{seen}");
    assert!(!seen.contains("half a thought"), "{seen}");
    screen.tell([Update::Rooms(vec![room(ROOM, "Garden")])]);
    screen.press("enter");
    assert!(screen.text().contains("half a thought"), "{}", screen.text());
}

#[test]
fn who_is_invited_and_comes_is_told_once() {
    let mut screen = open_room(80, 14);
    let member = |n: i64, user: &str, membership: &str| {
        let content = json!({"state_key": user, "membership": membership});
        clear_event(n, BOB, "m.room.member", content)
    };
    screen.tell([events([
        member(1, EVE, "invite"),
        member(2, "@kim:x", "invite"),
        member(3, EVE, "join"),
    ])]);
    let seen = screen.text();
    assert!(seen.contains("@kim:x got an invite; Eve joined"), "{seen}");
}

#[test]
fn only_what_was_on_a_screen_that_is_looked_at_is_read() {
    use grotto::tui::{Attention, Input};
    let reads = |screen: &mut Screen| {
        let all = screen.asked().into_iter();
        all.filter_map(|command| match command {
            Command::MarkRead { event, .. } => Some(event.to_string()),
            _ => None,
        })
        .collect::<Vec<_>>()
    };
    let mut screen = open_room(60, 14);
    screen.tell([events([text(1, BOB, "seen")])]);
    screen.frame();
    assert_eq!(reads(&mut screen), ["$e1"]);
    screen.input(Input::Attention(Attention::Elsewhere));
    screen.tell([events([text(2, BOB, "not seen")])]);
    screen.frame();
    assert!(reads(&mut screen).is_empty());
    screen.input(Input::Attention(Attention::Here));
    screen.frame();
    screen.frame();
    assert_eq!(reads(&mut screen), ["$e2"]);
    screen.press("f1");
    screen.tell([events([text(3, BOB, "behind the help")])]);
    screen.frame();
    assert!(reads(&mut screen).is_empty());
}

#[test]
fn a_message_whose_key_somebody_handed_over_says_who() {
    let mut screen = open_room(80, 18);
    let content = json!({ "msgtype": "m.text", "body": "before you came" });
    let mut shared = event(1, "@carol:example.org", "m.room.message", content);
    let EventBody::Decrypted(inner) = &mut shared.body else { panic!("it is decrypted") };
    inner.shield = Shield::Grey(ShieldReason::AuthenticityNotGuaranteed);
    inner.shared_by = Some("@bob:example.org".try_into().unwrap());
    screen.tell([events([shared])]);
    let text = screen.text();
    assert!(text.contains("before you came  ? shared by Bob"), "{text}");
}

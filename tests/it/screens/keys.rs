//! What keys do.

use grotto::{
    engine::{Command, Outcome, Request, Update},
    matrix::Membership,
    rooms::SendState,
    time::Timestamp,
    tui::{Input, Size, State, TerminalEffect, TuiOptions, update},
};
use serde_json::{Value, json};

use super::{
    NOON, OWN, Screen,
    feed::{ROOM, delta, echo, events, open_room, room, text},
};

const BOB: &str = "@bob:example.org";

/// The contents that were sent since the last look, with their types.
fn sent(screen: &mut Screen) -> Vec<(String, Value)> {
    let all = screen.asked().into_iter();
    all.filter_map(|command| match command {
        Command::Send(draft) => Some((draft.kind, Value::Object(draft.content))),
        _ => None,
    })
    .collect()
}

#[test]
fn enter_sends_and_alt_enter_begins_a_line() {
    let mut screen = open_room(80, 14);
    screen.press("'hello' alt-enter 'world' enter");
    let sent = sent(&mut screen);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].0, "m.room.message");
    assert_eq!(sent[0].1["body"], "hello\nworld");
    assert!(screen.text().contains("> Write an encrypted message"));
}

#[test]
fn a_slash_command_that_does_not_exist_sends_nothing_and_stays() {
    let mut screen = open_room(80, 14);
    screen.press("'/shrug off' enter");
    assert!(sent(&mut screen).is_empty());
    let seen = screen.text();
    assert!(seen.contains("no command `/shrug`") && seen.contains("> /shrug off"), "{seen}");
}

#[test]
fn a_paste_is_one_text_and_sends_nothing_by_itself() {
    let mut screen = open_room(80, 14);
    screen.input(Input::Paste("one\r\ntwo\x1b[2J\n".to_owned()));
    assert!(sent(&mut screen).is_empty());
    screen.press("enter");
    assert_eq!(sent(&mut screen)[0].1["body"], "one\ntwo[2J");
}

#[test]
fn a_reply_names_what_it_answers() {
    let mut screen = open_room(80, 14);
    screen.tell([events([text(1, BOB, "first"), text(2, BOB, "second")])]);
    screen.press("tab up r 'yes'");
    assert!(screen.text().contains("replying to Bob: first"));
    screen.press("enter");
    let content = &sent(&mut screen)[0].1;
    assert_eq!(content["m.relates_to"], json!({"m.in_reply_to": {"event_id": "$e1"}}));
    assert_eq!(content["m.mentions"], json!({"user_ids": [BOB]}));
}

#[test]
fn up_in_an_empty_line_edits_the_last_own_message() {
    let mut screen = open_room(80, 14);
    screen.tell([events([text(1, OWN, "tpyo"), text(2, BOB, "what?")])]);
    screen.press("up ctrl-u 'typo' enter");
    let content = &sent(&mut screen)[0].1;
    assert_eq!(content["m.relates_to"], json!({"rel_type": "m.replace", "event_id": "$e1"}));
    assert_eq!(content["m.new_content"]["body"], "typo");
}

#[test]
fn a_reaction_is_an_emoji_by_name_or_any_text() {
    let mut screen = open_room(80, 14);
    screen.tell([events([text(1, BOB, "done")])]);
    screen.press("tab + ':tada:' enter + 'nice' enter");
    let keys: Vec<Value> =
        sent(&mut screen).iter().map(|sent| sent.1["m.relates_to"]["key"].clone()).collect();
    assert_eq!(keys, ["🎉", "nice"]);
}

#[test]
fn a_removal_asks_first() {
    let mut screen = open_room(80, 16);
    screen.tell([events([text(1, OWN, "oops")])]);
    screen.press("tab d enter");
    assert!(screen.asked().iter().all(|command| !matches!(command, Command::Redact { .. })));
    screen.press("d y");
    let asked = screen.asked();
    assert!(asked.iter().any(|c| matches!(c, Command::Redact { event, .. } if event == "$e1")));
}

#[test]
fn a_message_that_the_engine_did_not_take_comes_back() {
    let mut screen = open_room(80, 14);
    screen.press("'precious' enter");
    let asked = screen.asked();
    let refused = asked.into_iter().find(|c| matches!(c, Command::Send(_))).unwrap();
    screen.input(Input::Refused(refused));
    let seen = screen.text();
    assert!(seen.contains("> precious") && seen.contains("not taken"), "{seen}");
}

#[test]
fn a_paste_that_is_too_long_is_refused_whole_and_said_so() {
    let mut screen = open_room(80, 14);
    screen.press("'mine'");
    screen.input(Input::Paste("é".repeat(30_000)));
    let seen = screen.text();
    assert!(seen.contains("not put in: that would make 61 kB, one message holds 45 kB"), "{seen}");
    assert!(seen.contains("> mine"), "{seen}");
    screen.now = Timestamp(screen.now.0 + 60_000);
    screen.input(Input::Paste("a".repeat(40_000)));
    assert!(screen.text().contains("40 of 45 kB"));
}

#[test]
fn an_edit_that_is_too_long_stays_and_is_said_to_be() {
    let mut screen = open_room(80, 14);
    screen.tell([events([text(1, OWN, "short")])]);
    screen.press("up");
    screen.input(Input::Paste("a".repeat(40_000)));
    screen.press("enter");
    assert!(sent(&mut screen).is_empty());
    assert!(screen.text().contains("an edit holds half of what a message does"));
}

#[test]
fn before_quitting_one_learns_what_is_not_sent() {
    let mut screen = open_room(80, 14);
    let failed_in = vec![ROOM.try_into().unwrap()];
    screen.tell([Update::Outbox { waiting: 2, failed: 1, failed_in }]);
    assert!(screen.text().contains('✗'), "the room with the failed message is marked");
    screen.press("ctrl-c");
    let seen = screen.text();
    assert!(seen.contains("goes out next time: 2"), "{seen}");
    assert!(seen.contains("can be tried again next time: 1"), "{seen}");
}

#[test]
fn every_room_keeps_its_draft() {
    let mut screen = open_room(80, 14);
    screen.tell([Update::Rooms(vec![room("!other:x", "Other")])]);
    screen.press("'for the garden' ctrl-k 'oth' enter 'for the other'");
    assert!(screen.text().contains("> for the other"));
    screen.press("ctrl-k 'gar' enter");
    assert!(screen.text().contains("> for the garden"));
}

#[test]
fn an_invite_is_answered_with_a_question() {
    let mut screen = Screen::new(80, 16);
    let mut invite = room("!party:x", "Party");
    invite.membership = Membership::Invite;
    invite.inviter = Some(BOB.to_owned());
    screen.tell([Update::Rooms(vec![invite])]);
    screen.press("enter");
    assert!(screen.text().contains("@bob:example.org invites you to Party."));
    screen.press("up enter");
    let asked = screen.asked();
    let declined = |c: &Command| matches!(c, Command::Request { request: Request::Leave { room }, .. } if room == "!party:x");
    assert!(asked.iter().any(declined), "{asked:?}");
}

#[test]
fn an_invite_to_a_room_without_a_name_names_the_inviter_once_and_by_id() {
    let mut screen = Screen::new(80, 16);
    let mut invite = room("!party:x", "Bob");
    invite.membership = Membership::Invite;
    invite.inviter = Some(format!("Bob ({BOB})"));
    screen.tell([Update::Rooms(vec![invite])]);
    screen.press("enter");
    let text = screen.text();
    assert!(text.contains("Bob (@bob:example.org) invites you to chat."), "{text}");
}

#[test]
fn a_room_that_was_made_is_opened() {
    let mut screen = open_room(80, 14);
    screen.press("alt-n 'Attic' enter");
    let asked = screen.asked();
    let id = asked.iter().find_map(|command| match command {
        Command::Request { id, request: Request::CreateRoom { encrypted: true, .. } } => Some(*id),
        _ => None,
    });
    let room_id = "!attic:x".try_into().unwrap();
    screen.tell([
        Update::Rooms(vec![room("!attic:x", "Attic")]),
        Update::Outcome { id: id.unwrap(), result: Ok(Outcome::Room { room_id }) },
    ]);
    let asked = screen.asked();
    assert!(asked.iter().any(|c| matches!(c, Command::Open(id) if id == "!attic:x")));
}

#[test]
fn others_are_told_that_we_type_not_at_every_key() {
    let mut screen = open_room(80, 14);
    screen.press("'hello there'");
    let told = |screen: &mut Screen| {
        let all = screen.asked().into_iter();
        all.filter_map(|c| match c {
            Command::Typing { typing, .. } => Some(typing),
            _ => None,
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(told(&mut screen), [true]);
    screen.now.0 += 7_000;
    screen.input(Input::Tick);
    assert_eq!(told(&mut screen), [false]);
    screen.press("ctrl-u '/join'");
    assert!(told(&mut screen).is_empty());
}

#[test]
fn copying_is_left_to_the_terminal() {
    let mut screen = open_room(80, 14);
    screen.tell([events([text(1, BOB, "a\x1b]52;c;AAAA\x07b")])]);
    screen.press("tab y");
    let copied = screen.terminal.iter().find_map(|effect| match effect {
        TerminalEffect::Copy(text) => Some(text.clone()),
        _ => None,
    });
    assert!(copied.unwrap().chars().all(|c| !c.is_control()));
}

#[test]
fn quitting_by_ctrl_c_asks_and_empties_the_line_first() {
    let mut screen = open_room(80, 14);
    screen.press("'text' ctrl-c");
    assert!(screen.terminal.is_empty());
    screen.press("ctrl-c");
    assert!(screen.text().contains("Quit grotto?"));
    screen.press("y");
    assert_eq!(screen.terminal, [TerminalEffect::Quit]);
}

#[test]
fn the_open_room_is_asked_for_by_its_id() {
    let mut screen = Screen::new(80, 14);
    screen.tell([Update::Rooms(vec![room(ROOM, "Garden")])]);
    screen.press("'gard' enter");
    assert!(screen.asked().contains(&Command::Open(ROOM.try_into().unwrap())));
}

#[test]
fn a_message_stays_selected_when_the_server_has_it() {
    let mut screen = open_room(80, 20);
    screen.tell([
        events([text(1, "@bob:example.org", "before")]),
        delta(echo("t1", "mine", SendState::Sending)),
    ]);
    screen.press("tab");
    assert!(screen.text().contains("▌13:41 Ana  mine"), "{}", screen.text());
    let mut stored = text(2, OWN, "mine");
    stored.event.unsigned.transaction_id = Some("t1".into());
    screen.tell([events([stored])]);
    let seen = screen.text();
    assert!(seen.lines().any(|row| row.contains('▌') && row.contains("Ana  mine")), "{seen}");
}

#[test]
fn a_message_is_sent_as_markdown_and_mentions_whom_it_names() {
    let mut screen = open_room(80, 20);
    screen.press("'hello **@bob:example.org**' enter");
    let (_, sent) = sent(&mut screen).remove(0);
    assert_eq!(sent["formatted_body"], "hello <strong>@bob:example.org</strong>");
    assert_eq!(sent["m.mentions"]["user_ids"], json!([BOB]));
}

#[test]
fn a_message_too_long_with_its_formatting_goes_without_and_one_too_long_stays() {
    let mut screen = open_room(80, 20);
    screen.input(Input::Paste("**a** ".repeat(5000)));
    screen.press("enter");
    assert!(sent(&mut screen)[0].1.get("formatted_body").is_none());
    screen.input(Input::Paste("\"".repeat(40_000)));
    screen.press("enter");
    assert_eq!(sent(&mut screen), []);
    assert!(screen.text().contains("too long for one message"));
}

#[test]
fn ctrl_c_takes_back_a_reply_before_it_asks_to_quit() {
    let mut screen = open_room(80, 20);
    screen.tell([events([text(1, "@bob:example.org", "hi")])]);
    screen.press("tab r");
    assert!(screen.text().contains("replying to Bob"));
    screen.press("ctrl-c");
    let seen = screen.text();
    assert!(!seen.contains("replying to") && !seen.contains("Quit grotto?"), "{seen}");
    screen.press("ctrl-c");
    assert!(screen.text().contains("Quit grotto?"));
}

#[test]
fn page_keys_turn_the_pages_of_the_help() {
    let mut screen = open_room(80, 24);
    screen.press("f1");
    assert!(screen.text().contains("Shows all keys."));
    screen.press("pagedown");
    let second = screen.text();
    assert!(!second.contains("Shows all keys.") && second.contains("Writing"), "{second}");
    screen.press("pageup");
    assert!(screen.text().contains("Shows all keys."));
}

#[test]
fn the_help_turns_back_at_once_from_its_end() {
    let mut screen = open_room(80, 24);
    screen.press("f1");
    for _ in 0..40 {
        screen.press("pagedown");
    }
    let end = screen.text();
    screen.press("pagedown");
    assert_eq!(screen.text(), end);
    screen.press("up");
    assert_ne!(screen.text(), end);
}

#[test]
fn the_first_room_opens_once_it_is_known_and_only_then() {
    let first = room("!first:x", "First");
    let options = TuiOptions {
        first_room: Some(first.room_id.clone()),
        ..TuiOptions::new(OWN.try_into().unwrap())
    };
    let mut state = State::new(options, Size { width: 80, height: 24 }, 1);
    let mut tell = |rooms| update(&mut state, Input::Update(Update::Rooms(rooms)), NOON).commands;
    assert_eq!(tell(vec![room("!other:x", "Other")]), []);
    let id = first.room_id.clone();
    assert_eq!(tell(vec![first.clone()]), [Command::Open(id.clone()), Command::Visit(id)]);
    assert_eq!(tell(vec![first]), [], "later the user is where they went");
}

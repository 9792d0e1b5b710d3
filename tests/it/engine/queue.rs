//! The messages of a room on their way out: order, retries, crashes, and never in clear by mistake.

use super::*;

#[test]
fn the_messages_of_a_room_leave_one_by_one_in_order() {
    let (mut bench, first) = Bench::with_two_messages();
    bench.answer(first.id, 200, &json!({ "event_id": "$one" }));
    assert_eq!(names(&bench.sends()), ["two"]);
}

#[test]
fn a_rate_limit_is_waited_out_and_overtakes_nothing() {
    let (mut bench, first) = Bench::with_two_messages();
    let limit = json!({ "errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 3_000 });
    bench.answer(first.id, 429, &limit);
    bench.now = Timestamp(bench.now.0 + 2_900);
    bench.input(Input::Tick);
    assert!(bench.sends().is_empty());
    bench.now = Timestamp(bench.now.0 + 200);
    bench.input(Input::Tick);
    assert_eq!(names(&bench.sends()), ["one"]);
}

/// A typing notice wakes everybody in the room; the homeserver would answer them before it takes the
/// message.
#[test]
fn that_one_stopped_typing_is_told_after_the_message_and_without_one_at_once() {
    let (mut bench, room) = Bench::in_clear_room();
    let types = |bench: &mut Bench, typing| {
        let command = Command::Typing { room: room.clone(), typing };
        bench.input(Input::Command { face: FACE, command });
    };
    let told = |bench: &mut Bench| {
        let calls = bench.frames.iter().filter_map(|frame| match frame {
            ClientFrame::Request(call) if call.path.contains("/typing/") => Some(call.clone()),
            _ => None,
        });
        let told = calls.collect::<Vec<_>>();
        bench.frames.clear();
        told
    };
    types(&mut bench, true);
    let began = told(&mut bench);
    bench.answer(began[0].id, 200, &json!({}));
    bench.send(&room, "one");
    let message = bench.sends();
    types(&mut bench, false);
    assert_eq!(told(&mut bench).len(), 0);
    bench.answer(message[0].id, 200, &json!({ "event_id": "$one" }));
    let stopped = told(&mut bench);
    assert_eq!(stopped.len(), 1);
    bench.answer(stopped[0].id, 200, &json!({}));
    types(&mut bench, true);
    types(&mut bench, false);
    let again = told(&mut bench);
    bench.answer(again[0].id, 200, &json!({}));
    assert_eq!(told(&mut bench).len(), 1);
}

#[test]
fn a_refused_message_fails_and_the_next_one_goes_on() {
    let (mut bench, first) = Bench::with_two_messages();
    bench.answer(first.id, 403, &json!({ "errcode": "M_FORBIDDEN", "error": "no" }));
    assert_eq!(names(&bench.sends()), ["two"]);
    let failed = bench.echoes.iter().any(|(txn, state)| {
        txn == "one" && matches!(state, SendState::Failed(error) if error.code == "M_FORBIDDEN")
    });
    assert!(failed, "{:?}", bench.echoes);
}

#[test]
fn a_resent_line_keeps_its_transaction_id_and_its_bytes() {
    let (mut bench, room) = Bench::in_clear_room();
    bench.send(&room, "one");
    let first = bench.sends();
    bench.lose_link();
    bench.connect();
    let again = bench.sends();
    let text = |it: &RequestFrame| (it.path.clone(), it.body.as_ref().unwrap().get().to_owned());
    assert_eq!(text(&first[0]), text(&again[0]));
}

#[test]
fn a_line_typed_before_a_crash_leaves_after_it() {
    let (mut bench, room) = Bench::in_clear_room();
    bench.lose_link();
    bench.send(&room, "one");
    let mut bench = bench.restart();
    bench.connect();
    assert_eq!(names(&bench.sends()), ["one"]);
}

#[test]
fn the_remote_echo_ends_a_message_whose_answer_was_lost() {
    let (mut bench, room) = Bench::in_clear_room();
    bench.send(&room, "one");
    bench.lose_link();
    bench.sends();
    bench.dial();
    let echo = json!({
        "type": "m.room.message", "sender": ME, "event_id": "$one", "origin_server_ts": 2,
        "content": { "msgtype": "m.text", "body": "one" }, "unsigned": { "transaction_id": "one" },
    });
    bench.sync(&room, &[echo]);
    assert!(bench.store.outbox().unwrap().is_empty());
    assert!(matches!(bench.echoes.last(), Some((_, SendState::Sent(_)))));
}

#[test]
fn who_asks_for_a_message_that_is_sent_already_learns_its_event() {
    let (mut bench, room) = Bench::in_clear_room();
    bench.send(&room, "one");
    let call = bench.sends().remove(0);
    bench.answer(call.id, 200, &json!({ "event_id": "$one" }));
    for (txn, expected) in [("one", Some("$one")), ("other", None)] {
        bench.request(Request::AwaitSent { txn: txn.into() });
        let Some(Update::Outcome { result, .. }) = bench.updates.last() else { panic!("no end") };
        let event = match result {
            Ok(Outcome::Sent { event_id }) => Some(event_id.as_str()),
            Ok(other) => panic!("{other:?}"),
            Err(_) => None,
        };
        assert_eq!(event, expected, "{txn}");
    }
}

/// Ids are the server's to give: those of our messages must not end by an event that cannot be
/// theirs.
#[test]
fn an_event_of_another_sender_or_room_does_not_pass_for_our_message() {
    let (mut bench, room) = Bench::in_clear_room();
    bench.send(&room, "one");
    let bearing = |id: &str, sender: &str| {
        let mut event = message(id, sender);
        event["unsigned"] = json!({ "transaction_id": "one" });
        event
    };
    bench.sync(&room, &[bearing("$theirs", "@other:hs")]);
    bench.sync(&"!other:hs".try_into().unwrap(), &[bearing("$elsewhere", ME)]);
    assert_eq!(bench.store.outbox().unwrap().len(), 1);
    bench.sync(&room, &[bearing("$one", ME)]);
    assert!(bench.store.outbox().unwrap().is_empty());
}

#[test]
fn a_line_queued_in_clear_is_not_sent_so_once_the_room_is_encrypted() {
    let (mut bench, room) = Bench::in_clear_room();
    bench.send(&room, "one");
    bench.lose_link();
    bench.sends();
    bench.dial();
    assert!(bench.sends().is_empty(), "nothing leaves before we know what happened meanwhile");
    let encryption = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
    bench.sync(&room, &[state("m.room.encryption", "", encryption)]);
    bench.lose_link();
    bench.sends();
    bench.connect();
    let kinds: Vec<String> = bench.sends().into_iter().map(|it| it.path).collect();
    assert!(kinds.iter().all(|path| path.contains("/send/m.room.encrypted/")), "{kinds:?}");
    let rows = bench.store.outbox().unwrap();
    assert!(!matches!(rows[0].state, OutboxState::Failed(_)), "{rows:?}");
}

#[test]
fn nothing_is_sent_to_a_room_one_is_not_in() {
    let (mut bench, _) = Bench::in_clear_room();
    bench.send(&"!other:hs".try_into().unwrap(), "one");
    assert!(bench.sends().is_empty());
    let rows = bench.store.outbox().unwrap();
    assert!(matches!(&rows[0].state, OutboxState::Failed(error) if error.code == "not_joined"));
}

#[test]
fn the_server_is_asked_before_the_first_line_leaves_in_clear() {
    let (mut bench, room) = Bench::in_clear_room();
    bench.encryption = (200, json!({ "algorithm": "m.megolm.v1.aes-sha2" }));
    bench.send(&room, "one");
    assert!(bench.sends().is_empty());
    assert!(bench.store.rooms().unwrap()[0].summary.encrypted);
    let mut bench = bench.restart();
    bench.encryption = (404, json!({ "errcode": "M_NOT_FOUND" }));
    bench.connect();
    let clear = |call: &RequestFrame| !call.path.contains("/send/m.room.encrypted/");
    assert!(!bench.sends().iter().any(clear));
}

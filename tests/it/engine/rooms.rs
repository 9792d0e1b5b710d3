//! What the engine knows of its rooms: those there are, who is in them, how far they were read.

use super::*;

#[test]
fn a_position_is_on_disk_in_the_step_that_acknowledges_it() {
    let (mut bench, room) = Bench::in_clear_room();
    bench.frames.clear();
    bench.sync(&room, &[]);
    let acknowledged: Vec<_> = bench
        .frames
        .iter()
        .filter_map(|frame| match frame {
            ClientFrame::Ack(position) => Some(position.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(acknowledged, bench.store.position().unwrap().into_iter().collect::<Vec<_>>());
}

#[test]
fn clear_text_that_calls_itself_redacted_is_marked_in_an_encrypted_room() {
    let (mut bench, room) = Bench::in_clear_room();
    let encryption = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
    let mut forged = message("$forged", "@other:hs");
    forged["unsigned"] = json!({ "redacted_because": { "type": "m.room.redaction" } });
    bench.sync(&room, &[state("m.room.encryption", "", encryption), forged]);
    let stored =
        bench.store.event(&room, &OwnedEventId::try_from("$forged").unwrap()).unwrap().unwrap();
    assert_eq!(stored.shield(), Shield::Red(ShieldReason::SentInClear));
}

#[test]
fn what_was_read_on_another_device_is_read_here_too_also_after_a_restart() {
    let (mut bench, room) = Bench::in_clear_room();
    bench.sync(&room, &[message("$1", "@b:hs"), message("$2", "@b:hs")]);
    let marker = json!({ "type": "m.fully_read", "content": { "event_id": "$1" } });
    let body = json!({ "account_data": { "events": [marker] } });
    bench.update(&json!({ "rooms": { "join": { room.as_str(): body } } }));
    assert_eq!(markers(&mut bench), ["$1"]);
    let mut bench = bench.restart();
    bench.input(Input::Command { face: FACE, command: Command::Open(room) });
    assert_eq!(markers(&mut bench), ["$1"]);
}

#[test]
fn reading_moves_the_marker_here_and_on_the_server_and_never_back() {
    let (mut bench, room) = Bench::in_clear_room();
    bench.sync(&room, &[message("$1", "@b:hs"), message("$2", "@b:hs")]);
    bench.frames.clear();
    for event in ["$2", "$1"] {
        let event = event.try_into().unwrap();
        let command = Command::MarkRead { room: room.clone(), event, receipt: Receipt::Public };
        bench.input(Input::Command { face: FACE, command });
    }
    assert_eq!(markers(&mut bench), ["$2"]);
    let told: Vec<Value> = bench
        .frames
        .iter()
        .filter_map(|frame| match frame {
            ClientFrame::Request(call) if call.path.ends_with("/read_markers") => {
                serde_json::from_str(call.body.as_ref()?.get()).ok()
            }
            _ => None,
        })
        .collect();
    assert_eq!(told, [json!({ "m.fully_read": "$2", "m.read": "$2" })]);
}

#[test]
fn who_keeps_receipts_back_still_has_read_it() {
    let (mut bench, room) = Bench::in_clear_room();
    bench.sync(&room, &[message("$1", "@b:hs")]);
    let event = "$1".try_into().unwrap();
    let command = Command::MarkRead { room, event, receipt: Receipt::Private };
    bench.input(Input::Command { face: FACE, command });
    let body = bench.call("/read_markers").body.unwrap();
    let body: Value = serde_json::from_str(body.get()).unwrap();
    assert_eq!(body, json!({ "m.fully_read": "$1", "m.read.private": "$1" }));
}

#[test]
fn a_list_of_members_from_before_a_gap_is_asked_for_anew() {
    let (mut bench, room) = Bench::in_clear_room();
    bench.encryption = (200, json!({ "algorithm": "m.megolm.v1.aes-sha2" }));
    bench.connect();
    bench.send(&room, "one");
    let before = bench.call("/members");
    let timeline = json!({ "events": [message("$9", ME)], "limited": true, "prev_batch": "t1" });
    bench.update(&json!({ "rooms": { "join": { room.as_str(): { "timeline": timeline } } } }));
    let gone = state("m.room.member", "@gone:hs", json!({ "membership": "join" }));
    let me = state("m.room.member", ME, json!({ "membership": "join" }));
    bench.answer(before.id, 200, &json!({ "chunk": [gone, me] }));
    let after = bench.call("/members");
    assert_ne!(before.id, after.id, "the list of before the gap was taken");
    bench.answer(after.id, 200, &json!({ "chunk": [me] }));
    assert_eq!(bench.store.rooms().unwrap()[0].summary.members, 1);
}

#[test]
fn a_room_one_leaves_is_gone_with_what_was_said_and_typed() {
    let (mut bench, room) = Bench::in_clear_room();
    bench.sync(&room, &[message("$1", "@b:hs")]);
    bench.send(&room, "unsent");
    bench.request(Request::Leave { room: room.clone() });
    let call = bench.call("/leave");
    bench.answer(call.id, 200, &json!({}));
    assert!(bench.told_gone(&room));
    bench.leaves(&room, ME);
    assert_eq!(bench.listed(), []);
    assert_eq!(bench.store.newest(&room, 9).unwrap(), []);
    assert!(bench.store.outbox().unwrap().is_empty());
}

#[test]
fn word_of_a_key_does_not_bring_back_what_was_said_in_a_room_that_one_leaves() {
    let (mut bench, room) = Bench::in_clear_room();
    let content = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
    let mut group =
        vodozemac::megolm::GroupSession::new(vodozemac::megolm::SessionConfig::version_1());
    let mut unread = message("$1", "@b:hs");
    unread["type"] = "m.room.encrypted".into();
    unread["content"] = json!({
        "algorithm": "m.megolm.v1.aes-sha2",
        "session_id": group.session_id(),
        "ciphertext": group.encrypt("hi").to_base64(),
    });
    bench.sync(&room, &[state("m.room.encryption", "", content), unread]);
    let withheld = json!({ "type": "m.room_key.withheld", "sender": "@b:hs", "content": {
        "algorithm": "m.megolm.v1.aes-sha2", "code": "m.unverified", "room_id": room,
        "session_id": group.session_id(),
    } });
    let leave = state("m.room.member", ME, json!({ "membership": "leave" }));
    let timeline = json!({ "timeline": { "events": [leave], "limited": false } });
    bench.update(&json!({
        "rooms": { "leave": { room.as_str(): timeline } },
        "to_device": { "events": [withheld] },
    }));
    assert_eq!(bench.listed(), []);
    assert_eq!(bench.store.newest(&room, 9).unwrap(), []);
}

#[test]
fn a_room_one_leaves_with_another_device_is_gone_too() {
    let (mut bench, room) = Bench::in_clear_room();
    bench.leaves(&room, ME);
    assert!(bench.told_gone(&room));
    assert_eq!(bench.listed(), []);
}

#[test]
fn a_room_one_was_put_out_of_stays_to_be_read_until_it_is_left() {
    let (mut bench, room) = Bench::in_clear_room();
    bench.leaves(&room, "@b:hs");
    assert_eq!(bench.listed(), [(room.to_string(), Membership::Leave)]);
    bench.request(Request::Leave { room: room.clone() });
    let call = bench.call("/forget");
    bench.answer(call.id, 200, &json!({}));
    assert_eq!(bench.listed(), []);
}

#[test]
fn an_invite_that_is_taken_back_is_gone() {
    let (mut bench, joined) = Bench::in_clear_room();
    let room: OwnedRoomId = "!invite:hs".try_into().unwrap();
    bench.invited(&room);
    assert!(bench.listed().contains(&(room.to_string(), Membership::Invite)));
    bench.leaves(&room, "@b:hs");
    assert_eq!(bench.listed(), [(joined.to_string(), Membership::Join)]);
}

#[test]
fn a_new_start_of_the_stream_replaces_the_state_and_ends_rooms_it_does_not_name() {
    let (mut bench, room) = Bench::in_clear_room();
    let topic = json!({ "topic": "old" });
    bench.sync(&room, &[state("m.room.topic", "", topic)]);
    let other: OwnedRoomId = "!other:hs".try_into().unwrap();
    bench.sync(&other, &[state("m.room.create", "", json!({}))]);
    let mut bench = bench.without_position();
    bench.input(Input::Tick);
    bench.input(Input::LinkUp);
    let create = state("m.room.create", "", json!({ "room_version": "11" }));
    let body = json!({ "state": { "events": [create] }, "timeline": { "limited": true } });
    bench.update(&json!({ "rooms": { "join": { room.as_str(): body } } }));
    let topics: Vec<_> =
        bench.store.rooms().unwrap().into_iter().map(|row| row.summary.topic).collect();
    assert_eq!(topics, [None, None]);
    let memberships: Vec<_> = bench.listed().into_iter().map(|(_, it)| it).collect();
    assert_eq!(memberships, [Membership::Leave, Membership::Join]);
    let bench = bench.restart();
    assert!(bench.store.state(&room).unwrap().iter().all(|event| event.kind != "m.room.topic"));
}

#[test]
fn who_spoke_long_ago_has_a_name_but_is_no_member() {
    let (mut bench, room) = Bench::in_clear_room();
    let timeline = json!({
        "events": [message("$9", "@b:hs")], "limited": true, "prev_batch": "t1",
    });
    let body = json!({ "timeline": timeline });
    bench.update(&json!({ "rooms": { "join": { room.as_str(): body } } }));
    let before = bench.store.gaps(&room).unwrap()[0].position;
    let older = Command::LoadOlder { room: room.clone(), before, limit: 9 };
    bench.input(Input::Command { face: FACE, command: older });
    let member = |user: &str, name: &str| {
        let content = json!({ "membership": "join", "displayname": name });
        state("m.room.member", user, content)
    };
    let call = bench.call("/messages");
    bench.answer(
        call.id,
        200,
        &json!({
            "chunk": [message("$8", "@gone:hs")],
            "state": [member("@gone:hs", "Gone"), member(ME, "Old me")],
        }),
    );
    assert_eq!(bench.names().get("@gone:hs").map(String::as_str), Some("Gone"));
    assert_eq!(bench.names().get(ME).map(String::as_str), Some(ME));
    assert_eq!(bench.store.rooms().unwrap()[0].summary.members, 1);
    let mut bench = bench.restart();
    bench.input(Input::Command { face: FACE, command: Command::Open(room) });
    assert_eq!(bench.names().get("@gone:hs").map(String::as_str), Some("Gone"));
}

#[test]
fn a_gap_without_a_token_is_filled_from_the_event_after_it() {
    let (mut bench, room) = Bench::in_clear_room();
    let timeline = json!({ "events": [message("$9", "@b:hs")], "limited": true });
    let body = json!({ "timeline": timeline });
    bench.update(&json!({ "rooms": { "join": { room.as_str(): body } } }));
    let before = bench.store.gaps(&room).unwrap()[0].position;
    let older = Command::LoadOlder { room: room.clone(), before, limit: 9 };
    bench.input(Input::Command { face: FACE, command: older });
    let call = bench.call("/context/%249");
    bench.answer(call.id, 200, &json!({ "event": message("$9", "@b:hs"), "start": "t7" }));
    bench.input(Input::Tick);
    let call = bench.call("/messages");
    assert!(call.query.contains(&("from".to_owned(), "t7".to_owned())), "{:?}", call.query);
    bench.answer(call.id, 200, &json!({ "chunk": [message("$8", "@b:hs")] }));
    let stored = bench.store.newest(&room, 2).unwrap();
    let ids: Vec<_> = stored.iter().filter_map(|it| it.id()).map(|id| id.as_str()).collect();
    assert_eq!(ids, ["$8", "$9"]);
    assert!(bench.store.gaps(&room).unwrap().is_empty());
}

// she came in a gap, so that no event tells of her.
#[test]
fn whoever_came_in_a_gap_is_told_before_anything_is_written() {
    let (mut bench, room) = Bench::in_clear_room();
    let encryption = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
    bench.sync(&room, &[state("m.room.encryption", "", encryption)]);
    bench.send(&room, "one");
    let joined = |users: &[&str]| {
        let join = |user: &&str| state("m.room.member", user, json!({ "membership": "join" }));
        json!({ "chunk": users.iter().map(join).collect::<Vec<_>>() })
    };
    let call = bench.call("/members");
    bench.answer(call.id, 200, &joined(&[ME, "@b:hs"]));
    assert_eq!(newcomers(&mut bench), [] as [&str; 0], "nobody is new at first");
    // Nothing waits to be sent that would need the list.
    bench.input(Input::Command { face: FACE, command: Command::Discard("one".into()) });

    bench.frames.clear();
    let timeline = json!({ "events": [message("$late", "@b:hs")], "limited": true });
    let changes = json!({ "timeline": timeline });
    bench.update(&json!({ "rooms": { "join": { room.as_str(): changes } } }));
    let call = bench.call("/members");
    bench.answer(call.id, 200, &joined(&[ME, "@b:hs", "@eve:hs"]));
    assert_eq!(newcomers(&mut bench), ["@eve:hs"]);
    let mut bench = bench.restart();
    bench.input(Input::Command { face: FACE, command: Command::Open(room.clone()) });
    assert_eq!(newcomers(&mut bench), ["@eve:hs"]);
    bench.send(&room, "two");
    assert_eq!(newcomers(&mut bench), [] as [&str; 0], "who writes has seen it");
}

/// Whom a face was told of last as new in a room.
fn newcomers(bench: &mut Bench) -> Vec<String> {
    let told = bench.updates.iter().rev().find_map(|update| match update {
        Update::RoomTrust(trust) => Some(trust.newcomers.clone()),
        _ => None,
    });
    told.unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[test]
fn a_screen_that_comes_later_is_told_where_the_user_was_last() {
    let (mut bench, room) = Bench::in_clear_room();
    let told = |bench: &Bench| {
        let visited = |update: &Update| match update {
            Update::LastVisited(room) => Some(room.clone()),
            _ => None,
        };
        bench.updates.iter().filter_map(visited).collect::<Vec<_>>()
    };
    assert!(told(&bench).is_empty());
    bench.input(Input::Command { face: FACE, command: Command::Visit(room.clone()) });
    let bench = bench.restart();
    assert_eq!(told(&bench), [room]);
}

/// What is asked to be a direct chat.
fn named_direct(bench: &Bench) -> Vec<Value> {
    let calls = bench.frames.iter().filter_map(|frame| match frame {
        ClientFrame::Request(call) if call.path.ends_with("/account_data/m.direct") => {
            call.body.as_ref()
        }
        _ => None,
    });
    calls.map(|body| serde_json::from_str(body.get()).unwrap()).collect()
}

#[test]
fn a_direct_chat_that_is_accepted_is_named_as_one_though_the_program_dies_meanwhile() {
    let room: OwnedRoomId = "!dm:hs".try_into().unwrap();
    let joins = || {
        let create = state("m.room.create", "", json!({ "room_version": "11" }));
        [create, state("m.room.member", ME, json!({ "membership": "join" }))]
    };
    let nothing = json!({ "errcode": "M_NOT_FOUND" });
    let expected = [json!({ "@b:hs": ["!dm:hs"] })];
    for dies_before_it_is_there in [true, false] {
        let (mut bench, _) = Bench::in_clear_room();
        bench.invited_directly(&room);
        bench.request(Request::Join { room: room.to_string() });
        if !dies_before_it_is_there {
            bench.sync(&room, &joins());
        }
        let mut bench = bench.restart();
        bench.input(Input::Tick);
        bench.input(Input::LinkUp);
        if dies_before_it_is_there {
            bench.sync(&room, &joins());
        } else {
            bench.update(&json!({}));
        }
        let read = bench.call("/account_data/m.direct");
        bench.answer(read.id, 404, &nothing);
        assert_eq!(named_direct(&bench), expected);
        // It dies again before the server has it, and once more when it has.
        let mut bench = bench.restart();
        bench.connect();
        let read = bench.call("/account_data/m.direct");
        bench.answer(read.id, 404, &nothing);
        assert_eq!(named_direct(&bench), expected);
        let write = bench.call("/account_data/m.direct");
        bench.answer(write.id, 200, &json!({}));
        let mut bench = bench.restart();
        bench.connect();
        assert!(named_direct(&bench).is_empty());
        let asks = |frame: &ClientFrame| matches!(frame, ClientFrame::Request(call) if call.path.ends_with("/account_data/m.direct"));
        assert!(!bench.frames.iter().any(asks), "it is done once");
    }
}

#[test]
fn a_direct_chat_is_none_where_the_user_is_not() {
    let (mut bench, room) = Bench::in_clear_room();
    let direct = json!({ "type": "m.direct", "content": { "@b:hs": [room] } });
    bench.update(&json!({ "account_data": { "events": [direct] } }));
    let found = |bench: &mut Bench| {
        bench.updates.clear();
        bench.request(Request::Find { name: "@b:hs".to_owned() });
        let outcome = bench.updates.iter().find_map(|update| match update {
            Update::Outcome { result, .. } => Some(result.is_ok()),
            _ => None,
        });
        outcome.unwrap()
    };
    assert!(!found(&mut bench), "they never came");
    for (membership, is_there) in
        [("invite", true), ("join", true), ("leave", false), ("join", true), ("ban", false)]
    {
        let member = state("m.room.member", "@b:hs", json!({ "membership": membership }));
        bench.sync(&room, &[member]);
        assert_eq!(found(&mut bench), is_there, "{membership}");
    }
}

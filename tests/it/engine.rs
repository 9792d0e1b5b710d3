//! The engine alone: inputs in, steps out. What has two parties is the simulator's.

use std::collections::BTreeMap;

use grotto::{
    e2ee::{Shield, ShieldReason},
    engine::{
        Command, CommandId, Draft, Engine, FaceId, Faces, Input, Outcome, Outgoing, Receipt,
        Request, Update,
    },
    matrix::{Membership, OwnedEventId, OwnedRoomId, Position},
    rooms::{SendState, TimelineDelta},
    secret::Secret,
    store::{Account, OutboxState, Pending, Store, Writes},
    time::Timestamp,
    wire::{ClientFrame, RequestFrame, ResponseFrame, ServerFrame, UpdateFrame},
};
use serde_json::{Value, json, value::to_raw_value};

const ME: &str = "@me:hs";
const FACE: FaceId = FaceId(1);

/// An engine on a store, with what it released so far.
struct Bench {
    store: Store,
    engine: Engine,
    now: Timestamp,
    frames: Vec<ClientFrame>,
    echoes: Vec<(String, SendState)>,
    updates: Vec<Update>,
    /// What the server says when it is asked whether a room is encrypted; the call is not counted.
    encryption: (u16, Value),
    position: Option<Position>,
}

impl Bench {
    /// Online, in a room that is not encrypted, which the face has open.
    fn in_clear_room() -> (Self, OwnedRoomId) {
        let account = Account {
            user_id: ME.try_into().unwrap(),
            device_id: "DEVICE".into(),
            homeserver: "https://hs".to_owned(),
            stream_url: None,
            access_token: Secret::new("token".to_owned()),
        };
        let mut bench = Self::on(Store::in_memory(&account).unwrap());
        bench.connect();
        let room: OwnedRoomId = "!room:hs".try_into().unwrap();
        let create = state("m.room.create", "", json!({ "room_version": "11" }));
        let join = state("m.room.member", ME, json!({ "membership": "join" }));
        bench.sync(&room, &[create, join]);
        bench.input(Input::Command { face: FACE, command: Command::Open(room.clone()) });
        (bench, room)
    }

    /// The same after `one` and `two` were typed; the first has left.
    fn with_two_messages() -> (Self, RequestFrame) {
        let (mut bench, room) = Self::in_clear_room();
        bench.send(&room, "one");
        bench.send(&room, "two");
        let mut sends = bench.sends();
        assert_eq!(names(&sends), ["one"]);
        (bench, sends.remove(0))
    }

    fn on(mut store: Store) -> Self {
        let now = Timestamp(1_700_000_000_000);
        let opened = Engine::open(&store, Faces::default(), now).unwrap();
        let (engine, _) = store.commit(opened).unwrap();
        let position = store.position().unwrap();
        let (frames, echoes, updates) = (Vec::new(), Vec::new(), Vec::new());
        let encryption = (404, json!({ "errcode": "M_NOT_FOUND" }));
        let mut bench = Self { store, engine, now, frames, echoes, updates, encryption, position };
        bench.input(Input::FaceCame(FACE));
        bench
    }

    /// The process dies and starts again.
    fn restart(self) -> Self {
        Self::on(self.store)
    }

    /// On a store with the same rooms and state that lost its place in the stream.
    fn without_position(self) -> Self {
        let mut writes = Writes { rooms: self.store.rooms().unwrap(), ..Writes::default() };
        for row in &writes.rooms {
            let room = &row.summary.room_id;
            let state = self.store.state(room).unwrap().into_iter();
            writes.state.extend(state.map(|event| (room.clone(), event)));
        }
        let mut store = Store::in_memory(self.store.account()).unwrap();
        store.commit(Pending::new(writes, ())).unwrap();
        Self::on(store)
    }

    fn connect(&mut self) {
        self.input(Input::Tick);
        self.input(Input::LinkUp);
        self.update(&json!({}));
    }

    fn input(&mut self, input: Input) -> Outgoing {
        let step = self.engine.handle(input, self.now, &self.store).unwrap();
        let mut out = self.store.commit(step).unwrap();
        let asks = |frame: &&ClientFrame| matches!(frame, ClientFrame::Request(call) if call.path.ends_with("/state/m.room.encryption"));
        let asked = out.frames.iter().find(asks).cloned();
        self.frames.append(&mut out.frames);
        for (_, update) in &out.updates {
            self.updates.push(update.clone());
            if let Update::Timeline { delta: TimelineDelta::Echo(echo), .. } = update {
                self.echoes.push((echo.txn.to_string(), echo.state.clone()));
            }
        }
        if let Some(ClientFrame::Request(call)) = asked {
            let (status, body) = self.encryption.clone();
            self.answer(call.id, status, &body);
        }
        out
    }

    fn update(&mut self, body: &Value) {
        let next = self.position.as_ref().map_or(0, |it| it.0[1..].parse::<u64>().unwrap()) + 1;
        let position = Position(format!("s{next}"));
        let since = self.position.replace(position.clone());
        let body = to_raw_value(body).unwrap();
        self.input(Input::Frame(ServerFrame::Update(UpdateFrame { position, since, body })));
    }

    fn sync(&mut self, room: &OwnedRoomId, events: &[Value]) {
        let timeline = json!({ "timeline": { "events": events, "limited": false } });
        self.update(&json!({ "rooms": { "join": { room.as_str(): timeline } } }));
    }

    fn send(&mut self, room: &OwnedRoomId, txn: &str) {
        let content = json!({ "msgtype": "m.text", "body": txn });
        let draft = Draft {
            room: room.clone(),
            txn: txn.into(),
            kind: "m.room.message".to_owned(),
            content: content.as_object().unwrap().clone(),
        };
        self.input(Input::Command { face: FACE, command: Command::Send(draft) });
    }

    fn answer(&mut self, id: u64, status: u16, body: &Value) {
        let body = to_raw_value(body).unwrap();
        let (retry_after, download) = (None, None);
        let response = ResponseFrame { id, status, body, retry_after, download };
        self.input(Input::Frame(ServerFrame::Response(response)));
    }

    fn request(&mut self, request: Request) {
        let command = Command::Request { id: CommandId(1), request };
        self.input(Input::Command { face: FACE, command });
    }

    /// The last call released whose path ends so.
    fn call(&self, end: &str) -> RequestFrame {
        let mut calls = self.frames.iter().rev().filter_map(|frame| match frame {
            ClientFrame::Request(call) if call.path.ends_with(end) => Some(call.clone()),
            _ => None,
        });
        calls.next().unwrap_or_else(|| panic!("no call of {end}"))
    }

    fn leaves(&mut self, room: &OwnedRoomId, by: &str) {
        let mut leave = state("m.room.member", ME, json!({ "membership": "leave" }));
        leave["sender"] = by.into();
        leave["event_id"] = format!("$left-by-{by}").into();
        let timeline = json!({ "timeline": { "events": [leave], "limited": false } });
        self.update(&json!({ "rooms": { "leave": { room.as_str(): timeline } } }));
    }

    fn invited(&mut self, room: &OwnedRoomId) {
        let mut invite = state("m.room.member", ME, json!({ "membership": "invite" }));
        invite["sender"] = "@b:hs".into();
        let body = json!({ "invite_state": { "events": [invite] } });
        self.update(&json!({ "rooms": { "invite": { room.as_str(): body } } }));
    }

    /// The rooms listed on disk and our membership.
    fn listed(&self) -> Vec<(String, Membership)> {
        let rows = self.store.rooms().unwrap().into_iter();
        rows.map(|row| (row.summary.room_id.to_string(), row.summary.membership)).collect()
    }

    fn told_gone(&self, room: &OwnedRoomId) -> bool {
        self.updates.iter().any(|it| matches!(it, Update::RoomsGone(gone) if gone.contains(room)))
    }

    /// The names told last.
    fn names(&self) -> BTreeMap<String, String> {
        let told = self.updates.iter().rev().find_map(|update| match update {
            Update::Members { names, .. } => Some(names.clone()),
            _ => None,
        });
        let told = told.unwrap_or_default().into_iter();
        told.map(|(user, name)| (user.to_string(), name)).collect()
    }

    /// The send calls released since the last look.
    fn sends(&mut self) -> Vec<RequestFrame> {
        let frames = std::mem::take(&mut self.frames).into_iter();
        let requests = frames.filter_map(|frame| match frame {
            ClientFrame::Request(request) if request.path.contains("/send/") => Some(request),
            _ => None,
        });
        requests.collect()
    }
}

fn state(kind: &str, key: &str, content: Value) -> Value {
    json!({
        "type": kind, "state_key": key, "content": content, "sender": ME,
        "event_id": format!("${kind}{key}"), "origin_server_ts": 1,
    })
}

fn names(requests: &[RequestFrame]) -> Vec<&str> {
    requests.iter().map(|it| it.path.rsplit('/').next().unwrap()).collect()
}

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
    bench.input(Input::LinkLost { reason: "cut".to_owned(), draw: 0.0 });
    bench.connect();
    let again = bench.sends();
    let text = |it: &RequestFrame| (it.path.clone(), it.body.as_ref().unwrap().get().to_owned());
    assert_eq!(text(&first[0]), text(&again[0]));
}

#[test]
fn a_line_typed_before_a_crash_leaves_after_it() {
    let (mut bench, room) = Bench::in_clear_room();
    bench.input(Input::LinkLost { reason: "cut".to_owned(), draw: 0.0 });
    bench.send(&room, "one");
    let mut bench = bench.restart();
    bench.connect();
    assert_eq!(names(&bench.sends()), ["one"]);
}

#[test]
fn the_remote_echo_ends_a_message_whose_answer_was_lost() {
    let (mut bench, room) = Bench::in_clear_room();
    bench.send(&room, "one");
    bench.input(Input::LinkLost { reason: "cut".to_owned(), draw: 0.0 });
    bench.sends();
    bench.input(Input::Tick);
    bench.input(Input::LinkUp);
    let echo = json!({
        "type": "m.room.message", "sender": ME, "event_id": "$one", "origin_server_ts": 2,
        "content": { "msgtype": "m.text", "body": "one" }, "unsigned": { "transaction_id": "one" },
    });
    bench.sync(&room, &[echo]);
    assert!(bench.store.outbox().unwrap().is_empty());
    assert!(matches!(bench.echoes.last(), Some((_, SendState::Sent(_)))));
}

/// Ids are the server's to give: those of our messages must not end by an event that cannot be
/// theirs.
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
fn a_line_queued_in_clear_is_not_sent_so_once_the_room_is_encrypted() {
    let (mut bench, room) = Bench::in_clear_room();
    bench.send(&room, "one");
    bench.input(Input::LinkLost { reason: "cut".to_owned(), draw: 0.0 });
    bench.sends();
    bench.input(Input::Tick);
    bench.input(Input::LinkUp);
    assert!(bench.sends().is_empty(), "nothing leaves before we know what happened meanwhile");
    let encryption = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
    bench.sync(&room, &[state("m.room.encryption", "", encryption)]);
    bench.input(Input::LinkLost { reason: "cut".to_owned(), draw: 0.0 });
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

fn message(id: &str, sender: &str) -> Value {
    json!({
        "type": "m.room.message", "sender": sender, "event_id": id, "origin_server_ts": 2,
        "content": { "msgtype": "m.text", "body": id },
    })
}

/// The fully-read markers told since the last look.
fn markers(bench: &mut Bench) -> Vec<String> {
    let updates = std::mem::take(&mut bench.updates).into_iter();
    let read = updates.filter_map(|update| match update {
        Update::Timeline { delta: TimelineDelta::FullyRead(event), .. } => Some(event.to_string()),
        _ => None,
    });
    read.collect()
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

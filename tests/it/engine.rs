//! The engine alone: inputs in, steps out. What has two parties is the simulator's.

use grotto::{
    engine::{Command, Draft, Engine, FaceId, Faces, Input, Outgoing, Update},
    matrix::{OwnedRoomId, Position},
    rooms::{SendState, TimelineDelta},
    secret::Secret,
    store::{Account, OutboxState, Store},
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
    deltas: Vec<TimelineDelta>,
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

    fn on(mut store: Store) -> Self {
        let now = Timestamp(1_700_000_000_000);
        let opened = Engine::open(&store, Faces::default(), now).unwrap();
        let (engine, _) = store.commit(opened).unwrap();
        let position = store.position().unwrap();
        let (frames, echoes, deltas) = (Vec::new(), Vec::new(), Vec::new());
        let mut bench = Self { store, engine, now, frames, echoes, deltas, position };
        bench.input(Input::FaceCame(FACE));
        bench
    }

    /// The process dies and starts again.
    fn restart(self) -> Self {
        Self::on(self.store)
    }

    fn connect(&mut self) {
        self.input(Input::Tick);
        self.input(Input::LinkUp);
        self.update(&json!({}));
    }

    fn input(&mut self, input: Input) -> Outgoing {
        let step = self.engine.handle(input, self.now, &self.store).unwrap();
        let mut out = self.store.commit(step).unwrap();
        self.frames.append(&mut out.frames);
        for (_, update) in &out.updates {
            if let Update::Timeline { delta, .. } = update {
                self.deltas.push(delta.clone());
                if let TimelineDelta::Echo(echo) = delta {
                    self.echoes.push((echo.txn.to_string(), echo.state.clone()));
                }
            }
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
    let (mut bench, room) = Bench::in_clear_room();
    bench.send(&room, "one");
    bench.send(&room, "two");
    let first = bench.sends();
    assert_eq!(names(&first), ["one"]);
    bench.answer(first[0].id, 200, &json!({ "event_id": "$one" }));
    assert_eq!(names(&bench.sends()), ["two"]);
}

#[test]
fn a_rate_limit_is_waited_out_and_overtakes_nothing() {
    let (mut bench, room) = Bench::in_clear_room();
    bench.send(&room, "one");
    bench.send(&room, "two");
    let first = bench.sends();
    let limit = json!({ "errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 3_000 });
    bench.answer(first[0].id, 429, &limit);
    bench.now = Timestamp(bench.now.0 + 2_900);
    bench.input(Input::Tick);
    assert!(bench.sends().is_empty());
    bench.now = Timestamp(bench.now.0 + 200);
    bench.input(Input::Tick);
    assert_eq!(names(&bench.sends()), ["one"]);
}

#[test]
fn a_refused_message_fails_and_the_next_one_goes_on() {
    let (mut bench, room) = Bench::in_clear_room();
    bench.send(&room, "one");
    bench.send(&room, "two");
    let first = bench.sends();
    bench.answer(first[0].id, 403, &json!({ "errcode": "M_FORBIDDEN", "error": "no" }));
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
    let deltas = std::mem::take(&mut bench.deltas).into_iter();
    let read = deltas.filter_map(|delta| match delta {
        TimelineDelta::FullyRead(event) => Some(event.to_string()),
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
        let command = Command::MarkRead { room: room.clone(), event };
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

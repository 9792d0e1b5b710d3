//! The engine alone: inputs in, steps out. What has two parties is the simulator's.

mod queue;
mod renewal;
mod rooms;

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

    /// Comes up and catches up.
    fn connect(&mut self) {
        self.dial();
        self.update(&json!({}));
    }

    /// Comes up, and knows nothing yet.
    fn dial(&mut self) {
        self.input(Input::Tick);
        self.input(Input::LinkUp);
    }

    fn lose_link(&mut self) {
        self.input(Input::LinkLost { reason: "cut".to_owned(), draw: 0.0 });
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
        self.invited_by(room, json!({ "membership": "invite" }));
    }

    fn invited_directly(&mut self, room: &OwnedRoomId) {
        self.invited_by(room, json!({ "membership": "invite", "is_direct": true }));
    }

    fn invited_by(&mut self, room: &OwnedRoomId, content: Value) {
        let mut invite = state("m.room.member", ME, content);
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

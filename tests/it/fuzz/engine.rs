//! Targets of the whole engine: what a homeserver sends and answers to somebody who looks.

use grotto::{
    engine::{Command, CommandId, Engine, FaceId, Faces, Input, Outgoing, Request, Update},
    matrix::Position,
    rooms::Timeline,
    secret::Secret,
    store::{Account, Store},
    wire::{ClientFrame, ResponseFrame, ServerFrame, UpdateFrame},
};
use serde_json::{json, value::RawValue};

use super::{NOW, house::USER, machine::room, text};

const FACE: FaceId = FaceId(1);

/// An engine with somebody who looks at a room.
struct Seat {
    store: Store,
    engine: Engine,
    timeline: Timeline,
    asked: Vec<u64>,
    position: u32,
}

impl Seat {
    fn new() -> Self {
        let account = Account {
            user_id: USER.try_into().unwrap(),
            device_id: "DEVICE".into(),
            homeserver: "https://house".to_owned(),
            stream_url: None,
            access_token: Secret::new("token".to_owned()),
        };
        let mut store = Store::in_memory(&account).unwrap();
        let opened = Engine::open(&store, Faces::default(), NOW).unwrap();
        let (engine, _) = store.commit(opened).unwrap();
        let timeline = Timeline::new(USER.try_into().unwrap());
        let mut seat = Self { store, engine, timeline, asked: Vec::new(), position: 0 };
        for input in [Input::FaceCame(FACE), Input::Tick, Input::LinkUp] {
            seat.input(input);
        }
        let state = |kind: &str, key: &str, content: serde_json::Value| {
            json!({ "type": kind, "state_key": key, "sender": USER, "origin_server_ts": NOW,
                "event_id": format!("${kind}{key}"), "content": content })
        };
        let create = state("m.room.create", "", json!({ "room_version": "11" }));
        let join = state("m.room.member", USER, json!({ "membership": "join" }));
        let timeline = json!({ "events": [create, join], "limited": true, "prev_batch": "p" });
        let body = json!({ "rooms": { "join": { room().as_str(): { "timeline": timeline } } } });
        seat.update(&body.to_string());
        seat.command(Command::Open(room()));
        seat
    }

    fn input(&mut self, input: Input) {
        let step = self.engine.handle(input, NOW, &self.store).unwrap();
        let out: Outgoing = self.store.commit(step).unwrap();
        for frame in out.frames {
            if let ClientFrame::Request(request) = frame {
                self.asked.push(request.id);
            }
        }
        for (_, update) in out.updates {
            if let Update::Timeline { delta, .. } = update {
                self.timeline.apply(delta);
            }
        }
    }

    fn command(&mut self, command: Command) {
        self.input(Input::Command { face: FACE, command });
    }

    fn update(&mut self, body: &str) {
        let Ok(body) = RawValue::from_string(body.to_owned()) else { return };
        let position = |number: u32| Position(format!("s{number}"));
        let since = (0 < self.position).then(|| position(self.position));
        self.position += 1;
        let frame = UpdateFrame { position: position(self.position), since, body };
        self.input(Input::Frame(ServerFrame::Update(frame)));
    }

    /// Answers everything that was asked, and what is asked then.
    fn answer(&mut self, body: &str) {
        let Ok(body) = RawValue::from_string(body.to_owned()) else { return };
        for _ in 0..3 {
            for id in std::mem::take(&mut self.asked) {
                let (status, body) = (200, body.clone());
                let frame = ResponseFrame { id, status, body, retry_after: None, download: None };
                self.input(Input::Frame(ServerFrame::Response(frame)));
            }
        }
    }

    /// Looks at all that is there.
    fn look(&mut self) {
        self.input(Input::Tick);
        for item in self.timeline.items() {
            drop(format!("{item:?}"));
        }
        for request in [Request::Rooms, Request::KeyStatus] {
            self.command(Command::Request { id: CommandId(1), request });
        }
    }
}

/// What the stream tells: rooms, events, state, members, receipts, account data.
pub(super) fn engine_update(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let mut seat = Seat::new();
    seat.update(text);
    seat.look();
}

/// What is answered: history, members, state, devices, rooms that were made.
pub(super) fn engine_answer(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let mut seat = Seat::new();
    seat.command(Command::Visit(room()));
    seat.command(Command::LoadOlder { room: room(), before: 0, limit: 20 });
    let join = Request::Join { room: "#x:house".to_owned() };
    for request in [Request::Devices { user: None }, join, Request::Unsent] {
        seat.command(Command::Request { id: CommandId(2), request });
    }
    seat.answer(text);
    seat.look();
}

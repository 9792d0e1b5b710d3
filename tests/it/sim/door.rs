//! The server's end of the links: for each one the gateway's real [`Peer`], and around it what
//! `gateway::connection` and its calls do: it makes the peer's calls, gives them up, times them,
//! and gives up all of them when the link ends.

use std::{collections::BTreeMap, time::Duration};

use grotto::{
    gateway::{Answer, Call, CallFailure, CallId, Identity, Peer, PeerEffect, PeerInput},
    wire::{ClientFrame, Limits, Payload, ServerFrame},
};
use serde_json::Value;

use super::{queue::Event, server::Caller, world::World};

/// One connection at the gateway.
pub(super) struct Door {
    pub(super) client: usize,
    peer: Peer,
    /// The number under which each open call flies.
    calls: BTreeMap<CallId, u64>,
    /// When each direction's last frame arrives: a connection keeps its order.
    pub(super) last_up: u64,
    pub(super) last_down: u64,
    /// Frames that the client did not take yet.
    pub(super) queued: usize,
}

/// A call between the gateway and the homeserver.
pub(super) struct Flight {
    connection: u64,
    caller: Caller,
    call: Call,
    /// When it left, its delay over.
    begun: u64,
    pub(super) stage: Stage,
}

/// Where a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    OnTheWay,
    /// A poll that the homeserver holds: from where, and how far the stream was at the last look.
    Held {
        since: Option<u64>,
        seen: u64,
    },
    Done,
}

impl World {
    pub(super) fn open_door(&mut self, connection: u64, client: usize) {
        let peer = Peer::new(Identity::Token, Limits::default());
        let calls = BTreeMap::new();
        let door = Door { client, peer, calls, last_up: 0, last_down: 0, queued: 0 };
        self.doors.insert(connection, door);
    }

    /// A message came up a link.
    pub(super) fn at_door(&mut self, connection: u64, payload: &Payload) {
        let decoded = match payload {
            Payload::Text(text) => ClientFrame::decode_text(text),
            Payload::Binary(bytes) => ClientFrame::decode_binary(bytes),
        };
        let input = match decoded {
            Ok(frame) => PeerInput::Frame(frame),
            Err(error) => PeerInput::BadFrame(error),
        };
        self.door_step(connection, input);
    }

    /// Lets the peer handle an input and does what it says.
    pub(super) fn door_step(&mut self, connection: u64, input: PeerInput) {
        let draw = self.rng.unit();
        let Some(door) = self.doors.get_mut(&connection) else { return };
        for effect in door.peer.handle(input, draw) {
            match effect {
                PeerEffect::Send(frame) => {
                    if self.doors[&connection].queued >= Limits::default().max_queued_frames {
                        return self.close_door(connection);
                    }
                    self.send_down(connection, &frame);
                }
                PeerEffect::Call(call) => self.begin_call(connection, call),
                PeerEffect::Abort(id) => {
                    let door = self.doors.get_mut(&connection).expect("it is open");
                    if let Some(number) = door.calls.remove(&id) {
                        self.give_up(number);
                    }
                }
                PeerEffect::Done(_) => {}
                PeerEffect::Push(_) | PeerEffect::Pull(_) => panic!("the engine moves no bodies"),
                PeerEffect::Present(_) => panic!("no token expires here"),
                PeerEffect::Close(_) => return self.close_door(connection),
            }
        }
    }

    /// The gateway closes a link: what it sent before still arrives.
    fn close_door(&mut self, connection: u64) {
        let Some(door) = self.doors.get(&connection) else { return };
        let (client, at) = (door.client, door.last_down.max(self.now));
        self.queue.put(at, Event::LinkLost { client, connection });
        self.drop_door(connection);
    }

    /// A peer dies with its link, and its calls with it.
    pub(super) fn drop_door(&mut self, connection: u64) {
        let Some(door) = self.doors.remove(&connection) else { return };
        for number in door.calls.into_values() {
            self.give_up(number);
        }
    }

    fn begin_call(&mut self, connection: u64, call: Call) {
        self.last_flight += 1;
        let number = self.last_flight;
        let door = self.doors.get_mut(&connection).expect("it is open");
        door.calls.insert(call.id, number);
        let caller = self.clients[door.client].caller.clone();
        let begun = self.now + millis(call.delay);
        let at = begun + self.delay();
        self.flights
            .insert(number, Flight { connection, caller, call, begun, stage: Stage::OnTheWay });
        self.queue.put(at, Event::CallArrives(number));
    }

    /// Nobody waits for this call any more; one that has left may arrive all the same.
    fn give_up(&mut self, number: u64) {
        let Some(flight) = self.flights.get(&number) else { return };
        let has_left = flight.stage == Stage::OnTheWay && flight.begun <= self.now;
        if !has_left || self.rng.percent(50) {
            self.flights.remove(&number);
        }
    }

    /// The homeserver does what a call asks, unless a fault prevents it, or the answer.
    pub(super) fn call_arrives(&mut self, number: u64) {
        if !self.flights.contains_key(&number) {
            return;
        }
        if self.now < self.down_until {
            return self.answer(number, Answer::Failed(CallFailure::Unreachable));
        }
        let fault = if self.rng.percent(self.faults.refuse) { Some(self.fault()) } else { None };
        let done = match &fault {
            Some(Answer::Json { status: 429 | 500, .. }) => false,
            Some(_) => self.rng.percent(60),
            None => true,
        };
        let answer = if done { self.perform(number) } else { None };
        let is_held = self.flights.get(&number).is_some_and(|it| it.stage != Stage::OnTheWay);
        match (fault, answer) {
            (Some(fault), Some(_)) => self.answer(number, fault),
            (Some(fault), None) if !is_held => self.answer(number, fault),
            (None, Some(answer)) => self.answer(number, answer),
            (_, None) => {}
        }
    }

    /// What comes instead of an answer.
    fn fault(&mut self) -> Answer {
        let pause = 100 + self.rng.below(1_000);
        let in_body = format!(r#"{{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":{pause}}}"#);
        match self.rng.below(7) {
            0 => Answer::of(429, in_body.as_bytes(), None),
            1 => Answer::of(429, b"", Some(Duration::from_millis(pause))),
            2 => Answer::of(500, br#"{"errcode":"M_UNKNOWN"}"#, None),
            3 => Answer::of(502, b"<html>bad gateway</html>", None),
            4 => Answer::of(200, b"<html>hello</html>", None),
            5 => Answer::Failed(CallFailure::TimedOut),
            _ => Answer::Failed(CallFailure::Unreachable),
        }
    }

    /// Does what a call asks; `None` for a poll, which is held.
    fn perform(&mut self, number: u64) -> Option<Answer> {
        let flight = self.flights.get_mut(&number)?;
        let (caller, call) = (flight.caller.clone(), flight.call.clone());
        if call.path == "/_matrix/client/v3/sync" {
            return self.poll(number, &caller, &call);
        }
        let body = call
            .body
            .as_ref()
            .map_or(Value::Null, |body| serde_json::from_str(body.get()).expect("bodies are JSON"));
        let what = (call.method.as_str(), call.path.as_str());
        let (status, answer) = self.server.call(&caller, what, &call.query, &body);
        let answer = answer.to_string();
        if self.loud {
            self.tell(format_args!("{} {} {}", caller.device, call.path, short(&body.to_string())));
            self.tell(format_args!("{}   -> {status} {}", caller.device, short(&answer)));
        }
        Some(Answer::of(status, answer.as_bytes(), None))
    }

    fn poll(&mut self, number: u64, caller: &Caller, call: &Call) -> Option<Answer> {
        let get = |name: &str| call.query.iter().find(|it| it.0 == name).map(|it| &*it.1);
        let since = get("since").map(|since| since[1..].parse().expect("our position"));
        let hold: u64 = get("timeout").expect("how long").parse().expect("milliseconds");
        if hold == 0 {
            return Some(self.sync_answer(caller, since));
        }
        self.flights.get_mut(&number)?.stage = Stage::Held { since, seen: u64::MAX };
        self.queue.put(self.now + hold, Event::HoldOver(number));
        None
    }

    fn sync_answer(&mut self, caller: &Caller, since: Option<u64>) -> Answer {
        if !self.server.devices.contains_key(&caller.key()) {
            let gone = br#"{"errcode":"M_UNKNOWN_TOKEN","error":"logged out"}"#;
            return Answer::of(401, gone, None);
        }
        let (body, _) = self.server.sync(caller, since);
        self.told(caller, &body)
    }

    fn told(&self, caller: &Caller, body: &Value) -> Answer {
        let text = body.to_string();
        let place = self.server.now();
        if self.loud {
            self.tell(format_args!("{} sync {place} {}", caller.device, short(&text)));
        }
        Answer::of(200, text.as_bytes(), None)
    }

    /// Answers a held poll if there is something to say.
    fn look(&mut self, number: u64) {
        let now = self.server.now();
        let Some(flight) = self.flights.get_mut(&number) else { return };
        let Stage::Held { since, seen } = flight.stage else { return };
        if seen == now {
            return;
        }
        flight.stage = Stage::Held { since, seen: now };
        let caller = flight.caller.clone();
        if !self.server.devices.contains_key(&caller.key()) {
            return self.hold_over(number);
        }
        let (body, says) = self.server.sync(&caller, since);
        if says {
            let answer = self.told(&caller, &body);
            self.answer(number, answer);
        }
    }

    /// Whoever waits for a sync and has something to hear gets it.
    pub(super) fn look_at_polls(&mut self) {
        let held = self.flights.iter().filter(|(_, it)| matches!(it.stage, Stage::Held { .. }));
        for number in held.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.look(number);
        }
    }

    /// The long poll timed out: the answer says what there is, if only counts.
    pub(super) fn hold_over(&mut self, number: u64) {
        let Some(flight) = self.flights.get_mut(&number) else { return };
        let Stage::Held { since, .. } = flight.stage else { return };
        let caller = flight.caller.clone();
        let answer = self.sync_answer(&caller, since);
        self.answer(number, answer);
    }

    /// An answer leaves, or its absence is noticed.
    fn answer(&mut self, number: u64, answer: Answer) {
        let delay = self.delay();
        let Some(flight) = self.flights.get_mut(&number) else { return };
        flight.stage = Stage::Done;
        let limit = flight.call.timeout.map_or(0, millis);
        let at = match answer {
            Answer::Failed(CallFailure::TimedOut) => flight.begun + limit,
            _ => self.now + delay,
        };
        self.queue.put(at, Event::Answered(number, answer));
    }

    /// An answer arrives at the gateway; if several left, only the first is one.
    pub(super) fn answered(&mut self, number: u64, answer: Answer) {
        let Some(flight) = self.flights.remove(&number) else { return };
        let Flight { connection, call, begun, .. } = flight;
        let Some(door) = self.doors.get_mut(&connection) else { return };
        if door.calls.get(&call.id) != Some(&number) {
            return;
        }
        door.calls.remove(&call.id);
        let took = Duration::from_millis(self.now.saturating_sub(begun));
        self.door_step(connection, PeerInput::Answered { call: call.id, answer, took });
    }

    /// The homeserver is away: what it held is lost.
    pub(super) fn restart_server(&mut self, pause: u64) {
        self.down_until = self.now + pause;
        let held = self.flights.iter().filter(|(_, it)| matches!(it.stage, Stage::Held { .. }));
        for number in held.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.answer(number, Answer::Failed(CallFailure::Unreachable));
        }
    }

    /// The gateway stops in good order.
    pub(super) fn stop_gateway(&mut self) {
        for connection in self.doors.keys().copied().collect::<Vec<_>>() {
            self.queue
                .put(self.now + millis(Limits::default().drain), Event::DrainOver(connection));
            self.door_step(connection, PeerInput::Stop);
        }
    }

    /// Whether the homeserver has told all that there is to the client on this link, and was asked
    /// nothing else.
    pub(super) fn has_told_all(&self, connection: u64) -> bool {
        let mut held = 0;
        for flight in self.flights.values().filter(|it| it.connection == connection) {
            match flight.stage {
                Stage::Held { .. } => held += 1,
                Stage::OnTheWay | Stage::Done => return false,
            }
        }
        held == 1 && self.doors.contains_key(&connection)
    }

    fn send_down(&mut self, connection: u64, frame: &ServerFrame) {
        let payload = frame.encode().expect("our frames can be written");
        let at = self.now + self.delay();
        let door = self.doors.get_mut(&connection).expect("it is open");
        door.last_down = door.last_down.max(at);
        door.queued += 1;
        let (at, client) = (door.last_down, door.client);
        if self.rng.percent(self.faults.repeat) {
            self.queue.put(at, Event::ToClient(connection, client, payload.clone()));
        }
        self.queue.put(at, Event::ToClient(connection, client, payload));
        self.may_be_cut(connection);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("short")
}

fn short(text: &str) -> String {
    text.chars().take(1_000).collect()
}

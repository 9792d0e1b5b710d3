//! One client of the simulation: a real engine on a real store. A crash drops the engine and what
//! it had not committed; the store stays.

use std::collections::VecDeque;

use grotto::{
    engine::{Command, CommandId, Draft, Engine, FaceId, Faces, Input, Outgoing, Request},
    matrix::{OwnedEventId, OwnedRoomId, OwnedTransactionId},
    secret::Secret,
    store::{Account, OutboxState, Pending, Store},
    time::Timestamp,
    wire::{ClientFrame, ServerFrame},
};
use serde_json::json;

use super::{server::Caller, world::Mood};

const FACE: FaceId = FaceId(1);

pub(super) struct Client {
    pub(super) caller: Caller,
    pub(super) store: Store,
    engine: Option<Engine>,
    /// Who listens, kept over a failed commit, lost in a crash.
    faces: Faces,
    commands: VecDeque<Command>,
    pub(super) connection: Option<u64>,
    pub(super) dialing: Option<u64>,
    pub(super) wake: Option<u64>,
    /// How far this machine's clock is behind.
    behind: u64,
    /// Lines that were taken: the person saw them in the timeline. In order.
    pub(super) taken: Vec<Taken>,
    typed: u64,
    pub(super) crashes: u64,
}

/// What a person does besides typing.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Leave,
    Join,
    Invite(String),
    React,
    Redact,
}

/// A line that was taken.
pub(super) struct Taken {
    pub(super) room: String,
    pub(super) text: String,
    pub(super) txn: String,
    /// The place in the stream that its device knew then.
    pub(super) known: u64,
}

/// What a step released.
#[derive(Default)]
pub(super) struct Done {
    pub(super) frames: Vec<ClientFrame>,
    pub(super) dial: bool,
    /// The connection is gone without the engine being told: it is gone too.
    pub(super) hang_up: bool,
    /// The engine wants the connection closed and to hear of it.
    pub(super) hung_up_itself: bool,
    pub(super) restart_after: Option<u64>,
}

/// Where a client dies.
enum Death {
    BeforeCommit,
    BeforeRelease,
    WithinRelease,
}

impl Client {
    pub(super) fn new(user: &str, device: &str) -> Self {
        let account = Account {
            user_id: user.try_into().expect("a user id"),
            device_id: device.into(),
            homeserver: "https://sim".to_owned(),
            stream_url: None,
            access_token: Secret::new("token".to_owned()),
        };
        Self {
            caller: Caller { user: user.to_owned(), device: device.to_owned() },
            store: Store::in_memory(&account).expect("a store"),
            engine: None,
            faces: Faces::default(),
            commands: VecDeque::new(),
            connection: None,
            dialing: None,
            wake: None,
            behind: 0,
            taken: Vec::new(),
            typed: 0,
            crashes: 0,
        }
    }

    /// Whether something is still on its way out.
    pub(super) fn is_busy(&self) -> bool {
        self.engine.is_none()
            || !self.commands.is_empty()
            || self
                .store
                .outbox()
                .expect("readable")
                .iter()
                .any(|row| matches!(row.state, OutboxState::Queued | OutboxState::Encrypted(_)))
    }

    /// The place in the stream up to which everything is on this device's disk.
    pub(super) fn known(&self) -> u64 {
        let position = self.store.position().expect("readable");
        position.map_or(0, |it| it.0[1..].parse().expect("our position"))
    }

    /// The newest event of a room that this person sees.
    fn newest(&self, room: &OwnedRoomId) -> Option<OwnedEventId> {
        self.store.newest(room, 1).expect("readable").pop()?.event.event_id
    }

    fn next_txn(&mut self) -> OwnedTransactionId {
        self.typed += 1;
        format!("{}-{}", self.caller.device, self.typed).into()
    }

    /// The person does something about a room.
    pub(super) fn act(&mut self, room: &str, act: Act) {
        let room: OwnedRoomId = room.try_into().expect("a room");
        let id = CommandId(self.typed);
        let request = |request| Command::Request { id, request };
        let command = match act {
            Act::Leave => request(Request::Leave { room }),
            Act::Join => request(Request::Join { room: room.to_string() }),
            Act::Invite(user) => {
                let user = user.try_into().expect("a user id");
                request(Request::Invite { room, user })
            }
            Act::React => {
                let Some(event) = self.newest(&room) else { return };
                let relation = json!({ "rel_type": "m.annotation", "event_id": event, "key": "+" });
                let content = json!({ "m.relates_to": relation });
                let content = content.as_object().expect("an object").clone();
                let kind = "m.reaction".to_owned();
                Command::Send(Draft { room, txn: self.next_txn(), kind, content })
            }
            Act::Redact => {
                let Some(event) = self.newest(&room) else { return };
                Command::Redact { room, txn: self.next_txn(), event, reason: None }
            }
        };
        self.commands.push_back(command);
    }

    pub(super) fn has_commands(&self) -> bool {
        self.engine.is_some() && !self.commands.is_empty()
    }

    pub(super) fn command(&mut self, command: Command) {
        self.commands.push_back(command);
    }

    /// The person types a line.
    pub(super) fn type_line(&mut self, room: &str, text: &str) {
        let content = json!({ "msgtype": "m.text", "body": text });
        let draft = Draft {
            room: room.try_into().expect("a room"),
            txn: self.next_txn(),
            kind: "m.room.message".to_owned(),
            content: content.as_object().expect("an object").clone(),
        };
        self.commands.push_back(Command::Send(draft));
    }

    fn now(&self, mood: &Mood<'_>) -> Timestamp {
        Timestamp(mood.now - self.behind)
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        let due = self.engine.as_ref()?.deadline()?;
        Some(due.0.saturating_add(self.behind))
    }

    pub(super) fn start(&mut self, mood: &mut Mood<'_>) -> Done {
        if self.engine.is_some() {
            return Done::default();
        }
        let now = self.now(mood);
        let faces = self.faces.clone();
        let opened = Engine::open(&self.store, faces, now).expect("what is on disk can be read");
        if mood.rng.percent(mood.faults.full) {
            return self.fail(opened, mood);
        }
        let (engine, _updates) = self.store.commit(opened).expect("memory has space");
        self.engine = Some(engine);
        self.input(Input::FaceCame(FACE), mood)
    }

    pub(super) fn tick(&mut self, mood: &mut Mood<'_>) -> Done {
        self.input(Input::Tick, mood)
    }

    pub(super) fn link_up(&mut self, mood: &mut Mood<'_>) -> Done {
        self.input(Input::LinkUp, mood)
    }

    pub(super) fn link_lost(&mut self, draw: f64, mood: &mut Mood<'_>) -> Done {
        self.input(Input::LinkLost { reason: "cut".to_owned(), draw }, mood)
    }

    pub(super) fn frame(&mut self, frame: ServerFrame, mood: &mut Mood<'_>) -> Done {
        self.input(Input::Frame(frame), mood)
    }

    /// Gives the engine the next command; it is asked again when the step could not be committed.
    pub(super) fn next_command(&mut self, mood: &mut Mood<'_>) -> Done {
        let Some(command) = self.commands.front().cloned() else { return Done::default() };
        let input = Input::Command { face: FACE, command: command.clone() };
        let known = self.known();
        let done = self.input(input, mood);
        let taken = match &command {
            Command::Send(draft) => {
                let there = self.store.outbox_row(draft.txn.as_str()).expect("readable").is_some();
                if let (true, Some(text)) = (there, draft.content.get("body")) {
                    let text = text.as_str().expect("text").to_owned();
                    let (room, txn) = (draft.room.to_string(), draft.txn.to_string());
                    self.taken.push(Taken { room, text, txn, known });
                }
                there
            }
            _ => self.engine.is_some(),
        };
        if taken || self.engine.is_some() {
            self.commands.pop_front();
        }
        done
    }

    fn input(&mut self, input: Input, mood: &mut Mood<'_>) -> Done {
        let now = self.now(mood);
        let Some(engine) = &mut self.engine else { return Done::default() };
        let step = engine.handle(input, now, &self.store).expect("nothing outside is an error");
        if mood.rng.percent(mood.faults.full) {
            return self.fail(step, mood);
        }
        let death = mood.rng.percent(mood.faults.crash).then(|| match mood.rng.below(3) {
            0 => Death::BeforeCommit,
            1 => Death::BeforeRelease,
            _ => Death::WithinRelease,
        });
        match death {
            Some(Death::BeforeCommit) => self.crash(mood, Vec::new()),
            Some(Death::BeforeRelease) => {
                drop(self.store.commit(step).expect("memory has space"));
                self.crash(mood, Vec::new())
            }
            Some(Death::WithinRelease) => {
                let mut out = self.store.commit(step).expect("memory has space");
                let left = mood.rng.below(out.frames.len() as u64 + 1);
                out.frames.truncate(left as usize);
                self.crash(mood, out.frames)
            }
            None => {
                let out = self.store.commit(step).expect("memory has space");
                self.release(out)
            }
        }
    }

    fn release(&mut self, out: Outgoing) -> Done {
        assert!(!out.ended, "nobody ended the engine");
        let hung_up = out.hang_up.is_some();
        if out.dial.is_some() {
            self.dialing = None;
        }
        Done {
            frames: out.frames,
            dial: out.dial.is_some(),
            hang_up: hung_up || out.dial.is_some(),
            hung_up_itself: hung_up,
            restart_after: None,
        }
    }

    /// The commit failed: the engine is dropped, who listens stays.
    fn fail<T>(&mut self, step: Pending<T>, mood: &mut Mood<'_>) -> Done {
        drop(step);
        if let Some(mut engine) = self.engine.take() {
            self.faces = engine.take_faces();
        }
        self.wake = None;
        self.dialing = None;
        let restart_after = Some(100 + mood.rng.below(3_000));
        Done { hang_up: true, restart_after, ..Done::default() }
    }

    /// The process dies; what it released before has left. Sometimes its clock is set back.
    fn crash(&mut self, mood: &mut Mood<'_>, frames: Vec<ClientFrame>) -> Done {
        self.engine = None;
        self.faces = Faces::default();
        self.wake = None;
        self.dialing = None;
        self.crashes += 1;
        if mood.rng.percent(5) {
            self.behind += mood.rng.below(7_200_000);
        }
        let restart_after = Some(10 + mood.rng.below(2_000));
        Done { frames, hang_up: true, restart_after, ..Done::default() }
    }

    /// Rooms with a gap, and where.
    pub(super) fn gaps(&self, room: &str) -> Vec<i64> {
        let room: OwnedRoomId = room.try_into().expect("a room");
        let gaps = self.store.gaps(&room).expect("readable");
        gaps.into_iter().map(|gap| gap.position).collect()
    }
}

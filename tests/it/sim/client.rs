//! One client of the simulation: a real engine on a real store, driven as `engine::driver` does it.
//! A crash drops the engine and what it had not committed; the store stays.

use std::collections::{BTreeSet, VecDeque};

use grotto::{
    e2ee::{Machine, Step},
    engine::{
        Audience, Command, Engine, FaceId, Faces, Input, Outgoing, TransferEvent, TransferOrder,
        Update,
    },
    matrix::OwnedRoomId,
    secret::Secret,
    store::{Account, OutboxState, Pending, Store, Writes},
    time::Timestamp,
    wire::{ClientFrame, ServerFrame},
};

use super::{
    owner::Owner,
    person::Taken,
    seal::{self, Archive, DeviceKey, Seal},
    server::Caller,
    world::Mood,
};

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
    /// How far this machine's clock is behind (or before) the queue's, in milliseconds.
    behind: i64,
    /// The same of the clock that the running program goes by (`engine::driver`): it is moved
    /// forward with the machine's, never back.
    carried: i64,
    /// Lines that were taken: the person saw them in the timeline. In order.
    pub(super) taken: Vec<Taken>,
    pub(super) typed: u64,
    pub(super) crashes: u64,
    /// Steps that were made; the one at which this machine dies for certain, and how.
    pub(super) steps: u64,
    pub(super) doom: Option<(u64, Death)>,
    /// The login is over.
    pub(super) ended: bool,
    pub(super) seals: Vec<Seal>,
    pub(super) archive: Archive,
    pub(super) blocked: BTreeSet<DeviceKey>,
    pub(super) owner: Owner,
    /// What it told who sits there; `None` where it died.
    pub(super) heard: Vec<Option<Update>>,
    /// Answers of the server that came.
    pub(super) answers: u64,
    /// Whether a wish at which the program died is repeated at once.
    pub(super) insists: bool,
    /// Nobody sets its clock: what is agreed upon within minutes cannot be with a wrong one.
    pub(super) has_true_clock: bool,
}

/// What a step released.
#[derive(Default)]
pub(super) struct Done {
    pub(super) frames: Vec<ClientFrame>,
    pub(super) transfers: Vec<TransferOrder>,
    pub(super) dial: bool,
    /// The connection is gone without the engine being told: it is gone too.
    pub(super) hang_up: bool,
    /// The engine wants the connection closed and to hear of it.
    pub(super) hung_up_itself: bool,
    pub(super) restart_after: Option<u64>,
}

/// Where a client dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    BeforeCommit,
    BeforeRelease,
    WithinRelease,
    AfterRelease,
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
        let store = Store::in_memory(&account).expect("a store");
        Self {
            caller: Caller::new(user, device),
            store,
            engine: None,
            faces: Faces::default(),
            commands: VecDeque::new(),
            connection: None,
            dialing: None,
            wake: None,
            behind: 0,
            carried: 0,
            taken: Vec::new(),
            typed: 0,
            crashes: 0,
            steps: 0,
            doom: None,
            ended: false,
            seals: Vec::new(),
            archive: Archive::default(),
            blocked: BTreeSet::new(),
            owner: Owner::default(),
            heard: Vec::new(),
            answers: 0,
            insists: true,
            has_true_clock: false,
        }
    }

    /// Whether something is still on its way out.
    pub(super) fn is_busy(&self) -> bool {
        let waits =
            |state: &OutboxState| matches!(state, OutboxState::Queued | OutboxState::Encrypted(_));
        let outbox = || self.store.outbox().expect("readable");
        !self.ended
            && (self.engine.is_none()
                || !self.commands.is_empty()
                || outbox().iter().any(|row| waits(&row.state)))
    }

    pub(super) fn has_commands(&self) -> bool {
        self.engine.is_some() && !self.commands.is_empty()
    }

    pub(super) fn command(&mut self, command: Command) {
        self.commands.push_back(command);
    }

    fn now(&self, mood: &Mood<'_>) -> Timestamp {
        Timestamp(mood.now.saturating_add_signed(-self.carried))
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        let due = self.engine.as_ref()?.deadline()?;
        Some(due.0.saturating_add_signed(self.carried))
    }

    /// The machine's clock is set back (forward, if negative) by so many milliseconds.
    pub(super) fn set_clock_back(&mut self, by: i64) {
        self.behind += by;
        self.carried = self.carried.min(self.behind);
    }

    pub(super) fn start(&mut self, mood: &mut Mood<'_>) -> Done {
        if self.engine.is_some() || self.ended {
            return Done::default();
        }
        self.carried = self.behind;
        let now = self.now(mood);
        let faces = self.faces.clone();
        let opened = Engine::open(&self.store, faces, now).expect("what is on disk can be read");
        if mood.rng.percent(mood.faults.full) {
            return self.fail(opened, mood);
        }
        let (engine, out) = self.commit(opened, mood);
        self.hear(&out.updates);
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
        self.answers += u64::from(matches!(frame, ServerFrame::Response(_)));
        self.input(Input::Frame(frame), mood)
    }

    /// A transfer ended.
    pub(super) fn transferred(
        &mut self,
        (id, event): (u64, TransferEvent),
        mood: &mut Mood<'_>,
    ) -> Done {
        self.input(Input::Transfer { id, event }, mood)
    }

    /// Gives the engine the next command; it is asked again when the step could not be committed.
    pub(super) fn next_command(&mut self, mood: &mut Mood<'_>) -> Done {
        let Some(command) = self.commands.front().cloned() else { return Done::default() };
        let input = Input::Command { face: FACE, command: command.clone() };
        let done = self.input(input, mood);
        let taken = match &command {
            Command::Send(draft) => {
                let there = self.store.outbox_row(draft.txn.as_str()).expect("readable").is_some();
                if let (true, Some(text)) = (there, draft.content.get("body")) {
                    let text = text.as_str().expect("text").to_owned();
                    let (room, txn) = (draft.room.to_string(), draft.txn.to_string());
                    self.taken.push(Taken { room, text, txn });
                }
                there
            }
            Command::SendFile(draft) => {
                let there = self.store.outbox_row(draft.txn.as_str()).expect("readable").is_some();
                if let (true, Some(text)) = (there, draft.content["body"].as_str()) {
                    let (room, txn) = (draft.room.to_string(), draft.txn.to_string());
                    self.taken.push(Taken { room, text: text.to_owned(), txn });
                }
                there
            }
            _ => self.engine.is_some(),
        };
        if taken || self.engine.is_some() || !self.insists {
            self.commands.pop_front();
        }
        done
    }

    fn input(&mut self, input: Input, mood: &mut Mood<'_>) -> Done {
        let now = self.now(mood);
        let Some(engine) = &mut self.engine else { return Done::default() };
        let step = engine.handle(input, now, &self.store).expect("nothing outside is an error");
        self.steps += 1;
        if mood.rng.percent(mood.faults.full) {
            return self.fail(step, mood);
        }
        match self.death(mood) {
            Some(Death::BeforeCommit) => self.crash(mood, Vec::new()),
            Some(Death::BeforeRelease) => {
                drop(self.commit(step, mood));
                self.crash(mood, Vec::new())
            }
            Some(Death::WithinRelease) => {
                let mut out = self.commit(step, mood);
                let left = mood.rng.below(out.frames.len() as u64 + 1);
                out.frames.truncate(left as usize);
                self.crash(mood, out.frames)
            }
            Some(Death::AfterRelease) => {
                let out = self.commit(step, mood);
                let Done { frames, transfers, .. } = self.release(out);
                let done = self.crash(mood, frames);
                Done { transfers, ..done }
            }
            None => {
                let out = self.commit(step, mood);
                self.release(out)
            }
        }
    }

    /// Whether the machine dies in this step.
    fn death(&self, mood: &mut Mood<'_>) -> Option<Death> {
        if let Some((_, death)) = self.doom.filter(|(at, _)| *at == self.steps) {
            return Some(death);
        }
        let all = [Death::BeforeCommit, Death::BeforeRelease, Death::WithinRelease];
        mood.rng.percent(mood.faults.crash).then(|| all[mood.rng.below(3) as usize])
    }

    /// The one way to what a step holds, as in the program.
    fn commit<T>(&mut self, step: Pending<T>, mood: &Mood<'_>) -> T {
        self.archive.note(step.writes());
        let made = seal::made(step.writes());
        let held = self.store.commit(step).expect("memory has space");
        for message in made {
            let when = (mood.place, self.now(mood));
            self.seals.push(Seal::new(&self.store, message, when));
        }
        held
    }

    fn hear(&mut self, updates: &[(Audience, Update)]) {
        self.owner.hear(updates);
        self.heard.extend(updates.iter().map(|(_, update)| Some(update.clone())));
    }

    fn release(&mut self, out: Outgoing) -> Done {
        self.hear(&out.updates);
        let hung_up = out.hang_up.is_some();
        if out.dial.is_some() {
            self.dialing = None;
        }
        if out.ended {
            self.engine = None;
            self.dialing = None;
            self.ended = true;
        }
        Done {
            frames: out.frames,
            transfers: out.transfers,
            dial: out.dial.is_some() && !out.ended,
            hang_up: hung_up || out.dial.is_some() || out.ended,
            hung_up_itself: hung_up && !out.ended,
            restart_after: None,
        }
    }

    /// The commit failed: the engine is dropped, who listens stays.
    fn fail<T>(&mut self, step: Pending<T>, mood: &mut Mood<'_>) -> Done {
        drop(step);
        self.owner.forget();
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
        let done = self.stop();
        if !self.has_true_clock && mood.rng.percent(5) {
            self.set_clock_back(mood.rng.below(7_200_000) as i64);
        }
        let restart_after = Some(10 + mood.rng.below(2_000));
        Done { frames, restart_after, ..done }
    }

    /// The process is killed between two steps.
    pub(super) fn stop(&mut self) -> Done {
        self.owner.forget();
        self.heard.push(None);
        self.engine = None;
        self.faces = Faces::default();
        self.wake = None;
        self.dialing = None;
        self.crashes += 1;
        Done { hang_up: true, ..Done::default() }
    }

    /// While the program does not run, a device is blocked, as a command of it would do.
    pub(super) fn block(&mut self, whom: &DeviceKey, mood: &Mood<'_>) {
        let (user, device) = (self.caller.user.as_str(), self.caller.device.as_str());
        let user = grotto::matrix::OwnedUserId::try_from(user).expect("a user");
        let mut step = Step::new(&self.store, self.now(mood));
        let mut machine = Machine::open(&user, device.into(), &mut step).expect("readable");
        let other = grotto::matrix::OwnedUserId::try_from(whom.0.as_str()).expect("a user");
        let known = machine.block_device(&other, whom.1.as_str().into(), &mut step);
        let (crypto, _, _) = step.finish();
        self.commit(Pending::new(Writes { crypto, ..Writes::default() }, ()), mood);
        if known.expect("readable") {
            self.blocked.insert(whom.clone());
        }
    }

    /// Rooms with a gap, and where.
    pub(super) fn gaps(&self, room: &str) -> Vec<i64> {
        let room: OwnedRoomId = room.try_into().expect("a room");
        let gaps = self.store.gaps(&room).expect("readable");
        gaps.into_iter().map(|gap| gap.position).collect()
    }
}

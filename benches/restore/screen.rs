//! The new device, as the screen has it: one room open, its messages looked at, and a question every
//! few milliseconds whose answer shows how long a key press would wait.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use grotto::{
    engine::{
        Command, CommandId, FaceKind, Handle, Outcome, Request, SecretText, Update,
        driver::{self, face},
    },
    link::{RemoteRoute, Route},
    matrix::OwnedRoomId,
    rooms::{EventBody, TimelineDelta},
    secret::Secret,
    store::Store,
    wire::Limits,
};
use tokio::{
    sync::mpsc::channel,
    time::{interval, timeout},
};

use crate::{
    life::{Account, Device},
    mib,
    served::resident,
};

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(10);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(300);
const RECOVER: CommandId = CommandId(1);
const STATUS: CommandId = CommandId(2);
const PAGE: CommandId = CommandId(3);
/// Names the first question.
const FIRST: u64 = 1_000;

/// Seconds from the unlocking; MiB.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) visible: f64,
    pub(crate) restored: f64,
    pub(crate) readable: f64,
    /// To load the rest of all rooms, and read it.
    pub(crate) all: f64,
    pub(crate) longest: f64,
    pub(crate) most: f64,
    pub(crate) answers: usize,
    pub(crate) before: f64,
    pub(crate) peak: f64,
}

/// Recovers, and watches.
pub(crate) async fn watch(device: &Device, account: &Account) -> Figures {
    let store = Store::open(&device.store(), None).unwrap();
    let url = store.account().stream_url.clone().unwrap();
    let limits = Limits::default();
    let route = Route::Remote(RemoteRoute { url, proxy: None, extra_ca: None, limits });
    let (handle, main) = face(FaceKind::Main);
    let (faces, queue) = channel(1);
    faces.try_send(main).unwrap();
    let engine = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(driver::run(store, route, queue)).unwrap();
    });
    let room = OwnedRoomId::try_from(account.rooms.last().unwrap().as_str()).unwrap();
    let mut eye = Eye { handle, room, shown: BTreeMap::new(), is_current: false };
    let figures = eye.look(account).await;
    eye.handle.commands.send(Command::Shutdown).await.unwrap();
    drop(eye);
    engine.join().unwrap();
    figures
}

struct Eye {
    handle: Handle,
    room: OwnedRoomId,
    /// Encrypted messages on screen by place, and whether they can be read.
    shown: BTreeMap<i64, bool>,
    is_current: bool,
}

impl Eye {
    async fn ask(&self, id: CommandId, request: Request) {
        self.handle.commands.send(Command::Request { id, request }).await.unwrap();
    }

    /// The next update; the answer of a request, if it is one.
    async fn next(&mut self) -> Option<(CommandId, Outcome)> {
        let update = timeout(PATIENCE, self.handle.updates.recv()).await.unwrap().unwrap();
        match update {
            Update::Timeline { room, delta: TimelineDelta::Events(events), .. }
                if room == self.room =>
            {
                for event in events.iter().filter(|it| it.event.kind == "m.room.encrypted") {
                    let can_be_read = matches!(event.body, EventBody::Decrypted(_));
                    self.shown.insert(event.position, can_be_read);
                }
            }
            Update::CaughtUp => self.is_current = true,
            Update::Outcome { id, result } => return Some((id, result.unwrap())),
            _ => {}
        }
        None
    }

    async fn answer(&mut self, to: CommandId) -> Outcome {
        loop {
            if let Some((id, outcome)) = self.next().await
                && id == to
            {
                return outcome;
            }
        }
    }

    fn is_readable(&self) -> bool {
        !self.shown.is_empty() && self.shown.values().all(|it| *it)
    }

    /// How many of the messages that this device has cannot be read.
    async fn unreadable(&mut self) -> u64 {
        self.ask(STATUS, Request::KeyStatus).await;
        match self.answer(STATUS).await {
            Outcome::KeyStatus { undecryptable, .. } => undecryptable.iter().map(|it| it.1).sum(),
            other => panic!("{other:?}"),
        }
    }

    async fn look(&mut self, account: &Account) -> Figures {
        while !self.is_current {
            self.next().await;
        }
        self.handle.commands.send(Command::Open(self.room.clone())).await.unwrap();
        while self.shown.is_empty() {
            self.next().await;
        }
        let unreadable = self.unreadable().await;
        println!("on screen {} messages, on disk {unreadable} unreadable", self.shown.len());
        assert!(!self.is_readable());
        let before = forget_peak();
        let mut figures = self.recover(account).await;
        (figures.before, figures.peak) = (before, mib(resident(std::process::id()).1));
        let begun = Instant::now();
        for room in &account.rooms {
            let room = OwnedRoomId::try_from(room.as_str()).unwrap();
            self.read_all(room, account.messages).await;
        }
        figures.all = begun.elapsed().as_secs_f64();
        figures
    }

    async fn recover(&mut self, account: &Account) -> Figures {
        let secret = SecretText::from(Secret::new(account.recovery_key.clone()));
        let mut figures = Figures::default();
        let mut asked: BTreeMap<u64, Instant> = BTreeMap::new();
        let mut waits = Vec::new();
        let mut number = FIRST;
        let mut ticks = interval(PAUSE);
        let begun = Instant::now();
        self.ask(RECOVER, Request::Recover { secret }).await;
        while figures.restored == 0.0 || figures.visible == 0.0 {
            tokio::select! {
                answer = self.next() => match answer {
                    Some((RECOVER, _)) => figures.restored = begun.elapsed().as_secs_f64(),
                    Some((CommandId(id), _)) => {
                        let at = asked.remove(&id);
                        waits.extend(at.map(|at| at.elapsed().as_secs_f64()));
                    }
                    None => {}
                },
                _ = ticks.tick() => {
                    number += 1;
                    asked.insert(number, Instant::now());
                    self.ask(CommandId(number), Request::Unsent).await;
                }
            }
            if figures.visible == 0.0 && self.is_readable() {
                figures.visible = begun.elapsed().as_secs_f64();
            }
        }
        while 0 < self.unreadable().await {}
        figures.readable = begun.elapsed().as_secs_f64();
        waits.sort_by(f64::total_cmp);
        figures.answers = waits.len();
        figures.longest = waits.last().copied().unwrap_or_default();
        figures.most = waits.get(waits.len() * 99 / 100).copied().unwrap_or_default();
        figures
    }

    /// All of a room can be read: what was never on this device too, as soon as it is loaded.
    async fn read_all(&mut self, room: OwnedRoomId, messages: usize) {
        self.ask(PAGE, Request::History { room, limit: 10_000, before: None }).await;
        let Outcome::History(page) = self.answer(PAGE).await else { panic!("no page") };
        let is_readable = |body: &EventBody| matches!(body, EventBody::Decrypted(_));
        let readable = page.events.iter().filter(|it| is_readable(&it.body)).count();
        assert_eq!(readable, messages, "all of the room can be read");
    }
}

/// The memory of this process now, in MiB; from here on the most is counted anew.
fn forget_peak() -> f64 {
    fs::write("/proc/self/clear_refs", "5").unwrap();
    mib(resident(std::process::id()).0)
}

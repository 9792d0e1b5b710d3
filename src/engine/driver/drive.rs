//! The loop: input, commit, release. Nothing is released that was not committed.

use std::{
    collections::VecDeque,
    future::{pending, poll_fn},
    pin::Pin,
    time::Duration,
};

use tokio::{
    sync::mpsc::Receiver,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    attached::{Attached, Audible, FaceEvent},
    clock::Clock,
    face::{Face, FaceKind},
    options::DriveOptions,
    renewer::{Renewer, Renewing},
    transfer::{Transfers, Wanted},
};
use crate::{
    e2ee::DerivedKey,
    engine::{
        Command, Dial, Engine, EngineError, FaceId, Faces, Input, Outgoing, RenewError, Tokens,
        Update,
    },
    link::{DialError, LinkState, Route, Transport, TransportError},
    store::{CommitError, Store},
    time::{Backoff, Timestamp},
    wire::{ClientFrame, ServerFrame},
};

/// How long one frame may take to leave. A server that reads nothing while it is not read from
/// would be a deadlock; the link is given up for it.
const SEND_TIME: Duration = Duration::from_secs(30);

/// How long a store that takes no writes is left alone; doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A step that takes longer is noticed by whoever types, and worth a line in the log.
const SLOW_STEP: Duration = Duration::from_millis(250);

/// The shortest sleep: a deadline that does not move must not become a spin.
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);

/// A store that fails so often in a row, and not for want of space, will go on failing.
const MOST_FAILURES: u32 = 6;

/// Why the engine could not go on.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The store or the session layer cannot be read.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The store takes no writes.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl DriveError {
    fn is_disk_full(&self) -> bool {
        match self {
            Self::Engine(_) => false,
            Self::Commit(error) => error.is_disk_full(),
        }
    }
}

/// Runs the client until the main face goes or asks for the end, or the login is over.
///
/// Faces come through `faces`, the main one first; the channel may close when no more will come.
///
/// # Errors
/// When the store fails for good. A full disk is waited out, and said.
pub async fn run(store: Store, route: Route, faces: Receiver<Face>) -> Result<(), DriveError> {
    run_with(store, route, faces, DriveOptions::default()).await
}

/// Does what [`run`] does, as these options say.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    store: Store,
    route: Route,
    faces: Receiver<Face>,
    options: DriveOptions,
) -> Result<(), DriveError> {
    let DriveOptions { renewer, key_forwarding } = options;
    let mut clock = Clock::start();
    let mut store = store;
    let opened = Engine::open(&store, Faces::default(), clock.now())?;
    let (engine, outgoing) = store.commit(opened)?;
    let mut driver = Driver {
        engine,
        store,
        route,
        clock,
        faces: Some(faces),
        attached: Attached::default(),
        transfers: Transfers::default(),
        transport: None,
        dialing: None,
        renewer,
        renewing: None,
        derivations: JoinSet::new(),
        backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
        // Before all else; from then on the store knows.
        queue: VecDeque::from([Input::KeyForwarding(key_forwarding)]),
    };
    if driver.release(outgoing).await == Flow::Ended {
        return Ok(());
    }
    driver.run().await
}

/// A dial under way; dropped, it is given up.
type Dialing = Pin<Box<dyn Future<Output = Result<Transport, DialError>>>>;

/// Whether the loop goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    On,
    Ended,
}

/// What woke the loop.
enum Woken {
    /// A frame, or nothing: the socket has room for a piece of a file.
    Received(Result<Option<ServerFrame>, TransportError>),
    Transfer(Wanted),
    Dialed(Result<Box<Transport>, DialError>),
    Face(FaceEvent),
    NewFace(Option<Face>),
    Renewed(Result<Tokens, RenewError>),
    Derived(DerivedKey),
    Deadline,
}

struct Driver {
    engine: Engine,
    store: Store,
    route: Route,
    clock: Clock,
    /// `None` when no more will come.
    faces: Option<Receiver<Face>>,
    attached: Attached,
    transfers: Transfers,
    transport: Option<Transport>,
    dialing: Option<Dialing>,
    renewer: Renewer,
    renewing: Option<Renewing>,
    /// Passphrases that are being made keys, aside.
    derivations: JoinSet<DerivedKey>,
    backoff: Backoff,
    /// What a release or a rebuild brought about, before anything that waits outside.
    queue: VecDeque<Input>,
}

impl Driver {
    async fn run(&mut self) -> Result<(), DriveError> {
        loop {
            let input = match self.queue.pop_front() {
                Some(input) => input,
                None => match self.next_input().await {
                    Some(input) => input,
                    None => return Ok(()),
                },
            };
            if self.step(input).await? == Flow::Ended {
                return Ok(());
            }
        }
    }

    /// Waits for what comes next; `None` ends the engine.
    async fn next_input(&mut self) -> Option<Input> {
        loop {
            match self.wait().await {
                Woken::Received(Ok(Some(frame))) => match self.transfers.on_frame(frame) {
                    Err(frame) => return Some(Input::Frame(*frame)),
                    Ok(None) => {}
                    Ok(Some(id)) => {
                        let event = self.transfers.end_flooded(id);
                        return Some(Input::Transfer { id, event });
                    }
                },
                Woken::Received(Ok(None)) => {
                    if let Some(lost) = self.send_piece().await {
                        return Some(lost);
                    }
                }
                Woken::Transfer(Wanted::Frame) => {}
                Woken::Transfer(Wanted::Tell(id, event)) => {
                    return Some(Input::Transfer { id, event });
                }
                Woken::Received(Err(error @ TransportError::TooLarge(_))) => {
                    self.disconnect();
                    let reason = words(&error);
                    return Some(Input::UpdateTooLarge { reason, draw: draw() });
                }
                Woken::Received(Err(error)) => return Some(self.lost(&words(&error))),
                Woken::Dialed(Ok(transport)) => {
                    self.dialing = None;
                    self.transport = Some(*transport);
                    return Some(Input::LinkUp);
                }
                Woken::Dialed(Err(error)) => return Some(self.lost(&words(&error))),
                Woken::Face(FaceEvent::Asks(face, Command::Shutdown)) => {
                    if self.attached.is_main(face) {
                        return None;
                    }
                    self.attached.remove(face);
                    return Some(Input::FaceGone(face));
                }
                Woken::Face(FaceEvent::Asks(face, command)) => {
                    return Some(Input::Command { face, command });
                }
                Woken::Face(FaceEvent::Gone(_, FaceKind::Main)) => return None,
                Woken::Face(FaceEvent::Gone(face, FaceKind::Guest)) => {
                    self.attached.remove(face);
                    return Some(Input::FaceGone(face));
                }
                Woken::NewFace(Some(face)) => {
                    return Some(Input::FaceCame(self.attached.add(face)));
                }
                Woken::NewFace(None) => self.faces = None,
                Woken::Renewed(result) => {
                    self.renewing = None;
                    return Some(Input::Renewed(result));
                }
                Woken::Derived(derived) => return Some(Input::Derived(derived)),
                Woken::Deadline => return Some(Input::Tick),
            }
        }
    }

    /// The one place that waits for the world. Every arm is cancel-safe: `recv` and `poll_recv`
    /// take an item only in the poll that returns it, the dial lives on in `self`.
    async fn wait(&mut self) -> Woken {
        let sleeping = self.engine.deadline().map(|due| self.until(due));
        let wants_room = self.transfers.has_frame();
        let Self { transport, dialing, renewing, derivations, attached, faces, transfers, .. } =
            self;
        tokio::select! {
            received = async {
                match transport {
                    Some(transport) if wants_room => transport.recv_or_room().await,
                    Some(transport) => transport.recv().await.map(Some),
                    None => pending().await,
                }
            } => Woken::Received(received),
            dialed = async {
                match dialing {
                    Some(dialing) => dialing.await,
                    None => pending().await,
                }
            } => Woken::Dialed(dialed.map(Box::new)),
            renewed = async {
                match renewing {
                    Some(renewing) => renewing.await,
                    None => pending().await,
                }
            } => Woken::Renewed(renewed),
            // A task that was lost is as one that was never begun.
            Some(Ok(derived)) = derivations.join_next() => Woken::Derived(derived),
            event = poll_fn(|cx| attached.poll(cx)) => Woken::Face(event),
            wanted = poll_fn(|cx| transfers.poll(cx)) => Woken::Transfer(wanted),
            face = async {
                match faces {
                    Some(faces) => faces.recv().await,
                    None => pending().await,
                }
            } => Woken::NewFace(face),
            () = async {
                match sleeping {
                    Some(time) => sleep(time).await,
                    None => pending().await,
                }
            } => Woken::Deadline,
        }
    }

    fn until(&mut self, due: Timestamp) -> Duration {
        due.since(self.clock.now()).max(SHORTEST_SLEEP)
    }

    /// Sends what a transfer has ready; what tells of a lost link.
    async fn send_piece(&mut self) -> Option<Input> {
        let frame = self.transfers.take_frame()?;
        self.send(&frame).await.err()
    }

    /// Sends a frame. Without a connection it is dropped: what matters is repeated.
    async fn send(&mut self, frame: &ClientFrame) -> Result<(), Input> {
        let Some(transport) = &mut self.transport else { return Ok(()) };
        let reason = match timeout(SEND_TIME, transport.send(frame)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => words(&error),
            Err(_elapsed) => "the server takes nothing any more".to_owned(),
        };
        Err(self.lost(&reason))
    }

    fn disconnect(&mut self) {
        self.transfers.clear();
        self.transport = None;
        self.dialing = None;
    }

    /// The connection, or the attempt at one, is over.
    fn lost(&mut self, reason: &str) -> Input {
        self.disconnect();
        Input::LinkLost { reason: reason.to_owned(), draw: draw() }
    }

    /// Input, commit, release.
    async fn step(&mut self, input: Input) -> Result<Flow, DriveError> {
        // A command that could not be committed is asked again of the engine that comes after.
        let again = matches!(input, Input::Command { .. }).then(|| input.clone());
        match self.commit(input) {
            Ok(outgoing) => {
                self.backoff.reset();
                Ok(self.release(outgoing).await)
            }
            Err(error) => self.rebuild(error, again).await,
        }
    }

    fn commit(&mut self, input: Input) -> Result<Outgoing, DriveError> {
        let begun = self.clock.now();
        let step = self.engine.handle(input, begun, &self.store)?;
        let handled = self.clock.now();
        let outgoing = self.store.commit(step)?;
        let (worked, committed) = (handled.since(begun), self.clock.now().since(handled));
        if SLOW_STEP <= worked + committed {
            tracing::warn!(?worked, ?committed, "a step took long");
        } else {
            tracing::trace!(?worked, ?committed, "a step");
        }
        Ok(outgoing)
    }

    /// The engine's memory is ahead of the disk: it is dropped and built anew from there, as soon
    /// as the store takes writes.
    async fn rebuild(
        &mut self,
        error: DriveError,
        again: Option<Input>,
    ) -> Result<Flow, DriveError> {
        self.transfers.clear();
        self.transport = None;
        self.dialing = None;
        let mut error = error;
        loop {
            let pause = self.backoff.next_pause(1.0);
            if !error.is_disk_full() && self.backoff.failures() > MOST_FAILURES {
                self.tell_all(Update::Ended { reason: words(&error) }).await;
                return Err(error);
            }
            let retry_at = self.clock.now().plus(pause);
            let state = LinkState::Offline { retry_at, reason: words(&error) };
            self.tell_all(Update::Link(state)).await;
            sleep(pause).await;
            match self.reopen() {
                Ok(outgoing) => {
                    self.queue.clear();
                    self.queue.extend(again);
                    return Ok(self.release(outgoing).await);
                }
                Err(next) => error = next,
            }
        }
    }

    fn reopen(&mut self) -> Result<Outgoing, DriveError> {
        let faces = self.engine.take_faces();
        let opened = Engine::open(&self.store, faces.clone(), self.clock.now());
        let committed =
            opened.map_err(DriveError::from).and_then(|opened| Ok(self.store.commit(opened)?));
        match committed {
            Ok((engine, outgoing)) => {
                self.engine = engine;
                Ok(outgoing)
            }
            Err(error) => {
                self.engine.give_faces(faces);
                Err(error)
            }
        }
    }

    /// Does what a committed step wants done. Frames first: the network is the slow part.
    async fn release(&mut self, outgoing: Outgoing) -> Flow {
        for frame in &outgoing.frames {
            if let Err(lost) = self.send(frame).await {
                self.queue.push_back(lost);
            }
        }
        if self.transport.is_some() {
            outgoing.transfers.into_iter().for_each(|order| self.transfers.take_order(order));
        }
        if let Some(reason) = outgoing.hang_up {
            let lost = self.lost(&reason);
            self.queue.push_back(lost);
        }
        if let Some(derivation) = outgoing.derive {
            self.derivations.spawn_blocking(move || derivation.derive());
        }
        if let Some(dial) = outgoing.dial {
            self.dial(dial);
        }
        if let Some(renewal) = outgoing.renew {
            // One that is under way answers for both.
            self.renewing.get_or_insert_with(|| self.renewer.renew(renewal));
        }
        let mut dropped: Vec<FaceId> = Vec::new();
        let mut audible = Audible::Yes;
        for (audience, update) in &outgoing.updates {
            if self.attached.tell(*audience, update, &mut dropped).await == Audible::MainGone {
                audible = Audible::MainGone;
            }
        }
        for face in dropped {
            self.attached.remove(face);
            self.queue.push_back(Input::FaceGone(face));
        }
        match (outgoing.ended, audible) {
            (false, Audible::Yes) => Flow::On,
            (true, _) | (_, Audible::MainGone) => Flow::Ended,
        }
    }

    fn dial(&mut self, dial: Dial) {
        self.transfers.clear();
        self.transport = None;
        let route = self.route.clone();
        let connect = async move { Transport::connect(&route, Some(&dial.token)).await };
        self.dialing = Some(Box::pin(connect));
    }

    async fn tell_all(&mut self, update: Update) {
        let outgoing = Outgoing {
            updates: vec![(crate::engine::Audience::All, update)],
            ..Outgoing::default()
        };
        // Nobody listening is noticed by the next wait.
        let _flow = self.release(outgoing).await;
    }
}

/// An error with its causes, in words for people.
fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Uniform in `0.0..1.0`; jitters the pause before a dial. Without randomness there is no jitter.
fn draw() -> f64 {
    let bits = getrandom::u32().unwrap_or(u32::MAX);
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}

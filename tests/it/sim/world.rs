//! Everything of one schedule: clients, the links between them and the gateway, the homeserver, the
//! faults, and one virtual clock. Nothing happens but what is in the queue, and the seed decides it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use grotto::{
    engine::SecretText,
    gateway::PeerInput,
    wire::{ClientFrame, DecodeError, Payload, ServerFrame},
};

use super::{
    client::{Client, Done},
    door::{Door, Flight},
    queue::{Event, Queue, START},
    rng::Rng,
    server::Server,
};

/// How often each fault strikes, in percent of its occasions.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    /// A client dies in a step.
    pub(super) crash: u64,
    /// A link is cut while a frame is on it, before or after it arrives, or in its midst.
    pub(super) cut: u64,
    /// A frame from the server arrives twice.
    pub(super) repeat: u64,
    /// The server refuses a call for now, or its answer is lost.
    pub(super) refuse: u64,
    /// A commit fails for want of space.
    pub(super) full: u64,
    /// A dial fails.
    pub(super) no_dial: u64,
}

pub(super) struct World {
    pub(super) now: u64,
    pub(super) queue: Queue,
    pub(super) rng: Rng,
    pub(super) faults: Faults,
    pub(super) server: Server,
    /// The homeserver cannot be reached before.
    pub(super) down_until: u64,
    pub(super) clients: Vec<Client>,
    pub(super) doors: BTreeMap<u64, Door>,
    pub(super) flights: BTreeMap<u64, Flight>,
    pub(super) last_flight: u64,
    connections: u64,
    /// Links on which nothing arrives any more.
    severed: BTreeSet<u64>,
    pub(super) steps: u64,
    /// Places in the stream at which the rooms were founded, and the faults were over.
    pub(super) founded: u64,
    /// The recovery key of each user, once they wrote it down.
    pub(super) recovery_keys: BTreeMap<String, SecretText>,
    pub(super) calm_since: u64,
    pub(super) loud: bool,
}

impl World {
    pub(super) fn new(seed: u64, clients: Vec<Client>, faults: Faults, loud: bool) -> Self {
        let mut rng = Rng::new(seed);
        let limits = [2, 5, 40];
        let server = Server::new(limits[rng.below(3) as usize]);
        let mut world = Self {
            now: START,
            queue: Queue::default(),
            rng,
            faults,
            server,
            down_until: 0,
            clients: Vec::new(),
            doors: BTreeMap::new(),
            flights: BTreeMap::new(),
            last_flight: 0,
            connections: 0,
            severed: BTreeSet::new(),
            steps: 0,
            founded: 0,
            recovery_keys: BTreeMap::new(),
            calm_since: u64::MAX,
            loud,
        };
        for client in clients {
            world.add_client(client);
        }
        world
    }

    /// A new device comes to life.
    pub(super) fn add_client(&mut self, client: Client) {
        self.server.add_device(&client.caller);
        self.clients.push(client);
        self.after(0, Event::Start(self.clients.len() - 1));
    }

    pub(super) fn after(&mut self, pause: u64, event: Event) {
        self.queue.put(self.now + pause, event);
    }

    /// A person types a line after a while.
    pub(super) fn type_after(&mut self, pause: u64, client: usize, room: &str, text: &str) {
        let (room, text) = (room.to_owned(), text.to_owned());
        self.after(pause, Event::Type { client, room, text });
    }

    /// A person does something now.
    pub(super) fn command(&mut self, client: usize, command: grotto::engine::Command) {
        self.clients[client].command(command);
        self.give_commands(client);
    }

    /// Runs until `until` holds, looked at between events, or the virtual time is over.
    pub(super) fn run(&mut self, limit: Duration, until: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + u64::try_from(limit.as_millis()).expect("short");
        let mut looked = None;
        loop {
            // Looking costs more than most events: in a burst it is done now and then.
            if looked.is_none_or(|(at, steps)| at + 200 < self.now || steps + 25 < self.steps) {
                if until(self) {
                    return true;
                }
                looked = Some((self.now, self.steps));
            }
            let Some((at, event)) = self.queue.take(end) else {
                self.now = end;
                return until(self);
            };
            self.now = self.now.max(at);
            self.server.clock = self.now;
            self.steps += 1;
            assert!(self.steps < 200_000, "the schedule does not end");
            self.happen(event);
            self.look_at_polls();
        }
    }

    /// Whether nothing is left to do but to wait: outboxes empty, frames delivered, all told.
    pub(super) fn is_quiet(&self) -> bool {
        let told = |client: &Client| {
            client.ended
                || client.connection.is_some_and(|connection| self.has_told_all(connection))
        };
        let is_done = |client: &Client| client.ended || client.owner.is_settled();
        if !self.clients.iter().all(|it| told(it) && !it.is_busy() && is_done(it)) {
            return false;
        }
        self.queue.iter().all(|(at, event)| match event {
            Event::Wake { client, .. } => {
                self.now + 3_000 <= at || !self.clients[*client].is_busy()
            }
            Event::ToServer(connection, _) | Event::ToClient(connection, ..) => {
                self.severed.contains(connection)
            }
            Event::CallArrives(_)
            | Event::HoldOver(_)
            | Event::Answered(..)
            | Event::Cut(_)
            | Event::DoorGone(_)
            | Event::DrainOver(_) => true,
            Event::LinkLost { client, connection } => {
                self.clients[*client].connection != Some(*connection)
            }
            Event::Start(client) | Event::HungUp(client) => self.clients[*client].ended,
            Event::Dialed { .. } => true,
            Event::Look(_) => true,
            Event::Carried { client, connection, .. } => {
                self.clients[*client].connection != Some(*connection)
            }
            Event::Type { .. } | Event::Act { .. } | Event::Incident(_) => false,
        })
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::ToServer(connection, payload) => {
                if !self.severed.contains(&connection) {
                    self.at_door(connection, &payload);
                }
            }
            Event::ToClient(connection, client, payload) => {
                self.at_client((connection, client), &payload);
            }
            Event::CallArrives(number) => self.call_arrives(number),
            Event::HoldOver(number) => self.hold_over(number),
            Event::Answered(number, answer) => self.answered(number, answer),
            Event::Dialed { client, dial } => self.dialed(client, dial),
            Event::Cut(connection) => self.cut(connection),
            Event::LinkLost { client, connection } => {
                if self.clients[client].connection == Some(connection) {
                    self.clients[client].connection = None;
                    self.lose(client);
                }
            }
            Event::HungUp(client) => self.lose(client),
            Event::DoorGone(connection) => self.drop_door(connection),
            Event::DrainOver(connection) => self.door_step(connection, PeerInput::DrainOver),
            Event::Wake { client, at } => self.wake(client, at),
            Event::Start(client) => {
                self.step(client, |it, world| it.start(world));
                self.give_commands(client);
            }
            Event::Type { client, room, text } if !self.clients[client].may_type() => {
                self.type_after(2_000, client, &room, &text);
            }
            Event::Type { client, room, text } => {
                self.clients[client].type_line(&room, &text);
                self.give_commands(client);
            }
            Event::Act { client, room, act } => {
                self.clients[client].act(&room, act);
                self.give_commands(client);
            }
            Event::Look(client) => self.owner_looks(client),
            Event::Carried { client, connection, order } => {
                self.carried((client, connection), order);
            }
            Event::Incident(incident) => self.befall(incident),
        }
    }

    fn wake(&mut self, client: usize, at: u64) {
        if self.clients[client].wake == Some(at) {
            self.clients[client].wake = None;
            self.step(client, |it, world| it.tick(world));
        }
    }

    pub(super) fn mood(&mut self) -> (Mood<'_>, &mut [Client]) {
        let place = self.server.now();
        let mood = Mood { now: self.now, place, rng: &mut self.rng, faults: &self.faults };
        (mood, &mut self.clients)
    }

    fn lose(&mut self, client: usize) {
        let draw = self.rng.unit();
        self.step(client, |it, world| it.link_lost(draw, world));
    }

    /// Gives a running client what its person typed.
    fn give_commands(&mut self, client: usize) {
        while self.clients[client].has_commands() {
            self.step(client, |it, world| it.next_command(world));
        }
    }

    /// Lets a client take one input, then does what it released.
    pub(super) fn step(
        &mut self,
        client: usize,
        input: impl FnOnce(&mut Client, &mut Mood<'_>) -> Done,
    ) {
        let (mut mood, clients) = self.mood();
        let done = input(&mut clients[client], &mut mood);
        if let Some(connection) = self.clients[client].connection {
            for frame in done.frames {
                self.send_up(connection, &frame);
            }
        }
        self.order_transfers(client, done.transfers);
        if done.hang_up
            && let Some(connection) = self.clients[client].connection.take()
        {
            // The gateway notices later; what was sent before still arrives.
            let pause = self.silence();
            self.after(pause, Event::DoorGone(connection));
        }
        if let Some(pause) = done.restart_after {
            self.after(pause, Event::Start(client));
        }
        if done.dial {
            self.connections += 1;
            let dial = self.connections;
            self.clients[client].dialing = Some(dial);
            let pause = 1 + self.rng.below(200);
            self.after(pause, Event::Dialed { client, dial });
        }
        self.schedule_wake(client);
        self.call_owner(client);
        if done.hung_up_itself {
            self.after(0, Event::HungUp(client));
        }
    }

    pub(super) fn schedule_wake(&mut self, client: usize) {
        let Some(due) = self.clients[client].deadline() else { return };
        let at = due.max(self.now + 1);
        if self.clients[client].wake.is_none_or(|known| at < known || known < self.now) {
            self.clients[client].wake = Some(at);
            self.queue.put(at, Event::Wake { client, at });
        }
    }

    fn dialed(&mut self, client: usize, dial: u64) {
        if self.clients[client].dialing != Some(dial) {
            return;
        }
        self.clients[client].dialing = None;
        if self.rng.percent(self.faults.no_dial) {
            return self.lose(client);
        }
        self.open_door(dial, client);
        self.clients[client].connection = Some(dial);
        self.step(client, |it, world| it.link_up(world));
    }

    /// The link breaks. Each end notices at its own time; what is on it is lost.
    pub(super) fn cut(&mut self, connection: u64) {
        let Some(door) = self.doors.get(&connection) else { return };
        let client = door.client;
        if self.severed.insert(connection) {
            let pause =
                if self.rng.percent(90) { self.rng.below(50) } else { self.rng.below(28_000) };
            self.after(pause, Event::LinkLost { client, connection });
            let pause = self.silence();
            self.after(pause, Event::DoorGone(connection));
        }
    }

    /// How long the gateway does not notice that a client is gone.
    fn silence(&mut self) -> u64 {
        if self.rng.percent(90) { self.rng.below(3_000) } else { self.rng.below(90_000) }
    }

    pub(super) fn may_be_cut(&mut self, connection: u64) {
        if self.rng.percent(self.faults.cut) {
            let pause = self.rng.below(60);
            self.after(pause, Event::Cut(connection));
        }
    }

    pub(super) fn delay(&mut self) -> u64 {
        if self.rng.percent(5) { self.rng.below(2_000) } else { 1 + self.rng.below(40) }
    }

    fn send_up(&mut self, connection: u64, frame: &ClientFrame) {
        let payload = frame.encode().expect("our frames can be written");
        let at = self.now + self.delay();
        let Some(door) = self.doors.get_mut(&connection) else { return };
        door.last_up = door.last_up.max(at);
        let at = door.last_up;
        self.queue.put(at, Event::ToServer(connection, payload));
        self.may_be_cut(connection);
    }

    /// A message came down a link; what is no frame of a kind we know is skipped or ends it, as
    /// `link::transport` has it.
    fn at_client(&mut self, (connection, client): (u64, usize), payload: &Payload) {
        if let Some(door) = self.doors.get_mut(&connection) {
            door.queued = door.queued.saturating_sub(1);
        }
        let gone = self.clients[client].connection != Some(connection);
        if gone || self.severed.contains(&connection) {
            return;
        }
        let decoded = match payload {
            Payload::Text(text) => ServerFrame::decode_text(text),
            Payload::Binary(bytes) => ServerFrame::decode_binary(bytes),
        };
        match decoded {
            Ok(frame) => self.step(client, |it, world| it.frame(frame, world)),
            Err(DecodeError::UnknownKind { .. } | DecodeError::UnknownChunk(_)) => {}
            Err(error) => panic!("the gateway sends frames: {error}"),
        }
    }

    /// Replayed schedules tell what happens.
    pub(super) fn tell(&self, what: std::fmt::Arguments<'_>) {
        if self.loud {
            eprintln!("{:>8} {what}", self.now - START);
        }
    }
}

/// What a step of a client needs of the world.
pub(super) struct Mood<'a> {
    pub(super) now: u64,
    /// How far the stream is.
    pub(super) place: u64,
    pub(super) rng: &'a mut Rng,
    pub(super) faults: &'a Faults,
}

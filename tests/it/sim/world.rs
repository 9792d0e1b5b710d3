//! Everything of one schedule: clients, the server, the links between them, the faults, and one
//! virtual clock. Nothing happens but what is in the queue, and the seed decides the queue.

use std::{cmp::Reverse, collections::BTreeMap, collections::BinaryHeap, time::Duration};

use grotto::{
    matrix::Position,
    wire::{ClientFrame, RequestFrame, ResponseFrame, ServerFrame, UpdateFrame},
};
use serde_json::{Value, json, value::to_raw_value};

use super::{
    client::{Act, Client, Done},
    rng::Rng,
    server::{Caller, Server},
};

/// How often each fault strikes, in percent of its occasions.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    /// A client dies in a step.
    pub(super) crash: u64,
    /// A connection is cut when a frame arrives, before or after it is taken.
    pub(super) cut: u64,
    /// A frame from the server arrives twice.
    pub(super) repeat: u64,
    /// The server refuses a call for now, before or after doing it.
    pub(super) refuse: u64,
    /// A commit fails for want of space.
    pub(super) full: u64,
    /// A dial fails.
    pub(super) no_dial: u64,
}

#[derive(Debug)]
enum Event {
    ToServer(u64, ClientFrame),
    ToClient(u64, ServerFrame),
    Dialed {
        client: usize,
        dial: u64,
    },
    LinkLost {
        client: usize,
        connection: u64,
    },
    HungUp {
        client: usize,
    },
    Wake {
        client: usize,
        at: u64,
    },
    Start {
        client: usize,
    },
    Poll(u64),
    PeerGone(u64),
    Type {
        client: usize,
        room: String,
        text: String,
    },
    Act {
        client: usize,
        room: String,
        act: Act,
    },
    /// Somebody does it by other means, on the server.
    Member {
        by: String,
        room: String,
        user: String,
        membership: &'static str,
    },
    RestartServer,
}

struct Entry {
    at: u64,
    order: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// How long the server holds an answer that says nothing.
const LONG_POLL: u64 = 30_000;

/// The server's end of one connection: asks for the next sync only with what was acknowledged.
#[derive(Debug)]
struct Peer {
    client: usize,
    /// The acknowledged position; the outer `None` until the client said what it has.
    since: Option<Option<u64>>,
    /// The position that was sent and not acknowledged.
    outstanding: Option<u64>,
    /// Whether the end of a long poll is in the queue.
    polling: bool,
    /// When each direction's last frame arrives: a connection keeps its order.
    last_up: u64,
    last_down: u64,
}

/// The virtual time of the first event.
const START: u64 = 1_700_000_000_000;

pub(super) struct World {
    pub(super) now: u64,
    order: u64,
    queue: BinaryHeap<Reverse<Entry>>,
    pub(super) rng: Rng,
    pub(super) faults: Faults,
    pub(super) server: Server,
    pub(super) clients: Vec<Client>,
    peers: BTreeMap<u64, Peer>,
    connections: u64,
    pub(super) steps: u64,
    loud: bool,
}

impl World {
    pub(super) fn new(seed: u64, clients: Vec<Client>, faults: Faults, loud: bool) -> Self {
        let mut rng = Rng::new(seed);
        let limits = [3, 8, 50];
        let mut server = Server::new(limits[rng.below(3) as usize]);
        for client in &clients {
            server.add_device(&client.caller);
        }
        let mut world = Self {
            now: START,
            order: 0,
            queue: BinaryHeap::new(),
            rng,
            faults,
            server,
            clients,
            peers: BTreeMap::new(),
            connections: 0,
            steps: 0,
            loud,
        };
        for client in 0..world.clients.len() {
            world.after(0, Event::Start { client });
        }
        world
    }

    /// A new device comes to life.
    pub(super) fn add_client(&mut self, client: Client) {
        self.server.add_device(&client.caller);
        self.clients.push(client);
        self.after(0, Event::Start { client: self.clients.len() - 1 });
    }

    fn after(&mut self, pause: u64, event: Event) {
        self.order += 1;
        self.queue.push(Reverse(Entry { at: self.now + pause, order: self.order, event }));
    }

    /// A person types a line after a while.
    pub(super) fn type_after(&mut self, pause: u64, client: usize, room: &str, text: &str) {
        let (room, text) = (room.to_owned(), text.to_owned());
        self.after(pause, Event::Type { client, room, text });
    }

    /// A person does something else after a while.
    pub(super) fn act_after(&mut self, pause: u64, client: usize, room: &str, act: Act) {
        self.after(pause, Event::Act { client, room: room.to_owned(), act });
    }

    /// `by` makes `user` a member or none after a while, with some other program.
    pub(super) fn member_after(
        &mut self,
        pause: u64,
        room: &str,
        (by, user): (&str, &str),
        membership: &'static str,
    ) {
        let (by, room, user) = (by.to_owned(), room.to_owned(), user.to_owned());
        self.after(pause, Event::Member { by, room, user, membership });
    }

    /// A person does something now.
    pub(super) fn command(&mut self, client: usize, command: grotto::engine::Command) {
        self.clients[client].command(command);
        self.give_commands(client);
    }

    pub(super) fn restart_server_after(&mut self, pause: u64) {
        self.after(pause, Event::RestartServer);
    }

    /// Runs until `until` holds, looked at between events, or the virtual time is over.
    pub(super) fn run(&mut self, limit: Duration, until: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + u64::try_from(limit.as_millis()).expect("short");
        while !until(self) {
            let Some(Reverse(entry)) = self.queue.pop() else { return false };
            if entry.at > end {
                self.queue.push(Reverse(entry));
                self.now = end;
                return false;
            }
            self.now = self.now.max(entry.at);
            self.steps += 1;
            assert!(self.steps < 200_000, "the schedule does not end");
            self.happen(entry.event);
        }
        true
    }

    /// Whether nothing is left to do but to wait: outboxes empty, frames delivered, all told.
    pub(super) fn is_quiet(&self) -> bool {
        let moving = self.queue.iter().any(|Reverse(entry)| match &entry.event {
            Event::Wake { client, .. } => {
                entry.at < self.now + 3_000 && self.clients[*client].is_busy()
            }
            Event::Poll(_) | Event::PeerGone(_) => false,
            Event::ToServer(..)
            | Event::ToClient(..)
            | Event::Dialed { .. }
            | Event::LinkLost { .. }
            | Event::HungUp { .. }
            | Event::Start { .. }
            | Event::Type { .. }
            | Event::Act { .. }
            | Event::Member { .. }
            | Event::RestartServer => true,
        });
        let told = |client: &Client| {
            let peer = client.connection.and_then(|connection| self.peers.get(&connection));
            peer.is_some_and(|peer| peer.outstanding.is_none() && peer.since.is_some())
        };
        !moving && self.clients.iter().all(|client| told(client) && !client.is_busy())
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::ToServer(connection, frame) => self.at_server(connection, frame),
            Event::ToClient(connection, frame) => self.at_client(connection, frame),
            Event::Dialed { client, dial } => self.dialed(client, dial),
            Event::LinkLost { client, connection } => {
                if self.clients[client].connection == Some(connection) {
                    self.clients[client].connection = None;
                    let draw = self.rng.unit();
                    self.step(client, |it, world| it.link_lost(draw, world));
                }
            }
            Event::HungUp { client } => {
                let draw = self.rng.unit();
                self.step(client, |it, world| it.link_lost(draw, world));
            }
            Event::Wake { client, at } => {
                if self.clients[client].wake == Some(at) {
                    self.clients[client].wake = None;
                    self.step(client, |it, world| it.tick(world));
                }
            }
            Event::Start { client } => self.start(client),
            Event::Poll(connection) => self.poll(connection),
            Event::PeerGone(connection) => drop(self.peers.remove(&connection)),
            Event::Type { client, room, text } => {
                self.clients[client].type_line(&room, &text);
                self.give_commands(client);
            }
            Event::Act { client, room, act } => {
                self.tell(format_args!("{} does {act:?}", self.clients[client].caller.device));
                self.clients[client].act(&room, act);
                self.give_commands(client);
            }
            Event::Member { by, room, user, membership } => {
                self.tell(format_args!("{by}: {user} {membership} in {room}"));
                let caller = Caller { user: by, device: "web".to_owned() };
                self.server.member(&caller, &room, &user, membership);
                self.sync_all();
            }
            Event::RestartServer => {
                let all: Vec<u64> = self.peers.keys().copied().collect();
                for connection in all {
                    self.cut(connection);
                }
            }
        }
    }

    fn start(&mut self, client: usize) {
        self.step(client, |it, world| it.start(world));
        self.give_commands(client);
    }

    /// Gives a running client what its person typed.
    fn give_commands(&mut self, client: usize) {
        while self.clients[client].has_commands() {
            self.step(client, |it, world| it.next_command(world));
        }
    }

    /// Lets a client take one input, then does what it released.
    fn step(&mut self, client: usize, input: impl FnOnce(&mut Client, &mut Mood<'_>) -> Done) {
        let mut mood = Mood { now: self.now, rng: &mut self.rng, faults: &self.faults };
        let done = input(&mut self.clients[client], &mut mood);
        if let Some(connection) = self.clients[client].connection {
            for frame in done.frames {
                self.send_up(connection, frame);
            }
        }
        if done.hang_up
            && let Some(connection) = self.clients[client].connection.take()
        {
            // The server notices later; what was sent before still arrives.
            let pause = self.rng.below(3_000);
            self.after(pause, Event::PeerGone(connection));
        }
        if let Some(pause) = done.restart_after {
            self.after(pause, Event::Start { client });
        }
        if done.dial {
            self.connections += 1;
            let dial = self.connections;
            self.clients[client].dialing = Some(dial);
            let pause = 1 + self.rng.below(200);
            self.after(pause, Event::Dialed { client, dial });
        }
        self.schedule_wake(client);
        if done.hung_up_itself {
            self.after(0, Event::HungUp { client });
        }
    }

    fn schedule_wake(&mut self, client: usize) {
        let Some(due) = self.clients[client].deadline() else { return };
        let at = due.max(self.now + 1);
        if self.clients[client].wake.is_none_or(|known| at < known || known < self.now) {
            self.clients[client].wake = Some(at);
            self.after(at - self.now, Event::Wake { client, at });
        }
    }

    fn dialed(&mut self, client: usize, dial: u64) {
        if self.clients[client].dialing != Some(dial) {
            return;
        }
        self.clients[client].dialing = None;
        if self.rng.percent(self.faults.no_dial) {
            let draw = self.rng.unit();
            self.step(client, |it, world| it.link_lost(draw, world));
            return;
        }
        let peer = Peer {
            client,
            since: None,
            outstanding: None,
            polling: false,
            last_up: 0,
            last_down: 0,
        };
        self.peers.insert(dial, peer);
        self.clients[client].connection = Some(dial);
        self.step(client, |it, world| it.link_up(world));
    }

    /// The connection ends for both; the client notices a little later.
    fn cut(&mut self, connection: u64) {
        if let Some(peer) = self.peers.remove(&connection) {
            let pause = self.rng.below(50);
            self.after(pause, Event::LinkLost { client: peer.client, connection });
        }
    }

    fn delay(&mut self) -> u64 {
        if self.rng.percent(5) { self.rng.below(2_000) } else { 1 + self.rng.below(40) }
    }

    fn send_up(&mut self, connection: u64, frame: ClientFrame) {
        let at = self.now + self.delay();
        let Some(peer) = self.peers.get_mut(&connection) else { return };
        peer.last_up = peer.last_up.max(at);
        let pause = peer.last_up - self.now;
        self.after(pause, Event::ToServer(connection, frame));
    }

    fn send_down(&mut self, connection: u64, frame: ServerFrame) {
        let at = self.now + self.delay();
        let Some(peer) = self.peers.get_mut(&connection) else { return };
        peer.last_down = peer.last_down.max(at);
        let pause = peer.last_down - self.now;
        if self.rng.percent(self.faults.repeat) {
            self.after(pause, Event::ToClient(connection, frame.clone()));
        }
        self.after(pause, Event::ToClient(connection, frame));
    }

    fn at_server(&mut self, connection: u64, frame: ClientFrame) {
        if !self.peers.contains_key(&connection) {
            return;
        }
        if self.rng.percent(self.faults.cut) {
            self.cut(connection);
            return;
        }
        match frame {
            ClientFrame::Request(request) => self.answer(connection, &request),
            ClientFrame::Sync(sync) => {
                let since = sync.since.map(|position| place(&position));
                let peer = self.peers.get_mut(&connection).expect("checked");
                peer.since = Some(since);
                peer.outstanding = None;
                // The first answer comes at once, even if it brings nothing.
                self.sync_one(connection, true);
            }
            ClientFrame::Ack(position) => {
                let peer = self.peers.get_mut(&connection).expect("checked");
                let place = place(&position);
                if peer.outstanding == Some(place) {
                    peer.outstanding = None;
                    peer.since = Some(Some(place));
                }
            }
            ClientFrame::Cancel(_) | ClientFrame::Window(_) | ClientFrame::Chunk(_) => {}
        }
        self.sync_all();
        if self.rng.percent(self.faults.cut) {
            self.cut(connection);
        }
    }

    /// Replayed schedules tell what happens.
    fn tell(&self, what: std::fmt::Arguments<'_>) {
        if self.loud {
            eprintln!("{:>8} {what}", self.now - START);
        }
    }

    fn answer(&mut self, connection: u64, request: &RequestFrame) {
        let caller = self.clients[self.peers[&connection].client].caller.clone();
        let body = request
            .body
            .as_ref()
            .map_or(Value::Null, |body| serde_json::from_str(body.get()).expect("bodies are JSON"));
        let refused = self.rng.percent(self.faults.refuse);
        let done = !refused || self.rng.percent(30);
        let call = (request.method.as_str(), request.path.as_str());
        let mut answer = (500, json!({}));
        if done {
            answer = self.server.call(&caller, call, &request.query, &body);
        }
        if refused {
            answer = match done {
                true => (502, json!("bad gateway")),
                false => {
                    let pause = 100 + self.rng.below(1_000);
                    (429, json!({ "errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": pause }))
                }
            };
        }
        let (status, text) = (answer.0, answer.1.to_string());
        let text: String = text.chars().take(300).collect();
        let asked: String = body.to_string().chars().take(300).collect();
        self.tell(format_args!("{} {} {asked}", caller.device, request.path));
        self.tell(format_args!("{}   -> {status} done {done} {text}", caller.device));
        let response = ResponseFrame {
            id: request.id,
            status: answer.0,
            body: to_raw_value(&answer.1).expect("JSON"),
            retry_after: None,
            download: None,
        };
        self.send_down(connection, ServerFrame::Response(response));
    }

    /// Whoever waits for a sync and has something to hear gets it.
    fn sync_all(&mut self) {
        let all: Vec<u64> = self.peers.keys().copied().collect();
        for connection in all {
            self.sync_one(connection, false);
        }
    }

    /// The long poll timed out: the answer says what there is, if only counts.
    fn poll(&mut self, connection: u64) {
        if let Some(peer) = self.peers.get_mut(&connection) {
            peer.polling = false;
        }
        self.sync_one(connection, true);
    }

    fn sync_one(&mut self, connection: u64, timed_out: bool) {
        let peer = &self.peers.get(&connection);
        let Some(Peer { client, since: Some(since), outstanding: None, .. }) = peer else { return };
        let (client, since) = (*client, *since);
        let caller = self.clients[client].caller.clone();
        let (body, says) = self.server.sync(&caller, since);
        if !says && !timed_out {
            let peer = self.peers.get_mut(&connection).expect("checked");
            if !std::mem::replace(&mut peer.polling, true) {
                self.after(LONG_POLL, Event::Poll(connection));
            }
            return;
        }
        let place = self.server.now();
        self.peers.get_mut(&connection).expect("checked").outstanding = Some(place);
        let update = UpdateFrame {
            position: Position(format!("s{place}")),
            since: since.map(|since| Position(format!("s{since}"))),
            body: to_raw_value(&body).expect("JSON"),
        };
        let text: String = update.body.get().chars().take(1500).collect();
        self.tell(format_args!("{} sync {place} {text}", caller.device));
        self.send_down(connection, ServerFrame::Update(update));
    }

    fn at_client(&mut self, connection: u64, frame: ServerFrame) {
        let Some(peer) = self.peers.get(&connection) else { return };
        let client = peer.client;
        if self.clients[client].connection != Some(connection) {
            return;
        }
        if self.rng.percent(self.faults.cut) {
            self.cut(connection);
            return;
        }
        self.step(client, |it, world| it.frame(frame, world));
        if self.rng.percent(self.faults.cut) {
            self.cut(connection);
        }
    }
}

/// What a step of a client needs of the world.
pub(super) struct Mood<'a> {
    pub(super) now: u64,
    pub(super) rng: &'a mut Rng,
    pub(super) faults: &'a Faults,
}

fn place(position: &Position) -> u64 {
    position.0[1..].parse().expect("our position")
}

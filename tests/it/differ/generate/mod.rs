//! Random calls: mostly such as people in a few rooms make, many such as nobody should.

mod events;
mod keys;
mod media;
mod people;
mod reads;
mod rooms;
mod wrong;

use serde_json::{Value, json};

use super::{
    call::{Call, Who},
    random::Random,
};

/// How many people a sequence has; the last one is mostly outside.
const PEOPLE: usize = 4;

/// What the generator believes about a room: only to make calls that make sense more likely.
#[derive(Debug)]
struct Room {
    /// Who was last asked to be in it.
    inside: [bool; PEOPLE],
    creator: usize,
    /// Whom somebody tried to ban.
    banned: [bool; PEOPLE],
    /// Whether it lets guests in: Synapse adds that to rooms that go on in others.
    has_guests: bool,
}

/// What the generator knows of what it made.
#[derive(Debug)]
pub(super) struct World {
    random: Random,
    /// What the names of this sequence begin with.
    prefix: String,
    rooms: Vec<Room>,
    /// Room and sender of each event.
    events: Vec<(usize, usize)>,
    /// Logins beyond the first of each.
    tokens: Vec<usize>,
    backups: usize,
    filters: usize,
    files: usize,
    /// Who has begun a sliding sync.
    has_slid: [bool; PEOPLE],
    next: usize,
}

impl World {
    pub(super) fn new(mut random: Random) -> Self {
        let prefix = format!("d{:06}", random.below(1_000_000));
        Self {
            random,
            prefix,
            rooms: Vec::new(),
            events: Vec::new(),
            tokens: Vec::new(),
            backups: 0,
            filters: 0,
            files: 0,
            has_slid: [false; PEOPLE],
            next: 0,
        }
    }

    /// Localparts of the people.
    pub(super) fn people(&self) -> Vec<String> {
        (0..PEOPLE).map(|place| format!("{}p{place}", self.prefix)).collect()
    }

    fn user(&self, place: usize) -> String {
        format!("@{}p{place}:localhost", self.prefix)
    }

    /// A fresh number.
    fn number(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    /// The next call.
    pub(super) fn next_call(&mut self) -> Call {
        let call = match self.random.below(100) {
            // So that each of them has a place to go on from.
            _ if self.next < PEOPLE => {
                let person = self.next;
                self.sync(person).bind("/next_batch", format!("{{o{person}}}"))
            }
            _ if self.rooms.len() < 2 => self.create(),
            0..=2 if self.rooms.len() < 4 => self.create(),
            3 if self.rooms.len() < 4 => self.upgrade(),
            0..=24 => self.membership(),
            25..=38 => self.send(),
            39..=50 => self.state(),
            51..=68 => self.read(),
            69..=82 => self.personal(),
            83..=90 => self.keys(),
            91..=93 => self.media(),
            _ => self.rooms_by_name(),
        };
        let call = call.with_known_wrong();
        if self.random.percent(14) { self.spoil(call) } else { call }
    }

    /// Anybody.
    fn anybody(&mut self) -> usize {
        self.random.below(PEOPLE)
    }

    /// Any room, and mostly somebody who should be in it.
    fn somewhere(&mut self) -> (usize, usize) {
        let room = self.random.below(self.rooms.len());
        if self.random.percent(22) {
            return (room, self.anybody());
        }
        let inside: Vec<usize> =
            (0..PEOPLE).filter(|&place| self.rooms[room].inside[place]).collect();
        let person = if inside.is_empty() { self.anybody() } else { self.random.of(&inside) };
        (room, person)
    }

    fn room(room: usize) -> String {
        format!("{{r{room}}}")
    }

    /// An event of a room, seldom of another one.
    fn event_of(&mut self, room: usize) -> String {
        let own: Vec<usize> =
            (0..self.events.len()).filter(|&event| self.events[event].0 == room).collect();
        match self.random.below(10) {
            0 if !self.events.is_empty() => {
                format!("{{e{}}}", self.random.below(self.events.len()))
            }
            1 | 2 => {
                let kinds = ["m.room.create|", "m.room.power_levels|", "m.room.join_rules|"];
                format!("{{e{{r{room}}}|{}}}", self.random.of(&kinds))
            }
            _ if own.is_empty() => format!("{{e{{r{room}}}|m.room.create|}}"),
            _ => format!("{{e{}}}", self.random.of(&own)),
        }
    }

    /// What each of them sees at the end.
    pub(super) fn probes(&mut self) -> Vec<Call> {
        let mut calls = Vec::new();
        for person in 0..PEOPLE {
            let who = Who::Person(person);
            let get = |template| Call::new(who.clone(), "GET", template);
            calls.push(get("/client/v3/joined_rooms"));
            calls.push(self.next_sync(person));
            calls.push(self.sync(person));
            calls.push(self.sliding_sync(person));
            calls.push(get("/client/v3/devices"));
            for room in 0..self.rooms.len() {
                let room = Self::room(room);
                calls.push(get("/client/v3/rooms/{}/state").with([&room]));
                calls.push(get("/client/v3/rooms/{}/members").with([&room]));
                calls.push(get("/client/v3/rooms/{}/joined_members").with([&room]));
                let messages = get("/client/v3/rooms/{}/messages").with([&room]);
                calls.push(messages.query("dir", "b").query("limit", "100"));
            }
        }
        calls
    }

    /// A first sync. The filter is another each time, as Synapse keeps answers for two minutes.
    fn sync(&mut self, person: usize) -> Call {
        let limit = 100 + self.number();
        Call::new(Who::Person(person), "GET", "/client/v3/sync")
            .query("timeout", "0")
            .query("filter", json!({"room": {"timeline": {"limit": limit}}}).to_string())
            .bind("/next_batch", format!("{{s{person}}}"))
    }

    /// What is new since the last sync.
    fn next_sync(&mut self, person: usize) -> Call {
        self.sync(person).query("since", format!("{{s{person}}}"))
    }

    fn text_message(&mut self) -> Value {
        let number = self.number();
        json!({"msgtype": "m.text", "body": format!("words {number}")})
    }
}

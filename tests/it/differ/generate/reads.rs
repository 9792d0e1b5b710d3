//! Looking into rooms, and telling where one is.

use serde_json::json;

use super::World;
use crate::differ::call::{Call, Who};

impl World {
    /// Somebody reads.
    pub(super) fn read(&mut self) -> Call {
        let (room, person) = self.somewhere();
        let id = Self::room(room);
        let event = self.event_of(room);
        let other = self.anybody();
        let other = self.user(other);
        let get = |template| Call::new(Who::Person(person), "GET", template);
        let in_room = |template| get(template).with([&id]);
        let of_event = |template| get(template).with([&id, &event]);
        match self.random.below(30) {
            0 | 1 => of_event("/client/v3/rooms/{}/event/{}"),
            2 | 3 => {
                let limit = self.random.of(&["0", "3", "10"]);
                of_event("/client/v3/rooms/{}/context/{}").query("limit", limit)
            }
            4 => in_room("/client/v3/rooms/{}/messages")
                .query("dir", self.random.of(&["b", "f", "b", "x"]))
                .query("limit", self.random.of(&["5", "50", "0", "-1", "x"])),
            5 => in_room("/client/v3/rooms/{}/members")
                .query("membership", self.random.of(&["join", "leave", "invite", "odd"])),
            6 => in_room("/client/v3/rooms/{}/members")
                .query("not_membership", self.random.of(&["join", "leave", "ban"])),
            7 => in_room("/client/v3/rooms/{}/joined_members"),
            8 => of_event("/client/v1/rooms/{}/relations/{}"),
            9 => get("/client/v1/rooms/{}/relations/{}/{}").with([&id, &event, "m.annotation"]),
            10 => in_room("/client/v1/rooms/{}/threads"),
            11 => in_room("/client/v3/rooms/{}/state").bind("", id.clone()),
            12 => {
                let kind = self.random.of(&["m.room.name", "m.room.create", "m.room.topic"]);
                get("/client/v3/rooms/{}/state/{}").with([&id, kind])
            }
            13 => get("/client/v3/rooms/{}/state/m.room.member/{}").with([&id, &other]),
            14 => in_room("/client/v1/rooms/{}/timestamp_to_event")
                .query("ts", self.random.of(&["0", "99999999999999", "x"]))
                .query("dir", self.random.of(&["f", "b"]))
                .status_only(),
            15 if self.random.percent(50) => self.sync(person),
            15 => with_state_after(self.sync(person)),
            16 => get("/client/v3/joined_rooms"),
            18 => self.next_sync(person),
            19 if self.random.percent(50) => with_state_after(self.next_sync(person)),
            19 => get("/client/v3/keys/changes")
                .query("from", format!("{{o{person}}}"))
                .query("to", format!("{{s{person}}}")),
            20 | 21 => self.sliding_sync(person),
            22 => self.public_rooms(person),
            17 => in_room("/client/v3/rooms/{}/initialSync").status_only(),
            _ => self.tell_where(&id, &event, person),
        }
    }

    /// A sliding sync, mostly one that goes on from the last.
    pub(super) fn sliding_sync(&mut self, person: usize) -> Call {
        let state = json!([
            ["m.room.create", ""],
            ["m.room.member", "$LAZY"],
            ["m.room.name", ""],
            ["m.room.join_rules", ""],
            ["m.room.encryption", ""]
        ]);
        let mut body = json!({
            "conn_id": "main",
            "lists": {"all": {"ranges": [[0, 20]], "required_state": state,
                "timeline_limit": self.random.of(&[1, 5, 20])}},
            "extensions": {"to_device": {"enabled": true}, "e2ee": {"enabled": true},
                "account_data": {"enabled": true}, "receipts": {"enabled": true},
                "typing": {"enabled": true}},
        });
        if self.random.percent(25) {
            let room = Self::room(self.random.below(self.rooms.len()));
            let wish = json!({"required_state": [["*", "*"]], "timeline_limit": 3});
            body["room_subscriptions"] = json!({room: wish});
        }
        let template = "/client/unstable/org.matrix.simplified_msc3575/sync";
        let call = Call::new(Who::Person(person), "POST", template).query("timeout", "0");
        let call = call.json(body).bind("/pos", format!("{{p{person}}}"));
        if self.has_slid[person] && self.random.percent(80) {
            return call.query("pos", format!("{{p{person}}}"));
        }
        self.has_slid[person] = true;
        call
    }

    /// The rooms that everybody may find.
    fn public_rooms(&mut self, person: usize) -> Call {
        let template = "/client/v3/publicRooms";
        let who = self.random.of(&[Who::Person(person), Who::Person(person), Who::Nobody]);
        if self.random.percent(30) {
            let call = Call::new(who, "GET", template).query("limit", "100");
            return call.status_only();
        }
        // Rooms of other sequences have no names of this one.
        let term = format!("public {}", self.prefix);
        let filter = json!({"generic_search_term": self.random.of(&[term, self.prefix.clone()])});
        let limit = self.random.of(&[json!(1), json!(10), json!("x")]);
        Call::new(who, "POST", template).json(json!({"filter": filter, "limit": limit}))
    }

    /// Receipts, markers, typing, reports.
    fn tell_where(&mut self, room: &str, event: &str, person: usize) -> Call {
        let kinds = ["m.read", "m.read", "m.read.private", "m.fully_read", "m.odd"];
        let call = |method, template| Call::new(Who::Person(person), method, template);
        let me = self.user(person);
        let other = self.anybody();
        let who = if self.random.percent(80) { me } else { self.user(other) };
        match self.random.below(7) {
            0..=2 => call("POST", "/client/v3/rooms/{}/receipt/{}/{}")
                .with([room, self.random.of(&kinds), event])
                .json(self.random.of(&[
                    json!({}),
                    json!({"thread_id": "main"}),
                    json!({"thread_id": ""}),
                ])),
            3 => call("POST", "/client/v3/rooms/{}/read_markers")
                .with([room])
                .json(json!({"m.fully_read": event, "m.read": event})),
            4 | 5 => call("PUT", "/client/v3/rooms/{}/typing/{}")
                .with([room, &who])
                .json(json!({"typing": self.random.of(&[true, false, false]), "timeout": 60_000})),
            _ => call("POST", "/client/v3/rooms/{}/report/{}")
                .with([room, event])
                .json(json!({"reason": "it is rude", "score": -100})),
        }
    }
}

/// By both names: Synapse knows the one of the proposal.
fn with_state_after(call: Call) -> Call {
    call.query("use_state_after", "true").query("org.matrix.msc4222.use_state_after", "true")
}

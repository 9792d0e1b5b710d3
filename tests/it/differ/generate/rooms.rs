//! Rooms: making them, who is in them, their names in the directory.

use serde_json::{Value, json};

use super::{PEOPLE, Room, World};
use crate::differ::call::{Call, Who};

impl World {
    /// A new room.
    pub(super) fn create(&mut self) -> Call {
        let creator = self.anybody();
        let room = self.rooms.len();
        let mut body = json!({
            "room_version": self.random.of(&["10", "11", "12", "12"]),
            "preset": self.random.of(&["private_chat", "public_chat", "trusted_private_chat"]),
        });
        let mut inside = [false; PEOPLE];
        inside[creator] = true;
        if self.random.percent(50) {
            let public = format!("public {} {room}", self.prefix);
            let names = ["A room", "", "Räume 🜂", public.as_str()];
            body["name"] = self.random.of(&names).into();
        }
        if self.random.percent(40) {
            body["topic"] = "what it is about".into();
        }
        if self.random.percent(50) {
            let guest = self.anybody();
            body["invite"] = json!([self.user(guest)]);
            inside[guest] = true;
        }
        for (field, value) in self.create_options(room) {
            if self.random.percent(12) {
                body[field] = value;
            }
        }
        let has_guests = body["preset"] != "public_chat" && body["visibility"] != "public";
        self.rooms.push(Room { inside, creator, banned: [false; PEOPLE], has_guests });
        Call::new(Who::Person(creator), "POST", "/client/v3/createRoom")
            .json(body)
            .bind("/room_id", Self::room(room))
    }

    /// A room that goes on in a new one.
    pub(super) fn upgrade(&mut self) -> Call {
        let (old, person) = self.somewhere();
        if !self.rooms[old].has_guests {
            return self.create();
        }
        let room = self.rooms.len();
        let mut inside = [false; PEOPLE];
        inside[person] = true;
        let banned = [false; PEOPLE];
        self.rooms.push(Room { inside, creator: person, banned, has_guests: true });
        Call::new(Who::Person(person), "POST", "/client/v3/rooms/{}/upgrade")
            .with([&Self::room(old)])
            .json(json!({"new_version": self.random.of(&["11", "12", "99"])}))
            .bind("/replacement_room", Self::room(room))
    }

    fn create_options(&mut self, room: usize) -> Vec<(&'static str, Value)> {
        let alias = format!("{}r{room}", self.prefix);
        let other = self.anybody();
        let other = self.user(other);
        let visibility = self.random.of(&["invited", "joined", "shared", "world_readable"]);
        let rule = self.random.of(&["public", "invite", "knock", "private", "restricted"]);
        vec![
            ("room_alias_name", alias.into()),
            ("is_direct", true.into()),
            ("visibility", self.random.of(&["public", "private"]).into()),
            ("creation_content", json!({"m.federate": false, "type": "m.space"})),
            ("power_level_content_override", json!({"events_default": 10, "users_default": 5})),
            ("power_level_content_override", json!({"events": {"m.room.name": 3, other: 4}})),
            (
                "initial_state",
                json!([{"type": "m.room.encryption", "state_key": "",
                "content": {"algorithm": "m.megolm.v1.aes-sha2"}}]),
            ),
            (
                "initial_state",
                json!([{"type": "m.room.history_visibility", "state_key": "",
                "content": {"history_visibility": visibility}}]),
            ),
            (
                "initial_state",
                json!([{"type": "m.room.join_rules",
                "content": {"join_rule": rule}}]),
            ),
            ("room_version", self.random.of(&["99", "org.example"]).into()),
        ]
    }

    /// Somebody comes, goes, asks, or is made to.
    pub(super) fn membership(&mut self) -> Call {
        let (room, person) = self.somewhere();
        let other = self.anybody();
        let id = Self::room(room);
        let who = Who::Person(person);
        let target = json!({"user_id": self.user(other)});
        let to_room = |method, template| Call::new(who.clone(), method, template).with([&id]);
        let post = |template| to_room("POST", template);
        match self.random.below(22) {
            0..=4 => {
                self.rooms[room].inside[other] = true;
                let join = self.random.of(&["/client/v3/join/{}", "/client/v3/rooms/{}/join"]);
                Call::new(Who::Person(other), "POST", join).with([&id]).json(json!({}))
            }
            5..=8 => {
                self.rooms[room].inside[other] = true;
                post("/client/v3/rooms/{}/invite").json(target)
            }
            9 => Call::new(Who::Person(other), "POST", "/client/v3/knock/{}")
                .with([&id])
                .json(json!({"reason": "please"})),
            10 | 11 => {
                self.rooms[room].inside[person] = false;
                post("/client/v3/rooms/{}/leave").json(json!({}))
            }
            12 => post("/client/v3/rooms/{}/forget").json(json!({})),
            13 | 14 => {
                self.rooms[room].inside[other] = other == self.rooms[room].creator;
                post("/client/v3/rooms/{}/kick").json(target)
            }
            // After taking back a ban that is none, Synapse shows the room as one that was left.
            17 | 18 if self.rooms[room].banned[other] => {
                post("/client/v3/rooms/{}/unban").json(target)
            }
            15..=18 => {
                self.rooms[room].banned[other] = true;
                post("/client/v3/rooms/{}/ban").json(target)
            }
            _ => self.member_event(&id, person, other),
        }
    }

    /// A membership said as a state event, which checks other things.
    fn member_event(&mut self, room: &str, person: usize, other: usize) -> Call {
        let membership = self.random.of(&["join", "invite", "leave", "ban", "knock", "nothing"]);
        let target = self.user(other);
        let template = "/client/v3/rooms/{}/state/m.room.member/{}";
        Call::new(Who::Person(person), "PUT", template)
            .with([room, &target])
            .json(json!({"membership": membership, "displayname": "another name"}))
    }

    /// Aliases, the directory, and what is shown of rooms to those outside.
    pub(super) fn rooms_by_name(&mut self) -> Call {
        let (room, person) = self.somewhere();
        let id = Self::room(room);
        let who = Who::Person(person);
        let number = self.random.below(3);
        let alias = self.random.of(&[
            format!("#{}a{number}:localhost", self.prefix),
            format!("#{}r{room}:localhost", self.prefix),
            "#elsewhere:example.org".to_owned(),
            "no alias".to_owned(),
        ]);
        let own_alias = format!("#{}a{number}:localhost", self.prefix);
        let call = |method, template| Call::new(who.clone(), method, template);
        match self.random.below(12) {
            0..=2 => call("PUT", "/client/v3/directory/room/{}")
                .with([&own_alias])
                .json(json!({"room_id": id})),
            3 => call("GET", "/client/v3/directory/room/{}").with([&alias]),
            4 => call("DELETE", "/client/v3/directory/room/{}").with([&alias]),
            5 => call("GET", "/client/v3/rooms/{}/aliases").with([&id]),
            6 => call("PUT", "/client/v3/directory/list/room/{}")
                .with([&id])
                .json(json!({"visibility": self.random.of(&["public", "private", "odd"])})),
            7 => call("GET", "/client/v3/directory/list/room/{}").with([&id]),
            8 => call("GET", "/client/v1/room_summary/{}").with([&id]),
            9 => call("GET", "/client/v1/rooms/{}/hierarchy").with([&id]),
            10 => call("POST", "/client/v3/join/{}").with([&alias]).json(json!({})),
            _ => call("POST", "/client/v3/knock/{}").with([&alias]).json(json!({})),
        }
    }
}

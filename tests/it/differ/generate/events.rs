//! What people say in rooms, and what they set there.

use serde_json::{Value, json};

use super::World;
use crate::differ::call::{Call, Who};

impl World {
    /// A message, a reaction, an edit, a redaction.
    pub(super) fn send(&mut self) -> Call {
        let (room, person) = self.somewhere();
        let id = Self::room(room);
        if self.random.percent(22) {
            return self.redact(room, person);
        }
        let target = self.event_of(room);
        let mut kind = "m.room.message";
        let mut content = self.text_message();
        match self.random.below(10) {
            0 | 1 => {
                kind = "m.reaction";
                content = json!({"m.relates_to": {"rel_type": "m.annotation", "event_id": target,
                    "key": self.random.of(&["👍", "👎"])}});
            }
            2 => {
                let new = self.text_message();
                content["m.new_content"] = new;
                content["m.relates_to"] = json!({"rel_type": "m.replace", "event_id": target});
            }
            3 | 4 => {
                content["m.relates_to"] = json!({"rel_type": "m.thread", "event_id": target});
            }
            5 => kind = "m.room.encrypted",
            6 => {
                kind = self.random.of(&[
                    "org.example.thing",
                    "m.room.member",
                    "m.room.redaction",
                    "m.room.create",
                ])
            }
            _ => {}
        }
        let transaction = format!("t{}", self.random.below(60));
        let number = self.events.len();
        self.events.push((room, person));
        Call::new(Who::Person(person), "PUT", "/client/v3/rooms/{}/send/{}/{}")
            .with([&id, kind, &transaction])
            .json(content)
            .bind("/event_id", format!("{{e{number}}}"))
    }

    fn redact(&mut self, room: usize, person: usize) -> Call {
        let event = self.event_of(room);
        let transaction = format!("x{}", self.number());
        let mut body = json!({});
        if self.random.percent(50) {
            body["reason"] = "it was wrong".into();
        }
        Call::new(Who::Person(person), "PUT", "/client/v3/rooms/{}/redact/{}/{}")
            .with([&Self::room(room), &event, &transaction])
            .json(body)
    }

    /// State of a room.
    pub(super) fn state(&mut self) -> Call {
        let (room, person) = self.somewhere();
        let id = Self::room(room);
        let (kind, key, content) = self.state_event(person);
        let who = Who::Person(person);
        if key.is_empty() && self.random.percent(30) {
            return Call::new(who, "PUT", "/client/v3/rooms/{}/state/{}")
                .with([&id, &kind])
                .json(content);
        }
        Call::new(who, "PUT", "/client/v3/rooms/{}/state/{}/{}")
            .with([&id, &kind, &key])
            .json(content)
    }

    fn state_event(&mut self, person: usize) -> (String, String, Value) {
        let number = self.number();
        let visibility = self.random.of(&["invited", "joined", "shared", "world_readable", "all"]);
        let rule = self.random.of(&["public", "invite", "knock", "private", "knock_restricted"]);
        let alias = format!("#{}a{}:localhost", self.prefix, self.random.below(3));
        let (kind, key, content) = match self.random.below(14) {
            0 => ("m.room.name", String::new(), json!({"name": format!("room {number}")})),
            1 => ("m.room.topic", String::new(), json!({"topic": "another topic"})),
            2 | 3 => ("m.room.join_rules", String::new(), json!({"join_rule": rule})),
            4 | 5 => {
                let content = json!({"history_visibility": visibility});
                ("m.room.history_visibility", String::new(), content)
            }
            6 | 7 => ("m.room.power_levels", String::new(), self.power_levels()),
            8 => ("m.room.canonical_alias", String::new(), json!({"alias": alias})),
            9 => {
                let content = json!({"algorithm": "m.megolm.v1.aes-sha2"});
                ("m.room.encryption", String::new(), content)
            }
            10 => {
                let allow = Self::room(self.random.below(self.rooms.len()));
                let content = json!({"join_rule": "restricted",
                    "allow": [{"type": "m.room_membership", "room_id": allow}]});
                ("m.room.join_rules", String::new(), content)
            }
            11 => {
                let child = Self::room(self.random.below(self.rooms.len()));
                ("m.space.child", child, json!({"via": ["localhost"]}))
            }
            12 => {
                let other = self.anybody();
                let key = self.random.of(&[
                    self.user(other),
                    self.user(person),
                    "@x:example.org".to_owned(),
                ]);
                ("org.example.mine", key, json!({"n": number}))
            }
            _ => {
                let key = self.random.of(&["", "key", "/", "."]).to_owned();
                let kind = self.random.of(&[
                    "org.example.state",
                    "m.room.pinned_events",
                    "m.room.create",
                    "m.room.guest_access",
                    "m.room.tombstone",
                    "m.room.server_acl",
                ]);
                (kind, key, json!({"pinned": [], "guest_access": "can_join", "n": number}))
            }
        };
        (kind.to_owned(), key, content)
    }

    fn power_levels(&mut self) -> Value {
        let (one, two) = (self.anybody(), self.anybody());
        let mut users = json!({});
        users[self.user(one)] = self.random.of(&[json!(100), json!(50), json!(0), json!("7")]);
        users[self.user(two)] = self.random.of(&[json!(100), json!(100), json!(101), json!(1.5)]);
        json!({
            "users": users, "events_default": self.random.of(&[0, 0, 0, 50]),
            "state_default": self.random.of(&[50, 50, 0]), "redact": 50,
            "invite": self.random.of(&[0, 50, 100]), "kick": 50, "ban": 50,
            "events": {"m.room.name": self.random.of(&[0, 100])},
        })
    }
}

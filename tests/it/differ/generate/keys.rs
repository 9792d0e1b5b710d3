//! Keys of devices, messages to devices, the backup of keys.

use serde_json::{Value, json};

use super::World;
use crate::differ::call::{Call, Who};

const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

impl World {
    /// Something about keys.
    pub(super) fn keys(&mut self) -> Call {
        let person = self.anybody();
        let other = self.anybody();
        let who = Who::Person(person);
        let call = |method, template| Call::new(who.clone(), method, template);
        let target = self.user(other);
        match self.random.below(12) {
            0 | 1 => self.device_keys(person),
            2 | 3 => self.one_time_keys(person),
            4 => call("POST", "/client/v3/keys/query").json(json!({"device_keys": {target: []}})),
            5 | 6 => {
                let device = format!("DEVICE{}", if self.random.percent(80) { other } else { 9 });
                let mut devices = json!({});
                devices[device] = self.random.of(&["signed_curve25519", "odd"]).into();
                call("POST", "/client/v3/keys/claim")
                    .json(json!({"one_time_keys": {target: devices}}))
            }
            7 | 8 => self.send_to_device(who, other),
            _ => self.backup(who),
        }
    }

    fn device_keys(&mut self, person: usize) -> Call {
        let (user, device) = (self.user(person), format!("DEVICE{person}"));
        let mut body = json!({"device_keys": {
            "user_id": user, "device_id": device,
            "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
            "keys": {}, "signatures": {},
        }});
        body["device_keys"]["keys"][format!("curve25519:{device}")] = KEY.into();
        body["device_keys"]["keys"][format!("ed25519:{device}")] = KEY.into();
        match self.random.below(8) {
            0 => body["device_keys"]["user_id"] = "@nobody:localhost".into(),
            1 => body["device_keys"]["device_id"] = "ANOTHER".into(),
            _ => {}
        }
        Call::new(Who::Person(person), "POST", "/client/v3/keys/upload").json(body)
    }

    fn one_time_keys(&mut self, person: usize) -> Call {
        let number = self.random.below(12);
        let field = self.random.of(&["one_time_keys", "one_time_keys", "fallback_keys"]);
        let mut keys = json!({});
        let signature = json!({self.user(person): {format!("ed25519:DEVICE{person}"): "c2ln"}});
        keys[format!("signed_curve25519:K{number}")] =
            json!({"key": format!("{KEY}"), "signatures": signature});
        Call::new(Who::Person(person), "POST", "/client/v3/keys/upload").json(json!({field: keys}))
    }

    fn send_to_device(&mut self, who: Who, other: usize) -> Call {
        let number = self.number();
        let mut devices = json!({});
        let device = self.random.of(&[format!("DEVICE{other}"), "*".to_owned(), "GONE".to_owned()]);
        devices[device] = json!({"n": number});
        let target =
            if self.random.percent(90) { self.user(other) } else { "@nobody:localhost".to_owned() };
        Call::new(who, "PUT", "/client/v3/sendToDevice/{}/{}")
            .with(["org.example.note", &format!("d{}", self.random.below(40))])
            .json(json!({"messages": {target: devices}}))
    }

    fn backup(&mut self, who: Who) -> Call {
        let version = self.random.of(&["1", "2", "9", "x"]);
        let room = Self::room(self.random.below(self.rooms.len()));
        let info = json!({"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2",
            "auth_data": {"public_key": KEY, "signatures": {}}});
        let key = |first: u64, verified: bool| {
            json!({"first_message_index": first, "forwarded_count": 0, "is_verified": verified,
                "session_data": {"ciphertext": "x"}})
        };
        let one = self.random.of(&[key(3, true), key(1, false), key(5, true)]);
        let call = |method, template| Call::new(who.clone(), method, template);
        let versions = "/client/v3/room_keys/version";
        let of_version = "/client/v3/room_keys/version/{}";
        let of_session = "/client/v3/room_keys/keys/{}/{}";
        let all = "/client/v3/room_keys/keys";
        match self.random.below(14) {
            0..=2 => {
                self.backups += 1;
                call("POST", versions).json(info)
            }
            3 => call("GET", versions),
            4 => call("GET", of_version).with([version]),
            5 => {
                let mut info: Value = info;
                info["version"] = version.into();
                call("PUT", of_version).with([version]).json(info)
            }
            6 if self.random.percent(40) => call("DELETE", of_version).with([version]),
            6..=9 => {
                call("PUT", of_session).with([&room, "session"]).query("version", version).json(one)
            }
            10 => {
                let body = json!({"rooms": {room: {"sessions": {"session": one}}}});
                call("PUT", all).query("version", version).json(body)
            }
            11 => call("GET", of_session).with([&room, "session"]).query("version", version),
            12 => call("GET", all).query("version", version),
            _ => call("DELETE", of_session).with([&room, "session"]).query("version", version),
        }
    }
}

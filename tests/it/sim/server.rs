//! A small homeserver, in memory: accounts, devices, one-time keys, to-device queues that empty
//! when the next position is used, device lists, rooms, sync v2, idempotent transactions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value, json};

/// An answer: status and body.
pub(super) type Answer = (u16, Value);

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Caller {
    pub(super) user: String,
    pub(super) device: String,
}

#[derive(Debug, Default)]
pub(super) struct Device {
    pub(super) keys: Option<Value>,
    /// In the order of upload.
    pub(super) one_time_keys: VecDeque<(String, Value)>,
    /// Id, key, whether it was handed out.
    pub(super) fallback_key: Option<(String, Value, bool)>,
    /// Every id that was ever uploaded, with its key: another key under it is a fault.
    uploaded: BTreeMap<String, Value>,
    to_device: VecDeque<(u64, Value)>,
}

#[derive(Clone, Debug)]
pub(super) struct RoomEvent {
    pub(super) at: u64,
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) state_key: Option<String>,
    pub(super) sender: String,
    pub(super) content: Value,
    /// The sending device and its transaction id.
    pub(super) txn: Option<(String, String)>,
}

#[derive(Debug, Default)]
pub(super) struct Room {
    pub(super) events: Vec<RoomEvent>,
}

#[derive(Debug, Default)]
pub(super) struct Server {
    pub(super) devices: BTreeMap<(String, String), Device>,
    pub(super) rooms: BTreeMap<String, Room>,
    account_data: BTreeMap<(String, String), (u64, Value)>,
    /// User whose devices changed, by stream place.
    device_changes: Vec<(u64, String)>,
    txns: BTreeMap<(String, String), Value>,
    stream: u64,
    /// How many events a sync gives a room at most.
    pub(super) timeline_limit: usize,
    /// Every ciphertext that ever arrived, also of resent calls.
    pub(super) ciphertexts: Vec<Value>,
}

impl Server {
    pub(super) fn new(timeline_limit: usize) -> Self {
        Self { timeline_limit, ..Self::default() }
    }

    pub(super) fn add_device(&mut self, caller: &Caller) {
        self.devices.insert((caller.user.clone(), caller.device.clone()), Device::default());
    }

    fn advance(&mut self) -> u64 {
        self.stream += 1;
        self.stream
    }

    /// Answers a call of the client-server API.
    pub(super) fn call(
        &mut self,
        caller: &Caller,
        (method, path): (&str, &str),
        query: &[(String, String)],
        body: &Value,
    ) -> Answer {
        let path = path.strip_prefix("/_matrix/client/v3/").expect("below v3");
        let parts: Vec<String> = path
            .split('/')
            .map(|part| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into())
            .collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match (method, parts.as_slice()) {
            ("POST", ["keys", "upload"]) => self.keys_upload(caller, body),
            ("POST", ["keys", "query"]) => self.keys_query(body),
            ("POST", ["keys", "claim"]) => self.keys_claim(body),
            ("PUT", ["sendToDevice", kind, txn]) => self.send_to_device(caller, (kind, txn), body),
            ("POST", ["createRoom"]) => self.create_room(caller, body),
            ("POST", ["join", room]) => self.member(caller, room, &caller.user, "join"),
            ("POST", ["rooms", room, "leave"]) => self.member(caller, room, &caller.user, "leave"),
            ("POST", ["rooms", room, "invite"]) => {
                let user = body["user_id"].as_str().unwrap_or_default().to_owned();
                self.member(caller, room, &user, "invite")
            }
            ("POST", ["rooms", _, "forget"]) => (200, json!({})),
            ("GET", ["rooms", room, "members"]) => self.members(caller, room),
            ("GET", ["rooms", room, "state", kind]) => self.state_event(room, kind),
            ("GET", ["rooms", room, "messages"]) => self.messages(caller, room, query),
            ("PUT", ["rooms", room, "send", kind, txn]) => {
                self.send(caller, room, (kind, txn), body.clone())
            }
            ("PUT", ["rooms", room, "redact", event, txn]) => {
                let content = json!({ "redacts": event });
                self.send(caller, room, ("m.room.redaction", txn), content)
            }
            ("PUT", ["rooms", _, "typing", _]) | ("POST", ["rooms", _, "read_markers"]) => {
                (200, json!({}))
            }
            ("GET", ["user", user, "account_data", kind]) => {
                match self.account_data.get(&((*user).to_owned(), (*kind).to_owned())) {
                    Some((_, content)) => (200, content.clone()),
                    None => (404, json!({ "errcode": "M_NOT_FOUND" })),
                }
            }
            ("PUT", ["user", user, "account_data", kind]) => {
                let at = self.advance();
                let key = ((*user).to_owned(), (*kind).to_owned());
                self.account_data.insert(key, (at, body.clone()));
                (200, json!({}))
            }
            _ => panic!("the model has no {method} {path}"),
        }
    }

    fn keys_upload(&mut self, caller: &Caller, body: &Value) -> Answer {
        let at = self.advance();
        let device =
            self.devices.get_mut(&(caller.user.clone(), caller.device.clone())).expect("known");
        if let Some(keys) = body.get("device_keys").filter(|keys| !keys.is_null())
            && device.keys.as_ref() != Some(keys)
        {
            device.keys = Some(keys.clone());
            self.device_changes.push((at, caller.user.clone()));
        }
        let empty = Map::new();
        let one_time = body["one_time_keys"].as_object().unwrap_or(&empty);
        for (id, key) in one_time {
            match device.uploaded.get(id) {
                Some(known) if same_key(known, key) => {}
                Some(_) => {
                    let error = format!("One time key {id} already exists");
                    return (400, json!({ "errcode": "M_UNKNOWN", "error": error }));
                }
                None => {
                    device.uploaded.insert(id.clone(), key.clone());
                    device.one_time_keys.push_back((id.clone(), key.clone()));
                }
            }
        }
        if let Some((id, key)) =
            body["fallback_keys"].as_object().and_then(|keys| keys.iter().next())
        {
            let known = device.fallback_key.as_ref().is_some_and(|(known, _, _)| known == id);
            if !known {
                device.fallback_key = Some((id.clone(), key.clone(), false));
            }
        }
        let count = device.one_time_keys.len();
        (200, json!({ "one_time_key_counts": { "signed_curve25519": count } }))
    }

    fn keys_query(&self, body: &Value) -> Answer {
        let mut users = Map::new();
        for user in body["device_keys"].as_object().expect("a query names users").keys() {
            let mut devices = Map::new();
            for ((owner, id), device) in &self.devices {
                if let (true, Some(keys)) = (owner == user, &device.keys) {
                    devices.insert(id.clone(), keys.clone());
                }
            }
            users.insert(user.clone(), Value::Object(devices));
        }
        (200, json!({ "device_keys": users, "failures": {} }))
    }

    fn keys_claim(&mut self, body: &Value) -> Answer {
        let mut users = Map::new();
        for (user, devices) in body["one_time_keys"].as_object().expect("a claim names users") {
            let mut claimed = Map::new();
            for id in devices.as_object().expect("a claim names devices").keys() {
                let Some(device) = self.devices.get_mut(&(user.clone(), id.clone())) else {
                    continue;
                };
                let key = device.one_time_keys.pop_front().or_else(|| {
                    device.fallback_key.as_mut().map(|(id, key, used)| {
                        *used = true;
                        (id.clone(), key.clone())
                    })
                });
                if let Some((key_id, key)) = key {
                    claimed.insert(id.clone(), json!({ key_id: key }));
                }
            }
            users.insert(user.clone(), Value::Object(claimed));
        }
        (200, json!({ "one_time_keys": users, "failures": {} }))
    }

    fn send_to_device(
        &mut self,
        caller: &Caller,
        (kind, txn): (&str, &str),
        body: &Value,
    ) -> Answer {
        let txn = (caller.device.clone(), format!("to-device/{kind}/{txn}"));
        if self.txns.contains_key(&txn) {
            return (200, json!({}));
        }
        self.txns.insert(txn, Value::Null);
        for (user, devices) in body["messages"].as_object().expect("messages") {
            for (id, content) in devices.as_object().expect("devices") {
                let at = self.advance();
                let event = json!({ "type": kind, "sender": caller.user, "content": content });
                for ((owner, other), device) in &mut self.devices {
                    if owner == user && (id == "*" || id == other) {
                        device.to_device.push_back((at, event.clone()));
                    }
                }
            }
        }
        (200, json!({}))
    }

    fn create_room(&mut self, caller: &Caller, body: &Value) -> Answer {
        let room = format!("!room{}:sim", self.rooms.len());
        self.rooms.insert(room.clone(), Room::default());
        let mut add = |kind: &str, state_key: &str, content: Value| {
            self.push(caller, &room, (kind, Some(state_key.to_owned()), content), None);
        };
        add("m.room.create", "", json!({ "room_version": "12" }));
        add("m.room.member", &caller.user, json!({ "membership": "join" }));
        for event in body["initial_state"].as_array().into_iter().flatten() {
            let kind = event["type"].as_str().expect("a type");
            add(kind, "", event["content"].clone());
        }
        for user in body["invite"].as_array().into_iter().flatten() {
            add("m.room.member", user.as_str().expect("a user"), json!({ "membership": "invite" }));
        }
        (200, json!({ "room_id": room }))
    }

    pub(super) fn member(
        &mut self,
        caller: &Caller,
        room: &str,
        user: &str,
        membership: &str,
    ) -> Answer {
        let content = json!({ "membership": membership });
        let now = self.membership(room, user).unwrap_or_default();
        let may = match membership {
            "leave" => matches!(now.as_str(), "join" | "invite"),
            "invite" => now != "join",
            _ => true,
        };
        if !may {
            return (403, json!({ "errcode": "M_FORBIDDEN", "error": "not so" }));
        }
        if self.membership(room, user).as_deref() != Some(membership) {
            let event = ("m.room.member", Some(user.to_owned()), content);
            self.push(caller, room, event, None);
        }
        if membership == "join" {
            for member in self.joined(room) {
                let at = self.advance();
                self.device_changes.push((at, member));
            }
        }
        (200, json!({ "room_id": room }))
    }

    fn send(
        &mut self,
        caller: &Caller,
        room: &str,
        (kind, txn): (&str, &str),
        content: Value,
    ) -> Answer {
        if kind == "m.room.encrypted" {
            self.ciphertexts.push(content.clone());
        }
        let txn = (caller.device.clone(), txn.to_owned());
        if let Some(known) = self.txns.get(&txn) {
            return (200, known.clone());
        }
        if self.membership(room, &caller.user).as_deref() != Some("join") {
            return (403, json!({ "errcode": "M_FORBIDDEN", "error": "not in this room" }));
        }
        let id = self.push(caller, room, (kind, None, content), Some(txn.clone()));
        let answer = json!({ "event_id": id });
        self.txns.insert(txn, answer.clone());
        (200, answer)
    }

    fn push(
        &mut self,
        caller: &Caller,
        room: &str,
        (kind, state_key, content): (&str, Option<String>, Value),
        txn: Option<(String, String)>,
    ) -> String {
        let at = self.advance();
        let id = format!("$event{at}");
        let event = RoomEvent {
            at,
            id: id.clone(),
            kind: kind.to_owned(),
            state_key,
            sender: caller.user.clone(),
            content,
            txn,
        };
        self.rooms.get_mut(room).expect("a known room").events.push(event);
        id
    }

    /// The member events of a user: place, membership, sender.
    pub(super) fn memberships(&self, room: &str, user: &str) -> Vec<(u64, String, String)> {
        let events = self.rooms[room].events.iter();
        let own = events.filter(|event| {
            event.kind == "m.room.member" && event.state_key.as_deref() == Some(user)
        });
        own.map(|it| {
            let membership = it.content["membership"].as_str().unwrap_or_default().to_owned();
            (it.at, membership, it.sender.clone())
        })
        .collect()
    }

    fn membership_before(&self, room: &str, user: &str, before: u64) -> Option<String> {
        let events = &self.rooms.get(room)?.events;
        let own = events.iter().rev().find(|event| {
            event.at < before
                && event.kind == "m.room.member"
                && event.state_key.as_deref() == Some(user)
        })?;
        own.content["membership"].as_str().map(str::to_owned)
    }

    pub(super) fn membership(&self, room: &str, user: &str) -> Option<String> {
        self.membership_before(room, user, u64::MAX)
    }

    fn joined(&self, room: &str) -> BTreeSet<String> {
        let events = self.rooms.get(room).map(|room| room.events.as_slice()).unwrap_or_default();
        let members = events.iter().filter_map(|event| event.state_key.clone());
        members.filter(|user| self.membership(room, user).as_deref() == Some("join")).collect()
    }

    /// The state of a room before a place: the last event of each type and key.
    fn state_before(&self, room: &str, before: u64) -> Vec<&RoomEvent> {
        let mut state = BTreeMap::new();
        for event in self.rooms[room].events.iter().filter(|event| event.at < before) {
            if let Some(key) = &event.state_key {
                state.insert((event.kind.clone(), key.clone()), event);
            }
        }
        state.into_values().collect()
    }

    fn members(&self, caller: &Caller, room: &str) -> Answer {
        if self.membership(room, &caller.user).as_deref() != Some("join") {
            return (403, json!({ "errcode": "M_FORBIDDEN", "error": "not in this room" }));
        }
        let members = self.state_before(room, u64::MAX).into_iter();
        let chunk: Vec<Value> = members
            .filter(|event| event.kind == "m.room.member" && event.content["membership"] != "leave")
            .map(|event| event.json(None))
            .collect();
        (200, json!({ "chunk": chunk }))
    }

    fn state_event(&self, room: &str, kind: &str) -> Answer {
        let state = self.state_before(room, u64::MAX).into_iter();
        match state.rev().find(|event| event.kind == kind) {
            Some(event) => (200, event.content.clone()),
            None => (404, json!({ "errcode": "M_NOT_FOUND" })),
        }
    }

    fn messages(&self, caller: &Caller, room: &str, query: &[(String, String)]) -> Answer {
        let get = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, it)| it.clone());
        let from: u64 = get("from").expect("a token")[1..].parse().expect("our token");
        let limit: usize = get("limit").expect("a limit").parse().expect("a number");
        // Small pages, so that a gap is filled in several.
        let limit = limit.min(7);
        let events = self.rooms[room].events.iter().rev().filter(|event| event.at < from);
        let chunk: Vec<&RoomEvent> = events.take(limit).collect();
        let end = chunk.last().filter(|last| last.kind != "m.room.create").map(|last| last.at);
        let json = |event: &&RoomEvent| event.json(Some(caller));
        let mut body = json!({ "chunk": chunk.iter().map(json).collect::<Vec<_>>() });
        if let Some(end) = end {
            body["end"] = json!(format!("p{end}"));
        }
        (200, body)
    }

    /// The present place in the stream.
    pub(super) fn now(&self) -> u64 {
        self.stream
    }

    /// One sync answer after `since`, and whether it says anything. Using `since` tells the server
    /// that what came before it is on the client's disk.
    pub(super) fn sync(&mut self, caller: &Caller, since: Option<u64>) -> (Value, bool) {
        let from = since.unwrap_or(0);
        let device =
            self.devices.get_mut(&(caller.user.clone(), caller.device.clone())).expect("known");
        while device.to_device.front().is_some_and(|(at, _)| *at <= from) {
            device.to_device.pop_front();
        }
        let to_device: Vec<Value> = device.to_device.iter().map(|(_, it)| it.clone()).collect();
        let counts = json!({ "signed_curve25519": device.one_time_keys.len() });
        let unused = match &device.fallback_key {
            Some((_, _, false)) => json!(["signed_curve25519"]),
            Some((_, _, true)) | None => json!([]),
        };
        let changed = if since.is_some() { self.changed_users(caller, from) } else { Vec::new() };
        let rooms = self.sync_rooms(caller, since);
        let account_data: Vec<Value> = self
            .account_data
            .iter()
            .filter(|((user, _), (at, _))| *user == caller.user && *at > from)
            .map(|((_, kind), (_, content))| json!({ "type": kind, "content": content }))
            .collect();
        let says = !to_device.is_empty()
            || !changed.is_empty()
            || !account_data.is_empty()
            || rooms.as_object().is_some_and(|rooms| !rooms.is_empty())
            || since.is_none();
        let body = json!({
            "next_batch": format!("s{}", self.stream),
            "to_device": { "events": to_device },
            "device_lists": { "changed": changed, "left": [] },
            "device_one_time_keys_count": counts,
            "device_unused_fallback_key_types": unused,
            "account_data": { "events": account_data },
            "rooms": rooms,
        });
        (body, says)
    }

    fn changed_users(&self, caller: &Caller, from: u64) -> Vec<String> {
        let mut shared = BTreeSet::from([caller.user.clone()]);
        for room in self.rooms.keys() {
            let joined = self.joined(room);
            if joined.contains(&caller.user) {
                shared.extend(joined);
            }
        }
        let changed = self.device_changes.iter().filter(|(at, _)| *at > from);
        let users: BTreeSet<String> = changed.map(|(_, user)| user.clone()).collect();
        users.intersection(&shared).cloned().collect()
    }

    fn sync_rooms(&self, caller: &Caller, since: Option<u64>) -> Value {
        let mut sections: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
        let from = since.unwrap_or(0);
        for (id, room) in &self.rooms {
            if room.events.last().is_none_or(|last| last.at <= from) {
                continue;
            }
            match self.membership(id, &caller.user).as_deref() {
                Some("join") => {
                    let before = self.membership_before(id, &caller.user, from + 1);
                    let changes = self.memberships(id, &caller.user).into_iter();
                    let stayed = changes.filter(|it| it.0 > from).all(|it| it.1 == "join");
                    let joined_before = stayed && before.as_deref() == Some("join");
                    let from = if joined_before { from } else { 0 };
                    let body = self.sync_room(caller, id, (from, u64::MAX));
                    sections.entry("join").or_default().insert(id.clone(), body);
                }
                Some("invite") => {
                    let state = self.state_before(id, u64::MAX);
                    let state: Vec<Value> = state.iter().map(|event| event.json(None)).collect();
                    let body = json!({ "invite_state": { "events": state } });
                    sections.entry("invite").or_default().insert(id.clone(), body);
                }
                Some("leave") => {
                    let before = self.membership_before(id, &caller.user, from + 1);
                    let last = self.memberships(id, &caller.user).last().map_or(0, |it| it.0);
                    if matches!(before.as_deref(), Some("join" | "invite")) && from < last {
                        let body = self.sync_room(caller, id, (from, last));
                        sections.entry("leave").or_default().insert(id.clone(), body);
                    }
                }
                Some(_) | None => {}
            }
        }
        json!(sections)
    }

    fn sync_room(&self, caller: &Caller, id: &str, (from, to): (u64, u64)) -> Value {
        let events = &self.rooms[id].events;
        let new = events.iter().filter(|event| from < event.at && event.at <= to);
        let new = new.collect::<Vec<_>>();
        let limited = new.len() > self.timeline_limit;
        let timeline = &new[new.len().saturating_sub(self.timeline_limit)..];
        let first = timeline.first().map_or(u64::MAX, |event| event.at);
        let senders: BTreeSet<&str> = timeline.iter().map(|event| event.sender.as_str()).collect();
        // Lazy members: only those who speak, and ourselves.
        let state: Vec<Value> = self
            .state_before(id, first)
            .into_iter()
            .filter(|event| event.at > from)
            .filter(|event| {
                let key = event.state_key.as_deref().unwrap_or_default();
                event.kind != "m.room.member" || senders.contains(key) || key == caller.user
            })
            .map(|event| event.json(Some(caller)))
            .collect();
        let timeline: Vec<Value> = timeline.iter().map(|event| event.json(Some(caller))).collect();
        json!({
            "state": { "events": state },
            "timeline": {
                "events": timeline,
                "limited": limited,
                "prev_batch": format!("p{first}"),
            },
            "summary": { "m.joined_member_count": self.joined(id).len() },
            "unread_notifications": { "notification_count": 0, "highlight_count": 0 },
        })
    }
}

impl RoomEvent {
    /// As a client sees it: the sending device also sees its transaction id.
    fn json(&self, to: Option<&Caller>) -> Value {
        let mut event = json!({
            "type": self.kind,
            "event_id": self.id,
            "sender": self.sender,
            "origin_server_ts": self.at,
            "content": self.content,
        });
        if let Some(key) = &self.state_key {
            event["state_key"] = json!(key);
        }
        if let (Some(to), Some((device, txn))) = (to, &self.txn)
            && to.device == *device
        {
            event["unsigned"] = json!({ "transaction_id": txn });
        }
        event
    }
}

/// Whether two uploads of a key are the same key; a signature may be made anew.
fn same_key(one: &Value, two: &Value) -> bool {
    one["key"] == two["key"]
}

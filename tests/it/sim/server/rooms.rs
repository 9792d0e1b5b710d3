//! Rooms: their events in one order, who is in them, pages of their history.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Answer, Caller, Room, RoomEvent, Server};

impl Server {
    pub(super) fn room_call(
        &mut self,
        caller: &Caller,
        (method, parts): (&str, &[&str]),
        query: &[(String, String)],
        body: &Value,
    ) -> Answer {
        match (method, parts) {
            ("POST", ["createRoom"]) => self.create_room(caller, body),
            ("POST", ["join", room]) => self.member(caller, room, &caller.user, "join"),
            ("POST", ["rooms", room, "leave"]) => self.member(caller, room, &caller.user, "leave"),
            ("POST", ["rooms", room, "invite"]) => {
                let user = body["user_id"].as_str().unwrap_or_default();
                self.member(caller, room, user, "invite")
            }
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
            ("PUT", ["rooms", _, "typing", _])
            | ("POST", ["rooms", _, "forget" | "read_markers"]) => (200, json!({})),
            _ => panic!("the model has no {method} {parts:?}"),
        }
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

    pub(in crate::sim) fn member(
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
            time: self.clock,
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

    /// Who may read what was said before a place, as the room's state has it.
    pub(in crate::sim) fn visibility(&self, room: &str, before: u64) -> &str {
        let events = self.rooms[room].events.iter().rev();
        let mut settings = events.filter(|it| it.at < before && it.kind == VISIBILITY);
        let newest = settings.next().and_then(|it| it.content["history_visibility"].as_str());
        newest.unwrap_or("shared")
    }

    /// The founder changes who may read what was before.
    pub(in crate::sim) fn set_visibility(&mut self, by: &Caller, room: &str, visibility: &str) {
        let content = json!({ "history_visibility": visibility });
        self.push(by, room, (VISIBILITY, Some(String::new()), content), None);
    }

    /// Whether somebody who is in a room may see an event of it.
    pub(in crate::sim) fn may_see(&self, room: &str, user: &str, event: &RoomEvent) -> bool {
        let membership = self.membership_before(room, user, event.at);
        match (self.visibility(room, event.at), membership.as_deref()) {
            _ if event.state_key.is_some() => true,
            ("shared", _) | (_, Some("join")) => true,
            ("invited", Some("invite")) => true,
            _ => false,
        }
    }

    /// The member events of a user: place, membership, sender.
    pub(in crate::sim) fn memberships(&self, room: &str, user: &str) -> Vec<(u64, String, String)> {
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

    pub(in crate::sim) fn membership_before(
        &self,
        room: &str,
        user: &str,
        before: u64,
    ) -> Option<String> {
        let events = &self.rooms.get(room)?.events;
        let own = events.iter().rev().find(|event| {
            event.at < before
                && event.kind == "m.room.member"
                && event.state_key.as_deref() == Some(user)
        })?;
        own.content["membership"].as_str().map(str::to_owned)
    }

    pub(in crate::sim) fn membership(&self, room: &str, user: &str) -> Option<String> {
        self.membership_before(room, user, u64::MAX)
    }

    /// Where somebody ceased to be in a room, or to be invited.
    pub(in crate::sim) fn departures(&self, room: &str) -> Vec<u64> {
        let gone = |event: &&RoomEvent| {
            event.kind == "m.room.member" && event.content["membership"] == "leave"
        };
        self.rooms[room].events.iter().filter(gone).map(|event| event.at).collect()
    }

    pub(super) fn joined(&self, room: &str) -> BTreeSet<String> {
        self.joined_before(room, u64::MAX)
    }

    pub(super) fn joined_before(&self, room: &str, before: u64) -> BTreeSet<String> {
        let events = self.rooms.get(room).map(|room| room.events.as_slice()).unwrap_or_default();
        let members = events.iter().filter(|event| event.kind == "m.room.member");
        let members: BTreeSet<_> = members.filter_map(|event| event.state_key.clone()).collect();
        let is_in =
            |user: &String| self.membership_before(room, user, before).as_deref() == Some("join");
        members.into_iter().filter(is_in).collect()
    }

    /// The state of a room before a place: the last event of each type and key.
    pub(super) fn state_before(&self, room: &str, before: u64) -> Vec<&RoomEvent> {
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
        let events = self.rooms[room].events.iter().rev();
        let events =
            events.filter(|event| event.at < from && self.may_see(room, &caller.user, event));
        let chunk: Vec<&RoomEvent> = events.take(limit).collect();
        let end = chunk.last().filter(|last| last.kind != "m.room.create").map(|last| last.at);
        let json = |event: &&RoomEvent| self.seen_by(caller, room, event);
        let mut body = json!({ "chunk": chunk.iter().map(json).collect::<Vec<_>>() });
        if let Some(end) = end {
            body["end"] = json!(format!("p{end}"));
        }
        (200, body)
    }
}

/// Type of the state event that says who may read what was before.
pub(in crate::sim) const VISIBILITY: &str = "m.room.history_visibility";

impl Server {
    /// An event of a timeline: whoever gets it is also told what they were then.
    pub(super) fn seen_by(&self, caller: &Caller, room: &str, event: &RoomEvent) -> Value {
        let mut json = event.json(Some(caller));
        let own = event.kind == "m.room.member" && event.state_key.as_ref() == Some(&caller.user);
        let until = if own { event.at + 1 } else { event.at };
        let membership = self.membership_before(room, &caller.user, until);
        json["unsigned"]["membership"] = json!(membership.as_deref().unwrap_or("leave"));
        json
    }
}

impl RoomEvent {
    /// As a client sees it: the sending device also sees its transaction id.
    pub(super) fn json(&self, to: Option<&Caller>) -> Value {
        let mut event = json!({
            "type": self.kind,
            "event_id": self.id,
            "sender": self.sender,
            "origin_server_ts": self.time,
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

//! Sync v2 with lazily loaded members.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{Caller, Server};

impl Server {
    /// One sync answer after `since`, and whether it says anything. Using `since` tells the server
    /// that what came before it is on the client's disk.
    pub(in crate::sim) fn sync(&mut self, caller: &Caller, since: Option<u64>) -> (Value, bool) {
        let from = since.unwrap_or(0);
        let device = self.devices.get_mut(&caller.key()).expect("logged in");
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
        let left = if since.is_some() { self.left_users(caller, from) } else { Vec::new() };
        let rooms = self.sync_rooms(caller, since);
        let account_data: Vec<Value> = self
            .account_data
            .iter()
            .filter(|((user, _), (at, _))| *user == caller.user && *at > from)
            .map(|((_, kind), (_, content))| json!({ "type": kind, "content": content }))
            .collect();
        let says = !to_device.is_empty()
            || !changed.is_empty()
            || !left.is_empty()
            || !account_data.is_empty()
            || rooms.as_object().is_some_and(|rooms| !rooms.is_empty())
            || since.is_none();
        let body = json!({
            "next_batch": format!("s{}", self.stream),
            "to_device": { "events": to_device },
            "device_lists": { "changed": changed, "left": left },
            "device_one_time_keys_count": counts,
            "device_unused_fallback_key_types": unused,
            "account_data": { "events": account_data },
            "rooms": rooms,
        });
        (body, says)
    }

    fn changed_users(&self, caller: &Caller, from: u64) -> Vec<String> {
        let mut shared = self.sharing(caller, u64::MAX);
        shared.insert(caller.user.clone());
        let changed = self.device_changes.iter().filter(|(at, _)| *at > from);
        let users: BTreeSet<String> = changed.map(|(_, user)| user.clone()).collect();
        let invited = self.invited_since(caller, from);
        users.intersection(&shared).chain(&invited).cloned().collect()
    }

    /// Who was invited into a room of the caller: announced once, what changes later is not.
    fn invited_since(&self, caller: &Caller, from: u64) -> BTreeSet<String> {
        let there = |id: &&String| self.membership(id, &caller.user).as_deref() == Some("join");
        let events = self.rooms.keys().filter(there).flat_map(|id| &self.rooms[id].events);
        let invites = events.filter(|event| {
            let is_invite = event.content["membership"] == "invite";
            from < event.at && event.kind == "m.room.member" && is_invite
        });
        invites.filter_map(|event| event.state_key.clone()).collect()
    }

    /// Who shared a room with the caller and does no more: their changes are not told any more.
    fn left_users(&self, caller: &Caller, from: u64) -> Vec<String> {
        let now = self.sharing(caller, u64::MAX);
        let before = self.sharing(caller, from + 1).into_iter();
        let invited = self.invited_since(caller, from);
        let gone = |user: &String| !now.contains(user) && !invited.contains(user);
        before.filter(|user| *user != caller.user && gone(user)).collect()
    }

    /// Who shared a room with the caller before a place.
    fn sharing(&self, caller: &Caller, before: u64) -> BTreeSet<String> {
        let mut shared = BTreeSet::new();
        for room in self.rooms.keys() {
            let joined = self.joined_before(room, before);
            if joined.contains(&caller.user) {
                shared.extend(joined);
            }
        }
        shared
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
                // Also for who was out before, and came and went since.
                Some("leave") => {
                    let last = self.memberships(id, &caller.user).last().map_or(0, |it| it.0);
                    if since.is_some() && from < last {
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
        let new = new.filter(|event| self.may_see(id, &caller.user, event));
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
        let timeline: Vec<Value> =
            timeline.iter().map(|event| self.seen_by(caller, id, event)).collect();
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

//! What the homeserver keeps for accounts: account data and key backups. It does not look into them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Answer, Caller, Server};

/// One version of a key backup.
#[derive(Debug, Default)]
pub(in crate::sim) struct Backup {
    about: Value,
    /// Entries by room and session.
    pub(in crate::sim) keys: BTreeMap<(String, String), Value>,
    deleted: bool,
}

impl Server {
    /// The public keys of a user's backups, as they were made.
    pub(in crate::sim) fn backup_keys(&self, user: &str) -> Vec<&str> {
        let backups = self.backups.get(user).into_iter().flatten();
        let backups = backups.filter(|backup| !backup.deleted);
        backups.filter_map(|it| it.about["auth_data"]["public_key"].as_str()).collect()
    }

    pub(super) fn account_data_call(
        &mut self,
        (user, kind): (&str, &str),
        method: &str,
        body: &Value,
    ) -> Answer {
        let key = (user.to_owned(), kind.to_owned());
        if method == "PUT" {
            let at = self.advance();
            self.account_data.insert(key, (at, body.clone()));
            return (200, json!({}));
        }
        match self.account_data.get(&key) {
            Some((_, content)) => (200, content.clone()),
            None => not_found(),
        }
    }

    pub(super) fn backup_call(
        &mut self,
        caller: &Caller,
        (method, parts): (&str, &[&str]),
        query: &[(String, String)],
        body: &Value,
    ) -> Answer {
        let backups = self.backups.entry(caller.user.clone()).or_default();
        let current = backups.iter().rposition(|backup| !backup.deleted);
        match (method, parts) {
            ("POST", ["room_keys", "version"]) => {
                backups.push(Backup { about: body.clone(), ..Backup::default() });
                (200, json!({ "version": backups.len().to_string() }))
            }
            ("GET", ["room_keys", "version"]) => {
                let Some(place) = current else { return not_found() };
                let mut about = backups[place].about.clone();
                let count = backups[place].keys.len();
                about["version"] = json!((place + 1).to_string());
                about["count"] = json!(count);
                about["etag"] = json!(count.to_string());
                (200, about)
            }
            ("PUT", ["room_keys", "version", version]) => {
                let place: usize = version.parse().expect("our version");
                backups[place - 1].about["auth_data"] = body["auth_data"].clone();
                (200, json!({}))
            }
            ("DELETE", ["room_keys", "version", version]) => {
                let place: usize = version.parse().expect("our version");
                backups[place - 1].deleted = true;
                (200, json!({}))
            }
            (_, ["room_keys", "keys", name @ ..]) => {
                let version = query.iter().find(|(name, _)| name == "version");
                let version = version.and_then(|(_, version)| version.parse::<usize>().ok());
                match version.filter(|version| current == Some(version - 1)) {
                    Some(version) => backups[version - 1].entries(method, name, body),
                    None => (403, json!({ "errcode": "M_WRONG_ROOM_KEYS_VERSION" })),
                }
            }
            _ => panic!("the model has no {method} {parts:?}"),
        }
    }
}

impl Backup {
    fn entries(&mut self, method: &str, name: &[&str], body: &Value) -> Answer {
        if method == "PUT" {
            for (room, sessions) in members(&body["rooms"]) {
                for (session, entry) in members(&sessions["sessions"]) {
                    self.take((room.clone(), session.clone()), entry);
                }
            }
            let count = self.keys.len();
            return (200, json!({ "count": count, "etag": count.to_string() }));
        }
        if let [room, session] = name {
            let entry = self.keys.get(&((*room).to_owned(), (*session).to_owned()));
            return entry.map_or_else(not_found, |entry| (200, entry.clone()));
        }
        let mut rooms = json!({ "rooms": {} });
        for ((room, session), entry) in &self.keys {
            rooms["rooms"][room]["sessions"][session] = entry.clone();
        }
        match name {
            [room] => {
                let sessions = rooms["rooms"].get(*room).cloned();
                (200, sessions.unwrap_or_else(|| json!({ "sessions": {} })))
            }
            _ => (200, rooms),
        }
    }

    /// Keeps the better one of two entries, as the specification has it.
    fn take(&mut self, name: (String, String), entry: &Value) {
        let worth = |entry: &Value| {
            let number = |name: &str| std::cmp::Reverse(entry[name].as_u64());
            let verified = entry["is_verified"].as_bool();
            (verified, number("first_message_index"), number("forwarded_count"))
        };
        if self.keys.get(&name).is_none_or(|known| worth(known) < worth(entry)) {
            self.keys.insert(name, entry.clone());
        }
    }
}

fn not_found() -> Answer {
    (404, json!({ "errcode": "M_NOT_FOUND", "error": "there is none" }))
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

//! What the harness' server keeps for accounts: cross-signing keys and signatures, account data, key
//! backups. As in [`super::harness`], it keeps and hands out what it was given.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use super::harness::{Server, matrix_error};
use crate::{
    e2ee::{OutgoingRequest, RequestFailure},
    matrix::{AuthFlow, OwnedDeviceId, OwnedUserId, UserAuth},
};

/// The password of every account here.
pub(in crate::e2ee) const PASSWORD: &str = "secret";

/// One version of a key backup.
#[derive(Clone, Debug, Default)]
pub(in crate::e2ee) struct Backup {
    /// `algorithm` and `auth_data` as they were uploaded.
    pub(in crate::e2ee) about: Value,
    /// Entries by room and session.
    pub(in crate::e2ee) keys: BTreeMap<(String, String), Value>,
    pub(in crate::e2ee) deleted: bool,
    /// Most sessions that one request may bring.
    pub(in crate::e2ee) most_at_once: Option<usize>,
}

type DeviceName = (OwnedUserId, OwnedDeviceId);
type Answer = Result<Value, RequestFailure>;

impl Server {
    /// `POST /keys/device_signing/upload`; replacing keys takes a password where that is wanted.
    pub(super) fn take_signing_keys(&mut self, from: &DeviceName, body: &Value) -> Answer {
        let has = |part: &str| self.identities.get(part).is_some_and(|it| it.contains_key(&from.0));
        if self.wants_password && has("master_keys") && body["auth"]["password"] != PASSWORD {
            return Err(wants_proof("who are you?"));
        }
        for part in ["master", "self_signing", "user_signing"] {
            if let Some(key) = body.get(format!("{part}_key")) {
                let keys = self.identities.entry(format!("{part}_keys")).or_default();
                keys.insert(from.0.clone(), key.clone());
            }
        }
        self.announcements.push(from.0.clone());
        Ok(json!({}))
    }

    /// `POST /keys/signatures/upload`: adds the signatures to what it knows.
    pub(super) fn take_signatures(&mut self, body: &Value) -> Value {
        for (user, objects) in members(body) {
            let user = OwnedUserId::try_from(user.as_str()).unwrap();
            for (name, object) in members(objects) {
                let device = OwnedDeviceId::from(name.as_str());
                let devices = self.device_keys.get_mut(&user).into_iter();
                let mut named = devices.filter_map(|devices| devices.get_mut(&device));
                let keys = self.identities.values_mut().filter_map(|keys| keys.get_mut(&user));
                let id = format!("ed25519:{name}");
                let mut keys = keys.filter(|key| key["keys"].get(&id).is_some());
                let Some(kept) = named.next().or_else(|| keys.next()) else { continue };
                for (signer, signatures) in members(&object["signatures"]) {
                    for (id, signature) in members(signatures) {
                        kept["signatures"][signer][id] = signature.clone();
                    }
                }
            }
            self.announcements.push(user);
        }
        json!({ "failures": {} })
    }

    /// `GET` and `PUT /user/{user}/account_data/{type}`.
    pub(super) fn account_data(
        &mut self,
        from: &DeviceName,
        request: &OutgoingRequest,
        body: &Value,
    ) -> Answer {
        let kind = segments(request).pop().unwrap();
        let name = (from.0.clone(), kind);
        if request.method == "PUT" {
            self.account_data.insert(name, body.clone());
            return Ok(json!({}));
        }
        self.account_data.get(&name).cloned().ok_or_else(not_found)
    }

    /// Everything below `/room_keys`.
    pub(super) fn backup(
        &mut self,
        from: &DeviceName,
        request: &OutgoingRequest,
        body: &Value,
    ) -> Answer {
        let path = segments(request);
        let path: Vec<&str> = path.iter().map(String::as_str).skip(3).collect();
        let backups = self.backups.entry(from.0.clone()).or_default();
        let current = backups.iter().rposition(|backup| !backup.deleted);
        match (request.method.as_str(), path.as_slice()) {
            ("POST", ["room_keys", "version"]) => {
                backups.push(Backup { about: body.clone(), ..Backup::default() });
                Ok(json!({ "version": backups.len().to_string() }))
            }
            ("GET", ["room_keys", "version"]) => {
                let place = current.ok_or_else(not_found)?;
                let mut about = backups[place].about.clone();
                about["version"] = json!((place + 1).to_string());
                about["count"] = json!(backups[place].keys.len());
                about["etag"] = json!(backups[place].keys.len().to_string());
                Ok(about)
            }
            ("PUT", ["room_keys", "version", version]) => {
                let place: usize = version.parse().unwrap();
                backups[place - 1].about["auth_data"] = body["auth_data"].clone();
                Ok(json!({}))
            }
            ("DELETE", ["room_keys", "version", version]) => {
                let place: usize = version.parse().unwrap();
                backups[place - 1].deleted = true;
                Ok(json!({}))
            }
            (method, ["room_keys", "keys", name @ ..]) => {
                let version = request.query.iter().find(|(name, _)| name == "version");
                let place = version.and_then(|(_, version)| version.parse::<usize>().ok());
                let place = place.filter(|place| current == Some(place - 1)).ok_or_else(|| {
                    let error = matrix_error(403, "M_WRONG_ROOM_KEYS_VERSION", "not this one");
                    RequestFailure::Refused(error)
                })?;
                backups[place - 1].entries(method, name, body)
            }
            _ => Err(not_found()),
        }
    }
}

/// To-device events in one page of those for a device that waits.
const PAGE: usize = 2;

impl Server {
    /// Everything below `/dehydrated_device`.
    pub(super) fn dehydration(
        &mut self,
        from: &DeviceName,
        request: &OutgoingRequest,
        body: &Value,
    ) -> Answer {
        let unrecognized = || matrix_error(404, "M_UNRECOGNIZED", "what?");
        let Some(waiting) = &mut self.dehydrated else {
            return Err(RequestFailure::Refused(unrecognized()));
        };
        let path = segments(request);
        let old = waiting.get(&from.0).cloned();
        if request.method == "PUT" {
            let name = OwnedDeviceId::from(body["device_id"].as_str().unwrap());
            waiting.insert(from.0.clone(), body.clone());
            let devices = self.device_keys.entry(from.0.clone()).or_default();
            if let Some(old) = old {
                devices.remove(&OwnedDeviceId::from(old["device_id"].as_str().unwrap()));
            }
            self.upload(&(from.0.clone(), name), body)?;
            return Ok(json!({ "device_id": body["device_id"] }));
        }
        let old = old.ok_or_else(not_found)?;
        if path.len() == 5 {
            return Ok(json!({ "device_id": old["device_id"], "device_data": old["device_data"] }));
        }
        let forbidden = || RequestFailure::Refused(matrix_error(403, "M_FORBIDDEN", "not this"));
        Some(&path[5]).filter(|name| old["device_id"] == name.as_str()).ok_or_else(forbidden)?;
        let after = request.query.iter().find(|(name, _)| name == "from");
        let after = after.map_or(0, |(_, from)| from.parse::<usize>().unwrap());
        let name = (from.0.clone(), OwnedDeviceId::from(path[5].as_str()));
        let inbox = &self.kept.entry(name).or_default().inbox;
        let events = inbox.iter().skip(after).take(PAGE);
        let events = events.map(
            |(kind, sender, content)| json!({ "type": kind, "sender": sender, "content": content }),
        );
        let mut page = json!({ "events": events.collect::<Vec<_>>() });
        if after + PAGE < inbox.len() {
            page["next_batch"] = json!((after + PAGE).to_string());
        }
        Ok(page)
    }
}

impl Backup {
    fn entries(&mut self, method: &str, name: &[&str], body: &Value) -> Answer {
        if method == "PUT" {
            let rooms = members(&body["rooms"]);
            let count: usize = rooms.map(|(_, room)| members(&room["sessions"]).count()).sum();
            if self.most_at_once.is_some_and(|most| most < count) {
                let error = matrix_error(413, "M_TOO_LARGE", "that is too much");
                return Err(RequestFailure::Refused(error));
            }
            for (room, sessions) in members(&body["rooms"]) {
                for (session, entry) in members(&sessions["sessions"]) {
                    self.take((room.clone(), session.clone()), entry);
                }
            }
            let count = self.keys.len();
            return Ok(json!({ "count": count, "etag": count.to_string() }));
        }
        if let [room, session] = name {
            let name = ((*room).to_owned(), (*session).to_owned());
            return self.keys.get(&name).cloned().ok_or_else(not_found);
        }
        let mut answer = json!({ "rooms": {} });
        for ((room, session), entry) in &self.keys {
            if name.first().is_none_or(|only| only == room) {
                answer["rooms"][room]["sessions"][session] = entry.clone();
            }
        }
        match name {
            [room] => Ok(answer["rooms"].get(*room).cloned().unwrap_or(json!({ "sessions": {} }))),
            _ => Ok(answer),
        }
    }

    /// Keeps the better one of two entries, as the specification has it.
    fn take(&mut self, name: (String, String), entry: &Value) {
        let rank = |entry: &Value| {
            let number = |name: &str| entry[name].as_u64();
            (entry["is_verified"] != true, number("first_message_index"), number("forwarded_count"))
        };
        if self.keys.get(&name).is_none_or(|known| rank(entry) < rank(known)) {
            self.keys.insert(name, entry.clone());
        }
    }
}

/// The server's wish to know who the user is, by their password.
pub(super) fn wants_proof(words: &str) -> RequestFailure {
    let mut error = matrix_error(401, "M_FORBIDDEN", words);
    let flows = vec![AuthFlow { stages: vec!["m.login.password".to_owned()] }];
    let session = Some("s".to_owned());
    error.auth = Some(Box::new(UserAuth { session, flows, ..UserAuth::default() }));
    RequestFailure::Refused(error)
}

fn not_found() -> RequestFailure {
    RequestFailure::Refused(matrix_error(404, "M_NOT_FOUND", "there is none"))
}

/// The path, decoded.
fn segments(request: &OutgoingRequest) -> Vec<String> {
    let path = request.path.trim_start_matches('/').split('/');
    path.map(|it| percent_decode_str(it).decode_utf8().unwrap().into_owned()).collect()
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

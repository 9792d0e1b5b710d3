//! Device keys, one-time keys and to-device messages.

use serde_json::{Map, Value, json};

use super::{Answer, Caller, PASSWORD, Server};

impl Server {
    pub(super) fn keys_call(
        &mut self,
        caller: &Caller,
        (method, parts): (&str, &[&str]),
        body: &Value,
    ) -> Answer {
        match (method, parts) {
            ("POST", ["keys", "upload"]) => self.keys_upload(caller, body),
            ("POST", ["keys", "query"]) => self.keys_query(body),
            ("POST", ["keys", "claim"]) => self.keys_claim(body),
            ("POST", ["keys", "device_signing", "upload"]) => self.signing_keys(caller, body),
            ("POST", ["keys", "signatures", "upload"]) => self.signatures(caller, body),
            ("PUT", ["sendToDevice", kind, txn]) => self.send_to_device(caller, (kind, txn), body),
            _ => panic!("the model has no {method} {parts:?}"),
        }
    }

    /// Strangers take every one-time key of a device.
    pub(in crate::sim) fn exhaust(&mut self, caller: &Caller) {
        if let Some(device) = self.devices.get_mut(&caller.key()) {
            device.one_time_keys.clear();
        }
    }

    fn keys_upload(&mut self, caller: &Caller, body: &Value) -> Answer {
        let at = self.advance();
        let device = self.devices.get_mut(&caller.key()).expect("known");
        let uploaded = body.get("device_keys").filter(|keys| !keys.is_null());
        let uploaded = uploaded.map(|keys| still_signed(keys, device.keys.as_ref(), &caller.user));
        if let Some(keys) = &uploaded
            && device.keys.as_ref() != Some(keys)
        {
            if device.keys.replace(keys.clone()).is_none() {
                device.since = at;
            }
            let signatures = keys["signatures"][&caller.user].as_object();
            if signatures.is_some_and(|signatures| 1 < signatures.len()) {
                device.signed.get_or_insert(at);
            }
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
        let users_asked: Vec<&String> =
            body["device_keys"].as_object().expect("a query names users").keys().collect();
        for user in &users_asked {
            let mut devices = Map::new();
            for ((owner, id), device) in &self.devices {
                if let (true, Some(keys)) = (owner == *user, &device.keys) {
                    devices.insert(id.clone(), keys.clone());
                }
            }
            users.insert((*user).clone(), Value::Object(devices));
        }
        let mut answer = json!({ "device_keys": users, "failures": {} });
        for (user, keys) in &self.identities {
            for part in ["master", "self_signing", "user_signing"] {
                if users_asked.contains(&user) {
                    answer[format!("{part}_keys")][user] = keys[format!("{part}_key")].clone();
                }
            }
        }
        (200, answer)
    }

    /// The first identity of an account is taken as it is, another one with the password.
    fn signing_keys(&mut self, caller: &Caller, body: &Value) -> Answer {
        let mut keys = body.clone();
        let proof = keys.as_object_mut().expect("an object").remove("auth");
        if let Some(known) = self.identities.get(&caller.user) {
            if known["master_key"]["keys"] == keys["master_key"]["keys"] {
                return (200, json!({}));
            }
            if proof.is_none_or(|proof| proof["password"] != PASSWORD) {
                let flows = json!([{ "stages": ["m.login.password"] }]);
                return (401, json!({ "session": "s", "flows": flows, "params": {} }));
            }
        }
        self.identities.insert(caller.user.clone(), keys);
        self.identities_taken += 1;
        for ((user, _), device) in &mut self.devices {
            if *user == caller.user {
                device.signed = None;
            }
        }
        self.note_keys(caller);
        (200, json!({}))
    }

    fn signatures(&mut self, caller: &Caller, body: &Value) -> Answer {
        let at = self.advance();
        for (name, object) in body[&caller.user].as_object().expect("own keys only") {
            let key = (caller.user.clone(), name.clone());
            let device = self.devices.get_mut(&key).and_then(|it| {
                it.signed.get_or_insert(at);
                it.keys.as_mut()
            });
            let identity = self.identities.get_mut(&caller.user);
            let master = identity.map(|keys| &mut keys["master_key"]);
            let kept = device.or(master).expect("something of ours");
            for (id, signature) in object["signatures"][&caller.user].as_object().expect("some") {
                kept["signatures"][&caller.user][id] = signature.clone();
            }
        }
        self.note_keys(caller);
        (200, json!({ "failures": {} }))
    }

    /// The keys of this user changed.
    fn note_keys(&mut self, caller: &Caller) {
        let at = self.advance();
        self.device_changes.push((at, caller.user.clone()));
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
}

/// Device keys as they were uploaded, once more perhaps; what was signed meanwhile stays signed.
fn still_signed(keys: &Value, kept: Option<&Value>, user: &str) -> Value {
    let mut keys = keys.clone();
    let kept = kept.and_then(|kept| kept["signatures"][user].as_object());
    for (id, signature) in kept.into_iter().flatten() {
        keys["signatures"][user][id] = signature.clone();
    }
    keys
}

/// Whether two uploads of a key are the same key; a signature may be made anew.
fn same_key(one: &Value, two: &Value) -> bool {
    one["key"] == two["key"]
}

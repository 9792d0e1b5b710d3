//! Calls made wrong.

use serde_json::{Value, json};

use super::World;
use crate::differ::call::{Body, Call, Who};

const GARBAGE: [&str; 9] =
    ["!", "@:", "$", "not an id", "../../..", "%00", "\u{202e}", "!no:such:room", "💥"];

impl World {
    /// The same call, with one thing wrong.
    pub(super) fn spoil(&mut self, mut call: Call) -> Call {
        let wrong = match self.random.below(11) {
            // Profiles are for everybody, with a token or without.
            0 if !call.template.contains("/profile/") => {
                call.who = Who::Stranger;
                "unknown token"
            }
            1 => {
                call.who = Who::Nobody;
                "no token"
            }
            2 if !call.arguments.is_empty() => {
                let place = self.random.below(call.arguments.len());
                call.arguments[place] = self.random.of(&GARBAGE).to_owned();
                "an argument that cannot be"
            }
            3 => {
                let methods = ["GET", "PUT", "POST", "DELETE", "PATCH"];
                call.method = self.random.of(&methods);
                "another method"
            }
            4 => {
                call.template = self.random.of(&[
                    "/client/v3/nothing",
                    "/client/v99/sync",
                    "/client/v3/rooms",
                    "/",
                    "/client",
                    "/client/v3/rooms/%2F/state/",
                    "/federation/v1/version",
                    "/client/unstable/org.example/thing",
                    "/client/v3/admin/whois",
                ]);
                "another path"
            }
            5 if call.body != Body::None => {
                if self.random.percent(15) {
                    call.body = Body::Raw(Vec::new());
                    call.wrong = Some("no body");
                    return call;
                }
                let raw = ["{", "{\"a\":}", "nothing", "{\"a\":1}x", "\u{0}", "{\"a\": NaN}"];
                call.body = Body::Raw(self.random.of(&raw).as_bytes().to_vec());
                "a body that is no JSON"
            }
            6 if call.body != Body::None => {
                call.body =
                    Body::Json(self.random.of(&[json!([]), json!("x"), json!(null), json!(7)]));
                "a body that is no object"
            }
            7 if call.body != Body::None => {
                self.huge(&mut call);
                "a huge body"
            }
            8 => {
                call.body = Body::Json(json!({}));
                "an empty body"
            }
            _ => {
                let Body::Json(body) = &mut call.body else { return call };
                let Some(fields) = body.as_object_mut().filter(|fields| !fields.is_empty()) else {
                    return call;
                };
                let key = self.random.of(&fields.keys().cloned().collect::<Vec<_>>());
                if self.random.percent(35) {
                    fields.remove(&key);
                    "a field that is not there"
                } else {
                    let values =
                        [json!(null), json!(7), json!("x"), json!([]), json!({}), json!(true)];
                    fields.insert(key, self.random.of(&values));
                    "a field of another type"
                }
            }
        };
        call.wrong = Some(wrong);
        call
    }

    fn huge(&mut self, call: &mut Call) {
        if let Body::Json(Value::Object(fields)) = &mut call.body {
            let text = "x".repeat(70_000);
            fields.insert("huge".to_owned(), text.into());
        }
    }
}

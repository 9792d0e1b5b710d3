//! Odd calls: whatever is sent to an endpoint, it answers with a refusal or does what was asked.

use serde_json::{Value, json};

use crate::server::model::testing::World;

/// Every endpoint of people, with odd things in the path.
const CALLS: [(&str, &str); 62] = [
    ("POST", "/register"),
    ("POST", "/register?kind=%00"),
    ("GET", "/register/available"),
    ("GET", "/register/available?username=%F0%9F%A6%80"),
    ("GET", "/_matrix/client/v1/register/m.login.registration_token/validity"),
    ("GET", "/login"),
    ("POST", "/login"),
    ("POST", "/refresh"),
    ("POST", "/_matrix/client/v1/login/get_token"),
    ("GET", "/account/whoami"),
    ("GET", "/capabilities"),
    ("POST", "/account/password"),
    ("POST", "/account/deactivate"),
    ("GET", "/account/3pid"),
    ("GET", "/devices"),
    ("GET", "/devices/%00"),
    ("PUT", "/devices/ALICE1"),
    ("DELETE", "/devices/%2F..%2F"),
    ("POST", "/delete_devices"),
    ("POST", "/keys/upload"),
    ("POST", "/keys/query"),
    ("POST", "/keys/claim"),
    ("GET", "/keys/changes"),
    ("GET", "/keys/changes?from=s99999999999999999999&to=s1"),
    ("POST", "/keys/device_signing/upload"),
    ("POST", "/keys/signatures/upload"),
    ("PUT", "/sendToDevice/%00/%FF"),
    ("PUT", "/sendToDevice/m.test/t"),
    ("GET", "/room_keys/version"),
    ("POST", "/room_keys/version"),
    ("GET", "/room_keys/version/99999999999999999999"),
    ("PUT", "/room_keys/version/-1"),
    ("DELETE", "/room_keys/version/0"),
    ("GET", "/room_keys/keys"),
    ("PUT", "/room_keys/keys?version=1"),
    ("PUT", "/room_keys/keys/x?version=1"),
    ("PUT", "/room_keys/keys/x/y?version=1"),
    ("DELETE", "/room_keys/keys/x/y?version=%00"),
    ("GET", "/profile/alice"),
    ("GET", "/profile/@alice:test/%00"),
    ("PUT", "/profile/@alice:test/displayname"),
    ("PUT", "/profile/@alice:test/m.tz"),
    ("PUT", "/profile/@alice:test/"),
    ("DELETE", "/profile/@alice:test/avatar_url"),
    ("GET", "/user/@alice:test/account_data/%00"),
    ("PUT", "/user/@alice:test/account_data/m.x"),
    ("PUT", "/user/alice/account_data/m.x"),
    ("PUT", "/user/@alice:test/rooms/x/account_data/m.x"),
    ("PUT", "/user/@alice:test/rooms/!x:test/account_data/m.x"),
    ("PUT", "/user/@alice:test/rooms/!x:test/tags/u.x"),
    ("DELETE", "/user/@alice:test/rooms/!x:test/tags/u.x"),
    ("POST", "/user/@alice:test/filter"),
    ("GET", "/user/@alice:test/filter/-1"),
    ("GET", "/pushrules/"),
    ("PUT", "/pushrules/global/override/x"),
    ("PUT", "/pushrules/global/sender/x"),
    ("PUT", "/pushrules/global/nonsense/x"),
    ("PUT", "/pushrules/global/override/.m.rule.master/enabled"),
    ("PUT", "/pushrules/global/override/.m.rule.master/actions"),
    ("POST", "/pushers/set"),
    ("POST", "/user_directory/search"),
    ("PUT", "/presence/@alice:test/status"),
];

/// Fields that some endpoint looks at.
const FIELDS: [&str; 34] = [
    "auth",
    "username",
    "password",
    "type",
    "identifier",
    "user",
    "token",
    "refresh_token",
    "new_password",
    "logout_devices",
    "devices",
    "device_keys",
    "one_time_keys",
    "fallback_keys",
    "master_key",
    "self_signing_key",
    "user_signing_key",
    "@alice:test",
    "messages",
    "algorithm",
    "auth_data",
    "rooms",
    "sessions",
    "first_message_index",
    "session_data",
    "displayname",
    "m.tz",
    "pattern",
    "conditions",
    "actions",
    "enabled",
    "search_term",
    "presence",
    "app_id",
];

fn odd_values() -> Vec<Value> {
    let mut deep = json!({});
    for _ in 0..100 {
        deep = json!({"a": deep});
    }
    vec![
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5e300),
        json!(""),
        json!("\u{0}\u{202e}"),
        json!([]),
        json!([[], {}, null]),
        json!({}),
        json!({"": {"": {"": null}}}),
        json!({"@alice:test": {"ALICE1": {"signatures": {"@alice:test": {"ed25519:ALICE1": 1}}}}}),
        json!({"type": "m.login.password", "identifier": {"type": "m.id.user", "user": []}}),
        json!({"keys": {"ed25519:": "AAAA"}, "usage": ["master"], "user_id": "@alice:test"}),
        deep,
    ]
}

#[test]
fn no_odd_call_is_the_servers_fault() {
    let mut world = World::new();
    let alice = world.user("alice");
    let mut bodies = odd_values();
    for value in odd_values() {
        bodies.extend(FIELDS.map(|field| json!({field: value})));
        bodies.push(FIELDS.map(|field| (field.to_owned(), value.clone())).into_iter().collect());
    }
    for call in CALLS {
        for body in &bodies {
            let (status, reply) = world.call(call, Some(&alice), Some(body.clone()));
            assert!((200..500).contains(&status), "{call:?} {body}: {status} {reply}");
            let is_named = status == 200 || reply["errcode"].is_string() || status == 401;
            assert!(is_named, "{call:?} {body}: {status} {reply}");
        }
        for body in ["", "{", "\u{0}", "[1", "{\"a\":1}x"] {
            let outcome = world.ask(call, Some(&alice), body.as_bytes(), (None, false));
            let crate::server::Answer::Now(response) = outcome.answer else { continue };
            assert!(response.status().as_u16() < 500, "{call:?} {body}");
        }
    }
}

#[test]
fn what_needs_a_token_is_refused_without_one() {
    const PUBLIC: [&str; 5] = ["/register", "/login", "/refresh", "/profile", "v1/register"];
    let mut world = World::new();
    for (method, path) in CALLS {
        let is_public = PUBLIC.iter().any(|public| path.contains(public))
            && (method != "PUT" && method != "DELETE")
            && !path.contains("get_token");
        let (status, reply) = world.call((method, path), None, Some(json!({})));
        if !is_public && status != 404 {
            assert_eq!((status, &reply["errcode"]), (401, &json!("M_MISSING_TOKEN")), "{path}");
        }
    }
}

//! Registering, logging in and out, proofs and tokens, as clients see them.

use std::time::Duration;

use serde_json::{Value, json};

use super::{invites, users};
use crate::server::model::{
    machine::Answer,
    refusal::Work,
    settings::{Rate, Registration, Settings},
    testing::{Reply, User, World, user_of},
};

fn post(world: &mut World, path: &str, body: Value) -> Reply {
    world.call(("POST", path), None, Some(body))
}

fn code(reply: &Reply) -> (u16, &str) {
    (reply.0, reply.1["errcode"].as_str().unwrap_or(""))
}

fn login(name: &str, password: &str) -> Value {
    json!({
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": name},
        "password": password,
    })
}

fn register(name: &str) -> Value {
    json!({"username": name, "password": "secret", "auth": {"type": "m.login.dummy"}})
}

fn proof(user: &User, password: &str) -> Value {
    json!({
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": user.id},
        "password": password,
    })
}

#[test]
fn whoever_registers_is_logged_in() {
    let mut world = World::new();
    let alice = world.register("Alice");
    assert_eq!(alice.id, "@alice:test");
    let (status, me) = world.get("/account/whoami", &alice);
    assert_eq!(
        (status, &me["user_id"], &me["device_id"]),
        (200, &json!("@alice:test"), &json!(alice.device))
    );
}

#[test]
fn without_a_proof_the_ways_to_give_one_are_named() {
    let mut world = World::new();
    let body = json!({"username": "alice", "password": "secret"});
    let (status, asked) = post(&mut world, "/register", body.clone());
    assert_eq!((status, &asked["flows"]), (401, &json!([{"stages": ["m.login.dummy"]}])));
    assert_eq!(asked["errcode"], json!(null));
    let mut body = body;
    body["auth"] = json!({"type": "m.login.dummy", "session": asked["session"]});
    assert_eq!(post(&mut world, "/register", body.clone()).0, 200);
    body["username"] = json!("bob");
    let reply = post(&mut world, "/register", body);
    assert_eq!(code(&reply), (400, "M_UNKNOWN"), "a proof holds once");
}

#[test]
fn a_name_is_taken_once_and_has_plain_letters() {
    let mut world = World::new();
    world.register("alice");
    let mut refused = |name: &str| {
        let reply = post(&mut world, "/register", register(name));
        code(&reply).1.to_owned()
    };
    assert_eq!(refused("ALICE"), "M_USER_IN_USE");
    for name in ["", "_bot", "a b", "ä", "a:b", "@a", "123", &"x".repeat(300)] {
        assert_eq!(refused(name), "M_INVALID_USERNAME", "{name:?}");
    }
    let call = ("GET", "/register/available?username=alice");
    assert_eq!(code(&world.call(call, None, None)), (400, "M_USER_IN_USE"));
    let call = ("GET", "/register/available?username=bob");
    assert_eq!(world.call(call, None, None), (200, json!({"available": true})));
}

fn closed() -> World {
    let mut settings = Settings::new("test");
    settings.registration = Registration::ByInvite;
    World::with(settings)
}

fn with_invite(name: &str, token: &str) -> Value {
    json!({
        "username": name,
        "password": "secret",
        "auth": {"type": "m.login.registration_token", "token": token},
    })
}

#[test]
fn a_closed_server_takes_one_person_per_invitation() {
    let mut world = closed();
    assert_eq!(post(&mut world, "/register", register("alice")).0, 401);
    let reply = post(&mut world, "/register", with_invite("alice", "guessed"));
    assert_eq!(code(&reply), (401, "M_UNAUTHORIZED"));
    assert!(reply.1["session"].is_string(), "one may try again");
    let token = world.edit(|step| invites::create(step, None)).expose().clone();
    let path =
        format!("/_matrix/client/v1/register/m.login.registration_token/validity?token={token}");
    assert_eq!(world.call(("GET", &path), None, None).1, json!({"valid": true}));
    let (status, asked) = post(&mut world, "/register", with_invite("alice", &token));
    let stages = json!(["m.login.registration_token", "m.login.dummy"]);
    assert_eq!((status, &asked["flows"]), (401, &json!([{ "stages": stages }])));
    assert_eq!(asked["completed"], json!(["m.login.registration_token"]));
    // Somebody else has shown the same invitation, and is slower.
    let (_, slower) = post(&mut world, "/register", with_invite("carol", &token));
    let last = |name: &str, asked: &Value| {
        json!({
            "username": name,
            "password": "secret",
            "auth": {"type": "m.login.dummy", "session": asked["session"]},
        })
    };
    assert_eq!(post(&mut world, "/register", last("alice", &asked)).0, 200);
    let reply = post(&mut world, "/register", last("carol", &slower));
    assert_eq!(code(&reply), (401, "M_UNAUTHORIZED"));
    let reply = post(&mut world, "/register", with_invite("bob", &token));
    assert_eq!(code(&reply), (401, "M_UNAUTHORIZED"));
    assert_eq!(world.call(("GET", &path), None, None).1, json!({"valid": false}));
}

#[test]
fn an_invitation_expires() {
    let mut world = closed();
    let expires = world.now.plus(Duration::from_secs(60));
    let token = world.edit(|step| invites::create(step, Some(expires))).expose().clone();
    world.pass(Duration::from_secs(61));
    let reply = post(&mut world, "/register", with_invite("alice", &token));
    assert_eq!(code(&reply), (401, "M_UNAUTHORIZED"));
}

#[test]
fn there_are_no_guests() {
    let mut world = World::new();
    let reply = post(&mut world, "/register?kind=guest", json!({}));
    assert_eq!(code(&reply), (403, "M_FORBIDDEN"));
}

#[test]
fn the_password_logs_in_by_any_spelling_of_the_name() {
    let mut world = World::new();
    world.register("alice");
    for name in ["alice", "ALICE", "@alice:test"] {
        assert_eq!(post(&mut world, "/login", login(name, "secret")).0, 200, "{name}");
    }
    let old = json!({"type": "m.login.password", "user": "alice", "password": "secret"});
    assert_eq!(post(&mut world, "/login", old).0, 200);
}

#[test]
fn wrong_passwords_and_unknown_names_are_refused_alike() {
    let mut world = World::new();
    world.register("alice");
    let wrong = post(&mut world, "/login", login("alice", "Secret"));
    assert_eq!(code(&wrong), (403, "M_FORBIDDEN"));
    for name in ["nobody", "@alice:elsewhere", "not a name"] {
        assert_eq!(post(&mut world, "/login", login(name, "secret")), wrong, "{name}");
    }
}

#[test]
fn an_unknown_name_costs_the_time_of_a_wrong_password() {
    let mut world = World::new();
    let body = login("nobody", "secret").to_string();
    let outcome = world.ask(("POST", "/login"), None, body.as_bytes(), (None, false));
    let Answer::Work(Work::Verify { password, hash }) = outcome.answer else {
        panic!("{:?}", outcome.answer);
    };
    let parameters = |hash: &str| hash.split('$').take(4).map(str::to_owned).collect::<Vec<_>>();
    let real = crate::server::work::perform(Work::Hash { password: password.clone() });
    let crate::server::Done::Hash(real) = real else { panic!("no hash") };
    assert_eq!(parameters(&hash), parameters(&real), "the same work as for a real hash");
    let done = crate::server::work::perform(Work::Verify { password, hash });
    assert_eq!(done, crate::server::Done::Verified(false));
}

#[test]
fn odd_logins_are_refused_as_elsewhere() {
    let mut world = World::new();
    let cases = [
        (json!({}), "M_UNKNOWN"),
        (json!({"type": "m.login.magic"}), "M_INVALID_PARAM"),
        (json!({"type": "m.login.magic", "user": "alice"}), "M_UNKNOWN"),
        (json!({"type": "m.login.password", "user": "alice"}), "M_INVALID_PARAM"),
        (json!({"type": "m.login.password", "password": "secret"}), "M_INVALID_PARAM"),
        (json!({"type": "m.login.token"}), "M_UNKNOWN"),
        (json!([]), "M_BAD_JSON"),
    ];
    for (body, errcode) in cases {
        let reply = post(&mut world, "/login", body.clone());
        assert_eq!(code(&reply), (400, errcode), "{body}");
    }
}

#[test]
fn guessing_a_password_is_slowed_down_for_that_account_only() {
    let mut settings = Settings::new("test");
    settings.registration = Registration::Open;
    settings.rates.login = Rate { burst: 3, pause: Duration::from_secs(10) };
    let mut world = World::with(settings);
    world.register("alice");
    world.register("bob");
    for name in ["alice", "@alice:test", "ALICE"] {
        assert_eq!(post(&mut world, "/login", login(name, "guess")).0, 403);
    }
    let reply = post(&mut world, "/login", login("alice", "secret"));
    assert_eq!(code(&reply), (429, "M_LIMIT_EXCEEDED"));
    assert_eq!(reply.1["retry_after_ms"], 10_000);
    assert_eq!(post(&mut world, "/login", login("bob", "secret")).0, 200);
    world.pass(Duration::from_secs(10));
    assert_eq!(post(&mut world, "/login", login("alice", "secret")).0, 200);
}

#[test]
fn registering_in_bulk_is_slowed_down() {
    let mut settings = Settings::new("test");
    settings.registration = Registration::Open;
    settings.rates.register = Rate { burst: 2, pause: Duration::from_secs(10) };
    let mut world = World::with(settings);
    world.register("a");
    world.register("b");
    assert_eq!(code(&post(&mut world, "/register", register("c"))), (429, "M_LIMIT_EXCEEDED"));
}

#[test]
fn logging_out_ends_the_token() {
    let mut world = World::new();
    let alice = world.register("alice");
    let other = user_of(&post(&mut world, "/login", login("alice", "secret")).1);
    assert_eq!(world.post("/logout", &alice, json!({})).0, 200);
    assert_eq!(code(&world.get("/account/whoami", &alice)), (401, "M_UNKNOWN_TOKEN"));
    assert_eq!(world.get("/account/whoami", &other).0, 200);
    let (_, devices) = world.get("/devices", &other);
    assert_eq!(devices["devices"].as_array().unwrap().len(), 1);
    assert_eq!(world.post("/logout/all", &other, json!({})).0, 200);
    assert_eq!(world.get("/account/whoami", &other).0, 401);
}

#[test]
fn logging_in_again_as_a_device_ends_its_old_token() {
    let mut world = World::new();
    let alice = world.register("alice");
    let mut body = login("alice", "secret");
    body["device_id"] = json!(alice.device);
    let again = user_of(&post(&mut world, "/login", body).1);
    assert_eq!(again.device, alice.device);
    assert_eq!(world.get("/account/whoami", &alice).0, 401);
    assert_eq!(world.get("/account/whoami", &again).0, 200);
}

#[test]
fn a_token_is_stored_as_a_hash_only() {
    let mut world = World::new();
    let alice = world.register("alice");
    let holds = |text: &str| {
        let holds = |bytes: &Vec<u8>| bytes.windows(text.len()).any(|part| part == text.as_bytes());
        world.records.0.iter().any(|(key, value)| holds(key) || holds(value))
    };
    assert!(!holds(&alice.token));
    assert!(holds("alice"), "the search finds what is there");
}

#[test]
fn a_refreshed_pair_ends_the_old_one_when_it_is_used() {
    let mut world = World::new();
    world.register("alice");
    let mut body = login("alice", "secret");
    body["refresh_token"] = json!(true);
    let (_, first) = post(&mut world, "/login", body);
    assert_eq!(first["expires_in_ms"], 3_600_000);
    let refresh =
        |world: &mut World, token: &Value| post(world, "/refresh", json!({"refresh_token": token}));
    let old = user_of(&first);
    let (_, lost) = refresh(&mut world, &first["refresh_token"]);
    assert_eq!(world.get("/account/whoami", &old).0, 200, "until the new one is used");
    let (status, second) = refresh(&mut world, &first["refresh_token"]);
    assert_eq!(status, 200, "the answer may have been lost");
    let mut new = old.clone();
    lost["access_token"].as_str().unwrap().clone_into(&mut new.token);
    assert_eq!(world.get("/account/whoami", &new).0, 401, "and then it never holds");
    second["access_token"].as_str().unwrap().clone_into(&mut new.token);
    assert_eq!(world.get("/account/whoami", &new).0, 200);
    assert_eq!(world.get("/account/whoami", &old).0, 401);
    assert_eq!(code(&refresh(&mut world, &first["refresh_token"])), (401, "M_UNKNOWN_TOKEN"));
    assert_eq!(refresh(&mut world, &second["refresh_token"]).0, 200);
}

#[test]
fn an_expired_token_asks_for_a_new_one() {
    let mut world = World::new();
    world.register("alice");
    let mut body = login("alice", "secret");
    body["refresh_token"] = json!(true);
    let (_, first) = post(&mut world, "/login", body);
    world.pass(Duration::from_secs(3_600));
    let reply = world.get("/account/whoami", &user_of(&first));
    assert_eq!(code(&reply), (401, "M_UNKNOWN_TOKEN"));
    assert_eq!(reply.1["soft_logout"], true);
    let body = json!({"refresh_token": first["refresh_token"]});
    assert_eq!(post(&mut world, "/refresh", body).0, 200);
}

#[test]
fn a_login_token_brings_in_one_device_and_expires() {
    let mut world = World::new();
    let alice = world.register("alice");
    let path = "/_matrix/client/v1/login/get_token";
    assert_eq!(world.post(path, &alice, json!({})).0, 401, "a password has to be shown");
    let body = json!({"auth": proof(&alice, "secret")});
    let (status, reply) = world.post(path, &alice, body.clone());
    assert_eq!(status, 200, "{reply}");
    let by_token = json!({"type": "m.login.token", "token": reply["login_token"]});
    let (status, other) = post(&mut world, "/login", by_token.clone());
    assert_eq!((status, &other["user_id"]), (200, &json!("@alice:test")));
    assert_eq!(code(&post(&mut world, "/login", by_token)), (403, "M_FORBIDDEN"));
    let (_, reply) = world.post(path, &alice, body);
    world.pass(Duration::from_secs(121));
    let by_token = json!({"type": "m.login.token", "token": reply["login_token"]});
    assert_eq!(code(&post(&mut world, "/login", by_token)), (403, "M_FORBIDDEN"));
}

fn delete_device(world: &mut World, user: &User, device: &str, body: Value) -> Reply {
    world.call(("DELETE", &format!("/devices/{device}")), Some(user), Some(body))
}

#[test]
fn a_device_is_deleted_with_the_password_only() {
    let mut world = World::new();
    let alice = world.register("alice");
    let thief = user_of(&post(&mut world, "/login", login("alice", "secret")).1);
    let reply = delete_device(&mut world, &thief, &alice.device, json!({}));
    assert_eq!((reply.0, &reply.1["flows"]), (401, &json!([{"stages": ["m.login.password"]}])));
    let wrong = json!({"auth": proof(&alice, "guess")});
    let reply = delete_device(&mut world, &thief, &alice.device, wrong);
    assert_eq!(code(&reply), (401, "M_FORBIDDEN"));
    assert_eq!(world.get("/account/whoami", &alice).0, 200);
    let right = json!({"auth": proof(&alice, "secret")});
    assert_eq!(delete_device(&mut world, &alice, &thief.device, right).0, 200);
    assert_eq!(world.get("/account/whoami", &thief).0, 401);
}

#[test]
fn a_proof_for_one_thing_or_by_another_is_none() {
    let mut world = World::new();
    let (alice, bob) = (world.register("alice"), world.register("bob"));
    let (_, asked) = delete_device(&mut world, &alice, "A", json!({}));
    let mut auth = proof(&alice, "secret");
    auth["session"] = asked["session"].clone();
    let reply = delete_device(&mut world, &alice, "B", json!({"auth": auth}));
    assert_eq!(reply.0, 403, "it was asked for another device");
    auth["identifier"]["user"] = json!(bob.id);
    let reply = delete_device(&mut world, &bob, "A", json!({"auth": auth}));
    assert_eq!(reply.0, 403, "it was asked for by another");
    let by_bob = json!({"auth": proof(&bob, "secret")});
    let reply = delete_device(&mut world, &alice, &alice.device, by_bob);
    assert_eq!(code(&reply), (403, "M_FORBIDDEN"), "the password of another proves nothing");
    assert_eq!(world.get("/account/whoami", &alice).0, 200);
}

#[test]
fn a_dummy_does_not_stand_for_a_password() {
    let mut world = World::new();
    let alice = world.register("alice");
    let auth = json!({"auth": {"type": "m.login.dummy"}});
    assert_eq!(delete_device(&mut world, &alice, &alice.device, auth).0, 401);
}

#[test]
fn devices_have_names_that_others_learn_of() {
    let mut world = World::new();
    let (alice, bob) = (world.register("alice"), world.register("bob"));
    world.room_of(&[&alice, &bob]);
    let path = format!("/devices/{}", alice.device);
    assert_eq!(world.put(&path, &alice, json!({"display_name": "phone"})).0, 200);
    assert!(world.woken.contains(&bob.id), "{:?}", world.woken);
    let (_, device) = world.get(&path, &alice);
    assert_eq!(device["display_name"], "phone");
    let long = json!({"display_name": "x".repeat(101)});
    assert_eq!(code(&world.put(&path, &alice, long)), (400, "M_TOO_LARGE"));
    assert_eq!(code(&world.get(&path, &bob)), (404, "M_NOT_FOUND"));
}

#[test]
fn the_device_that_was_away_longest_makes_room() {
    let mut world = World::new();
    let first = world.register("alice");
    for _ in 0..499 {
        world.pass(Duration::from_secs(1));
        assert_eq!(post(&mut world, "/login", login("alice", "secret")).0, 200);
    }
    assert_eq!(world.get("/account/whoami", &first).0, 200);
    let (_, last) = post(&mut world, "/login", login("alice", "secret"));
    assert_eq!(world.get("/account/whoami", &first).0, 401);
    let (_, devices) = world.get("/devices", &user_of(&last));
    assert_eq!(devices["devices"].as_array().unwrap().len(), 500);
}

#[test]
fn a_name_is_found_whatever_its_case() {
    let mut world = World::new();
    world.register("alice");
    let found = world.edit(|step| users::find(step, "@Alice:TEST"));
    assert_eq!(found.unwrap().0, "@alice:test");
}

//! What one member may take of what is there for all.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    secret::Secret,
    server::model::{
        Address, AdminJob, Answer, Ask, MediaDone, MediaJob, Model,
        machine::Outcome,
        settings::{Rate, Registration, Settings},
        testing::{Reply, User, World},
    },
};

fn world(change: impl FnOnce(&mut Settings)) -> World {
    let mut settings = World::new().model.settings().clone();
    change(&mut settings);
    World::with(settings)
}

fn code(reply: &Reply) -> (u16, &str) {
    (reply.0, reply.1["errcode"].as_str().unwrap_or(""))
}

const FULL: (u16, &str) = (403, "M_RESOURCE_LIMIT_EXCEEDED");

/// A file of so many bytes, put in one piece; the refusal if it is refused.
fn upload(world: &mut World, user: &User, bytes: usize) -> Result<(), String> {
    let token = Some(Secret::new(user.token.clone()));
    let begin = MediaJob::Begin {
        token,
        id: None,
        content_type: "text/plain".to_owned(),
        file_name: None,
        announced: None,
    };
    let MediaDone::Begun(id) = media(world, begin)? else { panic!("not begun") };
    if let Err(refused) = media(world, MediaJob::Put { id: id.clone(), piece: vec![7; bytes] }) {
        media(world, MediaJob::Discard { id })?;
        return Err(refused);
    }
    media(world, MediaJob::Finish { id, size: bytes as u64 }).map(drop)
}

fn media(world: &mut World, job: MediaJob) -> Result<MediaDone, String> {
    let mut random = |bytes: &mut [u8]| getrandom::fill(bytes).unwrap();
    let (result, changes) = world.model.media(job, &world.records, world.now, &mut random);
    world.records.write(changes);
    result.map_err(|refusal| refusal.errcode.to_owned())
}

/// A call from this address, without a token.
fn call_from(world: &mut World, address: &str, path: &str, body: &Value) -> Outcome {
    let body = body.to_string();
    let uri = format!("/_matrix/client/v3{path}");
    let request = http::Request::builder().method("POST").uri(uri).body(body.as_bytes()).unwrap();
    let mut ask = Ask { request, token: None, done: None, is_late: false };
    ask.request.extensions_mut().insert(Address(address.to_owned()));
    let mut random = |bytes: &mut [u8]| getrandom::fill(bytes).unwrap();
    world.model.handle(&ask, &world.records, world.now, &mut random)
}

fn status(outcome: &Outcome) -> (u16, Value) {
    match &outcome.answer {
        Answer::Now(response) => {
            (response.status().as_u16(), serde_json::from_slice(response.body()).unwrap())
        }
        Answer::Work(_) => (0, json!("work")),
        Answer::Wait(..) => (0, json!("wait")),
    }
}

#[test]
fn the_files_of_one_account_have_a_limit_that_is_not_that_of_others() {
    let mut world = world(|settings| settings.max_account_bytes = 250_000);
    let [alice, bob] = ["alice", "bob"].map(|name| world.user(name));
    for _ in 0..2 {
        upload(&mut world, &alice, 100_000).unwrap();
    }
    for _ in 0..20 {
        // What is refused does not count.
        assert_eq!(upload(&mut world, &alice, 100_000), Err(FULL.1.to_owned()));
    }
    upload(&mut world, &alice, 40_000).unwrap();
    upload(&mut world, &bob, 100_000).unwrap();
}

#[test]
fn who_may_store_nothing_more_can_still_leave_and_take_back() {
    let mut world = world(|settings| settings.max_account_bytes = 60_000);
    let [alice, bob] = ["alice", "bob"].map(|name| world.user(name));
    let room = world.room_of(&[&alice, &bob]);
    let said = world.say(&bob, &room, "something");
    upload(&mut world, &bob, 58_000).unwrap();
    let text = json!({ "msgtype": "m.text", "body": "x".repeat(5_000) });
    let path = format!("/rooms/{room}/send/m.room.message/1");
    assert_eq!(code(&world.put(&path, &bob, text)), FULL);
    assert_eq!(world.put(&format!("/rooms/{room}/redact/{said}/2"), &bob, json!({})).0, 200);
    assert_eq!(world.post(&format!("/rooms/{room}/leave"), &bob, json!({})).0, 200);
    world.say(&alice, &room, "others go on");
}

#[test]
fn keys_of_a_backup_count_and_give_their_room_back() {
    let mut world = world(|settings| settings.max_account_bytes = 20_000);
    let alice = world.user("alice");
    let version = json!({ "algorithm": "a", "auth_data": {} });
    let make = |world: &mut World| {
        let reply = world.post("/room_keys/version", &alice, version.clone());
        reply.1["version"].as_str().unwrap().to_owned()
    };
    let put = |world: &mut World, version: &str, session: usize| {
        let key = json!({
            "first_message_index": 0, "forwarded_count": 0, "is_verified": false,
            "session_data": { "ciphertext": "x".repeat(5_000) },
        });
        let path = format!("/room_keys/keys/!r:test/s{session}?version={version}");
        world.put(&path, &alice, key)
    };
    let first = make(&mut world);
    let taken = (0..10).take_while(|session| put(&mut world, &first, *session).0 == 200).count();
    assert_eq!(taken, 3);
    assert_eq!(code(&put(&mut world, &first, 9)), FULL);
    assert_eq!(world.delete(&format!("/room_keys/version/{first}"), &alice).0, 200);
    let second = make(&mut world);
    assert_eq!(put(&mut world, &second, 0).0, 200);
}

#[test]
fn one_address_cannot_guess_at_many_accounts() {
    let rate = Rate { burst: 2, pause: Duration::from_secs(60) };
    let mut world = world(|settings| settings.rates.login = rate);
    let login = |number: usize| {
        let user = format!("user{number}");
        json!({ "type": "m.login.password", "password": "guess",
            "identifier": { "type": "m.id.user", "user": user } })
    };
    let let_through = |world: &mut World, address: &str| {
        let tried = (0..100).map(|number| call_from(world, address, "/login", &login(number)));
        tried.filter(|outcome| matches!(outcome.answer, Answer::Work(_))).count()
    };
    assert_eq!(let_through(&mut world, "192.0.2.1"), 12);
    assert_eq!(let_through(&mut world, "192.0.2.2"), 12, "others are not concerned");
}

#[test]
fn a_flood_of_registrations_leaves_those_of_other_addresses_alone() {
    let mut world = world(|settings| settings.registration = Registration::ByInvite);
    let body = json!({ "username": "alice", "password": "secret" });
    let (code, asked) = status(&call_from(&mut world, "192.0.2.1", "/register", &body));
    assert_eq!(code, 401);
    let session = asked["session"].clone();
    for number in 0..11_000 {
        let body = json!({ "username": format!("u{number}"), "password": "x" });
        call_from(&mut world, "198.51.100.1", "/register", &body);
    }
    let auth = json!({ "type": "m.login.dummy", "session": session });
    let body = json!({ "username": "alice", "password": "secret", "auth": auth });
    let (code, answer) = status(&call_from(&mut world, "192.0.2.1", "/register", &body));
    assert_eq!((code, &answer["completed"]), (401, &json!(["m.login.dummy"])), "{answer}");
}

#[test]
fn a_search_looks_at_so_many_people_and_no_further() {
    use crate::server::model::records::PROFILES;
    let mut world = world(|_settings| {});
    let (alice, zoe) = (world.user("alice"), world.user("zoe"));
    world.room_of(&[&alice, &zoe]);
    let named = |name: &str| serde_json::Map::from_iter([("displayname".to_owned(), name.into())]);
    world.edit(|step| {
        step.put(PROFILES, (&*zoe.id,), &named("Zoe"))?;
        (0..20_000).try_for_each(|number| {
            step.put(PROFILES, (format!("@m{number:05}:test").as_str(),), &named("Max"))
        })
    });
    let search = |world: &mut World| {
        let body = json!({"search_term": "zoe"});
        let (status, found) = world.post("/user_directory/search", &alice, body);
        assert_eq!(status, 200);
        found["results"].as_array().unwrap().len()
    };
    assert_eq!(search(&mut world), 0, "whoever comes after so many is not found");
    world.edit(|step| {
        (0..100).for_each(|number| {
            step.delete(PROFILES, (format!("@m{number:05}:test").as_str(),));
        });
        Ok(())
    });
    assert_eq!(search(&mut world), 1);
}

#[test]
fn searches_are_limited() {
    let rate = Rate { burst: 3, pause: Duration::from_secs(1) };
    let mut world = world(|settings| settings.rates.search = rate);
    let alice = world.user("alice");
    let mut search = |path: &str| world.post(path, &alice, json!({ "search_term": "a" })).0;
    let paths =
        ["/user_directory/search", "/publicRooms", "/user_directory/search", "/publicRooms"];
    assert_eq!(paths.map(&mut search), [200, 200, 200, 429]);
}

#[test]
fn a_new_password_does_not_open_a_closed_account() {
    let mut world = World::new();
    let alice = world.register("alice");
    let auth = json!({ "type": "m.login.password", "password": "secret",
        "identifier": { "type": "m.id.user", "user": alice.id } });
    assert_eq!(world.post("/account/deactivate", &alice, json!({ "auth": auth })).0, 200);
    let job = AdminJob::ResetPassword { user: "alice".to_owned(), hash: "another".to_owned() };
    let mut random = |bytes: &mut [u8]| getrandom::fill(bytes).unwrap();
    let (result, changes) =
        Model::administer(&mut world.model, job, &world.records, world.now, &mut random);
    assert_eq!(result.unwrap_err().status, 403);
    assert!(changes.is_empty());
}

//! What users keep and show: profiles, account data, push rules, backups, passwords.

use serde_json::{Value, json};

use crate::server::model::{
    settings::{Contact, Settings},
    testing::{Reply, User, World},
};

fn code(reply: &Reply) -> (u16, &str) {
    (reply.0, reply.1["errcode"].as_str().unwrap_or(""))
}

fn proof(user: &User, password: &str) -> Value {
    json!({
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": user.id},
        "password": password,
    })
}

fn member(world: &mut World, room: &str, user: &User) -> Value {
    world.get(&format!("/rooms/{room}/state/m.room.member/{}", user.id), user).1
}

#[test]
fn a_new_name_shows_in_every_room() {
    let mut world = World::new();
    let (alice, bob) = (world.register("alice"), world.register("bob"));
    let room = world.room_of(&[&bob, &alice]);
    assert_eq!(member(&mut world, &room, &alice)["displayname"], "alice");
    let path = format!("/profile/{}/displayname", alice.id);
    assert_eq!(world.put(&path, &alice, json!({"displayname": " Alice L. "})).0, 200);
    assert!(world.woken.contains(&bob.id));
    assert_eq!(member(&mut world, &room, &alice)["displayname"], "Alice L.");
    assert_eq!(world.get(&path, &bob).1, json!({"displayname": "Alice L."}));
    assert_eq!(world.put(&path, &alice, json!({"displayname": ""})).0, 200);
    assert_eq!(member(&mut world, &room, &alice), json!({"membership": "join"}));
    assert_eq!(world.get(&path, &bob), (200, json!({})));
}

#[test]
fn a_profile_takes_other_fields_within_limits() {
    let mut world = World::new();
    let alice = world.register("alice");
    let path = |field: &str| format!("/profile/{}/{field}", alice.id);
    let zone = json!({"m.tz": "Europe/Berlin"});
    assert_eq!(world.put(&path("m.tz"), &alice, zone.clone()).0, 200);
    let (_, whole) = world.get(&format!("/profile/{}", alice.id), &alice);
    assert_eq!(whole, json!({"displayname": "alice", "m.tz": "Europe/Berlin"}));
    assert_eq!(world.call(("GET", &path("m.tz")), None, None), (200, zone));
    assert_eq!(world.delete(&path("m.tz"), &alice).0, 200);
    assert_eq!(code(&world.get(&path("m.tz"), &alice)), (404, "M_NOT_FOUND"));
    let large = json!({"org.large": "x".repeat(70_000)});
    let reply = world.put(&path("org.large"), &alice, large);
    assert_eq!(code(&reply), (400, "M_PROFILE_TOO_LARGE"));
    let reply = world.put(&path(&"x".repeat(256)), &alice, json!({}));
    assert_eq!(code(&reply), (400, "M_KEY_TOO_LARGE"));
    assert_eq!(code(&world.put(&path("Upper"), &alice, json!({}))), (400, "M_INVALID_PARAM"));
    assert_eq!(code(&world.put(&path("m.tz"), &alice, json!({}))), (400, "M_MISSING_PARAM"));
    let reply = world.put(&path("displayname"), &alice, json!({"displayname": 1}));
    assert_eq!(code(&reply), (400, "M_INVALID_PARAM"));
}

#[test]
fn nobody_changes_the_profile_of_another() {
    let mut world = World::new();
    let (alice, bob) = (world.register("alice"), world.register("bob"));
    let path = format!("/profile/{}/displayname", alice.id);
    let reply = world.put(&path, &bob, json!({"displayname": "Mallory"}));
    assert_eq!(code(&reply), (403, "M_FORBIDDEN"));
    assert_eq!(code(&world.delete(&path, &bob)), (403, "M_FORBIDDEN"));
    assert_eq!(code(&world.get("/profile/@nobody:test", &bob)), (404, "M_NOT_FOUND"));
}

#[test]
fn account_data_is_its_owners_and_bounded() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let path = format!("/user/{}/account_data/org.test", alice.id);
    assert_eq!(code(&world.get(&path, &alice)), (404, "M_NOT_FOUND"));
    let data = json!({"b": [1, null], "a": {"x": true}});
    assert_eq!(world.put(&path, &alice, data.clone()).0, 200);
    assert_eq!(world.woken, std::slice::from_ref(&alice.id));
    assert_eq!(world.get(&path, &alice), (200, data.clone()));
    assert_eq!(code(&world.get(&path, &bob)), (403, "M_FORBIDDEN"));
    assert_eq!(code(&world.put(&path, &bob, data)), (403, "M_FORBIDDEN"));
    assert_eq!(code(&world.put(&path, &alice, json!([]))), (400, "M_BAD_JSON"));
    let large = json!({"x": "x".repeat(65_536)});
    assert_eq!(code(&world.put(&path, &alice, large)), (413, "M_TOO_LARGE"));
    let half = json!({"x": "x".repeat(65_000)});
    let refused = (0..300).find(|number| {
        let path = format!("/user/{}/account_data/org.test.{number}", alice.id);
        world.put(&path, &alice, half.clone()).0 == 413
    });
    assert_eq!(refused, Some(258), "16 MiB of 65,000 bytes each");
    for kind in ["m.push_rules", "m.fully_read"] {
        let path = format!("/user/{}/account_data/{kind}", alice.id);
        assert_eq!(code(&world.put(&path, &alice, json!({}))), (405, "M_BAD_JSON"));
    }
}

#[test]
fn tags_come_and_go_in_rooms_one_has_to_do_with() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice]);
    let tags = format!("/user/{}/rooms/{room}/tags", alice.id);
    let path = format!("{tags}/u.work");
    assert_eq!(world.put(&path, &alice, json!({"order": 0.5, "x": 1})).0, 200);
    let expected = json!({"tags": {"u.work": {"order": 0.5, "x": 1}}});
    assert_eq!(world.get(&tags, &alice), (200, expected.clone()));
    let as_data = format!("/user/{}/rooms/{room}/account_data/m.tag", alice.id);
    assert_eq!(world.get(&as_data, &alice).1, expected);
    assert_eq!(world.delete(&path, &alice).0, 200);
    assert_eq!(world.get(&tags, &alice).1, json!({"tags": {}}));
    assert_eq!(code(&world.put(&path, &bob, json!({}))), (403, "M_FORBIDDEN"));
    let elsewhere = format!("/user/{}/rooms/{room}/tags/u.work", bob.id);
    assert_eq!(code(&world.put(&elsewhere, &bob, json!({}))), (403, "M_FORBIDDEN"));
    let long = format!("{tags}/{}", "x".repeat(256));
    assert_eq!(code(&world.put(&long, &alice, json!({}))), (400, "M_INVALID_PARAM"));
}

#[test]
fn a_filter_comes_back_as_it_was() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let path = format!("/user/{}/filter", alice.id);
    let filter = json!({"room": {"timeline": {"limit": 7}}, "org.unknown": [1]});
    let (_, made) = world.post(&path, &alice, filter.clone());
    assert_eq!(made, json!({"filter_id": "1"}));
    assert_eq!(world.post(&path, &alice, filter.clone()).1, made, "the same again");
    assert_eq!(world.get(&format!("{path}/1"), &alice), (200, filter));
    assert_eq!(code(&world.get(&format!("{path}/2"), &alice)), (404, "M_NOT_FOUND"));
    assert_eq!(code(&world.get(&format!("{path}/x"), &alice)), (400, "M_UNKNOWN"));
    assert_eq!(code(&world.get(&format!("{path}/1"), &bob)), (403, "M_FORBIDDEN"));
    let odd = json!({"room": {"timeline": {"limit": "7"}}});
    assert_eq!(code(&world.post(&path, &alice, odd)), (400, "M_BAD_JSON"));
}

#[test]
fn push_rules_can_be_made_changed_and_removed() {
    let mut world = World::new();
    let alice = world.user("alice");
    let rule = "/pushrules/global/content/mine";
    let (_, rules) = world.get("/pushrules/", &alice);
    assert_eq!(rules["global"]["override"][0]["rule_id"], ".m.rule.master");
    assert_eq!(rules["global"]["room"], json!([]), "every kind is there");
    let body = json!({"pattern": "cake", "actions": ["notify"]});
    assert_eq!(world.put(rule, &alice, body).0, 200);
    assert_eq!(world.woken, std::slice::from_ref(&alice.id));
    assert_eq!(world.get(rule, &alice).1["pattern"], "cake");
    let enabled = format!("{rule}/enabled");
    assert_eq!(world.put(&enabled, &alice, json!({"enabled": false})).0, 200);
    assert_eq!(world.get(&enabled, &alice).1, json!({"enabled": false}));
    let as_data = format!("/user/{}/account_data/m.push_rules", alice.id);
    assert_eq!(world.get(&as_data, &alice).1["global"]["content"][0]["rule_id"], "mine");
    assert_eq!(world.delete(rule, &alice).0, 200);
    assert_eq!(code(&world.delete(rule, &alice)), (404, "M_NOT_FOUND"));
    let default = "/pushrules/global/override/.m.rule.master";
    assert_eq!(code(&world.delete(default, &alice)), (404, "M_NOT_FOUND"));
    let own = "/pushrules/global/override/.mine";
    let body = json!({"conditions": [], "actions": []});
    assert_eq!(code(&world.put(own, &alice, body)), (400, "M_UNKNOWN"));
}

#[test]
fn a_new_password_ends_the_other_devices() {
    let mut world = World::new();
    let alice = world.register("alice");
    let other = world.device(&alice.id, "OTHER");
    let path = "/account/password";
    let mut body = json!({"new_password": "better"});
    assert_eq!(world.post(path, &alice, body.clone()).0, 401);
    body["auth"] = proof(&alice, "guess");
    assert_eq!(code(&world.post(path, &alice, body.clone())), (401, "M_FORBIDDEN"));
    body["auth"] = proof(&alice, "secret");
    assert_eq!(world.post(path, &alice, body), (200, json!({})));
    assert_eq!(world.get("/account/whoami", &alice).0, 200);
    assert_eq!(world.get("/account/whoami", &other).0, 401);
    let mut login = proof(&alice, "secret");
    assert_eq!(world.call(("POST", "/login"), None, Some(login.clone())).0, 403);
    login["password"] = json!("better");
    assert_eq!(world.call(("POST", "/login"), None, Some(login)).0, 200);
}

#[test]
fn a_password_cannot_be_changed_without_a_token() {
    let mut world = World::new();
    let alice = world.register("alice");
    let body = json!({"new_password": "better", "auth": proof(&alice, "secret")});
    let reply = world.call(("POST", "/account/password"), None, Some(body));
    assert_eq!(code(&reply), (401, "M_MISSING_TOKEN"));
}

#[test]
fn a_closed_account_is_gone_for_good() {
    let mut world = World::new();
    let (alice, bob) = (world.register("alice"), world.register("bob"));
    let room = world.room_of(&[&bob, &alice]);
    let body = json!({"auth": proof(&alice, "secret")});
    let (status, reply) = world.post("/account/deactivate", &alice, body);
    assert_eq!((status, reply), (200, json!({"id_server_unbind_result": "success"})));
    assert_eq!(world.get("/account/whoami", &alice).0, 401);
    let (_, members) = world.get(&format!("/rooms/{room}/joined_members"), &bob);
    assert!(members["joined"].get("@alice:test").is_none(), "{members}");
    let login = proof(&alice, "secret");
    assert_eq!(code(&world.call(("POST", "/login"), None, Some(login))), (403, "M_FORBIDDEN"));
    let again = json!(
        {"username": "alice", "password": "secret", "auth": {"type": "m.login.dummy"}}
    );
    let reply = world.call(("POST", "/register"), None, Some(again));
    assert_eq!(code(&reply), (400, "M_USER_IN_USE"));
}

fn backup_key(index: u64, is_verified: bool) -> Value {
    json!({
        "first_message_index": index,
        "forwarded_count": 0,
        "is_verified": is_verified,
        "session_data": {"ciphertext": format!("{index}")},
    })
}

const INFO: &str = "/room_keys/version";

fn new_backup(world: &mut World, user: &User) -> String {
    let body = json!({"algorithm": "m.megolm_backup.v1", "auth_data": {"public_key": "k"}});
    let (status, reply) = world.post(INFO, user, body);
    assert_eq!(status, 200, "{reply}");
    reply["version"].as_str().unwrap().to_owned()
}

#[test]
fn a_backup_gives_back_what_it_got_in_all_three_ways() {
    let mut world = World::new();
    let alice = world.user("alice");
    assert_eq!(code(&world.get(INFO, &alice)), (404, "M_NOT_FOUND"));
    let version = new_backup(&mut world, &alice);
    let at = |path: &str| format!("/room_keys/keys{path}?version={version}");
    let one = backup_key(1, false);
    let (_, count) = world.put(&at("/!a:test/s1"), &alice, one.clone());
    assert_eq!(count, json!({"count": 1, "etag": "1"}));
    let of_room = json!({"sessions": {"s2": one}});
    assert_eq!(world.put(&at("/!a:test"), &alice, of_room).1["count"], 2);
    let all = json!({"rooms": {"!b:test": {"sessions": {"s3": one}}}});
    assert_eq!(world.put(&at(""), &alice, all).1, json!({"count": 3, "etag": "3"}));
    assert_eq!(world.get(&at("/!a:test/s1"), &alice), (200, one.clone()));
    let sessions = json!({"sessions": {"s1": one, "s2": one}});
    assert_eq!(world.get(&at("/!a:test"), &alice), (200, sessions.clone()));
    let rooms = json!({"rooms": {"!a:test": sessions, "!b:test": {"sessions": {"s3": one}}}});
    assert_eq!(world.get(&at(""), &alice), (200, rooms));
    assert_eq!(code(&world.get(&at("/!a:test/s9"), &alice)), (404, "M_NOT_FOUND"));
    assert_eq!(world.get(&at("/!c:test"), &alice), (200, json!({"sessions": {}})));
    assert_eq!(world.delete(&at("/!a:test"), &alice).1, json!({"count": 1, "etag": "4"}));
    let (_, info) = world.get(INFO, &alice);
    assert_eq!((&info["count"], &info["etag"]), (&json!(1), &json!("4")));
}

#[test]
fn a_better_key_replaces_a_worse_one_only() {
    let mut world = World::new();
    let alice = world.user("alice");
    let version = new_backup(&mut world, &alice);
    let path = format!("/room_keys/keys/!a:test/s?version={version}");
    let steps = [
        (backup_key(5, false), true),
        (backup_key(6, false), false),
        (backup_key(4, false), true),
        (backup_key(9, true), true),
        (backup_key(1, false), false),
        (backup_key(8, true), true),
    ];
    for (key, is_taken) in steps {
        world.put(&path, &alice, key.clone());
        assert_eq!(world.get(&path, &alice).1 == key, is_taken, "{key}");
    }
}

#[test]
fn only_the_newest_backup_takes_keys_and_no_version_comes_twice() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let old = new_backup(&mut world, &alice);
    let new = new_backup(&mut world, &alice);
    let path = format!("/room_keys/keys/!a:test/s?version={old}");
    let reply = world.put(&path, &alice, backup_key(0, true));
    assert_eq!(code(&reply), (403, "M_WRONG_ROOM_KEYS_VERSION"));
    assert_eq!(reply.1["current_version"], json!(new));
    assert_eq!(world.delete(&format!("{INFO}/{new}"), &alice).0, 200);
    assert_eq!(code(&world.delete(&format!("{INFO}/{new}"), &alice)), (404, "M_NOT_FOUND"));
    assert_eq!(world.get(INFO, &alice).1["version"], json!(old));
    assert_ne!(new_backup(&mut world, &alice), new);
    assert_eq!(code(&world.get(&format!("{INFO}/{old}"), &bob)), (404, "M_NOT_FOUND"));
    let update = json!({"algorithm": "other", "auth_data": {}});
    let reply = world.put(&format!("{INFO}/{old}"), &alice, update);
    assert_eq!(code(&reply), (400, "M_INVALID_PARAM"));
}

#[test]
fn the_directory_shows_those_one_could_meet() {
    let mut world = World::new();
    let [alice, bob, carol, dave] =
        ["alice", "bob", "carol", "dave"].map(|name| world.register(name));
    let private = world.room(&alice, json!({"preset": "private_chat", "invite": [bob.id]}));
    world.join(&bob, &private);
    world.room_of(&[&carol]);
    world.room(&dave, json!({"preset": "private_chat"}));
    let mut find = |term: &str| {
        let (status, reply) =
            world.post("/user_directory/search", &alice, json!({"search_term": term}));
        assert_eq!(status, 200);
        let results = reply["results"].as_array().unwrap();
        results.iter().map(|user| user["user_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(find("BO"), ["@bob:test"], "in a room of hers");
    assert_eq!(find("carol"), ["@carol:test"], "in a public room");
    assert!(find("dave").is_empty(), "in a private room of others");
    assert!(find("alice").is_empty(), "not herself");
    assert_eq!(find(":test"), ["@bob:test", "@carol:test"]);
}

#[test]
fn presence_is_for_those_who_share_a_room() {
    let mut world = World::new();
    let [alice, bob, eve] = ["alice", "bob", "eve"].map(|name| world.user(name));
    world.room_of(&[&alice, &bob]);
    let path = format!("/presence/{}/status", alice.id);
    let body = json!({"presence": "unavailable", "status_msg": "tea"});
    assert_eq!(code(&world.put(&path, &bob, body.clone())), (403, "M_FORBIDDEN"));
    assert_eq!(world.put(&path, &alice, body).0, 200);
    assert!(world.woken.contains(&bob.id) && !world.woken.contains(&eve.id));
    let (_, seen) = world.get(&path, &bob);
    assert_eq!((&seen["presence"], &seen["status_msg"]), (&json!("unavailable"), &json!("tea")));
    assert_eq!(code(&world.get(&path, &eve)), (403, "M_FORBIDDEN"));
}

#[test]
fn a_pusher_moves_to_its_new_owner() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let pusher = json!({
        "kind": "http", "app_id": "app", "pushkey": "key", "app_display_name": "App",
        "device_display_name": "Phone", "lang": "en", "data": {"url": "https://push.test"},
    });
    assert_eq!(world.post("/pushers/set", &alice, pusher.clone()).0, 200);
    assert_eq!(world.get("/pushers", &alice).1, json!({"pushers": [pusher]}));
    assert_eq!(world.post("/pushers/set", &bob, pusher.clone()).0, 200);
    assert_eq!(world.get("/pushers", &alice).1, json!({"pushers": []}));
    let gone = json!({"kind": null, "app_id": "app", "pushkey": "key"});
    assert_eq!(world.post("/pushers/set", &bob, gone).0, 200);
    assert_eq!(world.get("/pushers", &bob).1, json!({"pushers": []}));
    assert_eq!(world.post("/pushers/set", &bob, pusher).0, 200);
    world.post("/logout", &bob, json!({}));
    let other = world.device(&bob.id, "OTHER");
    assert_eq!(world.get("/pushers", &other).1, json!({"pushers": []}));
}

#[test]
fn what_is_not_here_is_said_in_the_usual_way() {
    let mut world = World::new();
    let alice = world.user("alice");
    assert_eq!(world.get("/account/3pid", &alice), (200, json!({"threepids": []})));
    assert_eq!(world.get("/thirdparty/protocols", &alice), (200, json!({})));
    assert_eq!(world.get("/voip/turnServer", &alice), (200, json!({})));
    assert_eq!(world.get("/notifications", &alice), (200, json!({"notifications": []})));
    let path = format!("/user/{}/openid/request_token", alice.id);
    assert_eq!(code(&world.post(&path, &alice, json!({}))), (403, "M_FORBIDDEN"));
    let (_, reply) = world.get("/capabilities", &alice);
    assert_eq!(reply["capabilities"]["m.room_versions"]["default"], "12");
}

#[test]
fn contacts_are_published_as_they_were_set_up() {
    let mut settings = Settings::new("test");
    settings.public_url = Some("https://chat.test".to_owned());
    let role = "m.role.admin".to_owned();
    let email_address = Some("admin@test".to_owned());
    settings.contacts.push(Contact { role, matrix_id: None, email_address });
    let mut world = World::with(settings);
    let client = world.call(("GET", "/.well-known/matrix/client"), None, None);
    let expected = json!({"m.homeserver": {"base_url": "https://chat.test"}});
    assert_eq!(client, (200, expected));
    let support = world.call(("GET", "/.well-known/matrix/support"), None, None);
    let expected = json!({"contacts": [{"role": "m.role.admin", "email_address": "admin@test"}]});
    assert_eq!(support, (200, expected));
    let mut unknown = World::new();
    for path in ["/.well-known/matrix/client", "/.well-known/matrix/support"] {
        assert_eq!(code(&unknown.call(("GET", path), None, None)), (404, "M_NOT_FOUND"));
    }
}

#[test]
fn changes_of_keys_can_be_asked_for() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    world.room_of(&[&alice, &bob]);
    let (_, before) = world.get("/sync", &bob);
    let from = before["next_batch"].as_str().unwrap().to_owned();
    let path = format!("/devices/{}", alice.device);
    world.put(&path, &alice, json!({"display_name": "phone"}));
    let (_, after) = world.get(&format!("/sync?since={from}"), &bob);
    let to = after["next_batch"].as_str().unwrap();
    let (status, reply) = world.get(&format!("/keys/changes?from={from}&to={to}"), &bob);
    assert_eq!((status, &reply["changed"]), (200, &json!([alice.id])));
    let reply = world.get("/keys/changes?from=x&to=y", &bob);
    assert_eq!(code(&reply), (400, "M_UNKNOWN"));
}

//! Aliases, the directory, spaces, reports.

use serde_json::{Value, json};

use super::{refused, set};
use crate::server::model::{records::REPORTS, settings::Settings, testing::World};

#[test]
fn a_room_is_joined_by_its_alias_and_the_alias_is_taken_once() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let body = json!({"preset": "public_chat", "room_alias_name": "den"});
    let room = world.room(&alice, body.clone());
    let (status, reply) = world.call(("POST", "/join/%23den:test"), Some(&bob), None);
    assert_eq!((status, &reply["room_id"]), (200, &json!(room)));
    let reply = world.post("/createRoom", &bob, body);
    assert_eq!(refused(&reply), (400, "M_ROOM_IN_USE"));
    let own = world.room(&bob, json!({}));
    let reply = world.put("/directory/room/%23den:test", &bob, json!({"room_id": own}));
    assert_eq!(reply.0, 409);
    let reply = world.put("/directory/room/%23x:elsewhere", &bob, json!({"room_id": own}));
    assert_eq!(reply.0, 400);
}

#[test]
fn an_alias_goes_by_its_maker_or_a_moderator_and_leaves_the_event_too() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room(&alice, json!({"preset": "public_chat", "room_alias_name": "den"}));
    world.join(&bob, &room);
    let reply = world.delete("/directory/room/%23den:test", &bob);
    assert_eq!(refused(&reply), (403, "M_FORBIDDEN"));
    assert_eq!(world.delete("/directory/room/%23den:test", &alice).0, 200);
    let reply = world.get("/directory/room/%23den:test", &alice);
    assert_eq!(refused(&reply), (404, "M_NOT_FOUND"));
    let (_, names) = world.get(&format!("/rooms/{room}/state/m.room.canonical_alias"), &alice);
    assert_eq!(names, json!({}));
}

#[test]
fn a_room_is_not_named_by_an_alias_of_another() {
    let mut world = World::new();
    let alice = world.user("alice");
    world.room(&alice, json!({"room_alias_name": "den"}));
    let room = world.room(&alice, json!({}));
    for content in [json!({"alias": "#den:test"}), json!({"alt_aliases": ["#none:test"]})] {
        let reply = set(&mut world, &alice, (&room, "m.room.canonical_alias"), content);
        assert_eq!(refused(&reply), (400, "M_BAD_ALIAS"));
    }
}

fn names(reply: &Value, list: &str) -> Vec<String> {
    let rooms = reply[list].as_array().unwrap().iter();
    rooms.map(|room| room["name"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn the_directory_shows_public_rooms_the_largest_first_page_by_page() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let body = |name: &str| json!({"visibility": "public", "name": name});
    world.room(&alice, body("small"));
    let large = world.room(&alice, body("large"));
    world.room(&alice, json!({"name": "hidden"}));
    world.join(&bob, &large);
    let (_, reply) = world.get("/publicRooms?limit=1", &bob);
    assert_eq!(names(&reply, "chunk"), ["large"]);
    let next = reply["next_batch"].as_str().unwrap().to_owned();
    let (_, reply) = world.get(&format!("/publicRooms?limit=1&since={next}"), &bob);
    assert_eq!(
        (names(&reply, "chunk"), &reply["next_batch"]),
        (vec!["small".to_owned()], &json!(null))
    );
    let search = json!({"filter": {"generic_search_term": "LAR"}});
    assert_eq!(names(&world.post("/publicRooms", &bob, search).1, "chunk"), ["large"]);
    let (status, _) = world.call(("GET", "/publicRooms"), None, None);
    assert_eq!(status, 401);
}

#[test]
fn only_those_who_may_name_a_room_publish_it() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice, &bob]);
    let path = format!("/directory/list/room/{room}");
    let public = json!({"visibility": "public"});
    assert_eq!(refused(&world.put(&path, &bob, public.clone())), (403, "M_FORBIDDEN"));
    assert_eq!(world.put(&path, &alice, public).0, 200);
    assert_eq!(world.get(&path, &bob).1["visibility"], "public");
}

#[test]
fn a_space_shows_the_rooms_that_one_may_know() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let space = json!({
        "preset": "public_chat", "name": "space", "creation_content": {"type": "m.space"},
    });
    let space = world.room(&alice, space);
    for (name, preset) in [("open", "public_chat"), ("closed", "private_chat")] {
        let room = world.room(&alice, json!({"preset": preset, "name": name}));
        let path = format!("/rooms/{space}/state/m.space.child/{room}");
        assert_eq!(world.put(&path, &alice, json!({"via": ["test"], "order": name})).0, 200);
    }
    // Round and round.
    let path = format!("/rooms/{space}/state/m.space.child/{space}");
    world.put(&path, &alice, json!({"via": ["test"]}));
    let path = format!("/_matrix/client/v1/rooms/{space}/hierarchy");
    let shown = names(&world.get(&path, &alice).1, "rooms");
    assert_eq!(shown, ["space", "closed", "open"]);
    let (_, reply) = world.get(&format!("{path}?limit=1"), &bob);
    assert_eq!(names(&reply, "rooms"), ["space"]);
    let next = reply["next_batch"].as_str().unwrap().to_owned();
    let (_, reply) = world.get(&format!("{path}?limit=1&from={next}"), &bob);
    assert_eq!(names(&reply, "rooms"), ["open"]);
    let reply = world.get(&format!("{path}?max_depth=1&from={next}"), &bob);
    assert_eq!(refused(&reply), (400, "M_INVALID_PARAM"));
}

#[test]
fn a_room_is_summed_up_only_for_those_who_may_know_it() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let open = world.room(&alice, json!({"preset": "public_chat", "name": "open"}));
    let closed = world.room(&alice, json!({"name": "closed"}));
    let path = |room: &str| format!("/_matrix/client/v1/room_summary/{room}");
    let (_, summary) = world.get(&path(&open), &bob);
    assert_eq!((&summary["name"], &summary["membership"]), (&json!("open"), &json!("leave")));
    assert_eq!(world.call(("GET", &path(&open)), None, None).0, 200);
    assert_eq!(refused(&world.get(&path(&closed), &bob)), (404, "M_NOT_FOUND"));
    assert_eq!(world.get(&path(&closed), &alice).0, 200);
}

#[test]
fn a_report_keeps_the_evidence_when_the_event_is_redacted() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice, &bob]);
    let said = world.say(&alice, &room, "nasty");
    let path = format!("/rooms/{room}/report/{said}");
    assert_eq!(world.post(&path, &bob, json!({"reason": "spam", "score": -100})).0, 200);
    world.put(&format!("/rooms/{room}/redact/{said}/t"), &alice, json!({}));
    let path = format!("/rooms/{room}/report");
    assert_eq!(world.post(&path, &bob, json!({"reason": "spam"})).0, 200);
    let path = format!("/users/{}/report", alice.id);
    assert_eq!(world.post(&path, &bob, json!({"reason": "x".repeat(2000)})).0, 400);
    assert_eq!(world.post(&path, &bob, json!({"reason": "spam"})).0, 200);
    let reports = world.edit(|step| step.scan(REPORTS, ()));
    assert_eq!(reports.len(), 3);
    assert!(format!("{:?}", reports[0].1).contains("nasty"));
    assert_eq!(reports[0].1.reporter, bob.id);
}

#[test]
fn whoever_reports_without_end_pushes_nobodys_report_out() {
    let mut world = World::with(Settings::new("test"));
    let (alice, eve) = (world.user("alice"), world.user("eve"));
    let room = world.room_of(&[&alice]);
    let path = format!("/rooms/{room}/report");
    assert_eq!(world.post(&path, &alice, json!({"reason": "eve"})).0, 200);
    let flood = |world: &mut World| world.post(&path, &eve, json!({"reason": ""})).0;
    let taken = (0..100).filter(|_| flood(&mut world) == 200).count();
    assert_eq!(taken, 10);
    assert_eq!(world.post(&path, &alice, json!({"reason": "eve again"})).0, 200);
}

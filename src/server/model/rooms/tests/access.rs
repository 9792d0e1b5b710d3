//! Who gets in, who gets out, and who decides.

use serde_json::json;

use super::{act, read, refused, set};
use crate::server::model::{settings::Settings, testing::World};

#[test]
fn a_private_room_lets_in_who_is_invited_and_nobody_else() {
    let mut world = World::new();
    let (alice, bob, eve) = (world.user("alice"), world.user("bob"), world.user("eve"));
    let room = world.room(&alice, json!({"invite": [bob.id]}));
    world.join(&bob, &room);
    let reply = world.post(&format!("/rooms/{room}/join"), &eve, json!({}));
    assert_eq!(refused(&reply), (403, "M_FORBIDDEN"));
    for path in
        ["messages?dir=b", "state", "members", "joined_members", "state/m.room.create", "aliases"]
    {
        let reply = world.get(&format!("/rooms/{room}/{path}"), &eve);
        assert_eq!(refused(&reply), (403, "M_FORBIDDEN"), "{path}");
    }
    let reply = world.put(&format!("/rooms/{room}/send/m.x/t"), &eve, json!({}));
    assert_eq!(refused(&reply), (403, "M_FORBIDDEN"));
}

#[test]
fn an_event_of_a_room_is_not_found_by_strangers_nor_under_another_room() {
    let mut world = World::new();
    let (alice, eve) = (world.user("alice"), world.user("eve"));
    let room = world.room(&alice, json!({}));
    let event = world.say(&alice, &room, "secret");
    let own = world.room(&eve, json!({}));
    for path in [
        format!("/rooms/{room}/event/{event}"),
        format!("/rooms/{own}/event/{event}"),
        format!("/rooms/{room}/context/{event}"),
        format!("/rooms/{own}/context/{event}"),
        format!("/_matrix/client/v1/rooms/{own}/relations/{event}"),
    ] {
        assert_eq!(refused(&world.get(&path, &eve)), (404, "M_NOT_FOUND"), "{path}");
    }
    let reply = world.post(&format!("/rooms/{room}/report/{event}"), &eve, json!({}));
    assert_eq!(refused(&reply), (404, "M_NOT_FOUND"));
    let reply = world.put(&format!("/rooms/{own}/redact/{event}/t"), &eve, json!({}));
    assert_eq!(reply.0, 400);
    assert_eq!(read(&mut world, &alice, &room), ["secret"]);
}

#[test]
fn a_room_that_is_not_is_like_one_that_is_closed() {
    let mut world = World::new();
    let alice = world.user("alice");
    let reply = world.get("/rooms/!nothing:test/state", &alice);
    assert_eq!(refused(&reply), (403, "M_FORBIDDEN"));
    let reply = world.put("/rooms/!nothing:test/send/m.x/t", &alice, json!({}));
    assert_eq!(refused(&reply), (403, "M_FORBIDDEN"));
}

#[test]
fn whoever_is_thrown_out_writes_nothing_and_reads_nothing_new() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice, &bob]);
    world.say(&alice, &room, "before");
    assert_eq!(act(&mut world, &alice, (&room, "kick"), &bob).0, 200);
    assert!(world.woken.contains(&bob.id));
    world.say(&alice, &room, "after");
    assert_eq!(read(&mut world, &bob, &room), ["before"]);
    let reply = world.put(&format!("/rooms/{room}/send/m.x/t"), &bob, json!({}));
    assert_eq!(refused(&reply), (403, "M_FORBIDDEN"));
    assert_eq!(set(&mut world, &alice, (&room, "m.room.topic"), json!({"topic": "new"})).0, 200);
    let (status, _) = world.get(&format!("/rooms/{room}/state/m.room.topic"), &bob);
    assert_eq!(status, 404);
}

#[test]
fn who_is_banned_comes_back_only_once_unbanned() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice, &bob]);
    assert_eq!(act(&mut world, &alice, (&room, "ban"), &bob).0, 200);
    let reply = world.post(&format!("/rooms/{room}/join"), &bob, json!({}));
    assert_eq!(refused(&reply), (403, "M_BAD_STATE"));
    let reply = act(&mut world, &alice, (&room, "invite"), &bob);
    assert_eq!(refused(&reply), (403, "M_BAD_STATE"));
    let reply = world.get(&format!("/rooms/{room}/messages?dir=b"), &bob);
    assert_eq!(refused(&reply), (403, "M_FORBIDDEN"));
    assert_eq!(act(&mut world, &alice, (&room, "unban"), &bob).0, 200);
    world.join(&bob, &room);
    let reply = act(&mut world, &alice, (&room, "unban"), &bob);
    assert_eq!(refused(&reply), (403, "M_BAD_STATE"));
}

#[test]
fn members_without_power_change_nothing() {
    let mut world = World::new();
    let (alice, bob, carl) = (world.user("alice"), world.user("bob"), world.user("carl"));
    let room = world.room_of(&[&alice, &bob, &carl]);
    for action in ["kick", "ban"] {
        let reply = act(&mut world, &bob, (&room, action), &carl);
        assert_eq!(refused(&reply), (403, "M_FORBIDDEN"), "{action}");
    }
    for (kind, content) in [
        ("m.room.name", json!({"name": "mine"})),
        ("m.room.power_levels", json!({"users": {bob.id.as_str(): 100}})),
        ("m.room.join_rules", json!({"join_rule": "invite"})),
        ("m.room.create", json!({})),
    ] {
        let reply = set(&mut world, &bob, (&room, kind), content);
        assert_eq!(refused(&reply), (403, "M_FORBIDDEN"), "{kind}");
    }
    let path = format!("/rooms/{room}/state/m.room.member/{}", carl.id);
    let reply = world.put(&path, &bob, json!({"membership": "leave"}));
    assert_eq!(refused(&reply), (403, "M_FORBIDDEN"));
    let path = format!("/rooms/{room}/state/m.x/{}", carl.id);
    assert_eq!(refused(&world.put(&path, &bob, json!({}))), (403, "M_FORBIDDEN"));
}

#[test]
fn nobody_of_another_server_is_invited() {
    let mut world = World::new();
    let alice = world.user("alice");
    let room = world.room_of(&[&alice]);
    let path = format!("/rooms/{room}/invite");
    let reply = world.post(&path, &alice, json!({"user_id": "@bob:elsewhere"}));
    assert_eq!(refused(&reply), (403, "M_FORBIDDEN"));
}

#[test]
fn nobody_joins_for_another() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice]);
    let path = format!("/rooms/{room}/state/m.room.member/{}", bob.id);
    let reply = world.put(&path, &alice, json!({"membership": "join"}));
    assert_eq!(refused(&reply), (403, "M_FORBIDDEN"));
}

/// A room that members of another may join.
fn restricted(world: &mut World, user: &crate::server::model::testing::User) -> (String, String) {
    let space = world.room(user, json!({"preset": "public_chat"}));
    let rules = json!({
        "join_rule": "restricted",
        "allow": [{"type": "m.room_membership", "room_id": space}],
    });
    let state = json!([{"type": "m.room.join_rules", "content": rules}]);
    let room = world.room(user, json!({"initial_state": state}));
    (space, room)
}

#[test]
fn members_of_the_space_join_a_restricted_room_and_others_do_not() {
    let mut world = World::new();
    let (alice, bob, eve) = (world.user("alice"), world.user("bob"), world.user("eve"));
    let (space, room) = restricted(&mut world, &alice);
    world.join(&bob, &space);
    world.join(&bob, &room);
    let reply = world.post(&format!("/rooms/{room}/join"), &eve, json!({}));
    assert_eq!(refused(&reply), (403, "M_FORBIDDEN"));
}

#[test]
fn nobody_vouches_for_themselves_by_naming_a_member_with_power() {
    let mut world = World::new();
    let (alice, eve) = (world.user("alice"), world.user("eve"));
    let (_, room) = restricted(&mut world, &alice);
    let path = format!("/rooms/{room}/state/m.room.member/{}", eve.id);
    let content = json!({
        "membership": "join", "join_authorised_via_users_server": alice.id,
    });
    assert_eq!(refused(&world.put(&path, &eve, content)), (403, "M_FORBIDDEN"));
}

#[test]
fn who_knocks_is_let_in_by_an_invite() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room(&alice, json!({}));
    let knock = format!("/knock/{room}");
    assert_eq!(refused(&world.post(&knock, &bob, json!({}))), (403, "M_FORBIDDEN"));
    set(&mut world, &alice, (&room, "m.room.join_rules"), json!({"join_rule": "knock"}));
    assert_eq!(world.post(&knock, &bob, json!({"reason": "please"})).0, 200);
    let reply = world.post(&format!("/rooms/{room}/join"), &bob, json!({}));
    assert_eq!(refused(&reply), (403, "M_FORBIDDEN"));
    assert_eq!(act(&mut world, &alice, (&room, "invite"), &bob).0, 200);
    world.join(&bob, &room);
}

#[test]
fn a_forgotten_room_is_read_no_more_and_none_is_forgotten_from_within() {
    let mut world = World::new();
    let (alice, bob) = (world.user("alice"), world.user("bob"));
    let room = world.room_of(&[&alice, &bob]);
    let forget = format!("/rooms/{room}/forget");
    assert_eq!(world.post(&forget, &bob, json!({})).0, 400);
    assert_eq!(world.post(&format!("/rooms/{room}/leave"), &bob, json!({})).0, 200);
    assert_eq!(world.get(&format!("/rooms/{room}/state"), &bob).0, 200);
    assert_eq!(world.post(&forget, &bob, json!({})).0, 200);
    let reply = world.get(&format!("/rooms/{room}/state"), &bob);
    assert_eq!(refused(&reply), (403, "M_FORBIDDEN"));
    assert_eq!(world.get("/joined_rooms", &alice).1["joined_rooms"], json!([room]));
}

#[test]
fn a_room_counts_who_is_in_it() {
    let mut world = World::new();
    let (alice, bob, carl) = (world.user("alice"), world.user("bob"), world.user("carl"));
    let room = world.room_of(&[&alice, &bob]);
    act(&mut world, &alice, (&room, "invite"), &carl);
    let id = crate::matrix::RoomId::parse(&room).unwrap();
    let count = |world: &mut World| {
        let record = world.edit(|step| step.get(crate::server::model::records::ROOMS, (&id,)));
        record.map(|record| (record.joined, record.invited)).unwrap()
    };
    assert_eq!(count(&mut world), (2, 1));
    world.join(&carl, &room);
    act(&mut world, &alice, (&room, "ban"), &bob);
    assert_eq!(count(&mut world), (2, 0));
}

#[test]
fn creators_need_no_power_level_and_get_none() {
    let mut world = World::new();
    let alice = world.user("alice");
    let room = world.room(&alice, json!({}));
    let levels = json!({"users": {alice.id.as_str(): 100}});
    let reply = set(&mut world, &alice, (&room, "m.room.power_levels"), levels);
    assert_eq!(reply.0, 400, "{reply:?}");
}

#[test]
fn a_room_that_cannot_be_made_is_not_made_at_all() {
    let mut world = World::new();
    let alice = world.user("alice");
    for (body, expected) in [
        (json!({"room_version": "1"}), (400, "M_UNSUPPORTED_ROOM_VERSION")),
        (json!({"preset": "mine"}), (400, "M_BAD_JSON")),
        (json!({"room_alias_name": "a:b"}), (400, "M_UNKNOWN")),
        (
            json!({"initial_state": [{"type": "m.room.create", "content": {}}]}),
            (403, "M_FORBIDDEN"),
        ),
        (json!({"name": "x".repeat(70_000)}), (413, "M_TOO_LARGE")),
    ] {
        let reply = world.post("/createRoom", &alice, body);
        assert_eq!(refused(&reply), expected, "{reply:?}");
    }
    assert_eq!(world.get("/joined_rooms", &alice).1["joined_rooms"], json!([]));
}

#[test]
fn whoever_moves_without_end_waits_and_can_always_leave() {
    let mut world = World::with(Settings::new("test"));
    let (alice, eve) = (world.user("alice"), world.user("eve"));
    let room = world.room_of(&[&alice]);
    let mut go = |way: &str| {
        let reply = world.post(&format!("/rooms/{room}/{way}"), &eve, json!({}));
        reply.0
    };
    let joined = (0..1_000).take_while(|_| go("join") == 200 && go("leave") == 200).count();
    assert_eq!(joined, 500);
    assert_eq!(go("join"), 429);
    assert_eq!(go("leave"), 200);
}

#[test]
fn a_room_does_not_begin_with_more_than_others_can_wait_for() {
    let mut world = World::new();
    let alice = world.user("alice");
    let state = vec![json!({"type": "m.x", "content": {}}); 1_001];
    let reply = world.post("/createRoom", &alice, json!({"initial_state": state}));
    assert_eq!(refused(&reply), (413, "M_TOO_LARGE"));
}

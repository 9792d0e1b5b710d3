//! Whoever is invited reads what was said before, if the room and the keys allow it.

use serde_json::json;

use crate::{grotto::Grotto, homeserver::On, rig, rig::Peer, scenario};

scenario::on_both! {
    whoever_is_invited_reads_what_was_said_before,
    a_room_that_keeps_its_history_to_its_members_shares_none,
    history_goes_both_ways_between_grotto_and_matrix_sdk_crypto,
}

fn whoever_is_invited_reads_what_was_said_before(on: On) {
    let place = on.shared();
    let (alice, bob) = (Grotto::log_in(place, "hosts"), Grotto::log_in(place, "guest"));
    let mut tail = bob.tail();
    tail.find("the link", |line| line["type"] == "link" && line["state"] == "up");
    let created = alice.json(&["create", "--name", "Old garden"]);
    let room = created[0]["room_id"].as_str().unwrap();
    let before = alice.json(&["send", room, "said before you came"]);
    let invited = alice.json(&["invite", room, &bob.user]);
    assert_eq!(invited[0]["history"], json!({ "keys": 1, "devices": 1 }), "{invited:?}");
    tail.find("the invite", |line| line["type"] == "invite" && line["room_id"] == room);
    bob.json(&["join", room]);
    let line = tail.find("what was said before", |line| {
        line["event_id"] == before[0]["event_id"] && line["body"] == "said before you came"
    });
    // Who handed it over could have made it up; it says so.
    assert_eq!(line["shield"], "grey", "{line}");
    assert_eq!(tail.terminate(), Some(0));
}

fn a_room_that_keeps_its_history_to_its_members_shares_none(on: On) {
    let place = on.shared();
    let (alice, bob) = (Grotto::log_in(place, "closed"), Grotto::log_in(place, "closedguest"));
    bob.json(&["rooms"]);
    let created = alice.json(&["create", "--name", "Closed garden"]);
    let room = created[0]["room_id"].as_str().unwrap();
    let token = rig::log_in(&place.base, &alice.user, rig::PASSWORD);
    let path = format!(
        "/_matrix/client/v3/rooms/{}/state/m.room.history_visibility",
        room.replace('!', "%21").replace(':', "%3A")
    );
    let joined = json!({ "history_visibility": "joined" });
    let set = rig::http(&place.base, "PUT", &path, Some(&token), &joined);
    assert!(set["event_id"].is_string(), "{set}");
    alice.json(&["send", room, "between us"]);
    let invited = alice.json(&["invite", room, &bob.user]);
    assert_eq!(invited[0].get("history"), None, "{invited:?}");
}

fn history_goes_both_ways_between_grotto_and_matrix_sdk_crypto(on: On) {
    let place = on.shared();
    let alice = Grotto::log_in(place, "sdkhosts");
    let mut tail = alice.tail();
    tail.find("the link", |line| line["type"] == "link" && line["state"] == "up");
    let mut bob = Peer::cross_signed(&place.base, "sdkguest");
    let created = alice.json(&["create", "--name", "To the peer"]);
    let room = created[0]["room_id"].as_str().unwrap();
    alice.json(&["send", room, "said before the peer came"]);
    let invited = alice.json(&["invite", room, &bob.user]);
    assert_eq!(invited[0]["history"], json!({ "keys": 1, "devices": 1 }), "{invited:?}");
    bob.find("the invite", |line| line["k"] == "joined" && line["room"] == room);
    assert_eq!(bob.takes_history(room), 1);
    bob.hears("said before the peer came");

    let room = bob.create("From the peer", &[]);
    let before = bob.say(&room, "said before grotto came");
    let shared = bob.shares_history(&room, &alice.user);
    assert_eq!((&shared["keys"], &shared["devices"]), (&json!(1), &json!(1)), "{shared}");
    bob.invite(&room, &alice.user);
    tail.find("the invite", |line| line["type"] == "invite" && line["room_id"] == room.as_str());
    alice.json(&["join", &room]);
    tail.find("what was said before", |line| {
        line["event_id"] == before.as_str() && line["body"] == "said before grotto came"
    });
    assert_eq!(tail.terminate(), Some(0));
}

//! Devices that wait for their owner to log in.

use serde_json::{Value, json};

use crate::server::model::testing::{User, World};

const PATH: &str = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device";

fn device(user: &User, id: &str) -> Value {
    json!({
        "device_id": id,
        "initial_device_display_name": "waiting",
        "device_data": { "algorithm": "org.matrix.msc3814.v2", "device_pickle": "secret" },
        "device_keys": {
            "user_id": user.id, "device_id": id, "dehydrated": true, "algorithms": [],
            "keys": { format!("ed25519:{id}"): "AAAA" }, "signatures": {},
        },
        "one_time_keys": { "signed_curve25519:A": { "key": "AAAA", "signatures": {} } },
        "fallback_keys": { "signed_curve25519:F": { "key": "BBBB", "signatures": {} } },
    })
}

fn note(world: &mut World, from: &User, to: &User, device: &str, number: usize) {
    let messages = json!({ to.id.as_str(): { device: { "n": number } } });
    let path = format!("/sendToDevice/org.example.note/{number}");
    assert_eq!(world.put(&path, from, json!({ "messages": messages })).0, 200);
}

#[test]
fn a_device_waits_with_its_keys_and_messages_until_the_next_takes_its_place() {
    let mut world = World::new();
    let [alice, bob] = ["alice", "bob"].map(|name| world.user(name));
    assert_eq!(world.get(PATH, &alice).0, 404);
    assert_eq!(world.put(PATH, &alice, device(&alice, "WAITS")).0, 200);
    let (status, found) = world.get(PATH, &alice);
    assert_eq!((status, &found["device_id"]), (200, &json!("WAITS")));
    assert_eq!(found["device_data"]["device_pickle"], "secret");
    let keys = world.post("/keys/query", &bob, json!({ "device_keys": { alice.id.as_str(): [] } }));
    assert_eq!(keys.1["device_keys"][alice.id.as_str()]["WAITS"]["dehydrated"], true);
    let claim = json!({ "one_time_keys": { alice.id.as_str(): { "WAITS": "signed_curve25519" } } });
    for key in ["signed_curve25519:A", "signed_curve25519:F"] {
        let claimed = world.post("/keys/claim", &bob, claim.clone()).1;
        assert!(claimed["one_time_keys"][alice.id.as_str()]["WAITS"][key].is_object(), "{claimed}");
    }
    assert_eq!(world.put(PATH, &alice, device(&alice, "NEXT")).0, 200);
    assert_eq!(world.get(PATH, &alice).1["device_id"], "NEXT");
    let devices = world.get("/devices", &alice).1;
    assert!(!devices.to_string().contains("WAITS"), "{devices}");
    assert_eq!(world.delete(PATH, &alice), (200, json!({ "device_id": "NEXT" })));
    assert_eq!(world.get(PATH, &alice).0, 404);
}

#[test]
fn its_messages_come_in_pages_and_stay_until_it_goes() {
    let mut world = World::new();
    let [alice, bob] = ["alice", "bob"].map(|name| world.user(name));
    world.put(PATH, &alice, device(&alice, "WAITS"));
    for number in 0..250 {
        note(&mut world, &bob, &alice, "WAITS", number);
    }
    for _ in 0..2 {
        let (mut seen, mut from) = (Vec::new(), String::new());
        loop {
            let (status, page) = world.get(&format!("{PATH}/WAITS/events{from}"), &alice);
            assert_eq!(status, 200, "{page}");
            let events = page["events"].as_array().unwrap();
            seen.extend(events.iter().map(|it| it["content"]["n"].as_u64().unwrap()));
            let Some(next) = page["next_batch"].as_str() else { break };
            from = format!("?from={next}");
        }
        assert_eq!(seen, (0..250).collect::<Vec<_>>());
    }
    let (status, page) = world.post(&format!("{PATH}/WAITS/events"), &alice, json!({}));
    assert_eq!((status, page["events"].as_array().unwrap().len()), (200, 100));
    let body = json!({ "next_batch": page["next_batch"] });
    let next = world.post(&format!("{PATH}/WAITS/events"), &alice, body).1;
    assert_eq!(next["events"][0]["content"]["n"], 100);
    world.delete(PATH, &alice);
    assert_eq!(world.get(&format!("{PATH}/WAITS/events"), &alice).0, 403);
}

#[test]
fn it_is_for_its_owner_and_no_device_that_is_logged_in() {
    let mut world = World::new();
    let [alice, bob] = ["alice", "bob"].map(|name| world.user(name));
    world.put(PATH, &alice, device(&alice, "WAITS"));
    assert_eq!(world.get(PATH, &bob).0, 404);
    assert_eq!(world.get(&format!("{PATH}/WAITS/events"), &bob).0, 403);
    assert_eq!(world.get(&format!("{PATH}/{}/events", alice.device), &alice).0, 403);
    assert_eq!(world.delete(PATH, &bob).0, 404);
    let own = device(&alice, &alice.device);
    assert_eq!(world.put(PATH, &alice, own).0, 400, "nobody takes over a device that is logged in");
    assert_eq!(world.get(PATH, &alice).1["device_id"], "WAITS", "what is refused changes nothing");
    let mut forged = device(&bob, "FORGED");
    forged["device_keys"]["user_id"] = json!(alice.id);
    assert_eq!(world.put(PATH, &bob, forged).0, 400);
    let mut bare = device(&bob, "BARE");
    bare.as_object_mut().unwrap().remove("device_keys");
    assert_eq!(world.put(PATH, &bob, bare).0, 400);
}

//! People with grotto and people with a client that nobody here wrote, from the first call on.

use serde_json::json;

use crate::{grotto::Grotto, homeserver::On, rig::Peer, scenario};

scenario::everywhere! {
    people_with_matrix_nio_and_with_grotto_share_a_room_and_files,
}

/// Two who make their accounts with matrix-nio, and one with grotto.
fn people_with_matrix_nio_and_with_grotto_share_a_room_and_files(on: On) {
    let place = on.shared();
    let alice = Grotto::log_in(place, "together");
    // Names that no other test has.
    let name = |who: &str| alice.user.replacen("together", who, 1);
    let mut bob = Peer::newcomer(&place.base, &name("bobnio"), None);
    let mut carol = Peer::newcomer(&place.base, &name("carolnio"), None);
    let room = bob.create("Together", &[&carol.user, &alice.user]);
    carol.find("carol's join", |line| line["k"] == "joined" && line["room"] == room.as_str());
    alice.json(&["join", &room]);
    let mut tail = alice.tail();
    for peer in [&mut bob, &mut carol] {
        peer.find("alice's join", |line| {
            line["sender"] == alice.user.as_str() && line["content"]["membership"] == "join"
        });
    }
    alice.json(&["send", &room, "hello from grotto"]);
    carol.say(&room, "hello from nio");
    for peer in [&mut bob, &mut carol] {
        peer.hears("hello from grotto");
    }
    bob.hears("hello from nio");
    let heard = tail.find("carol's words", |line| line["body"] == "hello from nio");
    assert_eq!(heard["encrypted"], true);

    for size in [1, 3_000_000] {
        let file = format!("file-{size}.bin");
        let sent = bob.ask(json!({"do": "upload", "room": room, "size": size, "name": file}));
        assert!(sent["event"].is_string(), "{sent}");
        let message = carol.hears(&file);
        let got = carol.ask(json!({"do": "download", "content": message["content"]}));
        assert_eq!(got["sha256"], sent["sha256"], "{got}");
        let line = tail.find("the file", |line| line["event_id"] == sent["event"]);
        assert_eq!((&line["kind"], &line["encrypted"]), (&json!("file"), &json!(true)));
    }
    assert_eq!(tail.terminate(), Some(0));
}

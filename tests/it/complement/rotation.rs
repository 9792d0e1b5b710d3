//! When the key of a room is changed, and when not. By time: `megolm::ending`.

use serde_json::json;

use super::{Pair, hears, pair, says, sees, session};
use crate::{grotto::Grotto, homeserver::On, meddler::Meddler, rig::Peer, scenario};

scenario::on_both! {
    test_room_key_is_cycled_on_device_logout,
    test_room_key_is_cycled_after_enough_messages,
    test_room_key_is_cycled_on_member_leaving,
    test_room_key_is_not_cycled,
}

scenario::over_http! {
    test_room_key_is_not_cycled_on_client_restart,
}

fn test_room_key_is_cycled_on_device_logout(on: On) {
    let place = on.shared();
    let Pair { alice, mut tail, mut bob, room } = pair(&place.base, place);
    let mut phone = Peer::another_device(&place.base, &bob.user);
    bob.order(json!({"do": "sign_device", "device": phone.device}));
    bob.say(&room, "the phone is there");
    hears(&mut tail, "the phone is there");
    says(&alice, &room, "for both");
    let before = session(&mut bob, "for both");
    assert_eq!(session(&mut phone, "for both"), before);
    phone.order(json!({"do": "log_out"}));
    bob.say(&room, "the phone is gone");
    hears(&mut tail, "the phone is gone");
    says(&alice, &room, "for one");
    assert_ne!(session(&mut bob, "for one"), before);
}

fn test_room_key_is_cycled_after_enough_messages(on: On) {
    let place = on.shared();
    let mut bob = Peer::cross_signed(&place.base, "bob");
    let alice = Grotto::log_in_strictly(place, "alice");
    let encryption = json!({"type": "m.room.encryption", "state_key": "",
        "content": {"algorithm": "m.megolm.v1.aes-sha2", "rotation_period_msgs": 5}});
    let command =
        json!({"do": "create", "invite": [alice.user], "encrypted": false, "state": [encryption]});
    let room = bob.order(command)["room"].as_str().unwrap().to_owned();
    alice.json(&["join", &room]);
    bob.sees_join(&room, &alice.user);
    let _tail = super::follow(&alice);
    let sessions: Vec<String> = (0..6)
        .map(|number| {
            let body = format!("number {number}");
            says(&alice, &room, &body);
            session(&mut bob, &body)
        })
        .collect();
    assert!(sessions[1..5].iter().all(|session| *session == sessions[0]), "{sessions:?}");
    assert_ne!(sessions[5], sessions[0]);
}

fn test_room_key_is_cycled_on_member_leaving(on: On) {
    let place = on.shared();
    let Pair { alice, mut tail, mut bob, room } = pair(&place.base, place);
    let mut carol = Peer::cross_signed(&place.base, "carol");
    bob.invite(&room, &carol.user);
    sees(&mut tail, &carol.user, "join");
    says(&alice, &room, "for three");
    let before = session(&mut bob, "for three");
    assert_eq!(session(&mut carol, "for three"), before);
    carol.order(json!({"do": "leave", "room": room}));
    sees(&mut tail, &carol.user, "leave");
    says(&alice, &room, "for two");
    assert_ne!(session(&mut bob, "for two"), before);
}

fn test_room_key_is_not_cycled(on: On) {
    let place = on.shared();
    let Pair { alice, mut tail, mut bob, room } = pair(&place.base, place);
    says(&alice, &room, "before");
    let before = session(&mut bob, "before");
    bob.order(json!({"do": "name", "name": "Robert"}));
    bob.say(&room, "another name");
    hears(&mut tail, "another name");
    says(&alice, &room, "after the name");
    assert_eq!(session(&mut bob, "after the name"), before);
    let mut phone = Peer::another_device(&place.base, &bob.user);
    bob.order(json!({"do": "sign_device", "device": phone.device}));
    bob.say(&room, "another device");
    hears(&mut tail, "another device");
    says(&alice, &room, "after the device");
    assert_eq!(session(&mut bob, "after the device"), before);
    assert_eq!(session(&mut phone, "after the device"), before);
}

fn test_room_key_is_not_cycled_on_client_restart(on: On) {
    let meddler = Meddler::before(&on.shared().base);
    let Pair { alice, tail, mut bob, room } = pair(&on.shared().base, &meddler.place());
    says(&alice, &room, "before");
    let before = session(&mut bob, "before");
    let shared = meddler.calls("/sendToDevice/m.room.encrypted").len();
    assert!(0 < shared);
    drop(tail);
    // Each command is a start of the program by now.
    for body in ["after a restart", "after another"] {
        says(&alice, &room, body);
        assert_eq!(session(&mut bob, body), before);
    }
    assert_eq!(meddler.calls("/sendToDevice/m.room.encrypted").len(), shared);
}

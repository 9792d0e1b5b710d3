//! Messages from device to device arrive, all of them and in order. That they go out in large
//! requests: `megolm::sharing`.

use std::sync::mpsc::channel;

use serde_json::json;

use super::{Pair, hears, one_time_keys::kill, pair, reads};
use crate::{homeserver::On, meddler::Meddler, rig::Peer, scenario};

scenario::on_both! {
    test_to_device_messages_are_processed_in_order,
}

scenario::over_http! {
    test_unprocessed_to_device_messages_arent_lost_on_restart,
    test_to_device_messages_arent_lost_when_keys_query_fails,
}

fn test_unprocessed_to_device_messages_arent_lost_on_restart(on: On) {
    let meddler = Meddler::before(&on.shared().base);
    let Pair { alice, tail, mut bob, room } = pair(&on.shared().base, &meddler.place());
    let (delivered, deliveries) = channel();
    meddler.changes("/sync", move |_, answer| {
        if answer["to_device"]["events"].as_array().is_some_and(|events| !events.is_empty()) {
            // It is all the same if nobody waits any more.
            delivered.send(()).ok();
        }
    });
    bob.say(&room, "as it dies");
    deliveries.recv_timeout(crate::rig::PATIENCE).unwrap();
    kill(&tail);
    reads(&alice, &room, "as it dies");
}

fn test_to_device_messages_arent_lost_when_keys_query_fails(on: On) {
    let base = &on.shared().base;
    let meddler = Meddler::before(base);
    let Pair { alice: _alice, mut tail, mut bob, room } = pair(base, &meddler.place());
    meddler.refuses("/keys/query", usize::MAX);
    // A device that Alice cannot learn about.
    let mut phone = Peer::another_device(base, &bob.user);
    bob.order(json!({"do": "sign_device", "device": phone.device}));
    phone.say(&room, "from nobody knows where");
    hears(&mut tail, "from nobody knows where");
    meddler.lets_go();
    bob.say(&room, "known again");
    hears(&mut tail, "known again");
}

fn test_to_device_messages_are_processed_in_order(on: On) {
    let place = on.shared();
    let Pair { alice, tail, mut bob, room } = pair(&place.base, place);
    drop(tail);
    let bodies: Vec<String> = (0..120).map(|number| format!("number {number}")).collect();
    for body in &bodies {
        bob.order(json!({"do": "rotate", "room": room}));
        bob.say(&room, body);
    }
    let history = reads(&alice, &room, "number 119");
    let held = crate::talk::held(&history, &bob.user);
    crate::talk::assert_same("alice holds bob's", &held, &bodies);
}

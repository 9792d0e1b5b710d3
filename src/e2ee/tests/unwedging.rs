//! Sessions that broke: mended in both directions, and not at the cost of everybody's keys.

use std::time::Duration;

use serde_json::{Value, json};
use vodozemac::olm::Account;

use super::{
    forger::{Forger, channel, claims, couple, garbage, opened, take},
    harness::{Client, World},
};
use crate::{
    e2ee::{
        OutgoingRequest, RequestKind,
        core::{Dropped, OlmChannel},
        devices::find_device,
        lookup::Table,
    },
    time::Timestamp,
};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn claimed_devices(world: &World) -> usize {
    let claims = world.server.served.iter().filter(|(_, it)| it.kind == RequestKind::KeysClaim);
    let devices = |(_, request): &(_, OutgoingRequest)| {
        let body: Value = serde_json::from_str(&request.body).unwrap();
        let users = body["one_time_keys"].as_object().unwrap().values();
        users.map(|devices| devices.as_object().unwrap().len()).sum::<usize>()
    };
    claims.map(devices).sum()
}

/// T-29.
#[test]
fn a_session_that_went_back_in_time_is_mended_in_both_directions() {
    for broken in 0..2 {
        let mut world = couple();
        world.send_olm(0, 1, "m.dummy", &json!({}));
        world.settle();
        let old = world.clients[broken].records.clone();
        for _ in 0..3 {
            world.send_olm(1, 0, "m.dummy", &json!({}));
            world.send_olm(0, 1, "m.dummy", &json!({}));
            world.settle();
        }
        let old_sessions = old.0.into_iter().filter(|((table, _), _)| *table == Table::OlmSession);
        world.clients[broken].records.0.extend(old_sessions);
        world.clients[broken].restart(world.now);
        world.pass(HOUR * 2);
        for _ in 0..2 {
            world.send_olm(0, 1, "m.room_key", &json!({}));
            world.settle();
            world.send_olm(1, 0, "m.room_key", &json!({}));
            world.settle();
        }
        let wedged: u64 = world.clients.iter().map(|it| it.machine.core.dropped.wedged).sum();
        assert!((1..=2).contains(&wedged), "{wedged} messages lost");
        for (from, to) in [(0, 1), (1, 0)] {
            world.send_olm(from, to, "m.room_key", &json!({}));
            let event = take(&mut world, to);
            assert!(opened(&mut world, to, &event).is_some());
        }
    }
}

/// T-29, A-32.
#[test]
fn a_thousand_unreadable_messages_of_one_device_cost_one_key_an_hour() {
    let mut world = couple();
    let (name, alice) = (world.clients[1].name(), world.clients[0].user.clone());
    world.server.served.clear();
    for hour in 1..=2 {
        for _ in 0..500 {
            let content = garbage(&world, &world.clients[0], 1);
            world.server.put_in_inbox(&name, "m.room.encrypted", &alice, content);
        }
        world.settle();
        assert_eq!(claims(&world), hour);
        world.clients[1].restart(world.now);
        world.pass(HOUR + Duration::from_secs(300));
    }
}

///
#[test]
fn unreadable_messages_of_many_devices_cost_fifty_keys_an_hour() {
    let mut world = World::new(&["@alice:x"]);
    let name = world.clients[0].name();
    let mallory = Client::new("@mallory:x", "M", world.now);
    let mut contents = Vec::new();
    for i in 0..80 {
        let forger = Forger { device: format!("D{i}"), ..Forger::new("@mallory:x") };
        let keys = forger.device_keys(|_| {});
        let devices = world.server.device_keys.entry(forger.user.clone()).or_default();
        devices.insert(forger.device.as_str().into(), keys);
        let mut content = garbage(&world, &mallory, 0);
        content["sender_key"] = json!(forger.olm.curve25519_key().to_base64());
        contents.push(content);
    }
    let user = mallory.user.clone();
    world.at(0, |machine, step| machine.core.refresh([&user], step)).unwrap();
    world.settle();
    for content in contents {
        world.server.put_in_inbox(&name, "m.room.encrypted", &user, content);
    }
    world.settle();
    assert_eq!(claimed_devices(&world), 50);
}

/// T-30.
#[test]
fn a_message_that_was_read_before_mends_nothing() {
    let mut world = couple();
    world.send_olm(0, 1, "m.dummy", &json!({}));
    world.settle();
    world.send_olm(1, 0, "m.dummy", &json!({}));
    world.settle();
    world.send_olm(0, 1, "m.dummy", &json!({}));
    let (name, alice) = (world.clients[1].name(), world.clients[0].user.clone());
    let event = take(&mut world, 1);
    world.pass(HOUR * 3);
    world.server.served.clear();
    for _ in 0..3 {
        let content = serde_json::from_str(event.content.get()).unwrap();
        world.server.put_in_inbox(&name, "m.room.encrypted", &alice, content);
        world.settle();
        world.clients[1].restart(world.now);
    }
    assert_eq!(claims(&world), 0);
}

#[test]
fn a_wedged_device_that_is_not_known_yet_is_mended_after_its_user_was_looked_up() {
    let mut world = World::new(&["@alice:x", "@bob:x"]);
    let (name, alice) = (world.clients[1].name(), world.clients[0].user.clone());
    let content = garbage(&world, &world.clients[0], 1);
    world.server.put_in_inbox(&name, "m.room.encrypted", &alice, content);
    world.settle();
    assert_eq!(claims(&world), 1);
    assert_eq!(world.clients[0].machine.core.dropped, Dropped::default());
}

#[test]
fn a_device_that_finds_no_way_to_us_gets_a_new_session() {
    let mut world = couple();
    let (name, alice) = (world.clients[1].name(), world.clients[0].user.clone());
    let content = json!({
        "algorithm": "m.megolm.v1.aes-sha2",
        "code": "m.no_olm",
        "sender_key": world.clients[0].machine.core.account.curve25519().to_base64(),
    });
    world.server.put_in_inbox(&name, "m.room_key.withheld", &alice, content);
    world.settle();
    assert_eq!(claims(&world), 1);
    assert_eq!(channel(&mut world, 0, 1), OlmChannel::Ready);
}

/// A crash between deciding to mend and the claim loses neither.
#[test]
fn mending_goes_on_after_a_restart() {
    let mut world = couple();
    // A claim for somebody else is under way, so the new one waits.
    let third = world.log_in("@c:x", "C");
    world.settle();
    world.acquaint(1, third);
    let _ = channel(&mut world, 1, third);
    let (name, alice) = (world.clients[1].name(), world.clients[0].user.clone());
    let content = garbage(&world, &world.clients[0], 1);
    world.server.put_in_inbox(&name, "m.room.encrypted", &alice, content);
    let now = world.now;
    world.server.sync(&mut world.clients[1], now);
    world.clients[1].restart(now);
    world.settle();
    assert_eq!(claims(&world), 2);
    assert_eq!(channel(&mut world, 0, 1), OlmChannel::Ready);
}

#[test]
fn a_new_session_of_a_device_raises_its_wedging_index() {
    let mut world = couple();
    let index = |world: &mut World| {
        let (user, id) = world.clients[0].name();
        world.at(1, |_, step| find_device(&user, &id, step)).unwrap().unwrap().wedging_index
    };
    assert_eq!(index(&mut world), 0);
    world.send_olm(0, 1, "m.dummy", &json!({}));
    world.send_olm(0, 1, "m.dummy", &json!({}));
    world.settle();
    assert_eq!(index(&mut world), 1);
}

#[test]
fn a_session_of_the_future_is_mended_all_the_same_after_the_clock_was_set_back() {
    let mut world = couple();
    world.send_olm(0, 1, "m.dummy", &json!({}));
    world.settle();
    world.pass(HOUR * 2);
    let (name, alice) = (world.clients[1].name(), world.clients[0].user.clone());
    let content = garbage(&world, &world.clients[0], 1);
    world.server.put_in_inbox(&name, "m.room.encrypted", &alice, content);
    world.settle();
    let before = claims(&world);
    assert_eq!(before, 2, "mended once, ahead of what follows");
    world.now = Timestamp(world.now.0 - 365 * 24 * 3_600_000);
    world.clients[1].restart(world.now);
    for _ in 0..20 {
        let content = garbage(&world, &world.clients[0], 1);
        world.server.put_in_inbox(&name, "m.room.encrypted", &alice, content);
        world.settle();
    }
    assert_eq!(claims(&world) - before, 1, "once an hour, as ever");
}

/// Messages from devices that no list names cause a look at the list, but not each.
#[test]
fn a_thousand_messages_of_devices_made_up_cause_one_query_a_minute() {
    let mut world = couple();
    let (name, alice) = (world.clients[1].name(), world.clients[0].user.clone());
    let queries = |world: &World| {
        world.server.served.iter().filter(|(_, it)| it.kind == RequestKind::KeysQuery).count()
    };
    for minute in 1..=2 {
        world.server.served.clear();
        for user in [alice.as_str(), "@stranger:x"] {
            for _ in 0..50 {
                let mut content = garbage(&world, &world.clients[0], 1);
                content["sender_key"] = json!(Account::new().curve25519_key().to_base64());
                let user = user.try_into().unwrap();
                world.server.put_in_inbox(&name, "m.room.encrypted", user, content);
                world.settle();
            }
        }
        assert_eq!(queries(&world), 2, "minute {minute}");
        world.pass(Duration::from_secs(60));
    }
}

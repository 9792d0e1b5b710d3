//! Servers and devices that lie about it, and what it is never told.

use serde_json::{Value, json};
use vodozemac::olm::Account;

use super::scene::{
    ALICE, BOB, WEEK, away, log_in, log_out, opens, pages, replace, replace_by_another, sessions,
    type_key, user, waiting, waiting_id, world,
};
use crate::e2ee::{
    Alarm, Machine, Notice, RequestKind,
    cross_signing::SecretName,
    olm::{Opened, Unproved},
    tests::{
        forger::{Forger, device_keys, event, open as open_event, signed},
        harness::World,
    },
};

/// What a server puts in the place of what waits, while Bob is away.
fn refused(what: &str, lie: impl FnOnce(&mut World)) {
    let (mut world, key) = away();
    lie(&mut world);
    let before = waiting_id(&world);
    type_key(&mut world, &key);
    world.rest();
    assert_eq!(pages(&world), 0, "{what}");
    assert_eq!(sessions(&mut world).len(), 0, "{what}");
    assert_ne!(waiting_id(&world), before, "{what}: one of ours takes its place");
    assert!(opens(&mut world), "{what}");
    let known = world.at(BOB, |it, step| it.is_cross_signed(step)).unwrap();
    assert!(known, "{what}: nothing else is lost");
}

#[test]
fn what_is_not_ours_or_is_not_vouched_for_is_not_read() {
    refused("somebody else's", |world| drop(replace_by_another(world)));
    refused("another name over it", |world| replace(world, |it| it["device_id"] = json!("A")));
    refused("a way to seal that nobody knows", |world| {
        replace(world, |it| it["device_data"]["algorithm"] = json!("m.other"));
    });
    refused("no nonce", |world| replace(world, |it| it["device_data"]["nonce"] = json!("AA")));
    refused("garbage", |world| {
        replace(world, |it| it["device_data"] = json!("A".repeat(1 << 20)));
    });
    refused("not signed by our identity", |world| {
        let (bob, id) = (user("bob"), waiting_id(world));
        let own = format!("ed25519:{id}");
        let listed = world.server.device_keys.get_mut(&bob).unwrap().get_mut(&id).unwrap();
        let signatures = listed["signatures"][bob.as_str()].as_object_mut().unwrap();
        signatures.retain(|name, _| *name == own);
    });
    refused("signed by another identity", |world| {
        let (bob, id) = (user("bob"), waiting_id(world));
        let listed = world.server.device_keys.get_mut(&bob).unwrap().get_mut(&id).unwrap();
        let own = format!("ed25519:{id}");
        let kept = listed["signatures"][bob.as_str()][&own].clone();
        listed["signatures"] = json!({});
        let other = Account::new();
        let name = format!("ed25519:{}", other.ed25519_key().to_base64());
        *listed = signed(listed, &bob, &name, &other);
        listed["signatures"][bob.as_str()][&own] = kept;
    });
}

// One that went: its keys are ours, the list does not name it any more.
#[test]
fn an_older_one_of_ours_that_the_server_brings_back_is_not_read() {
    let (mut world, key) = world();
    let older = waiting(&world).unwrap();
    world.pass(WEEK);
    world.rest();
    assert_ne!(waiting(&world).unwrap()["device_id"], older["device_id"]);
    log_out(&mut world);
    log_in(&mut world);
    replace(&mut world, |it| *it = older.clone());
    type_key(&mut world, &key);
    world.rest();
    assert_eq!(pages(&world), 0);
    assert_ne!(waiting(&world).unwrap()["device_id"], older["device_id"]);
    assert!(opens(&mut world));
}

// The same under the name of the one that waits now.
#[test]
fn an_older_one_of_ours_does_not_pass_for_the_one_that_waits() {
    let (mut world, key) = world();
    let older = waiting(&world).unwrap();
    world.pass(WEEK);
    world.rest();
    log_out(&mut world);
    log_in(&mut world);
    replace(&mut world, |it| it["device_data"] = older["device_data"].clone());
    type_key(&mut world, &key);
    world.rest();
    assert_eq!(pages(&world), 0);
    assert!(opens(&mut world));
}

// Where its name is known, and that it went.
#[test]
fn one_of_ours_that_went_is_not_read_by_who_knew_it() {
    let (mut world, key) = world();
    let older = waiting(&world).unwrap();
    world.pass(WEEK);
    world.rest();
    assert_ne!(waiting(&world).unwrap()["device_id"], older["device_id"]);
    replace(&mut world, |it| *it = older.clone());
    type_key(&mut world, &key);
    world.rest();
    assert_eq!(pages(&world), 0);
    assert_ne!(waiting(&world).unwrap()["device_id"], older["device_id"]);
}

#[test]
fn one_that_the_user_blocked_is_not_read() {
    let (mut world, key) = away();
    let (bob, id) = (user("bob"), waiting_id(&world));
    assert!(world.at(BOB, |it, step| it.block_device(&bob, &id, step)).unwrap());
    type_key(&mut world, &key);
    world.rest();
    assert_eq!(pages(&world), 0);
    assert_eq!(sessions(&mut world).len(), 0);
    assert_ne!(waiting_id(&world), id);
}

// T-108
#[test]
fn two_that_say_so_and_one_that_is_not_signed_are_devices_like_others() {
    let (mut world, _) = world();
    let bob = user("bob");
    let forged = device_keys(bob.as_str(), "GHOST", &Account::new(), |it| {
        it["dehydrated"] = json!(true);
    });
    world.server.device_keys.get_mut(&bob).unwrap().insert("GHOST".into(), forged);
    world.server.announcements.push(bob.clone());
    world.rest();
    let known = world.at(BOB, |it, step| it.known_devices(&bob, step)).unwrap();
    assert!(known.len() == 3 && known.iter().all(|it| !it.dehydrated), "{known:?}");
    let alarm = Notice::Alarm(Alarm::NewOwnDevice("GHOST".into()));
    assert!(world.clients[BOB].take_notices().contains(&alarm));
}

// T-107
#[test]
fn what_it_says_is_not_believed() {
    let mut world = World::new(&["@alice:x"]);
    let forger = Forger::new("@bob:x");
    let listed = forger.device_keys(|it| it["dehydrated"] = json!(true));
    let devices = world.server.device_keys.entry(user("bob")).or_default();
    devices.insert("FORGED".into(), listed);
    let bob = user("bob");
    world.at(ALICE, |it, step| it.core.refresh([&bob], step).map(drop)).unwrap();
    world.settle();
    let mut session = forger.session(&mut world, ALICE);
    // With its keys as they are listed, as an ordinary device of the same name, and without.
    for spoil in [
        |it: &mut Value| it["sender_device_keys"] = Value::Null,
        |_: &mut Value| {},
        |it: &mut Value| drop(it.as_object_mut().unwrap().remove("sender_device_keys")),
    ] {
        let mut inside = forger.inside(&world, ALICE);
        spoil(&mut inside);
        let sealed = forger.seal(&world, ALICE, &mut session, &inside);
        let opened = open_event(&mut world, ALICE, &event(&forger.user, &sealed));
        assert!(matches!(opened, Opened::Unproved(Unproved::OtherDevice)));
    }
}

//
#[test]
fn it_gets_no_secret_and_is_asked_nothing() {
    let (mut world, _) = world();
    let (bob, id) = (world.clients[BOB].name(), waiting_id(&world));
    world.rest();
    let from = world.server.served.len();
    for name in SecretName::STORED {
        let ask = json!({ "action": "request", "name": name.as_str(), "request_id": name.as_str(),
            "requesting_device_id": id });
        world.server.put_in_inbox(&bob, "m.secret.request", &bob.0, ask);
    }
    world.rest();
    world.at(BOB, Machine::request_secrets).unwrap();
    world.rest();
    let sent = world.server.served[from..].iter();
    let sent: Vec<_> = sent.filter(|(_, it)| it.kind == RequestKind::ToDevice).collect();
    assert!(sent.is_empty(), "{sent:?}");
}

//! Who gets keys, by the signatures of their owners.

use std::time::Duration;

use vodozemac::olm::Account;

use super::scene::{
    ALICE, BOB, bootstrap, encrypt, look, pair, prepare, room, to_both, user, withheld,
};
use crate::e2ee::{
    DevicePolicy, LeftOutReason, Machine, Notice, Readiness, ShareError,
    tests::{forger::device_keys, harness::World},
};

//
#[test]
fn a_device_that_its_owner_did_not_sign_gets_no_key_but_word_once() {
    let mut world = pair();
    assert_eq!(prepare(&mut world, ALICE), Ok(true));
    // The server makes up a device of Bob.
    let injected = device_keys("@bob:x", "INJECTED", &Account::new(), |_| {});
    world.server.device_keys.get_mut(&user("@bob:x")).unwrap().insert("INJECTED".into(), injected);
    look(&mut world, ALICE, "@bob:x");
    let session = session(&mut world, ALICE);
    for _ in 0..3 {
        assert_eq!(prepare(&mut world, ALICE), Ok(true));
    }
    assert_eq!(withheld(&world, "m.unverified"), 1);
    let sent = world.server.served.iter().filter(|(_, it)| it.path.contains("m.room.encrypted"));
    assert!(sent.clone().count() > 0);
    assert!(sent.clone().all(|(_, it)| !it.body.contains("INJECTED")));
    // T-35
    assert_eq!(session, self::session(&mut world, ALICE), "a device left out is no rotation");
    let left = world.at(ALICE, |it, step| it.left_out(&room(), &to_both(), step)).unwrap();
    assert_eq!((left.0, left.1.len()), (2, 1));
    assert_eq!(left.1[0].reason, LeftOutReason::Unsigned);
}

fn session(world: &mut World, client: usize) -> String {
    world.at(client, |it, step| it.outbound(&room(), step).unwrap().unwrap().id.clone())
}

#[test]
fn an_owner_without_an_identity_gets_keys_only_where_the_user_says_so() {
    let mut world = World::new(&["@alice:x", "@bob:x"]);
    bootstrap(&mut world, ALICE);
    world.acquaint(ALICE, BOB);
    encrypt(&mut world);
    assert_eq!(prepare(&mut world, ALICE), Ok(true));
    assert_eq!(withheld(&world, "m.unverified"), 1);
    let keys = |world: &World| {
        let sent = world.server.served.iter();
        sent.filter(|(_, it)| it.path.contains("sendToDevice/m.room.encrypted")).count()
    };
    assert_eq!(keys(&world), 0);
    let set = |world: &mut World, devices| {
        world.at(ALICE, |it, step| it.set_device_policy(Some(&room()), devices, step)).unwrap();
    };
    set(&mut world, DevicePolicy::All);
    let before = session(&mut world, ALICE);
    assert_eq!(prepare(&mut world, ALICE), Ok(true));
    assert_eq!(keys(&world), 1);
    set(&mut world, DevicePolicy::Signed);
    assert_eq!(prepare(&mut world, ALICE), Ok(true));
    assert_ne!(session(&mut world, ALICE), before, "who had the key must not have the next");
    assert_eq!(keys(&world), 1);
}

#[test]
fn nothing_is_sent_from_a_device_that_its_own_identity_did_not_sign() {
    let mut world = pair();
    let second = world.log_in("@alice:x", "SECOND");
    world.settle();
    bootstrap(&mut world, second);
    encrypt(&mut world);
    assert_eq!(prepare(&mut world, second), Err(ShareError::NotSigned));
    let all = DevicePolicy::All;
    world.at(second, |it, step| it.set_device_policy(None, all, step)).unwrap();
    assert_eq!(prepare(&mut world, second), Ok(true));
    let mut lonely = World::new(&["@alice:x", "@bob:x"]);
    encrypt(&mut lonely);
    assert_eq!(prepare(&mut lonely, ALICE), Err(ShareError::NoOwnIdentity));
}

#[test]
fn a_message_waits_while_the_first_identity_is_made() {
    let mut world = World::new(&["@alice:x", "@bob:x"]);
    encrypt(&mut world);
    world.at(ALICE, Machine::bootstrap_cross_signing).unwrap();
    let ready = world.at(ALICE, |machine, step| {
        machine.prepare_room(&room(), &to_both(), step).map(|it| matches!(it, Readiness::Ready(_)))
    });
    assert_eq!(ready, Ok(false));
    world.settle();
    let told = world.clients[ALICE].take_notices();
    assert!(told.contains(&Notice::RoomMayBeReady(room())));
    assert_eq!(prepare(&mut world, ALICE), Ok(true));
}

#[test]
fn a_blocked_device_is_told_so_though_it_is_signed() {
    let mut world = pair();
    let (bob, device) = world.clients[BOB].name();
    assert!(world.at(ALICE, |it, step| it.block_device(&bob, &device, step)).unwrap());
    assert_eq!(prepare(&mut world, ALICE), Ok(true));
    assert_eq!(withheld(&world, "m.blacklisted"), 1);
    let left = world.at(ALICE, |it, step| it.left_out(&room(), &to_both(), step)).unwrap();
    assert_eq!(left.1[0].reason, LeftOutReason::Blocked);
}

#[test]
fn who_must_not_read_on_does_not_although_another_device_is_tried_again_meanwhile() {
    for blocks in [true, false] {
        let mut world = pair();
        let set = |world: &mut World, devices| {
            let room = room();
            world.at(ALICE, |it, step| it.set_device_policy(Some(&room), devices, step)).unwrap();
        };
        set(&mut world, DevicePolicy::All);
        // One that gets the key, unsigned, and one that no key can be claimed for.
        let unsigned = world.log_in("@bob:x", "UNSIGNED");
        world.settle();
        let bare = device_keys("@bob:x", "BARE", &Account::new(), |_| {});
        world.server.device_keys.get_mut(&user("@bob:x")).unwrap().insert("BARE".into(), bare);
        look(&mut world, ALICE, "@bob:x");
        assert_eq!(prepare(&mut world, ALICE), Ok(true));
        let before = session(&mut world, ALICE);
        let (bob, device) = world.clients[unsigned].name();
        if blocks {
            world.at(ALICE, |it, step| it.block_device(&bob, &device, step)).unwrap();
        } else {
            set(&mut world, DevicePolicy::Signed);
        }
        for _ in 0..4 {
            world.pass(Duration::from_secs(15 * 60));
            world.settle();
        }
        assert_eq!(prepare(&mut world, ALICE), Ok(true));
        assert_ne!(session(&mut world, ALICE), before, "who had the key must not have the next");
    }
}

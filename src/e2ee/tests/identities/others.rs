//! Identities of others: pinned, verified, changed, malformed.

use serde_json::json;
use vodozemac::olm::Account;

use super::scene::{
    ALICE, BOB, another_set, bootstrap, look, master, pair, prepare, set_of, show, state, user,
    verify,
};
use crate::{
    e2ee::{
        Alarm, IdentityState, RequestKind, ShareError,
        cross_signing::Signed,
        tests::{forger::device_keys, harness::World},
    },
    matrix::UserId,
};

// T-76, A-10
#[test]
fn an_identity_that_was_never_verified_is_pinned_and_a_change_must_be_accepted() {
    let mut world = pair();
    let (first, second) = (set_of(&world, "@bob:x"), another_set("@bob:x"));
    assert_eq!(state(&mut world, ALICE, "@bob:x"), IdentityState::Pinned);
    show(&mut world, "@bob:x", &second);
    look(&mut world, ALICE, "@bob:x");
    assert_eq!(state(&mut world, ALICE, "@bob:x"), IdentityState::PinViolation);
    let changed =
        Alarm::IdentityChanged { user: user("@bob:x"), state: IdentityState::PinViolation };
    assert!(world.clients[ALICE].take_alarms().contains(&changed));
    // T-77
    assert_eq!(prepare(&mut world, ALICE), Err(ShareError::IdentityChanged(user("@bob:x"))));
    show(&mut world, "@bob:x", &first);
    look(&mut world, ALICE, "@bob:x");
    assert_eq!(state(&mut world, ALICE, "@bob:x"), IdentityState::Pinned);
    assert_eq!(prepare(&mut world, ALICE), Ok(true));
    show(&mut world, "@bob:x", &second);
    look(&mut world, ALICE, "@bob:x");
    let bob = user("@bob:x");
    assert!(world.at(ALICE, |it, step| it.acknowledge_identity(&bob, step)).unwrap());
    assert_eq!(state(&mut world, ALICE, "@bob:x"), IdentityState::Pinned);
    assert!(!world.at(ALICE, |it, step| it.acknowledge_identity(&bob, step)).unwrap());
    assert_eq!(prepare(&mut world, ALICE), Ok(true));
    show(&mut world, "@bob:x", &first);
    look(&mut world, ALICE, "@bob:x");
    assert_eq!(state(&mut world, ALICE, "@bob:x"), IdentityState::PinViolation);
}

// T-76, T-74
#[test]
fn an_identity_that_was_verified_stays_under_suspicion_until_it_is_verified_or_given_up() {
    let mut world = pair();
    assert_eq!(verify(&mut world, ALICE, "@bob:x"), Signed::Yes);
    assert_eq!(state(&mut world, ALICE, "@bob:x"), IdentityState::Verified);
    let (first, second) = (set_of(&world, "@bob:x"), another_set("@bob:x"));
    let mut mixed = second.clone();
    for (part, key) in &mut mixed {
        // The signature on the old key is put on the new one.
        if let (Some(key), "master_keys") = (key, part.as_str()) {
            let old = first.iter().find(|(part, _)| part == "master_keys").unwrap();
            let theirs = old.1.as_ref().unwrap()["signatures"]["@alice:x"].clone();
            key["signatures"]["@alice:x"] = theirs;
        }
    }
    for set in [&second, &mixed] {
        show(&mut world, "@bob:x", set);
        look(&mut world, ALICE, "@bob:x");
        let bob = user("@bob:x");
        assert_eq!(state(&mut world, ALICE, "@bob:x"), IdentityState::VerificationViolation);
        assert!(!world.at(ALICE, |it, step| it.acknowledge_identity(&bob, step)).unwrap());
        assert_eq!(prepare(&mut world, ALICE), Err(ShareError::NotVerifiedAnyMore(user("@bob:x"))));
        world.clients[ALICE].restart(world.now);
        assert_eq!(prepare(&mut world, ALICE), Err(ShareError::NotVerifiedAnyMore(user("@bob:x"))));
    }
    // The key that was verified is as good as before, and the latch still holds.
    show(&mut world, "@bob:x", &first);
    look(&mut world, ALICE, "@bob:x");
    assert_eq!(state(&mut world, ALICE, "@bob:x"), IdentityState::Verified);
    show(&mut world, "@bob:x", &second);
    look(&mut world, ALICE, "@bob:x");
    assert_eq!(state(&mut world, ALICE, "@bob:x"), IdentityState::VerificationViolation);
    let bob = user("@bob:x");
    assert!(world.at(ALICE, |it, step| it.withdraw_verification(&bob, step)).unwrap());
    assert_eq!(state(&mut world, ALICE, "@bob:x"), IdentityState::Pinned);
    assert_eq!(prepare(&mut world, ALICE), Ok(true));
}

#[test]
fn a_server_that_hides_our_signature_changes_nothing() {
    let mut world = pair();
    let unsigned = set_of(&world, "@bob:x");
    verify(&mut world, ALICE, "@bob:x");
    show(&mut world, "@bob:x", &unsigned);
    look(&mut world, ALICE, "@bob:x");
    assert_eq!(state(&mut world, ALICE, "@bob:x"), IdentityState::Verified);
}

//
#[test]
fn while_our_own_identity_is_not_verified_here_nobody_is() {
    let mut world = pair();
    verify(&mut world, ALICE, "@bob:x");
    let second = world.log_in("@alice:x", "SECOND");
    world.settle();
    world.acquaint(second, BOB);
    look(&mut world, second, "@alice:x");
    assert_eq!(state(&mut world, second, "@bob:x"), IdentityState::Pinned);
    assert_eq!(verify(&mut world, second, "@bob:x"), Signed::NoKey);
    let key = master(&world, "@alice:x");
    assert!(world.at(second, |it, step| it.verify_own_master(&key, step)).unwrap());
    assert_eq!(state(&mut world, second, "@bob:x"), IdentityState::Verified);
    let stranger = "A".repeat(43);
    assert!(!world.at(second, |it, step| it.verify_own_master(&stranger, step)).unwrap());
}

// T-72, A-3
#[test]
fn an_identity_whose_key_is_the_name_of_a_device_is_never_verified() {
    let mut world = pair();
    let key = master(&world, "@bob:x");
    let trap = device_keys("@bob:x", &key, &Account::new(), |_| {});
    let devices = world.server.device_keys.get_mut(&user("@bob:x")).unwrap();
    devices.insert(key.as_str().into(), trap);
    look(&mut world, ALICE, "@bob:x");
    assert_eq!(verify(&mut world, ALICE, "@bob:x"), Signed::NotCurrent);
    assert_eq!(state(&mut world, ALICE, "@bob:x"), IdentityState::Pinned);
    let bob = <&UserId>::try_from("@bob:x").unwrap();
    let found =
        world.at(ALICE, |_, step| crate::e2ee::devices::devices_of(bob, step).unwrap().len());
    assert_eq!(found, 1, "the device itself is not there for us");
}

// T-71
#[test]
fn a_malformed_identity_changes_nothing_and_none_of_ours_is_made_over_one() {
    let mut world = pair();
    let good = set_of(&world, "@bob:x");
    for (part, _) in &good {
        let mut bad = good.clone();
        for (name, key) in &mut bad {
            if let (Some(key), true) = (key, name == part) {
                key["usage"] = json!(["nonsense"]);
            }
        }
        show(&mut world, "@bob:x", &bad);
        look(&mut world, ALICE, "@bob:x");
        assert_eq!(state(&mut world, ALICE, "@bob:x"), IdentityState::Pinned, "{part}");
    }
    let mut world = World::new(&["@alice:x"]);
    let mut set = another_set("@alice:x");
    for (_, key) in &mut set {
        if let Some(key) = key {
            key["usage"] = json!([]);
        }
    }
    show(&mut world, "@alice:x", &set);
    bootstrap(&mut world, ALICE);
    let uploads = |world: &World| {
        let served = world.server.served.iter();
        served.filter(|(_, it)| it.kind == RequestKind::SigningKeysUpload).count()
    };
    assert_eq!(uploads(&world), 0);
}

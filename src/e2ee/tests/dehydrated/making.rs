//! Made, found by others, replaced each week, given up with the identity.

use std::time::Duration;

use super::scene::{
    ALICE, BOB, WEEK, calls, held, log_in, log_out, opens, replace_by_another, room, type_key,
    user, waiting, waiting_id, world,
};
use crate::e2ee::{
    Alarm, Machine, Notice, Recipients, RequestKind, Step, cross_signing::SecretName,
    tests::harness::World,
};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn it_has_all_that_others_need_to_write_to_it_and_is_no_stranger() {
    let (mut world, _) = world();
    let device = waiting(&world).unwrap();
    let id = waiting_id(&world);
    let name = format!("curve25519:{id}");
    assert_eq!(device["device_keys"]["keys"][name], id.as_str());
    assert_eq!(device["device_keys"]["dehydrated"], true);
    assert_eq!(device["one_time_keys"].as_object().unwrap().len(), 50);
    assert_eq!(device["fallback_keys"].as_object().unwrap().len(), 1);
    assert!(world.server.account_data.contains_key(&(user("bob"), "org.matrix.msc3814".into())));
    world.server.announcements.push(user("bob"));
    world.rest();
    for client in [ALICE, BOB] {
        let known = world.at(client, |it, step| it.known_devices(&user("bob"), step));
        let known = known.unwrap().into_iter().find(|it| it.device_id == id).unwrap();
        assert!(known.dehydrated && known.cross_signed, "{known:?}");
    }
    let told = world.clients[BOB].take_notices();
    assert!(!told.contains(&Notice::Alarm(Alarm::NewOwnDevice(id))), "{told:?}");
    let to = Recipients { joined: vec![user("bob")], ..Recipients::default() };
    let left_out = world.at(ALICE, |it, step| it.left_out(&room(0), &to, step)).unwrap();
    assert_eq!((left_out.0, left_out.1.len()), (2, 0));
}

#[test]
fn a_server_that_does_not_offer_it_is_asked_once_and_has_nothing() {
    let (mut world, key) = world();
    let mut elsewhere = World::new(&["@alice:x", "@bob:x"]);
    elsewhere.at(BOB, Machine::bootstrap_cross_signing).unwrap();
    elsewhere.settle();
    elsewhere.at(BOB, |it, step| it.create_secret_storage(None, step)).unwrap();
    elsewhere.rest();
    elsewhere.pass(2 * WEEK);
    elsewhere.rest();
    assert_eq!(calls(&elsewhere).count(), 1);
    assert_eq!(held(&mut elsewhere, SecretName::DehydratedDevice), None);
    // It offered it once: what is here stays, and is of use when it does again.
    world.server.dehydrated = None;
    log_out(&mut world);
    log_in(&mut world);
    type_key(&mut world, &key);
    world.rest();
    assert!(held(&mut world, SecretName::DehydratedDevice).is_some());
    world.server.dehydrated = Some([].into());
    world.pass(WEEK);
    world.rest();
    assert!(waiting(&world).is_some() && opens(&mut world));
}

#[test]
fn making_can_be_interrupted_anywhere_and_the_key_is_in_the_storage_before() {
    for requests in 0..12 {
        let mut world = World::new(&["@alice:x", "@bob:x"]);
        world.server.dehydrated = Some([].into());
        world.at(BOB, Machine::bootstrap_cross_signing).unwrap();
        world.settle();
        let make = |it: &mut Machine, step: &mut Step<'_>| it.create_secret_storage(None, step);
        let key = world.at(BOB, make).unwrap();
        for _ in 0..requests {
            // Not even begun before: whether the server takes the key is not known yet.
            let kind = "org.matrix.msc3814".to_owned();
            let is_stored = world.server.account_data.contains_key(&(user("bob"), kind));
            let mut outbox = world.clients[BOB].outbox.iter();
            let is_sent =
                outbox.any(|it| it.kind == RequestKind::DehydratedDevice && it.method == "PUT");
            assert!(is_stored || !is_sent, "after {requests} requests");
            world.send_one(BOB);
        }
        world.clients[BOB].restart(world.now);
        // The user goes on with what was interrupted.
        world.at(BOB, make).unwrap();
        world.rest();
        type_key(&mut world, &key);
        world.rest();
        assert!(waiting(&world).is_some(), "after {requests} requests");
        let kinds: Vec<&str> = world.server.served.iter().map(|(_, it)| it.path.as_str()).collect();
        let stored = kinds.iter().position(|it| it.ends_with("account_data/org.matrix.msc3814"));
        let put = calls(&world).find(|it| it.method == "PUT").unwrap();
        let put = world.server.served.iter().position(|(_, it)| it == put).unwrap();
        assert!(stored.unwrap() < put, "after {requests} requests");
        log_out(&mut world);
        log_in(&mut world);
        type_key(&mut world, &key);
        world.rest();
        assert!(opens(&mut world), "after {requests} requests");
    }
}

#[test]
fn another_takes_its_place_each_week_under_the_same_key() {
    let (mut world, _) = world();
    let key = held(&mut world, SecretName::DehydratedDevice);
    let mut seen = vec![waiting_id(&world)];
    for _ in 0..3 {
        world.pass(WEEK.saturating_sub(5 * MINUTE));
        world.rest();
        assert_eq!(Some(&waiting_id(&world)), seen.last());
        world.pass(10 * MINUTE);
        world.rest();
        assert!(!seen.contains(&waiting_id(&world)));
        seen.push(waiting_id(&world));
        assert!(opens(&mut world));
    }
    assert_eq!(held(&mut world, SecretName::DehydratedDevice), key);
}

#[test]
fn one_that_another_client_of_ours_keeps_is_left_to_it() {
    let (mut world, _) = world();
    // It made one with a key of its own, which is in secret storage now.
    let id = replace_by_another(&mut world);
    world.pass(2 * WEEK);
    world.rest();
    assert_eq!(waiting_id(&world).as_str(), id);
    assert_eq!(held(&mut world, SecretName::DehydratedDevice), None);
    let looks = calls(&world).count();
    world.pass(2 * WEEK);
    world.rest();
    assert_eq!(calls(&world).count(), looks);
}

#[test]
fn with_a_new_identity_the_old_key_is_of_no_use_any_more() {
    let (mut world, _) = world();
    let (key, id) = (held(&mut world, SecretName::DehydratedDevice), waiting_id(&world));
    world.at(BOB, Machine::begin_fresh_start).unwrap();
    world.rest();
    assert_eq!(held(&mut world, SecretName::DehydratedDevice), None);
    world.at(BOB, Machine::give_up_secret_storage).unwrap();
    world.at(BOB, |it, step| it.create_secret_storage(None, step)).unwrap();
    world.rest();
    assert_ne!(held(&mut world, SecretName::DehydratedDevice), key);
    assert_ne!(waiting_id(&world), id);
    assert!(opens(&mut world));
}

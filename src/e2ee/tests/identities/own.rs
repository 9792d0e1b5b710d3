//! Our own identity: made, replaced, and signed with.

use serde_json::{Value, json};

use super::scene::{
    ALICE, BOB, another_set, bootstrap, look, master, own, pair, prepare, set_of, show, state,
    user, verify,
};
use crate::{
    e2ee::{
        Alarm, Bootstrap, IdentityState, Machine, Notice, OwnIdentity, RequestKind, ShareError,
        cross_signing::{Imported, SecretName, Signed},
        tests::{
            account_server::{PASSWORD, wants_proof},
            harness::World,
        },
    },
    secret::Secret,
};

#[test]
fn an_account_without_an_identity_gets_one_that_signs_its_device() {
    let mut world = World::new(&["@alice:x"]);
    assert_eq!(own(&mut world, ALICE), OwnIdentity::None);
    bootstrap(&mut world, ALICE);
    let all =
        OwnIdentity::Verified { has_master: true, has_self_signing: true, has_user_signing: true };
    assert_eq!(own(&mut world, ALICE), all);
    assert!(world.at(ALICE, |machine, step| machine.is_cross_signed(step)).unwrap());
    let name = world.clients[ALICE].name();
    let device = &world.server.device_keys[&name.0][&name.1];
    assert_eq!(device["signatures"]["@alice:x"].as_object().unwrap().len(), 2);
    let again = world.at(ALICE, Machine::bootstrap_cross_signing);
    assert_eq!(again.unwrap(), Bootstrap::Done);
    world.clients[ALICE].restart(world.now);
    world.settle();
    assert_eq!(own(&mut world, ALICE), all, "it is on disk");
}

#[test]
fn an_identity_in_the_making_survives_the_end_of_the_program_at_any_point() {
    for requests in 0..6 {
        let mut world = World::new(&["@alice:x"]);
        world.at(ALICE, Machine::bootstrap_cross_signing).unwrap();
        for _ in 0..requests {
            world.send_one(ALICE);
        }
        // The server has the request, the answer is lost.
        if let Some(request) = world.clients[ALICE].outbox.front().cloned() {
            let name = world.clients[ALICE].name();
            world.server.serve(&name, &request).unwrap();
        }
        world.clients[ALICE].restart(world.now);
        world.settle();
        assert!(world.at(ALICE, |machine, step| machine.is_cross_signed(step)).unwrap());
        let uploads = world.server.served.iter();
        let uploads: std::collections::BTreeSet<&str> = uploads
            .filter(|(_, it)| it.kind == RequestKind::SigningKeysUpload)
            .map(|(_, it)| it.body.as_str())
            .collect();
        assert_eq!(uploads.len(), 1, "one identity, whatever is lost after {requests} answers");
    }
}

#[test]
fn a_second_device_of_the_account_leaves_the_identity_alone() {
    let mut world = World::new(&["@alice:x"]);
    bootstrap(&mut world, ALICE);
    let before = master(&world, "@alice:x");
    let second = world.log_in("@alice:x", "SECOND");
    world.settle();
    bootstrap(&mut world, second);
    assert_eq!(master(&world, "@alice:x"), before);
    assert_eq!(own(&mut world, second), OwnIdentity::Theirs);
    assert!(!world.at(second, |machine, step| machine.is_cross_signed(step)).unwrap());
}

// T-75
#[test]
fn of_two_clients_that_make_an_identity_at_once_the_first_wins() {
    let mut world = World::new(&["@alice:x"]);
    world.server.wants_password = true;
    let second = world.log_in("@alice:x", "SECOND");
    world.settle();
    for client in [ALICE, second] {
        world.at(client, Machine::bootstrap_cross_signing).unwrap();
        world.send_one(client);
        let upload = world.clients[client].outbox.front().unwrap();
        assert_eq!(upload.kind, RequestKind::SigningKeysUpload, "both saw no identity");
    }
    world.settle();
    let shown = master(&world, "@alice:x");
    let verified = |world: &mut World, client| {
        world
            .at(client, |machine, step| machine.signing_secret(SecretName::Master, step))
            .unwrap()
            .is_some()
    };
    assert!(verified(&mut world, ALICE));
    assert!(!verified(&mut world, second), "what it made is worth nothing");
    assert_eq!(own(&mut world, second), OwnIdentity::Theirs);
    assert_eq!(master(&world, "@alice:x"), shown);
    let asked = world.clients[second].take_notices();
    assert!(!asked.contains(&Notice::AuthNeeded), "nobody is asked for a password in vain");
    assert!(!asked.iter().any(|it| matches!(it, Notice::Alarm(Alarm::IdentityRefused(_)))));
}

#[test]
fn a_server_that_wants_proof_is_given_it_beside_the_stored_request() {
    let mut world = World::new(&["@alice:x"]);
    world.at(ALICE, Machine::bootstrap_cross_signing).unwrap();
    world.send_one(ALICE);
    let upload = world.clients[ALICE].outbox.pop_front().unwrap();
    world.answer(ALICE, &upload.id, Err(&wants_proof("")));
    world.settle();
    assert!(world.clients[ALICE].take_notices().contains(&Notice::AuthNeeded));
    let needed = world.clients[ALICE].machine.auth_needed().unwrap().clone();
    assert_eq!(needed.request, upload.id);
    let stored = world.at(ALICE, |machine, step| machine.unanswered(step)).unwrap();
    assert_eq!(stored, std::slice::from_ref(&upload));
    world.clients[ALICE].restart(world.now);
    assert_eq!(world.clients[ALICE].outbox.front(), Some(&upload), "asked again after a start");
    world.settle();
    assert!(world.at(ALICE, |machine, step| machine.is_cross_signed(step)).unwrap());
}

// T-73, A-10, A-37
#[test]
fn our_identity_replaced_by_the_server_is_an_alarm_and_nothing_is_signed_with_it() {
    let mut world = pair();
    assert_eq!(prepare(&mut world, ALICE), Ok(true));
    let true_set = set_of(&world, "@alice:x");
    world.clients[ALICE].take_notices();
    let served = world.server.served.len();
    show(&mut world, "@alice:x", &another_set("@alice:x"));
    look(&mut world, ALICE, "@alice:x");
    let replaced = Alarm::OwnIdentityReplaced { master_key: master(&world, "@alice:x") };
    assert!(world.clients[ALICE].take_alarms().contains(&replaced));
    assert_eq!(own(&mut world, ALICE), OwnIdentity::Theirs);
    for name in [SecretName::Master, SecretName::SelfSigning, SecretName::UserSigning] {
        let secret = world.at(ALICE, |machine, step| machine.signing_secret(name, step));
        assert_eq!(secret.unwrap(), None, "worth nothing, and gone");
    }
    assert_eq!(prepare(&mut world, ALICE), Err(ShareError::IdentityChanged(user("@alice:x"))));
    world.clients[ALICE].restart(world.now);
    assert!(world.clients[ALICE].take_alarms().contains(&replaced), "it stands");
    // Even the old one again is not ours to use any more by itself.
    show(&mut world, "@alice:x", &true_set);
    look(&mut world, ALICE, "@alice:x");
    assert_eq!(own(&mut world, ALICE), OwnIdentity::Theirs);
    let signs = world.server.served[served..].iter();
    assert!(signs.clone().all(|(from, it)| {
        from.0.as_str() != "@alice:x" || it.kind != RequestKind::SignaturesUpload
    }));
}

// the identity that the server shows as ours has signed whom it likes.
#[test]
fn nobody_is_verified_by_an_identity_that_took_the_place_of_ours() {
    let mut world = pair();
    let mut theirs = pair();
    show(&mut theirs, "@bob:x", &set_of(&world, "@bob:x"));
    look(&mut theirs, ALICE, "@bob:x");
    theirs.at(ALICE, |it, step| it.acknowledge_identity(&user("@bob:x"), step)).unwrap();
    assert_eq!(verify(&mut theirs, ALICE, "@bob:x"), Signed::Yes);
    assert_eq!(state(&mut theirs, ALICE, "@bob:x"), IdentityState::Verified);
    for of in ["@alice:x", "@bob:x"] {
        show(&mut world, of, &set_of(&theirs, of));
        look(&mut world, ALICE, of);
    }
    assert_eq!(own(&mut world, ALICE), OwnIdentity::Theirs);
    assert_eq!(state(&mut world, ALICE, "@bob:x"), IdentityState::Pinned);
}

#[test]
fn a_reset_replaces_the_identity_and_gives_up_who_was_verified() {
    let mut world = pair();
    world.server.wants_password = true;
    assert_eq!(verify(&mut world, ALICE, "@bob:x"), Signed::Yes);
    assert_eq!(prepare(&mut world, ALICE), Ok(true));
    let before = master(&world, "@alice:x");
    world.at(ALICE, Machine::reset_identity).unwrap();
    let mut upload = world.clients[ALICE].outbox.pop_front().unwrap();
    let mut body: Value = serde_json::from_str(&upload.body).unwrap();
    body["auth"] = json!({ "password": PASSWORD });
    upload.body = body.to_string();
    world.clients[ALICE].outbox.push_front(upload);
    world.settle();
    assert_ne!(master(&world, "@alice:x"), before);
    assert!(world.at(ALICE, |machine, step| machine.is_cross_signed(step)).unwrap());
    assert_eq!(state(&mut world, ALICE, "@bob:x"), IdentityState::Pinned);
    assert_eq!(world.clients[ALICE].take_alarms(), [], "it was our own doing");
    assert_eq!(state(&mut world, BOB, "@alice:x"), IdentityState::PinViolation);
    assert_eq!(prepare(&mut world, ALICE), Ok(true));
}

#[test]
fn private_keys_that_fit_make_a_new_device_one_of_ours_and_others_are_not_kept() {
    let mut world = pair();
    let second = world.log_in("@alice:x", "SECOND");
    world.settle();
    bootstrap(&mut world, second);
    for name in [SecretName::SelfSigning, SecretName::UserSigning, SecretName::Master] {
        let wrong = Secret::new([7; 32]);
        let refused = world.at(second, |it, step| it.import_signing_secret(name, &wrong, step));
        assert_eq!(refused.unwrap(), Imported::DoesNotFit);
        let secret = world.at(ALICE, |it, step| it.signing_secret(name, step)).unwrap();
        let secret = secret.unwrap();
        let kept = world.at(second, |it, step| it.import_signing_secret(name, &secret, step));
        assert_eq!(kept.unwrap(), Imported::Kept);
    }
    world.settle();
    assert!(world.at(second, |machine, step| machine.is_cross_signed(step)).unwrap());
    assert_eq!(own(&mut world, second), own(&mut world, ALICE));
    world.settle();
    let (user, device) = world.clients[second].name();
    let seen = &world.server.device_keys[&user][&device]["signatures"]["@alice:x"];
    assert_eq!(seen.as_object().unwrap().len(), 2);
}

#[test]
fn a_device_of_ours_that_was_compared_is_signed() {
    let mut world = pair();
    let second = world.log_in("@alice:x", "SECOND");
    world.settle();
    look(&mut world, ALICE, "@alice:x");
    let key = world.clients[second].machine.core.account.ed25519().to_base64();
    let device = world.clients[second].device.clone();
    let sign = |world: &mut World, key: &str| {
        world.at(ALICE, |it, step| it.sign_own_device(&device, key, step)).unwrap()
    };
    assert_eq!(sign(&mut world, &"A".repeat(43)), Signed::NotCurrent);
    assert_eq!(sign(&mut world, &key), Signed::Yes);
    world.settle();
    look(&mut world, second, "@alice:x");
    assert!(world.at(second, |machine, step| machine.is_cross_signed(step)).unwrap());
}

#[test]
fn a_signature_that_the_server_does_not_take_is_made_again_but_not_for_ever() {
    let mut world = World::new(&["@alice:x"]);
    world.at(ALICE, Machine::bootstrap_cross_signing).unwrap();
    let mut refused = 0;
    for _ in 0..50 {
        let Some(request) = world.clients[ALICE].outbox.pop_front() else { break };
        let name = world.clients[ALICE].name();
        let answer = if request.kind == RequestKind::SignaturesUpload {
            refused += 1;
            let body: Value = serde_json::from_str(&request.body).unwrap();
            Ok(json!({ "failures": body }).to_string())
        } else {
            world.server.serve(&name, &request)
        };
        world.answer(ALICE, &request.id, answer.as_deref());
    }
    assert_eq!(refused, 5);
    world.clients[ALICE].restart(world.now);
    look(&mut world, ALICE, "@alice:x");
    assert!(world.at(ALICE, |machine, step| machine.is_cross_signed(step)).unwrap());
}

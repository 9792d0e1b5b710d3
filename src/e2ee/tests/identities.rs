//! Cross-signing identities: made, signed with, replaced, pinned; who gets keys by them.

use serde_json::{Value, json};
use vodozemac::olm::Account;

use super::{
    account_server::{PASSWORD, wants_proof},
    forger::device_keys,
    harness::{Client, World},
};
use crate::{
    e2ee::{
        Alarm, Bootstrap, DevicePolicy, IdentityState, LeftOutReason, Machine, Notice, OwnIdentity,
        Readiness, Recipients, RequestKind, ShareError,
        cross_signing::{Imported, SecretName, Signed},
    },
    matrix::{Event, OwnedRoomId, OwnedUserId, UserId},
    secret::Secret,
};

const ALICE: usize = 0;
const BOB: usize = 1;
const ROOM: &str = "!room:x";

fn room() -> OwnedRoomId {
    OwnedRoomId::try_from(ROOM).unwrap()
}

fn user(id: &str) -> OwnedUserId {
    OwnedUserId::try_from(id).unwrap()
}

fn at<T>(
    world: &mut World,
    client: usize,
    work: impl FnOnce(&mut Machine, &mut crate::e2ee::Step<'_>) -> T,
) -> T {
    let now = world.now;
    world.clients[client].step(now, work)
}

fn bootstrap(world: &mut World, client: usize) {
    at(world, client, Machine::bootstrap_cross_signing).unwrap();
    world.settle();
}

/// Alice and Bob, both with an identity, who know each other.
fn pair() -> World {
    let mut world = World::new(&["@alice:x", "@bob:x"]);
    bootstrap(&mut world, ALICE);
    bootstrap(&mut world, BOB);
    world.acquaint(ALICE, BOB);
    world.acquaint(BOB, ALICE);
    encrypt(&mut world);
    world
}

fn encrypt(world: &mut World) {
    let content = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
    let event = Event::state("m.room.encryption", "", content.as_object().unwrap().clone());
    for client in 0..world.clients.len() {
        at(world, client, |machine, step| machine.receive_state(&room(), &event, step)).unwrap();
    }
}

fn to_both() -> Recipients {
    Recipients { joined: vec![user("@alice:x"), user("@bob:x")], ..Recipients::default() }
}

fn prepare(world: &mut World, client: usize) -> Result<bool, ShareError> {
    let mut ready = Ok(false);
    for _ in 0..4 {
        ready = at(world, client, |machine, step| {
            machine
                .prepare_room(&room(), &to_both(), step)
                .map(|ready| matches!(ready, Readiness::Ready(_)))
        });
        if ready != Ok(false) {
            break;
        }
        world.settle();
    }
    world.settle();
    ready
}

fn own(world: &mut World, client: usize) -> OwnIdentity {
    at(world, client, |machine, step| machine.own_identity(step)).unwrap()
}

fn state(world: &mut World, client: usize, of: &str) -> IdentityState {
    let of = user(of);
    at(world, client, |machine, step| machine.identity_status(&of, step)).unwrap().state
}

fn master(world: &World, of: &str) -> String {
    let keys = &world.server.identities["master_keys"][&user(of)]["keys"];
    keys.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned()
}

fn verify(world: &mut World, client: usize, of: &str) -> Signed {
    let key = master(world, of);
    let of = user(of);
    let signed = at(world, client, |machine, step| machine.sign_user(&of, &key, step)).unwrap();
    world.settle();
    signed
}

/// Has the client ask for the list of `of` again, whatever it knows.
fn look(world: &mut World, client: usize, of: &str) {
    let of = user(of);
    at(world, client, |machine, step| machine.core.call_into_question(&of, step)).unwrap();
    world.settle();
}

/// What the server shows as the identity of a user.
type Set = Vec<(String, Option<Value>)>;

fn set_of(world: &World, of: &str) -> Set {
    let identities = world.server.identities.iter();
    identities.map(|(part, keys)| (part.clone(), keys.get(&user(of)).cloned())).collect()
}

fn show(world: &mut World, of: &str, set: &Set) {
    for (part, key) in set {
        let keys = world.server.identities.entry(part.clone()).or_default();
        match key {
            Some(key) => drop(keys.insert(user(of), key.clone())),
            None => drop(keys.remove(&user(of))),
        }
    }
}

/// A whole identity of `of`, made by somebody who plays them; nothing of it is on the server.
fn another_set(of: &str) -> Set {
    let mut other = World::new(&[of]);
    bootstrap(&mut other, 0);
    set_of(&other, of)
}

fn withheld(world: &World, code: &str) -> usize {
    let served = world.server.served.iter();
    served
        .filter(|(_, it)| it.path.contains("m.room_key.withheld") && it.body.contains(code))
        .count()
}

fn alarms(client: &mut Client) -> Vec<Alarm> {
    let told = client.take_notices().into_iter();
    told.filter_map(|notice| if let Notice::Alarm(alarm) = notice { Some(alarm) } else { None })
        .collect()
}

#[test]
fn an_account_without_an_identity_gets_one_that_signs_its_device() {
    let mut world = World::new(&["@alice:x"]);
    assert_eq!(own(&mut world, ALICE), OwnIdentity::None);
    bootstrap(&mut world, ALICE);
    let all =
        OwnIdentity::Verified { has_master: true, has_self_signing: true, has_user_signing: true };
    assert_eq!(own(&mut world, ALICE), all);
    assert!(at(&mut world, ALICE, |machine, step| machine.is_cross_signed(step)).unwrap());
    let name = world.clients[ALICE].name();
    let device = &world.server.device_keys[&name.0][&name.1];
    assert_eq!(device["signatures"]["@alice:x"].as_object().unwrap().len(), 2);
    let again = at(&mut world, ALICE, Machine::bootstrap_cross_signing);
    assert_eq!(again.unwrap(), Bootstrap::Done);
    world.clients[ALICE].restart(world.now);
    world.settle();
    assert_eq!(own(&mut world, ALICE), all, "it is on disk");
}

#[test]
fn an_identity_in_the_making_survives_the_end_of_the_program_at_any_point() {
    for requests in 0..6 {
        let mut world = World::new(&["@alice:x"]);
        at(&mut world, ALICE, Machine::bootstrap_cross_signing).unwrap();
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
        assert!(at(&mut world, ALICE, |machine, step| machine.is_cross_signed(step)).unwrap());
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
    assert!(!at(&mut world, second, |machine, step| machine.is_cross_signed(step)).unwrap());
}

// T-75
#[test]
fn of_two_clients_that_make_an_identity_at_once_the_first_wins() {
    let mut world = World::new(&["@alice:x"]);
    world.server.wants_password = true;
    let second = world.log_in("@alice:x", "SECOND");
    world.settle();
    for client in [ALICE, second] {
        at(&mut world, client, Machine::bootstrap_cross_signing).unwrap();
        world.send_one(client);
        let upload = world.clients[client].outbox.front().unwrap();
        assert_eq!(upload.kind, RequestKind::SigningKeysUpload, "both saw no identity");
    }
    world.settle();
    let shown = master(&world, "@alice:x");
    let verified = |world: &mut World, client| {
        at(world, client, |machine, step| machine.signing_secret(SecretName::Master, step))
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
    at(&mut world, ALICE, Machine::bootstrap_cross_signing).unwrap();
    world.send_one(ALICE);
    let upload = world.clients[ALICE].outbox.pop_front().unwrap();
    at(&mut world, ALICE, |machine, step| {
        machine.receive_response(&upload.id, Err(wants_proof("")), step)
    })
    .unwrap();
    world.settle();
    assert!(world.clients[ALICE].take_notices().contains(&Notice::AuthNeeded));
    let needed = world.clients[ALICE].machine.auth_needed().unwrap().clone();
    assert_eq!(needed.request, upload.id);
    let stored = at(&mut world, ALICE, |machine, step| machine.unanswered(step)).unwrap();
    assert_eq!(stored, std::slice::from_ref(&upload));
    world.clients[ALICE].restart(world.now);
    assert_eq!(world.clients[ALICE].outbox.front(), Some(&upload), "asked again after a start");
    world.settle();
    assert!(at(&mut world, ALICE, |machine, step| machine.is_cross_signed(step)).unwrap());
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
    assert!(alarms(&mut world.clients[ALICE]).contains(&replaced));
    assert_eq!(own(&mut world, ALICE), OwnIdentity::Theirs);
    for name in [SecretName::Master, SecretName::SelfSigning, SecretName::UserSigning] {
        let secret = at(&mut world, ALICE, |machine, step| machine.signing_secret(name, step));
        assert_eq!(secret.unwrap(), None, "worth nothing, and gone");
    }
    assert_eq!(prepare(&mut world, ALICE), Err(ShareError::IdentityChanged(user("@alice:x"))));
    world.clients[ALICE].restart(world.now);
    assert!(alarms(&mut world.clients[ALICE]).contains(&replaced), "it stands");
    // Even the old one again is not ours to use any more by itself.
    show(&mut world, "@alice:x", &true_set);
    look(&mut world, ALICE, "@alice:x");
    assert_eq!(own(&mut world, ALICE), OwnIdentity::Theirs);
    let signs = world.server.served[served..].iter();
    assert!(signs.clone().all(|(from, it)| {
        from.0.as_str() != "@alice:x" || it.kind != RequestKind::SignaturesUpload
    }));
}

#[test]
fn a_reset_replaces_the_identity_and_gives_up_who_was_verified() {
    let mut world = pair();
    world.server.wants_password = true;
    assert_eq!(verify(&mut world, ALICE, "@bob:x"), Signed::Yes);
    assert_eq!(prepare(&mut world, ALICE), Ok(true));
    let before = master(&world, "@alice:x");
    at(&mut world, ALICE, Machine::reset_identity).unwrap();
    let mut upload = world.clients[ALICE].outbox.pop_front().unwrap();
    let mut body: Value = serde_json::from_str(&upload.body).unwrap();
    body["auth"] = json!({ "password": PASSWORD });
    upload.body = body.to_string();
    world.clients[ALICE].outbox.push_front(upload);
    world.settle();
    assert_ne!(master(&world, "@alice:x"), before);
    assert!(at(&mut world, ALICE, |machine, step| machine.is_cross_signed(step)).unwrap());
    assert_eq!(state(&mut world, ALICE, "@bob:x"), IdentityState::Pinned);
    assert_eq!(alarms(&mut world.clients[ALICE]), [], "it was our own doing");
    assert_eq!(state(&mut world, BOB, "@alice:x"), IdentityState::PinViolation);
    assert_eq!(prepare(&mut world, ALICE), Ok(true));
}

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
    assert!(alarms(&mut world.clients[ALICE]).contains(&changed));
    // T-77
    assert_eq!(prepare(&mut world, ALICE), Err(ShareError::IdentityChanged(user("@bob:x"))));
    show(&mut world, "@bob:x", &first);
    look(&mut world, ALICE, "@bob:x");
    assert_eq!(state(&mut world, ALICE, "@bob:x"), IdentityState::Pinned);
    assert_eq!(prepare(&mut world, ALICE), Ok(true));
    show(&mut world, "@bob:x", &second);
    look(&mut world, ALICE, "@bob:x");
    let bob = user("@bob:x");
    assert!(at(&mut world, ALICE, |it, step| it.acknowledge_identity(&bob, step)).unwrap());
    assert_eq!(state(&mut world, ALICE, "@bob:x"), IdentityState::Pinned);
    assert!(!at(&mut world, ALICE, |it, step| it.acknowledge_identity(&bob, step)).unwrap());
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
        assert!(!at(&mut world, ALICE, |it, step| it.acknowledge_identity(&bob, step)).unwrap());
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
    assert!(at(&mut world, ALICE, |it, step| it.withdraw_verification(&bob, step)).unwrap());
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
    assert!(at(&mut world, second, |it, step| it.verify_own_master(&key, step)).unwrap());
    assert_eq!(state(&mut world, second, "@bob:x"), IdentityState::Verified);
    let stranger = "A".repeat(43);
    assert!(!at(&mut world, second, |it, step| it.verify_own_master(&stranger, step)).unwrap());
}

#[test]
fn private_keys_that_fit_make_a_new_device_one_of_ours_and_others_are_not_kept() {
    let mut world = pair();
    let second = world.log_in("@alice:x", "SECOND");
    world.settle();
    bootstrap(&mut world, second);
    for name in [SecretName::SelfSigning, SecretName::UserSigning, SecretName::Master] {
        let wrong = Secret::new([7; 32]);
        let refused =
            at(&mut world, second, |it, step| it.import_signing_secret(name, &wrong, step));
        assert_eq!(refused.unwrap(), Imported::DoesNotFit);
        let secret = at(&mut world, ALICE, |it, step| it.signing_secret(name, step)).unwrap();
        let secret = secret.unwrap();
        let kept = at(&mut world, second, |it, step| it.import_signing_secret(name, &secret, step));
        assert_eq!(kept.unwrap(), Imported::Kept);
    }
    world.settle();
    assert!(at(&mut world, second, |machine, step| machine.is_cross_signed(step)).unwrap());
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
        at(world, ALICE, |it, step| it.sign_own_device(&device, key, step)).unwrap()
    };
    assert_eq!(sign(&mut world, &"A".repeat(43)), Signed::NotCurrent);
    assert_eq!(sign(&mut world, &key), Signed::Yes);
    world.settle();
    look(&mut world, second, "@alice:x");
    assert!(at(&mut world, second, |machine, step| machine.is_cross_signed(step)).unwrap());
}

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
    let left = at(&mut world, ALICE, |it, step| it.left_out(&room(), &to_both(), step)).unwrap();
    assert_eq!((left.0, left.1.len()), (2, 1));
    assert_eq!(left.1[0].reason, LeftOutReason::Unsigned);
}

fn session(world: &mut World, client: usize) -> String {
    at(world, client, |it, step| it.outbound(&room(), step).unwrap().unwrap().id.clone())
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
        at(world, ALICE, |it, step| it.set_device_policy(Some(&room()), devices, step)).unwrap();
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
    at(&mut world, second, |it, step| it.set_device_policy(None, all, step)).unwrap();
    assert_eq!(prepare(&mut world, second), Ok(true));
    let mut lonely = World::new(&["@alice:x", "@bob:x"]);
    encrypt(&mut lonely);
    assert_eq!(prepare(&mut lonely, ALICE), Err(ShareError::NoOwnIdentity));
}

#[test]
fn a_message_waits_while_the_first_identity_is_made() {
    let mut world = World::new(&["@alice:x", "@bob:x"]);
    encrypt(&mut world);
    at(&mut world, ALICE, Machine::bootstrap_cross_signing).unwrap();
    let ready = at(&mut world, ALICE, |machine, step| {
        machine.prepare_room(&room(), &to_both(), step).map(|it| matches!(it, Readiness::Ready(_)))
    });
    assert_eq!(ready, Ok(false));
    world.settle();
    let told = world.clients[ALICE].take_notices();
    assert!(told.contains(&Notice::RoomMayBeReady(room())));
    assert_eq!(prepare(&mut world, ALICE), Ok(true));
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
        at(&mut world, ALICE, |_, step| crate::e2ee::devices::devices_of(bob, step).unwrap().len());
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

#[test]
fn a_blocked_device_is_told_so_though_it_is_signed() {
    let mut world = pair();
    let (bob, device) = world.clients[BOB].name();
    assert!(at(&mut world, ALICE, |it, step| it.block_device(&bob, &device, step)).unwrap());
    assert_eq!(prepare(&mut world, ALICE), Ok(true));
    assert_eq!(withheld(&world, "m.blacklisted"), 1);
    let left = at(&mut world, ALICE, |it, step| it.left_out(&room(), &to_both(), step)).unwrap();
    assert_eq!(left.1[0].reason, LeftOutReason::Blocked);
}

#[test]
fn a_signature_that_the_server_does_not_take_is_made_again_but_not_for_ever() {
    let mut world = World::new(&["@alice:x"]);
    at(&mut world, ALICE, Machine::bootstrap_cross_signing).unwrap();
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
        at(&mut world, ALICE, |machine, step| {
            let answer = answer.as_ref().map(String::as_str).map_err(Clone::clone);
            machine.receive_response(&request.id, answer, step)
        })
        .unwrap();
    }
    assert_eq!(refused, 5);
    world.clients[ALICE].restart(world.now);
    look(&mut world, ALICE, "@alice:x");
    assert!(at(&mut world, ALICE, |machine, step| machine.is_cross_signed(step)).unwrap());
}

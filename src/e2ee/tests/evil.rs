//! Whole lives of an account under a server that lies: all that leaves is looked at, byte for byte.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};
use vodozemac::{
    megolm::{GroupSession, InboundGroupSession, SessionConfig},
    olm::Account,
    pk_encryption::PkDecryption,
};

use super::{
    account_server::Backup,
    forger::{device_keys, signed},
    harness::{Client, World},
};
use crate::{
    e2ee::{
        Alarm, HistoryVisibility, Machine, Notice, OutgoingRequest, Readiness, Recipients,
        RecoverySecret, RequestKind, Table,
        cross_signing::{SecretName, Signed},
    },
    matrix::{Event, OwnedDeviceId, OwnedRoomId, OwnedUserId, RoomId},
    secret::Secret,
};

const ALICE: usize = 0;
const BOB: usize = 1;

fn room() -> OwnedRoomId {
    RoomId::parse("!room:x").unwrap()
}

/// Alice and Bob with identities; Alice with a recovery key, a backup and an encrypted room.
fn world() -> (World, Secret<String>) {
    let mut world = World::new(&["@alice:x", "@bob:x"]);
    for client in [ALICE, BOB] {
        world.at(client, Machine::bootstrap_cross_signing).unwrap();
        world.settle();
    }
    world.acquaint(ALICE, BOB);
    world.acquaint(BOB, ALICE);
    world.has_encrypted(ALICE, &room());
    let key = world.at(ALICE, |it, step| it.create_secret_storage(None, step)).unwrap();
    world.rest();
    world.at(ALICE, Machine::create_backup).unwrap();
    world.rest();
    (world, key)
}

/// Shares the room's key with everybody who may have it.
fn share(world: &mut World) {
    let joined = world.clients.iter().map(|client| client.user.clone()).collect();
    let to = Recipients { joined, ..Recipients::default() };
    for _ in 0..5 {
        let ready = world.at(ALICE, |machine, step| {
            matches!(machine.prepare_room(&room(), &to, step).unwrap(), Readiness::Ready(_))
        });
        world.rest();
        if ready {
            return;
        }
    }
    panic!("the room never gets ready");
}

/// The server makes a device up, with keys of its own, one-time keys too.
fn make_up(world: &mut World, user: &OwnedUserId, device: &str) -> Account {
    make_up_as(world, user, device, |_| {})
}

/// The same; `change` may say more of it before it is signed.
fn make_up_as(
    world: &mut World,
    user: &OwnedUserId,
    device: &str,
    change: impl FnOnce(&mut Value),
) -> Account {
    let olm = Account::new();
    let object = device_keys(user.as_str(), device, &olm, change);
    let id = OwnedDeviceId::from(device);
    world.server.device_keys.get_mut(user).unwrap().insert(id.clone(), object);
    let key = json!({ "key": Account::new().curve25519_key().to_base64() });
    let key = signed(&key, user, &format!("ed25519:{device}"), &olm);
    let kept = world.server.kept.entry((user.clone(), id)).or_default();
    kept.one_time_keys.push_back(("signed_curve25519:AAAAAA".to_owned(), key));
    world.server.announcements.push(user.clone());
    olm
}

fn sent_by(world: &World, client: usize) -> impl Iterator<Item = &OutgoingRequest> {
    let name = world.clients[client].name();
    world.server.served.iter().filter(move |(from, _)| *from == name).map(|(_, it)| it)
}

fn exported() -> String {
    let group = GroupSession::new(SessionConfig::version_1());
    let mut session = InboundGroupSession::new(&group.session_key(), SessionConfig::version_1());
    json!({
        "algorithm": "m.megolm.v1.aes-sha2", "room_id": room(), "sender_key": "claimed",
        "session_id": group.session_id(), "sender_claimed_keys": { "ed25519": "claimed" },
        "forwarding_curve25519_key_chain": [], "session_key": session.export_at(0).unwrap(),
    })
    .to_string()
}

/// How often a client wrote keys to a backup.
fn uploads(world: &World, client: usize) -> usize {
    let writes = sent_by(world, client).filter(|it| it.kind == RequestKind::BackupWrite);
    writes.filter(|it| it.method == "PUT").count()
}

// for a friend and for ourselves, in all that a device may be sent.
#[test]
fn nothing_that_leaves_is_for_a_device_that_the_server_made_up() {
    let (mut world, _) = world();
    share(&mut world);
    let users = [ALICE, BOB].map(|client| world.clients[client].user.clone());
    let ghosts = users.clone().map(|user| make_up(&mut world, &user, "GHOST"));
    world.settle();
    world.at(ALICE, |machine, step| machine.discard_session(&room(), step)).unwrap();
    share(&mut world);
    // It asks for secrets and room keys in the name of Alice, too.
    let alice = world.clients[ALICE].name();
    for name in SecretName::PASSED {
        let ask = json!({ "action": "request", "name": name.as_str(), "request_id": name.as_str(),
            "requesting_device_id": "GHOST" });
        world.server.put_in_inbox(&alice, "m.secret.request", &alice.0, ask);
    }
    let ask = json!({ "action": "request", "request_id": "1", "requesting_device_id": "GHOST",
        "body": { "algorithm": "m.megolm.v1.aes-sha2", "room_id": room(), "session_id": "any" } });
    world.server.put_in_inbox(&alice, "m.room_key_request", &alice.0, ask);
    world.at(ALICE, Machine::request_secrets).unwrap();
    let seen = HistoryVisibility::Shared;
    drop(world.at(ALICE, |it, step| it.history_bundle((&room(), &users[1]), seen, step)));
    world.rest();
    for (ghost, user) in ghosts.iter().zip(&users) {
        let key = ghost.curve25519_key().to_base64();
        for request in sent_by(&world, ALICE) {
            assert!(!request.body.contains(&key), "{} for {user}", request.path);
            let is_secret = request.kind == RequestKind::ToDevice
                && !request.path.contains("withheld")
                && request.body.contains("GHOST");
            assert!(!is_secret, "{}: {}", request.path, request.body);
        }
    }
    let withheld = sent_by(&world, ALICE).filter(|it| it.path.contains("m.room_key.withheld"));
    let withheld: Vec<_> = withheld.filter(|it| it.body.contains("m.unverified")).collect();
    assert!((1..5).contains(&withheld.len()), "it is told, and not without end");
    let alarm = Notice::Alarm(Alarm::NewOwnDevice("GHOST".into()));
    assert!(world.clients[ALICE].take_notices().contains(&alarm));
}

// nobody sits at a dehydrated device, so that nobody there can have asked.
#[test]
fn a_dehydrated_device_gets_no_secret_although_it_is_signed() {
    for is_dehydrated in [false, true] {
        let (mut world, _) = world();
        let alice = world.clients[ALICE].name();
        let olm = make_up_as(&mut world, &alice.0, "SLEEPER", |it| {
            if is_dehydrated {
                it["dehydrated"] = json!(true);
            }
        });
        world.settle();
        let (device, key) = (OwnedDeviceId::from("SLEEPER"), olm.ed25519_key().to_base64());
        let signed = world.at(ALICE, |it, step| it.sign_own_device(&device, &key, step));
        assert_eq!(signed.unwrap(), Signed::Yes);
        world.rest();
        let ask = json!({ "action": "request", "name": SecretName::Master.as_str(),
            "request_id": "1", "requesting_device_id": device });
        world.server.put_in_inbox(&alice, "m.secret.request", &alice.0, ask);
        world.rest();
        let sealed = sent_by(&world, ALICE).filter(|it| it.path.contains("m.room.encrypted"));
        let got = sealed.filter(|it| it.body.contains("SLEEPER")).count();
        assert_eq!(got, usize::from(!is_dehydrated), "dehydrated: {is_dehydrated}");
    }
}

/// The common spellings of 32 bytes.
fn spellings(secret: &[u8; 32]) -> [String; 4] {
    let hex = |upper: bool| -> String {
        let digit = |byte: &u8| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
        secret.iter().map(digit).collect()
    };
    let base64 = STANDARD.encode(secret).trim_end_matches('=').to_owned();
    [base64, URL_SAFE_NO_PAD.encode(secret), hex(false), hex(true)]
}

// what the server gets to see of set-up, backup, recovery and the passing of secrets.
#[test]
fn no_request_of_a_whole_life_holds_a_secret_that_can_be_read() {
    let (mut world, key) = world();
    share(&mut world);
    let second = world.log_in("@alice:x", "SECOND");
    world.settle();
    let typed = RecoverySecret::typed(key.clone());
    world.at(second, |it, step| it.open_secret_storage(typed, step)).unwrap();
    world.rest();
    let third = signed_device(&mut world, "THIRD");
    world.at(third, Machine::request_secrets).unwrap();
    world.rest();
    let mut secrets = vec![key.expose().clone(), key.expose().replace(' ', "")];
    for name in SecretName::PASSED {
        for client in [second, third] {
            let held = world.at(client, |it, step| it.held_secret(name, step)).unwrap();
            let held = held.unwrap_or_else(|| panic!("{name:?} never came to {client}"));
            secrets.extend(spellings(held.expose()));
        }
    }
    for (from, request) in &world.server.served {
        let query = format!("{:?}", request.query);
        for secret in &secrets {
            let shown = [&request.path, &request.body, &query].map(|text| text.contains(secret));
            assert_eq!(shown, [false; 3], "{} {} of {from:?}", request.method, request.path);
        }
    }
}

/// A backup of the server's own; `signatures` are those it shows.
fn swapped(signatures: impl FnOnce(&Value) -> Value) -> Backup {
    let key = PkDecryption::new().public_key().to_base64();
    let mut data = json!({ "public_key": key });
    data["signatures"] = signatures(&data)["signatures"].take();
    let about = json!({
        "algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": data,
    });
    Backup { about, ..Backup::default() }
}

fn refuses(world: &mut World, client: usize, what: &str) {
    world
        .at(client, |it, step| it.import_sessions([exported().as_str()].into_iter(), step))
        .unwrap();
    world.at(client, Machine::flush_backup).unwrap();
    world.rest();
    let now = world.now;
    world.clients[client].restart(now);
    world.rest();
    assert_eq!(uploads(world, client), 0, "{what}");
    let state = world.at(client, |it, step| it.backup_state(step)).unwrap();
    assert!(!state.trusted && !state.connected, "{what}: {state:?}");
}

//
#[test]
fn recovery_does_not_lead_into_a_backup_that_the_server_put_there() {
    type Signs = fn(&mut World, &Value) -> Value;
    let cases: [(&str, Signs); 4] = [
        ("unsigned", |_, _| json!({ "signatures": {} })),
        ("signed by a device of ours that it made up", |world, data| {
            let alice = world.clients[ALICE].user.clone();
            let ghost = make_up(world, &alice, "GHOST");
            signed(data, &alice, "ed25519:GHOST", &ghost)
        }),
        ("under the name of our master key", |world, data| {
            let alice = world.clients[ALICE].user.clone();
            let keys = &world.server.identities["master_keys"][&alice]["keys"];
            let name = keys.as_object().unwrap().keys().next().unwrap().clone();
            signed(data, &alice, &name, &Account::new())
        }),
        ("signed by another user with an identity", |world, data| {
            let ghost = Account::new();
            let bob = world.clients[BOB].user.clone();
            signed(data, &bob, "ed25519:GHOST", &ghost)
        }),
    ];
    for (what, signs) in cases {
        let (mut world, key) = world();
        let backup = swapped(|data| signs(&mut world, data));
        let alice = world.clients[ALICE].user.clone();
        world.server.backups.insert(alice, vec![backup]);
        let second = world.log_in("@alice:x", "SECOND");
        world.settle();
        let typed = RecoverySecret::typed(key.clone());
        world.at(second, |it, step| it.open_secret_storage(typed, step)).unwrap();
        world.rest();
        refuses(&mut world, second, what);
    }
}

// the MAC of secret storage does not cover the IV.
#[test]
fn a_backup_key_bent_in_secret_storage_is_not_taken() {
    let (mut world, key) = world();
    let alice = world.clients[ALICE].user.clone();
    let data = |world: &mut World, kind: &str| {
        let name = (alice.clone(), kind.to_owned());
        world.server.account_data.get(&name).unwrap().clone()
    };
    let id = data(&mut world, "m.secret_storage.default_key")["key"].as_str().unwrap().to_owned();
    let mut bent = data(&mut world, "m.megolm_backup.v1");
    let iv = &mut bent["encrypted"][&id]["iv"];
    let mut bytes = vodozemac::base64_decode(iv.as_str().unwrap().trim_end_matches('=')).unwrap();
    bytes[15] ^= 1;
    *iv = json!(STANDARD.encode(bytes));
    world.server.account_data.insert((alice.clone(), "m.megolm_backup.v1".to_owned()), bent);
    let second = world.log_in("@alice:x", "SECOND");
    world.settle();
    let typed = RecoverySecret::typed(key);
    world.at(second, |it, step| it.open_secret_storage(typed, step)).unwrap();
    world.rest();
    let state = world.at(second, |it, step| it.backup_state(step)).unwrap();
    assert!(!state.connected, "{state:?}");
    assert!(state.problem.is_some(), "and it is told");
    let held = SecretName::BackupKey;
    assert_eq!(world.at(second, |it, step| it.held_secret(held, step)).unwrap(), None);
}

//
#[test]
fn a_server_that_says_backups_are_off_neither_ends_nor_replaces_one() {
    let (mut world, _) = world();
    let alice = world.clients[ALICE].user.clone();
    let off = (alice.clone(), "m.key_backup".to_owned());
    world.server.account_data.insert(off, json!({ "enabled": false }));
    let before = uploads(&world, ALICE);
    let now = world.now;
    world.clients[ALICE].restart(now);
    world
        .at(ALICE, |it, step| it.import_sessions([exported().as_str()].into_iter(), step))
        .unwrap();
    world.rest();
    let state = world.at(ALICE, |it, step| it.backup_state(step)).unwrap();
    assert!(state.connected && state.trusted, "{state:?}");
    assert!(before < uploads(&world, ALICE));
    assert_eq!(world.server.backups[&alice].len(), 1);
}

// also after a restart, and whatever the server says of the first event meanwhile.
#[test]
fn a_message_that_was_removed_cannot_be_shown_again_under_another_id() {
    let mut group = GroupSession::new(SessionConfig::version_1());
    let mut bob = Client::new("@b:x", "B", crate::time::Timestamp(1_800_000_000_000));
    let now = crate::time::Timestamp(1_800_000_000_000);
    let mut session = InboundGroupSession::new(&group.session_key(), SessionConfig::version_1());
    let key = json!({
        "algorithm": "m.megolm.v1.aes-sha2", "room_id": room(), "sender_key": "claimed",
        "session_id": group.session_id(), "sender_claimed_keys": { "ed25519": "claimed" },
        "forwarding_curve25519_key_chain": [], "session_key": session.export_at(0).unwrap(),
    })
    .to_string();
    bob.step(now, |it, step| it.import_sessions([key.as_str()].into_iter(), step)).unwrap();
    let plain = json!({ "type": "m.room.message", "room_id": room(), "content": { "body": "x" } });
    let content = json!({ "algorithm": "m.megolm.v1.aes-sha2", "session_id": group.session_id(),
        "ciphertext": group.encrypt(plain.to_string()).to_base64() });
    let read = |bob: &mut Client, id: &str| {
        let event: Event = serde_json::from_value(json!({ "type": "m.room.encrypted",
            "event_id": id, "sender": "@a:x", "origin_server_ts": 1, "content": content }))
        .unwrap();
        let read = bob.step(now, |it, step| it.decrypt_event(&room(), &event, step)).unwrap();
        matches!(read, crate::e2ee::Decryption::Decrypted(_))
    };
    assert!(read(&mut bob, "$first"));
    // The event is redacted: nothing of it comes here, and the index stays its own.
    for _ in 0..2 {
        bob.restart(now);
        bob.step(now, |it, step| it.import_sessions([key.as_str()].into_iter(), step)).unwrap();
        assert!(!read(&mut bob, "$again"));
    }
}

/// A later device of Alice, which her first signs and which trusts her identity; without keys.
fn signed_device(world: &mut World, device: &str) -> usize {
    let place = world.log_in("@alice:x", device);
    world.settle();
    let own = world.clients[ALICE].user.clone();
    let (id, key) = {
        let client = &world.clients[place];
        (client.device.clone(), client.machine.core.account.ed25519().to_base64())
    };
    world.at(ALICE, |it, step| it.sign_own_device(&id, &key, step)).unwrap();
    world.rest();
    let master = world.at(ALICE, |it, step| it.identity_status(&own, step)).unwrap();
    let master = master.master_key.unwrap();
    world.at(place, |it, step| it.verify_own_master(&master, step)).unwrap();
    world.rest();
    place
}

/// The id of the request of `client` that waits for the master key.
fn waiting(world: &World, client: usize) -> String {
    let records = world.clients[client].records.0.iter();
    let mut asked = records.filter(|((table, _), _)| *table == Table::SecretRequest);
    let found = asked.find(|(_, value)| {
        let record: Value = serde_json::from_slice(value).unwrap();
        record["name"] == "m.cross_signing.master"
    });
    found.unwrap().0.1.0.clone()
}

// the secret is the right one; what is wrong is who sends it.
#[test]
fn the_right_secret_of_a_device_that_was_not_asked_or_is_blocked_is_not_taken() {
    let (mut world, _) = world();
    let second = signed_device(&mut world, "SECOND");
    let master = SecretName::Master;
    let secret = world.at(ALICE, |it, step| it.held_secret(master, step)).unwrap().unwrap();
    let secret = STANDARD.encode(secret.expose());
    world.at(second, Machine::request_secrets).unwrap();
    let id = waiting(&world, second);
    // Signed by the same identity, and later than the question.
    world.clients[ALICE].outbox.clear();
    let third = world.log_in("@alice:x", "THIRD");
    while world.send_one(third) {}
    let (name, key) = {
        let client = &world.clients[third];
        (client.device.clone(), client.machine.core.account.ed25519().to_base64())
    };
    let now = world.now;
    world.server.sync(&mut world.clients[ALICE], now);
    while world.send_one(ALICE) {}
    world.at(ALICE, |it, step| it.sign_own_device(&name, &key, step)).unwrap();
    while world.send_one(ALICE) {}
    for client in [second, third] {
        world.server.sync(&mut world.clients[client], now);
        while world.send_one(client) {}
    }
    let content = json!({ "request_id": id, "secret": secret });
    let held = |world: &mut World| {
        world.at(second, |it, step| it.held_secret(master, step)).unwrap().is_some()
    };
    assert!(!held(&mut world));
    world.send_olm(third, second, "m.secret.send", &content);
    world.server.sync(&mut world.clients[second], now);
    assert!(!held(&mut world), "it was not asked");
    let first = world.clients[ALICE].name();
    world.at(second, |it, step| it.block_device(&first.0, &first.1, step)).unwrap();
    world.send_olm(ALICE, second, "m.secret.send", &content);
    world.server.sync(&mut world.clients[second], now);
    assert!(!held(&mut world), "it was blocked since");
    world.at(second, |it, step| it.unblock_device(&first.0, &first.1, step)).unwrap();
    world.send_olm(ALICE, second, "m.secret.send", &content);
    world.server.sync(&mut world.clients[second], now);
    assert!(held(&mut world), "it is the right one");
}

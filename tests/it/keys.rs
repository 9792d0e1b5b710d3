//! Room keys between the devices of one account: by key file, and by the key backup.

use std::{io::Write as _, os::unix::fs::PermissionsExt as _, path::PathBuf};

use grotto::e2ee::KeyFileWriter;
use serde_json::{Value, json};
use vodozemac::megolm::{GroupSession, InboundGroupSession, SessionConfig};

use crate::{
    grotto::Grotto,
    headless::{fails, play, send},
    homeserver::{On, Place},
    recovery::{recover, set_up},
    rig, scenario,
};

scenario::on_both! {
    a_key_file_makes_old_messages_readable_on_another_device,
    after_the_recovery_key_every_old_message_is_readable_by_itself,
}

/// A file that holds this line.
fn line_in(grotto: &Grotto, name: &str, line: &str) -> PathBuf {
    let path = grotto.home.join(name);
    writeln!(std::fs::File::create(&path).unwrap(), "{line}").unwrap();
    path
}

/// How an event stands in the history of a room.
pub(crate) fn seen(grotto: &Grotto, room: &str, event: &str) -> Value {
    let lines = grotto.json(&["history", room, "--limit", "30"]);
    lines.into_iter().find(|line| line["event_id"] == event).expect("the event")
}

fn a_key_file_makes_old_messages_readable_on_another_device(on: On) {
    let place = on.shared();
    let scene = play(&place.base, Grotto::log_in(place, "alice"));
    let event = send(&scene.alice, &[&scene.room, "long ago"]);
    let later = Grotto::log_in_again(place, &scene.alice.user);
    assert_eq!(seen(&later, &scene.room, &event)["type"], "undecryptable");

    let passphrase = line_in(&later, "passphrase", "a long passphrase");
    let passphrase = ["--file-passphrase-file", passphrase.to_str().unwrap()];
    let file = later.home.join("keys.txt");
    let file = file.to_str().unwrap();
    let export = [&["keys", "export", file][..], &passphrase].concat();
    let exported = scene.alice.json(&export).remove(0);
    assert!(exported["keys"].as_u64().unwrap() >= 2, "{exported}");
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    fails(&scene.alice.run(&export), 1, "exists");

    let wrong = line_in(&later, "wrong", "another passphrase");
    let wrong = ["keys", "import", file, "--file-passphrase-file", wrong.to_str().unwrap()];
    fails(&later.run(&wrong), 1, "passphrase");
    let import = [&["keys", "import", file][..], &passphrase].concat();
    let counts = later.json(&import).remove(0);
    assert_eq!((&counts["improved"], &counts["refused"]), (&exported["keys"], &0.into()));
    let line = seen(&later, &scene.room, &event);
    assert_eq!((line["body"].as_str(), line["shield"].as_str()), (Some("long ago"), Some("grey")));
    assert_eq!(later.json(&import).remove(0)["known"], exported["keys"]);
    assert_eq!(later.json(&["keys", "status"]).remove(0)["undecryptable"], serde_json::json!({}));
}

/// Rooms, and messages of each, every one with a session of its own.
const ROOMS: usize = 20;
const MESSAGES: usize = 10;

/// An account with many encrypted rooms whose keys are in its backup; the recovery key, and a room.
fn long_life(place: &Place, grotto: &Grotto) -> (String, String) {
    let key = set_up(grotto);
    let token = rig::log_in(&place.base, &grotto.user, rig::PASSWORD);
    let mut writer = KeyFileWriter::new(Vec::new(), "passphrase").unwrap();
    let mut last = String::new();
    for _ in 0..ROOMS {
        let encrypted = json!({ "initial_state": [{
            "type": "m.room.encryption", "state_key": "",
            "content": { "algorithm": "m.megolm.v1.aes-sha2" },
        }] });
        let made = rig::http(
            &place.base,
            "POST",
            "/_matrix/client/v3/createRoom",
            Some(&token),
            &encrypted,
        );
        last = made["room_id"].as_str().unwrap().to_owned();
        for number in 0..MESSAGES {
            let mut group = GroupSession::new(SessionConfig::version_1());
            let mut copy =
                InboundGroupSession::new(&group.session_key(), SessionConfig::version_1());
            let session = json!({
                "algorithm": "m.megolm.v1.aes-sha2", "room_id": last,
                "session_id": group.session_id(), "sender_key": "key",
                "sender_claimed_keys": {}, "forwarding_curve25519_key_chain": [],
                "session_key": copy.export_at(0).unwrap(),
            });
            writer.push(&session.to_string()).unwrap();
            let content = json!({ "msgtype": "m.text", "body": format!("old {number}") });
            let plain = json!({ "type": "m.room.message", "content": content, "room_id": last });
            let sealed = json!({
                "algorithm": "m.megolm.v1.aes-sha2", "session_id": group.session_id(),
                "ciphertext": group.encrypt(plain.to_string()).to_base64(),
            });
            let path = format!("/_matrix/client/v3/rooms/{last}/send/m.room.encrypted/{number}");
            let sent = rig::http(&place.base, "PUT", &path, Some(&token), &sealed);
            assert!(sent["event_id"].is_string(), "{sent}");
        }
    }
    let file = grotto.home.join("all-keys");
    std::fs::write(&file, writer.finish().unwrap()).unwrap();
    let passphrase = line_in(grotto, "passphrase", "passphrase");
    let passphrase = passphrase.to_str().unwrap();
    let file = file.to_str().unwrap();
    let counts = grotto.json(&["keys", "import", file, "--file-passphrase-file", passphrase]);
    assert_eq!(counts[0]["improved"], ROOMS * MESSAGES);
    for _ in 0..1_000 {
        if grotto.json(&["keys", "status"])[0]["backup"]["to_upload"] == 0 {
            return (key, last);
        }
    }
    panic!("the keys never came to the backup");
}

/// The recovery key once, and everything is readable: what the first sync brought, and what is
/// loaded later.
fn after_the_recovery_key_every_old_message_is_readable_by_itself(on: On) {
    let place = on.shared();
    let old = Grotto::log_in(place, "longlife");
    let (key, room) = long_life(place, &old);
    let new = Grotto::log_in_again(place, &old.user);
    let before = new.json(&["keys", "status"]).remove(0);
    assert!(before["undecryptable"]["before_login"].as_u64().unwrap() >= ROOMS as u64, "{before}");
    let recovered = recover(&new, &key);
    assert_eq!(recovered["keys_restored"], ROOMS * MESSAGES, "{recovered}");
    let after = new.json(&["keys", "status"]).remove(0);
    assert_eq!(after["undecryptable"], json!({}), "{after}");
    let lines = new.json(&["history", &room, "--limit", "100"]);
    let readable = lines.iter().filter(|line| line["type"] == "message").count();
    assert_eq!(readable, MESSAGES, "{lines:?}");
}

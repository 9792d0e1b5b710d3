//! Room keys between the devices of one account: by key file, and by the key backup.

use std::{io::Write as _, os::unix::fs::PermissionsExt as _, path::PathBuf};

use serde_json::Value;

use crate::{
    grotto::Grotto,
    headless::{fails, play, send},
    homeserver::On,
    scenario,
};

scenario::on_both! {
    a_key_file_makes_old_messages_readable_on_another_device,
}

/// A file that holds this line.
pub(crate) fn line_in(grotto: &Grotto, name: &str, line: &str) -> PathBuf {
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

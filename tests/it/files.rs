//! Files there and back: with a client that nobody here wrote, over connections that break, past
//! programs that die.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    cutter::{Cut, Cutter},
    grotto::Grotto,
    headless::{Scene, fails, play, said},
    homeserver::On,
    rig::{self, Lines, Peer, http},
    scenario,
};

scenario::everywhere! {
    encrypted_files_go_both_ways_between_grotto_and_matrix_nio,
}

scenario::on_both! {
    encrypted_files_go_both_ways_between_grotto_and_matrix_sdk_crypto,
    a_file_in_a_room_that_is_not_encrypted_goes_and_comes_as_it_is,
    a_file_arrives_once_although_the_link_breaks_in_it,
    a_file_arrives_once_although_its_program_is_killed,
    what_cannot_be_sent_or_saved_is_said_in_words,
}

/// A file of so many bytes that no other has.
fn file(folder: &Path, name: &str, size: usize) -> PathBuf {
    let mut bytes = vec![0; size];
    getrandom::fill(&mut bytes).unwrap();
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn sha256(path: impl AsRef<Path>) -> String {
    let digest = Sha256::digest(fs::read(path).unwrap());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Sends a file; its event.
fn send_file(alice: &Grotto, room: &str, path: &Path, more: &[&str]) -> String {
    let sent = alice.json(&[&["send", room, "--file", text(path)], more].concat());
    sent[0]["event_id"].as_str().unwrap().to_owned()
}

fn alice_reads_a_file_of(size: usize, scene: &mut Scene, saved: &Path) {
    let Scene { alice, tail, bob, room } = scene;
    let name = format!("from-bob-{size}.bin");
    let sent = bob.ask(json!({"do": "upload", "room": room, "size": size, "name": name}));
    let line = tail.find("bob's file", |line| line["event_id"] == sent["event"]);
    assert_eq!(line["file"]["size"], size, "{line}");
    // By the process that holds the account, and by one of its own.
    let event = sent["event"].as_str().unwrap();
    let got = alice.json(&["download", room, event, "--to", text(saved)]);
    assert_eq!((&got[0]["size"], &got[0]["encrypted"]), (&json!(size), &json!(true)));
    assert_eq!(sha256(got[0]["path"].as_str().unwrap()), sent["sha256"]);
    let output = alice.run(&["download", room, event, "--to", "-"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(output.stdout, fs::read(saved.join(&name)).unwrap());
}

fn bob_reads_a_file(path: &Path, kind: &str, scene: &mut Scene) {
    let Scene { alice, bob, room, .. } = scene;
    send_file(alice, room, path, &["a *caption*"]);
    let name = path.file_name().unwrap().to_str().unwrap();
    let heard = bob.find("alice's file", |line| line["content"]["filename"] == name);
    let content = &heard["content"];
    assert_eq!((&content["msgtype"], &content["body"]), (&json!(kind), &json!("a *caption*")));
    assert!(content["file"]["url"].is_string() && content.get("url").is_none(), "{heard}");
    if fs::metadata(path).unwrap().len() > 0 {
        let got = bob.ask(json!({"do": "download", "content": content}));
        assert_eq!(got["sha256"], sha256(path), "{got}");
    }
}

fn encrypted_files_go_both_ways_between_grotto_and_matrix_nio(on: On) {
    let mut scene = play(&on.shared().base, Grotto::log_in(on.shared(), "files"));
    let saved = scene.alice.home.join("saved");
    fs::create_dir(&saved).unwrap();
    for size in [1, 2_500_000] {
        alice_reads_a_file_of(size, &mut scene, &saved);
    }
    for (size, name, kind) in [(0, "empty.txt", "m.file"), (3_000_000, "tune.mp3", "m.audio")] {
        let path = file(&scene.alice.home, name, size);
        bob_reads_a_file(&path, kind, &mut scene);
    }
    let Scene { alice, mut tail, mut bob, room } = scene;
    assert_eq!(tail.terminate(), Some(0));
    let path = file(&alice.home, "alone.png", 70_000);
    let event = send_file(&alice, &room, &path, &[]);
    let heard = bob.hears("alone.png");
    assert_eq!(
        bob.ask(json!({"do": "download", "content": heard["content"]}))["sha256"],
        sha256(&path)
    );
    // The other copy is beside the first, which stays.
    for name in ["alone.png", "alone (2).png"] {
        let got = alice.json(&["download", &room, &event, "--to", text(&saved)]);
        assert_eq!(got[0]["path"], text(&saved.join(name)));
        assert_eq!(sha256(saved.join(name)), sha256(&path));
    }
}

fn encrypted_files_go_both_ways_between_grotto_and_matrix_sdk_crypto(on: On) {
    let place = on.shared();
    let alice = Grotto::log_in(place, "sdkfiles");
    let mut tail = alice.tail();
    tail.find("the link", |line| line["type"] == "link" && line["state"] == "up");
    let mut bob = Peer::cross_signed(&place.base, "sdkbob");
    let created = alice.json(&["create", "--name", "Files", "--invite", &bob.user]);
    let room = created[0]["room_id"].as_str().unwrap();
    bob.find("bob's join", |line| line["k"] == "joined" && line["room"] == room);
    let path = file(&alice.home, "picture.png", 300_000);
    send_file(&alice, room, &path, &[]);
    let heard = bob.hears("picture.png");
    assert_eq!(bob.fetches_file(&heard["content"]), sha256(&path));
    let hash = bob.sends_file(room, "from-sdk.bin", 200_000);
    let line = tail.find("bob's file", |line| line["body"] == "from-sdk.bin");
    let copy = alice.home.join("copy");
    alice.json(&["download", room, line["event_id"].as_str().unwrap(), "--to", text(&copy)]);
    assert_eq!(sha256(&copy), hash);
    assert_eq!(tail.terminate(), Some(0));
}

fn a_file_in_a_room_that_is_not_encrypted_goes_and_comes_as_it_is(on: On) {
    let alice = Grotto::log_in(on.shared(), "clearfiles");
    let created = alice.json(&["create", "--name", "Open", "--unencrypted"]);
    let room = created[0]["room_id"].as_str().unwrap();
    let path = file(&alice.home, "notes.txt", 100_000);
    let event = send_file(&alice, room, &path, &[]);
    let got = alice.json(&["download", room, &event, "--to", text(&alice.home.join("copy"))]);
    assert_eq!(got[0]["encrypted"], false);
    assert_eq!(sha256(alice.home.join("copy")), sha256(&path));
}

fn a_file_arrives_once_although_the_link_breaks_in_it(on: On) {
    let (cutter, through) = Cutter::before(on.shared());
    let Scene { alice, mut tail, mut bob, room } =
        play(&on.shared().base, Grotto::log_in(&through, "cutfiles"));
    let path = file(&alice.home, "cut.bin", 4_000_000);
    cutter.arm(Cut::InsideFile);
    let event = send_file(&alice, &room, &path, &[]);
    assert_eq!(cutter.cuts(), 1);
    let heard = bob.hears("cut.bin");
    assert_eq!(
        bob.ask(json!({"do": "download", "content": heard["content"]}))["sha256"],
        sha256(&path)
    );
    cutter.arm(Cut::InsideDownload);
    let copy = alice.home.join("copy");
    alice.json(&["download", &room, &event, "--to", text(&copy)]);
    assert_eq!((cutter.cuts(), sha256(&copy)), (2, sha256(&path)));
    let left = fs::read_dir(&alice.home).unwrap().map(|entry| entry.unwrap().file_name());
    let parts: Vec<_> = left.filter(|name| name.to_string_lossy().ends_with(".part")).collect();
    assert!(parts.is_empty(), "{parts:?}");
    assert!(!bob.unread().iter().any(|line| line["content"]["body"] == "cut.bin"));
    assert_eq!(tail.terminate(), Some(0));
}

fn a_file_arrives_once_although_its_program_is_killed(on: On) {
    let (cutter, through) = Cutter::before(on.shared());
    let Scene { alice, tail, mut bob, room } =
        play(&on.shared().base, Grotto::log_in(&through, "killfiles"));
    let path = file(&alice.home, "late.bin", 3_000_000);
    cutter.arm(Cut::Mute);
    let mut command =
        alice.command(&["--json", "send", &room, "--file", text(&path), "--txn", "job-1"]);
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let sending = command.spawn().unwrap();
    kill(&tail);
    cutter.arm(Cut::None);
    let output = rig::finish(sending);
    assert!(output.status.success(), "{}", said(&output));
    let sent: Value = serde_json::from_slice(&output.stdout).unwrap();
    let heard = bob.hears("late.bin");
    assert_eq!(heard["event"], sent["event_id"], "{heard}");
    assert_eq!(
        bob.ask(json!({"do": "download", "content": heard["content"]}))["sha256"],
        sha256(&path)
    );
    alice.json(&["send", &room, "after"]);
    bob.hears("after");
    assert!(!bob.unread().iter().any(|line| line["content"]["body"] == "late.bin"));
}

fn kill(tail: &Lines) {
    let pid = Pid::from_raw(i32::try_from(tail.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

fn what_cannot_be_sent_or_saved_is_said_in_words(on: On) {
    let place = on.shared();
    let alice = Grotto::log_in(place, "nofiles");
    let created = alice.json(&["create", "--name", "Odd"]);
    let room = created[0]["room_id"].as_str().unwrap();
    let missing = alice.home.join("missing");
    fails(&alice.run(&["send", room, "--file", text(&missing)]), 1, "cannot be sent");
    fails(&alice.run(&["send", room, "--file", text(&alice.home)]), 1, "no file");
    let talk = alice.json(&["send", room, "no file"]);
    let talk = talk[0]["event_id"].as_str().unwrap();
    fails(&alice.run(&["download", room, talk]), 1, "has no file");
    fails(&alice.run(&["download", room, "$none:example.org"]), 1, "no event");
    fails(&alice.run(&["--json", "download", room, talk, "--to", "-"]), 2, "--json");
    let path = file(&alice.home, "small", 10);
    let event = send_file(&alice, room, &path, &[]);
    let taken = alice.run(&["download", room, &event, "--to", text(&path)]);
    fails(&taken, 1, "nothing was overwritten");
    // Nothing of what is larger than the server takes is sent; it stays as a failed message.
    let token = rig::log_in(&place.base, &alice.user, rig::PASSWORD);
    let config =
        http(&place.base, "GET", "/_matrix/client/v1/media/config", Some(&token), &Value::Null);
    let limit = config["m.upload.size"].as_u64().unwrap();
    let large = fs::File::create(alice.home.join("large")).unwrap();
    large.set_len(limit + 1).unwrap();
    let sent = alice.run(&["send", room, "--file", text(&alice.home.join("large"))]);
    fails(&sent, 1, &format!("at most {limit}"));
}

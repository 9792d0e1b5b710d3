//! The process that holds the account goes away while others work in it, or cannot be reached.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{
    cutter::{Cut, Cutter},
    grotto::Grotto,
    headless::{Scene, fails, play, said, send},
    homeserver::On,
    rig::{self, Lines, PASSWORD},
    scenario,
};

scenario::on_both! {
    a_signal_while_the_account_changes_hands_is_heard,
}
scenario::everywhere! {
    a_message_whose_holder_is_killed_before_the_answer_arrives_once,
    a_message_whose_fate_stays_open_is_exit_code_4_and_names_its_transaction,
    a_runtime_folder_too_deep_for_a_socket_is_no_hindrance,
    what_policy_forbids_is_exit_code_5,
}

/// Alice behind a relay that a test can make mute.
fn behind_a_relay(on: On, name: &str) -> (Scene, Cutter) {
    let place = on.shared();
    let (cutter, through) = Cutter::before(place);
    let mut scene = play(&place.base, Grotto::log_in(&through, name));
    send(&scene.alice, &[&scene.room, "before"]);
    scene.bob.hears("before");
    (scene, cutter)
}

fn kill(tail: &Lines) {
    let pid = Pid::from_raw(i32::try_from(tail.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

fn a_message_whose_holder_is_killed_before_the_answer_arrives_once(on: On) {
    let (Scene { alice, tail, mut bob, room }, cutter) = behind_a_relay(on, "orphan");
    cutter.arm(Cut::Mute);
    let mut command = alice.command(&["--json", "send", &room, "once", "--txn", "job-17"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let sending = command.spawn().unwrap();
    // The server has it, and neither the holder nor its guest heard so.
    bob.hears("once");
    kill(&tail);
    cutter.arm(Cut::None);
    let output = rig::finish(sending);
    assert!(output.status.success(), "{}", said(&output));
    let sent: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(sent["txn"], "job-17");
    let again = send(&alice, &[&room, "once", "--txn", "job-17"]);
    assert_eq!(json!(again), sent["event_id"], "repeated by hand it is the same message");
    send(&alice, &[&room, "after"]);
    bob.hears("after");
    let doubled = bob.unread().iter().any(|line| line["content"]["body"] == "once");
    assert!(!doubled, "{:#?}", bob.unread());
}

fn a_message_whose_fate_stays_open_is_exit_code_4_and_names_its_transaction(on: On) {
    let (Scene { alice, tail, mut bob, room }, cutter) = behind_a_relay(on, "limbo");
    cutter.arm(Cut::Mute);
    let mut command = alice.command(&["send", &room, "open end", "--timeout", "8"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let sending = command.spawn().unwrap();
    bob.hears("open end");
    kill(&tail);
    fails(&rig::finish(sending), 4, "--txn grotto-");
}

fn a_signal_while_the_account_changes_hands_is_heard(on: On) {
    let alice = Grotto::log_in(on.shared(), "hands");
    for _ in 0..8 {
        let [holder, mut guest] = [(); 2].map(|()| {
            let mut tail = alice.tail();
            tail.find("the link", |line| line["type"] == "link" && line["state"] == "up");
            tail
        });
        kill(&holder);
        // It is about to take the account over.
        drop(holder);
        assert_eq!(guest.terminate(), Some(0));
    }
}

fn a_runtime_folder_too_deep_for_a_socket_is_no_hindrance(on: On) {
    let alice = Grotto::log_in(on.shared(), "deep");
    let deep = alice.home.join("d".repeat(120));
    std::fs::create_dir_all(&deep).unwrap();
    let command = |arguments: &[&str]| {
        let mut command = alice.command(arguments);
        command.env("XDG_RUNTIME_DIR", &deep);
        command
    };
    let mut tail = Lines::start(command(&["--json", "tail"]));
    tail.find("the link", |line| line["type"] == "link" && line["state"] == "up");
    let output = command(&["rooms"]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(tail.terminate(), Some(0));
}

fn what_policy_forbids_is_exit_code_5(on: On) {
    let place = on.shared();
    let base = place.base.as_str();
    let alice = Grotto::log_in(place, "strict");
    let token = rig::log_in(base, &alice.user, PASSWORD);
    let unknown = json!({
        "type": "m.room.encryption", "state_key": "", "content": {"algorithm": "org.example.v9"},
    });
    let body = json!({"name": "Odd", "initial_state": [unknown]});
    let path = "/_matrix/client/v3/createRoom";
    let created = rig::http(base, "POST", path, Some(&token), &body);
    let room = created["room_id"].as_str().unwrap_or_else(|| panic!("{created}"));
    fails(&alice.run(&["send", room, "not in clear"]), 5, "org.example.v9");
}

//! `tail` as scripts start it: where it begins, which rooms, and how it ends.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

use grotto::wire::STREAM_PATH;
use serde_json::{Value, json};

use crate::{
    grotto::Grotto,
    headless::{Scene, fails, play, send},
    homeserver::{On, Place},
    rig::{self, GROTTO, Lines, PASSWORD},
    scenario,
};

scenario::everywhere! {
    a_tail_begins_with_what_was_missed_or_with_now_or_with_a_backlog,
    a_tail_of_one_room_tells_of_no_other,
    a_tail_tells_who_types_and_who_has_read,
    a_reader_that_has_enough_ends_the_tail_in_order,
}

scenario::on_both! {
    an_edit_that_may_not_replace_anything_is_told_by_nobody,
    everything_goes_through_a_gateway_that_is_named,
}

fn scene(on: On, name: &str) -> Scene {
    let place = on.shared();
    let base = place.base.as_str();
    play(base, Grotto::log_in(place, name))
}

fn tail(alice: &Grotto, arguments: &[&str]) -> Lines {
    let mut tail = Lines::start(alice.command(&[&["--json", "tail"], arguments].concat()));
    tail.find("the link", |line| line["type"] == "link" && line["state"] == "up");
    tail
}

/// The texts told so far, of those that end with a mark of the test's.
fn told(tail: &mut Lines, mark: &str) -> Vec<String> {
    let bodies = tail.unread().iter().filter_map(|line| line["body"].as_str());
    bodies.filter(|body| body.ends_with(mark)).map(str::to_owned).collect()
}

fn a_tail_begins_with_what_was_missed_or_with_now_or_with_a_backlog(on: On) {
    let Scene { alice, tail: mut first, mut bob, room } = scene(on, "begin");
    bob.say(&room, "one .");
    first.find("one", |line| line["body"] == "one .");
    assert_eq!(first.terminate(), Some(0));
    bob.say(&room, "two .");
    let mut missed = tail(&alice, &[]);
    missed.find("two", |line| line["body"] == "two .");
    assert_eq!(told(&mut missed, " ."), [""; 0], "what was told once is not missed");
    assert_eq!(missed.terminate(), Some(0));
    bob.say(&room, "three .");
    let mut now = tail(&alice, &["--since-start"]);
    bob.say(&room, "four .");
    now.find("four", |line| line["body"] == "four .");
    assert_eq!(told(&mut now, " ."), [""; 0], "what came before its start");
    assert_eq!(now.terminate(), Some(0));
    let mut backlog = tail(&alice, &["--backlog", "3"]);
    bob.say(&room, "five .");
    backlog.find("five", |line| line["body"] == "five .");
    assert_eq!(told(&mut backlog, " ."), ["two .", "three .", "four ."]);
    assert_eq!(backlog.terminate(), Some(0));
}

fn an_edit_that_may_not_replace_anything_is_told_by_nobody(on: On) {
    let place = on.shared();
    let alice = Grotto::log_in(place, "edits");
    let mallory = rig::register(&place.base, "mallory");
    let token = rig::log_in(&place.base, &mallory, PASSWORD);
    let created = alice.json(&["create", "--name", "Plain", "--unencrypted", "--invite", &mallory]);
    let room = created[0]["room_id"].as_str().unwrap();
    let call = |method, path: &str, body: &Value| {
        let path = format!("/_matrix/client/v3/rooms/{room}/{path}");
        rig::http(&place.base, method, &path, Some(&token), body)
    };
    call("POST", "join", &json!({}));
    let target = send(&alice, &[room, "what alice says"]);
    // What it is about is on disk, and nothing that this tail was told.
    let mut tail = tail(&alice, &["--since-start"]);
    let forged = call(
        "PUT",
        "send/m.room.message/forged",
        &json!({
            "msgtype": "m.text", "body": "* what mallory says",
            "m.new_content": { "msgtype": "m.text", "body": "what mallory says" },
            "m.relates_to": { "rel_type": "m.replace", "event_id": target },
        }),
    );
    assert!(forged["event_id"].is_string(), "{forged}");
    send(&alice, &[room, "what alice meant", "--edit", &target]);
    let edit = tail.find("alice's edit", |line| line["type"] == "edit");
    assert_eq!((&edit["body"], &edit["checked"]), (&json!("what alice meant"), &json!(true)));
    assert!(tail.unread().iter().all(|line| line["body"] != "what mallory says"));
    assert_eq!(tail.terminate(), Some(0));
    let history = alice.json(&["history", room]);
    assert!(history.iter().all(|line| line["body"] != "what mallory says"), "{history:#?}");
    assert!(
        history.iter().any(|line| line["body"] == "what alice meant" && line["edited"] == true)
    );
}

fn a_tail_of_one_room_tells_of_no_other(on: On) {
    let Scene { alice, tail: mut first, mut bob, room } = scene(on, "filter");
    assert_eq!(first.terminate(), Some(0));
    let other = alice.json(&["create", "--name", "Shed"])[0]["room_id"].clone();
    let mut only = tail(&alice, &["Shed"]);
    bob.say(&room, "in the garden");
    send(&alice, &["Garden", "from the garden"]);
    send(&alice, &["Shed", "in the shed"]);
    only.find("the shed's", |line| line["body"] == "in the shed");
    let strangers: Vec<_> = only
        .unread()
        .iter()
        .filter(|line| !line["room_id"].is_null() && line["room_id"] != other)
        .collect();
    assert!(strangers.is_empty(), "{strangers:#?}");
    assert_eq!(only.terminate(), Some(0));
    fails(&alice.run(&["tail", "No such room"]), 1, "grotto rooms");
}

fn a_tail_tells_who_types_and_who_has_read(on: On) {
    let Scene { alice, mut tail, bob, room } = scene(on, "ephemeral");
    let base = on.shared().base.as_str();
    let read = send(&alice, &[&room, "read me"]);
    let token = rig::log_in(base, &bob.user, PASSWORD);
    let tell = |method: &str, path: &str, body: Value| {
        let path = format!("/_matrix/client/v3/rooms/{room}/{path}");
        let answer = rig::http(base, method, &path, Some(&token), &body);
        assert_eq!(answer, json!({}), "{path}");
    };
    let typing = format!("typing/{}", bob.user);
    tell("PUT", &typing, json!({"typing": true, "timeout": 30_000}));
    let line = tail.find("typing", |line| line["type"] == "typing");
    assert_eq!((&line["room_id"], &line["users"]), (&json!(room), &json!([bob.user])));
    assert!(line["ts"].is_u64(), "{line}");
    tell("PUT", &typing, json!({"typing": false}));
    let line = tail.find("the end of it", |line| line["type"] == "typing");
    assert_eq!(line["users"], json!([]));
    tell("POST", &format!("receipt/m.read/{read}"), json!({}));
    let line = tail
        .find("a receipt", |line| line["type"] == "receipt" && line["event_id"] == read.as_str());
    assert_eq!((&line["room_id"], &line["user"]), (&json!(room), &json!(bob.user)));
    assert_eq!(tail.terminate(), Some(0));
}

fn a_reader_that_has_enough_ends_the_tail_in_order(on: On) {
    let Scene { alice, tail: mut first, mut bob, room } = scene(on, "head");
    assert_eq!(first.terminate(), Some(0));
    let mut command = alice.command(&["--json", "tail"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.ends_with('\n'), "{line:?}");
    bob.say(&room, "nobody reads this");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
}

#[test]
fn a_closed_standard_output_is_never_a_panic() {
    let commands: [&[&str]; 5] =
        [&["--help"], &["--version"], &["completions", "bash"], &["man"], &["send", "--help"]];
    for arguments in commands {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(GROTTO);
        let output = command.args(arguments).stdout(writer).stderr(Stdio::piped()).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    }
}

fn everything_goes_through_a_gateway_that_is_named(on: On) {
    let place = on.shared();
    let base = place.base.as_str();
    let mut serve = Command::new(GROTTO);
    serve.args(["--json", "gateway", "--homeserver", base, "--listen", "127.0.0.1:0"]);
    let mut gateway = Lines::start(serve);
    let line = gateway.find("its address", |line| line["listening"].is_string());
    let url = format!("ws://{}{STREAM_PATH}", line["listening"].as_str().unwrap());
    let alice = Grotto::log_in(&Place { stream_url: Some(url), ..place.clone() }, "remote");
    let Scene { alice, mut tail, mut bob, room } = play(base, alice);
    send(&alice, &[&room, "through the gateway"]);
    bob.hears("through the gateway");
    bob.say(&room, "and back");
    tail.find("the answer", |line| line["body"] == "and back");
    assert_eq!(gateway.terminate(), Some(0));
    tail.find("the loss", |line| line["type"] == "link" && line["state"] == "down");
    let unsent = alice.run(&["send", &room, "no way", "--timeout", "500ms"]);
    fails(&unsent, 4, "");
    assert_eq!(tail.terminate(), Some(0));
}

//! A new login on an account that was long in use: after the recovery key nothing stays locked that
//! the backup covers, in rooms on screen, in rooms never opened, and in what was never loaded.

use std::collections::BTreeSet;

use grotto::e2ee::KeyFileWriter;
use serde_json::{Value, json};
use vodozemac::megolm::{GroupSession, InboundGroupSession, SessionConfig};

use crate::{
    grotto::Grotto,
    homeserver::{On, Place},
    keys::line_in,
    recovery::{await_backup, recover, second, set_up},
    rig, scenario,
};

scenario::on_both! {
    a_recovery_key_unlocks_every_room_while_a_tail_runs,
    a_recovery_key_unlocks_the_screen_and_the_rooms_behind_it,
}

scenario::on_each_stream! {
    a_client_that_takes_less_than_its_stream_carries_goes_on_and_loses_nothing,
}

scenario::over_http! {
    a_first_sync_larger_than_the_stream_takes_comes_with_fewer_messages,
}

const ROOMS: usize = 8;
/// Of each room; more than a first sync brings of one.
const MESSAGES: usize = 54;
/// Messages of one session.
const OF_A_SESSION: usize = 9;
const SESSIONS: usize = ROOMS * MESSAGES.div_ceil(OF_A_SESSION);

/// An account that was long in use.
struct Life {
    recovery_key: String,
    rooms: Vec<String>,
}

fn text(room: usize, number: usize) -> String {
    format!("letter {number} of attic {room}")
}

/// Lives it: the keys of all messages are in the backup.
fn live(place: &Place, grotto: &Grotto) -> Life {
    let recovery_key = set_up(grotto);
    let token = rig::log_in(&place.base, &grotto.user, rig::PASSWORD);
    let mut keys = KeyFileWriter::new(Vec::new(), "passphrase").unwrap();
    let fill = |room| fill(place, &token, room, &mut keys);
    let rooms = (0..ROOMS).map(fill).collect();
    let file = grotto.home.join("all-keys");
    std::fs::write(&file, keys.finish().unwrap()).unwrap();
    let passphrase = line_in(grotto, "passphrase", "passphrase");
    let (file, passphrase) = (file.to_str().unwrap(), passphrase.to_str().unwrap());
    let counts = grotto.json(&["keys", "import", file, "--file-passphrase-file", passphrase]);
    assert_eq!(counts[0]["improved"], SESSIONS);
    await_backup(grotto);
    Life { recovery_key, rooms }
}

/// Makes a room with messages; its id.
fn fill(place: &Place, token: &str, room: usize, keys: &mut KeyFileWriter<Vec<u8>>) -> String {
    let call = |method, path: &str, body: &Value| {
        rig::http(&place.base, method, &format!("/_matrix/client/v3/{path}"), Some(token), body)
    };
    let encrypted = json!({ "name": format!("Attic {room:02}"), "initial_state": [{
        "type": "m.room.encryption", "state_key": "",
        "content": { "algorithm": "m.megolm.v1.aes-sha2" },
    }] });
    let made = call("POST", "createRoom", &encrypted);
    let id = made["room_id"].as_str().unwrap().to_owned();
    let mut group = GroupSession::new(SessionConfig::version_1());
    for number in 0..MESSAGES {
        if number % OF_A_SESSION == 0 {
            group = GroupSession::new(SessionConfig::version_1());
            keys.push(&key_of(&group, &id)).unwrap();
        }
        let content = json!({ "msgtype": "m.text", "body": text(room, number) });
        let plain = json!({ "type": "m.room.message", "content": content, "room_id": id });
        let sealed = json!({
            "algorithm": "m.megolm.v1.aes-sha2", "session_id": group.session_id(),
            "ciphertext": group.encrypt(plain.to_string()).to_base64(),
        });
        let path = format!("rooms/{id}/send/m.room.encrypted/{number}");
        let sent = call("PUT", &path, &sealed);
        assert!(sent["event_id"].is_string(), "{sent}");
    }
    id
}

/// A session as a key file holds it.
fn key_of(group: &GroupSession, room: &str) -> String {
    let config = SessionConfig::version_1();
    let mut copy = InboundGroupSession::new(&group.session_key(), config);
    json!({
        "algorithm": "m.megolm.v1.aes-sha2", "room_id": room,
        "session_id": group.session_id(), "sender_key": "key",
        "sender_claimed_keys": {}, "forwarding_curve25519_key_chain": [],
        "session_key": copy.export_at(0).unwrap(),
    })
    .to_string()
}

/// How many messages on this device cannot be read, by reason.
fn locked(grotto: &Grotto) -> Value {
    grotto.json(&["keys", "status"]).remove(0)["undecryptable"].take()
}

/// Everything of every room can be read, in order, what is loaded now too.
fn reads_everything(grotto: &Grotto, life: &Life) {
    for (room, id) in life.rooms.iter().enumerate() {
        let lines = grotto.json(&["history", id, "--limit", "200"]);
        let bodies = lines.iter().filter_map(|line| line["body"].as_str());
        let written: Vec<String> = (0..MESSAGES).map(|number| text(room, number)).collect();
        assert_eq!(bodies.collect::<Vec<_>>(), written);
        assert!(lines.iter().all(|line| line["type"] != "undecryptable"), "{id}");
    }
}

fn a_recovery_key_unlocks_every_room_while_a_tail_runs(on: On) {
    let place = on.shared();
    let old = Grotto::log_in(place, "longlife");
    let life = live(place, &old);
    let new = second(place, &old);
    let mut tail = new.tail();
    tail.find("the link", |line| line["type"] == "link" && line["state"] == "up");
    let before = locked(&new)["before_login"].as_u64().unwrap();
    assert!(before >= (ROOMS * 40) as u64, "{before}");

    let recovered = recover(&new, &life.recovery_key);
    assert_eq!(recovered["keys_restored"], SESSIONS, "{recovered}");
    assert_eq!(locked(&new), json!({}));
    let mut told = BTreeSet::new();
    while (told.len() as u64) < before {
        let line = tail.find("all that was locked", |line| line["body"].is_string());
        told.insert(line["body"].as_str().unwrap().to_owned());
    }
    reads_everything(&new, &life);
    assert_eq!(tail.terminate(), Some(0));
}

fn a_recovery_key_unlocks_the_screen_and_the_rooms_behind_it(on: On) {
    let place = on.shared();
    let old = Grotto::log_in(place, "longscreen");
    let life = live(place, &old);
    // What is said of the way there is true, in the bar above the screen as here.
    let words = second(place, &old);
    let file = line_in(&words, "recovery-key", &life.recovery_key);
    let output = words.run(&["recover", "--recovery-key-file", file.to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    let ticks: Vec<(usize, usize)> = said.lines().filter_map(tick).collect();
    assert!(ticks.iter().all(|(done, total)| *total == ROOMS && done < total), "{said}");
    assert!(ticks.is_sorted() && ROOMS / 2 <= ticks.len(), "{said}");

    let new = second(place, &old);
    let mut terminal = new.open((100, 30));
    terminal.shows("Old messages are locked");
    terminal.type_keys("\r");
    terminal.shows("Attic");
    terminal.type_keys("\x1bs");
    terminal.shows("Type the recovery key");
    terminal.type_keys("\r");
    terminal.shows("Recovery key or passphrase");
    terminal.type_keys(&format!("{}\r", life.recovery_key));
    terminal.shows(&format!("letter {} of attic", MESSAGES - 1));
    let is_open = |_| locked(&new) == json!({});
    assert!((0..500).any(is_open), "{}", locked(&new));
    reads_everything(&new, &life);
    terminal.type_keys("\x11");
    assert_eq!(terminal.exit_status(), 0);
}

/// Done and total of a line of progress.
fn tick(line: &str) -> Option<(usize, usize)> {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        [done, "of", total, "conversations'", "keys", "restored"] => {
            Some((done.parse().unwrap(), total.parse().unwrap()))
        }
        _ => None,
    }
}

/// More than a client takes that was told to take little.
const LARGE: usize = 45;

/// A room with nothing in it yet, and a client of its owner that takes 1 MiB.
fn takes_little(place: &Place) -> (Grotto, String, String) {
    let user = rig::register(&place.base, "largelife");
    let token = rig::log_in(&place.base, &user, rig::PASSWORD);
    let path = "/_matrix/client/v3/createRoom";
    let made = rig::http(&place.base, "POST", path, Some(&token), &json!({ "name": "Large" }));
    let room = made["room_id"].as_str().unwrap().to_owned();
    let grotto = Grotto { home: rig::folder("grotto"), user };
    let config = grotto.home.join("xdg_config_home").join("grotto");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("config.toml"), "[limits]\nsync_mib = 1\n").unwrap();
    (grotto, token, room)
}

fn log_in(place: &Place, grotto: &Grotto) {
    let output = grotto.run_with_input(&grotto.login(place), rig::PASSWORD);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn say_much(place: &Place, token: &str, room: &str) {
    for number in 0..LARGE {
        let body =
            json!({ "msgtype": "m.text", "body": format!("{number} {}", "x".repeat(30_000)) });
        let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{number}");
        let sent = rig::http(&place.base, "PUT", &path, Some(token), &body);
        assert!(sent["event_id"].is_string(), "{sent}");
    }
}

fn has_everything(grotto: &Grotto, room: &str) {
    let lines = grotto.json(&["history", room, "--limit", "100"]);
    let bodies = lines.iter().filter_map(|line| line["body"].as_str());
    let numbers = bodies.filter_map(|body| body.split(' ').next()?.parse::<usize>().ok());
    assert!(numbers.eq(0..LARGE), "{}", lines.len());
}

fn a_first_sync_larger_than_the_stream_takes_comes_with_fewer_messages(on: On) {
    let place = on.shared();
    let (grotto, token, room) = takes_little(place);
    say_much(place, &token, &room);
    log_in(place, &grotto);
    has_everything(&grotto, &room);
}

fn a_client_that_takes_less_than_its_stream_carries_goes_on_and_loses_nothing(on: On) {
    let place = on.shared();
    let (grotto, token, room) = takes_little(place);
    log_in(place, &grotto);
    assert_eq!(grotto.json(&["rooms"]).len(), 1);
    say_much(place, &token, &room);
    has_everything(&grotto, &room);
}

//! Verification by the real program: between users in their chat, between devices of one user, by emoji and by code, with
//! another grotto and with matrix-sdk-crypto.

use serde_json::{Value, json};

use crate::{
    grotto::Grotto,
    homeserver::On,
    peer::Flow,
    rig::{self, Lines, Peer, Terminal},
    scenario,
};

scenario::on_both! {
    two_users_verify_each_other_by_emoji,
    a_second_login_is_verified_by_the_first,
    a_second_login_is_verified_by_a_code,
    strings_that_differ_are_exit_code_5,
    matrix_sdk_crypto_is_verified_by_emoji_in_a_chat,
    matrix_sdk_crypto_verifies_us_by_emoji_in_a_chat,
    a_verification_leaves_nothing_unread_and_no_message,
    an_interrupted_verification_is_cancelled_on_the_other_side,
    a_verification_that_nobody_answers_is_cancelled_on_the_other_side,
    an_answer_typed_before_there_was_a_question_is_none,
    test_verification_sas,
    our_device_signs_that_of_matrix_sdk_crypto,
    matrix_sdk_crypto_scans_our_code,
    we_scan_the_code_of_matrix_sdk_crypto,
}

/// `grotto verify` under way.
fn verify(grotto: &Grotto, arguments: &[&str]) -> Lines {
    Lines::start(grotto.command(&[&["--json", "--timeout", "90", "verify"], arguments].concat()))
}

fn step(lines: &mut Lines, step: &str) -> Value {
    lines.find(step, |line| line["step"] == step)
}

fn done(lines: &mut Lines) {
    lines.find("the end", |line| line["done"] == true);
}

/// Names and numbers of the short string.
fn short(line: &Value) -> (Vec<String>, Vec<u64>) {
    let emoji = line["emoji"].as_array().unwrap().iter();
    let names = emoji.map(|emoji| emoji["name"].as_str().unwrap().to_owned()).collect();
    (names, serde_json::from_value(line["decimals"].clone()).unwrap())
}

/// Two people with a direct chat.
fn couple(on: On) -> (Grotto, Grotto) {
    let place = on.shared();
    let (alice, bob) = (Grotto::log_in(place, "alice"), Grotto::log_in(place, "bob"));
    let created = alice.json(&["create", "--dm", "--invite", &bob.user]);
    bob.json(&["join", created[0]["room_id"].as_str().unwrap()]);
    (alice, bob)
}

fn two_users_verify_each_other_by_emoji(on: On) {
    let (alice, bob) = couple(on);
    let mut accepts = verify(&bob, &[&alice.user, "--accept", "--yes"]);
    let mut asks = verify(&alice, &[&bob.user, "--yes"]);
    assert_eq!(short(&step(&mut asks, "compare")), short(&step(&mut accepts, "compare")));
    done(&mut asks);
    done(&mut accepts);
}

fn a_second_login_is_verified_by_the_first(on: On) {
    let place = on.shared();
    let first = Grotto::log_in(place, "alice");
    let second = Grotto::log_in_again(place, &first.user);
    verify_devices(&first, &second);
}

/// Verifies a new device of an account with another one, by emoji.
pub(crate) fn verify_devices(first: &Grotto, second: &Grotto) {
    let mut accepts = verify(first, &[&first.user, "--accept", "--yes"]);
    let mut asks = verify(second, &[&first.user, "--yes"]);
    assert_eq!(short(&step(&mut asks, "compare")), short(&step(&mut accepts, "compare")));
    done(&mut asks);
    done(&mut accepts);
}

fn a_second_login_is_verified_by_a_code(on: On) {
    let place = on.shared();
    let first = Grotto::log_in(place, "alice");
    let second = Grotto::log_in_again(place, &first.user);
    let mut shows = verify(&first, &[&first.user, "--accept", "--qr", "--yes"]);
    let mut scans = verify(&second, &[&first.user, "--qr-data-file", "-"]);
    let code = step(&mut shows, "ready")["data"].as_str().unwrap().to_owned();
    step(&mut scans, "ready");
    scans.type_line(&code);
    step(&mut shows, "scanned");
    done(&mut scans);
    done(&mut shows);
}

fn strings_that_differ_are_exit_code_5(on: On) {
    let (alice, mut bob, room) = with_peer(on);
    let asked = bob.asks_to_verify(&alice.user, &room);
    let mut ours = verify(&alice, &[&bob.user, "--accept", "--yes"]);
    step(&mut ours, "ready");
    bob.starts_sas(&asked);
    bob.compares(&asked);
    bob.rejects(&asked);
    assert_eq!(ours.exit_code(), Some(5));
}

/// Alice by grotto, bob by matrix-sdk-crypto, and their direct chat.
fn with_peer(on: On) -> (Grotto, Peer, String) {
    let place = on.shared();
    let alice = Grotto::log_in(place, "alice");
    let mut bob = Peer::cross_signed(&place.base, "bob");
    let created = alice.json(&["create", "--dm", "--invite", &bob.user]);
    let room = created[0]["room_id"].as_str().unwrap().to_owned();
    bob.find("the invitation", |line| line["k"] == "joined" && line["room"] == room.as_str());
    (alice, bob, room)
}

fn names(peer: &mut Peer, flow: &Flow) -> (Vec<String>, Vec<u64>) {
    let code = peer.compares(flow);
    (code.names, code.decimals)
}

fn matrix_sdk_crypto_is_verified_by_emoji_in_a_chat(on: On) {
    let (alice, mut bob, _room) = with_peer(on);
    let mut asks = verify(&alice, &[&bob.user, "--yes"]);
    let flow = bob.accepts_verification(&alice.user);
    assert_eq!(short(&step(&mut asks, "compare")), names(&mut bob, &flow));
    bob.confirms(&flow);
    done(&mut asks);
    bob.reaches(&flow, "done");
    bob.comes_to_verify(&alice.user);
}

fn matrix_sdk_crypto_verifies_us_by_emoji_in_a_chat(on: On) {
    let (alice, mut bob, room) = with_peer(on);
    let asked = bob.asks_to_verify(&alice.user, &room);
    let mut accepts = verify(&alice, &[&bob.user, "--accept", "--yes"]);
    step(&mut accepts, "ready");
    bob.starts_sas(&asked);
    assert_eq!(short(&step(&mut accepts, "compare")), names(&mut bob, &asked));
    bob.confirms(&asked);
    done(&mut accepts);
    bob.reaches(&asked, "done");
    bob.comes_to_verify(&alice.user);
}

fn test_verification_sas(on: On) {
    let place = on.shared();
    let mut first = Peer::cross_signed(&place.base, "alice");
    let second = Grotto::log_in_again(place, &first.user);
    verify_ours_by_peer(&second, &mut first);
    let user = first.user.clone();
    let opinion = first.opinion_of(&user);
    let devices = opinion["devices"].as_array().unwrap();
    assert!(devices.len() == 2 && devices.iter().all(|it| it["verified"] == true), "{opinion}");
}

/// A new device on grotto is verified by the first one of its account, on matrix-sdk-crypto.
pub(crate) fn verify_ours_by_peer(second: &Grotto, first: &mut Peer) {
    let mut asks = verify(second, &[&first.user, "--yes"]);
    let user = first.user.clone();
    let flow = first.accepts_verification(&user);
    assert_eq!(short(&step(&mut asks, "compare")), names(first, &flow));
    first.confirms(&flow);
    done(&mut asks);
    first.reaches(&flow, "done");
}

/// A new device on matrix-sdk-crypto is verified by the first one of its account, on grotto.
pub(crate) fn verify_peer_by_ours(first: &Grotto, second: &mut Peer) {
    let mut accepts = verify(first, &[&first.user, "--accept", "--yes"]);
    let asked = asks_once_there_is_an_identity(second);
    step(&mut accepts, "ready");
    second.starts_sas(&asked);
    assert_eq!(short(&step(&mut accepts, "compare")), names(second, &asked));
    second.confirms(&asked);
    second.reaches(&asked, "done");
    done(&mut accepts);
}

fn our_device_signs_that_of_matrix_sdk_crypto(on: On) {
    let place = on.shared();
    let first = Grotto::log_in(place, "alice");
    let mut second = Peer::another_device(&place.base, &first.user);
    verify_peer_by_ours(&first, &mut second);
    let own = second.own_identity();
    assert_eq!((&own["verified"], &own["device_signed"]), (&json!(true), &json!(true)), "{own}");
}

/// A login makes the account's identity in the background; who asks before finds none.
fn asks_once_there_is_an_identity(peer: &mut Peer) -> Flow {
    let user = peer.user.clone();
    let begun = std::time::Instant::now();
    while peer.opinion_of(&user)["master"].is_null() {
        assert!(begun.elapsed() < rig::PATIENCE, "{user} has no identity");
    }
    peer.asks_own_devices_to_verify()
}

fn matrix_sdk_crypto_scans_our_code(on: On) {
    let place = on.shared();
    let first = Grotto::log_in(place, "alice");
    let mut second = Peer::another_device(&place.base, &first.user);
    let mut shows = verify(&first, &[&first.user, "--accept", "--qr", "--yes"]);
    let asked = asks_once_there_is_an_identity(&mut second);
    let code = step(&mut shows, "ready")["data"].as_str().unwrap().to_owned();
    second.reaches(&asked, "ready");
    second.scans_code(&asked, code.trim_end_matches('='));
    done(&mut shows);
    second.reaches(&asked, "done");
    assert_eq!(second.own_identity()["verified"], true);
}

fn we_scan_the_code_of_matrix_sdk_crypto(on: On) {
    let (alice, mut bob, _room) = with_peer(on);
    let mut scans = verify(&alice, &[&bob.user, "--qr-data-file", "-"]);
    let flow = bob.accepts_verification(&alice.user);
    let code = bob.shows_code(&flow);
    step(&mut scans, "ready");
    scans.type_line(&code);
    bob.reaches(&flow, "qr.scanned");
    bob.confirms(&flow);
    done(&mut scans);
    bob.reaches(&flow, "done");
    bob.comes_to_verify(&alice.user);
}

/// The server counts events that it cannot read as messages.
fn a_verification_leaves_nothing_unread_and_no_message(on: On) {
    let (alice, mut bob, room) = with_peer(on);
    let asked = bob.asks_to_verify(&alice.user, &room);
    let mut ours = verify(&alice, &[&bob.user, "--accept", "--yes"]);
    step(&mut ours, "ready");
    bob.cancels(&asked);
    assert_eq!(ours.exit_code(), Some(1));
    assert_eq!(unread(&alice, &room), 0);
    bob.say(&room, "hello");
    assert_eq!(unread(&alice, &room), 1);
    let said = alice.json(&["history", &room]);
    let bodies: Vec<&Value> = said.iter().map(|line| &line["body"]).collect();
    assert_eq!(bodies.iter().filter(|body| !body.is_null()).count(), 1, "{said:?}");
}

fn unread(grotto: &Grotto, room: &str) -> u64 {
    let rooms = grotto.json(&["rooms"]);
    let line = rooms.iter().find(|line| line["room_id"] == room).unwrap();
    line["unread"].as_u64().unwrap()
}

fn an_interrupted_verification_is_cancelled_on_the_other_side(on: On) {
    let (alice, mut bob, _room) = with_peer(on);
    let mut asks = verify(&alice, &[&bob.user, "--yes"]);
    let flow = bob.accepts_verification(&alice.user);
    step(&mut asks, "compare");
    let pid = rustix::process::Pid::from_raw(i32::try_from(asks.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let told = bob.reaches(&flow, "cancelled");
    assert_eq!(told["code"], "m.user", "{told}");
    assert_eq!(asks.exit_code(), Some(1));
}

fn a_verification_that_nobody_answers_is_cancelled_on_the_other_side(on: On) {
    let (alice, mut bob, _room) = with_peer(on);
    let mut scans = verify(&alice, &[&bob.user, "--qr-data-file", "-"]);
    let flow = bob.accepts_verification(&alice.user);
    step(&mut scans, "ready");
    scans.end_input();
    let told = bob.reaches(&flow, "cancelled");
    assert_eq!(told["code"], "m.user", "{told}");
    assert_eq!(scans.exit_code(), Some(1));
}

fn an_answer_typed_before_there_was_a_question_is_none(on: On) {
    let (alice, mut bob, _room) = with_peer(on);
    let environment = alice.environment();
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let argv = [rig::GROTTO, "verify", &bob.user];
    let mut terminal = Terminal::start((100, 30), &argv, &environment);
    terminal.shows("waiting until it is accepted");
    terminal.type_keys("yes\r");
    bob.accepts_verification(&alice.user);
    terminal.shows("Is it the same on the other side?");
    terminal.type_keys("no\r");
    terminal.shows("not verified: what the two sides see differs");
    assert_eq!(terminal.exit_status(), 5);
}

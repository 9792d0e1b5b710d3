//! Grotto talks with clients that nobody here wrote, on a real homeserver: everything is decrypted
//! on both sides, in order, nothing doubled.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::{
    grotto::Grotto,
    homeserver::{Homeserver, On, RateLimits},
    rig::{Peer, Stack},
    scenario,
    talk::{self, COUNT},
};

scenario::everywhere! {
    replies_edits_reactions_and_redactions_arrive_on_both_sides,
}

scenario::on_both! {
    five_hundred_messages_each_way_in_a_group_of_three,
    five_hundred_messages_each_way_with_matrix_nio,
    five_hundred_messages_each_way_with_matrix_sdk_crypto,
    rate_limits_neither_lose_nor_reorder_messages,
}

/// Messages a side says before the other goes on.
const BURST: usize = 50;

/// Sends one message as a script does; gives its event id.
fn say(alice: &Grotto, room: &str, arguments: &[&str], body: &str) -> String {
    let line = [&["--json", "send", room], arguments, &["-"]].concat();
    let output = alice.run_with_input(&line, body);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "send: {:?} {error}", output.status);
    let sent: Value = serde_json::from_slice(&output.stdout).unwrap();
    sent["event_id"].as_str().unwrap().to_owned()
}

/// A conversation of alice, on grotto, with these others, who are already in `room`.
fn converse(alice: &Grotto, room: &str, others: &mut [(&str, Peer)]) {
    let mut tail = alice.tail();
    std::thread::scope(|scope| {
        for (who, peer) in others.iter_mut() {
            scope.spawn(move || {
                for start in (0..COUNT).step_by(BURST) {
                    talk::burst(peer, room, who, start..start + BURST);
                }
            });
        }
        for number in 0..COUNT {
            say(alice, room, &[], &talk::body("alice", number));
        }
    });
    for (who, peer) in others.iter_mut() {
        peer.hears(&talk::body("alice", COUNT - 1));
        let heard = talk::heard(peer, room, &alice.user);
        talk::assert_same(
            &format!("{who} heard alice"),
            &heard[..],
            &talk::bodies("alice", COUNT - 1),
        );
    }
    assert_eq!(tail.terminate(), Some(0));
    let history = alice.json(&["history", room, "--limit", "10000"]);
    for (who, peer) in others.iter() {
        let held = talk::held(&history, &peer.user);
        talk::assert_same(&format!("alice holds {who}"), &held, &talk::bodies(who, COUNT));
    }
    let own = talk::held(&history, &alice.user);
    talk::assert_same("alice holds her own", &own, &talk::bodies("alice", COUNT));
    let lost: Vec<&Value> = history.iter().filter(|line| line["type"] == "undecryptable").collect();
    assert!(lost.is_empty(), "{} undecryptable, first {:?}", lost.len(), lost.first());
}

/// Has the first of `others` make the room and everybody join it.
fn gather(alice: &Grotto, others: &mut [(&str, Peer)]) -> String {
    let mut invited: Vec<String> = others[1..].iter().map(|(_, peer)| peer.user.clone()).collect();
    invited.push(alice.user.clone());
    let invited: Vec<&str> = invited.iter().map(String::as_str).collect();
    let room = others[0].1.create("talk", &invited);
    for (_, peer) in &mut others[1..] {
        peer.find("its join", |line| line["k"] == "joined" && line["room"] == room.as_str());
    }
    alice.json(&["join", &room]);
    let user = alice.user.clone();
    for (_, peer) in others.iter_mut() {
        peer.find("alice's join", |line| {
            line["room"] == room.as_str()
                && line["sender"] == user.as_str()
                && line["content"]["membership"] == "join"
        });
    }
    room
}

fn five_hundred_messages_each_way_with_matrix_nio(on: On) {
    let place = on.shared();
    let base = place.base.as_str();
    let alice = Grotto::log_in(place, "alice");
    let mut others = [("bob", Peer::start(Stack::Nio, base, "bob"))];
    let room = gather(&alice, &mut others);
    converse(&alice, &room, &mut others);
}

fn five_hundred_messages_each_way_with_matrix_sdk_crypto(on: On) {
    let place = on.shared();
    let base = place.base.as_str();
    let alice = Grotto::log_in(place, "alice");
    let mut others = [("bob", Peer::start(Stack::Sdk, base, "bob"))];
    let room = gather(&alice, &mut others);
    converse(&alice, &room, &mut others);
}

fn five_hundred_messages_each_way_in_a_group_of_three(on: On) {
    let place = on.shared();
    let base = place.base.as_str();
    let alice = Grotto::log_in(place, "alice");
    let mut others = [
        ("bob", Peer::start(Stack::Nio, base, "bob")),
        ("carol", Peer::start(Stack::Sdk, base, "carol")),
    ];
    let room = gather(&alice, &mut others);
    converse(&alice, &room, &mut others);
}

fn replies_edits_reactions_and_redactions_arrive_on_both_sides(on: On) {
    let place = on.shared();
    let base = place.base.as_str();
    for stack in [Stack::Nio, Stack::Sdk] {
        let alice = Grotto::log_in(place, "alice");
        let mut others = [("bob", Peer::start(stack, base, "bob"))];
        let room = gather(&alice, &mut others);
        let mut tail = alice.tail();
        let bob = &mut others[0].1;

        let asked = bob.say(&room, "what is it?");
        let first = say(&alice, &room, &[], "a draft");
        say(&alice, &room, &["--reply", &asked], "an answer");
        say(&alice, &room, &["--edit", &first], "the final text");
        let react = alice.json(&["send", &room, "--react", "👍", &asked]);
        assert!(react[0]["event_id"].is_string(), "{react:?}");

        let reply = bob.hears("an answer");
        let relation = &reply["content"]["m.relates_to"]["m.in_reply_to"]["event_id"];
        assert_eq!(*relation, json!(asked));
        bob.find("the edit", |line| {
            line["content"]["m.new_content"]["body"] == "the final text"
                && line["content"]["m.relates_to"]["event_id"] == first.as_str()
        });
        bob.find("the reaction", |line| {
            line["type"] == "m.reaction"
                && line["content"]["m.relates_to"]["key"] == "👍"
                && line["content"]["m.relates_to"]["event_id"] == asked.as_str()
        });

        let edit = json!({"msgtype": "m.text", "body": "* what is that?",
            "m.new_content": talk::text("what is that?"),
            "m.relates_to": {"rel_type": "m.replace", "event_id": asked}});
        bob.ask(json!({"do": "send", "room": room, "content": edit}));
        tail.find("bob's edit", |line| {
            line["type"] == "edit" && line["relates_to"] == asked.as_str()
        });
        let gone = bob.say(&room, "never mind");
        tail.find("bob's last", |line| line["type"] == "message" && line["body"] == "never mind");
        if matches!(stack, Stack::Nio) {
            bob.ask(json!({"do": "redact", "room": room, "event": gone}));
            tail.find("the redaction", |line| {
                line["type"] == "redaction" && line["relates_to"] == gone.as_str()
            });
        }
        assert_eq!(tail.terminate(), Some(0));
        let history = alice.json(&["history", &room, "--limit", "100"]);
        let edited = history.iter().find(|line| line["event_id"] == asked.as_str()).unwrap();
        assert_eq!((&edited["body"], &edited["edited"]), (&json!("what is that?"), &json!(true)));
    }
}

fn rate_limits_neither_lose_nor_reorder_messages(on: On) {
    let homeserver = Homeserver::start(on, RateLimits::Tight);
    let place = &homeserver.place;
    let alice = Grotto::log_in(place, "alice");
    let mut others = [("bob", Peer::start(Stack::Sdk, &place.base, "bob"))];
    let room = gather(&alice, &mut others);
    let mut tail = alice.tail();
    // All at once, so that the homeserver refuses most of them at first; the outbox keeps order.
    let mut senders = Vec::new();
    for number in 0..20 {
        let body = talk::body("alice", number);
        let mut command = alice.command(&["--timeout", "180", "send", &room, &body]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        senders.push(command.spawn().unwrap());
    }
    for mut sender in senders {
        assert!(sender.wait().unwrap().success());
    }
    let bob = &mut others[0].1;
    say(&alice, &room, &["--timeout", "180"], "that was all");
    bob.hears("that was all");
    let mut heard = talk::heard(bob, &room, &alice.user);
    assert_eq!(tail.terminate(), Some(0));
    let history = alice.json(&["history", &room, "--limit", "1000"]);
    let mut held = talk::held(&history, &alice.user);
    assert_eq!(held.pop().as_deref(), Some("that was all"));
    talk::assert_same("bob heard what alice holds", &heard, &held);
    let mut wanted = talk::bodies("alice", 20);
    wanted.sort();
    heard.sort();
    talk::assert_same("bob heard everything", &heard, &wanted);
}

//! The real program behind a homeserver that rewrites its answers: members and devices that it adds,
//! a backup of its own, edits that nobody made. All that leaves is looked at.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Instant,
};

use grotto::matrix::{CanonicalText, CanonicalValue, UserId, sign};
use serde_json::{Value, json};
use vodozemac::olm::Account;

use crate::{
    complement::{follow, reads},
    grotto::Grotto,
    homeserver::{On, Place},
    meddler::Meddler,
    recovery::{await_backup, recover, set_up},
    rig::{self, PASSWORD, Peer},
    scenario,
};

scenario::over_http! {
    a_member_that_the_server_adds_is_seen_before_the_key_is_shared,
    a_device_that_the_server_adds_gets_word_and_no_key,
    recovery_never_leads_into_a_backup_of_the_servers,
    an_edit_that_is_none_changes_nothing_that_is_shown,
}

const SEALED: &str = "/sendToDevice/m.room.encrypted";
const WITHHELD: &str = "/sendToDevice/m.room_key.withheld";

/// Alice behind the door and Bob, in a room that she made; both send to signed devices alone.
struct Scene {
    meddler: Meddler,
    alice: Grotto,
    bob: Grotto,
    room: String,
}

fn scene(on: On) -> Scene {
    let base = &on.shared().base;
    let meddler = Meddler::before(base);
    let alice = Grotto::log_in_strictly(&meddler.place(), "alice");
    let bob = Grotto::log_in_strictly(&Place::at(base.as_str()), "bob");
    let made = alice.json(&["create", "--name", "Garden", "--invite", &bob.user]);
    let room = made[0]["room_id"].as_str().unwrap().to_owned();
    bob.json(&["join", &room]);
    // The list of members is known from now on.
    alice.json(&["send", &room, "hello"]);
    Scene { meddler, alice, bob, room }
}

/// A switch that a change of answers looks at, to be turned on later.
fn switch() -> (Arc<AtomicBool>, Arc<AtomicBool>) {
    let switch = Arc::new(AtomicBool::new(false));
    (switch.clone(), switch)
}

/// Whether a body of these calls names this.
fn is_named(meddler: &Meddler, calls: &str, name: &str) -> bool {
    meddler.calls(calls).iter().any(|call| call.body.to_string().contains(name))
}

// A-1: she is in no line of the timeline, only in the state.
fn a_member_that_the_server_adds_is_seen_before_the_key_is_shared(on: On) {
    let Scene { meddler, alice, bob, room } = scene(on);
    let mallory = Grotto::log_in_strictly(on.shared(), "mallory");
    let (on_now, switch) = switch();
    let (name, place) = (mallory.user.clone(), room.clone());
    meddler.changes("/sync", move |_, answer| {
        let room = &mut answer["rooms"]["join"][&place];
        if on_now.load(SeqCst) && room.is_object() {
            let join = json!({
                "type": "m.room.member", "state_key": name, "sender": name, "event_id": "$forged",
                "origin_server_ts": 1, "content": {"membership": "join"},
            });
            match room["state"]["events"].as_array_mut() {
                Some(events) => events.push(join),
                None => room["state"] = json!({ "events": [join] }),
            }
        }
    });
    let mut terminal = alice.open((100, 24));
    terminal.shows("Garden");
    terminal.type_keys("\r");
    terminal.shows("Write an encrypted message");
    assert!(!terminal.screen().join("\n").contains("new member"));
    switch.store(true, SeqCst);
    bob.json(&["send", &room, "something"]);
    let screen = terminal.shows("1 new member").join("\n");
    assert!(screen.contains("1 new member will read it"), "{screen}");
    assert!(!is_named(&meddler, SEALED, &mallory.user), "she has a key already");
    // It is shown and not prevented: the next message is for her, too.
    let before = meddler.calls(SEALED).len();
    terminal.type_keys("welcome, whoever you are\r");
    meddler.sees(SEALED, before + 1);
    assert!(is_named(&meddler, SEALED, &mallory.user));
    reads(&bob, &room, "welcome, whoever you are");
    terminal.hides("new member");
}

/// The object with a signature.
fn signed(object: &Value, user: &str, key: &str, olm: &Account) -> Value {
    let mut object = CanonicalValue::parse_object(&object.to_string()).unwrap();
    sign(&mut object, <&UserId>::try_from(user).unwrap(), key, |text| olm.sign(text));
    serde_json::from_str(&CanonicalText(&object).to_string()).unwrap()
}

/// A device that is right in every part but that its owner never saw it, and a key to begin with.
fn ghost(user: &str, olm: &Account) -> (Value, Value) {
    let keys = olm.identity_keys();
    let device = json!({
        "user_id": user, "device_id": "GHOST",
        "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
        "keys": {
            "curve25519:GHOST": keys.curve25519.to_base64(),
            "ed25519:GHOST": keys.ed25519.to_base64(),
        },
    });
    let key = json!({ "key": Account::new().curve25519_key().to_base64() });
    let sign = |object: &Value| signed(object, user, "ed25519:GHOST", olm);
    (sign(&device), sign(&key))
}

// A-2
fn a_device_that_the_server_adds_gets_word_and_no_key(on: On) {
    let Scene { meddler, alice, bob, room } = scene(on);
    let olm = Account::new();
    let (on_now, switch) = switch();
    for user in [bob.user.clone(), alice.user.clone()] {
        let (device, key) = ghost(&user, &olm);
        let (is_on, name) = (on_now.clone(), user.clone());
        meddler.changes("/keys/query", move |_, answer| {
            if is_on.load(SeqCst) && answer["device_keys"][&name].is_object() {
                answer["device_keys"][&name]["GHOST"] = device.clone();
            }
        });
        let name = user.clone();
        meddler.changes("/keys/claim", move |call, answer| {
            if call.body["one_time_keys"][&name]["GHOST"].is_string() {
                answer["one_time_keys"][&name]["GHOST"] =
                    json!({ "signed_curve25519:AAAAAA": key });
            }
        });
        let is_on = on_now.clone();
        meddler.changes("/sync", move |_, answer| {
            if is_on.load(SeqCst) {
                match answer["device_lists"]["changed"].as_array_mut() {
                    Some(changed) => changed.push(json!(user)),
                    None => answer["device_lists"]["changed"] = json!([user]),
                }
            }
        });
    }
    switch.store(true, SeqCst);
    let asked = meddler.calls("/keys/query").len();
    bob.json(&["send", &room, "wakes her up"]);
    alice.json(&["send", &room, "not for ghosts"]);
    reads(&bob, &room, "not for ghosts");
    // Word to the ghost leaves beside the message: it may still be on its way when `send` ends, and
    // goes out with the next program then. A slow list is not waited for: then it is the next
    // message's.
    let mut tail = follow(&alice);
    let give_up = Instant::now() + rig::PATIENCE;
    while meddler.calls(WITHHELD).is_empty() {
        assert!(Instant::now() < give_up, "no word to the ghost: {:#?}", meddler.calls(""));
        alice.json(&["send", &room, "not for ghosts either"]);
    }
    assert_eq!(tail.terminate(), Some(0));
    assert!(asked < meddler.calls("/keys/query").len(), "the lists were looked at anew");
    let key = olm.curve25519_key().to_base64();
    let all = meddler.calls("");
    for call in &all {
        let body = call.body.to_string();
        let is_word = call.path.contains(WITHHELD);
        assert!(is_word || !body.contains("GHOST"), "{} {body}", call.path);
        assert!(!body.contains(&key), "{} {body}", call.path);
    }
    // What is made again for want of an answer has the same path.
    let told: BTreeMap<String, Value> =
        meddler.calls(WITHHELD).into_iter().map(|call| (call.path, call.body)).collect();
    let codes = told.values().map(|body| &body["messages"][&bob.user]["GHOST"]["code"]);
    assert_eq!(codes.filter(|code| **code == "m.unverified").count(), 1, "{told:?}");
    let devices = alice.json(&["devices", "--user", &bob.user]);
    let shown = devices.iter().find(|it| it["device_id"] == "GHOST").expect("it is shown");
    assert_eq!(shown["verified"], false);
}

// A-7
fn recovery_never_leads_into_a_backup_of_the_servers(on: On) {
    let base = &on.shared().base;
    let honest = Grotto::log_in_strictly(&Place::at(base.as_str()), "alice");
    let key = set_up(&honest);
    honest.json(&["create", "--name", "Attic"]);
    honest.json(&["send", "Attic", "the box with the letters"]);
    let tail = honest.tail();
    await_backup(&honest);
    drop(tail);

    let meddler = Meddler::before(base);
    let theirs = Account::new();
    let data = json!({ "public_key": theirs.curve25519_key().to_base64() });
    let data = signed(&data, &honest.user, "ed25519:GHOST", &theirs);
    meddler.changes("/room_keys/version", move |call, answer| {
        if call.method == "GET" {
            answer["auth_data"] = data.clone();
        }
    });
    let second = Grotto { home: rig::folder("grotto"), user: honest.user.clone() };
    let login = second.run_with_input(&second.login(&meddler.place()), PASSWORD);
    assert!(login.status.success());
    let recovered = recover(&second, &key);
    assert_eq!(recovered["cross_signed"], true, "{recovered}");
    assert_eq!(recovered["backup_version"], Value::Null, "{recovered}");
    second.json(&["create", "--name", "Cellar"]);
    second.json(&["send", "Cellar", "a new key"]);
    let status = second.json(&["keys", "status"]).remove(0)["backup"].take();
    assert_eq!(status["trusted"], false, "{status}");
    let written = meddler.calls("/room_keys/keys").into_iter().filter(|it| it.method != "GET");
    assert_eq!(written.count(), 0, "a key went into the server's backup");
}

// A-13
fn an_edit_that_is_none_changes_nothing_that_is_shown(on: On) {
    let Scene { meddler, alice, bob, room } = scene(on);
    let mut mallory = Peer::cross_signed(&on.shared().base, "mallory");
    alice.json(&["invite", &room, &mallory.user]);
    mallory.find("the invitation", |line| line["k"] == "joined" && line["room"] == room.as_str());
    let sent = bob.json(&["send", &room, "pay Bob"]);
    let target = sent[0]["event_id"].as_str().unwrap().to_owned();
    reads(&alice, &room, "pay Bob");

    // Mallory may write and encrypts; the server writes in Bob's name and cannot.
    let edit = |body: &str| {
        json!({
            "msgtype": "m.text", "body": format!("* {body}"),
            "m.new_content": { "msgtype": "m.text", "body": body },
            "m.relates_to": { "rel_type": "m.replace", "event_id": target },
        })
    };
    let (name, place, forged) = (bob.user.clone(), room.clone(), edit("pay the server"));
    meddler.changes("/sync", move |_, answer| {
        let events = &mut answer["rooms"]["join"][&place]["timeline"]["events"];
        if let Some(events) = events.as_array_mut() {
            events.push(json!({
                "type": "m.room.message", "sender": name, "event_id": "$forged",
                "origin_server_ts": 1, "content": forged,
            }));
        }
    });
    let mut terminal = alice.open((100, 24));
    terminal.shows("Garden");
    terminal.type_keys("\r");
    terminal.shows("pay Bob");
    let content = edit("pay Mallory");
    mallory.order(json!({ "do": "send", "room": room, "content": content }));
    // One that is his shows that edits are looked at.
    let other = bob.json(&["send", &room, "a typo"]);
    let other = other[0]["event_id"].as_str().unwrap();
    bob.json(&["send", &room, "no typo", "--edit", other]);
    terminal.shows("no typo");
    mallory.say(&room, "the end");
    let screen = terminal.shows("the end").join("\n");
    assert!(screen.contains("pay Bob"), "{screen}");
    assert!(!screen.contains("pay Mallory") && !screen.contains("pay the server"), "{screen}");
    terminal.type_keys("\x11");
    assert_eq!(terminal.exit_status(), 0);
    let history = alice.json(&["history", &room, "--limit", "50"]);
    let shown = history.iter().find(|line| line["event_id"] == target.as_str()).unwrap();
    assert_eq!((&shown["body"], &shown["edited"]), (&json!("pay Bob"), &json!(false)));
    let rooms = alice.json(&["rooms"]);
    assert!(!json!(rooms).to_string().contains("pay "), "a list of rooms shows no messages");
}

//! A server that puts another sender's name on what it delivers.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use serde_json::{Value, json};

use super::{Pair, hears, pair};
use crate::{homeserver::On, meddler::Meddler, rig::Peer, scenario};

/// `TestSpoofedEventSenderHandling`.
mod test_spoofed_event_sender_handling {
    use super::*;

    scenario::over_http! {
        spoofed_mxid_sender_gives_red_shield,
        spoofed_plaintext_sender_gives_utd,
    }

    /// We go further than a red shield: nothing is shown under a name that is not the key's owner's.
    fn spoofed_mxid_sender_gives_red_shield(on: On) {
        spoofed(on, &["rooms"], "mismatched_sender");
    }

    fn spoofed_plaintext_sender_gives_utd(on: On) {
        spoofed(on, &["to_device"], "no_room_key");
    }
}

/// Bob's encrypted events in these parts of the server's answers come under Mallory's name.
fn spoofed(on: On, parts: &'static [&'static str], reason: &str) {
    let base = &on.shared().base;
    let meddler = Meddler::before(base);
    let Pair { alice, mut tail, mut bob, room } = pair(base, &meddler.place());
    let mut mallory = Peer::cross_signed(base, "mallory");
    bob.invite(&room, &mallory.user);
    super::sees(&mut tail, &mallory.user, "join");
    bob.sees_join(&room, &mallory.user);
    let spoofing = Arc::new(AtomicBool::new(true));
    let (on_now, from, to) = (spoofing.clone(), bob.user.clone(), mallory.user.clone());
    meddler.changes("/sync", move |_, answer| {
        if on_now.load(SeqCst) {
            for part in parts {
                rename(&mut answer[*part], &from, &to);
            }
        }
    });
    let event = bob.say(&room, "it is bob who says this");
    let line = tail.find("the event", |line| line["event_id"] == event.as_str());
    assert_eq!((&line["type"], &line["reason"]), (&json!("undecryptable"), &json!(reason)));
    mallory.hears("it is bob who says this");
    // It spoils nothing that comes after it.
    spoofing.store(false, SeqCst);
    bob.order(json!({"do": "rotate", "room": room}));
    bob.say(&room, "this too");
    let heard = hears(&mut tail, "this too");
    assert_eq!(heard["sender"], bob.user.as_str());
    assert_eq!(alice.json(&["rooms"]).len(), 1);
}

/// Puts `to` where `from` has sent something encrypted.
fn rename(value: &mut Value, from: &str, to: &str) {
    match value {
        Value::Object(fields) => {
            let is_his = fields.get("sender").is_some_and(|sender| sender == from);
            if is_his && fields.get("type").is_some_and(|kind| kind == "m.room.encrypted") {
                fields.insert("sender".to_owned(), json!(to));
            }
            fields.values_mut().for_each(|inner| rename(inner, from, to));
        }
        Value::Array(values) => values.iter_mut().for_each(|inner| rename(inner, from, to)),
        _ => {}
    }
}

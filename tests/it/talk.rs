//! Long conversations: what the two sides say, and how to judge whether both heard it.

use serde_json::{Value, json};

use crate::rig::Peer;

/// How many messages each side says.
pub(crate) const COUNT: usize = 500;

/// The `number`-th body of `who`: plain, emoji, CJK, right-to-left, long; each unlike all others.
pub(crate) fn body(who: &str, number: usize) -> String {
    match number % 10 {
        1 => format!("{who} {number} 👩‍👩‍👧‍👦 🇫🇷 👍🏽"),
        3 => format!("{who} {number} 漢字とかな、한국어도"),
        5 => format!("{who} {number} עברית عربى"),
        7 => format!("{who} {number} first line\nsecond line\n\tthird"),
        // Encrypted, base64 and JSON make this an event of 60 kB; 65,536 bytes is the most a
        // homeserver takes.
        9 if number % 100 == 99 => format!("{who} {number} {}", "long ".repeat(8_600)),
        _ => format!("{who} {number}"),
    }
}

/// The bodies of `who`, in the order they are said.
pub(crate) fn bodies(who: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| body(who, number)).collect()
}

/// A text message's content.
pub(crate) fn text(body: &str) -> Value {
    json!({"msgtype": "m.text", "body": body})
}

/// Has `peer` say its bodies `from..to`, one right after the other.
pub(crate) fn burst(peer: &mut Peer, room: &str, who: &str, range: std::ops::Range<usize>) {
    let contents: Vec<Value> = range.clone().map(|number| text(&body(who, number))).collect();
    let answer = peer.ask(json!({"do": "burst", "room": room, "contents": contents}));
    let events = answer["events"].as_array().unwrap_or_else(|| panic!("no burst: {answer}"));
    assert_eq!(events.len(), range.len());
    assert!(events.iter().all(Value::is_string), "not all sent: {answer}");
}

/// What `listener` heard from `speaker`, in order, each event once however often it was told.
pub(crate) fn heard(listener: &mut Peer, room: &str, speaker: &str) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    let lines = listener.unread().iter().filter(|line| {
        (line["k"] == "decrypted" || line["k"] == "late")
            && line["room"] == room
            && line["sender"] == speaker
            && line["type"] == "m.room.message"
            && line["content"]["m.relates_to"].is_null()
    });
    lines
        .filter(|line| seen.insert(line["event"].as_str().unwrap().to_owned()))
        .filter_map(|line| line["content"]["body"].as_str().map(str::to_owned))
        .collect()
}

/// What `grotto history --json` holds from `speaker`, in the room's order.
pub(crate) fn held(history: &[Value], speaker: &str) -> Vec<String> {
    history
        .iter()
        .filter(|line| line["type"] == "message" && line["sender"] == speaker)
        .filter(|line| line["reply_to"].is_null())
        .filter_map(|line| line["body"].as_str().map(str::to_owned))
        .collect()
}

/// Fails with the first difference, not with a thousand lines.
pub(crate) fn assert_same(what: &str, found: &[String], wanted: &[String]) {
    let first = found.iter().zip(wanted).position(|(found, wanted)| found != wanted);
    let short = |text: Option<&String>| text.map(|text| text.chars().take(60).collect::<String>());
    assert!(
        found == wanted,
        "{what}: {} of {} messages; first difference at {first:?}: {:?} instead of {:?}; last {:?}",
        found.len(),
        wanted.len(),
        first.and_then(|at| short(found.get(at))),
        first.and_then(|at| short(wanted.get(at))),
        short(found.last()),
    );
}

//! Verifications in a chat, as lines.

use super::rig::*;

fn request(to: &str) -> Value {
    json!({"msgtype": "m.key.verification.request", "body": "your client cannot", "to": to,
        "from_device": "D", "methods": ["m.sas.v1"]})
}

fn about(content: Value, request: &str) -> Value {
    let mut content = content;
    content["m.relates_to"] = json!({"rel_type": "m.reference", "event_id": request});
    content
}

fn whole(kind_of_end: &str, by: &str) -> Vec<StoredEvent> {
    let event = |position, sender, kind: &str| {
        let content = about(json!({"code": "m.timeout", "body": "not a message"}), "$1");
        secret(position, sender, &format!("m.key.verification.{kind}"), content)
    };
    let begin = secret(1, BOB, "m.room.message", request(ALICE));
    let middle = ["ready", "start", "accept", "key", "mac"];
    let middle = (2..).zip(middle).map(|(position, kind)| event(position, BOB, kind));
    let mut all: Vec<_> = std::iter::once(begin).chain(middle).collect();
    all.push(event(9, by, kind_of_end));
    all
}

#[test]
fn a_verification_is_a_line_at_its_beginning_and_one_at_its_end() {
    let seen = shown(&fold(whole("done", ALICE)));
    let asked = "VerificationAsked { to: \"@alice:x\", is_us: true }";
    assert_eq!(seen, [format!("{asked}, Verified {{ with: Some(\"@bob:x\") }}")]);
    let seen = shown(&fold(whole("cancel", BOB)));
    assert_eq!(seen, [format!("{asked}, VerificationCancelled(\"it took too long\")")]);
}

#[test]
fn the_word_of_the_other_side_does_not_make_anything_verified() {
    let seen = shown(&fold(whole("done", BOB)));
    assert_eq!(seen, ["VerificationAsked { to: \"@alice:x\", is_us: true }"]);
}

#[test]
fn an_end_whose_beginning_comes_later_looks_like_any_other() {
    let mut events = whole("done", ALICE);
    let mut late = fold([events.pop().expect("the end")]);
    let before = late.items().next().expect("an item").version;
    assert_eq!(shown(&late), ["Verified { with: None }"]);
    let request = events.swap_remove(0);
    late.apply(TimelineDelta::Events(vec![text_between()]));
    late.apply(TimelineDelta::Events(vec![request]));
    let last = late.items().next_back().expect("an item");
    assert_eq!(line(&last), "Verified { with: Some(\"@bob:x\") }");
    assert!(before < last.version);
}

fn text_between() -> StoredEvent {
    secret(5, BOB, "m.room.message", text("hello"))
}

#[test]
fn a_message_about_verification_on_its_way_is_not_shown() {
    let mut timeline = fold([]);
    timeline.apply(TimelineDelta::Echo(Echo {
        txn: "txn".into(),
        kind: "m.room.message".to_owned(),
        content: request(BOB).as_object().expect("an object").clone(),
        at: Timestamp(5),
        state: SendState::Queued,
    }));
    assert_eq!(shown(&timeline), Vec::<String>::new());
}

//! Whatever comes in, at whatever size: no panic, and nothing but text on the screen.

use grotto::{
    engine::Update,
    rooms::{SendState, Shield, ShieldReason, TimelineDelta, UndecryptableReason},
    tui::{Action, Input, Size},
};
use proptest::{collection::vec, prelude::*};
use ratatui::buffer::Buffer;
use serde_json::json;

use super::{
    Screen,
    feed::{
        ROOM, clear_event, delta, echo, event, events, open_room, room, shielded, text,
        undecryptable,
    },
};

/// What no cell may hold.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

fn assert_clean(cells: &Buffer) {
    for cell in cells.content() {
        assert!(!cell.symbol().chars().any(is_unsafe), "{:?}", cell.symbol());
    }
}

/// Text as an attacker would write it.
fn nasty() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("\x1b[2J\x1b]52;c;AAAA\x07".to_owned()),
        Just("\u{202e}\u{2066}evil\u{9b}31m".to_owned()),
        Just("\r\n\t\0\u{85}\u{2028}".to_owned()),
        Just("👨‍👩‍👧‍👦🏳️‍🌈e\u{301}\u{301}\u{301}".to_owned()),
        Just("\u{1100}\u{1161}\u{11a8}ｗｉｄｅ日本".to_owned()),
        Just("a".repeat(300)),
        "\\PC{0,20}",
        any::<char>().prop_map(String::from),
    ];
    vec(part, 0..4).prop_map(|parts| parts.concat())
}

fn told() -> impl Strategy<Value = Update> {
    let sender = prop_oneof![Just("@bob:example.org"), Just("@eve:example.org"), Just(super::OWN)];
    let position = -20_i64..20;
    let message = (position.clone(), sender.clone(), nasty())
        .prop_map(|(at, sender, body)| events([text(at, sender, &body)]));
    let red = (position.clone(), nasty()).prop_map(|(at, body)| {
        events([shielded(
            text(at, "@eve:example.org", &body),
            Shield::Red(ShieldReason::SentInClear),
        )])
    });
    let odd = (position.clone(), nasty(), nasty()).prop_map(|(at, kind, body)| {
        let content = json!({"msgtype": kind, "body": body, "filename": body, "geo_uri": kind});
        events([event(at, "@bob:example.org", "m.room.message", content)])
    });
    let related = (position.clone(), position.clone(), nasty()).prop_map(|(at, to, key)| {
        let target = format!("$e{to}");
        let relation = json!({"rel_type": "m.annotation", "event_id": target, "key": key,
            "m.in_reply_to": {"event_id": target}});
        let kind = if at % 2 == 0 { "m.reaction" } else { "m.room.message" };
        let content = json!({"msgtype": "m.text", "body": key, "m.relates_to": relation});
        events([event(at, "@bob:example.org", kind, content)])
    });
    let member = (position.clone(), nasty()).prop_map(|(at, name)| {
        let content =
            json!({"state_key": "@eve:example.org", "membership": "join", "displayname": name});
        events([clear_event(at, "@eve:example.org", "m.room.member", content)])
    });
    let topic = (position.clone(), nasty()).prop_map(|(at, topic)| {
        let content = json!({"state_key": "", "topic": topic});
        events([clear_event(at, "@eve:example.org", "m.room.topic", content)])
    });
    let lost = (position.clone(), nasty()).prop_map(|(at, why)| {
        events([undecryptable(at, "@bob:example.org", UndecryptableReason::Withheld(why))])
    });
    let names = nasty().prop_map(|name| Update::Members {
        room: ROOM.try_into().unwrap(),
        names: vec![("@bob:example.org".try_into().unwrap(), name)],
    });
    let list = (nasty(), nasty()).prop_map(|(name, topic)| {
        let mut summary = room(ROOM, &name);
        (summary.topic, summary.unread) = (Some(topic), 3);
        Update::Rooms(vec![summary])
    });
    let gap = position.prop_map(|position| delta(TimelineDelta::Gap { position }));
    let own = nasty().prop_map(|body| delta(echo("t1", &body, SendState::Queued)));
    let ended =
        nasty().prop_map(|reason| Update::Link(grotto::engine::LinkState::Ended { reason }));
    prop_oneof![message, red, odd, related, member, topic, lost, names, list, gap, own, ended]
}

#[derive(Clone, Debug)]
enum Step {
    Key(usize),
    Type(String),
    Paste(String),
    Resize(u16, u16),
    Tell(Box<Update>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..200_usize).prop_map(Step::Key),
        1 => "[a-zA-Z/+@!# :]{1,5}".prop_map(Step::Type),
        1 => nasty().prop_map(Step::Paste),
        1 => (0_u16..130, 0_u16..60).prop_map(|(w, h)| Step::Resize(w, h)),
        4 => told().prop_map(|it| Step::Tell(Box::new(it))),
    ]
}

fn take(screen: &mut Screen, step: Step) {
    match step {
        Step::Key(index) => {
            let keys: Vec<&str> =
                Action::TABLE.iter().flat_map(|entry| entry.keys).copied().collect();
            screen.press(keys[index % keys.len()]);
        }
        Step::Type(text) => screen.press(&format!("'{text}'")),
        Step::Paste(text) => screen.input(Input::Paste(text)),
        Step::Resize(width, height) => screen.input(Input::Resize(Size { width, height })),
        Step::Tell(update) => screen.tell([*update]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn nothing_unsafe_reaches_the_screen(steps in vec(step(), 1..40)) {
        let mut screen = open_room(80, 24);
        for step in steps {
            take(&mut screen, step);
            assert_clean(&screen.frame());
        }
    }
}

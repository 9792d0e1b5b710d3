//! Whatever comes in, at whatever size: no panic, and nothing but text on the screen.

use grotto::{
    engine::{Command, Update},
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

/// What strangers write as HTML, and nesting without end; every word of it says EVIL.
fn corpus() -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/html");
    let files = std::fs::read_dir(folder).unwrap();
    let texts = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let mut texts: Vec<String> = texts.collect();
    assert!(5 < texts.len());
    texts.push(format!("{}EVIL{}", "<b>".repeat(20_000), "</b>".repeat(20_000)));
    texts.push("<blockquote><ul><li>".repeat(10_000) + "EVIL");
    texts
}

// the plain body is what is shown, quoted, edited and sent on; HTML is not read at all.
#[test]
fn of_html_nothing_is_shown_loaded_or_sent_on() {
    for html in corpus() {
        let formatted = |msgtype: &str, body: &str| {
            json!({"msgtype": msgtype, "body": body, "format": "org.matrix.custom.html",
                "formatted_body": html})
        };
        let mut edit = formatted("m.text", "* plain edit");
        edit["m.new_content"] = formatted("m.text", "plain edit");
        edit["m.relates_to"] = json!({"rel_type": "m.replace", "event_id": "$e1"});
        let mut reply = formatted("m.text", "plain reply");
        reply["m.relates_to"] = json!({"m.in_reply_to": {"event_id": "$e2"}});
        let mut caption = formatted("m.image", "plain caption");
        caption["filename"] = json!("cat.png");
        let contents = [
            formatted("m.text", "plain first"),
            formatted("m.notice", "plain notice"),
            formatted("m.emote", "plain emote"),
            edit,
            caption,
            reply,
        ];
        let mut screen = open_room(100, 40);
        let told = (1..).zip(contents);
        let sent =
            told.map(|(at, content)| event(at, "@bob:example.org", "m.room.message", content));
        screen.tell([events(sent)]);
        let text = screen.text();
        for shown in ["plain edit", "plain notice", "plain emote", "plain caption", "plain reply"] {
            assert!(text.contains(shown), "{shown} in {text}");
        }
        // The details of the newest, an answer to it that is sent.
        screen.press("tab w");
        let details = screen.text();
        screen.press("esc tab r 'fine' enter");
        let quoted = screen.text();
        for text in [text, details, quoted] {
            assert!(!text.to_uppercase().contains("EVIL"), "{text}");
        }
        let asked = screen.asked();
        let sends = asked.iter().filter(|it| matches!(it, Command::Send(_))).count();
        assert_eq!(sends, 1, "{asked:?}");
        assert!(!format!("{asked:?}").contains("EVIL"), "{asked:?}");
        assert!(!format!("{asked:?}").contains("Download"), "{asked:?}");
        assert!(screen.terminal.is_empty(), "{:?}", screen.terminal);
    }
}

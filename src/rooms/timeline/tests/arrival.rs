//! The same for any order of arrival, for any JSON, and for any number.

use proptest::prelude::*;

use super::rig::*;

/// Events that relate to each other in all the ways there are, at distinct positions.
fn room() -> impl Strategy<Value = Vec<StoredEvent>> {
    let one = (0..12_usize, 1..14_i64, any::<bool>(), any::<bool>(), 0..3_i64);
    prop::collection::vec(one, 1..14).prop_map(|choices| {
        let numbered = (1_i64..).zip(choices);
        numbered.map(|(position, choice)| event(position, choice)).collect()
    })
}

fn event(position: i64, choice: (usize, i64, bool, bool, i64)) -> StoredEvent {
    let (what, target, by_alice, encrypted, n) = choice;
    let (sender, target) = (if by_alice { ALICE } else { BOB }, format!("${target}"));
    let (kind, content) = match what {
        0 | 1 => ("m.room.message", text("text")),
        2 => ("m.room.message", edit(&format!("edit {position}"), &target)),
        3 => ("m.reaction", reaction(["👍", "👎", "🎉"][usize::try_from(n).unwrap_or(0)], &target)),
        4 => ("m.room.message", reply("answer", &target)),
        5 => (
            "m.room.message",
            json!({"msgtype": "m.text", "body": "t", "m.relates_to": {
            "rel_type": "m.thread", "event_id": target, "m.in_reply_to": {"event_id": target}}}),
        ),
        6 => ("m.room.redaction", json!({"redacts": target, "reason": "r"})),
        7 | 8 => (
            "m.room.member",
            member(sender, ["join", "leave", "ban"][usize::try_from(n).unwrap_or(0)]),
        ),
        9 => ("m.room.topic", json!({"state_key": "", "topic": "t"})),
        10 => return unreadable(position, sender),
        _ => ("m.sticker", json!({"body": "s"})),
    };
    match kind {
        "m.room.message" | "m.sticker" if encrypted => secret(position, sender, kind, content),
        _ => clear(position, sender, kind, content),
    }
}

/// Items without their versions, which count arrivals.
fn items(timeline: &Timeline) -> Vec<(ItemId, Timestamp, String)> {
    timeline.items().map(|item| (item.id.clone(), item.ts, line(&item))).collect()
}

proptest! {
    #[test]
    fn every_order_of_arrival_gives_the_same_items(
        (events, shuffled, cut) in room().prop_flat_map(|events| {
            let cut = 0..=events.len();
            (Just(events.clone()), Just(events).prop_shuffle(), cut)
        }),
        gap in 0..14_i64,
        read in 1..14_i64,
    ) {
        let marks = [
            TimelineDelta::Gap { position: gap },
            TimelineDelta::FullyRead(id(&format!("${read}"))),
            TimelineDelta::ReachedStart,
        ];
        let mut straight = fold(events.clone());
        for mark in &marks {
            straight.apply(mark.clone());
        }

        let mut other = Timeline::new(user(ALICE));
        let (first, second) = shuffled.split_at(cut);
        other.apply(TimelineDelta::Events(first.to_vec()));
        for mark in marks.iter().rev() {
            other.apply(mark.clone());
        }
        for event in second {
            other.apply(TimelineDelta::Events(vec![event.clone()]));
        }
        prop_assert_eq!(items(&straight), items(&other));

        // Once more is the same as once, and nothing has to be laid out again.
        let versions: Vec<u64> = other.items().map(|item| item.version).collect();
        other.apply(TimelineDelta::Events(events));
        for mark in &marks {
            other.apply(mark.clone());
        }
        prop_assert_eq!(items(&straight), items(&other));
        prop_assert_eq!(versions, other.items().map(|item| item.version).collect::<Vec<_>>());

        // Both ends meet.
        let mut backwards: Vec<_> = other.items().rev().map(|item| item.id).collect();
        backwards.reverse();
        prop_assert_eq!(backwards, other.items().map(|item| item.id).collect::<Vec<_>>());
    }

    #[test]
    fn an_item_that_looks_different_has_another_version(
        events in room(), last in room(),
    ) {
        let mut timeline = fold(events);
        let look = |timeline: &Timeline| -> std::collections::BTreeMap<ItemId, (u64, String)> {
            timeline.items().map(|item| (item.id.clone(), (item.version, line(&item)))).collect()
        };
        for mut event in last {
            let before = look(&timeline);
            event.position += 100;
            event.event.event_id = Some(id(&format!("${}", event.position)));
            timeline.apply(TimelineDelta::Events(vec![event]));
            for (item, (version, text)) in look(&timeline) {
                let known = before.get(&item).filter(|known| known.0 == version);
                prop_assert!(known.is_none_or(|known| known.1 == text), "{:?} {}", item, text);
            }
        }
    }

    #[test]
    fn no_json_breaks_the_timeline(
        contents in prop::collection::vec((any_json(), any_json(), 0..7_usize), 0..12),
    ) {
        let kinds = ["m.room.message", "m.reaction", "m.room.member", "m.room.redaction",
            "m.poll.start", "m.room.name", "m.sticker"];
        let events = contents.into_iter().zip(1_i64..).map(|((content, unsigned, kind), position)| {
            let json = json!({"type": kinds[kind], "event_id": format!("${position}"),
                "sender": ALICE, "origin_server_ts": content, "unsigned": unsigned,
                "state_key": kinds[kind].strip_prefix("m.room.n").map(|_| ""),
                "content": if content.is_object() { content.clone() } else { json!({"x": content}) }});
            let event = Event::parse(&json.to_string()).expect("an event");
            StoredEvent { position, event, body: EventBody::Clear(Shield::None) }
        });
        let timeline = fold(events);
        prop_assert!(shown(&timeline).len() <= timeline.len());
    }
}

/// Arbitrary JSON that likes the field names of contents.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        prop::sample::select(vec!["$1", "m.replace", "m.annotation", "m.thread", "m.image", ALICE])
            .prop_map(Value::from),
    ];
    let name = prop_oneof![
        ".{0,4}",
        prop::sample::select(vec![
            "m.relates_to",
            "rel_type",
            "event_id",
            "key",
            "m.in_reply_to",
            "m.new_content",
            "body",
            "msgtype",
            "info",
            "size",
            "m.text",
            "m.poll",
            "question",
            "membership",
            "redacts",
            "redacted_because",
            "sender",
            "content",
            "prev_content",
            "transaction_id",
            "reason",
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

// A-30
#[test]
fn a_key_that_is_no_mark_of_anything_is_no_reaction() {
    let mut events = vec![clear(1, BOB, "m.room.message", text("x"))];
    let keys = ["👍".to_owned(), "x".repeat(256), "x".repeat(257), "x".repeat(60_000), " ".into()];
    for (n, key) in (2..).zip(&keys) {
        events.push(clear(n, ALICE, "m.reaction", reaction(key, "$1")));
    }
    let timeline = fold(events);
    let first = timeline.items().next().expect("an item");
    let ItemKind::Message(message) = first.kind else { panic!("no message") };
    let shown: Vec<usize> = message.reactions.iter().map(|it| it.key.len()).collect();
    assert_eq!(shown, [256, 4]);
}

#[test]
fn a_flood_at_one_message_stays_cheap_to_take() {
    // Quadratic folding would take minutes here.
    let mut timeline = fold([clear(1, BOB, "m.room.message", text("x"))]);
    for n in 2..30_000 {
        let content = match n % 3 {
            0 => reaction(&format!("{n}"), "$1"),
            1 => edit("by somebody else", "$1"),
            _ => reply("again", "$1"),
        };
        let kind = if n % 3 == 0 { "m.reaction" } else { "m.room.message" };
        timeline.apply(TimelineDelta::Events(vec![clear(n, ALICE, kind, content)]));
    }
    let first = timeline.items().next().expect("an item");
    let ItemKind::Message(message) = first.kind else { panic!("no message") };
    assert_eq!((message.reactions.len(), message.is_edited), (50, false));
    timeline.trim(100);
    assert_eq!(timeline.len(), 100);
}

//! What a room is, whatever was sent.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    e2ee::HistoryVisibility,
    matrix::{Event, Membership, OwnedRoomId, RoomHeroes, RoomId, UserId},
    rooms::{RoomKind, RoomSummary},
    time::Timestamp,
};

const ME: &str = "@me:x";

fn user(id: &str) -> &UserId {
    <&UserId>::try_from(id).expect("a user id")
}

fn room_id(id: &str) -> OwnedRoomId {
    RoomId::parse(id).expect("a room id")
}

fn state(kind: &str, key: &str, content: &Value) -> Event {
    let json = json!({"type": kind, "state_key": key, "sender": "@admin:x", "content": content});
    Event::parse(&json.to_string()).expect("an event")
}

fn member(user: &str, membership: &str, name: &str) -> Event {
    state("m.room.member", user, &json!({"membership": membership, "displayname": name}))
}

fn room(events: impl IntoIterator<Item = Event>) -> RoomState {
    let mut room = RoomState::new(&room_id("!r:x"), user(ME));
    for event in events {
        room.apply(&event);
    }
    room
}

fn created() -> Event {
    state("m.room.create", "", &json!({"room_version": "11"}))
}

#[test]
fn clear_text_needs_a_known_room_that_was_never_encrypted() {
    let mut room = room([]);
    assert!(room.clear().is_none(), "its state has not arrived");
    room.apply(&created());
    assert_eq!(room.clear().map(|clear| clear.room_id().as_str()), Some("!r:x"));
    for odd in [json!({"algorithm": "m.megolm.v1.aes-sha2"}), json!({}), json!({"algorithm": 7})] {
        let mut room = room.clone();
        room.apply(&state("m.room.encryption", "", &odd));
        assert!(room.clear().is_none(), "{odd}");
        room.apply(&state("m.room.encryption", "", &json!({"algorithm": "none"})));
        room.apply(&created());
        assert!(room.clear().is_none() && room.is_encrypted());
    }
    room.apply(&state("m.room.encryption", "other", &json!({"algorithm": "m.megolm"})));
    assert!(room.clear().is_some(), "another state key means nothing");
    room.latch_encrypted();
    assert!(room.clear().is_none());
}

#[test]
fn a_room_is_called_by_its_name_its_alias_or_its_people() {
    let name = |name: &str| state("m.room.name", "", &json!({"name": name}));
    let alias = state("m.room.canonical_alias", "", &json!({"alias": "#den:x"}));
    let people = |names: &[&str]| {
        let mut events = vec![member(ME, "join", "Me")];
        events.extend(names.iter().map(|name| member(&format!("@{name}:x"), "join", name)));
        events
    };
    assert_eq!(room([name("Den"), alias.clone()]).name(), "Den");
    assert_eq!(room([name(" \u{3164}\u{200b}"), alias]).name(), "#den:x");
    assert_eq!(room(people(&["Ann"])).name(), "Ann");
    assert_eq!(room(people(&["Ann", "Bob"])).name(), "Ann and Bob");
    assert_eq!(room(people(&["Ann", "Bob", "Cy"])).name(), "Ann, Bob and Cy");
    let many = room(people(&["Ann", "Bob", "Cy", "Di", "Ed", "Flo", "Gus"]));
    assert_eq!(many.name(), "Ann, Bob, Cy, Di, Ed and 2 others");
    assert_eq!(room(people(&[])).name(), "Empty room");
    let left = room([member(ME, "join", "Me"), member("@ann:x", "leave", "Ann")]);
    assert_eq!(left.name(), "Empty room (was Ann)");
}

#[test]
fn heroes_of_the_server_name_a_room_whose_members_are_not_known() {
    let mut room = room([member("@ann:x", "join", "Ann")]);
    let heroes = [ME, "@ann:x", "@bob:x"].map(|id| user(id).to_owned()).to_vec();
    room.apply_heroes(&RoomHeroes { heroes: Some(heroes), joined: Some(9), invited: Some(1) });
    assert_eq!(room.name(), "Ann, @bob:x and 7 others");
    room.apply_heroes(&RoomHeroes { joined: Some(3), invited: Some(0), heroes: None });
    assert_eq!(room.name(), "Ann and @bob:x");
    assert_eq!(room.joined_count(), 3);
    room.set_all_members();
    assert_eq!(room.joined_count(), 1);
}

#[test]
fn names_that_could_be_taken_for_anothers_carry_the_id() {
    let room = room([
        member("@ann:x", "join", "Ann"),
        member("@eve:x", "join", "Аnn"),
        member("@bob:x", "join", "Bob"),
        member("@gone:x", "leave", "Bob"),
        member("@rtl:x", "join", "Cy\u{202e}"),
        member("@imp:x", "join", "@bob:x"),
        member("@blank:x", "join", "\u{3164}"),
    ]);
    for (id, name) in [
        ("@ann:x", "Ann (@ann:x)"),
        ("@eve:x", "Аnn (@eve:x)"),
        ("@bob:x", "Bob"),
        ("@gone:x", "Bob (@gone:x)"),
        ("@rtl:x", "Cy\u{202e} (@rtl:x)"),
        ("@imp:x", "@bob:x (@imp:x)"),
        ("@blank:x", "@blank:x"),
        ("@nobody:x", "@nobody:x"),
    ] {
        assert_eq!(room.display_name(user(id)), name);
    }
}

#[test]
fn a_name_is_free_again_when_its_other_holder_left() {
    let mut room = room([member("@ann:x", "join", "Ann"), member("@two:x", "join", "ann")]);
    room.apply(&member("@two:x", "leave", "ann"));
    assert_eq!(room.display_name(user("@ann:x")), "Ann");
    room.apply(&member("@two:x", "join", "Ann"));
    room.apply(&member("@two:x", "join", "Two"));
    assert_eq!(room.display_name(user("@ann:x")), "Ann");
}

#[test]
fn keys_go_to_the_joined_and_the_invited() {
    let mut room = room([
        member(ME, "join", "Me"),
        member("@ann:x", "join", "Ann"),
        member("@inv:x", "invite", "Inv"),
        member("@knock:x", "knock", ""),
        member("@ban:x", "ban", ""),
        member("@odd:x", "something", ""),
        member("no user", "join", ""),
        state("m.room.history_visibility", "", &json!({"history_visibility": "joined"})),
    ]);
    let to = room.recipients();
    assert_eq!(to.joined, [user("@ann:x"), user(ME)]);
    assert_eq!(to.invited, [user("@inv:x")]);
    assert_eq!(to.history_visibility, HistoryVisibility::Joined);
    room.assume_invited(user("@new:x"));
    room.assume_invited(user("@ann:x"));
    assert_eq!(room.recipients().invited, [user("@inv:x"), user("@new:x")]);
    assert_eq!(room.membership(user("@ann:x")), Some(MemberState::Join));
    assert_eq!(room.membership(user("@odd:x")), Some(MemberState::Leave));
}

#[test]
fn an_invite_tells_who_invites_and_whether_it_is_a_direct_chat() {
    let invite = json!({"membership": "invite", "is_direct": true});
    let room = room([
        member("@admin:x", "join", "Ada"),
        state("m.room.member", ME, &invite),
        state("m.room.topic", "", &json!({"topic": "tea"})),
    ]);
    let mut summary = RoomSummary {
        room_id: room_id("!r:x"),
        name: String::new(),
        kind: RoomKind::Group,
        membership: Membership::Invite,
        encrypted: true,
        unread: 3,
        highlights: 1,
        members: 0,
        topic: None,
        last_activity: Timestamp(9),
        inviter: None,
    };
    room.fill(&mut summary);
    assert_eq!((summary.name.as_str(), summary.kind), ("Ada", RoomKind::Dm));
    assert_eq!(summary.inviter.as_deref(), Some("Ada (@admin:x)"));
    assert_eq!((summary.unread, summary.members), (3, 1));
    assert!(summary.encrypted, "what was seen encrypted stays so");
    assert_eq!(summary.topic.as_deref(), Some("tea"));
}

#[test]
fn upgrades_are_followed_only_both_ways_and_never_in_circles() {
    let make = |id: &str, from: Option<&str>, to: Option<&str>| {
        let mut room = RoomState::new(&room_id(id), user(ME));
        let create = from.map_or(json!({}), |from| json!({"predecessor": {"room_id": from}}));
        room.apply(&state("m.room.create", "", &create));
        if let Some(to) = to {
            room.apply(&state("m.room.tombstone", "", &json!({"replacement_room": to})));
        }
        (room_id(id), room)
    };
    let rooms = BTreeMap::from([
        make("!a:x", None, Some("!b:x")),
        make("!b:x", Some("!a:x"), Some("!c:x")),
        make("!c:x", Some("!stranger:x"), None),
        make("!one:x", Some("!two:x"), Some("!two:x")),
        make("!two:x", Some("!one:x"), Some("!one:x")),
        make("!self:x", Some("!self:x"), Some("!self:x")),
    ]);
    let newest = |id: &str| {
        let start = rooms.get(&room_id(id)).expect("the room");
        newest_successor(start, |id| rooms.get(id)).map(|id| id.to_string())
    };
    assert_eq!(newest("!a:x").as_deref(), Some("!b:x"));
    assert_eq!(newest("!c:x"), None);
    assert_eq!(newest("!one:x").as_deref(), Some("!two:x"));
    assert_eq!(newest("!self:x"), None);
}

#[test]
fn direct_chats_are_read_leniently() {
    let content = json!({"@a:x": ["!1:x", 7, "odd"], "nobody": ["!2:x"], "@b:x": "!3:x"});
    let event = state("m.direct", "", &content);
    let rooms: Vec<String> = direct_rooms(&event).iter().map(ToString::to_string).collect();
    assert_eq!(rooms, ["!1:x", "!2:x"]);
}

/// State events for distinct keys, of all the kinds that are read, with any content.
fn any_state() -> impl Strategy<Value = Vec<Event>> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        prop::sample::select(vec!["join", "invite", "leave", "ban", "!r:x", "m.space", "12", ME])
            .prop_map(Value::from),
    ];
    let names = vec![
        "membership",
        "displayname",
        "name",
        "alias",
        "topic",
        "users",
        "events",
        "redact",
        "type",
        "room_version",
        "additional_creators",
        "predecessor",
        "room_id",
        "replacement_room",
        "algorithm",
        "history_visibility",
        "is_direct",
        ME,
    ];
    let content = leaf.prop_recursive(3, 24, 5, move |inner| {
        let names = prop::sample::select(names.clone()).prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(names, inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    let object = content.prop_filter("contents are objects", Value::is_object);
    let key = prop::sample::select(vec![
        ("m.room.member", ME),
        ("m.room.member", "@a:x"),
        ("m.room.member", "@b:x"),
        ("m.room.member", "nobody"),
        ("m.room.create", ""),
        ("m.room.name", ""),
        ("m.room.canonical_alias", ""),
        ("m.room.topic", ""),
        ("m.room.encryption", ""),
        ("m.room.tombstone", ""),
        ("m.room.history_visibility", ""),
    ]);
    prop::collection::btree_map(key, object, 0..12).prop_map(|events| {
        events.into_iter().map(|((kind, key), content)| state(kind, key, &content)).collect()
    })
}

fn look(room: &RoomState) -> String {
    format!(
        "{} {:?} {:?} {:?} {} {:?} {:?}",
        room.name(),
        room.names(),
        room.recipients(),
        room.kind(),
        room.clear().is_some(),
        room.inviter(),
        room.successor(),
    )
}

proptest! {
    #[test]
    fn any_state_in_any_order_gives_one_room(
        (events, shuffled) in any_state().prop_flat_map(|events| {
            (Just(events.clone()), Just(events).prop_shuffle())
        }),
    ) {
        let straight = room(events.clone());
        let mut other = room(shuffled);
        prop_assert_eq!(look(&straight), look(&other));
        for event in &events {
            other.apply(event);
        }
        prop_assert_eq!(look(&straight), look(&other));
    }
}

//! Why a message can be read or cannot: told of real messages, by the command line and on the screen.

use serde_json::Value;

use crate::{
    grotto::Grotto,
    headless::{fails, play, send},
    homeserver::On,
    scenario,
};

scenario::on_both! {
    a_message_from_before_a_login_says_so_and_what_would_help,
    a_message_that_was_read_says_whose_key_opened_it,
}

fn why(grotto: &Grotto, room: &str, event: &str) -> Value {
    grotto.json(&["keys", "why", room, event]).remove(0)
}

fn a_message_from_before_a_login_says_so_and_what_would_help(on: On) {
    let place = on.shared();
    let scene = play(&place.base, Grotto::log_in(place, "alice"));
    let event = send(&scene.alice, &[&scene.room, "long ago"]);
    let later = Grotto::log_in_again(place, &scene.alice.user);
    let read = later.json(&["history", &scene.room, "--limit", "20"]);
    let line = read.iter().find(|line| line["event_id"] == event.as_str()).expect("the event");
    assert_eq!(
        (line["type"].as_str(), line["reason"].as_str()),
        (Some("undecryptable"), Some("before_login"))
    );
    let story = why(&later, &scene.room, &event);
    assert_eq!(story["undecryptable"], "before_login");
    assert_eq!(story["key"]["held"], Value::Null);
    let mut terminal = later.open((90, 24));
    terminal.shows("Garden");
    terminal.type_keys("\r");
    terminal.shows("older than this login");
    terminal.type_keys("\t");
    terminal.type_keys("w");
    terminal.shows("this device does not have it");
}

fn a_message_that_was_read_says_whose_key_opened_it(on: On) {
    let place = on.shared();
    let mut scene = play(&place.base, Grotto::log_in(place, "alice"));
    let own = send(&scene.alice, &[&scene.room, "hello"]);
    let echo = scene.tail.find("the echo", |line| {
        line["type"] == "message"
            && line["sender"] == scene.bob.user.as_str()
            && line["body"].as_str().is_some_and(|body| body.contains("hello"))
    });
    let story = why(&scene.alice, &scene.room, &own);
    assert_eq!(
        (&story["key"]["held"]["source"], &story["key"]["message_index"]),
        (&"own".into(), &1.into())
    );
    let story = why(&scene.alice, &scene.room, echo["event_id"].as_str().unwrap());
    assert_eq!(story["key"]["held"]["source"], "olm");
    assert_eq!(story["key"]["held"]["sender"], scene.bob.user.as_str());
    let unknown = scene.alice.run(&["keys", "why", &scene.room, "$nothing"]);
    fails(&unknown, 1, "no event $nothing");
}

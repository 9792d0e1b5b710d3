//! The rig itself: what the other tests stand on must work without grotto.

use serde_json::json;

use crate::{
    homeserver::{Homeserver, On, RateLimits},
    rig::{Peer, Stack, Terminal},
    scenario,
};

scenario::on_both! {
    both_kinds_of_peer_talk_to_each_other_through_the_shared_homeserver,
    a_homeserver_can_be_killed_and_started_again,
}

fn both_kinds_of_peer_talk_to_each_other_through_the_shared_homeserver(on: On) {
    let base = on.shared().base.as_str();
    for (one, other) in [(Stack::Nio, Stack::Sdk), (Stack::Sdk, Stack::Nio)] {
        let mut bob = Peer::start_echo(one, base, "bob");
        let mut carol = Peer::start(other, base, "carol");
        let room = carol.create("rig", &[&bob.user]);
        bob.find("bob's join", |line| line["k"] == "joined" && line["room"] == room.as_str());
        carol.find("the join at carol", |line| {
            line["content"]["membership"] == "join" && line["sender"] == bob.user.as_str()
        });
        carol.say(&room, "hello");
        bob.hears("hello");
        carol.hears("echo: hello");
    }
}

fn a_homeserver_can_be_killed_and_started_again(on: On) {
    let mut homeserver = Homeserver::start(on, RateLimits::Tight);
    let base = homeserver.place.base.clone();
    homeserver.kill();
    homeserver.start_again();
    let answer = crate::rig::http(&base, "GET", "/_matrix/client/versions", None, &json!(null));
    assert!(answer["versions"].is_array(), "{answer}");
}

#[test]
fn a_terminal_shows_what_a_program_prints() {
    let mut terminal = Terminal::start((40, 5), &["sh", "-c", "read line; echo \"[$line]\""], &[]);
    terminal.type_keys("typed\r");
    terminal.shows("[typed]");
    assert_eq!(terminal.exit_status(), 0);
}

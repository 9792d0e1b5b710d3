//! Single sessions that are looked for until the backup has them.

use std::time::Duration;

use super::scene::{ME, Talk, backed_up, room};
use crate::{
    e2ee::{BackupSearch, Decryption, tests::harness::World},
    time::Timestamp,
};

/// A device with a backup that lacks what a message needs.
fn missed() -> (World, Talk) {
    let (mut world, talk) = (backed_up(1), Talk::of("@b:x"));
    let read = world.decrypt(0, &room(0), &talk.event);
    assert!(matches!(read, Decryption::Undecryptable(_)));
    (world, talk)
}

// U21
#[test]
fn a_missing_session_is_looked_for_with_growing_pauses_until_it_is_there() {
    let (mut world, talk) = missed();
    world.settle();
    let asked = |world: &World| {
        let served = world.server.served.iter().map(|(_, request)| request);
        let id =
            percent_encoding::utf8_percent_encode(&talk.id, percent_encoding::NON_ALPHANUMERIC)
                .to_string();
        served.filter(|it| it.path.ends_with(&id)).count()
    };
    assert_eq!(asked(&world), 0, "the whole room was asked for, and lacks it");
    for _ in 0..60 {
        world.pass(Duration::from_secs(1));
        world.settle();
    }
    assert_eq!(asked(&world), 3, "after 5, 10 and 20 seconds more each");
    world.clients[0].restart(world.now);
    let story =
        world.at(0, |machine, step| machine.key_story(&room(0), &talk.event, step).unwrap());
    let Some(BackupSearch::Missing { times, last_at: Some(last), retry_at }) = story.backup else {
        panic!("{:?}", story.backup);
    };
    assert_eq!((times, retry_at.since(last)), (4, Duration::from_secs(40)));
    assert!(world.now.since(last) < Duration::from_secs(40), "it says when it looked last");
    // Another device has it and uploads it.
    let other = world.log_in(ME, "OTHER");
    world.connect(other);
    world.import(other, &[talk.whole]);
    world.rest();
    for _ in 0..60 {
        world.pass(Duration::from_secs(1));
        world.settle();
    }
    assert!(matches!(world.decrypt(0, &room(0), &talk.event), Decryption::Decrypted(_)));
}

#[test]
fn a_session_is_looked_for_within_its_pause_though_the_clock_was_set_back() {
    let (mut world, talk) = missed();
    world.rest();
    world.now = Timestamp(world.now.0 - 86_400_000);
    world.clients[0].restart(world.now);
    let other = world.log_in(ME, "OTHER");
    world.connect(other);
    world.import(other, &[talk.whole]);
    world.rest();
    world.rest();
    assert!(matches!(world.decrypt(0, &room(0), &talk.event), Decryption::Decrypted(_)));
}

//! Keys that come by other ways: from another device after a comparison of emoji, and from a file.

use grotto::{
    engine::{Outcome, Request, SecretText},
    matrix::OwnedRoomId,
};

use super::{
    Story,
    person::Person,
    recovery::recoverable,
    sharing::{lines, reads},
    survives,
};
use crate::sim::world::World;

const ALICE: &str = "@a:sim";
const LINE: &str = "the box with the letters";

/// A new device gets the account's keys from the old one.
struct Emoji {
    old: Person,
    new: Person,
    room: String,
}

impl Story for Emoji {
    fn begin() -> (World, Self) {
        let (mut world, old, room) = recoverable();
        let new = Person::newcomer(&mut world, ALICE, "NEW");
        world.clients.iter_mut().for_each(|client| client.has_true_clock = true);
        (world, Self { old, new, room })
    }

    fn look(&mut self, world: &mut World) {
        let Self { old, new, .. } = self;
        old.tend(world);
        new.tend(world);
        old.go_on_verifying(world, new);
        let busy = new.go_on_verifying(world, old);
        let wants = new.sees(world).is_some() && !new.is_ready(world);
        if wants && !busy && new.is_idle() {
            let user = ALICE.try_into().expect("a user");
            new.ask(world, Request::Verify { user, device: None, scan: Default::default() });
        }
    }

    fn is_over(&self, world: &World) -> bool {
        self.new.is_ready(world) && self.old.is_ready(world)
    }

    fn check(&mut self, world: &mut World) {
        let Self { old, new, room } = self;
        assert_eq!(world.server.identities_taken, 1);
        assert_eq!(world.server.backup_keys(ALICE).len(), 1);
        for person in [old, &mut *new] {
            person.ask(world, Request::Identity { user: None });
            let Ok(Outcome::Identity { cross_signed, .. }) = person.hear(world) else { panic!() };
            assert!(cross_signed);
        }
        reads(world, new.client, room, LINE);
    }
}

/// Keys of a file are read on a device that has nothing else.
struct Import {
    new: Person,
    keys: Vec<SecretText>,
    room: String,
}

impl Import {
    fn is_read(&self, world: &World) -> bool {
        let room: OwnedRoomId = self.room.as_str().try_into().expect("a room");
        lines(world, 1, &room).iter().any(|line| line == LINE)
    }
}

impl Story for Import {
    fn begin() -> (World, Self) {
        let (mut world, mut old, room) = recoverable();
        old.ask(&mut world, Request::ExportKeys { after: None });
        let Ok(Outcome::ExportedKeys { keys, next: None }) = old.hear(&mut world) else { panic!() };
        let new = Person::newcomer(&mut world, ALICE, "NEW");
        (world, Self { new, keys, room })
    }

    fn look(&mut self, world: &mut World) {
        self.new.read(world);
        if self.new.is_idle() && self.new.sees(world).is_some() && !self.is_read(world) {
            self.new.ask(world, Request::ImportKeys { keys: self.keys.clone() });
        }
    }

    fn is_over(&self, world: &World) -> bool {
        self.is_read(world) && self.new.is_idle()
    }

    fn check(&mut self, world: &mut World) {
        reads(world, 1, &self.room, LINE);
        self.new.ask(world, Request::ImportKeys { keys: self.keys.clone() });
        let Ok(Outcome::ImportedKeys(counts)) = self.new.hear(world) else { panic!() };
        assert_eq!((counts.improved, counts.refused), (0, 0), "{counts:?}");
    }
}

#[test]
fn a_comparison_of_emoji_survives_a_death_of_the_new_device_at_any_point() {
    survives::<Emoji>(1, 20);
}

#[test]
fn a_comparison_of_emoji_survives_a_death_of_the_old_device_at_any_point() {
    survives::<Emoji>(0, 10);
}

#[test]
fn an_import_of_keys_survives_a_death_at_any_point() {
    survives::<Import>(1, 5);
}

//! Setting recovery up, starting anew, and the recovery key typed on another device.

use std::time::Duration;

use grotto::engine::{Outcome, RecoveryState, Request, SecretText};

use super::{
    Story, pause,
    person::Person,
    sharing::{reads, room_of, says},
    survives,
};
use crate::sim::{
    client::Client,
    queue::Event,
    world::{Faults, World},
};

const ALICE: &str = "@a:sim";
const LINE: &str = "the box with the letters";

/// A world with one device of Alice, who is alone in a room.
fn alone() -> (World, Person, String) {
    let mut world = World::new(7, vec![Client::new(ALICE, "A1")], Faults::default(), false);
    let room = room_of(&mut world, &[ALICE], "shared");
    let alice = Person::at(&mut world, 0);
    (world, alice, room)
}

/// The same with recovery set up, a line said, and its key in the backup.
pub(super) fn recoverable() -> (World, Person, String) {
    let (mut world, mut alice, room) = alone();
    alice.settle(&mut world);
    says(&mut world, 0, &room, LINE);
    (world, alice, room)
}

/// A new login with what was written down reads what was said before it.
fn a_new_login_reads(world: &mut World, key: &str, room: &str) {
    let mut late = Person::newcomer(world, ALICE, "LATE").with_paper(key);
    late.settle(world);
    assert_eq!(late.typed, 1);
    reads(world, late.client, room, LINE);
}

/// A key that is not the account's any more opens nothing.
fn opens_nothing(world: &mut World, key: &str) {
    let mut late = Person::newcomer(world, ALICE, "OLD");
    while late.sees(world).is_none() {
        pause(world);
    }
    late.ask(world, Request::Recover { secret: SecretText::from(key.to_owned()) });
    let refused = late.hear(world).unwrap_err();
    assert_eq!(refused.code, "wrong_recovery_key");
}

/// From the first start to a recovery key on paper.
struct SetUp {
    alice: Person,
    room: String,
}

impl Story for SetUp {
    fn begin() -> (World, Self) {
        let (world, alice, room) = alone();
        (world, Self { alice, room })
    }

    fn look(&mut self, world: &mut World) {
        self.alice.tend(world);
    }

    fn is_over(&self, world: &World) -> bool {
        self.alice.is_ready(world) && self.alice.is_idle()
    }

    fn check(&mut self, world: &mut World) {
        let Self { alice, room } = self;
        assert_eq!(world.server.identities_taken, 1);
        let [key] = &alice.shown[..] else { panic!("{} keys were shown", alice.shown.len()) };
        // A creation whose answer was lost is asked for again, with the same key.
        let mut backups = world.server.backup_keys(ALICE);
        backups.dedup();
        assert_eq!(backups.len(), 1, "{backups:?}");
        says(world, 0, room, LINE);
        a_new_login_reads(world, key, room);
    }
}

/// All anew, of an account that has everything.
struct StartFresh {
    alice: Person,
    old: String,
    room: String,
    /// How often Alice looked; she asks again when nothing came of it for a while.
    looks: usize,
}

impl Story for StartFresh {
    fn begin() -> (World, Self) {
        let (world, alice, room) = recoverable();
        let old = alice.paper.clone().expect("a key");
        (world, Self { alice, old, room, looks: 0 })
    }

    fn look(&mut self, world: &mut World) {
        self.alice.tend(world);
        let wants = self.alice.shown.len() == 1 && self.looks.is_multiple_of(60);
        self.looks += 1;
        if wants && self.alice.is_idle() && self.alice.is_ready(world) {
            self.alice.ask(world, Request::StartFresh);
        }
    }

    fn is_over(&self, world: &World) -> bool {
        1 < self.alice.shown.len() && self.alice.is_ready(world) && self.alice.is_idle()
    }

    fn check(&mut self, world: &mut World) {
        let Self { alice, old, room, .. } = self;
        let [first, new] = &alice.shown[..] else { panic!("{} keys", alice.shown.len()) };
        assert_eq!((&*old, first != new), (first, true));
        assert!(alice.typed == 0, "the old key is not asked for");
        assert_eq!(world.server.identities_taken, 2);
        let mut backups = world.server.backup_keys(ALICE);
        backups.dedup();
        assert_eq!(backups.len(), 2, "{backups:?}");
        says(world, 0, room, "all is new");
        opens_nothing(world, old);
        a_new_login_reads(world, new, room);
    }
}

/// The recovery key typed on a new device.
struct Recover {
    late: Person,
    room: String,
}

impl Story for Recover {
    fn begin() -> (World, Self) {
        let (mut world, alice, room) = recoverable();
        let key = alice.paper.expect("a key");
        let late = Person::newcomer(&mut world, ALICE, "LATE").with_paper(&key);
        (world, Self { late, room })
    }

    fn look(&mut self, world: &mut World) {
        self.late.tend(world);
    }

    fn is_over(&self, world: &World) -> bool {
        self.late.is_ready(world) && self.late.is_idle()
    }

    fn check(&mut self, world: &mut World) {
        let Self { late, room } = self;
        // What was typed is nowhere: it is gone with the program, once at most.
        assert!(late.typed <= 2, "typed {} times", late.typed);
        assert_eq!(world.server.identities_taken, 1);
        assert_eq!(world.server.backup_keys(ALICE).len(), 1);
        reads(world, late.client, room, LINE);
        let request = Request::Identity { user: None };
        late.ask(world, request);
        let Ok(Outcome::Identity { cross_signed, .. }) = late.hear(world) else { panic!() };
        assert!(cross_signed);
        assert_eq!(late.sees(world), Some(RecoveryState::Ready));
    }
}

/// A recovery key in the place of one that is lost.
struct NewKey {
    alice: Person,
    old: String,
    room: String,
}

impl Story for NewKey {
    fn begin() -> (World, Self) {
        let (mut world, alice, room) = recoverable();
        start_again(&mut world);
        let old = alice.paper.clone().expect("a key");
        (world, Self { alice, old, room })
    }

    fn look(&mut self, world: &mut World) {
        self.alice.tend(world);
        let wants = self.alice.shown.len() == 1;
        if wants && self.alice.is_idle() && self.alice.is_ready(world) {
            self.alice.ask(world, Request::RenewRecoveryKey { passphrase: None });
        }
    }

    fn is_over(&self, world: &World) -> bool {
        1 < self.alice.shown.len() && self.alice.is_ready(world) && self.alice.is_idle()
    }

    fn check(&mut self, world: &mut World) {
        let Self { alice, old, room } = self;
        let [first, new] = &alice.shown[..] else { panic!("{} keys", alice.shown.len()) };
        assert_eq!((&*old, first != new), (first, true));
        assert!(alice.typed == 0, "the old key is not asked for");
        assert_eq!(world.server.identities_taken, 1);
        assert_eq!(world.server.backup_keys(ALICE).len(), 1);
        opens_nothing(world, old);
        a_new_login_reads(world, new, room);
    }
}

/// A new identity alone, while the recovery key is not at hand; then it is typed.
struct Reset {
    alice: Person,
    room: String,
    /// How often Alice looked; she asks again when nothing came of it for a while.
    looks: usize,
}

impl Story for Reset {
    fn begin() -> (World, Self) {
        let (mut world, alice, room) = recoverable();
        start_again(&mut world);
        (world, Self { alice, room, looks: 0 })
    }

    fn look(&mut self, world: &mut World) {
        self.alice.tend(world);
        let wants = world.server.identities_taken == 1 && self.looks.is_multiple_of(60);
        self.looks += 1;
        if wants && self.alice.is_idle() && self.alice.is_ready(world) {
            self.alice.ask(world, Request::ResetIdentity);
        }
    }

    fn is_over(&self, world: &World) -> bool {
        let is_new = 1 < world.server.identities_taken;
        is_new && self.alice.is_ready(world) && self.alice.is_idle()
    }

    fn check(&mut self, world: &mut World) {
        let Self { alice, room, .. } = self;
        assert_eq!((alice.shown.len(), 0 < alice.typed), (1, true));
        assert_eq!(world.server.identities_taken, 2);
        assert_eq!(world.server.backup_keys(ALICE).len(), 1);
        a_new_login_reads(world, &alice.shown[0], room);
    }
}

/// The program of the first client ends and starts again: what was typed is forgotten.
fn start_again(world: &mut World) {
    world.step(0, |client, _| client.stop());
    let client = &mut world.clients[0];
    client.crashes = 0;
    client.heard.clear();
    world.after(10, Event::Start(0));
    world.run(Duration::from_secs(120), |world| world.clients[0].owner.told.is_some());
    assert!(world.run(Duration::from_secs(600), World::is_quiet));
}

#[test]
fn a_new_recovery_key_survives_a_death_at_any_point() {
    survives::<NewKey>(0, 20);
}

#[test]
fn a_new_identity_survives_a_death_at_any_point() {
    survives::<Reset>(0, 15);
}

#[test]
fn setting_recovery_up_survives_a_death_at_any_point() {
    survives::<SetUp>(0, 15);
}

#[test]
fn a_start_anew_survives_a_death_at_any_point() {
    survives::<StartFresh>(0, 15);
}

#[test]
fn recovering_survives_a_death_at_any_point() {
    survives::<Recover>(1, 15);
}

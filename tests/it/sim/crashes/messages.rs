//! The scenarios of complement-crypto that are about messages, told with a death of one of the programs
//! at every point of them. What is seen in the end is judged as in every schedule.

use std::time::Duration;

use super::{Story, survives};
use crate::sim::{
    client::Client,
    incident::Incident,
    person::Act,
    queue::Event,
    rng::Rng,
    schedule::{FOUNDER, calm, found_rooms, has_keys},
    world::{Faults, World},
};

const BOB: &str = "@b:sim";

/// What happens besides the lines.
trait Scenario {
    /// Bob's second device is there from the beginning.
    const SECOND: bool = false;

    /// What happens after so many milliseconds.
    fn happens(rooms: &[String]) -> Vec<(u64, Event)>;
}

/// Two users say lines to each other while something happens.
struct Talk<S> {
    rooms: Vec<String>,
    begun: bool,
    /// People look once a second.
    looks: u64,
    scenario: std::marker::PhantomData<S>,
}

impl<S: Scenario> Story for Talk<S> {
    fn begin() -> (World, Self) {
        let mut clients = vec![Client::new(FOUNDER, "A1"), Client::new(BOB, "B1")];
        if S::SECOND {
            clients.push(Client::new(BOB, "B2"));
        }
        let mut world = World::new(5, clients, Faults::default(), false);
        let rooms = found_rooms(&mut world, &mut Rng::new(5));
        assert!(world.run(Duration::from_secs(900), has_keys));
        let scenario = std::marker::PhantomData;
        (world, Self { rooms, begun: false, looks: 0, scenario })
    }

    fn look(&mut self, world: &mut World) {
        self.looks += 1;
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let room = &self.rooms[0];
        for (pause, client, line) in [(0, 0, "one"), (4_000, 1, "two"), (8_000, 0, "three")] {
            world.type_after(pause, client, room, line);
        }
        for (pause, event) in S::happens(&self.rooms) {
            world.after(pause, event);
        }
    }

    fn is_over(&self, _world: &World) -> bool {
        12 < self.looks
    }

    fn check(&mut self, world: &mut World) {
        calm(5, world, &self.rooms);
    }
}

/// TestAliceBobEncryptionWorks
struct Plain;
impl Scenario for Plain {
    fn happens(_: &[String]) -> Vec<(u64, Event)> {
        Vec::new()
    }
}

/// TestFallbackKeyIsUsedIfOneTimeKeysRunOut
struct NoOneTimeKeys;
impl Scenario for NoOneTimeKeys {
    fn happens(_: &[String]) -> Vec<(u64, Event)> {
        vec![(0, Event::Incident(Incident::Exhaust(1))), (0, Event::Incident(Incident::Exhaust(0)))]
    }
}

/// TestRoomKeyIsCycledOnDeviceLogout
struct DeviceLogsOut;
impl Scenario for DeviceLogsOut {
    const SECOND: bool = true;

    fn happens(_: &[String]) -> Vec<(u64, Event)> {
        vec![(6_000, Event::Incident(Incident::LogOut(2)))]
    }
}

/// TestOnNewDeviceBobCanSeeButNotDecryptHistoryInPublicRoom, with a backup: he can
struct NewDevice;
impl Scenario for NewDevice {
    fn happens(rooms: &[String]) -> Vec<(u64, Event)> {
        let device = (BOB.to_owned(), "N1".to_owned());
        vec![(2_000, Event::Incident(Incident::NewDevice(device, rooms[..1].to_vec())))]
    }
}

/// TestRoomKeyIsCycledOnMemberLeaving, TestOnRejoinBobCanSeeButNotDecryptHistoryInPublicRoom
struct LeavesAndComes;
impl Scenario for LeavesAndComes {
    fn happens(rooms: &[String]) -> Vec<(u64, Event)> {
        let changes = [(5_000, BOB, "leave"), (9_000, FOUNDER, "invite"), (10_000, BOB, "join")];
        let changes = changes.into_iter().map(|(pause, by, membership)| {
            let (by, room, user) = (by.to_owned(), rooms[0].clone(), BOB.to_owned());
            (pause, Event::Incident(Incident::Member { by, room, user, membership }))
        });
        changes.collect()
    }
}

/// TestCanDecryptMessagesAfterInviteButBeforeJoin, TestDelayedInviteResponse: Alice writes as soon as
/// she has invited
struct WrittenToWhenInvited;
impl Scenario for WrittenToWhenInvited {
    fn happens(rooms: &[String]) -> Vec<(u64, Event)> {
        let room = &rooms[0];
        let act = |client, act| Event::Act { client, room: room.clone(), act };
        let text = "do you read this?".to_owned();
        vec![
            (1_000, act(1, Act::Leave)),
            (5_000, act(0, Act::Invite(BOB.to_owned()))),
            (5_010, Event::Type { client: 0, room: room.clone(), text }),
            (12_000, act(1, Act::Join)),
        ]
    }
}

/// TestFailedDeviceKeyDownloadRetries, TestFailedKeysClaimRetries, TestClientRetriesSendToDevice,
/// TestFailedOneTimeKeyUploadRetries: the server is away while a new device must be looked up,
/// written to and given keys
struct ServerAway;
impl Scenario for ServerAway {
    fn happens(rooms: &[String]) -> Vec<(u64, Event)> {
        let device = (BOB.to_owned(), "N1".to_owned());
        let new = Incident::NewDevice(device, rooms[..1].to_vec());
        let events = [(2_000, new), (3_500, Incident::RestartServer(3_000))];
        events.map(|(pause, incident)| (pause, Event::Incident(incident))).into()
    }
}

/// TestRoomKeyIsCycledAfterEnoughTime, and when who may read what was before changes
struct Ages;
impl Scenario for Ages {
    fn happens(rooms: &[String]) -> Vec<(u64, Event)> {
        let events = [
            (2_000, Incident::Visibility(rooms[0].clone(), "joined")),
            (6_000, Incident::Sleep(8 * 24 * 3_600_000)),
        ];
        events.map(|(pause, incident)| (pause, Event::Incident(incident))).into()
    }
}

#[test]
fn whoever_is_written_to_when_invited_survives_a_death_of_either_side_at_any_point() {
    for victim in [0, 1] {
        survives::<Talk<WrittenToWhenInvited>>(victim, 5);
    }
}

#[test]
fn a_server_that_is_away_survives_a_death_of_who_writes_at_any_point() {
    survives::<Talk<ServerAway>>(0, 5);
}

#[test]
fn a_session_that_ages_survives_a_death_of_who_writes_at_any_point() {
    survives::<Talk<Ages>>(0, 5);
}

#[test]
fn lines_survive_a_death_of_either_side_at_any_point() {
    for victim in [0, 1] {
        survives::<Talk<Plain>>(victim, 5);
    }
}

#[test]
fn keys_that_ran_out_survive_a_death_of_either_side_at_any_point() {
    for victim in [0, 1] {
        survives::<Talk<NoOneTimeKeys>>(victim, 5);
    }
}

#[test]
fn a_device_that_logs_out_survives_a_death_of_who_writes_at_any_point() {
    survives::<Talk<DeviceLogsOut>>(0, 5);
}

#[test]
fn a_new_device_survives_a_death_of_who_writes_at_any_point() {
    survives::<Talk<NewDevice>>(0, 5);
}

#[test]
fn somebody_who_leaves_and_comes_again_survives_a_death_of_who_stays_at_any_point() {
    survives::<Talk<LeavesAndComes>>(0, 5);
}

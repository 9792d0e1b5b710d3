//! When an outbound group session ends: exactly when the rules say so, whatever happened in
//! whatever order. The rules stand here once more, as a model without cleverness.

use std::{collections::BTreeSet, time::Duration};

use grotto::{
    e2ee::{HistoryVisibility, Recipients},
    matrix::OwnedUserId,
    time::Timestamp,
};
use proptest::prelude::*;
use serde_json::json;

use crate::world::World;

const ALICE: usize = 0;
const HOUR: u64 = 3_600_000;
const VISIBILITIES: [(HistoryVisibility, &str); 4] = [
    (HistoryVisibility::Joined, "joined"),
    (HistoryVisibility::Invited, "invited"),
    (HistoryVisibility::Shared, "shared"),
    (HistoryVisibility::WorldReadable, "world_readable"),
];

/// Something that happens in the room, or to somebody in it.
#[derive(Clone, Debug)]
enum Move {
    Say,
    /// Hours go by.
    Pass(u64),
    /// The program ends, the clock is set back by hours, and it starts again.
    StartEarlier(u64),
    Restart,
    /// Somebody leaves or is banned who never got the key.
    Stranger(&'static str),
    Rename,
    Gap,
    Discard,
    /// The list of who may read what.
    Visibility(usize),
    /// Carol comes, is invited, or goes, and only the list of members tells.
    Carol(Place),
    NewPhone,
    LosePhone,
    Block,
    Unblock,
    /// Most messages of a session; only less than before counts.
    Limit(u64),
    /// The room asks for another algorithm, and takes it back.
    OtherAlgorithm,
    /// The stream starts anew.
    InitialSync,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Out,
    Invited,
    In,
}

fn moves() -> impl Strategy<Value = Move> {
    let place = prop_oneof![Just(Place::Out), Just(Place::Invited), Just(Place::In)];
    prop_oneof![
        12 => Just(Move::Say),
        3 => (1..120_u64).prop_map(Move::Pass),
        1 => (1..120_u64).prop_map(Move::StartEarlier),
        1 => Just(Move::Restart),
        1 => prop_oneof![Just("leave"), Just("ban")].prop_map(Move::Stranger),
        1 => Just(Move::Rename),
        1 => Just(Move::Gap),
        1 => Just(Move::Discard),
        2 => (0..4_usize).prop_map(Move::Visibility),
        3 => place.prop_map(Move::Carol),
        2 => Just(Move::NewPhone),
        2 => Just(Move::LosePhone),
        2 => Just(Move::Block),
        2 => Just(Move::Unblock),
        1 => (2..9_u64).prop_map(Move::Limit),
        1 => Just(Move::OtherAlgorithm),
        1 => Just(Move::InitialSync),
    ]
}

/// What there is to know of a session.
struct Session {
    id: String,
    created: Timestamp,
    messages: u64,
    shared: bool,
    ended: bool,
    /// Devices that got its key.
    holders: BTreeSet<String>,
}

struct Room {
    world: World,
    session: Option<Session>,
    visibility: usize,
    carol: Place,
    /// Bob's second device, if he has one, and whether Alice blocked it.
    phone: Option<(usize, bool)>,
    phones: usize,
    limit: u64,
}

impl Room {
    fn new() -> Self {
        let devices = [("@alice:x", "ALICE"), ("@bob:x", "BOB"), ("@carol:x", "CAROL")];
        let mut world = World::new(&devices);
        world.encrypt_room();
        for (user, _) in devices {
            world.state("m.room.member", user, &json!({ "membership": "join" }));
        }
        Self {
            world,
            session: None,
            visibility: 2,
            carol: Place::In,
            phone: None,
            phones: 0,
            limit: 100,
        }
    }

    fn recipients(&self) -> Recipients {
        let user = |id: &str| OwnedUserId::try_from(id).unwrap();
        let carol = |place| (self.carol == place).then(|| user("@carol:x"));
        Recipients {
            joined: [user("@alice:x"), user("@bob:x")]
                .into_iter()
                .chain(carol(Place::In))
                .collect(),
            invited: carol(Place::Invited).into_iter().collect(),
            history_visibility: VISIBILITIES[self.visibility].0,
            unsigned_of: Vec::new(),
        }
    }

    /// Devices that are to get the key.
    fn entitled(&self) -> BTreeSet<String> {
        let mut devices = BTreeSet::from(["BOB".to_owned()]);
        if self.carol == Place::In || self.carol == Place::Invited && self.visibility != 0 {
            devices.insert("CAROL".to_owned());
        }
        if let Some((phone, false)) = self.phone {
            devices.insert(self.world.clients[phone].device.to_string());
        }
        devices
    }

    fn is_shared(&self) -> bool {
        2 <= self.visibility
    }

    /// Whether the next message must be encrypted with another session.
    fn must_end(&self, session: &Session) -> bool {
        let age = self.world.now.0.saturating_sub(session.created.0);
        session.ended
            || 7 * 24 * HOUR <= age
            || self.limit <= session.messages
            || session.shared != self.is_shared()
            || !session.holders.is_subset(&self.entitled())
    }

    fn say(&mut self) {
        let to = self.recipients();
        let event = self.world.say(ALICE, &to, "text");
        let id = event.content_str("session_id").unwrap().to_owned();
        let old = self.session.take();
        let must_end = old.as_ref().is_none_or(|session| self.must_end(session));
        assert_eq!(old.as_ref().is_none_or(|session| session.id != id), must_end);
        let mut session = old.filter(|_| !must_end).unwrap_or(Session {
            id,
            created: self.world.now,
            messages: 0,
            shared: self.is_shared(),
            ended: false,
            holders: BTreeSet::new(),
        });
        session.messages += 1;
        session.holders.extend(self.entitled());
        self.session = Some(session);
        self.check_readers(&event);
    }

    /// Who is entitled reads the message, and nobody else does.
    fn check_readers(&mut self, event: &grotto::matrix::Event) {
        let entitled = self.entitled();
        for at in 1..self.world.clients.len() {
            let device = self.world.clients[at].device.to_string();
            let read = self.world.read(at, event);
            let is_read = matches!(read, grotto::e2ee::Decryption::Decrypted(_));
            assert_eq!(is_read, entitled.contains(&device), "{device}: {read:?}");
        }
    }

    fn end(&mut self) {
        if let Some(session) = &mut self.session {
            session.ended = true;
        }
    }

    fn restart(&mut self) {
        let now = self.world.now;
        self.world.clients[ALICE].restart(now);
        if let Some(session) = &mut self.session {
            session.created = session.created.min(now);
        }
    }

    fn member(&mut self, user: &str, content: &serde_json::Value) {
        self.world.state("m.room.member", user, content);
    }

    fn trust(&mut self, blocked: bool) {
        let Some((phone, is_blocked)) = &mut self.phone else { return };
        *is_blocked = blocked;
        let (user, device) = {
            let client = &self.world.clients[*phone];
            (client.user.clone(), client.device.clone())
        };
        let now = self.world.now;
        self.world.clients[ALICE].step(now, |machine, step| {
            let known = if blocked {
                machine.block_device(&user, &device, step)
            } else {
                machine.unblock_device(&user, &device, step)
            };
            assert!(known.unwrap());
        });
    }

    fn phone(&mut self, wanted: bool) {
        match (self.phone, wanted) {
            (None, true) => {
                self.phones += 1;
                let at = self.world.add("@bob:x", &format!("PHONE{}", self.phones));
                self.phone = Some((at, false));
            }
            (Some((at, _)), false) => {
                let gone = self.world.clients.remove(at);
                self.world.server.remove_device(&gone);
                self.world.announce(&gone.user);
                self.phone = None;
                // Sent the key or not, it may have it from his other device.
                self.end();
            }
            (Some(_), true) | (None, false) => {}
        }
    }

    fn other_algorithm(&mut self) {
        let content = json!({ "algorithm": "m.other" });
        self.world.state("m.room.encryption", "", &content);
        let to = self.recipients();
        assert!(self.world.prepare(ALICE, &to).is_err());
        self.world.encrypt_room();
        self.end();
    }

    fn make(&mut self, what: &Move) {
        let (room, now) = (self.world.room.clone(), self.world.now);
        let alice = &mut self.world.clients[ALICE];
        match what {
            Move::Say => self.say(),
            Move::Pass(hours) => {
                self.world.now = now.plus(Duration::from_millis(hours * HOUR));
            }
            Move::StartEarlier(hours) => {
                self.world.now = Timestamp(now.0 - hours * HOUR);
                self.restart();
            }
            Move::Restart => self.restart(),
            Move::Stranger(how) => {
                self.member("@dave:x", &json!({ "membership": how }));
                self.end();
            }
            Move::Rename => {
                self.member("@bob:x", &json!({ "membership": "join", "displayname": "B" }));
            }
            Move::Gap => {
                alice.step(now, |machine, step| machine.receive_gap(&room, step)).unwrap();
                self.end();
            }
            Move::Discard => {
                alice.step(now, |machine, step| machine.discard_session(&room, step)).unwrap();
                self.end();
            }
            Move::Visibility(at) => {
                self.visibility = *at;
                let content = json!({ "history_visibility": VISIBILITIES[*at].1 });
                self.world.state("m.room.history_visibility", "", &content);
                let shared = self.is_shared();
                if let Some(session) = &mut self.session {
                    session.ended |= session.shared != shared;
                }
            }
            Move::Carol(place) => self.carol = *place,
            Move::NewPhone => self.phone(true),
            Move::LosePhone => self.phone(false),
            Move::Block => self.trust(true),
            Move::Unblock => self.trust(false),
            Move::Limit(messages) => {
                self.limit = self.limit.min(*messages);
                let content = json!({
                    "algorithm": "m.megolm.v1.aes-sha2", "rotation_period_msgs": messages,
                });
                self.world.state("m.room.encryption", "", &content);
            }
            Move::OtherAlgorithm => self.other_algorithm(),
            Move::InitialSync => {
                self.world.initial_sync(ALICE);
                self.end();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// T-35, T-37 to T-50: every cause, every non-cause, and what they come to together.
    #[test]
    fn a_session_ends_exactly_when_the_rules_say(moves in prop::collection::vec(moves(), 1..40)) {
        let mut room = Room::new();
        for what in &moves {
            room.make(what);
        }
        room.say();
    }
}

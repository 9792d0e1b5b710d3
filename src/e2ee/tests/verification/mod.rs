//! Verifications between machines of ours: whole ones, and those that must not succeed.

mod codes;
mod hostile;
mod limits;
mod short;

use serde_json::{Map, Value};

use super::harness::World;
use crate::{
    e2ee::{
        CancelCode, Ending, Machine, Notice, RoomVerification, Scan, VerificationAct,
        VerificationError, VerificationStage, VerificationView,
    },
    matrix::{OwnedEventId, OwnedRoomId, OwnedUserId},
};

/// One event of a room.
#[derive(Clone, Debug)]
struct Said {
    by: usize,
    id: OwnedEventId,
    kind: String,
    content: Map<String, Value>,
}

/// Clients who can verify each other.
struct Rig {
    world: World,
    room: OwnedRoomId,
    said: usize,
    /// What each client was told last.
    views: Vec<Vec<VerificationView>>,
    /// Everything that was sent into the room.
    log: Vec<Said>,
}

impl Rig {
    /// One device for each name; the first device of each user makes an identity.
    fn new(users: &[&str]) -> Self {
        let mut world = World::new(users);
        let mut seen = Vec::new();
        for (client, user) in users.iter().enumerate() {
            if !seen.contains(user) {
                seen.push(*user);
                world.at(client, Machine::bootstrap_cross_signing).unwrap();
                world.settle();
            }
        }
        let mut rig = Self {
            world,
            room: "!dm:x".try_into().unwrap(),
            said: 0,
            views: vec![Vec::new(); users.len()],
            log: Vec::new(),
        };
        for one in 0..users.len() {
            for two in 0..users.len() {
                if users[one] != users[two] {
                    rig.world.acquaint(one, two);
                }
            }
        }
        rig.settle();
        rig
    }

    /// Alice with her first device and a new one that is not signed.
    fn own_devices() -> Self {
        Self::new(&["@alice:x", "@alice:x"])
    }

    fn couple() -> Self {
        Self::new(&["@alice:x", "@bob:x"])
    }

    fn user(&self, client: usize) -> OwnedUserId {
        self.world.clients[client].user.clone()
    }

    /// Takes what the machines told: views are kept, events for the room handed out.
    fn take_notices(&mut self) -> Vec<Said> {
        let mut said = Vec::new();
        for client in 0..self.world.clients.len() {
            for notice in self.world.clients[client].take_notices() {
                if let Notice::SendVerification { txn, kind, content, .. } = notice {
                    self.said += 1;
                    let id: OwnedEventId = format!("$e{}", self.said).try_into().unwrap();
                    self.world
                        .at(client, |machine, step| machine.verification_sent(&txn, &id, step))
                        .unwrap();
                    said.push(Said { by: client, id, kind, content });
                } else if let Notice::Verification(view) = notice {
                    self.views[client].push(view);
                }
            }
        }
        said
    }

    /// An event of the room that no client of ours wrote.
    fn say(&mut self, by: usize, kind: &str, content: &Value) -> Said {
        self.said += 1;
        Said {
            by,
            id: format!("$e{}", self.said).try_into().unwrap(),
            kind: format!("m.key.verification.{kind}"),
            content: content.as_object().unwrap().clone(),
        }
    }

    /// Shows an event of the room to one client.
    fn hear(&mut self, client: usize, said: &Said) {
        let sender = self.user(said.by);
        self.hear_from(client, &sender, said);
    }

    fn hear_from(&mut self, client: usize, sender: &OwnedUserId, said: &Said) {
        let (now, room) = (self.world.now, self.room.clone());
        let event = RoomVerification {
            room: &room,
            event: &said.id,
            sender,
            at: now,
            txn: None,
            kind: &said.kind,
            content: &said.content,
        };
        self.world.at(client, |machine, step| machine.receive_verification(&event, step)).unwrap();
    }

    /// Delivers everything until nobody says anything more.
    fn settle(&mut self) {
        for _ in 0..50 {
            self.world.settle();
            let said = self.take_notices();
            if said.is_empty() {
                return;
            }
            for said in said {
                for client in (0..self.world.clients.len()).filter(|it| *it != said.by) {
                    self.hear(client, &said);
                }
                self.log.push(said);
            }
        }
        panic!("they never stop talking");
    }

    fn start(&mut self, client: usize, with: usize) -> Result<VerificationView, VerificationError> {
        self.start_with(client, with, Scan::No)
    }

    fn start_with(
        &mut self,
        client: usize,
        with: usize,
        scan: Scan,
    ) -> Result<VerificationView, VerificationError> {
        let user = self.user(with);
        let room = (user != self.user(client)).then(|| self.room.clone());
        let view = self
            .world
            .at(client, |machine, step| {
                machine.start_verification((&user, None), room.as_deref(), scan, step)
            })
            .unwrap();
        self.settle();
        view
    }

    /// Does something with the newest verification of a client, without delivering what follows.
    fn try_act(
        &mut self,
        client: usize,
        act: VerificationAct,
    ) -> Result<VerificationView, VerificationError> {
        let id = self.views[client].last().expect("a verification").id;
        self.world.at(client, |machine, step| machine.act_on_verification(id, act, step)).unwrap()
    }

    fn act(&mut self, client: usize, act: VerificationAct) {
        self.try_act(client, act).unwrap();
        self.settle();
    }

    fn stage(&self, client: usize) -> VerificationStage {
        self.views[client].last().expect("a verification").stage.clone()
    }

    /// Asks, accepts.
    fn ready(&mut self, one: usize, two: usize, scan: (Scan, Scan)) {
        self.start_with(one, two, scan.0).unwrap();
        assert_eq!(self.stage(two), VerificationStage::Invited);
        self.act(two, VerificationAct::Accept { scan: scan.1 });
        for client in [one, two] {
            assert!(matches!(self.stage(client), VerificationStage::Ready { .. }));
        }
    }

    /// Goes on until both sides compare; `one` asks, `starter` starts.
    fn compare(&mut self, one: usize, two: usize, starter: usize) {
        self.ready(one, two, (Scan::No, Scan::No));
        self.act(starter, VerificationAct::StartSas);
        let stages = [self.stage(one), self.stage(two)];
        assert_eq!(stages[0], stages[1]);
        let VerificationStage::Compare { emoji, .. } = &stages[0] else { panic!("{stages:?}") };
        assert_eq!(emoji.len(), 7);
    }

    /// Why it ended, and who ended it.
    fn ending(&self, client: usize) -> (CancelCode, Ending) {
        let stage = self.stage(client);
        let VerificationStage::Cancelled { code, by } = stage else { panic!("{stage:?}") };
        (code, by)
    }

    /// Whether a client ever said that something was verified.
    fn ever_done(&self, client: usize) -> bool {
        self.views[client].iter().any(|view| view.stage == VerificationStage::Done)
    }

    /// Whether `client` takes the user of `other` for verified.
    fn trusts(&mut self, client: usize, other: usize) -> bool {
        let user = self.user(other);
        self.world.at(client, |machine, step| {
            machine.identity_status(&user, step).unwrap().state
                == crate::e2ee::IdentityState::Verified
        })
    }

    /// Whether the identity of its account signed the device of `client`, as it sees it itself.
    fn is_signed(&mut self, client: usize) -> bool {
        self.world.at(client, |machine, step| machine.is_cross_signed(step).unwrap())
    }
}

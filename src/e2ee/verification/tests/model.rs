//! Two honest sides and a network that loses, repeats, reorders and invents: whatever happens,
//! nothing is signed that a user did not confirm and keys did not prove.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::sides::users;
use crate::{
    e2ee::verification::{
        content::{Content, Kind, Methods},
        flow::{Effect, Flow, New, Own},
        keys::Bound,
        outgoing::{self, Scan, methods},
        place::{Place, address},
        proof::Whose,
        view::{VerificationId, VerificationStage as Stage},
        wish::Wish,
    },
    matrix::OwnedUserId,
    time::Timestamp,
};

const SEEDS: u64 = 1500;
const STEPS: usize = 60;

/// A small generator of numbers (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

type Event = (Kind, Map<String, Value>);

/// What one side's user did or its device was honestly told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fact {
    Confirmed,
    Scanned,
    Macs,
    Reciprocated,
    Done,
    Signed,
}

#[derive(Debug, Default)]
struct Facts(BTreeSet<Fact>);

impl Facts {
    fn note(&mut self, fact: Fact, holds: bool) {
        if holds {
            self.0.insert(fact);
        }
    }

    fn has(&self, fact: Fact) -> bool {
        self.0.contains(&fact)
    }

    fn may_sign(&self) -> bool {
        let both = |one, other| self.has(one) && self.has(other);
        both(Fact::Confirmed, Fact::Macs)
            || both(Fact::Confirmed, Fact::Reciprocated)
            || both(Fact::Scanned, Fact::Done)
    }
}

struct Model {
    flows: [Flow; 2],
    facts: [Facts; 2],
    /// Everything that each side said; any of it may arrive, at any time, any number of times.
    said: [Vec<Event>; 2],
    /// How much of it arrived in order.
    heard: [usize; 2],
}

fn new(bound: &Bound) -> New {
    New {
        id: VerificationId(1),
        place: Place::Devices { transaction: "txn".to_owned() },
        peer: bound.them.user.clone(),
        own: Own { user: bound.us.user.clone(), device: bound.us.device.clone() },
        began: Timestamp(0),
        came: Timestamp(0),
    }
}

impl Model {
    fn new() -> Self {
        let (alice, bob) = users();
        let mut asks = Flow::asked(new(&alice), vec![bob.us.device.clone()], Scan::Yes);
        asks.bound = Some(alice);
        let theirs = Methods(methods(Scan::Yes).into_iter().map(str::to_owned).collect());
        let asked = Flow::invited(new(&bob), theirs, None, bob);
        Self { flows: [asks, asked], facts: <_>::default(), said: <_>::default(), heard: [0; 2] }
    }

    fn follow(&mut self, side: usize, effects: Vec<Effect>, seed: u64) {
        for effect in effects {
            match effect {
                Effect::Send(it) => self.said[side].push((it.kind, it.content)),
                Effect::Sign(verified) => {
                    let facts = &mut self.facts[side];
                    assert!(facts.may_sign(), "seed {seed}: {facts:?} signs {verified:?}");
                    assert!(matches!(verified.whose(), Whose::Other { .. }));
                    facts.note(Fact::Signed, true);
                }
                Effect::Dismiss | Effect::AskSecrets => {}
            }
        }
        let facts = &self.facts[side];
        let is_done = self.flows[side].view().stage == Stage::Done;
        assert!(!is_done || facts.has(Fact::Signed), "seed {seed}: done without a signature");
    }

    /// `side` hears an event; `genuine` when the other side said it.
    fn hear(&mut self, side: usize, (kind, content): Event, genuine: Genuine, seed: u64) {
        let place = Place::Devices { transaction: "txn".to_owned() };
        let text = serde_json::to_string(&address(&place, content).unwrap()).unwrap();
        let Some(message) = Content::parse(&text).and_then(|it| it.message(kind)) else { return };
        if genuine == Genuine::Yes {
            let facts = &mut self.facts[side];
            let reciprocates = text.contains("m.reciprocate.v1") && kind == Kind::Start;
            facts.note(Fact::Macs, kind == Kind::Mac);
            facts.note(Fact::Done, kind == Kind::Done);
            facts.note(Fact::Reciprocated, reciprocates);
        } else if kind == Kind::Done {
            // A forged one: what it may do is end what the code proved already.
            self.facts[side].note(Fact::Done, true);
        }
        let effects = self.flows[side].receive(message, &[3; 16]);
        self.follow(side, effects, seed);
    }

    fn wish(&mut self, side: usize, wish: Wish, seed: u64) {
        let (confirms, scans) = (wish == Wish::Confirm, matches!(wish, Wish::Scanned(_)));
        if let Ok(effects) = self.flows[side].wish(wish, &[5; 16]) {
            let refused = matches!(self.flows[side].view().stage, Stage::Cancelled { .. });
            self.facts[side].note(Fact::Confirmed, confirms && !refused);
            self.facts[side].note(Fact::Scanned, scans && !refused);
            self.follow(side, effects, seed);
        }
    }

    /// The code that a side shows, if it does.
    fn code(&self, side: usize) -> Option<Vec<u8>> {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let Stage::Ready { code: Some(code), .. } = self.flows[side].view().stage else {
            return None;
        };
        STANDARD.decode(code).ok()
    }

    fn step(&mut self, chance: &mut Chance, seed: u64) {
        let side = chance.below(2);
        let other = 1 - side;
        match chance.below(20) {
            0..=9 => {
                if let Some(event) = self.said[other].get(self.heard[side]).cloned() {
                    self.heard[side] += 1;
                    self.hear(side, event, Genuine::Yes, seed);
                }
            }
            10 if !self.said[other].is_empty() => {
                let event = self.said[other][chance.below(self.said[other].len())].clone();
                self.hear(side, event, Genuine::Yes, seed);
            }
            10 | 11 if chance.below(4) == 0 => {
                let event = forged(chance, &self.flows[other].own.user);
                self.hear(side, event, Genuine::No, seed);
            }
            12 | 13 => self.wish(side, Wish::Accept(Scan::Yes), seed),
            14 => self.wish(side, Wish::StartSas, seed),
            15 | 16 => self.wish(side, Wish::Confirm, seed),
            17 => {
                if let Some(code) = self.code(other) {
                    self.wish(side, Wish::Scanned(code), seed);
                }
            }
            18 if chance.below(40) == 0 => self.wish(side, Wish::Mismatch, seed),
            19 if chance.below(40) == 0 => self.wish(side, Wish::Cancel, seed),
            _ => {}
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Genuine {
    Yes,
    No,
}

/// What somebody in between may say, who knows neither the codes nor the secrets.
fn forged(chance: &mut Chance, sender: &OwnedUserId) -> Event {
    let device = if sender.as_str().contains("alice") { "AAAAAA" } else { "BBBBBB" };
    let key = vodozemac::sas::Sas::new().public_key().to_base64();
    let macs: BTreeMap<String, String> = [(format!("ed25519:{device}"), key.clone())].into();
    let (kind, content) = match chance.below(7) {
        0 => (Kind::Ready, json!({ "from_device": device, "methods": methods(Scan::Yes) })),
        1 => (Kind::Start, Value::Object(outgoing::start_sas(device.into()).content)),
        2 => (
            Kind::Start,
            json!({ "from_device": device, "method": "m.reciprocate.v1", "secret": key }),
        ),
        3 => (Kind::Key, json!({ "key": key })),
        4 => (Kind::Mac, json!({ "mac": macs, "keys": key })),
        5 => (Kind::Done, json!({})),
        _ => (Kind::Accept, json!({ "commitment": key })),
    };
    (kind, content.as_object().unwrap().clone())
}

// T-79
#[test]
fn nothing_is_signed_without_a_users_word_and_a_proof_of_keys() {
    let (mut by_short, mut by_code) = (0, 0);
    for seed in 1..=SEEDS {
        let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut model = Model::new();
        for _ in 0..STEPS {
            model.step(&mut chance, seed);
        }
        let signed = model.facts.iter().filter(|facts| facts.has(Fact::Signed));
        for facts in signed {
            by_short += u32::from(facts.has(Fact::Macs));
            by_code += u32::from(facts.has(Fact::Scanned) || facts.has(Fact::Reciprocated));
        }
    }
    // Chance gets there in every way, or it would prove nothing.
    assert!(10 < by_short && 10 < by_code, "{by_short} {by_code}");
}

//! Who may do what, as far as the screen asks.
//!
//! # Spec
//! Client-Server API, `m.room.power_levels`; room version 12, where creators stand above all.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::matrix::{Event, OwnedUserId, UserId};

/// The power levels of a room. Every question has an answer, whatever was in the event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PowerLevels {
    levels: Option<Levels>,
    creators: Vec<OwnedUserId>,
    creators_reign: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Levels {
    users: BTreeMap<OwnedUserId, i64>,
    events: BTreeMap<String, i64>,
    rules: BTreeMap<&'static str, i64>,
}

/// The rules that are numbers, with what holds when the event does not say.
const RULES: [(&str, i64); 7] = [
    ("users_default", 0),
    ("events_default", 0),
    ("state_default", 50),
    ("invite", 0),
    ("kick", 50),
    ("ban", 50),
    ("redact", 50),
];

impl PowerLevels {
    /// Takes `m.room.power_levels`.
    pub(super) fn apply(&mut self, content: &Map<String, Value>) {
        let table = |field: &str| content.get(field).and_then(Value::as_object);
        let users = table("users")
            .into_iter()
            .flatten()
            .filter_map(|(user, level)| Some((UserId::parse(user.as_str()).ok()?, number(level)?)));
        let events = table("events").into_iter().flatten();
        let events = events.filter_map(|(kind, level)| Some((kind.clone(), number(level)?)));
        let rules =
            RULES.iter().filter_map(|(rule, _)| Some((*rule, number(content.get(*rule)?)?)));
        self.levels = Some(Levels {
            users: users.collect(),
            events: events.collect(),
            rules: rules.collect(),
        });
    }

    /// Takes `m.room.create`.
    pub(super) fn apply_create(&mut self, event: &Event) {
        let more = event.content.get("additional_creators").and_then(Value::as_array);
        let more = more.into_iter().flatten().filter_map(Value::as_str);
        let more = more.filter_map(|user| UserId::parse(user).ok());
        self.creators = event.sender.iter().cloned().chain(more).collect();
        let version = event.content_str("room_version").unwrap_or("1");
        self.creators_reign = version.parse::<u32>().is_ok_and(|version| version >= 12);
    }

    /// A user's level; the highest there is for a creator of a version 12 room.
    pub fn of(&self, user: &UserId) -> i64 {
        let creator = self.creators.iter().any(|creator| creator == user);
        match &self.levels {
            _ if creator && self.creators_reign => i64::MAX,
            None if self.creators.first().is_some_and(|creator| creator == user) => 100,
            None => 0,
            Some(levels) => {
                levels.users.get(user).copied().unwrap_or_else(|| self.rule("users_default"))
            }
        }
    }

    /// Whether a user may send events of this type that are no state.
    pub fn may_send(&self, user: &UserId, kind: &str) -> bool {
        self.level_for(kind, "events_default") <= self.of(user)
    }

    /// Whether a user may send state of this type.
    pub fn may_send_state(&self, user: &UserId, kind: &str) -> bool {
        self.level_for(kind, "state_default") <= self.of(user)
    }

    /// Whether a user may invite.
    pub fn may_invite(&self, user: &UserId) -> bool {
        self.rule("invite") <= self.of(user)
    }

    /// Whether a user may redact an event of `sender`; one's own may always be, if redactions may
    /// be sent at all.
    pub fn may_redact(&self, user: &UserId, sender: &UserId) -> bool {
        let others = user == sender || self.rule("redact") <= self.of(user);
        others && self.may_send(user, "m.room.redaction")
    }

    /// Whether a user may remove another: enough power, and more than the other.
    pub fn may_kick(&self, user: &UserId, other: &UserId) -> bool {
        self.rule("kick") <= self.of(user) && self.of(other) < self.of(user)
    }

    /// Whether a user may ban another.
    pub fn may_ban(&self, user: &UserId, other: &UserId) -> bool {
        self.rule("ban") <= self.of(user) && self.of(other) < self.of(user)
    }

    fn level_for(&self, kind: &str, default: &str) -> i64 {
        let level = self.levels.as_ref().and_then(|levels| levels.events.get(kind).copied());
        level.unwrap_or_else(|| self.rule(default))
    }

    fn rule(&self, rule: &str) -> i64 {
        let said = self.levels.as_ref().and_then(|levels| levels.rules.get(rule).copied());
        let default = RULES.iter().find(|(name, _)| *name == rule).map_or(0, |(_, level)| *level);
        match &self.levels {
            // Without any power levels everybody may send state.
            None if rule == "state_default" => 0,
            None | Some(_) => said.unwrap_or(default),
        }
    }
}

/// A level: an integer, or in old rooms a string or a float that is one.
fn number(value: &Value) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and fractions are cut off")]
    let float = || value.as_f64().map(|float| float as i64);
    let text = || value.as_str().and_then(|text| text.trim().parse().ok());
    value.as_i64().or_else(float).or_else(text)
}

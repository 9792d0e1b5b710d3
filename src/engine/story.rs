//! The story of one message: how it was encrypted, with whose key, why it cannot be read.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Engine, Outcome,
    error::EngineError,
    faces::{Asker, answer, refusal},
    turn::Turn,
};
use crate::{
    e2ee::{BackupSearch, HeldKey, KeyAsked, KeyForwarding, KeySource, KeyStory},
    matrix::{DeviceId, EventId, OwnedDeviceId, OwnedEventId, OwnedUserId, RoomId, SafeText},
    rooms::{
        EventBody, Shield, StoredEvent, UndecryptableReason, shield_meaning, why_undecryptable,
    },
    time::Timestamp,
};

/// What is known of one message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MessageStory {
    /// Its event.
    pub event_id: OwnedEventId,
    /// Who sent it, says the server.
    pub sender: Option<OwnedUserId>,
    /// When, says the server.
    pub ts: Timestamp,
    /// When this was told.
    pub told_at: Timestamp,
    /// How far the sender is proved.
    pub shield: Shield,
    /// Why it cannot be read, if it cannot.
    pub undecryptable: Option<UndecryptableReason>,
    /// Its key; `None` for an event that was not encrypted.
    pub key: Option<KeyStory>,
}

impl MessageStory {
    /// The story in lines for people, each with what it is about; safe to show.
    pub fn lines(&self) -> Vec<(&'static str, SafeText)> {
        let mut lines = Vec::new();
        let mut add = |about, words: &str| lines.push((about, SafeText::line(words)));
        if let Some(sender) = &self.sender {
            add("sender", sender.as_str());
        }
        match (&self.undecryptable, self.shield) {
            (Some(reason), _) => add("unreadable", &why_undecryptable(reason)),
            (None, Shield::Grey(reason) | Shield::Red(reason)) => {
                add("warning", shield_meaning(reason));
            }
            (None, Shield::None) => {}
        }
        match &self.key {
            None => add("encryption", "none"),
            Some(key) => {
                lines.extend(self.key_lines(key));
                lines.push(("event", SafeText::line(self.event_id.as_str())));
            }
        }
        lines
    }

    fn key_lines(&self, key: &KeyStory) -> Vec<(&'static str, SafeText)> {
        let mut lines = Vec::new();
        let mut add = |about, words: &str| lines.push((about, SafeText::line(words)));
        if let (Some(sender), Some(identity)) = (&self.sender, key.identity) {
            add("trust", &format!("{sender} {}", identity.meaning()));
        }
        let index = key.message_index.map(|index| format!(", message {index} of it"));
        match &key.session_id {
            Some(id) => add("session", &format!("{id}{}", index.unwrap_or_default())),
            None => add("session", "it names none"),
        }
        match &key.held {
            None => add("key", "this device does not have it"),
            Some(held) => {
                add("key", &origin(held));
                add("made by", &maker(held));
                add("fingerprint", &held.ed25519);
            }
        }
        if let Some(withheld) = &key.withheld {
            let ago = span(self.told_at.since(withheld.at));
            let word =
                format!("{} said {ago} ago: {} (not proved)", withheld.sender, withheld.code);
            add("withheld", &word);
        }
        if let Some(search) = &key.backup {
            add("key backup", &searched(search, self.told_at));
        }
        if let Some(words) = self.asked(key) {
            add("asked for", &words);
        }
        lines
    }

    /// Which devices of ours were asked for the key, or why none, where that matters.
    fn asked(&self, key: &KeyStory) -> Option<String> {
        if let Some(KeyAsked { at, devices, open }) = &key.asked {
            let (all, ago) = (list(devices), span(self.told_at.since(*at)));
            let answer = match open.as_slice() {
                [] => "no answer is waited for".to_owned(),
                open if open.len() == devices.len() => "no answer yet".to_owned(),
                open => format!("no answer yet of {}", list(open)),
            };
            return Some(format!("{ago} ago, of our devices {all}; {answer}"));
        }
        let may_help = self.undecryptable.as_ref().is_some_and(UndecryptableReason::may_be_cured);
        may_help.then(|| match key.asking {
            KeyForwarding::Off => "no: key_requests is off in config.toml".to_owned(),
            KeyForwarding::OwnDevices => {
                "no: no other device of ours that is verified was there to be asked".to_owned()
            }
        })
    }
}

fn list(devices: &[OwnedDeviceId]) -> String {
    devices.iter().map(|device| device.as_str()).collect::<Vec<_>>().join(", ")
}

fn origin(held: &HeldKey) -> String {
    let from = match held.first_known_index {
        0 => "from the first message on".to_owned(),
        index => format!("from message {index} on"),
    };
    let source = match &held.shared_by {
        Some(inviter) => format!("history shared by {inviter}"),
        None => source(held.source, held.forwarded_by.as_deref()),
    };
    format!("{source}; {from}")
}

fn searched(search: &BackupSearch, now: Timestamp) -> String {
    match *search {
        BackupSearch::NotConnected => {
            "this device is connected to none; see: grotto recover, or alt-s".to_owned()
        }
        BackupSearch::Asking => "the key is being looked for".to_owned(),
        BackupSearch::Missing { times, last_at, retry_at } => {
            let last =
                last_at.map(|at| format!(" {} ago", span(now.since(at)))).unwrap_or_default();
            let again = span(retry_at.since(now));
            format!("the key was not there{last} (looked {times} times), again in {again}")
        }
    }
}

/// A span of time in its largest unit.
fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn source(source: KeySource, forwarder: Option<&DeviceId>) -> String {
    match (source, forwarder) {
        (KeySource::Import, _) => "from a key file".to_owned(),
        (KeySource::Backup, _) => "from the key backup".to_owned(),
        (KeySource::Bundle, _) => "from whoever invited us".to_owned(),
        (KeySource::Forwarded, Some(device)) => format!("from our device {device}, when asked"),
        (KeySource::Forwarded, None) => "from another device of ours, when asked".to_owned(),
        (KeySource::Olm, _) => "from the device that made it".to_owned(),
        (KeySource::Own, _) => "made by this device".to_owned(),
    }
}

fn maker(held: &HeldKey) -> String {
    let proof = match held.source {
        KeySource::Own | KeySource::Olm => "",
        KeySource::Import | KeySource::Backup | KeySource::Bundle | KeySource::Forwarded => {
            " (not proved)"
        }
    };
    match (&held.sender, &held.device) {
        (Some(user), Some(device)) => format!("device {device} of {user}{proof}"),
        (Some(user), None) => format!("a device of {user}{proof}"),
        (None, _) => format!("a device that is not known{proof}"),
    }
}

impl Engine {
    /// Tells what is known of an event that is here.
    pub(super) fn key_story(
        &mut self,
        from: Asker,
        room: &RoomId,
        event: &EventId,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let result = if let Some(stored) = turn.store.event(room, event)? {
            Ok(Outcome::KeyStory(Box::new(self.story_of(room, event, &stored, turn)?)))
        } else {
            let words = format!("this device has no event {event}; see: grotto history");
            Err(refusal("unknown_event", words))
        };
        answer(from, result, turn);
        Ok(())
    }

    fn story_of(
        &mut self,
        room: &RoomId,
        event: &EventId,
        stored: &StoredEvent,
        turn: &Turn<'_>,
    ) -> Result<MessageStory, EngineError> {
        let key = match &stored.body {
            EventBody::Clear(_) => None,
            EventBody::Decrypted(_) | EventBody::Undecryptable(_) => {
                Some(self.machine.key_story(room, &stored.event, &turn.step)?)
            }
        };
        let undecryptable = match &stored.body {
            EventBody::Undecryptable(why) => Some(why.reason.clone()),
            EventBody::Clear(_) | EventBody::Decrypted(_) => None,
        };
        Ok(MessageStory {
            event_id: event.to_owned(),
            sender: stored.event.sender.clone(),
            ts: stored.event.origin_server_ts,
            told_at: turn.step.now(),
            shield: stored.shield(),
            undecryptable,
            key,
        })
    }
}

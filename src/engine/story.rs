//! The story of one message: how it was encrypted, with whose key, why it cannot be read.

use serde::{Deserialize, Serialize};

use super::{
    CommandId, Engine, FaceId, Outcome,
    error::EngineError,
    faces::{answer, refusal},
    turn::Turn,
};
use crate::{
    e2ee::{HeldKey, KeySource, KeyStory},
    matrix::{EventId, OwnedEventId, OwnedUserId, RoomId, SafeText},
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
        let Some(key) = &self.key else {
            add("encryption", "none");
            return lines;
        };
        let index = key.message_index.map(|index| format!(", message {index} of it"));
        match &key.session_id {
            Some(id) => add("session", &format!("{id}{}", index.unwrap_or_default())),
            None => add("session", "it names none"),
        }
        match &key.held {
            None => add("key", "this device does not have it"),
            Some(held) => {
                let from = match held.first_known_index {
                    0 => "from the first message on".to_owned(),
                    index => format!("from message {index} on"),
                };
                let source = match &held.shared_by {
                    Some(inviter) => format!("history shared by {inviter}"),
                    None => source(held.source).to_owned(),
                };
                add("key", &format!("{source}; {from}"));
                add("made by", &maker(held));
                add("fingerprint", &held.ed25519);
            }
        }
        if let Some(withheld) = &key.withheld {
            let word = format!("{} says {} (not proved)", withheld.sender, withheld.code);
            add("withheld", &word);
        }
        add("event", self.event_id.as_str());
        lines
    }
}

fn source(source: KeySource) -> &'static str {
    match source {
        KeySource::Import => "from a key file",
        KeySource::Backup => "from the key backup",
        KeySource::Bundle => "from whoever invited us",
        KeySource::Forwarded => "from another device of ours",
        KeySource::Olm => "from the device that made it",
        KeySource::Own => "made by this device",
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
        from: (FaceId, CommandId),
        room: &RoomId,
        event: &EventId,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let result = if let Some(stored) = turn.store.event(room, event)? {
            Ok(Outcome::KeyStory(self.story_of(room, event, &stored, turn)?))
        } else {
            let words = format!("this device has no event {event}; see: grotto history");
            Err(refusal("unknown_event", words))
        };
        answer(from.0, from.1, result, turn);
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
            shield: stored.shield(),
            undecryptable,
            key,
        })
    }
}

//! Lines for people. Whatever the network sent goes through the one sanitizer; a message of several
//! lines is set in, so that it cannot pass for another one.

use std::collections::BTreeMap;

use super::line::{Line, Message, What};
use crate::{
    matrix::{OwnedRoomId, SafeText},
    rooms::RoomSummary,
    time::Timestamp,
};

/// How lines are shown.
#[derive(Clone, Debug)]
pub(super) struct Style {
    /// In which zone times are.
    pub zone: jiff::tz::TimeZone,
    /// Whether lines name their room.
    pub rooms: Rooms,
}

/// Whether lines name their room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rooms {
    /// All are of one room.
    One,
    /// Each names its own.
    Named,
}

/// One line of network text.
pub(super) fn safe(text: &str) -> String {
    SafeText::line(text).into_string()
}

/// The words for a line; `None` for what people need not see.
pub(super) fn words(
    line: &Line,
    rooms: &BTreeMap<OwnedRoomId, RoomSummary>,
    style: &Style,
) -> Option<String> {
    let what = what(&line.what)?;
    let name = line.room_id.as_ref().map(|room| match rooms.get(room) {
        Some(summary) => safe(&summary.name),
        None => safe(room.as_str()),
    });
    let place = match (name, style.rooms) {
        (Some(name), Rooms::Named) => format!(" [{name}]"),
        (Some(_), Rooms::One) | (None, _) => String::new(),
    };
    Some(format!("{}{place} {what}", clock(line.ts, &style.zone)))
}

fn clock(ts: Timestamp, zone: &jiff::tz::TimeZone) -> String {
    let ms = i64::try_from(ts.0).unwrap_or_default();
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(time) => time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_out_of_range) => "????-??-?? ??:??:??".to_owned(),
    }
}

fn what(what: &What) -> Option<String> {
    Some(match what {
        What::Message(said) | What::DecryptedLate(said) => message(said),
        What::Undecryptable { sender, reason, .. } => {
            format!("{}: cannot be decrypted ({})", safe(sender.as_str()), safe(reason))
        }
        What::Edit { sender, relates_to, body, checked, .. } => {
            let doubt = if *checked { "" } else { " (which is not here, or cannot be read)" };
            format!(
                "{} edited {}{doubt}: {}",
                safe(sender.as_str()),
                safe(relates_to.as_str()),
                set_in(body)
            )
        }
        What::Reaction { sender, relates_to, key, .. } => {
            format!(
                "{} reacted {} to {}",
                safe(sender.as_str()),
                safe(key),
                safe(relates_to.as_str())
            )
        }
        What::Redaction { sender, relates_to, reason, .. } => {
            let why = reason.as_deref().map(|why| format!(": {}", safe(why))).unwrap_or_default();
            format!("{} deleted {}{why}", safe(sender.as_str()), safe(relates_to.as_str()))
        }
        What::Invite { inviter, name } => {
            let by = inviter.as_deref().map_or_else(|| "somebody".to_owned(), safe);
            format!("{by} invites you to {}", safe(name))
        }
        What::Membership { user, membership, .. } => {
            format!("{}: {}", safe(user), safe(membership))
        }
        What::Link { state, retry_ms, reason } => {
            let next = retry_ms.map(|ms| format!(", next try in {} s", ms.div_ceil(1000)));
            let why = reason.as_deref().map(|why| format!(": {}", safe(why)));
            format!("link {state}{}{}", next.unwrap_or_default(), why.unwrap_or_default())
        }
        What::Alarm { code, detail } => format!("ALARM {code} {}", safe(&detail.to_string())),
        What::Typing { .. } | What::Receipt { .. } => return None,
    })
}

fn message(said: &Message) -> String {
    let mark = match (said.shield, said.shield_reason) {
        ("none", _) => String::new(),
        (color, reason) => format!("({color}: {}) ", reason.unwrap_or_default()),
    };
    let sender = safe(said.sender.as_str());
    let edited = if said.edited { " (edited)" } else { "" };
    let body = format!("{}{edited}", set_in(&said.body));
    match (said.kind, &said.file) {
        ("emote", _) => format!("{mark}* {sender} {body}"),
        (kind, Some(file)) => format!("{mark}{sender}: [{kind}] {}", safe(&file.name)),
        (_, None) => format!("{mark}{sender}: {body}"),
    }
}

/// A text of several lines, those after the first set in.
fn set_in(text: &str) -> String {
    SafeText::block(text).as_str().replace('\n', "\n    ")
}

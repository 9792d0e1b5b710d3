//! From stored events to lines: each event once, undecryptable ones again when their key came.

use std::collections::{HashMap, VecDeque};

use serde_json::{Map, Value};

use super::line::{File, Line, Message, What};
use crate::{
    matrix::{EventId, OwnedEventId, OwnedUserId, RoomId, UserId},
    rooms::{EventBody, Shield, ShieldReason, StoredEvent, UndecryptableReason},
};

/// How many events are remembered as told.
const MEMORY: usize = 16_384;

/// Makes lines and remembers what was told.
#[derive(Debug, Default)]
pub(super) struct Feed {
    told: HashMap<OwnedEventId, Told>,
    order: VecDeque<OwnedEventId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Whole,
    Undecryptable,
}

impl Feed {
    /// The lines for what of `events` was not told yet, in their order.
    pub(super) fn lines(&mut self, room: &RoomId, events: &[StoredEvent]) -> Vec<Line> {
        let edited: HashMap<&str, &UserId> = events.iter().filter_map(edit_of).collect();
        let mut lines = Vec::new();
        for stored in events {
            let Some((id, sender)) = identity(stored) else { continue };
            let before = self.told.get(&id).copied();
            let can_be_read = !matches!(stored.body, EventBody::Undecryptable(_));
            if before == Some(Told::Whole) || before.is_some() && !can_be_read {
                continue;
            }
            let is_edited = edited.get(id.as_str()).is_some_and(|by| **by == sender);
            self.remember(&id, if can_be_read { Told::Whole } else { Told::Undecryptable });
            let Some(mut what) = what(stored, id, sender) else { continue };
            if let What::Message(mut message) = what {
                message.edited = is_edited;
                let is_late = before.is_some();
                what = if is_late { What::DecryptedLate(message) } else { What::Message(message) };
            }
            lines.push(Line {
                what,
                room_id: Some(room.to_owned()),
                ts: stored.event.origin_server_ts,
            });
        }
        lines
    }

    fn remember(&mut self, id: &EventId, told: Told) {
        if self.told.insert(id.to_owned(), told).is_none() {
            self.order.push_back(id.to_owned());
        }
        if self.order.len() > MEMORY
            && let Some(oldest) = self.order.pop_front()
        {
            self.told.remove(&oldest);
        }
    }
}

fn identity(stored: &StoredEvent) -> Option<(OwnedEventId, OwnedUserId)> {
    Some((stored.event.event_id.clone()?, stored.event.sender.clone()?))
}

/// Which event this one edits, and who does.
fn edit_of(stored: &StoredEvent) -> Option<(&str, &UserId)> {
    let relation = relation(stored.content())?;
    let target = text(relation, "event_id").filter(|_| is(relation, "m.replace"))?;
    Some((target, stored.event.sender.as_deref()?))
}

fn what(stored: &StoredEvent, id: OwnedEventId, sender: OwnedUserId) -> Option<What> {
    if stored.event.unsigned.redacted_because.is_some() {
        return None;
    }
    if let EventBody::Undecryptable(problem) = &stored.body {
        return Some(What::Undecryptable {
            event_id: id,
            sender,
            session_id: problem.session_id.clone(),
            reason: reason(&problem.reason),
        });
    }
    match stored.kind() {
        "m.room.message" | "m.sticker" | "m.poll.start" | "org.matrix.msc3381.poll.start" => {
            said(stored, id, sender)
        }
        "m.reaction" => reaction(stored.content(), id, sender),
        "m.room.redaction" => redaction(stored, id, sender),
        "m.room.member" => membership(stored, id, sender),
        _ => None,
    }
}

fn said(stored: &StoredEvent, event_id: OwnedEventId, sender: OwnedUserId) -> Option<What> {
    let content = stored.content();
    let (encrypted, mark) = match &stored.body {
        EventBody::Decrypted(inner) => (true, inner.shield),
        EventBody::Clear(mark) => (false, *mark),
        EventBody::Undecryptable(_) => return None,
    };
    let (shield, shield_reason) = shield_words(mark);
    let relation = relation(content);
    let target = relation.and_then(|relation| event_in(relation, "event_id"));
    if let (Some(relation), Some(relates_to)) = (relation, target.clone())
        && is(relation, "m.replace")
    {
        let new = content.get("m.new_content").and_then(Value::as_object).unwrap_or(content);
        let (body, html) = (text(new, "body").unwrap_or_default().to_owned(), html(new));
        return Some(What::Edit {
            event_id,
            relates_to,
            sender,
            body,
            html,
            encrypted,
            shield,
            shield_reason,
        });
    }
    let in_thread = relation.is_some_and(|relation| is(relation, "m.thread"));
    let reply_to = relation.and_then(answered);
    let body = body(stored.kind(), content)?;
    Some(What::Message(Message {
        event_id,
        sender,
        kind: kind(stored.kind(), content),
        body: if reply_to.is_some() { without_quote(&body) } else { body },
        html: html(content),
        encrypted,
        shield,
        shield_reason,
        reply_to,
        thread: target.filter(|_| in_thread),
        edited: false,
        file: file(content),
    }))
}

/// The message that is answered; a thread's fallback answers nothing.
fn answered(relation: &Map<String, Value>) -> Option<OwnedEventId> {
    let is_fallback = relation.get("is_falling_back").and_then(Value::as_bool) == Some(true);
    let reply = relation.get("m.in_reply_to")?.as_object().filter(|_| !is_fallback)?;
    event_in(reply, "event_id")
}

/// The text without the quote that older clients put before an answer.
fn without_quote(body: &str) -> String {
    if !body.starts_with("> <") && !body.starts_with("> * <") {
        return body.to_owned();
    }
    let own: Vec<&str> = body.lines().skip_while(|line| line.starts_with('>')).collect();
    own.join("\n").trim_start_matches('\n').to_owned()
}

fn kind(kind: &str, content: &Map<String, Value>) -> &'static str {
    match (kind, text(content, "msgtype").unwrap_or_default()) {
        ("m.sticker", _) => "sticker",
        ("m.poll.start" | "org.matrix.msc3381.poll.start", _) => "poll",
        (_, "m.notice") => "notice",
        (_, "m.emote") => "emote",
        (_, "m.image") => "image",
        (_, "m.file") => "file",
        (_, "m.audio") => "audio",
        (_, "m.video") => "video",
        (_, "m.location") => "location",
        _ => "text",
    }
}

/// The text, or the question of a poll; `None` when the event has neither.
fn body(kind: &str, content: &Map<String, Value>) -> Option<String> {
    let question = || {
        let poll = content.get("m.poll").or(content.get("org.matrix.msc3381.poll.start"))?;
        let question = poll.get("question")?;
        question.get("body").or(question.get("org.matrix.msc1767.text")).and_then(Value::as_str)
    };
    let is_poll = kind.ends_with("poll.start");
    let body = if is_poll { question() } else { text(content, "body") };
    body.map(str::to_owned)
}

fn html(content: &Map<String, Value>) -> Option<String> {
    let is_html = text(content, "format") == Some("org.matrix.custom.html");
    let html = text(content, "formatted_body").filter(|_| is_html)?;
    let own = html.split_once("</mx-reply>").filter(|(quote, _)| quote.starts_with("<mx-reply>"));
    Some(own.map_or(html, |(_, own)| own).to_owned())
}

fn file(content: &Map<String, Value>) -> Option<File> {
    if !content.contains_key("url") && !content.contains_key("file") {
        return None;
    }
    let info = content.get("info").and_then(Value::as_object);
    let name = text(content, "filename").or(text(content, "body")).unwrap_or("file");
    Some(File {
        name: name.to_owned(),
        size: info.and_then(|info| info.get("size")).and_then(Value::as_u64),
        mimetype: info.and_then(|info| text(info, "mimetype")).map(str::to_owned),
    })
}

fn reaction(
    content: &Map<String, Value>,
    event_id: OwnedEventId,
    sender: OwnedUserId,
) -> Option<What> {
    let relation = relation(content).filter(|relation| is(relation, "m.annotation"))?;
    let relates_to = event_in(relation, "event_id")?;
    let key = text(relation, "key")?.to_owned();
    Some(What::Reaction { event_id, relates_to, sender, key })
}

fn redaction(stored: &StoredEvent, event_id: OwnedEventId, sender: OwnedUserId) -> Option<What> {
    let content = stored.content();
    let relates_to = event_in(content, "redacts").or(stored.event.redacts.clone())?;
    let reason = text(content, "reason").map(str::to_owned);
    Some(What::Redaction { event_id, relates_to, sender, reason })
}

fn membership(stored: &StoredEvent, event_id: OwnedEventId, sender: OwnedUserId) -> Option<What> {
    let user = stored.event.state_key.clone()?;
    let membership = text(stored.content(), "membership")?.to_owned();
    let before = stored.event.unsigned.prev_content.as_ref();
    let is_same = before.and_then(|before| text(before, "membership")) == Some(&membership);
    (!is_same).then_some(What::Membership { event_id, sender, user, membership })
}

fn relation(content: &Map<String, Value>) -> Option<&Map<String, Value>> {
    content.get("m.relates_to")?.as_object()
}

fn is(relation: &Map<String, Value>, kind: &str) -> bool {
    text(relation, "rel_type") == Some(kind)
}

fn text<'a>(object: &'a Map<String, Value>, field: &str) -> Option<&'a str> {
    object.get(field)?.as_str()
}

fn event_in(object: &Map<String, Value>, field: &str) -> Option<OwnedEventId> {
    EventId::parse(text(object, field)?).ok()
}

/// The word of a reason, as promised.
fn reason(reason: &UndecryptableReason) -> String {
    match reason {
        UndecryptableReason::NoRoomKey => "no_room_key".to_owned(),
        UndecryptableReason::Withheld(code) => format!("withheld:{code}"),
        UndecryptableReason::IndexTooLow => "index_too_low".to_owned(),
        UndecryptableReason::BeforeJoin => "before_join".to_owned(),
        UndecryptableReason::DuplicateIndex => "duplicate_index".to_owned(),
        UndecryptableReason::MismatchedSender => "mismatched_sender".to_owned(),
        UndecryptableReason::UnsupportedAlgorithm(name) => format!("unsupported_algorithm:{name}"),
        UndecryptableReason::Malformed => "malformed".to_owned(),
    }
}

fn shield_words(shield: Shield) -> (&'static str, Option<&'static str>) {
    let word = |reason| match reason {
        ShieldReason::AuthenticityNotGuaranteed => "authenticity_not_guaranteed",
        ShieldReason::UnknownDevice => "unknown_device",
        ShieldReason::UnsignedDevice => "unsigned_device",
        ShieldReason::VerificationViolation => "verification_violation",
        ShieldReason::MismatchedSender => "mismatched_sender",
        ShieldReason::SentInClear => "sent_in_clear",
    };
    match shield {
        Shield::None => ("none", None),
        Shield::Grey(reason) => ("grey", Some(word(reason))),
        Shield::Red(reason) => ("red", Some(word(reason))),
    }
}

#[cfg(test)]
mod tests;

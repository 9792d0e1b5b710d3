//! From stored events to lines: each event once, undecryptable ones again when their key came.

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::{Map, Value};

use super::line::{File, Line, Message, What};
use crate::{
    engine::Page,
    matrix::{EventId, OwnedEventId, OwnedUserId, RoomId, UserId},
    rooms::{
        EventBody, MessageContent, Relation, Shield, ShieldReason, StoredEvent, Timeline,
        TimelineDelta, is_valid_edit, message_content,
    },
};

/// How many events are remembered as told.
const MEMORY: usize = 16_384;

/// Makes lines and remembers what was told.
#[derive(Debug, Default)]
pub(super) struct Feed {
    told: HashMap<OwnedEventId, Told>,
    order: VecDeque<OwnedEventId>,
    /// What the edits that come next may be about.
    context: Vec<StoredEvent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Whole,
    Undecryptable,
}

/// The lines of a page of history: each message as it is now, none that was taken back.
pub(super) fn page(room: &RoomId, page: &Page) -> Vec<Line> {
    let all = || page.events.iter().chain(&page.related);
    let removed: HashSet<&EventId> = all().filter_map(StoredEvent::redacts).collect();
    let mut timeline = Timeline::default();
    timeline.apply(TimelineDelta::Events(all().cloned().collect()));
    let known = Known::of(all());
    let mut edited = HashSet::new();
    let mut events = Vec::new();
    for stored in &page.events {
        let Some(id) = stored.id().filter(|id| !removed.contains(id)) else { continue };
        let edit = timeline.edit(id);
        edited.extend(edit.map(|_| id.to_owned()));
        events.push(edit.map_or_else(|| stored.clone(), |edit| replaced(stored, edit)));
    }
    Feed::default().tell(room, &events, (&known, &edited))
}

/// An event with the content of its edit; what it answers stays.
fn replaced(original: &StoredEvent, edit: &StoredEvent) -> StoredEvent {
    let mut stored = original.clone();
    let new = edit.content().get("m.new_content").and_then(Value::as_object);
    let mut content = new.cloned().unwrap_or_default();
    content.remove("m.relates_to");
    let relation = original.content().get("m.relates_to").cloned();
    content.extend(relation.map(|relation| ("m.relates_to".to_owned(), relation)));
    let mark = original.shield().worse(edit.shield());
    match &mut stored.body {
        EventBody::Decrypted(inner) => (inner.content, inner.shield) = (content, mark),
        EventBody::Clear(shield) => (stored.event.content, *shield) = (content, mark),
        EventBody::Undecryptable(_) => {}
    }
    stored
}

/// Which of `events` have a valid edit among them.
fn edited(events: &[StoredEvent], known: &Known<'_>) -> HashSet<OwnedEventId> {
    let targets = events.iter().filter_map(|edit| {
        let Some(Relation::Edit(target)) = edit.relation() else { return None };
        (known.judge(edit, target) == Verdict::Valid).then_some(target)
    });
    targets.map(EventId::to_owned).collect()
}

/// What edits can be judged by.
struct Known<'a> {
    events: HashMap<&'a EventId, &'a StoredEvent>,
    removed: HashSet<&'a EventId>,
}

/// Whether an edit may stand in the place of what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Valid,
    /// What it names is not here, or cannot be read.
    Unknown,
    Invalid,
}

impl<'a> Known<'a> {
    fn of(events: impl Iterator<Item = &'a StoredEvent> + Clone) -> Self {
        let removed = events.clone().filter_map(StoredEvent::redacts).collect();
        Self { events: events.filter_map(|it| Some((it.id()?, it))).collect(), removed }
    }

    fn judge(&self, edit: &StoredEvent, target: &EventId) -> Verdict {
        let Some(original) = self.events.get(target) else {
            return if self.removed.contains(target) { Verdict::Invalid } else { Verdict::Unknown };
        };
        let is_gone = self.removed.contains(target)
            || original.event.unsigned.redacted_because.is_some()
            || original.sender() != edit.sender();
        let unreadable = matches!(original.body, EventBody::Undecryptable(_));
        match (is_gone, unreadable) {
            (false, true) => Verdict::Unknown,
            (false, false) if is_valid_edit(original, edit) => Verdict::Valid,
            (true, _) | (false, false) => Verdict::Invalid,
        }
    }
}

impl Feed {
    /// The lines for what of `events` was not told yet, in their order; edits are lines of their
    /// own.
    pub(super) fn lines(&mut self, room: &RoomId, events: &[StoredEvent]) -> Vec<Line> {
        let context = std::mem::take(&mut self.context);
        let known = Known::of(context.iter().chain(events));
        self.tell(room, events, (&known, &edited(events, &known)))
    }

    /// Takes what the edits that are told next are about.
    pub(super) fn learn(&mut self, context: Vec<StoredEvent>) {
        self.context = context;
    }

    fn tell(
        &mut self,
        room: &RoomId,
        events: &[StoredEvent],
        (known, edited): (&Known<'_>, &HashSet<OwnedEventId>),
    ) -> Vec<Line> {
        let mut lines = Vec::new();
        for stored in events {
            let Some((id, sender)) = identity(stored) else { continue };
            let before = self.told.get(&id).copied();
            let can_be_read = !matches!(stored.body, EventBody::Undecryptable(_));
            if before == Some(Told::Whole) || before.is_some() && !can_be_read {
                continue;
            }
            let is_edited = edited.contains(&id);
            self.remember(&id, if can_be_read { Told::Whole } else { Told::Undecryptable });
            let Some(mut what) = what(stored, id, sender) else { continue };
            if let What::Edit { relates_to, checked, .. } = &mut what {
                match known.judge(stored, relates_to) {
                    Verdict::Valid => *checked = true,
                    Verdict::Unknown => {}
                    Verdict::Invalid => continue,
                }
            }
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

fn what(stored: &StoredEvent, id: OwnedEventId, sender: OwnedUserId) -> Option<What> {
    if stored.event.unsigned.redacted_because.is_some() {
        return None;
    }
    if let EventBody::Undecryptable(problem) = &stored.body {
        return Some(What::Undecryptable {
            event_id: id,
            sender,
            session_id: problem.session_id.clone(),
            reason: problem.reason.word(),
        });
    }
    if stored.is_verification() {
        return None;
    }
    match stored.kind() {
        "m.room.message" | "m.sticker" | "m.poll.start" | "org.matrix.msc3381.poll.start" => {
            said(stored, id, sender)
        }
        "m.reaction" => reaction(stored, id, sender),
        "m.room.redaction" => redaction(stored, id, sender),
        "m.room.member" => membership(stored, id, sender),
        _ => None,
    }
}

fn said(stored: &StoredEvent, event_id: OwnedEventId, sender: OwnedUserId) -> Option<What> {
    let encrypted = stored.was_encrypted();
    let (shield, shield_reason) = shield_words(stored.shield());
    let relation = stored.relation();
    if let Some(Relation::Edit(target)) = relation {
        let content = stored.content();
        let new = content.get("m.new_content").and_then(Value::as_object).unwrap_or(content);
        return Some(What::Edit {
            event_id,
            relates_to: target.to_owned(),
            sender,
            body: text(new, "body").unwrap_or_default().to_owned(),
            html: html(new),
            checked: false,
            encrypted,
            shield,
            shield_reason,
            shared_by: stored.shared_by().map(UserId::to_owned),
        });
    }
    let (reply_to, thread) = match relation {
        Some(Relation::Reply(target)) => (Some(target), None),
        Some(Relation::Thread { root, reply }) => (reply, Some(root)),
        Some(Relation::Edit(_) | Relation::Reaction { .. }) | None => (None, None),
    };
    let content = message_content(stored.kind(), stored.content())?;
    let body = body(&content)?;
    Some(What::Message(Message {
        event_id,
        sender,
        kind: kind(&content),
        body: if reply_to.is_some() { without_quote(body) } else { body.to_owned() },
        html: html(stored.content()),
        encrypted,
        shield,
        shield_reason,
        shared_by: stored.shared_by().map(UserId::to_owned),
        reply_to: reply_to.map(EventId::to_owned),
        thread: thread.map(EventId::to_owned),
        edited: false,
        file: file(&content),
    }))
}

/// The text without the quote that older clients put before an answer.
fn without_quote(body: &str) -> String {
    if !body.starts_with("> <") && !body.starts_with("> * <") {
        return body.to_owned();
    }
    let own: Vec<&str> = body.lines().skip_while(|line| line.starts_with('>')).collect();
    own.join("\n").trim_start_matches('\n').to_owned()
}

/// The promised word; what nobody knows is read as text.
fn kind(content: &MessageContent<'_>) -> &'static str {
    let is_unknown = matches!(content, MessageContent::Unknown { .. });
    if is_unknown { "text" } else { content.kind_name() }
}

/// The text, or what stands for it; `None` when the event has neither.
fn body<'a>(content: &MessageContent<'a>) -> Option<&'a str> {
    let is_mute = matches!(content, MessageContent::Unknown { body: None, .. });
    (!is_mute).then(|| content.text())
}

fn html(content: &Map<String, Value>) -> Option<String> {
    let is_html = text(content, "format") == Some("org.matrix.custom.html");
    let html = text(content, "formatted_body").filter(|_| is_html)?;
    let own = html.split_once("</mx-reply>").filter(|(quote, _)| quote.starts_with("<mx-reply>"));
    Some(own.map_or(html, |(_, own)| own).to_owned())
}

fn file(content: &MessageContent<'_>) -> Option<File> {
    let MessageContent::File(file) = content else { return None };
    let name = if file.name.is_empty() { "file" } else { file.name };
    Some(File {
        name: name.to_owned(),
        size: file.size,
        mimetype: file.mimetype.map(str::to_owned),
    })
}

fn reaction(stored: &StoredEvent, event_id: OwnedEventId, sender: OwnedUserId) -> Option<What> {
    let Some(Relation::Reaction { target, key }) = stored.relation() else { return None };
    Some(What::Reaction { event_id, relates_to: target.to_owned(), sender, key: key.to_owned() })
}

fn redaction(stored: &StoredEvent, event_id: OwnedEventId, sender: OwnedUserId) -> Option<What> {
    let relates_to = stored.redacts()?.to_owned();
    let reason = text(stored.content(), "reason").map(str::to_owned);
    Some(What::Redaction { event_id, relates_to, sender, reason })
}

fn membership(stored: &StoredEvent, event_id: OwnedEventId, sender: OwnedUserId) -> Option<What> {
    let user = stored.event.state_key.clone()?;
    let membership = text(stored.content(), "membership")?.to_owned();
    let before = stored.event.unsigned.prev_content.as_ref();
    let is_same = before.and_then(|before| text(before, "membership")) == Some(&membership);
    (!is_same).then_some(What::Membership { event_id, sender, user, membership })
}

fn text<'a>(object: &'a Map<String, Value>, field: &str) -> Option<&'a str> {
    object.get(field)?.as_str()
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

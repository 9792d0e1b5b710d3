//! An item of the timeline in words: who, when, what, and what is to be known about it.

use std::collections::BTreeMap;

use super::{
    change_words,
    look::Look,
    message_rows::{Parts, ruled},
    words,
};
use crate::{
    matrix::{OwnedUserId, SafeText, UserId},
    rooms::{
        FileContent, Item, ItemKind, Message, MessageContent, Quote, Reaction, Removed, SendState,
        Sending, Unreadable, why_undecryptable,
    },
    tui::{
        options::StateLines,
        theme::StyleName,
        wrap::{Row, Span},
    },
};

/// Kind of the message that asks to verify.
const VERIFICATION: &str = "m.key.verification.request";
/// The longest name, in columns.
const MOST_NAME: usize = 24;

/// Who is called what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a> {
    pub known: &'a BTreeMap<OwnedUserId, SafeText>,
    pub look: &'a Look,
}

impl Names<'_> {
    fn of(&self, user: &UserId) -> SafeText {
        let name = self.known.get(user).cloned();
        name.unwrap_or_else(|| SafeText::line(user.as_str())).truncated(MOST_NAME)
    }

    /// The name before a message; nobody's (an echo of our own) is ours.
    fn span(&self, user: Option<&UserId>) -> Span {
        match user {
            Some(user) if user.as_str() != self.look.user_id => {
                Span::new(self.of(user).into_string(), StyleName::of_sender(user.as_str()))
            }
            Some(user) => Span::new(self.of(user).into_string(), StyleName::MessageOwn),
            None => {
                let known = self.known.iter().find(|(user, _)| user.as_str() == self.look.user_id);
                let name = known.map(|(_, name)| name.clone());
                let name = name.unwrap_or_else(|| SafeText::line(&self.look.user_id));
                Span::new(name.truncated(MOST_NAME).into_string(), StyleName::MessageOwn)
            }
        }
    }
}

/// Whether the message is the one that keys act on: then all is said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// Marks only.
    Short,
    /// Marks and sentences.
    Full {
        /// Who has read it.
        readers: Vec<OwnedUserId>,
    },
}

/// The rows of an item.
pub(super) fn rows(item: &Item<'_>, names: Names<'_>, detail: &Detail, columns: usize) -> Vec<Row> {
    let parts = match &item.kind {
        ItemKind::Start => {
            return vec![ruled("the room begins here", StyleName::MessageGap, columns)];
        }
        ItemKind::Gap => {
            return vec![ruled("messages are missing: loading …", StyleName::MessageGap, columns)];
        }
        ItemKind::UnreadMarker => {
            return vec![ruled("new", StyleName::MessageUnread, columns)];
        }
        ItemKind::Changes(changes) => {
            let is_hidden = names.look.state_lines == StateLines::Hidden;
            let shown = changes.iter().filter(|it| !is_hidden || it.kind.is_verification());
            let shown: Vec<_> = shown.copied().collect();
            if shown.is_empty() {
                return Vec::new();
            }
            let words = change_words::sentence(&shown, |user| names.of(user));
            let body = vec![Span::new(words, StyleName::MessageState)];
            Parts { body, ..Parts::default() }
        }
        ItemKind::Message(message) => message_parts(message, names, detail),
        ItemKind::Removed(removed) => removed_parts(removed, names),
        ItemKind::Unreadable(unreadable) => unreadable_parts(unreadable, names),
    };
    Parts { time: names.look.time(item.ts), ..parts }.rows(columns)
}

fn message_parts(message: &Message<'_>, names: Names<'_>, detail: &Detail) -> Parts {
    let mut parts = Parts { name: Some(names.span(message.sender)), ..Parts::default() };
    if let MessageContent::Emote(_) = message.content
        && let Some(name) = &mut parts.name
    {
        name.text.insert_str(0, "* ");
    }
    parts.body = body(&message.content);
    parts.quote = message.reply.as_ref().map(|reply| quote(reply.quote, names));
    if message.is_edited {
        parts.marks.push(Span::new("(edited)", StyleName::MessageEdited));
    }
    if message.thread.is_some() {
        parts.marks.push(Span::new("(in a thread)", StyleName::MessageEdited));
    }
    let shared_by = message.shared_by.map(|user| names.of(user));
    parts.marks.extend(words::shield_mark(message.shield, shared_by.as_ref()));
    if let Some(sending) = message.send {
        parts.marks.extend(words::send_mark(sending.state));
        parts.notes.extend(words::send_sentence(sending.state));
    }
    parts.add_removal(message.removal);
    parts.notes.extend(reactions(&message.reactions));
    if let Detail::Full { readers } = detail {
        parts.notes.extend(words::shield_sentence(message.shield));
        parts.notes.extend(read_by(readers, names));
    }
    parts
}

fn removed_parts(removed: &Removed<'_>, names: Names<'_>) -> Parts {
    let by = match removed.by {
        Some(by) if Some(by) != removed.sender => format!(" by {}", names.of(by)),
        Some(_) | None => String::new(),
    };
    let why = match removed.reason {
        Some(reason) => format!(": {}", SafeText::short(reason, 100)),
        None => String::new(),
    };
    let words = format!("(message removed{by}{why})");
    Parts {
        name: Some(names.span(removed.sender)),
        body: vec![Span::new(words, StyleName::MessageRedacted)],
        ..Parts::default()
    }
}

fn unreadable_parts(unreadable: &Unreadable<'_>, names: Names<'_>) -> Parts {
    let words = format!("[cannot be decrypted: {}]", why_undecryptable(unreadable.reason));
    let mut parts = Parts {
        name: Some(names.span(unreadable.sender)),
        body: vec![Span::new(words, StyleName::MessageUndecryptable)],
        ..Parts::default()
    };
    parts.add_removal(unreadable.removal);
    parts
}

impl Parts {
    /// What becomes of a removal of ours that the server does not have.
    fn add_removal(&mut self, removal: Option<Sending<'_>>) {
        if let Some(sending) = removal {
            self.marks.push(words::removal_mark(sending.state));
            self.notes.extend(words::send_sentence(sending.state));
        }
    }
}

fn body(content: &MessageContent<'_>) -> Vec<Span> {
    let block = |text: &str, style| vec![Span::new(SafeText::block(text).into_string(), style)];
    match content {
        MessageContent::Text(text) => block(text, StyleName::MessageText),
        MessageContent::Notice(text) => block(text, StyleName::MessageNotice),
        MessageContent::Emote(text) => block(text, StyleName::MessageEmote),
        MessageContent::File(file) => file_body(file),
        MessageContent::Location { body, uri } => {
            let words = format!("[place: {} {}]", SafeText::line(body), SafeText::short(uri, 80));
            vec![Span::new(words, StyleName::MessageText)]
        }
        MessageContent::Poll(question) => {
            block(&format!("[poll] {question}"), StyleName::MessageText)
        }
        // What its sender's client wrote for those that do not know this kind.
        MessageContent::Unknown { kind: VERIFICATION, .. } => {
            vec![Span::new("[asked to verify]", StyleName::Dim)]
        }
        MessageContent::Unknown { kind, body } => {
            let kind = format!("[{}]", SafeText::short(kind, 60));
            let mut spans = vec![Span::new(kind, StyleName::Dim)];
            if let Some(body) = body {
                spans.push(Span::new(" ", StyleName::Text));
                spans.extend(block(body, StyleName::MessageText));
            }
            spans
        }
    }
}

fn file_body(file: &FileContent<'_>) -> Vec<Span> {
    let kind = MessageContent::File(*file);
    let size = file.size.map_or_else(String::new, |bytes| format!(", {}", size_words(bytes)));
    let name = SafeText::short(file.name, 120);
    let mimetype = file
        .mimetype
        .map_or_else(String::new, |mimetype| format!(", {}", SafeText::short(mimetype, 40)));
    let words = format!("[{}: {name}{size}{mimetype}]", kind.kind_name());
    let mut spans = vec![Span::new(words, StyleName::MessageText)];
    if let Some(caption) = file.caption {
        let caption = format!(" {}", SafeText::block(caption));
        spans.push(Span::new(caption, StyleName::MessageText));
    }
    spans
}

fn size_words(bytes: u64) -> String {
    const STEP: u64 = 1000;
    match bytes {
        0..STEP => format!("{bytes} B"),
        STEP..1_000_000 => format!("{} kB", bytes / STEP),
        _ => format!("{} MB", bytes / (STEP * STEP)),
    }
}

fn quote(quote: Quote<'_>, names: Names<'_>) -> Span {
    let words = match quote {
        Quote::Unknown => "a message that is not loaded".to_owned(),
        Quote::Removed => "a removed message".to_owned(),
        Quote::Unreadable { sender } => {
            format!("{}: a message that cannot be decrypted", names.of(sender))
        }
        Quote::Message { sender, content } => {
            format!("{}: {}", names.of(sender), SafeText::line(content.text()))
        }
    };
    Span::new(words, StyleName::MessageQuote)
}

fn read_by(readers: &[OwnedUserId], names: Names<'_>) -> Option<Span> {
    const MOST_NAMED: usize = 5;
    let others = readers.iter().filter(|user| user.as_str() != names.look.user_id);
    let shown: Vec<String> =
        others.clone().take(MOST_NAMED).map(|user| names.of(user).into_string()).collect();
    let more = match others.count().saturating_sub(MOST_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let words = format!("Read by {}{more}.", shown.join(", "));
    (!shown.is_empty()).then(|| Span::new(words, StyleName::Dim))
}

/// Each key with its count; a star says that one is ours, dots that ours is on its way.
fn reactions(reactions: &[Reaction<'_>]) -> Option<Span> {
    const MOST_SHOWN: usize = 20;
    let one = |reaction: &Reaction<'_>| {
        let own = if reaction.ours.is_some() { "*" } else { "" };
        let sending = match reaction.send.map(|sending| sending.state) {
            None => "",
            Some(SendState::Failed(_)) => "✗",
            Some(
                SendState::Queued
                | SendState::WaitingForKeys
                | SendState::Uploading { .. }
                | SendState::Sending
                | SendState::Sent(_),
            ) => "…",
        };
        format!("{} {}{own}{sending}", SafeText::short(reaction.key, 20), reaction.count)
    };
    let shown: Vec<String> = reactions.iter().take(MOST_SHOWN).map(one).collect();
    (!shown.is_empty()).then(|| Span::new(shown.join("   "), StyleName::MessageReaction))
}

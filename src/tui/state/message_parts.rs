//! An item of the timeline in words: who, when, what, and what is to be known about it.

use std::collections::BTreeMap;

use super::{
    look::Look,
    message_rows::{Parts, ruled},
    stub::*,
    words,
};
use crate::{
    matrix::{OwnedUserId, SafeText, UserId},
    tui::{
        options::StateLines,
        theme::StyleName,
        wrap::{Row, Span},
    },
};

/// Who is called what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a> {
    pub known: &'a BTreeMap<OwnedUserId, SafeText>,
    pub look: &'a Look,
}

impl Names<'_> {
    fn of(&self, user: &UserId) -> SafeText {
        self.known.get(user).cloned().unwrap_or_else(|| SafeText::line(user.as_str()))
    }

    fn span(&self, user: &UserId) -> Span {
        let style = if user.as_str() == self.look.user_id {
            StyleName::MessageOwn
        } else {
            StyleName::of_sender(user.as_str())
        };
        Span::new(self.of(user).truncated(24).into_string(), style)
    }
}

/// Whether the message is the one that keys act on: then all is said about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// Marks only.
    Short,
    /// Marks and sentences.
    Full,
}

/// The rows of an item.
pub(super) fn rows(item: &Item, names: Names<'_>, detail: Detail, columns: usize) -> Vec<Row> {
    let time = names.look.time(item.at);
    match &item.kind {
        ItemKind::Message(message) => {
            Parts { time, ..message_parts(message, names, detail) }.rows(columns)
        }
        ItemKind::Removed(sender) => Parts {
            time,
            name: Some(names.span(sender)),
            body: vec![Span::new("(message removed)", StyleName::MessageRedacted)],
            ..Parts::default()
        }
        .rows(columns),
        ItemKind::Unreadable(sender, why) => {
            let words = format!("[cannot be decrypted: {}]", words::undecryptable(&why.reason));
            Parts {
                time,
                name: Some(names.span(sender)),
                body: vec![Span::new(words, StyleName::MessageUndecryptable)],
                ..Parts::default()
            }
            .rows(columns)
        }
        ItemKind::Changes(lines) => match names.look.state_lines {
            StateLines::Hidden => Vec::new(),
            StateLines::Folded => Parts {
                time,
                body: vec![Span::new(lines.join("; "), StyleName::MessageState)],
                ..Parts::default()
            }
            .rows(columns),
        },
        ItemKind::Gap { .. } => {
            vec![ruled("messages are missing here, loading …", StyleName::MessageGap, columns)]
        }
        ItemKind::Start => {
            vec![ruled("the room begins here", StyleName::MessageGap, columns)]
        }
    }
}

fn message_parts(message: &Message, names: Names<'_>, detail: Detail) -> Parts {
    let mut parts = Parts { name: Some(names.span(&message.sender)), ..Parts::default() };
    parts.body = match &message.content {
        MessageContent::Text(text) => vec![Span::new(text.as_str(), StyleName::MessageText)],
        MessageContent::Notice(text) => vec![Span::new(text.as_str(), StyleName::MessageNotice)],
        MessageContent::Emote(text) => vec![Span::new(text.as_str(), StyleName::MessageEmote)],
    };
    parts.quote = message.reply.as_ref().map(|reply| quote(reply, names));
    if message.edited {
        parts.marks.push(Span::new("(edited)", StyleName::MessageEdited));
    }
    parts.marks.extend(words::shield_mark(message.shield));
    if let Some(state) = &message.state {
        parts.marks.extend(words::send_mark(state));
        parts.notes.extend(words::send_sentence(state));
    }
    parts.notes.extend(reactions(&message.reactions));
    if detail == Detail::Full {
        parts.notes.extend(words::shield_sentence(message.shield));
    }
    parts
}

fn quote(reply: &Reply, names: Names<'_>) -> Span {
    let words = match &reply.quote {
        Some((sender, text)) => {
            format!("{}: {}", names.of(sender).truncated(24), SafeText::line(text.as_str()))
        }
        None => "a message that is not loaded".to_owned(),
    };
    Span::new(words, StyleName::MessageQuote)
}

fn reactions(reactions: &[Reaction]) -> Option<Span> {
    let one = |reaction: &Reaction| {
        let own = if reaction.mine { "*" } else { "" };
        format!("{} {}{own}", reaction.key.truncated(20), reaction.count)
    };
    let all: Vec<String> = reactions.iter().map(one).collect();
    (!all.is_empty()).then(|| Span::new(all.join("   "), StyleName::MessageReaction))
}

//! What a message says, out of whatever its content holds.
//!
//! Only `body` is read; `formatted_body` waits for a parser that can be trusted. All text is as
//! the network sent it.
//!
//! # Spec
//! Client-Server API, "Instant messaging", `m.sticker`; MSC3381 polls by their fallback.

use serde_json::{Map, Value};

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageContent<'a> {
    /// `m.text`.
    Text(&'a str),
    /// `m.notice`: by a bot.
    Notice(&'a str),
    /// `m.emote`: what the sender does.
    Emote(&'a str),
    /// An attachment or a sticker.
    File(FileContent<'a>),
    /// `m.location`.
    Location {
        /// Words for it.
        body: &'a str,
        /// `geo:` URI.
        uri: &'a str,
    },
    /// A poll: its question.
    Poll(&'a str),
    /// Something else, with the words that its sender gave for clients like us.
    Unknown {
        /// Its type, or the `msgtype` of a message.
        kind: &'a str,
        /// The words, if any.
        body: Option<&'a str>,
    },
}

/// An attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileContent<'a> {
    /// What it is.
    pub kind: FileKind,
    /// File name, or the description of a sticker.
    pub name: &'a str,
    /// What the sender wrote to it.
    pub caption: Option<&'a str>,
    /// Bytes, says the sender.
    pub size: Option<u64>,
    /// Says the sender.
    pub mimetype: Option<&'a str>,
}

/// What an attachment is, says the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// `m.image`.
    Image,
    /// `m.audio`.
    Audio,
    /// `m.video`.
    Video,
    /// `m.file`.
    File,
    /// `m.sticker`.
    Sticker,
}

impl<'a> MessageContent<'a> {
    /// The name that `docs/cli.md` promises for it.
    pub fn kind_name(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Notice(_) => "notice",
            Self::Emote(_) => "emote",
            Self::File(file) => match file.kind {
                FileKind::Image => "image",
                FileKind::Audio => "audio",
                FileKind::Video => "video",
                FileKind::File => "file",
                FileKind::Sticker => "sticker",
            },
            Self::Location { .. } => "location",
            Self::Poll(_) => "poll",
            Self::Unknown { .. } => "unknown",
        }
    }

    /// One text for it: what is written, the caption or name of a file, the question of a poll.
    pub fn text(&self) -> &'a str {
        match self {
            Self::Text(body)
            | Self::Notice(body)
            | Self::Emote(body)
            | Self::Poll(body)
            | Self::Location { body, .. } => body,
            Self::File(file) => file.caption.unwrap_or(file.name),
            Self::Unknown { kind, body } => body.unwrap_or(kind),
        }
    }
}

/// Reads a message; `None` for events that are no messages and say nothing.
pub fn message_content<'a>(
    kind: &'a str,
    content: &'a Map<String, Value>,
) -> Option<MessageContent<'a>> {
    let body = text(content, "body");
    match kind {
        "m.room.message" => Some(room_message(content, body)),
        "m.sticker" => Some(MessageContent::File(file(FileKind::Sticker, content))),
        "m.poll.start" | "org.matrix.msc3381.poll.start" => {
            let question = ["m.poll", "org.matrix.msc3381.poll.start"]
                .into_iter()
                .find_map(|field| extensible(content.get(field)?.get("question")?));
            Some(MessageContent::Poll(question.or(extensible_text(content)).unwrap_or_default()))
        }
        "m.room.encrypted" => Some(MessageContent::Unknown { kind, body: None }),
        _ => {
            let body = body.or(extensible_text(content))?;
            Some(MessageContent::Unknown { kind, body: Some(body) })
        }
    }
}

fn room_message<'a>(content: &'a Map<String, Value>, body: Option<&'a str>) -> MessageContent<'a> {
    let kind = text(content, "msgtype").unwrap_or("m.room.message");
    match (kind, body) {
        ("m.text", Some(body)) => MessageContent::Text(body),
        ("m.notice", Some(body)) => MessageContent::Notice(body),
        ("m.emote", Some(body)) => MessageContent::Emote(body),
        ("m.image", _) => MessageContent::File(file(FileKind::Image, content)),
        ("m.audio", _) => MessageContent::File(file(FileKind::Audio, content)),
        ("m.video", _) => MessageContent::File(file(FileKind::Video, content)),
        ("m.file", _) => MessageContent::File(file(FileKind::File, content)),
        ("m.location", Some(body)) => {
            MessageContent::Location { body, uri: text(content, "geo_uri").unwrap_or_default() }
        }
        (kind, body) => MessageContent::Unknown { kind, body },
    }
}

fn file(kind: FileKind, content: &Map<String, Value>) -> FileContent<'_> {
    let (body, filename) = (text(content, "body"), text(content, "filename"));
    let info = content.get("info").and_then(Value::as_object);
    FileContent {
        kind,
        name: filename.or(body).unwrap_or_default(),
        caption: filename.and(body).filter(|body| filename != Some(body)),
        size: info.and_then(|info| info.get("size")?.as_u64()),
        mimetype: info.and_then(|info| text(info, "mimetype")),
    }
}

fn text<'a>(content: &'a Map<String, Value>, field: &str) -> Option<&'a str> {
    content.get(field).and_then(Value::as_str)
}

/// The plain text of extensible events (MSC1767), stable and not.
fn extensible_text(content: &Map<String, Value>) -> Option<&str> {
    ["m.text", "org.matrix.msc1767.text"].into_iter().find_map(|field| plain(content.get(field)?))
}

fn extensible(value: &Value) -> Option<&str> {
    value.as_object().and_then(|object| extensible_text(object).or_else(|| text(object, "body")))
}

fn plain(value: &Value) -> Option<&str> {
    let first = || value.as_array()?.iter().find_map(|part| part.get("body")?.as_str());
    value.as_str().or_else(first)
}

/// A reply's body without the quotation that old clients put before it.
///
/// # Spec
/// Client-Server API before 1.13, "Fallbacks for rich replies".
pub(super) fn without_fallback(body: &str) -> &str {
    let mut rest = body;
    while let Some((line, after)) = rest.split_once('\n') {
        if !line.starts_with("> ") && line != ">" {
            break;
        }
        rest = after;
    }
    if rest.len() == body.len() || rest.starts_with("> ") {
        return body;
    }
    rest.strip_prefix('\n').unwrap_or(rest)
}

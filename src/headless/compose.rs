//! From what was typed to the content of an event.

use pulldown_cmark::{Event, Options, Parser, html};
use serde_json::{Map, Value, json};

use crate::matrix::{OwnedEventId, UserId};

/// A message as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typed {
    /// The text.
    pub text: String,
    /// Text, notice or emote.
    pub form: Form,
    /// How the text is read.
    pub markup: Markup,
    /// What it relates to.
    pub relation: Relation,
}

/// What kind of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Plain talk.
    Text,
    /// A bot's.
    Notice,
    /// `/me`.
    Emote,
}

/// How a text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Markup {
    /// As Markdown.
    Markdown,
    /// As it is.
    Plain,
}

/// What a message relates to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Nothing.
    None,
    /// It answers an event.
    Reply(OwnedEventId),
    /// It belongs to a thread, and may answer an event of it.
    Thread {
        /// The thread's first event.
        root: OwnedEventId,
        /// The event it answers.
        reply: Option<OwnedEventId>,
    },
    /// It replaces the text of an event.
    Edit(OwnedEventId),
}

/// The content of an `m.room.message`.
///
/// # Spec
/// Client-Server API, "Instant messaging", "Rich replies", "Threading", "Event replacements".
pub(super) fn message(typed: &Typed) -> Map<String, Value> {
    let mut content = said(typed);
    let relates_to = match &typed.relation {
        Relation::None => return content,
        Relation::Reply(event) => json!({"m.in_reply_to": {"event_id": event}}),
        Relation::Thread { root, reply } => json!({
            "rel_type": "m.thread",
            "event_id": root,
            "is_falling_back": reply.is_none(),
            "m.in_reply_to": {"event_id": reply.as_ref().unwrap_or(root)},
        }),
        Relation::Edit(event) => {
            let new = std::mem::take(&mut content);
            content = starred(&new);
            content.insert("m.new_content".to_owned(), Value::Object(new));
            json!({"rel_type": "m.replace", "event_id": event})
        }
    };
    content.insert("m.relates_to".to_owned(), relates_to);
    content
}

/// The content of an `m.reaction`.
pub(super) fn reaction(key: &str, event: &OwnedEventId) -> Map<String, Value> {
    let relation = json!({"rel_type": "m.annotation", "event_id": event, "key": key});
    Map::from_iter([("m.relates_to".to_owned(), relation)])
}

fn said(typed: &Typed) -> Map<String, Value> {
    let msgtype = match typed.form {
        Form::Text => "m.text",
        Form::Notice => "m.notice",
        Form::Emote => "m.emote",
    };
    let mut content = Map::new();
    content.insert("msgtype".to_owned(), msgtype.into());
    content.insert("body".to_owned(), typed.text.clone().into());
    if let Some(html) = formatted(&typed.text, typed.markup) {
        content.insert("format".to_owned(), "org.matrix.custom.html".into());
        content.insert("formatted_body".to_owned(), html.into());
    }
    content.insert("m.mentions".to_owned(), mentions(&typed.text));
    content
}

/// What clients without edits show.
fn starred(new: &Map<String, Value>) -> Map<String, Value> {
    let mut content = new.clone();
    for field in ["body", "formatted_body"] {
        if let Some(Value::String(text)) = content.get_mut(field) {
            text.insert_str(0, "* ");
        }
    }
    content
}

/// HTML, when the text has any markup. Tags in the text are text: what was typed is what is seen.
fn formatted(text: &str, markup: Markup) -> Option<String> {
    if markup == Markup::Plain {
        return None;
    }
    let options = Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TABLES;
    let events = Parser::new_ext(text, options).map(as_typed);
    let mut rendered = String::new();
    html::push_html(&mut rendered, events);
    let rendered = rendered.trim_end();
    let single = rendered.strip_prefix("<p>").and_then(|inner| inner.strip_suffix("</p>"));
    let rendered = single.filter(|inner| !inner.contains("<p>")).unwrap_or(rendered);
    let is_plain = !rendered.replace("<br />\n", "").contains('<');
    (!is_plain).then(|| rendered.to_owned())
}

/// Tags become text, line ends stay line ends.
#[expect(clippy::wildcard_enum_match_arm, reason = "the parser's enum; all else stays as it is")]
fn as_typed(event: Event<'_>) -> Event<'_> {
    match event {
        Event::Html(tag) | Event::InlineHtml(tag) => Event::Text(tag),
        Event::SoftBreak => Event::HardBreak,
        other => other,
    }
}

/// The users that the text names by their full ids.
///
/// # Spec
/// Client-Server API, "User and room mentions".
fn mentions(text: &str) -> Value {
    let outside = |c: char| c.is_whitespace() || "()[]<>,;!?\"'*`".contains(c);
    let mut users: Vec<String> = text
        .split(outside)
        .map(|word| word.trim_end_matches(['.', ':']))
        .filter(|word| word.starts_with('@') && UserId::parse(*word).is_ok())
        .map(str::to_owned)
        .collect();
    users.sort_unstable();
    users.dedup();
    if users.is_empty() { json!({}) } else { json!({"user_ids": users}) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(text: &str, relation: Relation) -> Value {
        let typed =
            Typed { text: text.to_owned(), form: Form::Text, markup: Markup::Markdown, relation };
        Value::Object(message(&typed))
    }

    fn event(id: &str) -> OwnedEventId {
        OwnedEventId::try_from(id).unwrap()
    }

    #[test]
    fn a_text_without_markup_has_no_html() {
        let expected = json!({"msgtype": "m.text", "body": "1 < 2\nso", "m.mentions": {}});
        assert_eq!(content("1 < 2\nso", Relation::None), expected);
    }

    #[test]
    fn markdown_becomes_html_and_typed_tags_stay_text() {
        let html = |text| content(text, Relation::None)["formatted_body"].clone();
        assert_eq!(html("the **gate**"), "the <strong>gate</strong>");
        assert_eq!(html("*a* <b>x</b>"), "<em>a</em> &lt;b&gt;x&lt;/b&gt;");
    }

    #[test]
    fn an_edit_carries_the_new_content_and_a_star_for_old_clients() {
        let content = content("new", Relation::Edit(event("$old")));
        assert_eq!(content["body"], "* new");
        assert_eq!(content["m.new_content"]["body"], "new");
        assert_eq!(content["m.relates_to"], json!({"rel_type": "m.replace", "event_id": "$old"}));
    }

    #[test]
    fn a_reply_in_a_thread_is_no_fallback() {
        let relation = Relation::Thread { root: event("$root"), reply: Some(event("$answered")) };
        let relates_to = content("x", relation)["m.relates_to"].clone();
        assert_eq!(relates_to["is_falling_back"], false);
        assert_eq!(relates_to["m.in_reply_to"]["event_id"], "$answered");
        assert_eq!(relates_to["event_id"], "$root");
    }

    #[test]
    fn full_user_ids_are_mentions() {
        let content = content("ask @bob:example.org, or (@bob:example.org)", Relation::None);
        assert_eq!(content["m.mentions"], json!({"user_ids": ["@bob:example.org"]}));
    }
}

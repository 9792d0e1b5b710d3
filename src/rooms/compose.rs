//! From what was typed to the content of an event.
//!
//! # Spec
//! Client-Server API, "Instant messaging", "Rich replies", "Threading", "Event replacements",
//! "User and room mentions".

use pulldown_cmark::{Event, Options, Parser, html};
use serde_json::{Map, Value, json};

use crate::matrix::{EventId, OwnedEventId, OwnedUserId, UserId};

/// A message as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typed {
    /// The text.
    pub text: String,
    /// Text, notice or emote.
    pub form: Form,
    /// How the text is read.
    pub markup: Markup,
    /// What it answers or replaces.
    pub target: Target,
    /// Whom it is for, beside those whose ids stand in the text: the sender of what is answered,
    /// users chosen by name.
    pub mentions: Vec<OwnedUserId>,
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
    /// As Markdown. HTML in it is text.
    Markdown,
    /// As it is.
    Plain,
}

/// What a message answers or replaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
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
    /// It stands in the place of an event.
    Edit(OwnedEventId),
}

impl Target {
    /// The events it names.
    pub fn events(&self) -> impl Iterator<Item = &OwnedEventId> {
        let (first, second) = match self {
            Self::None => (None, None),
            Self::Reply(event) | Self::Edit(event) => (Some(event), None),
            Self::Thread { root, reply } => (Some(root), reply.as_ref()),
        };
        first.into_iter().chain(second)
    }
}

impl Typed {
    /// A new message in Markdown; `/me` makes an emote, and `//` begins a text with one slash.
    pub fn new(text: &str) -> Self {
        let emote = text.strip_prefix("/me").filter(|rest| rest.starts_with(char::is_whitespace));
        let (form, text) = match emote {
            Some(rest) => (Form::Emote, rest.trim_start()),
            None if text.starts_with("//") => (Form::Text, text.strip_prefix('/').unwrap_or(text)),
            None => (Form::Text, text),
        };
        let (markup, target, mentions) = (Markup::Markdown, Target::None, Vec::new());
        Self { text: text.to_owned(), form, markup, target, mentions }
    }

    /// The content of an `m.room.message`. Replies carry no fallback; edits carry the new content
    /// and, for clients that know no edits, the same with `* ` before it.
    pub fn content(&self) -> Map<String, Value> {
        let mut content = self.said();
        let relates_to = match &self.target {
            Target::None => return content,
            Target::Reply(event) => json!({"m.in_reply_to": {"event_id": event}}),
            Target::Thread { root, reply } => json!({
                "rel_type": "m.thread",
                "event_id": root,
                "is_falling_back": reply.is_none(),
                "m.in_reply_to": {"event_id": reply.as_ref().unwrap_or(root)},
            }),
            Target::Edit(event) => {
                let new = std::mem::take(&mut content);
                content = starred(&new);
                content.insert("m.new_content".to_owned(), Value::Object(new));
                json!({"rel_type": "m.replace", "event_id": event})
            }
        };
        content.insert("m.relates_to".to_owned(), relates_to);
        content
    }

    fn said(&self) -> Map<String, Value> {
        let msgtype = match self.form {
            Form::Text => "m.text",
            Form::Notice => "m.notice",
            Form::Emote => "m.emote",
        };
        let mut content = Map::new();
        content.insert("msgtype".to_owned(), msgtype.into());
        content.insert("body".to_owned(), self.text.clone().into());
        if let Some(html) = formatted(&self.text, self.markup) {
            content.insert("format".to_owned(), "org.matrix.custom.html".into());
            content.insert("formatted_body".to_owned(), html.into());
        }
        content.insert("m.mentions".to_owned(), self.mentioned());
        content
    }

    fn mentioned(&self) -> Value {
        let outside = |c: char| c.is_whitespace() || "()[]<>,;!?\"'*`".contains(c);
        let words = self.text.split(outside).map(|word| word.trim_end_matches(['.', ':']));
        let named = words.filter(|word| word.starts_with('@'));
        let mut users: Vec<OwnedUserId> = named.filter_map(|id| UserId::parse(id).ok()).collect();
        users.extend(self.mentions.iter().cloned());
        users.sort_unstable();
        users.dedup();
        if users.is_empty() { json!({}) } else { json!({"user_ids": users}) }
    }
}

/// The content of an `m.reaction`.
pub fn compose_reaction(key: &str, event: &EventId) -> Map<String, Value> {
    let relation = json!({"rel_type": "m.annotation", "event_id": event, "key": key});
    Map::from_iter([("m.relates_to".to_owned(), relation)])
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
    let mut rendered = String::new();
    html::push_html(&mut rendered, Parser::new_ext(text, options).map(as_typed));
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn content(text: &str, target: Target) -> Value {
        Value::Object(Typed { target, ..Typed::new(text) }.content())
    }

    fn event(id: &str) -> OwnedEventId {
        OwnedEventId::try_from(id).expect("an event id")
    }

    #[test]
    fn a_text_without_markup_has_no_html() {
        let expected = json!({"msgtype": "m.text", "body": "1 < 2\nso", "m.mentions": {}});
        assert_eq!(content("1 < 2\nso", Target::None), expected);
    }

    #[test]
    fn markdown_becomes_html_and_typed_tags_stay_text() {
        let html = |text| content(text, Target::None)["formatted_body"].clone();
        assert_eq!(html("the **gate**"), "the <strong>gate</strong>");
        assert_eq!(html("*a* <b>x</b>"), "<em>a</em> &lt;b&gt;x&lt;/b&gt;");
        assert_eq!(html("<script>\nx\n</script>"), Value::Null);
        assert_eq!(html("a\n\nb"), "<p>a</p>\n<p>b</p>");
        assert_eq!(
            html("```rust\nlet x;\n```"),
            "<pre><code class=\"language-rust\">let x;\n</code></pre>"
        );
    }

    #[test]
    fn me_makes_an_emote_and_two_slashes_make_one() {
        assert_eq!(content("/me waves", Target::None)["msgtype"], "m.emote");
        assert_eq!(content("/me waves", Target::None)["body"], "waves");
        assert_eq!(content("//shrug", Target::None)["body"], "/shrug");
        assert_eq!(content("/menu", Target::None)["msgtype"], "m.text");
    }

    #[test]
    fn an_edit_carries_the_new_content_and_a_star_for_old_clients() {
        let content = content("*new*", Target::Edit(event("$old")));
        assert_eq!(content["body"], "* *new*");
        assert_eq!(content["formatted_body"], "* <em>new</em>");
        assert_eq!(content["m.new_content"]["body"], "*new*");
        assert_eq!(content["m.new_content"].get("m.relates_to"), None);
        assert_eq!(content["m.relates_to"], json!({"rel_type": "m.replace", "event_id": "$old"}));
    }

    #[test]
    fn replies_have_no_fallback_and_threads_say_when_they_only_fall_back() {
        let reply = content("x", Target::Reply(event("$answered")));
        assert_eq!(reply["body"], "x");
        assert_eq!(reply["m.relates_to"], json!({"m.in_reply_to": {"event_id": "$answered"}}));
        let thread = |reply| Target::Thread { root: event("$root"), reply };
        let relates_to = content("x", thread(Some(event("$answered"))))["m.relates_to"].clone();
        assert_eq!(relates_to["is_falling_back"], false);
        assert_eq!(relates_to["m.in_reply_to"]["event_id"], "$answered");
        assert_eq!(content("x", thread(None))["m.relates_to"]["is_falling_back"], true);
    }

    #[test]
    fn users_named_by_id_or_by_choice_are_mentioned_once() {
        let alice = UserId::parse("@alice:a").expect("a user id");
        let typed = Typed {
            mentions: vec![alice],
            ..Typed::new("ask @bob:example.org, or (@bob:example.org) @nobody")
        };
        let mentions = typed.content()["m.mentions"].clone();
        assert_eq!(mentions, json!({"user_ids": ["@alice:a", "@bob:example.org"]}));
    }

    #[test]
    fn a_reaction_names_its_target() {
        let content = Value::Object(compose_reaction("👍", &event("$e")));
        let relation = json!({"rel_type": "m.annotation", "event_id": "$e", "key": "👍"});
        assert_eq!(content, json!({"m.relates_to": relation}));
    }

    proptest! {
        #[test]
        fn no_typed_text_makes_a_tag_of_its_own(text in "[<>a-z/ =\"'&!-]{0,60}") {
            let html = formatted(&text, Markup::Markdown).unwrap_or_default();
            for tag in ["<a", "<b>", "<i", "<script", "<!"] {
                prop_assert!(!html.contains(tag), "{}", html);
            }
        }
    }
}

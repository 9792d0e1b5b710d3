//! From a file and what is said about it to the content of its message.
//!
//! # Spec
//! Client-Server API, "`m.file`", "`m.image`", "`m.audio`", "`m.video`", "Media captions".

use serde_json::{Map, Value, json};

use super::compose::Typed;

/// What is known of a file before it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// Absolute path.
    pub path: String,
    /// The name that others see.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Its media type.
    pub mimetype: &'static str,
}

/// The content of the message about a file, without where it lies. What was typed is its caption;
/// without one its body is the file's name.
pub fn compose_file(facts: &FileFacts, caption: &Typed) -> Map<String, Value> {
    let msgtype = match facts.mimetype.split('/').next() {
        // Not shown as a picture by others: it may hold scripts.
        Some("image") if facts.mimetype != "image/svg+xml" => "m.image",
        Some("audio") => "m.audio",
        Some("video") => "m.video",
        Some(_) | None => "m.file",
    };
    let mut content = caption.content();
    if caption.text.trim().is_empty() {
        content.insert("body".to_owned(), facts.name.clone().into());
        content.remove("format");
        content.remove("formatted_body");
    }
    content.insert("msgtype".to_owned(), msgtype.into());
    content.insert("filename".to_owned(), facts.name.clone().into());
    let info = json!({ "size": facts.size, "mimetype": facts.mimetype });
    content.insert("info".to_owned(), info);
    content
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rooms::{MessageContent, Target, message_content};

    fn facts(mimetype: &'static str) -> FileFacts {
        let (path, name) = ("/home/me/cat.png".to_owned(), "cat.png".to_owned());
        FileFacts { path, name, size: 12, mimetype }
    }

    #[test]
    fn a_caption_stands_beside_the_name() {
        let content = compose_file(&facts("image/png"), &Typed::new("my **cat**"));
        let Some(MessageContent::File(file)) = message_content("m.room.message", &content) else {
            panic!("{content:?}");
        };
        assert_eq!((file.name, file.caption), ("cat.png", Some("my **cat**")));
        assert_eq!((file.size, file.mimetype), (Some(12), Some("image/png")));
        assert_eq!(content["formatted_body"], "my <strong>cat</strong>");
        assert!(!format!("{content:?}").contains("/home/me"), "the path is nobody's business");
    }

    #[test]
    fn without_a_caption_the_body_is_the_name() {
        let typed = Typed { target: Target::Reply("$x:y".try_into().unwrap()), ..Typed::new("") };
        let content = compose_file(&facts("application/pdf"), &typed);
        assert_eq!((&content["body"], &content["msgtype"]), (&json!("cat.png"), &json!("m.file")));
        assert!(!content.contains_key("formatted_body"));
        assert_eq!(content["m.relates_to"]["m.in_reply_to"]["event_id"], "$x:y");
    }

    #[test]
    fn a_picture_that_may_hold_scripts_is_a_file() {
        assert_eq!(compose_file(&facts("image/svg+xml"), &Typed::new(""))["msgtype"], "m.file");
    }
}

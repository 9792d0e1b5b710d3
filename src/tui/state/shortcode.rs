//! Names of the emoji people react with most, as `:name:`. Anything else is typed as it is.

/// Name and emoji.
const NAMES: &[(&str, &str)] = &[
    ("+1", "👍"),
    ("thumbsup", "👍"),
    ("-1", "👎"),
    ("thumbsdown", "👎"),
    ("100", "💯"),
    ("angry", "😠"),
    ("beer", "🍺"),
    ("bug", "🐛"),
    ("cake", "🍰"),
    ("check", "✅"),
    ("clap", "👏"),
    ("coffee", "☕"),
    ("confused", "😕"),
    ("cry", "😢"),
    ("eyes", "👀"),
    ("fire", "🔥"),
    ("grin", "😁"),
    ("heart", "❤️"),
    ("hug", "🤗"),
    ("joy", "😂"),
    ("laughing", "😆"),
    ("lock", "🔒"),
    ("muscle", "💪"),
    ("no", "❌"),
    ("ok", "👌"),
    ("party", "🥳"),
    ("pray", "🙏"),
    ("question", "❓"),
    ("rocket", "🚀"),
    ("sad", "😞"),
    ("scream", "😱"),
    ("seedling", "🌱"),
    ("shrug", "🤷"),
    ("smile", "😄"),
    ("smiley", "😃"),
    ("sob", "😭"),
    ("star", "⭐"),
    ("sunglasses", "😎"),
    ("tada", "🎉"),
    ("thinking", "🤔"),
    ("warning", "⚠️"),
    ("wave", "👋"),
    ("wink", "😉"),
    ("yes", "✅"),
];

/// The emoji that `:name:` (or the bare name) stands for; any other text stands for itself.
pub(in crate::tui) fn expand(text: &str) -> &str {
    let text = text.trim();
    let name = text.strip_prefix(':').and_then(|rest| rest.strip_suffix(':')).unwrap_or(text);
    NAMES.iter().find(|(known, _)| *known == name).map_or(text, |(_, emoji)| emoji)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_emoji_and_other_text_stays() {
        assert_eq!(expand(" :tada: "), "🎉");
        assert_eq!(expand("+1"), "👍");
        assert_eq!(expand(":seedling:"), "🌱");
        assert_eq!(expand("🦀"), "🦀");
        assert_eq!(expand(":nope:"), ":nope:");
    }
}

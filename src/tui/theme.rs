//! Colors by name: TOML files in which every style has a name such as `message.unverified`, a theme
//! may inherit another, and every mistake is told with its line.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use ratatui::style::{Color, Modifier, Style};
use serde::Deserialize;
use toml::Spanned;

/// Declares [`StyleName`] and its table from the same lines.
macro_rules! style_names {
    ($($variant:ident $name:literal $doc:literal)*) => {
        /// What a stretch of the screen is, for the theme.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum StyleName {
            $(#[doc = $doc] $variant,)*
        }

        impl StyleName {
            /// Every style with its name in theme files and what it is for.
            pub const TABLE: &'static [(Self, &'static str, &'static str)] =
                &[$((Self::$variant, $name, $doc),)*];
        }
    };
}

style_names! {
    Text "text" "Anything that has no name of its own."
    Dim "dim" "What may be overlooked."
    Border "border" "Lines between the parts of the screen."
    RoomsName "rooms.name" "A room of the list."
    RoomsUnread "rooms.unread" "A room with unread messages."
    RoomsHighlight "rooms.highlight" "A room in which we are mentioned."
    RoomsCurrent "rooms.current" "The room that is open."
    RoomsSelected "rooms.selected" "The room that is chosen in the list."
    RoomsInvite "rooms.invite" "An invite."
    RoomsFilter "rooms.filter" "What is typed to filter the list."
    MessageText "message.text" "What a message says."
    MessageTime "message.time" "When it was sent."
    MessageOwn "message.own" "Our own name."
    MessageNotice "message.notice" "A message of a program."
    MessageEmote "message.emote" "An action (`/me`)."
    MessageQuote "message.quote" "What a reply answers."
    MessageReaction "message.reaction" "Reactions and their counts."
    MessageEdited "message.edited" "The mark of an edited message."
    MessageRedacted "message.redacted" "The place of a removed message."
    MessageUndecryptable "message.undecryptable" "A message that cannot be decrypted."
    MessageUnverified "message.unverified" "A message whose sender is not fully proved."
    MessageWarning "message.warning" "A message that should not be trusted."
    MessageMark "message.mark" "The mark beside the selected message."
    MessageState "message.state" "Joins, leaves and other changes of the room."
    MessageDay "message.day" "The line between two days."
    MessageUnread "message.unread" "The line above the first unread message."
    MessageGap "message.gap" "A place where messages are missing or being loaded."
    SendWaiting "send.waiting" "The mark of a message that is on its way."
    SendFailed "send.failed" "A message that could not be sent."
    Sender1 "sender.1" "Names of others, by turns."
    Sender2 "sender.2" "Names of others, by turns."
    Sender3 "sender.3" "Names of others, by turns."
    Sender4 "sender.4" "Names of others, by turns."
    Sender5 "sender.5" "Names of others, by turns."
    Sender6 "sender.6" "Names of others, by turns."
    ComposerText "composer.text" "What we write."
    ComposerPlaceholder "composer.placeholder" "What stands in the empty line."
    ComposerContext "composer.context" "To what we reply, or what we edit."
    StatusBar "status.bar" "The status line."
    StatusOnline "status.online" "Connected."
    StatusOffline "status.offline" "Not connected."
    StatusEncrypted "status.encrypted" "The room is encrypted."
    StatusClear "status.clear" "The room is not encrypted."
    StatusTyping "status.typing" "Who types."
    StatusQueued "status.queued" "Messages that wait to be sent."
    StatusNotice "status.notice" "What just happened."
    StatusError "status.error" "What just failed."
    Header "header" "Name and topic of the open room."
    Alarm "alarm" "A warning that stays until it is settled."
    Setup "setup" "The way of this device to the account's keys, above all else."
    OverlayText "overlay.text" "Text of lists and questions over the screen."
    OverlayBorder "overlay.border" "The frame around them."
    OverlaySelected "overlay.selected" "The line that is chosen."
    OverlayInput "overlay.input" "What is typed there."
    Code "code" "A code for another device to scan; black on white, or it cannot be read."
    HelpKey "help.key" "A key in the help."
    HelpHeading "help.heading" "A heading in the help."
}

impl StyleName {
    /// The style with this name in theme files.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::TABLE.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// The color of a sender's name: always the same one for the same user.
    pub fn of_sender(user_id: &str) -> Self {
        const COLORS: [StyleName; 6] = [
            StyleName::Sender1,
            StyleName::Sender2,
            StyleName::Sender3,
            StyleName::Sender4,
            StyleName::Sender5,
            StyleName::Sender6,
        ];
        // FNV-1a: spreads well, and a user keeps the color over restarts and machines.
        let hash = user_id
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, b| (hash ^ u32::from(b)).wrapping_mul(0x0100_0193));
        let index = usize::try_from(hash % 6).unwrap_or(0);
        COLORS.get(index).copied().unwrap_or(Self::Sender1)
    }
}

/// Whether colors are used at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColorMode {
    /// As the theme says.
    #[default]
    Full,
    /// Only bold, underlined and the like (`NO_COLOR`).
    None,
}

/// A style for every name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Theme {
    styles: BTreeMap<StyleName, Style>,
}

/// Why a theme cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ThemeError {
    /// There is no theme of this name, neither built in nor in the user's folder.
    #[error("there is no theme `{name}`{}; built in are: {}", at(.folder.as_ref()), built_in_names())]
    Unknown {
        /// The name.
        name: String,
        /// Where it was also looked for.
        folder: Option<PathBuf>,
    },
    /// The file cannot be read.
    #[error("theme {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is wrong.
    #[error("theme `{theme}`, line {line}: {problem}")]
    Line {
        /// Which theme.
        theme: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// Themes inherit each other in a circle.
    #[error("theme `{name}` inherits itself")]
    Circle {
        /// One of them.
        name: String,
    },
    /// A complete theme is asked for and this one leaves a style out.
    #[error("theme `{theme}` inherits nothing and has no `{missing}`")]
    Incomplete {
        /// Which theme.
        theme: String,
        /// The first style it leaves out.
        missing: &'static str,
    },
}

fn at(folder: Option<&PathBuf>) -> String {
    folder.map_or_else(String::new, |folder| format!(" in {}", folder.display()))
}

fn built_in_names() -> String {
    BUILT_IN.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// Themes in the binary. The first is complete and the default.
const BUILT_IN: [(&str, &str); 2] = [
    ("dark", include_str!("../../themes/dark.toml")),
    ("light", include_str!("../../themes/light.toml")),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    inherits: Option<String>,
    #[serde(default)]
    palette: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    styles: BTreeMap<Spanned<String>, StyleEntry>,
}

/// A style: `"red"`, or `{ fg = "red", bg = "black", attributes = ["bold"] }`.
#[derive(Deserialize)]
#[serde(untagged)]
enum StyleEntry {
    Foreground(String),
    Full(FullStyle),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FullStyle {
    fg: Option<String>,
    bg: Option<String>,
    #[serde(default)]
    attributes: Vec<String>,
}

impl Default for Theme {
    fn default() -> Self {
        // A test loads every built-in theme, so the fallback is never seen.
        Self::load("dark", None).unwrap_or(Self { styles: BTreeMap::new() })
    }
}

impl Theme {
    /// Loads a theme by name: from `folder` (`NAME.toml`) if it is there, else a built-in one.
    ///
    /// # Errors
    /// When there is none, it cannot be read, or something in it is wrong.
    pub fn load(name: &str, folder: Option<&Path>) -> Result<Self, ThemeError> {
        let mut chain = Vec::new();
        let mut next = Some(name.to_owned());
        while let Some(name) = next.take() {
            if chain.iter().any(|(known, _, _)| *known == name) {
                return Err(ThemeError::Circle { name });
            }
            let text = text_of(&name, folder)?;
            let file: File = toml::from_str(&text).map_err(|error| ThemeError::Line {
                theme: name.clone(),
                line: error.span().map_or(1, |span| line_of(&text, span.start)),
                problem: error.message().to_owned(),
            })?;
            next.clone_from(&file.inherits);
            chain.push((name, text, file));
        }
        let mut palette = BTreeMap::new();
        let mut styles = BTreeMap::new();
        // Palettes first, so that a theme can change the colors of what it inherits.
        for (theme, text, file) in chain.iter().rev() {
            let source = Source { theme, text };
            for (name, color) in &file.palette {
                let at = color.span().start;
                palette.insert(name.clone(), source.color(color.get_ref(), &Palette::new(), at)?);
            }
        }
        for (theme, text, file) in chain.iter().rev() {
            let source = Source { theme, text };
            for (name, entry) in &file.styles {
                let at = name.span().start;
                let style_name = StyleName::by_name(name.get_ref()).ok_or_else(|| {
                    source.wrong(at, format!("there is no style `{}`", name.get_ref()))
                })?;
                styles.insert(style_name, source.style(entry, &palette, at)?);
            }
        }
        match StyleName::TABLE.iter().find(|row| !styles.contains_key(&row.0)) {
            Some((_, missing, _)) => {
                Err(ThemeError::Incomplete { theme: name.to_owned(), missing })
            }
            None => Ok(Self { styles }),
        }
    }

    /// The same theme, with its colors or without.
    #[must_use]
    pub fn with_colors(mut self, mode: ColorMode) -> Self {
        if mode == ColorMode::None {
            for style in self.styles.values_mut() {
                *style = Style { add_modifier: style.add_modifier, ..Style::default() };
            }
        }
        self
    }

    /// What a name looks like.
    pub fn style(&self, name: StyleName) -> Style {
        self.styles.get(&name).copied().unwrap_or_default()
    }
}

/// A theme's text, for errors.
struct Source<'a> {
    theme: &'a str,
    text: &'a str,
}

type Palette = BTreeMap<String, Color>;

impl Source<'_> {
    fn wrong(&self, at: usize, problem: String) -> ThemeError {
        ThemeError::Line { theme: self.theme.to_owned(), line: line_of(self.text, at), problem }
    }

    fn style(&self, entry: &StyleEntry, palette: &Palette, at: usize) -> Result<Style, ThemeError> {
        let full = match entry {
            StyleEntry::Foreground(color) => {
                return Ok(Style::new().fg(self.color(color, palette, at)?));
            }
            StyleEntry::Full(full) => full,
        };
        let mut style = Style::new();
        if let Some(color) = &full.fg {
            style = style.fg(self.color(color, palette, at)?);
        }
        if let Some(color) = &full.bg {
            style = style.bg(self.color(color, palette, at)?);
        }
        for attribute in &full.attributes {
            let modifier = modifier(attribute).ok_or_else(|| {
                self.wrong(
                    at,
                    format!("`{attribute}` is none of bold, dim, italic, underlined, reversed"),
                )
            })?;
            style = style.add_modifier(modifier);
        }
        Ok(style)
    }

    fn color(&self, text: &str, palette: &Palette, at: usize) -> Result<Color, ThemeError> {
        if text == "default" {
            return Ok(Color::Reset);
        }
        palette.get(text).copied().or_else(|| text.parse().ok()).ok_or_else(|| {
            self.wrong(
                at,
                format!("`{text}` is no color: a name, `#rrggbb`, 0 to 255, or of the palette"),
            )
        })
    }
}

fn modifier(name: &str) -> Option<Modifier> {
    Some(match name {
        "bold" => Modifier::BOLD,
        "dim" => Modifier::DIM,
        "italic" => Modifier::ITALIC,
        "underlined" => Modifier::UNDERLINED,
        "reversed" => Modifier::REVERSED,
        _ => return None,
    })
}

fn text_of(name: &str, folder: Option<&Path>) -> Result<String, ThemeError> {
    let is_plain = !name.is_empty() && !name.contains(['/', '\\', '.']);
    if let Some(folder) = folder.filter(|_| is_plain) {
        let path = folder.join(format!("{name}.toml"));
        match fs::read_to_string(&path) {
            Ok(text) => return Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(ThemeError::Read { path, source }),
        }
    }
    BUILT_IN
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, text)| (*text).to_owned())
        .ok_or_else(|| ThemeError::Unknown {
            name: name.to_owned(),
            folder: folder.map(Path::to_path_buf),
        })
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Theme, ThemeError> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("mine.toml"), text).unwrap();
        Theme::load("mine", Some(folder.path()))
    }

    #[test]
    fn a_theme_of_the_user_inherits_what_it_leaves_out() {
        let theme = load(
            "inherits = \"dark\"\n[palette]\nmine = \"#102030\"\n[styles]\nalarm = \"mine\"\n",
        )
        .unwrap();
        assert_eq!(theme.style(StyleName::Alarm).fg, Some(Color::Rgb(0x10, 0x20, 0x30)));
        let dark = Theme::default();
        assert_eq!(theme.style(StyleName::StatusOffline), dark.style(StyleName::StatusOffline));
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        let error = |text: &str| load(text).unwrap_err().to_string();
        assert_eq!(
            error("inherits = \"dark\"\n[styles]\n\"message.flying\" = \"red\"\n"),
            "theme `mine`, line 3: there is no style `message.flying`"
        );
        let color = error("inherits = \"dark\"\n[styles]\nalarm = \"redish\"\n");
        assert!(color.starts_with("theme `mine`, line 3: `redish` is no color"), "{color}");
        assert!(error("inherits = \"dark\"\nstyles = 3\n").contains("line 2"));
        assert!(error("inherits = \"mine\"\n").contains("inherits itself"));
        assert!(error("[styles]\n").contains("has no `text`"));
        let unknown = Theme::load("../x", None).unwrap_err().to_string();
        assert!(unknown.contains("built in are: dark, light"), "{unknown}");
    }

    #[test]
    fn without_colors_the_attributes_stay() {
        let theme = Theme::default().with_colors(ColorMode::None);
        for (name, text, _) in StyleName::TABLE {
            let style = theme.style(*name);
            assert_eq!((style.fg, style.bg), (None, None), "{text}");
        }
        let selected = theme.style(StyleName::RoomsSelected);
        assert!(selected.add_modifier.contains(Modifier::REVERSED));
    }

    /// Loading refuses names that do not exist, so that it loads shows that every name defined is
    /// used; the default names all.
    #[test]
    fn all_themes_load_and_the_default_names_every_style() {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/themes"));
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            Theme::load(name, Some(folder)).unwrap();
            assert!(BUILT_IN.iter().any(|(known, _)| *known == name), "{name} is not built in");
        }
        let default: File = toml::from_str(BUILT_IN[0].1).unwrap();
        assert!(default.inherits.is_none());
        assert_eq!(default.styles.len(), StyleName::TABLE.len());
    }

    /// A name that nothing is drawn with would be a promise to makers of themes that nobody keeps.
    #[test]
    fn every_style_name_is_drawn_with_somewhere() {
        fn sources(folder: &Path, into: &mut String) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    sources(&path, into);
                } else if path.extension().is_some_and(|end| end == "rs") {
                    into.push_str(&fs::read_to_string(&path).unwrap());
                }
            }
        }
        let mut text = String::new();
        for part in ["state", "view", "widgets"] {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tui");
            sources(&Path::new(folder).join(part), &mut text);
        }
        let users: std::collections::BTreeSet<_> =
            (0..200).map(|n| StyleName::of_sender(&format!("@user{n}:example.org"))).collect();
        for (name, written, _) in StyleName::TABLE {
            let is_used = text.contains(&format!("StyleName::{name:?}"));
            assert!(is_used || users.contains(name), "nothing is drawn with `{written}`");
        }
    }
}

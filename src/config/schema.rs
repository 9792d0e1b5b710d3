//! Every key of the file, with its default. `config.example.toml` names them all.

use std::{
    collections::BTreeMap,
    fmt,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, de};
use toml::Spanned;

use super::{
    error::{ConfigError, Place},
    file,
};

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What belongs nowhere else.
    pub general: General,
    /// What people see beside and between messages, and what others learn of them.
    pub timeline: Timeline,
    /// What is done with keys beyond what the protocol asks for.
    pub encryption: Encryption,
    /// What the other end may make us keep or wait for.
    pub limits: LimitsConfig,
    /// Accounts by a name of the user's choice.
    pub accounts: BTreeMap<String, AccountConfig>,
    /// Names of actions, and the keys that do them instead of the default ones.
    #[serde(deserialize_with = "key_changes")]
    pub keys: BTreeMap<String, KeyChange>,
}

/// `[general]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct General {
    /// Account to use when none is named; absent: the only one.
    pub default_account: Option<Named>,
    /// Name of the theme.
    pub theme: Named,
    /// Folder of the user's own themes; absent: `themes` beside the file.
    pub themes_dir: Option<PathBuf>,
    /// Folder where files of messages are saved; absent: the desktop's folder for downloads.
    pub downloads: Option<PathBuf>,
    /// What the log file gets.
    pub log_level: LogLevel,
    /// When the terminal's bell rings.
    pub bell: Bell,
}

impl Default for General {
    fn default() -> Self {
        Self {
            default_account: None,
            theme: Named::from("dark"),
            themes_dir: None,
            downloads: None,
            log_level: LogLevel::default(),
            bell: Bell::default(),
        }
    }
}

/// The name of something that is not in this file, and may thus turn out not to exist.
#[derive(Clone, Debug, Eq)]
pub struct Named {
    /// The name.
    pub name: String,
    /// Where the file has it; none when it is a default.
    pub place: Option<Place>,
    /// The same in bytes, of which [`Config::parse`] makes the place.
    offset: usize,
}

impl PartialEq for Named {
    /// Whoever writes the default down changes nothing.
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl From<&str> for Named {
    fn from(name: &str) -> Self {
        Self { name: name.to_owned(), place: None, offset: 0 }
    }
}

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = Spanned::<String>::deserialize(deserializer)?;
        let offset = given.span().start;
        Ok(Self { name: given.into_inner(), place: None, offset })
    }
}

/// How much the log file gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// Bugs of ours.
    Error,
    /// What works less well than it should.
    Warn,
    /// A handful of lines an hour.
    #[default]
    Info,
    /// Much.
    Debug,
    /// All.
    Trace,
}

/// When the terminal's bell rings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bell {
    /// Never.
    Never,
    /// When somebody mentions us, and in direct chats.
    #[default]
    Mentions,
    /// At each message that counts as unread.
    Messages,
}

/// `[timeline]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeline {
    /// What becomes of joins, leaves and other changes of state.
    pub state_lines: StateLines,
    /// Whether others learn what was on our screen.
    pub read_receipts: bool,
    /// Whether others learn that we type.
    pub typing_notices: bool,
    /// Messages loaded at once when scrolling up; 10 to 500.
    #[serde(deserialize_with = "page_size")]
    pub page_size: u32,
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            state_lines: StateLines::default(),
            read_receipts: true,
            typing_notices: true,
            page_size: 50,
        }
    }
}

/// What becomes of joins, leaves and other changes of state in the timeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateLines {
    /// Neighbors are folded into one line.
    #[default]
    Folded,
    /// They are not shown.
    Hidden,
}

/// `[encryption]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Encryption {
    /// Who is asked for missing room keys, and gets those that they ask for.
    pub key_requests: KeyRequests,
}

/// Who is asked for missing room keys, and gets those that they ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyRequests {
    /// Nobody.
    #[default]
    Off,
    /// Our own devices that our identity signed.
    OwnDevices,
}

/// `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Largest answer to a request, in MiB; 1 to 1024.
    #[serde(deserialize_with = "mebibytes")]
    pub answer_mib: u32,
    /// Largest answer of a sync, in MiB; 1 to 1024.
    #[serde(deserialize_with = "mebibytes")]
    pub sync_mib: u32,
    /// How long connecting may take, in seconds; 1 to 600.
    #[serde(deserialize_with = "seconds")]
    pub dial_seconds: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self { answer_mib: 16, sync_mib: 64, dial_seconds: 20 }
    }
}

/// `[accounts.NAME]`.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountConfig {
    /// Full user id.
    #[serde(deserialize_with = "user_id")]
    pub user_id: Option<String>,
    /// URL of the homeserver, where discovery should not ask.
    #[serde(deserialize_with = "homeserver")]
    pub homeserver: Option<String>,
    /// URL of the stream, where discovery should not ask.
    #[serde(deserialize_with = "stream_url")]
    pub stream_url: Option<String>,
    /// Proxy for everything that leaves this machine; may hold a password.
    #[serde(deserialize_with = "proxy")]
    pub proxy: Option<String>,
    /// File of certificates (PEM) that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
}

impl fmt::Debug for AccountConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountConfig")
            .field("user_id", &self.user_id)
            .field("homeserver", &self.homeserver)
            .field("stream_url", &self.stream_url)
            .field("proxy", &self.proxy.as_ref().map(|_| ".."))
            .field("ca_file", &self.ca_file)
            .finish()
    }
}

/// The keys of one action.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyChange {
    /// Keys in a row are separated by spaces; an empty list takes the action's keys away.
    pub keys: Vec<String>,
    /// Where the file names the action.
    pub place: Place,
    /// The same in bytes, of which [`Config::parse`] makes the place.
    offset: usize,
}

/// One key or several.
#[derive(Deserialize)]
#[serde(untagged, expecting = "keys like \"ctrl-k\" or [\"g g\", \"home\"]")]
enum KeyList {
    One(String),
    Several(Vec<String>),
}

impl KeyList {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(key) => vec![key],
            Self::Several(keys) => keys,
        }
    }
}

impl Config {
    /// Reads the file; one that is missing means the defaults.
    ///
    /// # Errors
    /// When it cannot be read or something in it is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        file::load(path, Self::parse)
    }

    /// Reads the text of a file; `path` is for messages.
    ///
    /// # Errors
    /// When something in it is wrong.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = file::parse(text, path)?;
        let General { default_account, theme, .. } = &mut config.general;
        for named in default_account.iter_mut().chain([theme]).filter(|it| it.offset > 0) {
            named.place = Some(Place::of(named.offset, text));
        }
        for change in config.keys.values_mut() {
            change.place = Place::of(change.offset, text);
        }
        Ok(config)
    }

    /// The user's keys by action, as the keymap takes them.
    pub fn key_changes(&self) -> BTreeMap<String, Vec<String>> {
        self.keys.iter().map(|(action, change)| (action.clone(), change.keys.clone())).collect()
    }

    /// The account that `name` means: its name here, or its user id.
    pub fn account(&self, name: &str) -> Option<&AccountConfig> {
        self.accounts
            .get(name)
            .or_else(|| self.accounts.values().find(|it| it.user_id.as_deref() == Some(name)))
    }
}

fn key_changes<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, KeyChange>, D::Error> {
    let given = BTreeMap::<Spanned<String>, KeyList>::deserialize(deserializer)?;
    let change = |(action, keys): (Spanned<String>, KeyList)| {
        let (offset, place) = (action.span().start, Place::default());
        (action.into_inner(), KeyChange { keys: keys.into_vec(), place, offset })
    };
    Ok(given.into_iter().map(change).collect())
}

fn page_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    within(deserializer, 10..=500)
}

fn mebibytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    within(deserializer, 1..=1024)
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    within(deserializer, 1..=600)
}

fn within<'de, D: Deserializer<'de>>(
    deserializer: D,
    range: RangeInclusive<u32>,
) -> Result<u32, D::Error> {
    let number = i64::deserialize(deserializer)?;
    let (first, last) = range.into_inner();
    u32::try_from(number)
        .ok()
        .filter(|number| (first..=last).contains(number))
        .ok_or_else(|| de::Error::custom(format!("{number} is not within {first} to {last}")))
}

fn user_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.strip_prefix('@').and_then(|rest| rest.split_once(':')) {
        Some((name, server)) if !name.is_empty() && !server.is_empty() => Ok(Some(text)),
        _ => Err(de::Error::custom("a user id looks like @alice:example.org")),
    }
}

fn homeserver<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    with_scheme(deserializer, &["https", "http"])
}

fn stream_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    with_scheme(deserializer, &["wss", "ws"])
}

fn proxy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    with_scheme(deserializer, &["socks5", "http"])
}

/// A URL of one of these schemes. The text is not repeated: it may hold a password.
fn with_scheme<'de, D: Deserializer<'de>>(
    deserializer: D,
    schemes: &[&str],
) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match url::Url::parse(&text) {
        Ok(url) if schemes.contains(&url.scheme()) && url.has_host() => Ok(Some(text)),
        _ => {
            let forms: Vec<_> = schemes.iter().map(|scheme| format!("{scheme}://…")).collect();
            Err(de::Error::custom(format!("this has to be a URL, {}", forms.join(" or "))))
        }
    }
}

//! The configuration file as a user meets it.

use std::{fs, path::Path};

use grotto::{
    config::{Config, ConfigError, Named, ServerConfig, StateLines},
    tui::{Action, Keymap},
    wire::Limits,
};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/configs");
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config.example.toml");

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("config.toml"))
}

/// The keys of a file: what is wrong with them is told as anything else in it is.
fn keymap(text: &str) -> Result<Keymap, ConfigError> {
    Keymap::configured(&parse(text)?, Path::new("config.toml"))
}

/// The text of each file of a kind, with its name.
fn cases(kind: &str) -> Vec<(String, String)> {
    let mut cases: Vec<_> = fs::read_dir(format!("{DATA}/{kind}"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| (path.to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap()))
        .collect();
    cases.sort();
    assert!(cases.len() > 3, "{kind}");
    cases
}

#[test]
fn valid_files_are_taken() {
    for (name, text) in cases("valid") {
        keymap(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn invalid_files_are_refused_with_place_and_hint() {
    for (name, text) in cases("invalid") {
        let expected = fs::read_to_string(name.replace(".toml", ".txt")).unwrap();
        let error = keymap(&text).unwrap_err().to_string();
        let expected = format!("config.toml:{}", expected.trim_end_matches('\n'));
        assert!(error.starts_with(&expected), "{name}\n  says     {error}\n  expected {expected}");
        assert!(!error.contains("hunter2") && !error.contains('\n'), "{name}: {error}");
    }
}

#[test]
fn names_of_what_is_elsewhere_know_their_place() {
    let config = parse("[general]\ndefault_account = \"home\"\n  theme = \"darkk\"\n").unwrap();
    let place = |named: &Named| named.place.map(|place| (place.line, place.column));
    assert_eq!(config.general.default_account.as_ref().map(place), Some(Some((2, 19))));
    assert_eq!(place(&config.general.theme), Some((3, 11)));
    assert_eq!(place(&Config::default().general.theme), None);
}

#[test]
fn a_missing_file_means_the_defaults() {
    assert_eq!(Config::load(Path::new("/nowhere/config.toml")).unwrap(), Config::default());
}

#[test]
fn a_proxy_does_not_show_in_debug_output() {
    let text = fs::read_to_string(format!("{DATA}/valid/two_accounts.toml")).unwrap();
    let config = parse(&text).unwrap();
    assert!(!format!("{config:?}").contains("secret"));
    assert!(config.account("work").unwrap().proxy.as_ref().unwrap().contains("secret"));
    assert_eq!(config.account("@alice:example.org"), config.account("home"));
}

/// The example with every key switched on.
fn switched_on() -> String {
    let text = fs::read_to_string(EXAMPLE).unwrap();
    let key = |line: &str| line.starts_with('#') && !line.starts_with("# ") && line != "#";
    text.lines()
        .map(|line| if key(line) { line.split_at(1).1 } else { line })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_example_changes_nothing_as_it_is() {
    let text = fs::read_to_string(EXAMPLE).unwrap();
    assert_eq!(parse(&text).unwrap(), Config::default());
}

#[test]
fn the_example_shows_the_defaults() {
    let mut config = parse(&switched_on()).unwrap();
    // These have no default but absence.
    assert_eq!(config.general.default_account.take(), Some("home".into()));
    assert!(config.general.themes_dir.take().is_some());
    assert!(config.general.downloads.take().is_some());
    let home = config.accounts.remove("home").unwrap();
    for shown in [&home.user_id, &home.homeserver, &home.stream_url, &home.proxy] {
        assert!(shown.is_some());
    }
    assert!(home.ca_file.is_some());
    let keys = config.key_changes();
    config.keys.clear();
    assert_eq!(config, Config::default());
    for entry in Action::TABLE {
        let shown = keys.get(entry.name).map(Vec::as_slice);
        assert!(
            shown.is_some_and(|shown| shown == entry.keys),
            "config.example.toml needs under [keys]:\n#{} = {:?} # {}",
            entry.name,
            entry.keys,
            entry.doc
        );
    }
    assert_eq!(keys.len(), Action::TABLE.len(), "actions that do not exist");
    Keymap::with_changes(&keys).unwrap();
}

#[test]
fn the_example_names_every_key() {
    let shown: toml::Table = switched_on().parse().unwrap();
    let names = |section: &str| -> Vec<String> {
        let table = shown.get(section).unwrap().as_table().unwrap();
        table.keys().cloned().collect()
    };
    // A key that is not there is answered with the list of those that are.
    for (section, head) in [
        ("general", "[general]"),
        ("timeline", "[timeline]"),
        ("encryption", "[encryption]"),
        ("limits", "[limits]"),
        ("accounts", "[accounts.home]"),
    ] {
        let error = parse(&format!("{head}\nno_such_key_at_all = 1\n")).unwrap_err().to_string();
        let known = error.split("only ").nth(1).unwrap();
        let mut known: Vec<_> = known.split(", ").collect();
        let home = || shown["accounts"]["home"].as_table().unwrap().keys().cloned().collect();
        let mut shown_keys = if section == "accounts" { home() } else { names(section) };
        known.sort_unstable();
        shown_keys.sort_unstable();
        assert_eq!(shown_keys, known, "{section}");
    }
}

#[test]
fn the_defaults_are_those_of_the_parts_they_are_for() {
    let (config, limits) = (Config::default(), Limits::default());
    let mib = |mib: u32| usize::try_from(mib).unwrap() << 20;
    assert_eq!(mib(config.limits.answer_mib), limits.max_answer_bytes);
    assert_eq!(mib(config.limits.sync_mib), limits.max_update_bytes);
    assert_eq!(u64::from(config.limits.dial_seconds), limits.dial_timeout.as_secs());
    assert_eq!(config.timeline.state_lines, StateLines::Folded);
}

#[test]
fn the_example_of_a_server_says_the_defaults() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/server.example.toml");
    let text = fs::read_to_string(file).unwrap();
    let parse = |text: &str| ServerConfig::parse(text, Path::new("server.toml"));
    assert_eq!(parse(&text).unwrap(), ServerConfig::default());
    // The keys without a default are right too, once they are no comments.
    let all: String = text
        .lines()
        .filter(|line| *line != "contacts = []")
        .map(|line| line.strip_prefix("# ").filter(|rest| is_toml(rest)).unwrap_or(line))
        .fold(String::new(), |text, line| text + line + "\n");
    let config = parse(&all).unwrap();
    assert_eq!(config.public.contacts.len(), 2);
    assert!(config.public.url.is_some() && config.public.support_page.is_some());
    assert!(config.network.metrics.is_some());
    let error = parse("[limits]\nmax_file = 3\n").unwrap_err().to_string();
    assert!(error.starts_with("server.toml:2:1:") && error.contains("max_file_mib"), "{error}");
}

/// Whether a line of a comment is a key that is left out.
fn is_toml(line: &str) -> bool {
    line.contains(" = ") || line.starts_with(']') || line.starts_with("    {")
}

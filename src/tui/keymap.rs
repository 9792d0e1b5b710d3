//! Keys to actions: a trie for each mode, from the table of actions and the user's changes to it.

use std::{collections::BTreeMap, path::Path};

use super::{
    action::{Action, Mode},
    input::{KeyError, KeyPress},
};
use crate::config::{self, Config, ConfigError};

/// What a row of keys means in a mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// This.
    Action(Action),
    /// It begins something longer: wait for the next key.
    Pending,
    /// Nothing.
    Unbound,
}

/// Why the user's keys cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeymapError {
    /// There is no such action.
    #[error("there is no action `{name}`; {}", known(.name))]
    UnknownAction {
        /// As it was written.
        name: String,
    },
    /// A key has no such name.
    #[error("`{action}`: {source}")]
    BadKey {
        /// For which action.
        action: String,
        /// Which key.
        source: KeyError,
    },
    /// Two actions of one mode want the same keys.
    #[error("`{keys}` is both `{first}` and `{second}`; give one of them other keys")]
    Conflict {
        /// The keys.
        keys: String,
        /// One action.
        first: String,
        /// The other.
        second: String,
    },
    /// Keys of one action begin those of another, which could then never be typed.
    #[error("`{keys}` is `{short}`, so the longer keys of `{long}` cannot be typed")]
    Shadowed {
        /// The shorter keys.
        keys: String,
        /// What they mean.
        short: String,
        /// What cannot be reached.
        long: String,
    },
}

impl KeymapError {
    /// The actions it is about; at least one of them is in the user's changes.
    fn actions(&self) -> [&str; 2] {
        match self {
            Self::UnknownAction { name: action } | Self::BadKey { action, .. } => [action, action],
            Self::Conflict { first, second, .. } => [second, first],
            Self::Shadowed { short, long, .. } => [long, short],
        }
    }
}

/// Which action may have been meant.
fn known(name: &str) -> String {
    let names: Vec<&str> = Action::TABLE.iter().map(|entry| entry.name).collect();
    match config::nearest(name, &names) {
        Some(name) => format!("did you mean `{name}`?"),
        None => "config.example.toml names all of them".to_owned(),
    }
}

/// Keys and what they mean.
#[derive(Clone, Debug)]
pub struct Keymap {
    roots: BTreeMap<Mode, Node>,
    keys: BTreeMap<Action, Vec<Vec<KeyPress>>>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    action: Option<Action>,
    next: BTreeMap<KeyPress, Node>,
}

impl Default for Keymap {
    fn default() -> Self {
        Self::compile(default_keys())
    }
}

impl Keymap {
    /// The keys as the user's file says; `path` is for messages.
    ///
    /// # Errors
    /// When it names actions or keys that do not exist, or gives keys away twice; with the place.
    pub fn configured(config: &Config, path: &Path) -> Result<Self, ConfigError> {
        Self::with_changes(&config.key_changes()).map_err(|error| {
            let change = error.actions().into_iter().find_map(|action| config.keys.get(action));
            let place = change.map(|change| change.place).unwrap_or_default();
            ConfigError::at(place, path, error.to_string())
        })
    }

    /// The defaults, with the user's changes: action name to key strings, each of which replaces
    /// all default keys of that action (an empty list takes them away). Keys in a row are
    /// separated by spaces: `g g`. A key that the user gives to one action is taken from others
    /// that have it by default.
    ///
    /// # Errors
    /// When an action or key does not exist, or two of the user's entries want the same keys.
    pub fn with_changes(changes: &BTreeMap<String, Vec<String>>) -> Result<Self, KeymapError> {
        let mut keys = default_keys();
        let mut taken: BTreeMap<(Mode, Vec<KeyPress>), Action> = BTreeMap::new();
        for (name, texts) in changes {
            let action = Action::by_name(name)
                .ok_or_else(|| KeymapError::UnknownAction { name: name.clone() })?;
            let rows = texts
                .iter()
                .map(|text| parse_row(text))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|source| KeymapError::BadKey { action: name.clone(), source })?;
            for row in &rows {
                if let Some(first) = taken.insert((action.mode(), row.clone()), action) {
                    return Err(KeymapError::Conflict {
                        keys: show_row(row),
                        first: name_of(first),
                        second: name.clone(),
                    });
                }
            }
            keys.insert(action, rows);
        }
        for (action, rows) in &mut keys {
            let mode = action.mode();
            rows.retain(|row| taken.get(&(mode, row.clone())).is_none_or(|owner| owner == action));
        }
        check_shadows(&keys)?;
        Ok(Self::compile(keys))
    }

    /// What `row` means in `mode`, or everywhere.
    pub fn resolve(&self, mode: Mode, row: &[KeyPress]) -> Resolved {
        [mode, Mode::Anywhere]
            .into_iter()
            .find_map(|mode| self.find(mode, row))
            .unwrap_or(Resolved::Unbound)
    }

    /// The keys of an action, as people write them.
    pub fn keys_of(&self, action: Action) -> Vec<String> {
        self.keys
            .get(&action)
            .map(|rows| rows.iter().map(|row| show_row(row)).collect())
            .unwrap_or_default()
    }

    fn find(&self, mode: Mode, row: &[KeyPress]) -> Option<Resolved> {
        let root = self.roots.get(&mode)?;
        let node = row.iter().try_fold(root, |node, key| node.next.get(key))?;
        match node.action {
            Some(action) => Some(Resolved::Action(action)),
            None => (!node.next.is_empty()).then_some(Resolved::Pending),
        }
    }

    fn compile(keys: BTreeMap<Action, Vec<Vec<KeyPress>>>) -> Self {
        let mut roots: BTreeMap<Mode, Node> = BTreeMap::new();
        for (action, rows) in &keys {
            for row in rows {
                let mut node = roots.entry(action.mode()).or_default();
                for key in row {
                    node = node.next.entry(*key).or_default();
                }
                node.action = Some(*action);
            }
        }
        Self { roots, keys }
    }
}

/// The table's keys. Its strings are checked by a test, so none is left out here.
fn default_keys() -> BTreeMap<Action, Vec<Vec<KeyPress>>> {
    Action::TABLE
        .iter()
        .map(|entry| {
            (entry.action, entry.keys.iter().filter_map(|key| parse_row(key).ok()).collect())
        })
        .collect()
}

fn parse_row(text: &str) -> Result<Vec<KeyPress>, KeyError> {
    let row: Vec<KeyPress> =
        text.split_whitespace().map(KeyPress::parse).collect::<Result<_, _>>()?;
    if row.is_empty() { Err(KeyError(text.to_owned())) } else { Ok(row) }
}

fn show_row(row: &[KeyPress]) -> String {
    row.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn name_of(action: Action) -> String {
    action.entry().map_or_else(String::new, |entry| entry.name.to_owned())
}

fn check_shadows(keys: &BTreeMap<Action, Vec<Vec<KeyPress>>>) -> Result<(), KeymapError> {
    let all = || keys.iter().flat_map(|(action, rows)| rows.iter().map(move |row| (*action, row)));
    for (short, row) in all() {
        for (long, longer) in all() {
            let same_place = short.mode() == long.mode();
            if same_place && row.len() < longer.len() && longer.starts_with(row) {
                return Err(KeymapError::Shadowed {
                    keys: show_row(row),
                    short: name_of(short),
                    long: name_of(long),
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::action::{AnywhereAction, MessagesAction};

    fn changes(list: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
        list.iter()
            .map(|(name, keys)| {
                ((*name).to_owned(), keys.iter().map(|&key| key.to_owned()).collect())
            })
            .collect()
    }

    fn key(text: &str) -> KeyPress {
        KeyPress::parse(text).unwrap()
    }

    #[test]
    fn the_default_keys_are_keys_and_no_two_actions_share_one() {
        let mut seen = BTreeMap::new();
        for entry in Action::TABLE {
            for text in entry.keys {
                let row = parse_row(text).unwrap();
                let before = seen.insert((entry.mode, row), entry.name);
                assert_eq!(before, None, "{text} of {}", entry.name);
            }
        }
        check_shadows(&default_keys()).unwrap();
    }

    #[test]
    fn a_users_key_is_taken_from_the_action_that_had_it() {
        let map = Keymap::with_changes(&changes(&[("quit", &["ctrl-k"])])).unwrap();
        let resolved = map.resolve(Mode::Composer, &[key("ctrl-k")]);
        assert_eq!(resolved, Resolved::Action(Action::Anywhere(AnywhereAction::Quit)));
        assert_eq!(map.resolve(Mode::Composer, &[key("ctrl-q")]), Resolved::Unbound);
        assert!(map.keys_of(Action::Anywhere(AnywhereAction::SwitchRoom)).is_empty());
    }

    #[test]
    fn keys_in_a_row_wait_for_the_rest() {
        let map = Keymap::with_changes(&changes(&[("select_oldest", &["g g"])])).unwrap();
        let row = [key("g"), key("g")];
        assert_eq!(map.resolve(Mode::Messages, &row[..1]), Resolved::Pending);
        assert_eq!(
            map.resolve(Mode::Messages, &row),
            Resolved::Action(Action::Messages(MessagesAction::SelectOldest))
        );
    }

    #[test]
    fn errors_name_the_action_and_the_key() {
        let error = |list| Keymap::with_changes(&changes(list)).unwrap_err().to_string();
        assert!(error(&[("fly", &["f2"])]).contains("no action `fly`"));
        let bad = error(&[("quit", &["ctrl-nope"])]);
        assert!(bad.contains("`quit`") && bad.contains("`ctrl-nope`"), "{bad}");
        let both = error(&[("quit", &["f5"]), ("redraw", &["f5"])]);
        assert!(both.contains("`f5` is both `quit` and `redraw`"), "{both}");
        let shadow = error(&[("reply", &["g g"])]);
        assert!(shadow.contains("`g` is `select_oldest`"), "{shadow}");
    }
}

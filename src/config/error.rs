//! Where the file is wrong, and what was probably meant.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("{path} cannot be read", path = .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something in it is wrong.
    #[error("{}:{line}:{column}: {}", path.display(), Words { key, problem, hint })]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// The key, where the problem is with a value.
        key: Option<String>,
        /// What is wrong.
        problem: String,
        /// What was probably meant.
        hint: Option<String>,
    },
}

/// The sentence after the place.
struct Words<'a> {
    key: &'a Option<String>,
    problem: &'a str,
    hint: &'a Option<String>,
}

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(key) = self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(self.problem)?;
        match self.hint {
            Some(hint) => write!(f, "; did you mean `{hint}`?"),
            None => Ok(()),
        }
    }
}

impl ConfigError {
    /// What is wrong with something in the file turns out only where it is used.
    pub fn at(place: Place, path: &Path, problem: String) -> Self {
        let Place { line, column } = place;
        Self::Invalid { path: path.to_owned(), line, column, key: None, problem, hint: None }
    }

    /// Finds the place of a TOML error in `text`.
    pub(super) fn new(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let start = error.span().map_or(0, |span| span.start);
        let Place { line, column } = Place::of(start, text);
        let key = lead(start, text).split_once('=').map(|(key, _)| key.trim().to_owned());
        let (problem, hint) = in_our_words(error.message());
        Self::Invalid { path: path.to_owned(), line, column, key, problem, hint }
    }
}

/// A place in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Place {
    /// Where the byte at `offset` of `text` is.
    pub(super) fn of(offset: usize, text: &str) -> Self {
        let before = text.get(..offset).unwrap_or_default();
        Self {
            line: before.matches('\n').count().saturating_add(1),
            column: lead(offset, text).chars().count().saturating_add(1),
        }
    }
}

/// What stands in the same line before the byte at `offset`.
fn lead(offset: usize, text: &str) -> &str {
    let before = text.get(..offset).unwrap_or_default();
    before.rsplit('\n').next().unwrap_or_default()
}

/// Serde lists all names it would have taken; people want the nearest.
fn in_our_words(message: &str) -> (String, Option<String>) {
    let first_line = message.lines().next().unwrap_or_default();
    let mut names = first_line.split('`').skip(1).step_by(2);
    let kind = ["unknown field", "unknown variant"]
        .into_iter()
        .find(|kind| first_line.starts_with(kind))
        .zip(names.next());
    let Some((kind, unknown)) = kind else { return (first_line.to_owned(), None) };
    let known: Vec<&str> = names.collect();
    let what = if kind == "unknown field" { "key" } else { "value" };
    let hint = nearest(unknown, &known).map(str::to_owned);
    let problem = match hint {
        Some(_) => format!("there is no {what} `{unknown}` here"),
        None => format!("there is no {what} `{unknown}` here, only {}", known.join(", ")),
    };
    (problem, hint)
}

/// The known name with the fewest typing errors, if they are few.
pub fn nearest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    let (distance, name) = known.iter().map(|name| (distance(unknown, name), *name)).min()?;
    (distance <= unknown.chars().count().div_ceil(3)).then_some(name)
}

/// Letters to insert, delete or replace (Levenshtein), one row of the matrix at a time.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut previous = i.saturating_add(1);
        let mut next = vec![previous];
        for (right, above) in b.chars().zip(row.iter().skip(1)) {
            let replaced = diagonal.saturating_add(usize::from(left != right));
            previous = replaced.min(above.saturating_add(1)).min(previous.saturating_add(1));
            next.push(previous);
            diagonal = *above;
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_typing_errors() {
        let cases = [("", "", 0), ("abc", "", 3), ("theme", "themes", 1), ("kitten", "sitting", 3)];
        for (a, b, expected) in cases {
            assert_eq!((distance(a, b), distance(b, a)), (expected, expected), "{a} {b}");
        }
    }

    #[test]
    fn a_far_name_is_no_hint() {
        assert_eq!(nearest("thme", &["theme", "bell"]), Some("theme"));
        assert_eq!(nearest("sound", &["theme", "bell"]), None);
    }
}

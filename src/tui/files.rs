//! Looks at files for the loop: what is about to be sent, and what a typed path may become.

use std::{fs, path::PathBuf};

use crate::{
    engine::{CommandError, inspect_file},
    rooms::FileFacts,
};

/// Most entries of a folder that are looked at.
const MOST_ENTRIES: usize = 10_000;

/// Looks at the file at a typed path; `~` is the user's home.
pub(super) fn inspect(typed: &str) -> Result<FileFacts, CommandError> {
    inspect_file(&expand(typed))
}

/// What a typed path may become: the names of its folder that begin as it ends, folders with `/`.
pub(super) fn continuations(typed: &str) -> Vec<String> {
    let (folder, begin) = typed
        .rsplit_once('/')
        .map_or(("", typed), |(_, begin)| (typed.strip_suffix(begin).unwrap_or_default(), begin));
    let place = if folder.is_empty() { PathBuf::from(".") } else { expand(folder) };
    let Ok(entries) = fs::read_dir(place) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .take(MOST_ENTRIES)
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            let is_hidden = name.starts_with('.') && !begin.starts_with('.');
            let fits = name.starts_with(begin) && !is_hidden && !name.chars().any(char::is_control);
            let end = if entry.path().is_dir() { "/" } else { "" };
            fits.then(|| format!("{name}{end}"))
        })
        .collect();
    names.sort_unstable();
    names
}

fn expand(typed: &str) -> PathBuf {
    let home = typed.strip_prefix("~/").and_then(|rest| Some((std::env::home_dir()?, rest)));
    home.map_or_else(|| PathBuf::from(typed), |(home, rest)| home.join(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_goes_on_with_what_is_in_its_folder() {
        let folder = tempfile::TempDir::new().unwrap();
        for name in ["cat.png", "cat.txt", ".hidden", "a\u{1b}[2Jb"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::create_dir(folder.path().join("deep")).unwrap();
        let typed = |end: &str| continuations(&format!("{}/{end}", folder.path().display()));
        assert_eq!(typed(""), ["cat.png", "cat.txt", "deep/"]);
        assert_eq!(typed("ca"), ["cat.png", "cat.txt"]);
        assert_eq!(typed("."), [".hidden"]);
        assert!(typed("x").is_empty() && continuations("/no/such/folder/").is_empty());
    }
}

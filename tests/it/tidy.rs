//! Rules of the house that neither rustc nor clippy checks.

use std::{fs, path::Path};

/// Which top-level module may name which. A module without a row may name none of ours.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("matrix", &["time"]),
    ("wire", &["matrix"]),
    ("e2ee", &["matrix", "secret", "time"]),
    ("rooms", &["e2ee", "matrix", "time"]),
    ("link", &["wire", "matrix", "secret", "time", "tls"]),
    ("store", &["e2ee", "rooms", "matrix", "secret", "time"]),
    ("gateway", &["wire", "matrix", "secret", "time", "tls"]),
    ("server", &["gateway", "wire", "matrix", "secret", "time", "tls"]),
    ("engine", &["link", "wire", "e2ee", "rooms", "store", "matrix", "secret", "time"]),
    ("tui", &["engine", "rooms", "matrix", "config", "qr", "time"]),
    ("headless", &["engine", "rooms", "matrix", "config", "qr", "time"]),
    ("demo", EVERYTHING),
    ("run", EVERYTHING),
    ("cli", EVERYTHING),
    ("logging", &["secret"]),
];
const EVERYTHING: &[&str] = &[
    "cli", "config", "demo", "e2ee", "engine", "gateway", "headless", "link", "logging", "matrix",
    "qr", "rooms", "run", "secret", "server", "store", "time", "tls", "tui", "wire",
];
/// Knows every module, because it wires them together.
const COMPOSITION: &[&str] = &["lib.rs", "main.rs"];
/// Files and folders that do no I/O, and those within that may.
const PURE: &[&str] = &[
    "matrix/",
    "wire/",
    "e2ee/",
    "rooms/",
    "link/state",
    "engine/",
    "gateway/peer",
    "server/model",
    "demo/friend",
    "demo/person",
    "demo/seen",
    "demo/story",
    "demo/tour",
    "tui/state",
    "tui/update",
    "tui/view",
    "qr.rs",
    "secret.rs",
    "time.rs",
];
const DRIVERS: &[&str] = &["engine/driver/"];
const IO_WORDS: &[&str] = &["tokio", "rusqlite", "std::fs", "std::net", "SystemTime", "async fn"];
const MAX_LINES: usize = 600;
/// How a program starts another one. Nothing that a stranger wrote is run, opened or given to a
/// shell, because nothing is.
const STARTS_PROGRAMS: &[&str] =
    &["process::Command", "Command::new", "CommandExt", "posix_spawn", "execv", "libc::system"];

#[test]
fn the_house_is_tidy() {
    let mut wrong = Vec::new();
    visit(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), "", &mut wrong);
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// Tests are read as often as what they test. Whole files count here: nothing in them is beside the
/// point. The package in `tests/interop` has the same rule.
#[test]
fn no_file_of_tests_is_too_long_or_without_docs() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut sources = Vec::new();
    files(&tests.join("it"), "rs", &mut sources);
    files(&tests.join("interop/src"), "rs", &mut sources);
    assert!(!sources.is_empty());
    let wrong: Vec<&str> = sources
        .iter()
        .filter(|(_, text)| !text.starts_with("//!") || MAX_LINES < text.lines().count())
        .map(|(path, _)| path.as_str())
        .collect();
    assert!(wrong.is_empty(), "longer than {MAX_LINES} lines or without module docs: {wrong:?}");
}

/// Checks every source file below `dir`; `at` is the path from `src/`.
fn visit(dir: &Path, at: &str, wrong: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let (path, entry) = {
            let e = entry.unwrap();
            (e.path(), e.file_name())
        };
        let name = format!("{at}{}", entry.to_str().unwrap());
        if path.is_dir() {
            visit(&path, &format!("{name}/"), wrong);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            wrong.extend(problems(&name, &text).into_iter().map(|what| format!("{name}: {what}")));
        }
    }
}

fn problems(name: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !text.starts_with("//!") {
        found.push("has no module docs".to_owned());
    }
    let is_test = name.ends_with("/tests.rs") || name.contains("/tests/");
    let own = if is_test { text } else { text.split("#[cfg(test)]").next().unwrap_or_default() };
    if MAX_LINES < own.lines().count() {
        found.push(format!("is longer than {MAX_LINES} lines"));
    }
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    if !is_test
        && PURE.iter().any(|pure| name.starts_with(pure))
        && !DRIVERS.iter().any(|driver| name.starts_with(driver))
    {
        found.extend(
            IO_WORDS
                .iter()
                .filter(|word| code.contains(**word))
                .map(|word| format!("is pure, must not say {word}")),
        );
    }
    let starts = STARTS_PROGRAMS.iter().filter(|word| !is_test && code.contains(**word));
    found.extend(starts.map(|word| format!("must start no program: {word}")));
    let module = name.split(['/', '.']).next().unwrap_or_default();
    let allowed = MAY_IMPORT.iter().find(|row| row.0 == module).map_or(&[][..], |row| row.1);
    if !COMPOSITION.contains(&name) {
        found.extend(
            crate_paths(&code)
                .iter()
                .filter(|target| target.as_str() != module && !allowed.contains(&target.as_str()))
                .map(|target| format!("must not import {target}")),
        );
    }
    found
}

/// The first segment after each `crate::`, also inside `crate::{a::{b}, c}`.
fn crate_paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let Some(list) = rest.strip_prefix('{') else {
            found.push(ident(rest));
            continue;
        };
        let mut depth = 0_u32;
        let mut item = String::new();
        for c in list.chars() {
            match c {
                '}' if depth == 0 => break,
                ',' if depth == 0 => found.push(ident(&std::mem::take(&mut item))),
                '{' => depth += 1,
                '}' => depth -= 1,
                c if depth == 0 => item.push(c),
                _ => {}
            }
        }
        found.push(ident(&item));
    }
    found.retain(|word| !word.is_empty());
    found
}

fn ident(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The documents name tests as `module::test`, and everything names documents: who follows such a
/// name must find it.
#[test]
fn the_tests_and_documents_that_are_named_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut sources, mut docs) = (Vec::new(), Vec::new());
    files(&root.join("src"), "rs", &mut sources);
    files(&root.join("tests/it"), "rs", &mut sources);
    files(&root.join("docs"), "md", &mut docs);
    let mut missing = Vec::new();
    for (doc, text) in &docs {
        for name in text.split('`').skip(1).step_by(2).filter(|code| is_path(code)) {
            let (place, last) = name.rsplit_once("::").unwrap();
            let is_in = |path: &str, module: &str| {
                path.trim_end_matches(".rs").split('/').any(|part| part == module)
            };
            let is_there = sources.iter().any(|(path, text)| {
                let is_within = |module| text.contains(&format!("mod {module} {{"));
                place.split("::").all(|module| is_in(path, module) || is_within(module))
                    && (is_in(path, last) || text.contains(&format!("fn {last}(")))
            });
            if !is_there {
                missing.push(format!("{doc}: {name}"));
            }
        }
    }
    for (path, text) in sources.iter().chain(&docs) {
        for rest in text.split("docs/").skip(1) {
            let name: String =
                rest.chars().take_while(|c| c.is_alphanumeric() || ".-_".contains(*c)).collect();
            if name.ends_with(".md") && !root.join("docs").join(&name).exists() {
                missing.push(format!("{path}: docs/{name}"));
            }
        }
    }
    assert!(missing.is_empty(), "\n{}\n", missing.join("\n"));
}

/// The scenarios of complement-crypto have tests of the same names; where tests are named, the one
/// above looks whether they are there.
#[test]
fn every_scenario_has_a_test_of_its_name() {
    let rows = rows_of("scenarios.md", "# The scenarios", "A second process");
    let scenarios: Vec<_> = rows.iter().filter(|row| row[0].starts_with("Test")).collect();
    assert_eq!(scenarios.len(), 39);
    for row in scenarios {
        let name = row[0].rsplit('/').next().map(snake_case);
        let test = row[1].trim_matches('`').rsplit("::").next();
        assert_eq!(test, name.as_deref(), "{row:?}");
    }
}

/// The threat model has a row for each attack of the checklist, and each row names a test.
#[test]
fn every_attack_has_a_row_that_names_its_tests() {
    let rows = rows_of("threat-model.md", "one by one", "## Defences");
    let mut numbers = Vec::new();
    for row in rows.iter().filter(|row| row[0].starts_with("A-")) {
        let named = row[0].split([' ', ',']).filter_map(|word| word.strip_prefix("A-"));
        numbers.extend(named.map(|number| number.parse::<u32>().unwrap()));
        assert!(row[1].split('`').skip(1).step_by(2).any(is_path), "{row:?}");
    }
    assert_eq!(numbers, (1..=51).collect::<Vec<_>>());
}

/// The cells of the tables in a part of a document.
fn rows_of(doc: &str, from: &str, to: &str) -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(doc);
    let text = fs::read_to_string(path).unwrap();
    let part = text.split_once(from).unwrap().1.split_once(to).unwrap().0;
    let rows = part.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix('|'));
    rows.map(|row| row.split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// `TestNSEReceive` as `test_nse_receive`.
fn snake_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let begins = |at: usize| {
        let next = letters.get(at + 1).is_some_and(|it| it.is_lowercase());
        let is_after = |it: &char| it.is_lowercase() || it.is_uppercase() && next;
        0 < at && letters[at].is_uppercase() && is_after(&letters[at - 1])
    };
    let parts = (0..letters.len())
        .flat_map(|at| begins(at).then_some('_').into_iter().chain(letters[at].to_lowercase()));
    parts.collect()
}

/// Whether it looks like `module::test`.
fn is_path(code: &str) -> bool {
    let is_ours = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == ':';
    code.contains("::") && code.chars().all(is_ours)
}

/// Path and text of every file below `dir` with this extension.
fn files(dir: &Path, extension: &str, into: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, extension, into);
        } else if path.extension().is_some_and(|found| found == extension) {
            into.push((path.to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn use_lists_are_understood() {
    assert_eq!(crate_paths("use crate::{a::{b, c}, d,\n e};\ncrate::f::g()"), ["a", "d", "e", "f"]);
}

#[test]
fn breaches_are_found() {
    let text = "//! Frames.\nuse crate::{matrix::Id, store};\nasync fn f() {}\n";
    assert_eq!(
        problems("wire/frame.rs", text),
        ["is pure, must not say async fn", "must not import store"]
    );
    let text = "//! Links.\nfn open() { std::process::Command::new(\"xdg-open\"); }\n";
    assert_eq!(problems("tui/link.rs", text).len(), 2);
}

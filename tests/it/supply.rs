//! What grotto is built from: licences that go with ours, and nothing from outside the registry.

use std::process::Command;

use serde_json::Value;

/// Licences that may be linked into a program under MIT OR Apache-2.0.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "Unlicense",
    "WTFPL",
    "Zlib",
    "blessing",
    "CC0-1.0",
];

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Whether an SPDX expression leaves a choice that is allowed.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.trim();
    let inner = expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    if let Some(inner) = inner.filter(|inner| !inner.contains(['(', ')'])) {
        return is_allowed(inner);
    }
    let split = |operator: &str| {
        let (mut depth, mut parts, mut part) = (0_i32, Vec::new(), Vec::new());
        for word in expression.split_whitespace() {
            if depth == 0 && word == operator {
                parts.push(std::mem::take(&mut part).join(" "));
                continue;
            }
            for c in word.chars() {
                depth += match c {
                    '(' => 1,
                    ')' => -1,
                    _ => 0,
                };
            }
            part.push(word);
        }
        parts.push(part.join(" "));
        parts
    };
    for (operator, all) in [("OR", false), ("AND", true)] {
        let parts = split(operator);
        if parts.len() > 1 {
            let mut verdicts = parts.iter().map(|part| is_allowed(part));
            return if all { verdicts.all(|ok| ok) } else { verdicts.any(|ok| ok) };
        }
    }
    expression.split('/').any(|name| ALLOWED.contains(&name.trim()))
}

#[test]
fn every_dependency_has_a_licence_that_goes_with_ours() {
    let wrong: Vec<String> = packages()
        .iter()
        .filter(|package| !is_allowed(package["license"].as_str().unwrap_or_default()))
        .map(|package| format!("{}: {}", package["name"], package["license"]))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_dependency_comes_from_the_registry() {
    let wrong: Vec<String> = packages()
        .iter()
        .filter(|package| package["name"] != "grotto")
        .filter(|package| {
            !package["source"].as_str().is_some_and(|source| source.starts_with("registry+"))
        })
        .map(|package| package["name"].to_string())
        .collect();
    assert!(wrong.is_empty(), "not from the registry: {wrong:#?}");
}

#[test]
fn the_peer_we_test_against_is_no_part_of_the_product() {
    let found = packages()
        .iter()
        .any(|package| package["name"].as_str().unwrap().starts_with("matrix-sdk"));
    assert!(!found);
}

#[test]
fn licence_expressions_are_understood() {
    assert!(is_allowed("MIT OR GPL-3.0"));
    assert!(is_allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(is_allowed("MIT/Apache-2.0"));
    assert!(!is_allowed("GPL-3.0-only"));
    assert!(!is_allowed("MIT AND GPL-3.0-only"));
    assert!(!is_allowed(""));
}

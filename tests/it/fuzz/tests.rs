//! Reads the seeds, and inputs that are made of them.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{TARGETS, run};
use crate::differ::random::Random;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn folder(target: &str) -> PathBuf {
    root().join("tests/data/fuzz").join(target)
}

fn names_in(dir: &Path) -> BTreeSet<String> {
    let files = fs::read_dir(dir).unwrap();
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = folder(target);
    names_in(&folder).iter().map(|name| fs::read(folder.join(name)).unwrap()).collect()
}

#[test]
fn every_seed_is_read_without_a_panic() {
    for (name, _) in TARGETS {
        let seeds = seeds(name);
        seeds.iter().for_each(|seed| run(name, seed));
        assert!(2 < seeds.len(), "{name} has hardly any seeds");
    }
}

#[test]
fn every_target_has_seeds_and_a_program_and_nothing_else_has() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(it, _)| (*it).to_owned()).collect();
    assert_eq!(targets.len(), TARGETS.len());
    assert_eq!(names_in(&root().join("tests/data/fuzz")), targets);
    let programs: BTreeSet<String> = targets.iter().map(|it| format!("{it}.rs")).collect();
    assert_eq!(names_in(&root().join("fuzz/fuzz_targets")), programs);
    let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    for target in &targets {
        let path = format!("path = \"fuzz_targets/{target}.rs\"");
        assert_eq!(manifest.matches(&path).count(), 1, "{target}");
        let program = root().join(format!("fuzz/fuzz_targets/{target}.rs"));
        let program = fs::read_to_string(program).unwrap();
        assert!(program.contains(&format!("run(\"{target}\", data)")), "{target}");
    }
}

/// Twenty for each target; as many as come in `GROTTO_FUZZ_SECONDS`, for those that
/// `GROTTO_FUZZ_TARGET` names or all. An input that breaks something stays in `target/tmp/fuzz`.
#[test]
fn what_is_made_of_the_seeds_is_read_without_a_panic() {
    let seconds = std::env::var("GROTTO_FUZZ_SECONDS").ok().map(|text| text.parse().unwrap());
    let only = std::env::var("GROTTO_FUZZ_TARGET").unwrap_or_default();
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
    fs::create_dir_all(&kept).unwrap();
    for (name, _) in TARGETS.iter().filter(|(name, _)| only.is_empty() || only == *name) {
        let seeds = seeds(name);
        let mut random = Random::new(seconds.map_or(0, |_: u64| fresh()));
        let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let mut count = 0;
        while until.map_or(count < 20, |until| Instant::now() < until) {
            let input = bent(&seeds, &mut random);
            let place = kept.join(format!("{name}-{}", std::process::id()));
            fs::write(&place, &input).unwrap();
            run(name, &input);
            fs::remove_file(&place).unwrap();
            count += 1;
        }
        eprintln!("{name}: {count} inputs");
    }
}

/// A number that differs from run to run.
fn fresh() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(now.unwrap().as_nanos()).unwrap_or_default()
}

/// One of the seeds with some changes.
fn bent(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = random.of(seeds);
    for _ in 0..=random.below(4) {
        input = match serde_json::from_slice::<Value>(&input) {
            Ok(mut value) if random.percent(80) => {
                let other = serde_json::from_slice(&random.of(seeds)).unwrap_or_default();
                bend_json(&mut value, &other, random);
                value.to_string().into_bytes()
            }
            _ => bend_bytes(input, &random.of(seeds), random),
        };
    }
    input
}

/// Puts something else in the place of a part.
fn bend_json(value: &mut Value, other: &Value, random: &mut Random) {
    let is_here = random.percent(25);
    match value {
        Value::Object(fields) if !is_here && !fields.is_empty() => {
            let names: Vec<String> = fields.keys().cloned().collect();
            let name = random.of(&names);
            match random.below(8) {
                0 => drop(fields.remove(&name)),
                1 => {
                    let from = fields[&random.of(&names)].clone();
                    fields.insert(name, from);
                }
                2 => drop(fields.insert(format!("{name}{}", random.below(9)), json!(1))),
                _ => bend_json(&mut fields[&name], other, random),
            }
        }
        Value::Array(items) if !is_here && !items.is_empty() => {
            let at = random.below(items.len());
            match random.below(6) {
                0 => drop(items.remove(at)),
                1 => items.push(items[at].clone()),
                _ => bend_json(&mut items[at], other, random),
            }
        }
        Value::String(text) if !is_here => {
            let bytes = bend_bytes(text.clone().into_bytes(), b"\x1b$!@:/../", random);
            *text = String::from_utf8_lossy(&bytes).into_owned();
        }
        _ => {
            let odd = [
                json!(null),
                json!(true),
                json!(-1),
                json!(0),
                json!(1_u64 << 53),
                json!(u64::MAX),
                json!(1.5),
                json!(""),
                json!("A".repeat(43)),
                json!("\u{0}\u{202e}\u{1f468}\u{200d}"),
                json!("x".repeat(70_000)),
                json!([]),
                json!({}),
                json!([[[[{}]]]]),
                other.clone(),
            ];
            *value = random.of(&odd);
        }
    }
}

/// Changes, takes out, repeats and puts in some bytes.
fn bend_bytes(mut bytes: Vec<u8>, other: &[u8], random: &mut Random) -> Vec<u8> {
    let at = random.below(bytes.len() + 1);
    let end = (at + random.below(8)).min(bytes.len());
    match random.below(5) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        1 => drop(bytes.drain(at..end)),
        2 => bytes.extend_from_within(at..end),
        3 => bytes.truncate(at),
        _ => {
            let from = random.below(other.len() + 1);
            let to = (from + random.below(40)).min(other.len());
            drop(bytes.splice(at..end, other[from..to].iter().copied()));
        }
    }
    bytes
}

//! What the fuzzer feeds: for each kind of input that comes from elsewhere a function, by its name.
//!
//! The package in `fuzz/` runs them on inputs that it makes up; the tests here run them on those
//! kept in `tests/data/fuzz`. A target says nothing of what it reads: it must come to an end
//! without a panic. Only public items are named.

mod account;
mod engine;
mod house;
mod machine;
mod peer;
mod plain;
mod serving;

use grotto::time::Timestamp;

/// What is done with one input.
type Target = fn(&[u8]);

/// Every target, by the name of its folder of seeds.
pub(crate) const TARGETS: &[(&str, Target)] = &[
    ("backup_entry", machine::backup_entry),
    ("backup_session", account::backup_session),
    ("backup_version", account::backup_version),
    ("canonical_json", plain::canonical_json),
    ("dehydrated_device", account::dehydrated_device),
    ("dehydrated_events", account::dehydrated_events),
    ("device_lists", machine::device_lists),
    ("engine_answer", engine::engine_answer),
    ("engine_update", engine::engine_update),
    ("file", plain::file),
    ("gateway_client", serving::gateway_client),
    ("history_bundle", machine::history_bundle),
    ("homeserver_error", plain::homeserver_error),
    ("key_file", machine::key_file),
    ("keys_claimed", account::keys_claimed),
    ("keys_uploaded", machine::keys_uploaded),
    ("megolm_plaintext", account::megolm_plaintext),
    ("oauth_answer", plain::oauth_answer),
    ("olm_plaintext", account::olm_plaintext),
    ("recovery_key", plain::recovery_key),
    ("room_event", machine::room_event),
    ("scanned_code", account::scanned_code),
    ("secret_storage", account::secret_storage),
    ("server_call", serving::server_call),
    ("shown_text", plain::shown_text),
    ("sync_answer", machine::sync_answer),
    ("to_device", machine::to_device),
    ("verification", account::verification),
    ("well_known", plain::well_known),
    ("wire_frame", plain::wire_frame),
];

const NOW: Timestamp = Timestamp(1_800_000_000_000);

/// Runs the target of this name.
///
/// # Panics
/// When there is none, and when it finds what is wrong.
pub(crate) fn run(name: &str, data: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(it, _)| *it == name).expect("a target");
    target(data);
}

fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::{TARGETS, run};

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR"))
    }

    fn names_in(dir: &Path) -> BTreeSet<String> {
        let files = fs::read_dir(dir).unwrap();
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn every_seed_is_read_without_a_panic() {
        for (name, _) in TARGETS {
            let seeds = root().join("tests/data/fuzz").join(name);
            let files = names_in(&seeds);
            for file in &files {
                run(name, &fs::read(seeds.join(file)).unwrap());
            }
            assert!(2 < files.len(), "{name} has hardly any seeds");
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
}

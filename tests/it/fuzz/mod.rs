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
#[cfg(test)]
mod tests;

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

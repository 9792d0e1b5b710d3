//! Feeds the target of this name, see `tests/it/fuzz`.

#![no_main]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::fuzz::run("device_lists", data));

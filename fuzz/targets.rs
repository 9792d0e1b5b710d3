//! The targets, as the tests have them.

#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../tests/it/fuzz/mod.rs"]
pub(crate) mod fuzz;
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../tests/it/world.rs"]
mod world;

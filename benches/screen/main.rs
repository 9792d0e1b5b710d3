//! What the real program costs whoever looks at it: the start with much on disk, delivery through a
//! real homeserver, keys, bytes on the terminal.
//!
//! `cargo bench --bench screen` prints the tables; `-- start`, `-- demo` or `-- talk` only one part. It needs
//! the Python environment and the peer on matrix-sdk-crypto that `tests/run` makes.

#[path = "../../tests/it/homeserver.rs"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the rig of the tests, which may panic; it has more than is needed here"
)]
mod homeserver;
#[path = "../../tests/it/grotto.rs"]
#[expect(
    clippy::unwrap_used,
    dead_code,
    reason = "the tests' harness; a benchmark may end when it breaks"
)]
mod program;
#[path = "../../tests/it/rig.rs"]
#[expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::struct_field_names,
    dead_code,
    reason = "the tests' harness; a benchmark may end when it breaks"
)]
mod rig;

#[expect(clippy::indexing_slicing, reason = "in the rig's answers; a missing field is null")]
mod demo;
#[expect(clippy::indexing_slicing, reason = "in the rig's answers; a missing field is null")]
mod start;
mod stats;
#[expect(clippy::indexing_slicing, reason = "in the rig's answers; a missing field is null")]
mod talk;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let asked: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let wants = |part: &str| asked.is_empty() || asked.iter().any(|asked| asked == part);
    if wants("start") {
        start::measure()?;
    }
    if wants("demo") {
        demo::measure()?;
    }
    if wants("talk") {
        talk::measure()?;
    }
    Ok(())
}

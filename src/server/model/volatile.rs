//! What a server knows that is not on its disk, and may be lost with it: who types, how often who
//! asked.

/// What is not on the disk.
#[derive(Debug, Default)]
pub(super) struct Volatile {}

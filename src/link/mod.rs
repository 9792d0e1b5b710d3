//! One socket's life, the client's end: the pure [`Link`] decides when to dial, what to say first
//! and when a peer is dead; `transport` does the I/O.

mod state;

pub use state::{Link, LinkEvent, LinkState};

//! The engine's thread: the only part of the engine that waits, reads a clock or touches a socket.
//!
//! One loop takes what the link, the faces and the clock bring, hands it to the pure
//! [`super::Engine`], commits what comes back and only then releases it.

mod attached;
mod clock;
mod drive;
mod face;
mod inspect;
mod options;
mod renewer;
mod transfer;

pub use clock::Clock;
pub use drive::{DriveError, run, run_with};
pub use face::{Face, FaceKind, Handle, face};
pub use inspect::inspect_file;
pub use options::DriveOptions;
pub use renewer::{Renewer, Renewing};

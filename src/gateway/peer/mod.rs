//! One connected client, pure: frames and answers in, effects out. It knows no socket, no clock and
//! no token; the driver (`connection`) does what the effects say.

mod call;
mod machine;
mod path;
mod requests;
mod sync;
#[cfg(test)]
mod tests;

pub use call::{Answer, Call, CallFailure, CallId};
pub use machine::{Identity, Peer, PeerEffect, PeerInput};
pub(super) use path::is_ours;

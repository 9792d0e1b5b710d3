//! The client itself: composes link, session layer, rooms and store. [`Engine::handle`] is one
//! function in, one value out; only `driver` does I/O.

mod command;
pub mod driver;
mod input;
mod update;

pub use command::{Command, CommandId, Draft, Request};
pub use driver::{Face, FaceKind, Handle};
pub use input::{Audience, Dial, FaceId, Input, Outgoing};
pub use update::{CommandError, Outcome, Page, Update};

// What faces need of the modules below, so that they need not name those.
pub use crate::{
    e2ee::{Alarm, KeyStatus},
    link::LinkState,
};

//! All tables: what is stored, under which key. Everything else is derived from these.
//!
//! **The stream.** Whatever a client can see in a sync has a number: its place in the one stream
//! of the server, given by [`Step::publish`](super::step::Step::publish). A sync token is such a
//! number.

mod accounts;
mod keys;
mod media;
mod rooms;
mod stream;
mod sync;

pub(super) use accounts::*;
pub(super) use keys::*;
pub(super) use media::*;
pub(super) use rooms::*;
pub(super) use stream::*;
pub(super) use sync::*;

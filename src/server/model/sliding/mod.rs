//! Sliding sync: what is new for a device in those rooms that it asks for.
//!
//! `connection` remembers what each connection was sent; `interest` finds the rooms that a request
//! is about and what it wants of each; `room` writes one of them; `extensions` adds what has no
//! place in rooms. The endpoint puts the parts together.
//!
//! # Spec
//! MSC4186, "Simplified Sliding Sync".

mod connection;
pub(super) mod extensions;
mod interest;
mod room;
#[cfg(test)]
mod tests;

pub(super) use connection::{Connections, Memory, SentRoom};
pub(super) use interest::direct_rooms;
pub(super) use interest::{Interest, Wish};
pub(super) use room::{Asked, room_news};

//! Syncs: what is new for a device since it asked last.
//!
//! `question` is what is asked for; `news` finds the rooms where something happened, from the
//! stream; `room` writes what a client gets of one, with its `timeline` and its `state`;
//! `device_lists` and `account_data` are the rest. The endpoints put the parts together.

pub(super) mod account_data;
pub(super) mod device_lists;
pub(super) mod filter;
mod invite;
mod members;
mod news;
pub(super) mod presence;
mod question;
mod room;
pub(super) mod state;
mod summary;
pub(super) mod timeline;

pub(super) use invite::stripped_state;
pub(super) use members::SentMembers;
pub(super) use news::{AccountNews, News};
pub(super) use question::{Extent, Placing, Question};
pub(super) use room::{RoomNews, counted, write};
pub(super) use summary::{heroes, name as room_name};

#[cfg(test)]
mod tests;

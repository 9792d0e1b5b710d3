//! Rooms: how their events are made, allowed, filed, redacted and seen.
//!
//! `append` makes an event of a draft and asks `allow` (ruma's authorization rules over the
//! current state) before `filing` writes it into the tables. `event` is a stored event, read;
//! `client_event` is what a client gets of it, as far as `sight` lets them see it.

pub(super) mod aliases;
mod allow;
mod append;
mod client_event;
mod event;
mod filing;
pub(super) mod filter;
mod kept;
mod membership;
pub(super) mod pages;
mod power;
mod redaction;
pub(super) mod relations;
mod sight;
mod state;
pub(super) mod summary;
#[cfg(test)]
mod tests;
mod upgrade;
mod validate;
mod version;
mod visit;

pub(super) use append::{Draft, append_create, append_event, canonical, canonical_text, new_name};
pub(super) use client_event::{Reader, raw, sync_event};
pub(super) use event::RoomEvent;
pub(super) use kept::RoomCache;
pub(super) use membership::{Action, MemberChange};
pub(super) use sight::Sight;
pub(super) use state::{
    current, current_state, joined_members, joined_rooms, membership_of, room, state_at,
    state_event_at,
};
pub(super) use upgrade::Upgrade;
pub(super) use version::{DEFAULT_VERSION, VERSIONS};
pub(super) use visit::Visit;

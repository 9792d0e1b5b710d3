//! What the filter of a sync lets through, beside events of rooms.
//!
//! # Spec
//! Client-Server API, "Filtering".

use ruma::api::client::filter::{Filter, FilterDefinition, LazyLoadOptions};

use crate::{
    matrix::{OwnedUserId, RoomId},
    server::model::rooms::filter::{is_listed, is_wanted},
};

/// Events of a timeline when the filter names no number.
const DEFAULT_TIMELINE: usize = 10;
/// Most events of a timeline.
const MAX_TIMELINE: usize = 100;

/// Whether a room is asked for at all.
pub(super) fn allows_room(filter: &FilterDefinition, room: &RoomId) -> bool {
    let rooms = &filter.room;
    is_listed(rooms.rooms.as_deref(), &rooms.not_rooms, room)
}

/// How many events of each timeline are asked for.
pub(super) fn timeline_limit(filter: &FilterDefinition) -> usize {
    let limit = filter.room.timeline.limit.map(u64::from);
    limit
        .map_or(DEFAULT_TIMELINE, |limit| usize::try_from(limit).unwrap_or(MAX_TIMELINE))
        .min(MAX_TIMELINE)
}

/// Whether only the members are asked for whose events are shown.
pub(super) fn is_lazy(filter: &FilterDefinition) -> bool {
    !filter.room.state.lazy_load_options.is_disabled()
}

/// Whether members are to be sent again that were sent before.
pub(super) fn is_redundant(filter: &FilterDefinition) -> bool {
    let lazy = &filter.room.state.lazy_load_options;
    matches!(lazy, LazyLoadOptions::Enabled { include_redundant_members: true })
}

/// Whether something of no room passes.
pub(crate) fn allows(filter: &Filter, kind: &str, sender: Option<&OwnedUserId>) -> bool {
    is_wanted(filter.types.as_deref(), &filter.not_types, kind)
        && sender.is_none_or(|sender| {
            !filter.not_senders.contains(sender)
                && filter.senders.as_ref().is_none_or(|senders| senders.contains(sender))
        })
}

//! What a filter lets through.
//!
//! # Spec
//! Client-Server API, "Filtering".

use ruma::api::client::filter::{
    Filter, FilterDefinition, LazyLoadOptions, RoomEventFilter, UrlFilter,
};
use serde::Deserialize;

use crate::{
    matrix::{OwnedRoomId, OwnedUserId, RoomId},
    server::model::rooms::RoomEvent,
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

/// Whether an event of a room passes this part of a filter.
pub(super) fn allows_event(filter: &RoomEventFilter, event: &RoomEvent) -> bool {
    let fields = &event.fields;
    allows_kind(filter, &event.record.room, &fields.kind)
        && !filter.not_senders.contains(&fields.sender)
        && filter.senders.as_ref().is_none_or(|senders| senders.contains(&fields.sender))
        && filter.url_filter.is_none_or(|wanted| {
            #[derive(Default, Deserialize)]
            struct Content {
                url: Option<serde::de::IgnoredAny>,
            }
            let has_url = event.content::<Content>().is_some_and(|content| content.url.is_some());
            has_url == (wanted == UrlFilter::EventsWithUrl)
        })
}

/// Whether something of a room that has a type and no sender passes.
pub(super) fn allows_kind(filter: &RoomEventFilter, room: &RoomId, kind: &str) -> bool {
    is_listed(filter.rooms.as_deref(), &filter.not_rooms, room)
        && is_wanted(filter.types.as_deref(), &filter.not_types, kind)
}

/// Whether something of no room passes.
pub(in crate::server::model) fn allows(
    filter: &Filter,
    kind: &str,
    sender: Option<&OwnedUserId>,
) -> bool {
    is_wanted(filter.types.as_deref(), &filter.not_types, kind)
        && sender.is_none_or(|sender| {
            !filter.not_senders.contains(sender)
                && filter.senders.as_ref().is_none_or(|senders| senders.contains(sender))
        })
}

fn is_listed(wanted: Option<&[OwnedRoomId]>, unwanted: &[OwnedRoomId], room: &RoomId) -> bool {
    !unwanted.iter().any(|other| other == room)
        && wanted.is_none_or(|wanted| wanted.iter().any(|other| other == room))
}

/// Types by their names, with `*` for any text.
fn is_wanted(wanted: Option<&[String]>, unwanted: &[String], kind: &str) -> bool {
    !unwanted.iter().any(|pattern| fits(pattern, kind))
        && wanted.is_none_or(|wanted| wanted.iter().any(|pattern| fits(pattern, kind)))
}

fn fits(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(start) else {
        return false;
    };
    let (middle, end) = rest.rsplit_once('*').map_or((None, rest), |(m, end)| (Some(m), end));
    for part in middle.iter().flat_map(|middle| middle.split('*')) {
        match text.split_once(part) {
            Some((_, after)) => text = after,
            None => return false,
        }
    }
    text.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, expected) in [
            ("m.room.message", "m.room.message", true),
            ("m.room.*", "m.room.message", true),
            ("*", "", true),
            ("m.*.mess*e", "m.room.message", true),
            ("m.*.mess*x", "m.room.message", false),
            ("m.**", "m.", true),
            ("ab*ba", "aba", false),
            ("m.room", "m.room.message", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }
}

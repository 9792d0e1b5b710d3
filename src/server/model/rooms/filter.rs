//! Which events a filter for events of rooms lets through.
//!
//! # Spec
//! Client-Server API, "Filtering": `RoomEventFilter`.

use ruma::api::client::filter::{LazyLoadOptions, RoomEventFilter, UrlFilter};
use serde::{Deserialize, de::IgnoredAny};

use crate::{
    matrix::{OwnedRoomId, OwnedUserId, RoomId},
    server::model::{
        rooms::{RoomEvent, relations},
        step::Step,
        table::Broken,
    },
};

/// A filter, with the parts that ruma's does not have.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct RoomFilter {
    #[serde(flatten)]
    pub(crate) plain: RoomEventFilter,
    #[serde(default)]
    related_by_rel_types: Vec<String>,
    #[serde(default)]
    related_by_senders: Vec<OwnedUserId>,
}

impl RoomFilter {
    /// Whether an event passes.
    ///
    /// # Errors
    /// When the records are broken.
    pub(crate) fn passes(&self, step: &Step<'_>, event: &RoomEvent) -> Result<bool, Broken> {
        Ok(passes(&self.plain, event) && self.is_related(step, event)?)
    }

    /// Whether only the members are wanted whose events are shown.
    pub(crate) fn is_lazy(&self) -> bool {
        matches!(self.plain.lazy_load_options, LazyLoadOptions::Enabled { .. })
    }

    /// Whether the event has the relations that the filter asks for.
    fn is_related(&self, step: &Step<'_>, event: &RoomEvent) -> Result<bool, Broken> {
        let (types, senders) = (&self.related_by_rel_types, &self.related_by_senders);
        if types.is_empty() && senders.is_empty() {
            return Ok(true);
        }
        let related = relations::of(step, &event.id)?;
        Ok(related.iter().any(|(rel_type, other)| {
            (types.is_empty() || types.contains(rel_type))
                && (senders.is_empty() || senders.contains(&other.fields.sender))
        }))
    }
}

/// Whether an event passes the parts that ask for the event alone.
pub(crate) fn passes(filter: &RoomEventFilter, event: &RoomEvent) -> bool {
    let sender = &event.fields.sender;
    passes_kind(filter, &event.record.room, event.kind())
        && !filter.not_senders.contains(sender)
        && filter.senders.as_ref().is_none_or(|senders| senders.contains(sender))
        && filter.url_filter.as_ref().is_none_or(|wanted| has_url(event) == wants_url(*wanted))
}

/// Whether something of a room that has a type and no sender passes.
pub(crate) fn passes_kind(filter: &RoomEventFilter, room: &RoomId, kind: &str) -> bool {
    is_listed(filter.rooms.as_deref(), &filter.not_rooms, room)
        && is_wanted(filter.types.as_deref(), &filter.not_types, kind)
}

/// Whether a room is among those that are wanted, and not among those that are not.
pub(crate) fn is_listed(
    wanted: Option<&[OwnedRoomId]>,
    unwanted: &[OwnedRoomId],
    room: &RoomId,
) -> bool {
    !unwanted.iter().any(|other| other == room)
        && wanted.is_none_or(|wanted| wanted.iter().any(|other| other == room))
}

/// The same for types, where `*` is any text.
pub(crate) fn is_wanted(wanted: Option<&[String]>, unwanted: &[String], kind: &str) -> bool {
    let fits = |pattern: &String| is_like(pattern, kind);
    !unwanted.iter().any(fits) && wanted.is_none_or(|wanted| wanted.iter().any(fits))
}

/// Whether a text is like a pattern, where `*` is any text.
fn is_like(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn wants_url(filter: UrlFilter) -> bool {
    matches!(filter, UrlFilter::EventsWithUrl)
}

fn has_url(event: &RoomEvent) -> bool {
    #[derive(Deserialize)]
    struct WithUrl {
        url: Option<IgnoredAny>,
    }
    event.content::<WithUrl>().is_some_and(|content| content.url.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text() {
        for (pattern, text) in [
            ("m.room.*", "m.room.message"),
            ("*", ""),
            ("*.b*d", "a.bcd"),
            ("ab", "ab"),
            ("a*a", "aba"),
            ("m.*.mess*e", "m.room.message"),
            ("m.**", "m."),
        ] {
            assert!(is_like(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("m.room.*", "m.roo"), ("a", "ab"), ("a*a", "a"), ("", "a"), ("ab*ba", "aba")]
        {
            assert!(!is_like(pattern, text), "{pattern} {text}");
        }
    }
}

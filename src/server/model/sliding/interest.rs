//! Which rooms a request is about, and what it wants of each.

use std::collections::{BTreeMap, BTreeSet};

use ruma::{
    api::client::sync::sync_events::v5::request::{ListFilters, RoomDetails, RoomSubscription},
    directory::RoomTypeFilter,
    events::StateEventType,
};
use serde::Deserialize;

use crate::{
    matrix::{OwnedRoomId, OwnedUserId, RoomId, UserId},
    server::model::{
        account_data,
        records::{BUMPS, MEMBERSHIPS, MembershipRecord, STATE},
        rooms::{RoomEvent, current},
        step::Step,
        table::Broken,
    },
};

/// Most events of a timeline.
const MAX_TIMELINE: usize = 100;
/// The state key that stands for the members who speak in the timeline.
const LAZY: &str = "$LAZY";
/// The state key that stands for whoever asks.
const ME: &str = "$ME";
/// Any type, or any state key.
const ANY: &str = "*";

/// What is wanted of a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) timeline_limit: usize,
    /// Types and state keys; either may be `*`.
    pub(crate) state: BTreeSet<(String, String)>,
    /// Whether the members who speak are wanted.
    pub(crate) is_lazy: bool,
}

impl Wish {
    fn new(limit: u64, state: &[(StateEventType, String)], me: &UserId) -> Self {
        let limit = usize::try_from(limit).unwrap_or(MAX_TIMELINE).min(MAX_TIMELINE);
        let mut wish = Self { timeline_limit: limit, ..Self::default() };
        for (kind, key) in state {
            let kind = kind.to_string();
            match key.as_str() {
                LAZY if kind == "m.room.member" => wish.is_lazy = true,
                ME => {
                    wish.state.insert((kind, me.to_string()));
                }
                key => {
                    wish.state.insert((kind, key.to_owned()));
                }
            }
        }
        wish
    }

    /// The wish of a list.
    pub(crate) fn of_list(details: &RoomDetails, me: &UserId) -> Self {
        Self::new(details.timeline_limit.into(), &details.required_state, me)
    }

    /// The wish of a subscription.
    pub(crate) fn of_room(details: &RoomSubscription, me: &UserId) -> Self {
        Self::new(details.timeline_limit.into(), &details.required_state, me)
    }

    /// Both wishes in one.
    pub(crate) fn join(&mut self, other: &Self) {
        self.timeline_limit = self.timeline_limit.max(other.timeline_limit);
        self.state.extend(other.state.iter().cloned());
        self.is_lazy |= other.is_lazy;
    }

    /// Whether a state event of this type and key is wanted.
    pub(crate) fn has_state(&self, kind: &str, key: &str) -> bool {
        self.state.iter().any(|(wanted_kind, wanted_key)| {
            (wanted_kind == kind || wanted_kind == ANY) && (wanted_key == key || wanted_key == ANY)
        })
    }
}

/// A room that may be in a list.
#[derive(Clone, Debug)]
pub(crate) struct Interest {
    pub(crate) room: OwnedRoomId,
    pub(crate) membership: MembershipRecord,
    /// Where it stands in a list: the room with the highest is the first.
    pub(crate) bump: u64,
}

impl Interest {
    /// All rooms of somebody that can be in lists, the first of a list first. A room that they left
    /// of their own will is, while `is_unseen` says that the client does not know of it.
    ///
    /// # Errors
    /// When the records are broken.
    pub(crate) fn all(
        step: &Step<'_>,
        me: &UserId,
        is_unseen: impl Fn(&RoomId, u64) -> bool,
    ) -> Result<Vec<Self>, Broken> {
        let mut rooms = Vec::new();
        for (mut key, membership) in step.scan(MEMBERSHIPS, (me,))? {
            key.text()?;
            let room = OwnedRoomId::try_from(key.text()?);
            let room = room.map_err(|error| Broken(error.to_string()))?;
            rooms.extend(Self::new(step, me, room, membership, &is_unseen)?);
        }
        rooms.sort_by_key(|room| std::cmp::Reverse(room.bump));
        Ok(rooms)
    }

    fn new(
        step: &Step<'_>,
        me: &UserId,
        room: OwnedRoomId,
        membership: MembershipRecord,
        is_unseen: &impl Fn(&RoomId, u64) -> bool,
    ) -> Result<Option<Self>, Broken> {
        if membership.membership == "leave" && !is_unseen(&room, membership.number) {
            let member = RoomEvent::expect(step, &membership.event)?;
            if member.fields.sender == me {
                return Ok(None);
            }
        }
        let bump = match membership.membership.as_str() {
            "join" => step.get(BUMPS, (&*room,))?.unwrap_or(membership.number),
            _ => membership.number,
        };
        Ok(Some(Self { room, membership, bump }))
    }

    /// One room, if somebody has to do with it.
    ///
    /// # Errors
    /// When the records are broken.
    pub(crate) fn one(step: &Step<'_>, me: &UserId, room: &RoomId) -> Result<Option<Self>, Broken> {
        match step.get(MEMBERSHIPS, (me, room))? {
            Some(membership) => Self::new(step, me, room.to_owned(), membership, &|_, _| true),
            None => Ok(None),
        }
    }

    /// Whether the filters of a list let it through.
    ///
    /// # Errors
    /// When the records are broken.
    pub(crate) fn passes(
        &self,
        step: &Step<'_>,
        filters: &ListFilters,
        direct: &BTreeSet<OwnedRoomId>,
    ) -> Result<bool, Broken> {
        let is = |wanted: Option<bool>, found: bool| wanted.is_none_or(|wanted| wanted == found);
        if !is(filters.is_dm, direct.contains(&self.room))
            || !is(filters.is_invite, self.membership.membership == "invite")
        {
            return Ok(false);
        }
        if let Some(wanted) = filters.is_encrypted {
            let found = step.get(STATE, (&*self.room, "m.room.encryption", ""))?.is_some();
            if found != wanted {
                return Ok(false);
            }
        }
        if filters.room_types.is_empty() && filters.not_room_types.is_empty() {
            return Ok(true);
        }
        let kind = RoomTypeFilter::from(room_type(step, &self.room)?);
        Ok(!filters.not_room_types.contains(&kind)
            && (filters.room_types.is_empty() || filters.room_types.contains(&kind)))
    }
}

fn room_type(step: &Step<'_>, room: &RoomId) -> Result<Option<String>, Broken> {
    #[derive(Deserialize)]
    struct Content {
        #[serde(rename = "type")]
        kind: Option<String>,
    }
    let create = current(step, room, "m.room.create", "")?;
    Ok(create.and_then(|create| create.content::<Content>()).and_then(|content| content.kind))
}

/// The rooms that somebody calls direct chats.
///
/// # Errors
/// When the records are broken.
pub(crate) fn direct_rooms(step: &Step<'_>, me: &UserId) -> Result<BTreeSet<OwnedRoomId>, Broken> {
    let content = account_data::get(step, me, None, "m.direct")?;
    let rooms: Option<BTreeMap<OwnedUserId, Vec<OwnedRoomId>>> =
        content.and_then(|content| serde_json::from_str(content.get()).ok());
    Ok(rooms.unwrap_or_default().into_values().flatten().collect())
}

//! One room's state.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    members::{Member, MemberState, Members},
    name::visible,
};
use crate::{
    e2ee::{HistoryVisibility, Recipients},
    matrix::{Event, OwnedRoomId, OwnedUserId, RoomHeroes, RoomId, UserId},
    rooms::{RoomKind, RoomSummary},
};

/// What a room is, folded from its state events; the last one applied for a type and state key
/// holds. Encryption is sticky: no later event, redaction or omission takes it back.
#[derive(Clone, Debug)]
pub struct RoomState {
    room: OwnedRoomId,
    own: OwnedUserId,
    members: Members,
    counts: RoomHeroes,
    name: Option<String>,
    alias: Option<String>,
    topic: Option<String>,
    created: Option<Created>,
    direct: Direct,
    is_encrypted: bool,
    history_visibility: HistoryVisibility,
    predecessor: Option<OwnedRoomId>,
    successor: Option<OwnedRoomId>,
    has_all_members: bool,
}

/// Proof that a room's state is known and that it was never seen encrypted; the only key to
/// sending clear text. [`RoomState::clear`] is its only maker:
///
/// ```compile_fail,E0423
/// # fn forge(state: &grotto::rooms::RoomState) -> grotto::rooms::ClearRoom<'_> {
/// grotto::rooms::ClearRoom(state)
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ClearRoom<'a>(&'a RoomState);

impl<'a> ClearRoom<'a> {
    /// The room that may be sent to in clear.
    pub fn room_id(&self) -> &'a RoomId {
        &self.0.room
    }
}

impl RoomState {
    /// A room of which nothing is known yet, as `own` sees it.
    pub fn new(room: &RoomId, own: &UserId) -> Self {
        Self {
            room: room.to_owned(),
            own: own.to_owned(),
            members: Members::default(),
            counts: RoomHeroes::default(),
            name: None,
            alias: None,
            topic: None,
            created: None,
            direct: Direct::No,
            is_encrypted: false,
            history_visibility: HistoryVisibility::default(),
            predecessor: None,
            successor: None,
            has_all_members: false,
        }
    }

    /// Takes a state event, also a stripped one; others are ignored.
    pub fn apply(&mut self, event: &Event) {
        let Some(key) = event.state_key.as_deref() else { return };
        match (event.kind.as_str(), key) {
            ("m.room.member", _) => self.apply_member(event),
            ("m.room.create", "") => self.apply_create(event),
            // Also one without an algorithm, or with one we cannot speak: never clear again.
            ("m.room.encryption", "") => self.is_encrypted = true,
            ("m.room.name", "") => self.name = visible(event.content_str("name")),
            ("m.room.canonical_alias", "") => self.alias = visible(event.content_str("alias")),
            ("m.room.topic", "") => self.topic = visible(event.content_str("topic")),
            ("m.room.history_visibility", "") => {
                self.history_visibility = history_visibility(event);
            }
            ("m.room.tombstone", "") => {
                self.successor = room_of(event.content.get("replacement_room"));
            }
            _ => {}
        }
    }

    fn apply_member(&mut self, event: &Event) {
        let ours = event.state_key.as_deref() == Some(self.own.as_str());
        let direct = event.content.get("is_direct").and_then(Value::as_bool) == Some(true);
        if ours && direct && event.content_str("membership") == Some("invite") {
            self.direct = Direct::Yes;
        }
        self.members.apply(event);
    }

    fn apply_create(&mut self, event: &Event) {
        let space = event.content_str("type") == Some("m.space");
        self.created = Some(if space { Created::Space } else { Created::Room });
        self.predecessor = room_of(event.content.get("predecessor").and_then(|p| p.get("room_id")));
    }

    /// Takes `summary` of a sync answer; fields it leaves out stay.
    pub fn apply_heroes(&mut self, delta: &RoomHeroes) {
        let RoomHeroes { heroes, joined, invited } = delta.clone();
        self.counts.heroes = heroes.or(self.counts.heroes.take());
        self.counts.joined = joined.or(self.counts.joined);
        self.counts.invited = invited.or(self.counts.invited);
    }

    /// Says whether `m.direct` names this room, see [`direct_rooms`].
    pub fn set_direct(&mut self, direct: Direct) {
        self.direct = direct;
    }

    /// Latches encryption, because the session layer or the store has seen it.
    pub fn latch_encrypted(&mut self) {
        self.is_encrypted = true;
    }

    /// Says that the members known from now on are all there are.
    pub fn set_all_members(&mut self) {
        self.has_all_members = true;
    }

    /// Says that members may have changed unseen: a timeline with a gap.
    pub fn doubt_members(&mut self) {
        self.has_all_members = false;
    }

    /// Whether every member is known.
    pub fn has_all_members(&self) -> bool {
        self.has_all_members
    }

    /// Counts a user whom we just invited as invited, before the event comes down.
    pub fn assume_invited(&mut self, user: &UserId) {
        self.members.assume_invited(user, &self.own);
    }

    /// Proof that clear text may be sent: the room's creation is known (so its state arrived) and
    /// encryption was never seen.
    pub fn clear(&self) -> Option<ClearRoom<'_>> {
        (self.created.is_some() && !self.is_encrypted).then_some(ClearRoom(self))
    }

    /// Whether encryption was ever seen.
    pub fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// Joined and invited members, for the session layer. Right only if
    /// [`RoomState::has_all_members`].
    pub fn recipients(&self) -> Recipients {
        let those = |state: MemberState| {
            let fits = self.members.iter().filter(move |(_, member)| member.state == state);
            fits.map(|(user, _)| user.clone()).collect()
        };
        Recipients {
            joined: those(MemberState::Join),
            invited: those(MemberState::Invite),
            history_visibility: self.history_visibility,
            unsigned_of: Vec::new(),
        }
    }

    /// The room.
    pub fn room_id(&self) -> &RoomId {
        &self.room
    }

    /// We.
    pub fn own_user(&self) -> &UserId {
        &self.own
    }

    /// `m.room.history_visibility`.
    pub fn history_visibility(&self) -> HistoryVisibility {
        self.history_visibility
    }

    /// A user's membership; nothing when the user was never seen here.
    pub fn membership(&self, user: &UserId) -> Option<MemberState> {
        self.members.get(user).map(|member| member.state)
    }

    /// What to call a user here: with the id behind the name when it could be taken for another's.
    pub fn display_name(&self, user: &UserId) -> String {
        self.members.display_name(user)
    }

    /// All known members, also former ones, by user id.
    pub fn members(&self) -> impl Iterator<Item = (&OwnedUserId, &Member)> {
        self.members.iter()
    }

    /// What to call everybody who is or was here, see [`RoomState::display_name`].
    pub fn names(&self) -> Vec<(OwnedUserId, String)> {
        self.members.iter().map(|(user, _)| (user.clone(), self.display_name(user))).collect()
    }

    /// Joined members: as the server counts, unless all are known here.
    pub fn joined_count(&self) -> u64 {
        self.count(self.counts.joined, self.members.joined())
    }

    /// Invited members, counted the same way.
    pub fn invited_count(&self) -> u64 {
        self.count(self.counts.invited, self.members.invited())
    }

    fn count(&self, server: Option<u64>, own: u64) -> u64 {
        server.filter(|_| !self.has_all_members).unwrap_or(own)
    }

    /// `m.room.topic`.
    pub fn topic(&self) -> Option<&str> {
        self.topic.as_deref()
    }

    /// The room that replaced this one, says its tombstone; see [`super::newest_successor`].
    pub fn successor(&self) -> Option<&RoomId> {
        self.successor.as_deref()
    }

    /// The room that this one replaced, says its creation.
    pub fn predecessor(&self) -> Option<&RoomId> {
        self.predecessor.as_deref()
    }

    /// Direct chat, group or space.
    pub fn kind(&self) -> RoomKind {
        match (self.created, self.direct) {
            (Some(Created::Space), _) => RoomKind::Space,
            (Some(Created::Room) | None, Direct::Yes) => RoomKind::Dm,
            (Some(Created::Room) | None, Direct::No) => RoomKind::Group,
        }
    }

    /// Who invited us, as a name and the user id, while we are invited: whoever invites may be a
    /// stranger with the name of a friend.
    pub fn inviter(&self) -> Option<String> {
        let invited = self.members.get(&self.own)?;
        let by = invited.by.as_ref().filter(|_| invited.state == MemberState::Invite)?;
        let name = self.display_name(by);
        let has_id = name.contains(by.as_str());
        Some(if has_id { name } else { format!("{name} ({by})") })
    }

    /// Brings what the state decides of a room's line up to date: name, kind, encryption, members,
    /// topic, inviter. Membership, counts and activity stay.
    pub fn fill(&self, summary: &mut RoomSummary) {
        summary.name = self.name();
        summary.kind = self.kind();
        summary.encrypted |= self.is_encrypted;
        summary.members = self.joined_count();
        summary.topic.clone_from(&self.topic);
        summary.inviter = self.inviter();
    }

    pub(super) fn given_name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(super) fn alias(&self) -> Option<&str> {
        self.alias.as_deref()
    }

    pub(super) fn server_heroes(&self) -> Option<&[OwnedUserId]> {
        self.counts.heroes.as_deref()
    }
}

/// What the creation event made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Created {
    Room,
    Space,
}

/// Whether a room is a direct chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direct {
    /// `m.direct` names it.
    Yes,
    /// It does not.
    No,
}

/// The rooms that an `m.direct` account data event names.
pub fn direct_rooms(event: &Event) -> BTreeSet<OwnedRoomId> {
    let lists = event.content.values().filter_map(Value::as_array).flatten();
    lists.filter_map(|room| room_of(Some(room))).collect()
}

fn room_of(value: Option<&Value>) -> Option<OwnedRoomId> {
    RoomId::parse(value?.as_str()?).ok()
}

fn history_visibility(event: &Event) -> HistoryVisibility {
    match event.content_str("history_visibility") {
        Some("joined") => HistoryVisibility::Joined,
        Some("invited") => HistoryVisibility::Invited,
        Some("world_readable") => HistoryVisibility::WorldReadable,
        _ => HistoryVisibility::Shared,
    }
}

//! Changes of who is in a room: joins, invites, knocks, leaves, bans, and new names of members.

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, room_version_rules::RoomVersionRules,
    state_res::events::RoomPowerLevelsIntField,
};
use serde::Deserialize;

use super::{power::Powers, version::rules_of};
use crate::{
    matrix::{OwnedEventId, OwnedRoomId, OwnedUserId, UserId},
    server::model::{
        records::{JOINED, PROFILES},
        refusal::Refusal,
        rooms::{Draft, append_event, current, joined_members, membership_of, room},
        step::Step,
        table::Broken,
    },
};

/// What is done to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// They come in, or change their name.
    Join,
    /// They are asked in.
    Invite,
    /// They ask to be asked in.
    Knock,
    /// They go, or do not come.
    Leave,
    /// They are thrown out.
    Kick,
    /// They are thrown out for good.
    Ban,
    /// They may come again.
    Unban,
}

impl Action {
    /// What the member is afterwards.
    pub(crate) fn membership(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Invite => "invite",
            Self::Knock => "knock",
            Self::Leave | Self::Kick | Self::Unban => "leave",
            Self::Ban => "ban",
        }
    }

    /// The action that a member event with this membership asks for.
    pub(crate) fn from_membership(membership: &str) -> Option<Self> {
        match membership {
            "join" => Some(Self::Join),
            "invite" => Some(Self::Invite),
            "knock" => Some(Self::Knock),
            "leave" => Some(Self::Leave),
            "ban" => Some(Self::Ban),
            _ => None,
        }
    }
}

/// Somebody wants somebody's membership to change.
#[derive(Clone, Debug)]
pub(crate) struct MemberChange {
    pub(crate) room: OwnedRoomId,
    pub(crate) sender: OwnedUserId,
    pub(crate) target: OwnedUserId,
    pub(crate) action: Action,
    /// What the event is to say beside the membership.
    pub(crate) content: CanonicalJsonObject,
}

impl MemberChange {
    /// A change that says nothing but its reason.
    pub(crate) fn new(
        room: OwnedRoomId,
        (sender, action, target): (&UserId, Action, &UserId),
        reason: Option<String>,
    ) -> Self {
        let reason = reason.map(|text| ("reason".to_owned(), CanonicalJsonValue::String(text)));
        Self {
            room,
            sender: sender.to_owned(),
            target: target.to_owned(),
            action,
            content: reason.into_iter().collect(),
        }
    }

    /// Makes it so. Gives the member event.
    ///
    /// # Errors
    /// `M_FORBIDDEN` by the room's rules; `M_BAD_STATE` for who is banned, or is not; `M_UNKNOWN`
    /// with 404 for a room that nobody is in.
    pub(crate) fn apply(self, step: &mut Step<'_>) -> Result<OwnedEventId, Refusal> {
        let room = room(step, &self.room).map_err(|_unknown| self.no_room())?;
        if self.action == Action::Invite && self.target.server_name().as_str() != step.settings.name
        {
            return Err(Refusal::forbidden("without federation nobody of another server can come"));
        }
        let is_entering = matches!(self.action, Action::Join | Action::Knock);
        if is_entering && room.joined == 0 && room.depth > 1 {
            return Err(self.no_room());
        }
        let old = membership_of(step, &self.room, &self.target)?;
        let is_for_others = self.sender != self.target || self.action == Action::Invite;
        if is_for_others && step.get(JOINED, (&self.room, &self.sender))?.is_none() {
            // Also so that nobody outside gets to know who is banned.
            return Err(Refusal::forbidden("you are not in this room"));
        }
        if self.action == Action::Leave && !is_for_others && old.is_none() && room.joined == 0 {
            return Err(self.no_room());
        }
        self.check_transition(old.as_deref())?;
        let mut draft = self.draft(step)?;
        let is_inside = matches!(old.as_deref(), Some("join" | "invite"));
        if self.action == Action::Join && !is_inside {
            vouch(step, &mut draft, &rules_of(&room)?)?;
        }
        append_event(step, draft)
    }

    /// Without federation, a room that is not here is nowhere.
    fn no_room(&self) -> Refusal {
        match self.action {
            Action::Join | Action::Knock => {
                Refusal::new(404, "M_UNKNOWN", "nobody here is in this room")
            }
            Action::Leave => Refusal::new(404, "M_UNKNOWN", "not a known room"),
            Action::Invite | Action::Kick | Action::Ban | Action::Unban => {
                Refusal::forbidden("you are not in this room")
            }
        }
    }

    fn check_transition(&self, old: Option<&str>) -> Result<(), Refusal> {
        let bad_state = |error: &str| Err(Refusal::new(403, "M_BAD_STATE", error));
        match (self.action, old) {
            (Action::Unban, Some(old)) if old != "ban" => bad_state("they are not banned"),
            (Action::Join | Action::Invite | Action::Knock | Action::Kick, Some("ban")) => {
                bad_state("they are banned from this room")
            }
            (Action::Kick, None | Some("leave")) => {
                Err(Refusal::forbidden("they are not in this room"))
            }
            _ => Ok(()),
        }
    }

    fn draft(&self, step: &Step<'_>) -> Result<Draft, Refusal> {
        let mut content = self.content.clone();
        // Only this server says who vouches for a member.
        content.remove("join_authorised_via_users_server");
        if matches!(self.action, Action::Join | Action::Invite | Action::Knock) {
            add_profile(step, &self.target, &mut content)?;
        }
        content.insert("membership".to_owned(), self.action.membership().into());
        Ok(Draft {
            room: self.room.clone(),
            sender: self.sender.clone(),
            kind: "m.room.member".to_owned(),
            state_key: Some(self.target.to_string()),
            content,
            sent_by: None,
        })
    }
}

/// Adds name and picture, unless the member has others in this room.
fn add_profile(
    step: &Step<'_>,
    user: &UserId,
    content: &mut CanonicalJsonObject,
) -> Result<(), Refusal> {
    let profile = step.get(PROFILES, (user,))?.unwrap_or_default();
    for field in ["displayname", "avatar_url"] {
        if let Some(text) = profile.get(field).and_then(serde_json::Value::as_str)
            && !content.contains_key(field)
        {
            content.insert(field.to_owned(), text.into());
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct JoinRules {
    join_rule: String,
    #[serde(default)]
    allow: Vec<Allow>,
}

/// A room whose members may come in.
#[derive(Debug, Deserialize)]
pub(super) struct Allow {
    #[serde(rename = "type")]
    kind: String,
    pub(super) room_id: Option<OwnedRoomId>,
}

/// Names a member with the power to invite, if the room lets in who is in certain other rooms and
/// the one who joins is.
///
/// # Spec
/// Client-Server API, "Restricted rooms".
fn vouch(step: &Step<'_>, draft: &mut Draft, rules: &RoomVersionRules) -> Result<(), Refusal> {
    let join_rules = current(step, &draft.room, "m.room.join_rules", "")?;
    let Some(JoinRules { join_rule, allow }) = join_rules.and_then(|event| event.content()) else {
        return Ok(());
    };
    if !["restricted", "knock_restricted"].contains(&join_rule.as_str()) {
        return Ok(());
    }
    if !is_in_any(step, &draft.sender, &allow)? {
        return Err(Refusal::forbidden("only members of certain other rooms may join this one"));
    }
    let powers = Powers::read(step, &draft.room, rules)?;
    for member in joined_members(step, &draft.room)? {
        if powers.is_enough(&member, RoomPowerLevelsIntField::Invite)? {
            let field = "join_authorised_via_users_server".to_owned();
            draft.content.insert(field, member.as_str().into());
            return Ok(());
        }
    }
    Err(Refusal::new(400, "M_UNABLE_TO_GRANT_JOIN", "nobody in the room may invite"))
}

/// Whether somebody is joined to one of these rooms.
pub(super) fn is_in_any(step: &Step<'_>, user: &UserId, allow: &[Allow]) -> Result<bool, Broken> {
    for Allow { kind, room_id } in allow {
        if kind == "m.room_membership"
            && let Some(room) = room_id
            && step.get(JOINED, (room, user))?.is_some()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

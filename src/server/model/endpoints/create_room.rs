//! New rooms, and rooms that go on in new ones.

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, OwnedRoomAliasId, RoomAliasId, RoomVersionId,
    api::client::room::{
        Visibility,
        create_room::v3::{Request, Response, RoomPreset},
        upgrade_room,
    },
};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::{
    matrix::{OwnedRoomId, OwnedUserId},
    server::model::{
        rate::Limited,
        records::PUBLIC_ROOMS,
        refusal::{Refusal, Stop},
        rooms::{
            Action, DEFAULT_VERSION, Draft, MemberChange, Upgrade, aliases, append_create,
            append_event, canonical, canonical_text, new_name,
        },
        route::{Context, Routes},
        step::Step,
    },
};

pub(super) fn add(routes: &mut Routes) {
    routes.add(create_room);
    routes.add(upgrade);
}

fn upgrade(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: upgrade_room::v3::Request,
) -> Result<upgrade_room::v3::Response, Stop> {
    step.limit(Limited::Send, context.caller()?.user.as_str())?;
    let upgrade_room::v3::Request { room_id, new_version, additional_creators, .. } = request;
    let upgrade = Upgrade {
        old: room_id,
        user: context.caller()?.user.clone(),
        version: new_version,
        additional_creators,
    };
    Ok(upgrade_room::v3::Response::new(upgrade.make(step)?))
}

fn create_room(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Request,
) -> Result<Response, Stop> {
    let creator = context.caller()?.user.clone();
    step.limit(Limited::Send, creator.as_str())?;
    let plan = Plan::new(creator, request)?;
    plan.check_alias(step)?;
    let room = (new_name(step)?, plan.creator.clone());
    let room = append_create(step, room, &plan.version, plan.create_content()?)?;
    plan.fill(step, &room)?;
    Ok(Response::new(room))
}

/// What a preset stands for.
///
/// # Spec
/// Client-Server API, "POST `createRoom`".
#[derive(Clone, Copy, Debug)]
struct Preset {
    join_rule: &'static str,
    guests: Option<&'static str>,
    /// What it takes to invite.
    invite: u32,
    is_trusted: bool,
}

impl Preset {
    fn new(preset: Option<&RoomPreset>, visibility: &Visibility) -> Result<Self, Refusal> {
        let private =
            Self { join_rule: "invite", guests: Some("can_join"), invite: 0, is_trusted: false };
        let public = Self { join_rule: "public", guests: None, invite: 50, is_trusted: false };
        match preset {
            None if *visibility == Visibility::Public => Ok(public),
            None | Some(RoomPreset::PrivateChat) => Ok(private),
            Some(RoomPreset::PublicChat) => Ok(public),
            Some(RoomPreset::TrustedPrivateChat) => Ok(Self { is_trusted: true, ..private }),
            Some(other) => Err(Refusal::bad_json(format!("{other} is no preset"))),
        }
    }
}

/// A state event of a room to be.
#[derive(Clone)]
struct InitialState {
    kind: String,
    state_key: String,
    content: CanonicalJsonObject,
}

/// A room to be.
struct Plan {
    creator: OwnedUserId,
    version: RoomVersionId,
    preset: Preset,
    initial_state: Vec<InitialState>,
    request: Request,
}

impl Plan {
    fn new(creator: OwnedUserId, request: Request) -> Result<Self, Refusal> {
        if !request.invite_3pid.is_empty() {
            return Err(Refusal::new(400, "M_THREEPID_DENIED", "there is no identity server here"));
        }
        if MAX_AT_ONCE < request.initial_state.len() || MAX_AT_ONCE < request.invite.len() {
            let error = "the room begins with too many events or invitations";
            return Err(Refusal::new(413, "M_TOO_LARGE", error));
        }
        let preset = Preset::new(request.preset.as_ref(), &request.visibility)?;
        let version = request.room_version.clone().unwrap_or(DEFAULT_VERSION);
        let mut initial_state: Vec<InitialState> = Vec::new();
        for event in &request.initial_state {
            let event = InitialState::read(event.json())?;
            initial_state.retain(|earlier| !earlier.is_same_place(&event));
            initial_state.push(event);
        }
        Ok(Self { creator, version, preset, initial_state, request })
    }

    /// The name that the call wants for the room.
    fn alias(&self, step: &Step<'_>) -> Result<Option<OwnedRoomAliasId>, Refusal> {
        let Some(name) = &self.request.room_alias_name else {
            return Ok(None);
        };
        if name.contains(|c: char| c == ':' || c.is_whitespace()) {
            return Err(Refusal::new(400, "M_UNKNOWN", "the alias has a colon or blanks"));
        }
        RoomAliasId::parse(format!("#{name}:{}", step.settings.name))
            .map(Some)
            .map_err(|error| Refusal::invalid(error.to_string()))
    }

    fn check_alias(&self, step: &Step<'_>) -> Result<(), Refusal> {
        match self.alias(step)? {
            Some(alias) if aliases::find(step, &alias).is_ok() => {
                Err(Refusal::new(400, "M_ROOM_IN_USE", "the alias is taken"))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn has_privileged_creators(&self) -> bool {
        self.version
            .rules()
            .is_some_and(|rules| rules.authorization.explicitly_privilege_room_creators)
    }

    fn create_content(&self) -> Result<CanonicalJsonObject, Refusal> {
        let mut content = match &self.request.creation_content {
            Some(content) => canonical_text(content.json())?,
            None => CanonicalJsonObject::new(),
        };
        content.insert("room_version".to_owned(), self.version.as_str().into());
        let rules = self.version.rules();
        if rules.is_some_and(|rules| !rules.authorization.use_room_create_sender) {
            content.insert("creator".to_owned(), self.creator.as_str().into());
        }
        if self.preset.is_trusted && self.has_privileged_creators() {
            add_creators(&mut content, &self.request.invite)?;
        }
        Ok(content)
    }

    /// Appends everything after the first event.
    fn fill(self, step: &mut Step<'_>, room: &OwnedRoomId) -> Result<(), Refusal> {
        let creator = self.creator.clone();
        MemberChange::new(room.clone(), (&creator, Action::Join, &creator), None).apply(step)?;
        if let Some(alias) = self.alias(step)? {
            aliases::add(step, &alias, room, &creator)?;
        }
        for InitialState { kind, state_key, content } in self.state(step)? {
            append_event(
                step,
                Draft {
                    room: room.clone(),
                    sender: creator.clone(),
                    kind,
                    state_key: Some(state_key),
                    content,
                    sent_by: None,
                },
            )?;
        }
        if self.request.visibility == Visibility::Public {
            step.put(PUBLIC_ROOMS, (room,), &())?;
        }
        for user in &self.request.invite {
            let mut invite =
                MemberChange::new(room.clone(), (&creator, Action::Invite, user), None);
            if self.request.is_direct {
                invite.content.insert("is_direct".to_owned(), true.into());
            }
            invite.apply(step)?;
        }
        Ok(())
    }

    /// All state events in their order: what the call names goes before what the preset says.
    fn state(&self, step: &Step<'_>) -> Result<Vec<InitialState>, Refusal> {
        let mut state = vec![self.power_levels()?];
        let mut preset = |kind: &str, content: Value| {
            state.push(InitialState::new(kind, content)?);
            Ok::<(), Refusal>(())
        };
        if let Some(alias) = self.alias(step)? {
            preset("m.room.canonical_alias", json!({"alias": alias}))?;
        }
        preset("m.room.join_rules", json!({"join_rule": self.preset.join_rule}))?;
        preset("m.room.history_visibility", json!({"history_visibility": "shared"}))?;
        if let Some(guests) = self.preset.guests {
            preset("m.room.guest_access", json!({"guest_access": guests}))?;
        }
        let named = || self.initial_state.iter().filter(|event| event.kind != POWER_LEVELS);
        state.retain(|event| !named().any(|named| named.is_same_place(event)));
        state.extend(named().cloned());
        if let Some(name) = &self.request.name {
            state.push(InitialState::new("m.room.name", json!({"name": name}))?);
        }
        if let Some(topic) = &self.request.topic {
            let content = json!({"topic": topic, "m.topic": {"m.text": [{"body": topic}]}});
            state.push(InitialState::new("m.room.topic", content)?);
        }
        Ok(state)
    }

    fn power_levels(&self) -> Result<InitialState, Refusal> {
        if let Some(named) = self.initial_state.iter().find(|event| event.kind == POWER_LEVELS) {
            return Ok(named.clone());
        }
        let is_privileged = self.has_privileged_creators();
        let mut users = serde_json::Map::new();
        if !is_privileged {
            users.insert(self.creator.to_string(), json!(100));
            if self.preset.is_trusted {
                users.extend(self.request.invite.iter().map(|user| (user.to_string(), json!(100))));
            }
        }
        let content = json!({
            "users": users,
            "users_default": 0,
            "events": {
                "m.room.name": 50,
                "m.room.power_levels": 100,
                "m.room.history_visibility": 100,
                "m.room.canonical_alias": 50,
                "m.room.avatar": 50,
                "m.room.tombstone": if is_privileged { 150 } else { 100 },
                "m.room.server_acl": 100,
                "m.room.encryption": 100,
            },
            "events_default": 0,
            "state_default": 50,
            "ban": 50,
            "kick": 50,
            "redact": 50,
            "invite": self.preset.invite,
        });
        let mut event = InitialState::new(POWER_LEVELS, content)?;
        if let Some(levels) = &self.request.power_level_content_override {
            event.content.extend(canonical_text(levels.json())?);
        }
        Ok(event)
    }
}

impl InitialState {
    fn new(kind: &str, content: Value) -> Result<Self, Refusal> {
        let content = canonical(content)?;
        Ok(Self { kind: kind.to_owned(), state_key: String::new(), content })
    }

    fn is_same_place(&self, other: &Self) -> bool {
        self.kind == other.kind && self.state_key == other.state_key
    }

    fn read(text: &RawValue) -> Result<Self, Refusal> {
        #[derive(Deserialize)]
        struct Named {
            #[serde(rename = "type")]
            kind: String,
            #[serde(default)]
            state_key: String,
            content: CanonicalJsonObject,
        }
        let Named { kind, state_key, content } = serde_json::from_str(text.get())
            .map_err(|error| Refusal::bad_json(format!("initial_state: {error}")))?;
        Ok(Self { kind, state_key, content })
    }
}

/// Adds creators to those that the call may name.
fn add_creators(content: &mut CanonicalJsonObject, users: &[OwnedUserId]) -> Result<(), Refusal> {
    if users.is_empty() {
        return Ok(());
    }
    let named = content
        .entry("additional_creators".to_owned())
        .or_insert_with(|| CanonicalJsonValue::Array(Vec::new()));
    let CanonicalJsonValue::Array(named) = named else {
        return Err(Refusal::bad_json("additional_creators is a list of users"));
    };
    for user in users {
        let user = CanonicalJsonValue::from(user.as_str());
        if !named.contains(&user) {
            named.push(user);
        }
    }
    Ok(())
}

/// Most events, and most invitations, with which a room begins: others wait while it is made.
const MAX_AT_ONCE: usize = 1_000;
const POWER_LEVELS: &str = "m.room.power_levels";

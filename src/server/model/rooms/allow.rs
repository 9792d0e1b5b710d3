//! Whether an event may be: ruma's authorization rules over the current state. There are no rules
//! of our own here.

use std::collections::BTreeMap;

use ruma::{
    events::{StateEventType, TimelineEventType},
    room_version_rules::AuthorizationRules,
    state_res::{
        Event as _, auth_types_for_event, check_state_dependent_auth_rules,
        check_state_independent_auth_rules, events::RoomCreateEvent,
    },
};
use serde_json::value::RawValue;

use crate::{
    matrix::{EventId, OwnedEventId, RoomId, UserId},
    server::model::{
        refusal::Refusal,
        rooms::{RoomEvent, current},
        step::Step,
    },
};

/// What the rules look at: the create event, and the state that they name for one event.
#[derive(Debug, Default)]
pub(super) struct AuthState {
    create: Option<RoomEvent>,
    /// `m.room.create` is among them only where the version wants it so.
    selected: Vec<RoomEvent>,
}

/// The event that the rules are asked about, before it has an id.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    pub(super) room: &'a RoomId,
    pub(super) sender: &'a UserId,
    pub(super) kind: &'a str,
    pub(super) state_key: Option<&'a str>,
    pub(super) content: &'a RawValue,
}

impl AuthState {
    /// Reads what the rules will look at.
    ///
    /// # Errors
    /// When the content is not what its type demands.
    pub(super) fn read(
        step: &Step<'_>,
        question: Question<'_>,
        rules: &AuthorizationRules,
    ) -> Result<Self, Refusal> {
        let Question { room, sender, kind, state_key, content } = question;
        let kinds =
            auth_types_for_event(&TimelineEventType::from(kind), sender, state_key, content, rules)
                .map_err(Refusal::bad_json)?;
        let mut selected = Vec::with_capacity(kinds.len());
        for (kind, state_key) in kinds {
            selected.extend(current(step, room, &kind.to_string(), &state_key)?);
        }
        let create = match selected.iter().find(|event| event.is("m.room.create", "")) {
            Some(create) => Some(create.clone()),
            None => current(step, room, "m.room.create", "")?,
        };
        Ok(Self { create, selected })
    }

    /// The ids for `auth_events`.
    pub(super) fn ids(&self) -> Vec<OwnedEventId> {
        self.selected.iter().map(|event| event.id.clone()).collect()
    }

    /// Whether new power levels leave out those who have all power anyway. The rules say so too;
    /// here the caller gets to know what is wrong.
    ///
    /// # Errors
    /// `M_UNKNOWN` with 400.
    pub(super) fn check_creators(
        &self,
        question: Question<'_>,
        rules: &AuthorizationRules,
    ) -> Result<(), Refusal> {
        #[derive(serde::Deserialize)]
        struct Levels {
            users: BTreeMap<String, serde_json::Value>,
        }
        let Some(create) = &self.create else {
            return Ok(());
        };
        if question.kind != "m.room.power_levels" || !rules.explicitly_privilege_room_creators {
            return Ok(());
        }
        let creators = RoomCreateEvent::new(create).creators(rules).map_err(Refusal::forbidden)?;
        let levels = serde_json::from_str::<Levels>(question.content.get());
        let users = levels.map(|levels| levels.users).unwrap_or_default();
        if creators.iter().any(|creator| users.contains_key(creator.as_str())) {
            let error = "creators have all power, and cannot be given another";
            return Err(Refusal::new(400, "M_UNKNOWN", error));
        }
        Ok(())
    }

    /// Asks the rules.
    ///
    /// # Errors
    /// `M_FORBIDDEN` with what they say.
    pub(super) fn check(
        &self,
        event: &RoomEvent,
        rules: &AuthorizationRules,
    ) -> Result<(), Refusal> {
        check_state_independent_auth_rules(rules, event, |id| self.by_id(id))
            .and_then(|()| {
                check_state_dependent_auth_rules(rules, event, |kind, key| self.by_key(kind, key))
            })
            .map_err(Refusal::forbidden)
    }

    fn all(&self) -> impl Iterator<Item = &RoomEvent> {
        self.selected.iter().chain(&self.create)
    }

    fn by_id(&self, id: &EventId) -> Option<&RoomEvent> {
        self.all().find(|event| event.id == id)
    }

    fn by_key(&self, kind: &StateEventType, state_key: &str) -> Option<&RoomEvent> {
        self.all().find(|event| {
            event.state_key() == Some(state_key)
                && event.event_type().to_string() == kind.to_string()
        })
    }
}

//! Who has how much power in a room, as ruma's authorization rules count it.

use ruma::{
    events::{TimelineEventType, room::power_levels::UserPowerLevel},
    room_version_rules::RoomVersionRules,
    state_res::events::{RoomCreateEvent, RoomPowerLevelsEvent, RoomPowerLevelsIntField},
};

use crate::{
    matrix::{RoomId, UserId},
    server::model::{
        refusal::Refusal,
        rooms::{RoomEvent, current},
        step::Step,
        table::Broken,
    },
};

/// The powers in a room now.
#[derive(Debug)]
pub(crate) struct Powers {
    create: RoomEvent,
    levels: Option<RoomEvent>,
    rules: RoomVersionRules,
}

impl Powers {
    /// Reads them.
    ///
    /// # Errors
    /// When the records are broken.
    pub(crate) fn read(
        step: &Step<'_>,
        room: &RoomId,
        rules: &RoomVersionRules,
    ) -> Result<Self, Broken> {
        let create = current(step, room, "m.room.create", "")?
            .ok_or_else(|| Broken("a room has no first event".to_owned()))?;
        let levels = current(step, room, "m.room.power_levels", "")?;
        Ok(Self { create, levels, rules: rules.clone() })
    }

    /// How much somebody has.
    ///
    /// # Errors
    /// When the power levels of the room are no power levels.
    pub(crate) fn of(&self, user: &UserId) -> Result<UserPowerLevel, Refusal> {
        let rules = &self.rules.authorization;
        let creators =
            RoomCreateEvent::new(&self.create).creators(rules).map_err(Refusal::forbidden)?;
        let is_creator = creators.contains(user);
        if is_creator && rules.explicitly_privilege_room_creators {
            return Ok(UserPowerLevel::Infinite);
        }
        match self.levels() {
            Some(levels) => levels.user_power_level(user, rules).map(UserPowerLevel::Int),
            None if is_creator => Ok(UserPowerLevel::Int(CREATOR_LEVEL.into())),
            None => Ok(UserPowerLevel::Int(RoomPowerLevelsIntField::UsersDefault.default_value())),
        }
        .map_err(Refusal::forbidden)
    }

    /// Whether somebody has enough for this.
    ///
    /// # Errors
    /// When the power levels of the room are no power levels.
    pub(crate) fn is_enough(
        &self,
        user: &UserId,
        field: RoomPowerLevelsIntField,
    ) -> Result<bool, Refusal> {
        let needed = match self.levels() {
            Some(levels) => levels.get_as_int_or_default(field, &self.rules.authorization),
            None => Ok(field.default_value()),
        };
        Ok(self.of(user)? >= needed.map_err(Refusal::forbidden)?)
    }

    /// Whether somebody has enough to send events of this type.
    ///
    /// # Errors
    /// When the power levels of the room are no power levels.
    pub(crate) fn is_enough_to_send(
        &self,
        user: &UserId,
        kind: &str,
        state_key: Option<&str>,
    ) -> Result<bool, Refusal> {
        let needed = match (self.levels(), state_key) {
            (Some(levels), _) => {
                let kind = TimelineEventType::from(kind);
                levels.event_power_level(&kind, state_key, &self.rules.authorization)
            }
            (None, Some(_)) => Ok(RoomPowerLevelsIntField::StateDefault.default_value()),
            (None, None) => Ok(RoomPowerLevelsIntField::EventsDefault.default_value()),
        };
        Ok(self.of(user)? >= needed.map_err(Refusal::forbidden)?)
    }

    fn levels(&self) -> Option<RoomPowerLevelsEvent<&RoomEvent>> {
        self.levels.as_ref().map(RoomPowerLevelsEvent::new)
    }
}

/// What the creator has in a room without power levels.
const CREATOR_LEVEL: i32 = 100;

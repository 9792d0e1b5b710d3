//! Encryption settings of a room. Once encrypted, always encrypted: nothing that comes later from
//! the server turns it off again.
//!
//! # Spec
//! End-to-End Encryption, `m.room.encryption`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    DevicePolicy, HistoryVisibility, Machine, MachineError,
    lookup::Table,
    megolm::{MEGOLM_V1, inbound, is_shared},
    step::Step,
};
use crate::matrix::{Event, OwnedUserId, RoomId};

/// The bounds of `rotation_period_ms`, and its default.
const PERIOD: Bounds = Bounds { min: HOUR, max: 365 * 24 * HOUR, default: 7 * 24 * HOUR };
/// The bounds of `rotation_period_msgs`, and its default.
const MESSAGES: Bounds = Bounds { min: 1, max: 10_000, default: 100 };
const HOUR: u64 = 3_600_000;
/// Longest name of an algorithm that is kept.
const MAX_ALGORITHM_BYTES: usize = 128;

/// What is kept of a room.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RoomSettings {
    /// Set by the first valid `m.room.encryption`, never taken back.
    #[serde(default)]
    rotation: Option<Rotation>,
    /// An algorithm that the room asks for now and we do not speak: nothing is sent.
    #[serde(default)]
    unsupported: Option<String>,
    /// Whose devices get its keys, where the user said so.
    #[serde(default)]
    pub(super) devices: Option<DevicePolicy>,
}

/// When the outbound session is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rotation {
    period_ms: u64,
    messages: u64,
}

struct Bounds {
    min: u64,
    max: u64,
    default: u64,
}

/// Whether messages of a room can be encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Encryption {
    /// It was never seen encrypted.
    Off,
    /// With Megolm.
    Megolm(Rotation),
    /// With this, which we do not speak.
    Unsupported(String),
}

impl RoomSettings {
    /// How the room is encrypted.
    pub(super) fn encryption(&self) -> Encryption {
        match (&self.unsupported, self.rotation) {
            (Some(name), _) => Encryption::Unsupported(name.clone()),
            (None, Some(rotation)) => Encryption::Megolm(rotation),
            (None, None) => Encryption::Off,
        }
    }

    /// Whether the room was ever seen encrypted, with whatever.
    pub(super) fn is_encrypted(&self) -> bool {
        self.rotation.is_some() || self.unsupported.is_some()
    }

    /// Takes the content of an `m.room.encryption` event. One without an algorithm (redacted, say)
    /// changes nothing; another algorithm stops sending but does not turn encryption off.
    fn receive(&mut self, content: &Map<String, Value>) {
        match content.get("algorithm").and_then(Value::as_str) {
            Some(MEGOLM_V1) => {
                let new = Rotation::of(content);
                self.rotation = Some(self.rotation.map_or(new, |old| old.tightened(new)));
                self.unsupported = None;
            }
            Some(other) => {
                let other = other.chars().take(MAX_ALGORITHM_BYTES / 4).collect();
                self.unsupported = Some(other);
            }
            None => {}
        }
    }
}

impl Rotation {
    /// How long a session is used.
    pub(super) fn period(self) -> Duration {
        Duration::from_millis(self.period_ms)
    }

    /// How many messages a session is used for.
    pub(super) fn messages(self) -> u64 {
        self.messages
    }

    fn of(content: &Map<String, Value>) -> Self {
        Self {
            period_ms: PERIOD.clamp(content.get("rotation_period_ms")),
            messages: MESSAGES.clamp(content.get("rotation_period_msgs")),
        }
    }

    fn tightened(self, new: Self) -> Self {
        Self {
            period_ms: self.period_ms.min(new.period_ms),
            messages: self.messages.min(new.messages),
        }
    }
}

impl Bounds {
    /// A number is brought between the bounds, anything else is the default.
    fn clamp(&self, value: Option<&Value>) -> u64 {
        match value {
            Some(Value::Number(number)) => match number.as_u64() {
                Some(number) => number.clamp(self.min, self.max),
                None if number.as_f64().is_some_and(|number| number < 0.0) => self.min,
                None => self.default,
            },
            _ => self.default,
        }
    }
}

/// The settings of `room`; those of an unencrypted room if nothing is known.
pub(super) fn read(room: &RoomId, step: &Step<'_>) -> Result<RoomSettings, MachineError> {
    Ok(step.get(Table::RoomSettings, room.as_str(), "")?.unwrap_or_default())
}

/// Names the rule of the rooms that have none of their own.
const DEVICES: &str = "devices_of_all_rooms";

/// Whose devices get the keys of `room`: its own rule, else that of all rooms.
pub(super) fn devices(
    room: Option<&RoomId>,
    step: &Step<'_>,
) -> Result<DevicePolicy, MachineError> {
    if let Some(room) = room
        && let Some(devices) = read(room, step)?.devices
    {
        return Ok(devices);
    }
    Ok(step.get(Table::Misc, DEVICES, "")?.unwrap_or_default())
}

/// Sets whose devices get the keys of `room`, or of all rooms without a rule of their own.
pub(super) fn set_devices(
    room: Option<&RoomId>,
    devices: DevicePolicy,
    step: &mut Step<'_>,
) -> Result<(), MachineError> {
    let Some(room) = room else { return step.put(Table::Misc, DEVICES, "", &devices) };
    let mut settings = read(room, step)?;
    settings.devices = Some(devices);
    step.put(Table::RoomSettings, room.as_str(), "", &settings)
}

/// Takes a state event of `room`; those that say nothing about encryption are passed over.
///
/// # Errors
/// When the store fails.
pub(super) fn receive_state(
    machine: &mut Machine,
    room: &RoomId,
    event: &Event,
    step: &mut Step<'_>,
) -> Result<(), MachineError> {
    match (event.kind.as_str(), event.state_key.as_deref()) {
        ("m.room.encryption", Some("")) => receive_encryption(machine, room, &event.content, step),
        ("m.room.member", Some(user)) => receive_member(machine, room, (user, event), step),
        ("m.room.history_visibility", Some("")) => {
            receive_visibility(machine, room, &event.content, step)
        }
        _ => Ok(()),
    }
}

fn receive_encryption(
    machine: &mut Machine,
    room: &RoomId,
    content: &Map<String, Value>,
    step: &mut Step<'_>,
) -> Result<(), MachineError> {
    let old = read(room, step)?;
    let mut new = old.clone();
    new.receive(content);
    if new == old {
        return Ok(());
    }
    step.put(Table::RoomSettings, room.as_str(), "", &new)?;
    if !old.is_encrypted() {
        inbound::room_is_known(room, step)?;
    }
    if old.unsupported != new.unsupported {
        machine.end_session(room, step)?;
    }
    if let Some(outbound) = machine.megolm.outbound_mut(room) {
        outbound.prepared = None;
    }
    let early = machine.megolm.take_early_members(room);
    machine.core.track(early.iter().map(|user| &**user), step)
}

/// Whoever is in, or about to be, is tracked. Whoever is not any more ends the session, even if we
/// never sent them the key: an inviter may have handed it to them.
fn receive_member(
    machine: &mut Machine,
    room: &RoomId,
    (user, event): (&str, &Event),
    step: &mut Step<'_>,
) -> Result<(), MachineError> {
    match event.content_str("membership") {
        Some("join" | "invite") => match OwnedUserId::try_from(user) {
            Ok(user) if read(room, step)?.is_encrypted() => machine.core.track([&*user], step),
            Ok(user) => {
                machine.megolm.note_early_member(room, user);
                Ok(())
            }
            Err(_) => Ok(()),
        },
        Some("knock") => Ok(()),
        _ => {
            // Who came and went while we were away is in no list of the server's.
            if let Ok(user) = OwnedUserId::try_from(user) {
                machine.core.unwatch(&user, step)?;
            }
            machine.end_session(room, step)
        }
    }
}

fn receive_visibility(
    machine: &mut Machine,
    room: &RoomId,
    content: &Map<String, Value>,
    step: &mut Step<'_>,
) -> Result<(), MachineError> {
    let visibility = content.get("history_visibility").cloned();
    let visibility: Option<HistoryVisibility> =
        visibility.and_then(|visibility| serde_json::from_value(visibility).ok());
    let Some(outbound) = machine.outbound(room, step)? else { return Ok(()) };
    if visibility.is_some_and(|new| is_shared(new) != outbound.record.shared_history) {
        machine.end_session(room, step)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn after(contents: &[Value]) -> RoomSettings {
        let mut settings = RoomSettings::default();
        for content in contents {
            settings.receive(content.as_object().unwrap());
        }
        settings
    }

    fn rotation(content: Value) -> (u64, u64) {
        let mut content = content;
        content["algorithm"] = MEGOLM_V1.into();
        let rotation = after(&[content]).rotation.unwrap();
        (rotation.period_ms / HOUR, rotation.messages)
    }

    // T-36, A-29
    #[test]
    fn nothing_turns_encryption_off() {
        let on = json!({ "algorithm": MEGOLM_V1 });
        for later in [
            json!({}),
            json!({ "algorithm": null }),
            json!({ "algorithm": 1 }),
            json!({ "algorithm": "none" }),
            json!({ "algorithm": "m.olm.v1.curve25519-aes-sha2" }),
        ] {
            let settings = after(&[on.clone(), later.clone()]);
            assert!(settings.is_encrypted(), "{later}");
            assert_ne!(settings.encryption(), Encryption::Off, "{later}");
        }
    }

    #[test]
    fn an_algorithm_we_do_not_speak_stops_sending_until_it_is_taken_back() {
        let unknown = json!({ "algorithm": "m.megolm.v9" });
        let known = json!({ "algorithm": MEGOLM_V1 });
        let stopped = Encryption::Unsupported("m.megolm.v9".to_owned());
        assert_eq!(after(std::slice::from_ref(&unknown)).encryption(), stopped);
        assert_eq!(after(&[known.clone(), unknown.clone()]).encryption(), stopped);
        assert!(matches!(after(&[unknown, known]).encryption(), Encryption::Megolm(_)));
    }

    #[test]
    fn a_redacted_encryption_event_in_a_room_never_encrypted_says_nothing() {
        assert_eq!(after(&[json!({})]).encryption(), Encryption::Off);
    }

    //
    #[test]
    fn rotation_values_are_brought_between_their_bounds() {
        assert_eq!(rotation(json!({})), (168, 100));
        for (value, messages) in [
            (json!(0), 1),
            (json!(1), 1),
            (json!(50), 50),
            (json!(1_u64 << 53), 10_000),
            (json!(u64::MAX), 10_000),
            (json!(-1), 1),
            (json!(i64::MIN), 1),
            (json!(-0.5), 1),
            (json!(1e300), 100),
            (json!("7"), 100),
            (json!(null), 100),
            (json!([1]), 100),
        ] {
            assert_eq!(rotation(json!({ "rotation_period_msgs": value })).1, messages, "{value}");
        }
        for (value, hours) in
            [(json!(0), 1), (json!(2 * HOUR), 2), (json!(u64::MAX), 365 * 24), (json!("x"), 168)]
        {
            assert_eq!(rotation(json!({ "rotation_period_ms": value })).0, hours, "{value}");
        }
    }

    #[test]
    fn later_events_only_tighten_the_rotation() {
        let with =
            |messages: u64| json!({ "algorithm": MEGOLM_V1, "rotation_period_msgs": messages });
        assert_eq!(after(&[with(50), with(500)]).rotation.unwrap().messages, 50);
        assert_eq!(after(&[with(50), with(5)]).rotation.unwrap().messages, 5);
    }

    #[test]
    fn the_name_of_an_algorithm_is_cut() {
        let long = json!({ "algorithm": "x".repeat(100_000) });
        let Encryption::Unsupported(name) = after(&[long]).encryption() else { panic!() };
        assert!(name.len() <= MAX_ALGORITHM_BYTES);
    }
}

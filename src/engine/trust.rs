//! Whose devices get the keys of a room, and the devices of our account and of others.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::json;

use crate::{
    e2ee::{DevicePolicy, IdentityState, IdentityStatus, KnownDevice},
    matrix::{DeviceId, MatrixError, OwnedDeviceId, OwnedRoomId, OwnedUserId, RoomId, UserId},
};

use super::{
    Audience, CommandError, DeviceLine, Engine, FaceId, Outcome, RoomTrust, SecretText, Update,
    error::EngineError,
    faces::{Asker, answer, refusal},
    request::{Asked, Call},
    turn::Turn,
};

/// The answer of `GET /devices`.
#[derive(Default, Deserialize)]
struct Listed {
    #[serde(default)]
    devices: Vec<Listing>,
}

#[derive(Deserialize)]
struct Listing {
    device_id: OwnedDeviceId,
    #[serde(default)]
    display_name: Option<String>,
    #[serde(default)]
    last_seen_ts: Option<u64>,
}

impl Engine {
    /// Sets, if asked to, and tells whose devices get keys.
    pub(super) fn on_policy(
        &mut self,
        (face, id): Asker,
        (room, devices): (Option<OwnedRoomId>, Option<DevicePolicy>),
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        if let Some(devices) = devices {
            self.machine.set_device_policy(room.as_deref(), devices, &mut turn.step)?;
        }
        let trust = self.room_trust(room.as_deref(), turn)?;
        if let (Some(room), Some(_)) = (&room, devices) {
            let update = Update::RoomTrust(trust.clone());
            for face in self.faces.followers(room) {
                turn.tell(Audience::One(face), update.clone());
            }
        }
        answer((face, id), Ok(Outcome::RoomTrust(trust)), turn);
        Ok(())
    }

    /// Whose devices get the keys of a room, as far as its members and their devices are known.
    pub(super) fn room_trust(
        &mut self,
        room: Option<&RoomId>,
        turn: &Turn<'_>,
    ) -> Result<RoomTrust, EngineError> {
        let devices = self.machine.device_policy(room, &turn.step)?;
        let Some(room) = room else {
            let (known, left_out, changed) = (0, Vec::new(), Vec::new());
            let newcomers = Vec::new();
            return Ok(RoomTrust { room_id: None, devices, known, left_out, changed, newcomers });
        };
        let newcomers = self.rooms.get(room, turn.store)?.record.newcomers.users();
        let to = self.rooms.state(room, turn.store)?.recipients();
        let (known, left_out) = self.machine.left_out(room, &to, &turn.step)?;
        let mut changed: Vec<IdentityStatus> = Vec::new();
        for user in to.joined.iter().chain(&to.invited) {
            if self.machine.changed_identities().any(|(it, _)| it == user) {
                changed.push(self.machine.identity_status(user, &turn.step)?);
            }
        }
        let room_id = Some(room.to_owned());
        Ok(RoomTrust { room_id, devices, known, left_out, changed, newcomers })
    }

    /// Tells a face that opened an encrypted room.
    pub(super) fn tell_trust(
        &mut self,
        face: FaceId,
        room: &RoomId,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        if self.machine.is_encrypted(room, &turn.step)? {
            let trust = self.room_trust(Some(room), turn)?;
            turn.tell(Audience::One(face), Update::RoomTrust(trust));
        }
        Ok(())
    }

    /// Devices or identities of these users changed: tells those who have a room of theirs open.
    pub(super) fn retell_trust(
        &mut self,
        users: &BTreeSet<OwnedUserId>,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        if users.is_empty() {
            return Ok(());
        }
        for (face, room) in self.faces.views() {
            let to = self.rooms.state(&room, turn.store)?.recipients();
            if to.joined.iter().chain(&to.invited).any(|user| users.contains(user)) {
                self.tell_trust(face, &room, turn)?;
            }
        }
        Ok(())
    }

    /// Identities stand otherwise than before: messages get marks by them, and those that one kept
    /// back go out once nobody in their room shows an identity that is not settled.
    pub(super) fn on_identities(
        &mut self,
        changed: &[(OwnedUserId, IdentityState)],
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let (odd, settled): (Vec<_>, Vec<_>) =
            changed.iter().partition(|(_, state)| state.is_violation());
        if !odd.is_empty() {
            let odd = odd.into_iter().map(|(user, _)| user.clone()).collect();
            self.look_at_newest(&odd, turn)?;
        }
        if settled.is_empty() {
            return Ok(());
        }
        for (room, txn) in self.outbox.kept_back() {
            let to = self.rooms.state(&room, turn.store)?.recipients();
            let mut users = to.joined.iter().chain(&to.invited);
            let is_odd = |user| self.machine.changed_identities().any(|(it, _)| it == user);
            if !users.any(is_odd) {
                self.on_retry(&txn, turn)?;
            }
        }
        Ok(())
    }

    /// The devices of a user, as they are known; of ours, as the server lists them.
    pub(super) fn on_devices(
        &mut self,
        from: Asker,
        user: Option<OwnedUserId>,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        match user.filter(|user| *user != self.me) {
            None => self.ask(from, Asked::Devices, Call::get(&["devices"])),
            Some(user) => {
                let known = self.machine.known_devices(&user, &turn.step)?;
                let devices = known.into_iter().map(|known| line(known, None)).collect();
                answer(from, Ok(Outcome::Devices { devices }), turn);
            }
        }
        Ok(())
    }

    /// The server listed our devices.
    pub(super) fn on_own_devices(
        &self,
        from: Asker,
        body: &str,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let listed: Listed = serde_json::from_str(body).unwrap_or_default();
        let mut known = self.machine.known_devices(&self.me, &turn.step)?;
        let mut devices: Vec<DeviceLine> = Vec::new();
        for listing in listed.devices {
            let place = known.iter().position(|it| it.device_id == listing.device_id);
            let known = place.map(|place| known.swap_remove(place));
            devices.push(self.own_line(known, listing));
        }
        devices.sort_by_key(|device| !device.this);
        answer(from, Ok(Outcome::Devices { devices }), turn);
        Ok(())
    }

    fn own_line(&self, known: Option<KnownDevice>, listing: Listing) -> DeviceLine {
        let this = *listing.device_id == *self.machine.device();
        let known = known.unwrap_or_else(|| KnownDevice::without_keys(listing.device_id.clone()));
        DeviceLine { this, ..line(known, Some(listing)) }
    }

    pub(super) fn on_rename_device(&mut self, from: Asker, device: &DeviceId, name: &str) {
        let call = Call::put(&["devices", device.as_str()], &json!({ "display_name": name }));
        self.ask(from, Asked::Device, call);
    }

    pub(super) fn on_delete_device(
        &mut self,
        from: Asker,
        device: &DeviceId,
        password: Option<&SecretText>,
    ) {
        let mut body = json!({});
        if let (Some(password), Some(body)) = (password, body.as_object_mut()) {
            body.insert("auth".to_owned(), super::identity::password_proof(&self.me, password));
        }
        let call = Call::delete(&["devices", device.as_str()], &body);
        self.ask(from, Asked::Device, call);
    }

    pub(super) fn on_block_device(
        &mut self,
        from: Asker,
        (user, device): (&UserId, &DeviceId),
        blocked: bool,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let found = if blocked {
            self.machine.block_device(user, device, &mut turn.step)?
        } else {
            self.machine.unblock_device(user, device, &mut turn.step)?
        };
        let unknown = || {
            let words = "no such device is known; `grotto devices --user USER` lists them";
            refusal("unknown_device", words)
        };
        let result = if found { Ok(Outcome::Done) } else { Err(unknown()) };
        answer(from, result, turn);
        self.retell_trust(&BTreeSet::from([user.to_owned()]), turn)
    }
}

fn line(known: KnownDevice, listing: Option<Listing>) -> DeviceLine {
    let (name, last_seen) =
        listing.map_or((None, None), |listing| (listing.display_name, listing.last_seen_ts));
    DeviceLine {
        device_id: known.device_id,
        name,
        verified: known.cross_signed,
        last_seen,
        this: false,
        blocked: known.blocked,
        fingerprint: known.ed25519,
        dehydrated: known.dehydrated,
    }
}

/// What is said when the server did not do what was asked with a device.
pub(super) fn why_not_device(error: &MatrixError) -> CommandError {
    if error.auth.as_ref().is_some_and(|auth| auth.takes("m.login.password")) {
        return refusal("password_needed", "the server wants your password for this");
    }
    if let Some(auth) = &error.auth {
        let page = auth
            .url("m.oauth")
            .map(|page| format!(": {}", crate::matrix::SafeText::line(&page).as_str()));
        let words = "your account is managed elsewhere; delete the device there";
        return refusal("auth_needed", format!("{words}{}", page.unwrap_or_default()));
    }
    CommandError::from(error)
}

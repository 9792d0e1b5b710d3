//! Devices: how they come, and everything that goes with them.

use crate::{
    matrix::{DeviceId, OwnedDeviceId, OwnedUserId, UserId},
    server::model::{
        accounts::tokens::{self, NewTokens, Refreshing},
        keys::device_keys,
        pushers,
        records::{Change, DEHYDRATED, DEVICES, DeviceRecord, JOINED, MEMBERSHIPS},
        refusal::Refusal,
        step::Step,
        table::Broken,
        to_device, transactions,
    },
};

/// Most devices of a user: beyond it, the one that was not seen for the longest time goes.
const MAX_DEVICES: usize = 500;
/// Longest name of a device, in characters.
pub(crate) const MAX_DEVICE_NAME: usize = 100;
/// Longest device id, in bytes.
pub(crate) const MAX_DEVICE_ID: usize = 512;
/// Letters of a device id that the server makes up.
const DEVICE_ID_LETTERS: usize = 10;

/// What a client says about the device that it logs in.
#[derive(Clone, Debug)]
pub(crate) struct NewDevice {
    /// Its id, if the client wants a certain one.
    pub(crate) id: Option<OwnedDeviceId>,
    pub(crate) name: Option<String>,
    pub(crate) refreshing: Refreshing,
}

/// Logs a device in: a new one, or one that is there, whose tokens end.
///
/// # Errors
/// `M_INVALID_PARAM`, `M_TOO_LARGE` for an id or a name that is too long.
pub(crate) fn log_in(
    step: &mut Step<'_>,
    user: &UserId,
    device: NewDevice,
) -> Result<(OwnedDeviceId, NewTokens), Refusal> {
    let id = match device.id.filter(|id| !id.as_str().is_empty()) {
        Some(id) if MAX_DEVICE_ID < id.as_str().len() => {
            return Err(Refusal::invalid("the device id is too long"));
        }
        Some(id) => id,
        None => step.random_name(DEVICE_ID_LETTERS).to_uppercase().into(),
    };
    check_name(device.name.as_deref())?;
    if step.get(DEVICES, (user, &*id))?.is_some() {
        tokens::revoke(step, user, &id)?;
    } else {
        make_room(step, user)?;
        let record = DeviceRecord { display_name: device.name, last_seen: step.now };
        step.put(DEVICES, (user, &*id), &record)?;
        changed(step, user)?;
    }
    let new = tokens::issue(step, user, &id, device.refreshing)?;
    Ok((id, new))
}

/// # Errors
/// `M_TOO_LARGE` for a name that is too long.
pub(crate) fn check_name(name: Option<&str>) -> Result<(), Refusal> {
    if name.is_some_and(|name| MAX_DEVICE_NAME < name.chars().count()) {
        return Err(Refusal::new(400, "M_TOO_LARGE", "the device's name is too long"));
    }
    Ok(())
}

/// The devices of a user.
pub(crate) fn of(
    step: &Step<'_>,
    user: &UserId,
) -> Result<Vec<(OwnedDeviceId, DeviceRecord)>, Broken> {
    let found = step.scan(DEVICES, (user,))?;
    found
        .into_iter()
        .map(|(mut key, record)| {
            key.text()?;
            Ok((key.text()?.into(), record))
        })
        .collect()
}

pub(crate) fn make_room(step: &mut Step<'_>, user: &UserId) -> Result<(), Broken> {
    let devices = of(step, user)?;
    if devices.len() < MAX_DEVICES {
        return Ok(());
    }
    let oldest = devices.into_iter().min_by_key(|(_, record)| record.last_seen);
    match oldest {
        Some((id, _)) => delete(step, user, &id),
        None => Ok(()),
    }
}

/// Takes a device away, with its tokens, its keys and what waits for it.
pub(crate) fn delete(step: &mut Step<'_>, user: &UserId, device: &DeviceId) -> Result<(), Broken> {
    tokens::revoke(step, user, device)?;
    step.delete(DEVICES, (user, device));
    if step.get(DEHYDRATED, (user,))?.is_some_and(|record| record.device == device) {
        step.delete(DEHYDRATED, (user,));
    }
    transactions::forget(step, user, device)?;
    device_keys::delete(step, user, device)?;
    to_device::clear(step, user, device)?;
    pushers::forget(step, user, device)?;
    changed(step, user)?;
    // Its polls learn that the token is gone.
    step.wake(user.to_owned());
    Ok(())
}

/// Tells everybody who shares a room with `user`, and `user`, that their devices or keys changed.
pub(crate) fn changed(step: &mut Step<'_>, user: &UserId) -> Result<(), Broken> {
    step.publish(&Change::Devices { user: user.to_owned() })?;
    wake_neighbors(step, user)
}

/// Wakes `user` and everybody who shares a room with them.
pub(crate) fn wake_neighbors(step: &mut Step<'_>, user: &UserId) -> Result<(), Broken> {
    step.wake(user.to_owned());
    for (mut key, record) in step.scan(MEMBERSHIPS, (user,))? {
        if record.membership != "join" {
            continue;
        }
        key.text()?;
        let room = key.text()?;
        for (mut key, ()) in step.scan(JOINED, (room.as_str(),))? {
            key.text()?;
            let member = OwnedUserId::try_from(key.text()?);
            step.wake(member.map_err(|error| Broken(error.to_string()))?);
        }
    }
    Ok(())
}

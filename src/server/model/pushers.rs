//! Pushers. They are kept for clients that look for theirs; nothing is pushed yet.

use serde_json::Value;

use super::{
    records::{PUSHER_OWNERS, PUSHERS, PusherRecord},
    refusal::Refusal,
    route::Caller,
    step::Step,
    table::Broken,
};
use crate::matrix::{DeviceId, UserId};

/// Most pushers of a user.
const MAX_PUSHERS: usize = 100;
/// Largest pusher, in bytes.
const MAX_BYTES: usize = 16 << 10;

/// What names a pusher.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PusherId<'a> {
    pub(crate) app: &'a str,
    pub(crate) key: &'a str,
}

/// The pushers of a user, as they were uploaded.
pub(crate) fn of(step: &Step<'_>, user: &UserId) -> Result<Vec<Value>, Broken> {
    let found = step.scan(PUSHERS, (user,))?;
    Ok(found.into_iter().map(|(_, record)| record.pusher).collect())
}

/// Keeps a pusher, in place of the one of this name.
///
/// # Errors
/// `M_TOO_LARGE`.
pub(crate) fn put(
    step: &mut Step<'_>,
    caller: &Caller,
    id: PusherId<'_>,
    pusher: Value,
) -> Result<(), Refusal> {
    let PusherId { app, key } = id;
    if MAX_BYTES < pusher.to_string().len() {
        return Err(Refusal::new(413, "M_TOO_LARGE", "the pusher is too large"));
    }
    let is_new = step.get(PUSHERS, (&*caller.user, app, key))?.is_none();
    if is_new && MAX_PUSHERS <= step.scan(PUSHERS, (&*caller.user,))?.len() {
        return Err(Refusal::too_many("pushers"));
    }
    let record = PusherRecord { device: caller.device.clone(), pusher };
    step.put(PUSHERS, (&*caller.user, app, key), &record)?;
    Ok(step.put(PUSHER_OWNERS, (app, key, &*caller.user), &())?)
}

/// Takes a pusher away, if it is there.
pub(crate) fn remove(step: &mut Step<'_>, user: &str, id: PusherId<'_>) {
    step.delete(PUSHERS, (user, id.app, id.key));
    step.delete(PUSHER_OWNERS, (id.app, id.key, user));
}

/// Takes the pushers of this name away that others have: the telephone has another owner.
pub(crate) fn remove_from_others(
    step: &mut Step<'_>,
    user: &UserId,
    id: PusherId<'_>,
) -> Result<(), Broken> {
    for (mut key, ()) in step.scan(PUSHER_OWNERS, (id.app, id.key))? {
        let (_app, _key, owner) = (key.text()?, key.text()?, key.text()?);
        if owner != user.as_str() {
            remove(step, &owner, id);
        }
    }
    Ok(())
}

/// Takes the pushers away that this device set up.
pub(crate) fn forget(step: &mut Step<'_>, user: &UserId, device: &DeviceId) -> Result<(), Broken> {
    for (mut key, record) in step.scan(PUSHERS, (user,))? {
        let (_user, app, push_key) = (key.text()?, key.text()?, key.text()?);
        if record.device == *device {
            remove(step, user.as_str(), PusherId { app: &app, key: &push_key });
        }
    }
    Ok(())
}

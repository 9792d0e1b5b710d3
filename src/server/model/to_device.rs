//! Messages for devices: they wait until the device says, by the token of its next sync, that it
//! has them.

use ruma::serde::Raw;
use serde_json::value::to_raw_value;

use super::{
    records::{Change, TO_DEVICE, TO_DEVICE_COUNTS, TO_DEVICE_SIZES, ToDeviceRecord},
    step::{Span, Step},
    table::{Broken, Order},
};
use crate::matrix::{DeviceId, UserId};

/// Most messages that wait for a device: what comes beyond is lost, as the device is.
const MAX_WAITING: u64 = 10_000;
/// Most bytes that wait for all devices of somebody, beyond a share of each.
const MAX_BYTES: u64 = 128 << 20;
/// The share of a device: so much waits for it however much waits for the others. One that fetches
/// must not lose its messages because another one never does.
const SHARE: u64 = 256 << 10;
/// Most messages of a share.
const SHARE_COUNT: u64 = 100;

/// Leaves a message for a device, and wakes its polls.
pub(crate) fn send(
    step: &mut Step<'_>,
    (user, device): (&UserId, &DeviceId),
    message: &ToDeviceRecord,
) -> Result<(), Broken> {
    let count = step.get(TO_DEVICE_COUNTS, (user, device))?.unwrap_or(0);
    let bytes = step.get(TO_DEVICE_SIZES, (user,))?.unwrap_or(0).saturating_add(size(message));
    if MAX_WAITING <= count {
        return Ok(());
    }
    if MAX_BYTES < bytes && !is_in_share(step, (user, device), (count, message))? {
        return Ok(());
    }
    step.put(TO_DEVICE_SIZES, (user,), &bytes)?;
    let change = Change::ToDevice { user: user.to_owned(), device: device.to_owned() };
    let number = step.publish(&change)?;
    step.put(TO_DEVICE, (user, device, number), message)?;
    step.put(TO_DEVICE_COUNTS, (user, device), &(count + 1))?;
    step.wake(user.to_owned());
    Ok(())
}

/// Whether a message is within the share of a device for which `count` wait.
fn is_in_share(
    step: &Step<'_>,
    place: (&UserId, &DeviceId),
    (count, message): (u64, &ToDeviceRecord),
) -> Result<bool, Broken> {
    if SHARE_COUNT <= count {
        return Ok(false);
    }
    let waiting = waiting(step, place, (0, u64::MAX), usize::MAX)?;
    let held: u64 = waiting.iter().map(|(_, message)| size(message)).sum();
    Ok(held.saturating_add(size(message)) <= SHARE)
}

/// At most `limit` messages for a device, with numbers after `after` and up to `up_to`, in order.
pub(crate) fn waiting(
    step: &Step<'_>,
    (user, device): (&UserId, &DeviceId),
    (after, up_to): (u64, u64),
    limit: usize,
) -> Result<Vec<(u64, ToDeviceRecord)>, Broken> {
    let span = Span { after, up_to, order: Order::Ascending, limit };
    let found = step.scan_numbers(TO_DEVICE, (user, device), &span)?;
    found
        .into_iter()
        .map(|(mut key, message)| {
            key.text()?;
            key.text()?;
            Ok((key.number()?, message))
        })
        .collect()
}

/// A message as its device gets it.
pub(crate) fn event<T>(message: &ToDeviceRecord) -> Result<Raw<T>, Broken> {
    let text = to_raw_value(message).map_err(|error| Broken(error.to_string()))?;
    Ok(Raw::from_json(text))
}

/// Forgets the messages up to this number: the device has them.
pub(crate) fn delete_up_to(
    step: &mut Step<'_>,
    (user, device): (&UserId, &DeviceId),
    number: u64,
) -> Result<(), Broken> {
    let count = step.get(TO_DEVICE_COUNTS, (user, device))?.unwrap_or(0);
    if count == 0 {
        return Ok(());
    }
    let limit = usize::MAX;
    let seen = waiting(step, (user, device), (0, number), limit)?;
    if seen.is_empty() {
        return Ok(());
    }
    let left = count.saturating_sub(u64::try_from(seen.len()).unwrap_or(u64::MAX));
    forget_bytes(step, user, &seen)?;
    for (number, _) in seen {
        step.delete(TO_DEVICE, (user, device, number));
    }
    step.put(TO_DEVICE_COUNTS, (user, device), &left)
}

fn forget_bytes(
    step: &mut Step<'_>,
    user: &UserId,
    gone: &[(u64, ToDeviceRecord)],
) -> Result<(), Broken> {
    let gone: u64 = gone.iter().map(|(_, message)| size(message)).sum();
    let bytes = step.get(TO_DEVICE_SIZES, (user,))?.unwrap_or(0);
    step.put(TO_DEVICE_SIZES, (user,), &bytes.saturating_sub(gone))
}

fn size(message: &ToDeviceRecord) -> u64 {
    (message.content.get().len() + message.kind.len()) as u64
}

/// Forgets everything that waits for a device.
pub(crate) fn clear(step: &mut Step<'_>, user: &UserId, device: &DeviceId) -> Result<(), Broken> {
    let waiting = waiting(step, (user, device), (0, u64::MAX), usize::MAX)?;
    forget_bytes(step, user, &waiting)?;
    step.clear(TO_DEVICE, (user, device))?;
    step.delete(TO_DEVICE_COUNTS, (user, device));
    Ok(())
}

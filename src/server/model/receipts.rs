//! Receipts: up to where the members of a room have read.
//!
//! # Spec
//! Client-Server API, "Receipts".

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    push::ReadUpTo,
    records::{Change, RECEIPT_PLACES, RECEIPTS, ReceiptRecord},
    rooms::joined_members,
    step::{Span, Step},
    table::{Broken, Order},
};
use crate::matrix::{OwnedEventId, RoomId, UserId};

/// A receipt that only its sender sees.
pub(super) const PRIVATE: &str = "m.read.private";

/// Most receipts of somebody in one room: one of each type for the room, its main timeline, and
/// the threads they read last.
const MOST_RECEIPTS: usize = 1_000;

/// Takes a receipt, if it goes further than the one before it.
///
/// # Errors
/// When the records are broken.
pub(super) fn receive(
    step: &mut Step<'_>,
    room: &RoomId,
    receipt: &ReceiptRecord,
) -> Result<(), Broken> {
    let place = place(receipt);
    let user = &receipt.user;
    if let Some(number) = step.get(RECEIPT_PLACES, (room, &**user, &place))? {
        let old = step.get(RECEIPTS, (room, number))?;
        if old.is_some_and(|old| receipt.reached <= old.reached) {
            return Ok(());
        }
        step.delete(RECEIPTS, (room, number));
    } else {
        make_room(step, room, user)?;
    }
    let number = step.publish(&Change::Receipt { room: room.to_owned(), user: user.clone() })?;
    step.put(RECEIPT_PLACES, (room, &**user, &place), &number)?;
    step.put(RECEIPTS, (room, number), receipt)?;
    if receipt.kind == PRIVATE {
        step.wake(user.clone());
        return Ok(());
    }
    joined_members(step, room)?.into_iter().for_each(|member| step.wake(member));
    Ok(())
}

fn place(receipt: &ReceiptRecord) -> String {
    format!("{} {}", receipt.kind, receipt.thread.as_deref().unwrap_or_default())
}

/// Forgets the oldest receipt of who has too many.
fn make_room(step: &mut Step<'_>, room: &RoomId, user: &UserId) -> Result<(), Broken> {
    let places = step.scan(RECEIPT_PLACES, (room, user))?;
    if places.len() < MOST_RECEIPTS {
        return Ok(());
    }
    if let Some((mut key, number)) = places.into_iter().min_by_key(|(_, number)| *number) {
        key.text()?;
        key.text()?;
        step.delete(RECEIPTS, (room, number));
        step.delete(RECEIPT_PLACES, (room, user, &key.text()?));
    }
    Ok(())
}

/// Up to where somebody has read, by all of their receipts.
///
/// # Errors
/// When the records are broken.
pub(super) fn own_receipts(
    step: &Step<'_>,
    room: &RoomId,
    user: &UserId,
) -> Result<ReadUpTo, Broken> {
    let mut read = ReadUpTo::default();
    for (_, number) in step.scan(RECEIPT_PLACES, (room, user))? {
        let Some(receipt) = step.get(RECEIPTS, (room, number))? else {
            continue;
        };
        let reached = Some(receipt.reached);
        match receipt.thread {
            None => read.all = read.all.max(reached),
            Some(thread) => {
                let known = read.by_thread.entry(thread).or_insert(0);
                *known = receipt.reached.max(*known);
            }
        }
    }
    Ok(read)
}

/// The content of an `m.receipt` event with the receipts sent after a number of the stream, those
/// that this user may see; nothing when there are none.
///
/// # Errors
/// When the records are broken.
pub(super) fn receipts_since(
    step: &Step<'_>,
    room: &RoomId,
    user: &UserId,
    since: u64,
) -> Result<Option<Value>, Broken> {
    receipts_where(step, room, (user, since), |_| true)
}

/// The same, of those receipts that are wanted.
///
/// # Errors
/// When the records are broken.
pub(super) fn receipts_where(
    step: &Step<'_>,
    room: &RoomId,
    (user, since): (&UserId, u64),
    is_wanted: impl Fn(&ReceiptRecord) -> bool,
) -> Result<Option<Value>, Broken> {
    let span = Span { after: since, up_to: u64::MAX, order: Order::Ascending, limit: usize::MAX };
    let found = step.scan_numbers(RECEIPTS, (room,), &span)?;
    let visible = found
        .into_iter()
        .map(|(_, receipt)| receipt)
        .filter(|receipt| receipt.kind != PRIVATE || receipt.user == *user);
    Ok(content(visible.filter(is_wanted)))
}

/// As an `m.receipt` event has them: by event, by type, by user.
fn content(receipts: impl Iterator<Item = ReceiptRecord>) -> Option<Value> {
    let mut events: BTreeMap<OwnedEventId, BTreeMap<String, Map<String, Value>>> = BTreeMap::new();
    for receipt in receipts {
        let mut data = json!({ "ts": receipt.sent });
        if let (Some(thread), Some(data)) = (receipt.thread, data.as_object_mut()) {
            data.insert("thread_id".to_owned(), thread.into());
        }
        let kinds = events.entry(receipt.event).or_default();
        kinds.entry(receipt.kind).or_default().insert(receipt.user.to_string(), data);
    }
    (!events.is_empty()).then(|| json!(events))
}

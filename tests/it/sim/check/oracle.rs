//! Who must be able to read what, worked out from what the homeserver and the simulator know: who was
//! in the room when, whose devices were signed when, who may see what was before, who blocked
//! whom. It asks nothing of the session layer.

use std::collections::BTreeMap;

use grotto::{e2ee::UndecryptableReason as Reason, rooms::EventBody};

use super::Seat;
use crate::sim::{
    seal::{DeviceKey, Seal},
    server::RoomEvent,
    world::World,
};

/// Why the protocol keeps a message from a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sim) enum Cause {
    /// Its user was not in the room.
    NotThere,
    /// Its user was invited, and may read nothing from before they join.
    OnlyInvited,
    /// The sender blocked it.
    Blocked,
    /// Its owner had not signed it, as far as the sender could know.
    Unsigned,
    /// The sender could not know of it.
    TooNew,
}

/// How many messages were read, and how many were not, by what keeps them from the device and what the
/// program says of it.
pub(in crate::sim) type Tally = BTreeMap<String, u64>;

/// Every message of a timeline can be read, or the protocol keeps it from this device and the program
/// says so.
pub(super) fn all(seat: &Seat<'_>, tally: &mut Tally) {
    let events = &seat.world.server.rooms[seat.room].events;
    for stored in &seat.stored {
        let why = match &stored.body {
            EventBody::Undecryptable(why) => why,
            EventBody::Decrypted(_) => {
                *tally.entry("read".to_owned()).or_default() += 1;
                continue;
            }
            EventBody::Clear(_) => continue,
        };
        let id = stored.id().expect("it came from the server");
        let event = events.iter().find(|event| event.id == id.as_str()).expect("known");
        let (seal, sender) = seat.seal(event).expect("somebody encrypted it");
        let cause = cause(seat, (&sender, seal), event);
        let fits = cause.is_some_and(|cause| fits(cause, &why.reason, (seat, event)));
        assert!(
            fits,
            "{}, {}: {} sent by {sender:?} is undecryptable ({}); the protocol says {cause:?}: \
             signed since {:?}, memberships {:?}, {seal:?}",
            seat.name,
            seat.room,
            event.id,
            why.reason.word(),
            seat.world.server.devices[&seat.client.caller.key()].signed,
            seat.world.server.memberships(seat.room, &seat.client.caller.user),
        );
        let label = cause.map(|cause| format!("{cause:?} ({})", why.reason.word()));
        *tally.entry(label.unwrap_or_default()).or_default() += 1;
    }
}

/// Why a device cannot be expected to read a message; `None` when it must: its sender had to send it
/// the key, or to another device of its user, which had to put it into the backup.
fn cause(seat: &Seat<'_>, (sender, seal): (&DeviceKey, &Seal), event: &RoomEvent) -> Option<Cause> {
    let world = seat.world;
    let own = seat.client.caller.key();
    let cause = withheld(world, (sender, seal), &own);
    let places = (seal.known + 1, event.at);
    let departures = world.server.memberships(seat.room, &own.0).into_iter();
    if departures.filter(|it| it.1 == "leave").any(|it| places.0 <= it.0 && it.0 <= places.1) {
        return Some(Cause::NotThere);
    }
    let in_backup = world.clients.iter().any(|other| {
        let there = !other.ended && other.owner.has_keys();
        there
            && other.caller.user == own.0
            && withheld(world, (sender, seal), &other.caller.key()).is_none()
    });
    cause.filter(|_| !(in_backup && seat.client.owner.has_keys()))
}

/// Why the sender of a message had not to send its key to this device.
fn withheld(world: &World, (sender, seal): (&DeviceKey, &Seal), to: &DeviceKey) -> Option<Cause> {
    if sender == to {
        return None;
    }
    let server = &world.server;
    match server.membership_before(&seal.room, &to.0, seal.known + 1).as_deref() {
        Some("join") => {}
        Some("invite") if server.visibility(&seal.room, seal.known + 1) == "joined" => {
            return Some(Cause::OnlyInvited);
        }
        Some("invite") => {}
        Some(_) | None => return Some(Cause::NotThere),
    }
    if seal.barred.contains(to) {
        return Some(Cause::Blocked);
    }
    let Some(device) = server.devices.get(to) else { return Some(Cause::TooNew) };
    let calm = world.calm_since <= seal.known;
    if device.keys.is_none() || seal.known < device.since || !(calm || seal.listed.contains(to)) {
        return Some(Cause::TooNew);
    }
    // A list that could not be had in time is used as it is.
    let signed = device.signed.is_some_and(|signed| signed <= seal.known)
        && (calm || seal.signed.contains(to));
    (!signed).then_some(Cause::Unsigned)
}

/// Whether the program's reason is one for this cause.
fn fits(cause: Cause, reason: &Reason, (seat, event): (&Seat<'_>, &RoomEvent)) -> bool {
    let membership =
        seat.world.server.membership_before(seat.room, &seat.client.caller.user, event.at);
    let away = matches!(membership.as_deref(), None | Some("leave"));
    match reason {
        // The sender saw them come later than the server did, or leave earlier.
        Reason::NoRoomKey | Reason::BeforeLogin => match cause {
            Cause::NotThere => !away,
            Cause::OnlyInvited | Cause::TooNew => true,
            // A notice that got lost in a crash of the sender is not sent again.
            Cause::Unsigned | Cause::Blocked => false,
        },
        // From then on another device of the user may have had it.
        Reason::IndexTooLow => true,
        Reason::BeforeJoin => away,
        Reason::Withheld(code) => match cause {
            Cause::Blocked => code == "m.blacklisted",
            Cause::Unsigned => code == "m.unverified",
            Cause::NotThere | Cause::OnlyInvited | Cause::TooNew => true,
        },
        Reason::DuplicateIndex
        | Reason::MismatchedSender
        | Reason::UnsupportedAlgorithm(_)
        | Reason::Malformed => false,
    }
}

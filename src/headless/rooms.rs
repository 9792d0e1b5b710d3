//! Rooms: list, make, join, leave, invite.

use serde::Serialize;

use super::{
    errand::Errand,
    error::HeadlessError,
    line::RoomLine,
    output::Output,
    people::safe,
    resolve::{resolve, unexpected},
};
use crate::{
    engine::{Outcome, Request, SharedHistory},
    matrix::{Membership, OwnedRoomId, OwnedUserId},
    rooms::{RoomKind, RoomSummary},
};

/// Which room it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Room {
    room_id: OwnedRoomId,
    /// What of its history was handed over with an invite.
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<SharedHistory>,
}

/// A room to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRoom {
    /// Its name.
    pub name: Option<String>,
    /// Whom to invite.
    pub invite: Vec<OwnedUserId>,
    /// Direct chat or not.
    pub kind: RoomKind,
    /// Whether the servers may read it.
    pub encryption: Encryption,
}

/// Whether a new room is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// It is.
    On,
    /// It is not: the servers read everything.
    Off,
}

/// Lists joined rooms and invites, in the order of the interface's list.
///
/// # Errors
/// When the server cannot be reached in time, or the list cannot be written.
pub async fn rooms(errand: &mut Errand, output: &mut Output) -> Result<(), HeadlessError> {
    errand.ready().await?;
    let outcome = errand.ask(Request::Rooms).await?;
    let Outcome::Rooms { mut rooms } = outcome else { return Err(unexpected(&outcome).into()) };
    rooms.retain(|room| matches!(room.membership, Membership::Join | Membership::Invite));
    rooms.sort_by_key(RoomSummary::order);
    for room in rooms {
        output.show(&line(room), |line| Some(words(line)))?;
    }
    Ok(())
}

/// Makes a room.
///
/// # Errors
/// When it is refused or the server cannot be reached in time.
pub async fn create(
    errand: &mut Errand,
    output: &mut Output,
    new: NewRoom,
) -> Result<(), HeadlessError> {
    errand.ready().await?;
    let request = Request::CreateRoom {
        name: new.name,
        invite: new.invite,
        dm: new.kind == RoomKind::Dm,
        encrypted: new.encryption == Encryption::On,
    };
    done(errand, output, request, None).await
}

/// Joins a room by id or alias, or accepts an invite by the room's name.
///
/// # Errors
/// When it is refused or the server cannot be reached in time.
pub async fn join(
    errand: &mut Errand,
    output: &mut Output,
    room: &str,
) -> Result<(), HeadlessError> {
    errand.ready().await?;
    let room = match room.chars().next() {
        Some('!' | '#') => room.to_owned(),
        Some(_) | None => resolve(errand, room).await?.to_string(),
    };
    done(errand, output, Request::Join { room }, None).await
}

/// Leaves a room, or refuses an invite.
///
/// # Errors
/// When it is refused or the server cannot be reached in time.
pub async fn leave(
    errand: &mut Errand,
    output: &mut Output,
    room: &str,
) -> Result<(), HeadlessError> {
    errand.ready().await?;
    let room = resolve(errand, room).await?;
    done(errand, output, Request::Leave { room: room.clone() }, Some(room)).await
}

/// Invites somebody.
///
/// # Errors
/// When it is refused or the server cannot be reached in time.
pub async fn invite(
    errand: &mut Errand,
    output: &mut Output,
    room: &str,
    user: OwnedUserId,
) -> Result<(), HeadlessError> {
    errand.ready().await?;
    let room = resolve(errand, room).await?;
    done(errand, output, Request::Invite { room: room.clone(), user }, Some(room)).await
}

/// Asks, and prints the room it was about: the answer's, or the one that was known before.
async fn done(
    errand: &mut Errand,
    output: &mut Output,
    request: Request,
    known: Option<OwnedRoomId>,
) -> Result<(), HeadlessError> {
    let (room_id, history) = match (errand.ask(request).await?, known) {
        (Outcome::Room { room_id }, _) | (Outcome::Done, Some(room_id)) => (room_id, None),
        (Outcome::Invited { history }, Some(room_id)) => (room_id, Some(history)),
        (other, _) => return Err(unexpected(&other).into()),
    };
    output.show(&Room { room_id, history }, |room| {
        let history =
            room.history.as_ref().map(|history| format!("  ({})", safe(&history.words())));
        Some(format!("{}{}", safe(room.room_id.as_str()), history.unwrap_or_default()))
    })
}

fn line(room: RoomSummary) -> RoomLine {
    RoomLine {
        room_id: room.room_id,
        name: room.name,
        kind: room.kind,
        membership: room.membership,
        encrypted: room.encrypted,
        unread: room.unread,
        highlights: room.highlights,
        members: room.members,
        topic: room.topic,
    }
}

fn words(room: &RoomLine) -> String {
    let kind = match room.kind {
        RoomKind::Dm => "dm",
        RoomKind::Group => "group",
        RoomKind::Space => "space",
    };
    let mut notes = vec![kind.to_owned()];
    notes.extend((room.membership == Membership::Invite).then(|| "invited".to_owned()));
    notes.extend((!room.encrypted).then(|| "NOT encrypted".to_owned()));
    notes.push(format!("{} members", room.members));
    notes.extend((room.unread > 0).then(|| format!("{} unread", room.unread)));
    notes.extend((room.highlights > 0).then(|| format!("{} mentions", room.highlights)));
    format!("{}  {} ({})", safe(room.room_id.as_str()), safe(&room.name), notes.join(", "))
}

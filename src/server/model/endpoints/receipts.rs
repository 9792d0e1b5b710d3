//! Receipts, read markers and who types.
//!
//! # Spec
//! Client-Server API, "Receipts", "Fully read markers", "Typing notifications".

use std::time::Duration;

use ruma::api::client::{
    read_marker::set_read_marker, receipt::create_receipt, typing::create_typing_event,
};
use serde::Deserialize;
use serde_json::{Value, value::to_raw_value};

use crate::{
    matrix::{OwnedEventId, OwnedRoomId, RoomId, UserId},
    server::model::{
        account_data::{self, FULLY_READ, Place},
        body::Loose,
        push::thread_of,
        receipts::{self, PRIVATE},
        records::{JOINED, RELATIONS, ReceiptRecord},
        refusal::{Refusal, Stop},
        rooms::{RoomEvent, Sight, joined_members},
        route::{Context, Routes},
        step::{Span, Step},
        table::Order,
    },
};

/// A receipt that everybody in the room sees.
const READ: &str = "m.read";
/// The thread that everything belongs to that belongs to no other.
const MAIN: &str = "main";
/// How long somebody types who does not say how long.
const TYPING: Duration = Duration::from_secs(30);
/// Longest time that somebody may type without saying so again.
const MAX_TYPING: Duration = Duration::from_secs(120);

pub(super) fn add(routes: &mut Routes) {
    routes.add(receipt);
    routes.add(read_markers);
    routes.add(typing);
}

/// Loose, because the errors for a thread are told apart.
fn receipt(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Loose<create_receipt::v3::Request>,
) -> Result<create_receipt::v3::Response, Stop> {
    let user = &context.caller()?.user;
    let (room, event) = (room_id(request.argument(0))?, event_id(request.argument(2))?);
    let kind = request.argument(1);
    if ![READ, PRIVATE, FULLY_READ].contains(&kind) {
        return Err(Refusal::new(400, "M_UNKNOWN", "there is no such type of receipt").into());
    }
    let thread = match request.body.get("thread_id") {
        None => None,
        Some(Value::String(thread)) if !thread.is_empty() && kind != FULLY_READ => {
            Some(thread.as_str())
        }
        Some(_) => return Err(Refusal::invalid("thread_id names a thread, for a receipt").into()),
    };
    let marker = Marker { user, room: &room, kind, event: &event, thread };
    marker.set(step)?;
    Ok(create_receipt::v3::Response::new())
}

fn read_markers(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: set_read_marker::v3::Request,
) -> Result<set_read_marker::v3::Response, Stop> {
    let (user, room) = (&context.caller()?.user, &request.room_id);
    for (kind, event) in [
        (FULLY_READ, &request.fully_read),
        (READ, &request.read_receipt),
        (PRIVATE, &request.private_read_receipt),
    ] {
        if let Some(event) = event {
            Marker { user, room, kind, event, thread: None }.set(step)?;
        }
    }
    Ok(set_read_marker::v3::Response::new())
}

/// Up to where somebody says they have read.
struct Marker<'a> {
    user: &'a UserId,
    room: &'a RoomId,
    kind: &'a str,
    event: &'a OwnedEventId,
    thread: Option<&'a str>,
}

impl Marker<'_> {
    fn set(&self, step: &mut Step<'_>) -> Result<(), Refusal> {
        let event = RoomEvent::load(step, self.event)?.filter(|e| e.record.room == self.room);
        if self.kind == FULLY_READ {
            return self.set_fully_read(step, event.as_ref());
        }
        let Some(event) = event else {
            // As other homeservers do: a receipt for an event that is not here means nothing.
            return self
                .thread
                .filter(|thread| *thread != MAIN)
                .map_or(Ok(()), |_| Err(elsewhere()));
        };
        if !Sight::read(step, self.room, self.user)?.sees(&event) {
            return Err(Refusal::forbidden("you may not see this event"));
        }
        if let Some(thread) = self.thread
            && !is_in_thread(step, &event, thread)?
        {
            return Err(elsewhere());
        }
        if step.get(JOINED, (self.room, self.user))?.is_none() {
            return Ok(());
        }
        let receipt = ReceiptRecord {
            user: self.user.to_owned(),
            kind: self.kind.to_owned(),
            thread: self.thread.map(ToOwned::to_owned),
            event: event.id.clone(),
            reached: event.number(),
            sent: step.now,
        };
        Ok(receipts::receive(step, self.room, &receipt)?)
    }

    /// The read marker is account data; it goes forward only.
    fn set_fully_read(
        &self,
        step: &mut Step<'_>,
        event: Option<&RoomEvent>,
    ) -> Result<(), Refusal> {
        #[derive(Deserialize)]
        struct Content {
            event_id: OwnedEventId,
        }
        let unknown = || Refusal::new(404, "M_UNKNOWN", "there is no such event in this room");
        let event = event.ok_or_else(unknown)?;
        if !Sight::read(step, self.room, self.user)?.sees(event) {
            return Err(unknown());
        }
        let old = account_data::get(step, self.user, Some(self.room), FULLY_READ)?;
        let old = old.and_then(|old| serde_json::from_str::<Content>(old.get()).ok());
        let old = match old {
            Some(old) => RoomEvent::load(step, &old.event_id)?,
            None => None,
        };
        if old.is_some_and(|old| event.number() <= old.number()) {
            return Ok(());
        }
        let content = to_raw_value(&serde_json::json!({ "event_id": event.id }));
        let content = content.map_err(|error| Refusal::bad_json(error.to_string()))?;
        let place = Place { user: self.user, room: Some(self.room), kind: FULLY_READ };
        account_data::put(step, place, &content)
    }
}

fn elsewhere() -> Refusal {
    Refusal::invalid("the event is not in this thread")
}

/// Whether an event may be read as part of a thread: it is in it, or its first event.
fn is_in_thread(step: &Step<'_>, event: &RoomEvent, thread: &str) -> Result<bool, Refusal> {
    let own = thread_of(step, event)?;
    if thread == MAIN {
        return Ok(own.is_none());
    }
    if own.is_some_and(|own| own == thread) {
        return Ok(true);
    }
    let first = Span { after: 0, up_to: u64::MAX, order: Order::Ascending, limit: 1 };
    let is_first = !step.scan_numbers(RELATIONS, (&*event.id, "m.thread"), &first)?.is_empty();
    Ok(event.id == thread && is_first)
}

/// Loose, because a time may be left out.
fn typing(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Loose<create_typing_event::v3::Request>,
) -> Result<create_typing_event::v3::Response, Stop> {
    #[derive(Deserialize)]
    struct Body {
        typing: bool,
        timeout: Option<u64>,
    }
    let user = &context.caller()?.user;
    if request.argument(1) != user.as_str() {
        return Err(Refusal::forbidden("another user cannot be made to type").into());
    }
    let room = room_id(request.argument(0))?;
    let body: Body = request.read()?;
    if step.get(JOINED, (&*room, &**user))?.is_none() {
        return Err(Refusal::forbidden("you are not in this room").into());
    }
    let time = body.timeout.map_or(TYPING, Duration::from_millis).min(MAX_TYPING);
    let until = body.typing.then(|| step.now.plus(time));
    let volatile = &mut *step.volatile;
    volatile.typing.expire(step.now, &mut volatile.serials);
    volatile.typing.set(&room, user, until, &mut volatile.serials);
    joined_members(step, &room)?.into_iter().for_each(|member| step.wake(member));
    Ok(create_typing_event::v3::Response::new())
}

fn room_id(text: &str) -> Result<OwnedRoomId, Refusal> {
    OwnedRoomId::try_from(text)
        .map_err(|_error| Refusal::new(400, "M_UNKNOWN", "this is no id of a room"))
}

fn event_id(text: &str) -> Result<OwnedEventId, Refusal> {
    OwnedEventId::try_from(text)
        .map_err(|_error| Refusal::new(400, "M_UNKNOWN", "this is no id of an event"))
}

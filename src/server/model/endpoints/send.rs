//! New events in rooms: messages, state, redactions.

use ruma::{
    CanonicalJsonObject,
    api::client::{message::send_message_event, redact::redact_event, state::send_state_event},
};

use super::state::WITHOUT_KEY;
use crate::{
    matrix::{OwnedEventId, OwnedRoomId, OwnedUserId},
    server::model::{
        rate::Limited,
        refusal::{Refusal, Stop},
        rooms::{Action, Draft, MemberChange, append_event, canonical_text},
        route::{Caller, Context, Routes},
        step::Step,
        transactions::Transaction,
    },
};

pub(super) fn add(routes: &mut Routes) {
    routes.add(send);
    routes.add(put_state);
    routes.add_at(WITHOUT_KEY, put_state);
    routes.add(redact);
}

fn send(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: send_message_event::v3::Request,
) -> Result<send_message_event::v3::Response, Stop> {
    let send_message_event::v3::Request { room_id, event_type, txn_id, body, .. } = request;
    let message = Message {
        caller: context.caller()?,
        room: room_id,
        kind: event_type.to_string(),
        transaction: txn_id.to_string(),
        content: canonical_text(body.json())?,
    };
    Ok(send_message_event::v3::Response::new(message.send(step)?))
}

fn redact(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: redact_event::v3::Request,
) -> Result<redact_event::v3::Response, Stop> {
    let mut redaction = CanonicalJsonObject::new();
    redaction.insert("redacts".to_owned(), request.event_id.as_str().into());
    if let Some(reason) = request.reason {
        redaction.insert("reason".to_owned(), reason.into());
    }
    let message = Message {
        caller: context.caller()?,
        room: request.room_id,
        kind: "m.room.redaction".to_owned(),
        transaction: request.txn_id.to_string(),
        content: redaction,
    };
    Ok(redact_event::v3::Response::new(message.send(step)?))
}

/// An event that is no state, sent once.
struct Message<'a> {
    caller: &'a Caller,
    room: OwnedRoomId,
    kind: String,
    transaction: String,
    content: CanonicalJsonObject,
}

impl Message<'_> {
    fn send(self, step: &mut Step<'_>) -> Result<OwnedEventId, Refusal> {
        let Self { caller, room, kind, transaction, content } = self;
        let parts = ["send", room.as_str(), &kind, &transaction];
        let known = Transaction::new(caller, &parts);
        if let Some(event) = known.answer(step)? {
            return Ok(event);
        }
        step.limit(Limited::Send, caller.user.as_str())?;
        let draft = Draft {
            room,
            sender: caller.user.clone(),
            kind,
            state_key: None,
            content,
            sent_by: Some((caller.device.clone(), transaction)),
        };
        let event = append_event(step, draft)?;
        known.remember(step, &event)?;
        Ok(event)
    }
}

fn put_state(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: send_state_event::v3::Request,
) -> Result<send_state_event::v3::Response, Stop> {
    let send_state_event::v3::Request { room_id, event_type, state_key, body, .. } = request;
    let sender = context.caller()?.user.clone();
    step.limit(Limited::Send, sender.as_str())?;
    let kind = event_type.to_string();
    let state = canonical_text(body.json())?;
    let event = if kind == "m.room.member" {
        put_member(step, (room_id, sender), &state_key, state)?
    } else {
        let state_key = Some(state_key);
        append_event(
            step,
            Draft { room: room_id, sender, kind, state_key, content: state, sent_by: None },
        )?
    };
    Ok(send_state_event::v3::Response::new(event))
}

/// A member event is what the calls for memberships make, whoever makes it.
fn put_member(
    step: &mut Step<'_>,
    (room, sender): (OwnedRoomId, OwnedUserId),
    state_key: &str,
    content: CanonicalJsonObject,
) -> Result<OwnedEventId, Refusal> {
    let target = OwnedUserId::try_from(state_key)
        .map_err(|error| Refusal::invalid(format!("the state key is no user: {error}")))?;
    let membership = content.get("membership").and_then(|value| value.as_str());
    let action = membership
        .and_then(Action::from_membership)
        .ok_or_else(|| Refusal::new(400, "M_UNKNOWN", "there is no such membership"))?;
    MemberChange { room, sender, target, action, content }.apply(step)
}

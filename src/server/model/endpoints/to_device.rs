//! Messages from device to device.

use ruma::api::client::to_device::send_event_to_device;
use serde_json::{Map, Value, json, value::to_raw_value};

use crate::{
    matrix::{OwnedDeviceId, OwnedUserId, UserId},
    server::model::{
        accounts::devices,
        body::{LooseResponse, Plain},
        rate::Limited,
        records::{DEVICES, ToDeviceRecord},
        refusal::{Refusal, Stop},
        route::{Context, Routes},
        step::Step,
        to_device,
        transactions::Transaction,
    },
};

/// Largest content of a message, in bytes.
const MAX_CONTENT: usize = 64 << 10;

pub(super) fn add(routes: &mut Routes) {
    routes.add(send);
}

/// Loose, because contents are passed on as they came.
fn send(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Plain<send_event_to_device::v3::Request>,
) -> Result<LooseResponse, Stop> {
    let caller = context.caller()?;
    let (kind, id) = (request.argument(0), request.argument(1));
    let transaction = Transaction::new(caller, &["sendToDevice", kind, id]);
    if let Some(answer) = transaction.answer(step)? {
        return Ok(LooseResponse(answer));
    }
    step.limit(Limited::Send, caller.user.as_str())?;
    let messages = request
        .body
        .get("messages")
        .ok_or_else(|| Refusal::missing("there are no messages"))?
        .as_object()
        .ok_or_else(malformed)?;
    for (user, by_device) in messages {
        let by_device = by_device.as_object().ok_or_else(malformed)?;
        // Who is no user, or another server's, has no devices here.
        if let Ok(user) = OwnedUserId::try_from(user.as_str()) {
            send_to(step, (&caller.user, kind), &user, by_device)?;
        }
    }
    let answer = json!({});
    transaction.remember(step, &answer)?;
    Ok(LooseResponse(answer))
}

fn malformed() -> Refusal {
    Refusal::bad_json("the messages are user, device, content")
}

fn send_to(
    step: &mut Step<'_>,
    (sender, kind): (&UserId, &str),
    user: &UserId,
    by_device: &Map<String, Value>,
) -> Result<(), Refusal> {
    for (device, content) in by_device {
        if !content.is_object() {
            return Err(malformed());
        }
        let content =
            to_raw_value(content).map_err(|error| Refusal::bad_json(error.to_string()))?;
        if MAX_CONTENT < content.get().len() {
            return Err(Refusal::new(413, "M_TOO_LARGE", "the message is too large"));
        }
        let devices: Vec<OwnedDeviceId> = if device == "*" {
            devices::of(step, user)?.into_iter().map(|(id, _)| id).collect()
        } else {
            let id = OwnedDeviceId::from(device.as_str());
            let is_there = step.get(DEVICES, (user, &*id))?.is_some();
            is_there.then_some(id).into_iter().collect()
        };
        let message = ToDeviceRecord { sender: sender.to_owned(), kind: kind.to_owned(), content };
        for device in devices {
            to_device::send(step, (user, &device), &message)?;
        }
    }
    Ok(())
}

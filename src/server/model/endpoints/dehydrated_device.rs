//! A device that waits for messages while none of its owner's is logged in: it is made by one of
//! them, and taken over by the next.
//!
//! The types of other endpoints of ruma's stand here for method and access only.
//!
//! # Spec
//! MSC3814, "Dehydrated devices with SSSS", as other servers have it.

use ruma::api::client::device::{
    delete_device, delete_devices, get_device, get_devices, update_device,
};
use serde_json::{Map, Value, json};

use crate::{
    matrix::OwnedDeviceId,
    server::model::{
        accounts::devices,
        body::{Given, LooseResponse, Plain},
        keys::{device_keys, one_time},
        records::{DEHYDRATED, DEVICES, DehydratedRecord, DeviceRecord},
        refusal::{Refusal, Stop},
        route::{Caller, Context, Routes},
        step::Step,
        table::Broken,
        to_device,
    },
};

const PATH: &str = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device";
const EVENTS: &str =
    "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device/{device_id}/events";
/// Largest device, in bytes: its account with all private keys, encrypted.
const MAX_DATA: usize = 128 << 10;
/// Messages in one answer.
const MAX_EVENTS: usize = 100;

pub(super) fn add(routes: &mut Routes) {
    routes.add_at(&[PATH], get);
    routes.add_at(&[PATH], put);
    routes.add_at(&[PATH], delete);
    routes.add_at(&[EVENTS], events);
    routes.add_at(&[EVENTS], events_by_post);
}

fn there_is_none() -> Refusal {
    Refusal::not_found("no dehydrated device waits")
}

fn get(
    step: &mut Step<'_>,
    context: &Context<'_>,
    _request: Plain<get_devices::v3::Request>,
) -> Result<LooseResponse, Stop> {
    let record = step.get(DEHYDRATED, (&*context.caller()?.user,))?.ok_or_else(there_is_none)?;
    Ok(LooseResponse(json!({ "device_id": record.device, "device_data": record.data })))
}

/// Takes the place of the one that may be there.
fn put(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Plain<update_device::v3::Request>,
) -> Result<LooseResponse, Stop> {
    let user = &context.caller()?.user;
    let new = New::read(&request)?;
    if let Some(old) = step.get(DEHYDRATED, (&**user,))? {
        devices::delete(step, user, &old.device)?;
    }
    if step.get(DEVICES, (&**user, &*new.record.device))?.is_some() {
        return Err(Refusal::invalid("a device of this name is logged in").into());
    }
    devices::make_room(step, user)?;
    let device = new.record.device.clone();
    let described = DeviceRecord { display_name: new.name, last_seen: step.now };
    step.put(DEVICES, (&**user, &*device), &described)?;
    step.put(DEHYDRATED, (&**user,), &new.record)?;
    let owner = Caller { user: user.clone(), device, token_hash: String::new() };
    device_keys::upload(step, &owner, &new.keys)?;
    one_time::upload(step, &owner, &new.one_time_keys)?;
    one_time::upload_fallback(step, &owner, &new.fallback_keys)?;
    Ok(LooseResponse(json!({ "device_id": owner.device })))
}

/// What is uploaded.
struct New {
    record: DehydratedRecord,
    name: Option<String>,
    keys: Value,
    one_time_keys: Map<String, Value>,
    fallback_keys: Map<String, Value>,
}

impl New {
    fn read(request: &Given) -> Result<Self, Refusal> {
        let body = &request.body;
        let bad = |text: &str| Refusal::bad_json(text);
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        let device = text("device_id").ok_or_else(|| bad("there is no device_id"))?;
        if device.is_empty() || devices::MAX_DEVICE_ID < device.len() {
            return Err(Refusal::invalid("the device id is empty or too long"));
        }
        let name = text("initial_device_display_name");
        devices::check_name(name.as_deref())?;
        let data = body.get("device_data").ok_or_else(|| bad("there is no device_data"))?;
        if !data["algorithm"].is_string() {
            return Err(bad("the device_data has no algorithm"));
        }
        if MAX_DATA < data.to_string().len() {
            return Err(Refusal::new(413, "M_TOO_LARGE", "the device is too large"));
        }
        let keys = body.get("device_keys").ok_or_else(|| {
            Refusal::new(400, "M_UNKNOWN", "a dehydrated device needs its device_keys")
        })?;
        let map = |name: &str| match body.get(name) {
            None | Some(Value::Null) => Ok(Map::new()),
            Some(Value::Object(map)) => Ok(map.clone()),
            Some(_) => Err(bad("the keys are no object")),
        };
        Ok(Self {
            record: DehydratedRecord { device: OwnedDeviceId::from(device), data: data.clone() },
            name,
            keys: keys.clone(),
            one_time_keys: map("one_time_keys")?,
            fallback_keys: map("fallback_keys")?,
        })
    }
}

fn delete(
    step: &mut Step<'_>,
    context: &Context<'_>,
    _request: Plain<delete_device::v3::Request>,
) -> Result<LooseResponse, Stop> {
    let user = &context.caller()?.user;
    let record = step.get(DEHYDRATED, (&**user,))?.ok_or_else(there_is_none)?;
    devices::delete(step, user, &record.device)?;
    Ok(LooseResponse(json!({ "device_id": record.device })))
}

/// The messages that wait for the device. They stay until it goes: who fetches them may break off.
fn events(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Plain<get_device::v3::Request>,
) -> Result<LooseResponse, Stop> {
    let page = Page::read(step, context, &request, request.query("from"))?;
    let Page { events, next, is_full } = page;
    Ok(LooseResponse(if is_full {
        json!({ "events": events, "next_batch": next })
    } else {
        json!({ "events": events })
    }))
}

/// The same as the proposal had it before.
fn events_by_post(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Plain<delete_devices::v3::Request>,
) -> Result<LooseResponse, Stop> {
    let from = match request.body.get("next_batch") {
        None | Some(Value::Null) => None,
        Some(Value::String(from)) => Some(from.clone()),
        Some(_) => return Err(Refusal::bad_json("next_batch is no text").into()),
    };
    let page = Page::read(step, context, &request, from)?;
    Ok(LooseResponse(json!({ "events": page.events, "next_batch": page.next })))
}

struct Page {
    events: Vec<Value>,
    next: String,
    is_full: bool,
}

impl Page {
    fn read(
        step: &Step<'_>,
        context: &Context<'_>,
        request: &Given,
        from: Option<String>,
    ) -> Result<Self, Refusal> {
        let user = &context.caller()?.user;
        let record = step.get(DEHYDRATED, (&**user,))?;
        let record = record.filter(|record| record.device == request.argument(0));
        let record = record.ok_or_else(|| {
            Refusal::forbidden("messages are fetched here for one's own dehydrated device only")
        })?;
        let after = from.map_or(Ok(0), |from| {
            let number = from.strip_prefix('d').and_then(|number| number.parse().ok());
            number.ok_or_else(|| Refusal::invalid("this is no place to go on from"))
        })?;
        let limit = request.query("limit").map(|limit| limit.parse::<usize>()).transpose();
        let limit = limit.map_err(|_none| Refusal::invalid("the limit is no number"))?;
        let limit = limit.unwrap_or(MAX_EVENTS).clamp(1, MAX_EVENTS);
        let place = (&**user, &*record.device);
        let waiting = to_device::waiting(step, place, (after, u64::MAX), limit)?;
        let next = match waiting.last() {
            Some((number, _)) => *number,
            None => step.position()?,
        };
        let is_full = waiting.len() == limit;
        let events: Result<Vec<Value>, Broken> = waiting
            .iter()
            .map(|(_, event)| serde_json::to_value(event).map_err(|e| Broken(e.to_string())))
            .collect();
        Ok(Self { events: events?, next: format!("d{next}"), is_full })
    }
}

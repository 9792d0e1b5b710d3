//! The caller's devices.

use ruma::{
    MilliSecondsSinceUnixEpoch,
    api::client::device::{
        Device, delete_device, delete_devices, get_device, get_devices, update_device,
    },
};
use serde_json::Value;

use crate::{
    matrix::OwnedDeviceId,
    server::model::{
        accounts::devices,
        body::Loose,
        records::{DEVICES, DeviceRecord},
        refusal::{Refusal, Stop},
        route::{Context, Routes},
        step::Step,
        uia::{self, Operation},
    },
};

pub(super) fn add(routes: &mut Routes) {
    routes.add(list);
    routes.add(get);
    routes.add(rename);
    routes.add(delete);
    routes.add(delete_several);
}

fn device(id: OwnedDeviceId, record: DeviceRecord) -> Device {
    let mut device = Device::new(id);
    device.display_name = record.display_name;
    device.last_seen_ts = record.last_seen.0.try_into().ok().map(MilliSecondsSinceUnixEpoch);
    device
}

fn list(
    step: &mut Step<'_>,
    context: &Context<'_>,
    _request: get_devices::v3::Request,
) -> Result<get_devices::v3::Response, Stop> {
    let devices = devices::of(step, &context.caller()?.user)?;
    let devices = devices.into_iter().map(|(id, record)| device(id, record)).collect();
    Ok(get_devices::v3::Response::new(devices))
}

fn unknown() -> Refusal {
    Refusal::not_found("there is no such device")
}

fn get(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: get_device::v3::Request,
) -> Result<get_device::v3::Response, Stop> {
    let user = &context.caller()?.user;
    let record = step.get(DEVICES, (&**user, &*request.device_id))?.ok_or_else(unknown)?;
    Ok(get_device::v3::Response::new(device(request.device_id, record)))
}

fn rename(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: update_device::v3::Request,
) -> Result<update_device::v3::Response, Stop> {
    let user = &context.caller()?.user;
    devices::check_name(request.display_name.as_deref())?;
    let key = (&**user, &*request.device_id);
    let mut record = step.get(DEVICES, key)?.ok_or_else(unknown)?;
    if request.display_name.is_some() && request.display_name != record.display_name {
        record.display_name = request.display_name;
        step.put(DEVICES, key, &record)?;
        devices::changed(step, user)?;
    }
    Ok(update_device::v3::Response::new())
}

/// Loosely read for its `auth`, see [`uia`].
fn delete(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Loose<delete_device::v3::Request>,
) -> Result<delete_device::v3::Response, Stop> {
    let id = request.argument(0);
    delete_all(step, context, (request.body.get("auth"), &[id]))?;
    Ok(delete_device::v3::Response::new())
}

/// Loosely read for its `auth`, see [`uia`].
fn delete_several(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Loose<delete_devices::v3::Request>,
) -> Result<delete_devices::v3::Response, Stop> {
    let ids = request.body.get("devices");
    let ids = ids.ok_or_else(|| Refusal::missing("there are no devices"))?.as_array();
    let ids: Option<Vec<&str>> = ids.and_then(|ids| ids.iter().map(Value::as_str).collect());
    let ids = ids.ok_or_else(|| Refusal::bad_json("the devices are no list of texts"))?;
    delete_all(step, context, (request.body.get("auth"), &ids))?;
    Ok(delete_devices::v3::Response::new())
}

/// A device that is not there is not missed.
fn delete_all(
    step: &mut Step<'_>,
    context: &Context<'_>,
    (auth, ids): (Option<&Value>, &[&str]),
) -> Result<(), Stop> {
    let name = format!("delete devices {ids:?}");
    let proven = uia::password(step, context, Operation { name: &name, auth })?;
    let user = &context.caller()?.user;
    for id in ids {
        let id: OwnedDeviceId = (*id).into();
        if step.get(DEVICES, (&**user, &*id))?.is_some() {
            devices::delete(step, user, &id)?;
        }
    }
    proven.finish(step);
    Ok(())
}

//! The caller's own account.

use ruma::api::client::{
    account::{ThirdPartyIdRemovalStatus, change_password, deactivate, whoami},
    discovery::get_capabilities,
};
use serde_json::{Map, Value, json};

use crate::{
    secret::Secret,
    server::model::{
        accounts::{devices, users},
        body::{Loose, LooseResponse, Plain},
        records::USERS,
        refusal::{Done, Refusal, Stop, Work},
        rooms::{DEFAULT_VERSION, VERSIONS},
        route::{Context, Routes},
        step::Step,
        uia::{self, Operation},
    },
};

pub(super) fn add(routes: &mut Routes) {
    routes.add(who_am_i);
    routes.add(capabilities);
    routes.add(set_password);
    routes.add(close);
}

fn who_am_i(
    _step: &mut Step<'_>,
    context: &Context<'_>,
    _request: whoami::v3::Request,
) -> Result<whoami::v3::Response, Stop> {
    let caller = context.caller()?;
    let mut response = whoami::v3::Response::new(caller.user.clone(), false);
    response.device_id = Some(caller.device.clone());
    Ok(response)
}

/// Loose, because ruma leaves out what is as it is by default, and clients look for it.
#[expect(clippy::unnecessary_wraps, reason = "handlers have one shape")]
fn capabilities(
    _step: &mut Step<'_>,
    _context: &Context<'_>,
    _request: Plain<get_capabilities::v3::Request>,
) -> Result<LooseResponse, Stop> {
    let versions = VERSIONS.iter().map(|version| (version.to_string(), Value::from("stable")));
    Ok(LooseResponse(json!({ "capabilities": {
        "m.room_versions": {
            "default": DEFAULT_VERSION.as_str(),
            "available": versions.collect::<Map<_, _>>(),
        },
        "m.change_password": { "enabled": true },
        "m.set_displayname": { "enabled": true },
        "m.set_avatar_url": { "enabled": true },
        "m.profile_fields": { "enabled": true },
        "m.3pid_changes": { "enabled": false },
        "m.get_login_token": { "enabled": true },
    }})))
}

/// Loosely read for its `auth`, see [`uia`].
fn set_password(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Loose<change_password::v3::Request>,
) -> Result<change_password::v3::Response, Stop> {
    let caller = context.caller()?;
    let body = &request.body;
    let password = match body.get("new_password") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.chars().count() <= users::MAX_PASSWORD => Some(text),
        Some(_) => return Err(Refusal::bad_json("this is no password").into()),
    };
    let is_alone = match body.get("logout_devices") {
        None => true,
        Some(Value::Bool(is_alone)) => *is_alone,
        Some(_) => return Err(Refusal::bad_json("logout_devices is no boolean").into()),
    };
    let operation = Operation { name: "POST account/password", auth: body.get("auth") };
    let proven = uia::password(step, context, operation)?;
    let password = password.ok_or_else(|| Refusal::missing("there is no new password"))?;
    let Some(Done::Hash(hash)) = context.done else {
        return Err(Stop::Work(Work::Hash { password: Secret::new(password.clone()) }));
    };
    let user = &caller.user;
    if let Some(mut record) = step.get(USERS, (&**user,))? {
        record.password_hash = Some(hash.clone());
        step.put(USERS, (&**user,), &record)?;
    }
    if is_alone {
        for (device, _) in devices::of(step, user)? {
            if device != caller.device {
                devices::delete(step, user, &device)?;
            }
        }
    }
    proven.finish(step);
    Ok(change_password::v3::Response::new())
}

/// Loosely read for its `auth`, see [`uia`].
fn close(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Loose<deactivate::v3::Request>,
) -> Result<deactivate::v3::Response, Stop> {
    let user = &context.caller()?.user;
    let auth = request.body.get("auth");
    let proven = uia::password(step, context, Operation { name: "POST account/deactivate", auth })?;
    users::deactivate(step, user)?;
    proven.finish(step);
    Ok(deactivate::v3::Response::new(ThirdPartyIdRemovalStatus::Success))
}

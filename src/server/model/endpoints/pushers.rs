//! Pushers, read loosely because `kind: null` removes one.

use ruma::api::client::push::{get_notifications, get_pushers, set_pusher};
use serde_json::{Value, json};

use crate::server::model::{
    body::{LooseResponse, Plain},
    pushers::{self, PusherId},
    refusal::{Refusal, Stop},
    route::{Context, Routes},
    step::Step,
};

/// What a pusher must have, and be a text.
const TEXTS: [&str; 6] =
    ["kind", "app_id", "app_display_name", "device_display_name", "pushkey", "lang"];

pub(super) fn add(routes: &mut Routes) {
    routes.add(list);
    routes.add(set);
    routes.add(notifications);
}

fn list(
    step: &mut Step<'_>,
    context: &Context<'_>,
    _request: Plain<get_pushers::v3::Request>,
) -> Result<LooseResponse, Stop> {
    let pushers = pushers::of(step, &context.caller()?.user)?;
    Ok(LooseResponse(json!({ "pushers": pushers })))
}

fn set(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Plain<set_pusher::v3::Request>,
) -> Result<LooseResponse, Stop> {
    let caller = context.caller()?;
    let mut body = request.body.clone();
    let text = |name: &str| {
        let value = body.get(name).ok_or_else(|| Refusal::missing(format!("no {name}")))?;
        value
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| Refusal::bad_json(format!("{name} is no text")))
    };
    let (app, key) = (text("app_id")?, text("pushkey")?);
    let id = PusherId { app: &app, key: &key };
    if body.get("kind") == Some(&Value::Null) {
        pushers::remove(step, caller.user.as_str(), id);
        return Ok(LooseResponse(json!({})));
    }
    for name in TEXTS {
        text(name)?;
    }
    if !body.get("data").is_some_and(Value::is_object) {
        return Err(Refusal::missing("there is no data").into());
    }
    if body.remove("append") != Some(Value::Bool(true)) {
        pushers::remove_from_others(step, &caller.user, id)?;
    }
    pushers::put(step, caller, id, Value::Object(body))?;
    Ok(LooseResponse(json!({})))
}

/// Nothing is pushed, so nothing was: clients see what is unread in their syncs.
#[expect(clippy::unnecessary_wraps, reason = "handlers have one shape")]
fn notifications(
    _step: &mut Step<'_>,
    _context: &Context<'_>,
    _request: get_notifications::v3::Request,
) -> Result<get_notifications::v3::Response, Stop> {
    Ok(get_notifications::v3::Response::new(Vec::new()))
}

//! Filters.

use ruma::api::client::filter::{FilterDefinition, create_filter, get_filter};
use serde_json::{Value, json, value::to_raw_value};

use crate::{
    matrix::OwnedUserId,
    server::model::{
        body::{self, LooseResponse, Plain},
        filters,
        refusal::{Refusal, Stop},
        route::{Context, Routes},
        step::Step,
    },
};

pub(super) fn add(routes: &mut Routes) {
    routes.add(create);
    routes.add(get);
}

/// Loose, so that a filter comes back as it went in.
fn create(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Plain<create_filter::v3::Request>,
) -> Result<LooseResponse, Stop> {
    let user = own(context, request.argument(0))?;
    let filter = Value::Object(request.body.clone());
    body::read::<FilterDefinition>(filter.clone())?;
    let format = request.body.get("event_format").and_then(Value::as_str);
    if format.is_some_and(|format| !["client", "federation"].contains(&format)) {
        return Err(Refusal::bad_json("there is no such event_format").into());
    }
    let filter = to_raw_value(&filter).map_err(|error| Refusal::bad_json(error.to_string()))?;
    let id = filters::add(step, user, &filter)?;
    Ok(LooseResponse(json!({ "filter_id": id.to_string() })))
}

/// Loose, so that a filter comes back as it went in.
fn get(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Plain<get_filter::v3::Request>,
) -> Result<LooseResponse, Stop> {
    let user = own(context, request.argument(0))?;
    let id = request.argument(1);
    if id.parse::<u64>().is_err() {
        return Err(Refusal::new(400, "M_UNKNOWN", "this is no id of a filter").into());
    }
    let filter = filters::get(step, user, id)?
        .ok_or_else(|| Refusal::not_found("there is no such filter"))?;
    let filter = serde_json::from_str(filter.get());
    Ok(LooseResponse(filter.map_err(|error| Refusal::bad_json(error.to_string()))?))
}

/// The caller, if this is their id.
fn own<'a>(context: &Context<'a>, user: &str) -> Result<&'a OwnedUserId, Refusal> {
    let caller = context.caller()?;
    if caller.user == user {
        return Ok(&caller.user);
    }
    Err(Refusal::forbidden("these are another user's filters"))
}

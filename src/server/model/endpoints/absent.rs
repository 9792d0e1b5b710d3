//! What this server does not have, said in the way of the specification: mail addresses, telephone
//! numbers, bridges, calls through a relay, tokens for integration managers.

use std::collections::BTreeMap;

use ruma::api::client::{
    account::{get_3pids, request_openid_token},
    thirdparty::get_protocols,
    voip::get_turn_server_info,
};
use serde_json::json;

use crate::server::model::{
    body::{LooseResponse, Plain},
    refusal::{Refusal, Stop},
    route::{Context, Routes},
    step::Step,
};

pub(super) fn add(routes: &mut Routes) {
    routes.add(addresses);
    routes.add(protocols);
    routes.add(relays);
    routes.add(openid);
}

/// Loose, because ruma leaves an empty list out.
#[expect(clippy::unnecessary_wraps, reason = "handlers have one shape")]
fn addresses(
    _step: &mut Step<'_>,
    _context: &Context<'_>,
    _request: Plain<get_3pids::v3::Request>,
) -> Result<LooseResponse, Stop> {
    Ok(LooseResponse(json!({ "threepids": [] })))
}

#[expect(clippy::unnecessary_wraps, reason = "handlers have one shape")]
fn protocols(
    _step: &mut Step<'_>,
    _context: &Context<'_>,
    _request: get_protocols::v3::Request,
) -> Result<get_protocols::v3::Response, Stop> {
    Ok(get_protocols::v3::Response::new(BTreeMap::new()))
}

/// Loose, because without a relay there is nothing to say.
#[expect(clippy::unnecessary_wraps, reason = "handlers have one shape")]
fn relays(
    _step: &mut Step<'_>,
    _context: &Context<'_>,
    _request: Plain<get_turn_server_info::v3::Request>,
) -> Result<LooseResponse, Stop> {
    Ok(LooseResponse(json!({})))
}

fn openid(
    _step: &mut Step<'_>,
    _context: &Context<'_>,
    _request: request_openid_token::v3::Request,
) -> Result<request_openid_token::v3::Response, Stop> {
    Err(Refusal::forbidden("this server vouches for nobody elsewhere").into())
}

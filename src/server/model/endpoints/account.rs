//! The caller's own account.

use ruma::api::client::account::whoami;

use crate::server::model::{
    refusal::Stop,
    route::{Context, Routes},
    step::Step,
};

pub(super) fn add(routes: &mut Routes) {
    routes.add(who_am_i);
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

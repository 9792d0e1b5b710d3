//! What there is to know about files; the files themselves are `model::media`.

use ruma::{
    OwnedMxcUri,
    api::client::{
        authenticated_media::get_media_config,
        media::{create_mxc_uri, get_media_config as get_old_media_config},
    },
};

use crate::server::model::{
    media::reserve,
    refusal::{Refusal, Stop},
    route::{Context, Routes},
    step::Step,
};

pub(super) fn add(routes: &mut Routes) {
    routes.add(config);
    routes.add(old_config);
    routes.add(create);
}

fn config(
    step: &mut Step<'_>,
    _context: &Context<'_>,
    _request: get_media_config::v1::Request,
) -> Result<get_media_config::v1::Response, Stop> {
    Ok(get_media_config::v1::Response::new(limit(step)?))
}

#[expect(deprecated, reason = "older clients ask here")]
fn old_config(
    step: &mut Step<'_>,
    _context: &Context<'_>,
    _request: get_old_media_config::v3::Request,
) -> Result<get_old_media_config::v3::Response, Stop> {
    Ok(get_old_media_config::v3::Response::new(limit(step)?))
}

fn create(
    step: &mut Step<'_>,
    context: &Context<'_>,
    _request: create_mxc_uri::v1::Request,
) -> Result<create_mxc_uri::v1::Response, Stop> {
    let id = reserve(step, &context.caller()?.user)?;
    let uri = OwnedMxcUri::from(format!("mxc://{}/{id}", step.settings.name));
    Ok(create_mxc_uri::v1::Response::new(uri))
}

fn limit(step: &Step<'_>) -> Result<ruma::UInt, Refusal> {
    step.settings
        .max_media_bytes
        .try_into()
        .map_err(|_large| Refusal::new(500, "M_UNKNOWN", "the limit is larger than JSON can say"))
}

//! What the server speaks.

use ruma::api::client::discovery::get_supported_versions;

use crate::{
    server::model::{
        refusal::Stop,
        route::{Context, Routes},
        step::Step,
    },
    wire::Subprotocol,
};

pub(super) fn add(routes: &mut Routes) {
    routes.add(versions);
}

#[expect(clippy::unnecessary_wraps, reason = "handlers have one shape")]
fn versions(
    step: &mut Step<'_>,
    _context: &Context<'_>,
    _request: get_supported_versions::Request,
) -> Result<get_supported_versions::Response, Stop> {
    let versions = ["v1.11", "v1.12", "v1.13", "v1.14", "v1.15", "v1.16"];
    let mut response = get_supported_versions::Response::new(versions.map(str::to_owned).to_vec());
    response.unstable_features.insert("org.matrix.simplified_msc3575".to_owned(), true);
    response.unstable_features.insert("org.matrix.msc3814".to_owned(), true);
    if step.settings.offers_stream {
        response.unstable_features.insert(Subprotocol::V1.name().to_owned(), true);
    }
    Ok(response)
}

//! Cross-signing keys and signatures.

use ruma::api::client::keys::{upload_signatures, upload_signing_keys};
use serde_json::json;

use crate::server::model::{
    body::{Loose, LooseResponse, Plain},
    keys::{
        cross_signing::{self, Upload},
        signatures,
    },
    refusal::Stop,
    route::{Context, Routes},
    step::Step,
    uia::{self, Operation},
};

pub(super) fn add(routes: &mut Routes) {
    routes.add(upload_keys);
    routes.add(upload_signatures);
}

/// Loose, because keys are kept as they came, and for its `auth`, see [`uia`]. The first keys
/// need no proof, and neither does sending the same ones again.
fn upload_keys(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Loose<upload_signing_keys::v3::Request>,
) -> Result<upload_signing_keys::v3::Response, Stop> {
    let user = &context.caller()?.user;
    let proven = match cross_signing::compare(step, user, &request.body)? {
        Upload::Same => return Ok(upload_signing_keys::v3::Response::new()),
        Upload::First => None,
        Upload::Replacing => {
            let auth = request.body.get("auth");
            let operation = Operation { name: "POST keys/device_signing/upload", auth };
            Some(uia::password(step, context, operation)?)
        }
    };
    cross_signing::upload(step, user, &request.body)?;
    if let Some(proven) = proven {
        proven.finish(step);
    }
    Ok(upload_signing_keys::v3::Response::new())
}

/// Loose, because what was signed must not be written anew.
fn upload_signatures(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Plain<upload_signatures::v3::Request>,
) -> Result<LooseResponse, Stop> {
    let user = &context.caller()?.user;
    let failures = signatures::upload(step, user, &request.body)?;
    Ok(LooseResponse(json!({ "failures": failures.into_value() })))
}

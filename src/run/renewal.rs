//! How access tokens are renewed: by the homeserver over the stream, or by its authorization server
//! over HTTP.

use serde::Serialize;
use serde_json::Value;

use super::{
    caller::{CallError, Caller, wiped},
    failure::Failure,
    login_call::tokens,
};
use crate::{
    cli::Exit,
    engine::{
        RenewError, Renewal, Tokens,
        driver::{Renewer, Renewing},
    },
    gateway::{GatewayOptions, OAuth, OAuthError},
    link::Route,
    matrix::MatrixError,
    secret::Secret,
    store::Standing,
};

/// What the engine of an account renews its tokens with; `options` are those of its homeserver.
pub(super) fn renewer(route: Route, options: GatewayOptions) -> Renewer {
    Renewer::new(move |renewal| {
        let (route, options) = (route.clone(), options.clone());
        let renewing: Renewing = Box::pin(async move { renew(&route, &options, renewal).await });
        renewing
    })
}

async fn renew(
    route: &Route,
    options: &GatewayOptions,
    renewal: Renewal,
) -> Result<Tokens, RenewError> {
    let Some(client) = &renewal.oauth else {
        return refresh(route, &renewal.refresh_token).await;
    };
    let oauth = OAuth::new(options).map_err(no_tokens)?;
    let place = (client.token_endpoint.as_str(), options.homeserver.as_str());
    let tokens =
        oauth.refresh(place, &client.client_id, &renewal.refresh_token).await.map_err(no_tokens)?;
    Ok(Tokens {
        access_token: tokens.access_token,
        refresh_token: tokens.refresh_token,
        expires_in: tokens.expires_in,
    })
}

/// Only the server's own no ends the login.
fn no_tokens(error: OAuthError) -> RenewError {
    let is_no = matches!(error, OAuthError::Refused { .. });
    let words = Failure::new(Exit::Failed, error).words();
    if is_no { RenewError::Refused(Standing::Ended, words) } else { RenewError::Later(words) }
}

/// Asks the homeserver for new tokens.
///
/// # Errors
/// When the server cannot be reached, or does not renew them.
///
/// # Spec
/// Client-Server API, "Refreshing access tokens".
async fn refresh(route: &Route, refresh_token: &Secret<String>) -> Result<Tokens, RenewError> {
    #[derive(Serialize)]
    struct Body<'a> {
        refresh_token: &'a str,
    }
    let later = |error: CallError| RenewError::Later(Failure::new(Exit::Failed, error).words());
    let body = Body { refresh_token: refresh_token.expose() };
    let body = wiped(&body, refresh_token.expose().len()).map_err(|error| later(error.into()))?;
    // Without a token: the present one may have expired, and is not asked for.
    let mut caller = Caller::connect(route, None).await.map_err(later)?;
    let answer = caller.ask("POST", "/_matrix/client/v3/refresh", Some(&body)).await;
    caller.close().await;
    let answer = answer.map_err(later)?;
    let body = answer.body.get();
    if !(200..300).contains(&answer.status) {
        return Err(not_renewed(answer.status, body));
    }
    let answer: Value = serde_json::from_str(body).map_err(|error| later(error.into()))?;
    tokens(&answer).map_err(later)
}

/// Only what speaks of the refresh token ends a login: a gateway or proxy on the way may refuse for
/// reasons of its own.
fn not_renewed(status: u16, body: &str) -> RenewError {
    let error = MatrixError::parse(status, body.as_bytes());
    let words = error.to_string();
    if !["M_UNKNOWN_TOKEN", "M_FORBIDDEN", "M_USER_DEACTIVATED"].contains(&error.errcode.as_str()) {
        return RenewError::Later(words);
    }
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    match body.get("soft_logout").and_then(Value::as_bool) {
        Some(true) => RenewError::Refused(Standing::Expired, words),
        Some(false) | None => RenewError::Refused(Standing::Ended, words),
    }
}

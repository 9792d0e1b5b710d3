//! How access tokens are renewed: by the homeserver over the stream, or by its authorization server
//! over HTTP.

use super::{failure::Failure, login_call};
use crate::{
    cli::Exit,
    engine::{
        RenewError, Renewal, Tokens,
        driver::{Renewer, Renewing},
    },
    gateway::{GatewayOptions, OAuth, OAuthError},
    link::Route,
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
        return login_call::refresh(route, &renewal.refresh_token).await;
    };
    let oauth = OAuth::new(options).map_err(not_renewed)?;
    let place = (client.token_endpoint.as_str(), options.homeserver.as_str());
    let tokens = oauth
        .refresh(place, &client.client_id, &renewal.refresh_token)
        .await
        .map_err(not_renewed)?;
    Ok(Tokens {
        access_token: tokens.access_token,
        refresh_token: tokens.refresh_token,
        expires_in: tokens.expires_in,
    })
}

/// Only the server's own no ends the login.
fn not_renewed(error: OAuthError) -> RenewError {
    let is_no = matches!(error, OAuthError::Refused { .. });
    let words = Failure::new(Exit::Failed, error).words();
    if is_no { RenewError::Refused(Standing::Ended, words) } else { RenewError::Later(words) }
}

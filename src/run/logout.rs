//! `logout`: ends this device on the server, then destroys the local keys.

use tokio::{runtime::Builder, time::timeout};

use super::{
    account::{self, Chosen, cannot_open},
    commands::verdict,
    context::Context,
    doors::gateway_options,
    failure::Failure,
    holder::Holder,
    login_device::failed,
    process::EndSignals,
    secrets,
};
use crate::{
    cli::{Exit, LogoutArgs},
    gateway::OAuth,
    headless::{Errand, HeadlessError, logout},
    store::{OAuthClient, Store},
};

/// Logs out.
///
/// # Errors
/// When another process has the account open, or the server cannot be reached; then nothing is
/// destroyed.
pub(super) fn run(context: &Context, arguments: &LogoutArgs) -> Result<(), Failure> {
    let chosen = account::choose(context)?;
    if arguments.local {
        return destroy(&chosen, arguments);
    }
    let store = account::open(context, &chosen)?.map_err(cannot_open)?;
    if !arguments.yes && !is_wanted(&chosen.user_id)? {
        return Err(Failure::say(Exit::Failed, "not logged out"));
    }
    if let Some(client) = store.lease().oauth.clone().filter(|it| it.revocation_endpoint.is_some())
    {
        revoke(context, &chosen, &store, &client)?;
        drop(store);
        return Store::destroy(&chosen.dir).map_err(cannot_open);
    }
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut signals = EndSignals::install()?;
        let (holder, handle) = Holder::start(context, &chosen, store)?;
        let mut errand = Errand::new(handle, context.global.timeout);
        let result = tokio::select! {
            result = logout(&mut errand) => result,
            () = signals.wait() => Err(HeadlessError::Ended("interrupted; not logged out".to_owned())),
        };
        // Once the login is over the engine has nothing left to fail at.
        let ended = holder.finish(errand.into_handle()).await;
        match result {
            // The server had ended it before: what is left here is of no use.
            Ok(()) | Err(HeadlessError::LoggedOut(_)) => {
                Store::destroy(&chosen.dir).map_err(cannot_open)
            }
            // What ended the engine says more than that it is gone.
            Err(error @ HeadlessError::Gone) => ended.and(verdict(Err(error))),
            Err(error) => verdict(Err(error)),
        }
    })
}

/// Ends a login of OAuth at its authorization server, which ends the device with it.
///
/// # Spec
/// Client-Server API, "Token revocation".
fn revoke(
    context: &Context,
    chosen: &Chosen,
    store: &Store,
    client: &OAuthClient,
) -> Result<(), Failure> {
    let account = store.account();
    let token = match &store.lease().refresh_token {
        Some(token) => ("refresh_token", token),
        None => ("access_token", &account.access_token),
    };
    let options = gateway_options(&account.homeserver, &chosen.settings, &context.config.limits);
    let endpoint = client.revocation_endpoint.as_deref().unwrap_or_default();
    let place = (endpoint, account.homeserver.as_str());
    let oauth = OAuth::new(&options).map_err(failed)?;
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut signals = EndSignals::install()?;
        let revoked = oauth.revoke(place, &client.client_id, token);
        tokio::select! {
            revoked = timeout(context.global.timeout, revoked) => match revoked {
                Ok(revoked) => revoked.map_err(failed),
                Err(_elapsed) => Err(Failure::say(Exit::Unreachable, "no answer from the \
                    authorization server in time; nothing was destroyed")),
            },
            () = signals.wait() => Err(Failure::say(Exit::Failed, "interrupted; not logged out")),
        }
    })
}

/// Destroys what is here, for those who can log out no other way.
fn destroy(chosen: &Chosen, arguments: &LogoutArgs) -> Result<(), Failure> {
    if !arguments.yes && !is_wanted(&chosen.user_id)? {
        return Err(Failure::say(Exit::Failed, "not logged out"));
    }
    Store::destroy(&chosen.dir).map_err(cannot_open)?;
    secrets::warn("the server was not told: end this device from another client");
    Ok(())
}

/// Asks, where somebody can be asked.
fn is_wanted(user_id: &str) -> Result<bool, Failure> {
    let question = format!(
        "Log {user_id} out and destroy its keys here? Messages that only this device can read are \
         lost. [y/N] "
    );
    let answer = secrets::ask_line(&question)?;
    Ok(answer.is_none_or(|answer| ["y", "yes"].contains(&answer.to_lowercase().as_str())))
}

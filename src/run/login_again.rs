//! Logging in to an account that is here already: where the server asked for a new login and kept
//! the device, that one goes on, with its keys and messages.

use super::{
    account::{self, Chosen},
    context::Context,
    failure::Failure,
    secrets,
};
use crate::{
    cli::Exit,
    store::{Standing, Store},
};

/// The store of an account whose login expired; `None` where there is no such account.
///
/// # Errors
/// When the account is logged in, was ended by the server, or cannot be opened.
pub(super) fn find(context: &Context, chosen: &Chosen) -> Result<Option<Store>, Failure> {
    if !chosen.dir.join("store.key").exists() {
        return Ok(None);
    }
    let opened = match account::open(context, chosen) {
        // Whether it expired stands in what cannot be opened: whoever is asked nothing is told
        // what is likely.
        Err(locked) if locked.exit() == Exit::Locked && !secrets::can_ask() => {
            return Err(there_already(chosen));
        }
        opened => opened?,
    };
    let Ok(store) = opened else { return Err(there_already(chosen)) };
    match store.lease().standing {
        Standing::Active => Err(there_already(chosen)),
        Standing::Expired => Ok(Some(store)),
        Standing::Ended => Err(Failure::say(
            Exit::Failed,
            format!(
                "the server ended this login of {user} and its device; its keys and messages are \
                 still here. When you need them no more: grotto --account {user} logout; then log \
                 in again",
                user = chosen.user_id
            ),
        )),
    }
}

/// Refuses a second login of a user: it would be another device, in the same folder.
fn there_already(chosen: &Chosen) -> Failure {
    Failure::say(
        Exit::Failed,
        format!(
            "{user} is logged in already; just run grotto, or log out first with: grotto \
             --account {user} logout",
            user = chosen.user_id
        ),
    )
}

/// Refuses an account that came to be here meanwhile, or under another name.
///
/// # Errors
/// When it is here.
pub(super) fn refuse_second(chosen: &Chosen) -> Result<(), Failure> {
    if chosen.dir.join("store.key").exists() { Err(there_already(chosen)) } else { Ok(()) }
}

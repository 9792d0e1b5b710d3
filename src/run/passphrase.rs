//! `passphrase change|set|remove`.

use super::{
    account::{self, Chosen},
    context::Context,
    failure::Failure,
    secrets::{self, warn},
};
use crate::{
    cli::{Exit, NewPassphraseArgs},
    secret::Secret,
    store::{OpenError, Protection, StoreKey, set_passphrase},
};

/// Changes the passphrase.
///
/// # Errors
/// When the old one is wrong, or another process has the store open.
pub(super) fn change(context: &Context, new: &NewPassphraseArgs) -> Result<(), Failure> {
    let chosen = account::choose(context)?;
    let old = old(context)?;
    let new = chosen_new(new)?;
    apply(&chosen, old.as_ref(), Some(&new))
}

/// Sets a passphrase on a store that has none.
///
/// # Errors
/// When it has one, or another process has the store open.
pub(super) fn set(context: &Context, new: &NewPassphraseArgs) -> Result<(), Failure> {
    let chosen = account::choose(context)?;
    let new = chosen_new(new)?;
    match set_passphrase(&chosen.dir, None, Some(&new)) {
        Err(OpenError::Locked(_)) => Err(Failure::say(
            Exit::Locked,
            "the store has a passphrase already; use: grotto passphrase change",
        )),
        result => finish(result),
    }
}

/// Takes the passphrase away.
///
/// # Errors
/// When it is wrong, or another process has the store open.
pub(super) fn remove(context: &Context) -> Result<(), Failure> {
    let chosen = account::choose(context)?;
    let old = old(context)?;
    apply(&chosen, old.as_ref(), None)
}

fn apply(
    chosen: &Chosen,
    old: Option<&StoreKey>,
    new: Option<&Secret<String>>,
) -> Result<(), Failure> {
    finish(set_passphrase(&chosen.dir, old, new))
}

fn finish(result: Result<Protection, OpenError>) -> Result<(), Failure> {
    let protection = result.map_err(account::cannot_open)?;
    if let Some(warning) = protection.warning() {
        warn(warning);
    }
    Ok(())
}

/// The present passphrase: given, or asked for.
fn old(context: &Context) -> Result<Option<StoreKey>, Failure> {
    if let Some(given) = account::given_passphrase(context)? {
        return Ok(Some(given));
    }
    let asked = secrets::ask("Present passphrase: ")?;
    Ok(asked.filter(|secret| !secret.expose().is_empty()).map(StoreKey::Passphrase))
}

/// The new passphrase: given, or asked for twice.
fn chosen_new(new: &NewPassphraseArgs) -> Result<Secret<String>, Failure> {
    match &new.new_passphrase_file {
        Some(from) => secrets::read(from),
        None => secrets::ask_new("New passphrase: ")?.ok_or_else(|| {
            Failure::say(
                Exit::Usage,
                "standard input is no terminal: give the new passphrase with --new-passphrase-file",
            )
        }),
    }
}

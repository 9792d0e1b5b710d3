//! Which account is meant, and opening its store.

use std::path::PathBuf;

use super::{context::Context, failure::Failure, secrets};
use crate::{
    cli::Exit,
    config::{AccountConfig, ConfigError, Named},
    store::{OpenError, Origin, Store, StoreKey},
};

/// How often a passphrase is asked for.
const TRIES: u32 = 3;

/// The account that a command is for.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    /// Its user id.
    pub user_id: String,
    /// The folder of its store.
    pub dir: PathBuf,
    /// What the configuration says about it.
    pub settings: AccountConfig,
}

impl Chosen {
    /// The account with this user id, whether it exists or not.
    pub(super) fn new(context: &Context, user_id: &str) -> Self {
        Self {
            user_id: user_id.to_owned(),
            dir: context.paths.account_dir(user_id),
            settings: context.config.account(user_id).cloned().unwrap_or_default(),
        }
    }
}

/// Finds the account that is meant: the one named, the default one, or the only one.
///
/// # Errors
/// When there is none, or it is not clear which.
pub(super) fn choose(context: &Context) -> Result<Chosen, Failure> {
    let known = context.paths.accounts().map_err(|error| Failure::new(Exit::Failed, error))?;
    let named = context.global.account.as_deref();
    let default = context.config.general.default_account.as_ref();
    let user_id = match (named, default, &known[..]) {
        (Some(name), _, _) => by_name(context, name, &known).map_err(no_account)?,
        (None, Some(Named { name, place, .. }), _) => {
            by_name(context, name, &known).map_err(|words| match place {
                Some(place) => Failure::new(
                    Exit::Failed,
                    ConfigError::at(*place, &context.paths.config_file, words),
                ),
                None => no_account(words),
            })?
        }
        (None, None, [only]) => only.clone(),
        (None, None, []) => {
            return Err(no_account(
                "there is no account yet; log in with: grotto login @you:server",
            ));
        }
        (None, None, several) => {
            return Err(Failure::say(
                Exit::Usage,
                format!(
                    "there are several accounts: {}; choose one with --account, or set \
                     default_account in the configuration",
                    several.join(", ")
                ),
            ));
        }
    };
    Ok(Chosen::new(context, &user_id))
}

/// The user id of an account that is logged in; the error says in words that there is none.
fn by_name(context: &Context, name: &str, known: &[String]) -> Result<String, String> {
    let configured = context.config.account(name).and_then(|account| account.user_id.clone());
    let user_id = configured.unwrap_or_else(|| name.to_owned());
    // The folder of a very long user id is named by a hash, which no list of accounts can read.
    let is_unlisted = || user_id.starts_with('@') && context.paths.account_dir(&user_id).is_dir();
    if known.contains(&user_id) || is_unlisted() {
        return Ok(user_id);
    }
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    let login = if user_id.starts_with('@') { &user_id } else { "@you:server" };
    Err(format!(
        "no account {name:?} is logged in (logged in: {known}); log in with: grotto login {login}"
    ))
}

fn no_account(words: impl Into<String>) -> Failure {
    Failure::say(Exit::Failed, words)
}

/// What the user of a store that was copied should know.
const COPIED: &str = "this store is a copy, or was restored from a backup: never use two of them; \
                      if it is old, log out and in again";

/// Opens the store, asking for the passphrase where one is needed and somebody can be asked.
/// The outer error is final; the inner says that another process holds the store.
///
/// # Errors
/// When the store is locked or cannot be opened.
pub(super) fn open(
    context: &Context,
    chosen: &Chosen,
) -> Result<Result<Store, OpenError>, Failure> {
    let given = given_passphrase(context)?;
    let mut result = Store::open(&chosen.dir, given.as_ref());
    let may_ask = given.is_none();
    let mut hidden = None;
    for _ in 0..TRIES {
        let is_locked = result.as_ref().is_err_and(OpenError::is_locked);
        if !is_locked || !may_ask {
            break;
        }
        if matches!(result, Err(OpenError::WrongPassphrase)) {
            secrets::warn("wrong passphrase; once more");
        }
        // Also while a passphrase is tried: the next one may be on its way.
        hidden.get_or_insert_with(secrets::hidden);
        let prompt = format!("Passphrase of the store of {}: ", chosen.user_id);
        let Some(passphrase) = secrets::ask(&prompt)? else { break };
        result = Store::open(&chosen.dir, Some(&StoreKey::Passphrase(passphrase)));
    }
    drop(hidden);
    match result {
        Ok(store) => {
            if store.origin() == Origin::Copy {
                secrets::warn(COPIED);
            }
            Ok(Ok(store))
        }
        Err(held @ OpenError::Held { .. }) => Ok(Err(held)),
        Err(error) => Err(cannot_open(error)),
    }
}

/// The passphrase of `--passphrase-file`.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn given_passphrase(context: &Context) -> Result<Option<StoreKey>, Failure> {
    let file = context.global.passphrase_file.as_deref();
    Ok(file.map(secrets::read_file).transpose()?.map(StoreKey::Passphrase))
}

/// The failure for a store that cannot be opened.
pub(super) fn cannot_open(error: OpenError) -> Failure {
    let exit = if error.is_locked() { Exit::Locked } else { Exit::Failed };
    Failure::new(exit, error)
}

//! What a login asks of whoever types it, or reads from files.

use super::{
    account::cannot_open,
    context::Context,
    failure::Failure,
    login_call::{Credentials, NewDevice, Registration},
    secrets,
};
use crate::{
    cli::{Exit, LoginArgs, LoginTarget},
    secret::Secret,
    store::StoreKey,
};

/// Refuses a login that would have to ask where nobody can be asked.
///
/// # Errors
/// With the arguments that ask nothing.
pub(super) fn refuse_silence(arguments: &LoginArgs) -> Result<(), Failure> {
    let asks_nothing = arguments.password_file.is_some() || arguments.device_code;
    if asks_nothing || secrets::can_ask() {
        return Ok(());
    }
    let words = if arguments.sso.is_some() {
        "standard input is no terminal, and single sign-on asks for the address at which the \
         browser ends: use a terminal, or --device-code"
    } else {
        "standard input is no terminal: give the password with --password-file FILE, or - to read \
         it from standard input; or use --device-code, which asks nothing"
    };
    Err(Failure::say(Exit::Usage, words))
}

/// Who logs in with a password.
///
/// # Errors
/// When nobody can be asked, or a file cannot be read.
pub(super) fn credentials(
    arguments: &LoginArgs,
    device: NewDevice,
) -> Result<Credentials, Failure> {
    let user = match &arguments.target {
        LoginTarget::User(user) => user.to_string(),
        LoginTarget::Server(server) => {
            let name = secrets::ask_line(&format!("User name on {server}: "))?;
            name.filter(|name| !name.is_empty()).ok_or_else(|| {
                Failure::say(Exit::Usage, "give the full user id, like @alice:example.org")
            })?
        }
    };
    let password = match &arguments.password_file {
        Some(from) => secrets::read(from)?,
        None => asked(arguments, &user)?
            .ok_or_else(|| Failure::say(Exit::Usage, "standard input is no terminal"))?,
    };
    let registration = if arguments.register { Some(registration(arguments)?) } else { None };
    Ok(Credentials { user, password, device, registration })
}

/// The password from the terminal: a new one twice.
fn asked(arguments: &LoginArgs, user: &str) -> Result<Option<Secret<String>>, Failure> {
    if arguments.register {
        secrets::ask_new(&format!("New password of {user}: "))
    } else {
        secrets::ask(&format!("Password of {user}: "))
    }
}

/// The invitation: from a file, or asked for; whether one is needed, the server says.
fn registration(arguments: &LoginArgs) -> Result<Registration, Failure> {
    let invite = match &arguments.invite_file {
        Some(from) => Some(secrets::read(from)?),
        None => secrets::ask("Invitation (empty: none): ")?,
    };
    Ok(Registration { invite: invite.filter(|invite| !invite.expose().is_empty()) })
}

/// What the new store is opened with: the passphrase given, one that is asked for, or a key file.
///
/// # Errors
/// When the file cannot be read, or the terminal is gone.
pub(super) fn store_key(context: &Context) -> Result<StoreKey, Failure> {
    if let Some(file) = &context.global.passphrase_file {
        return Ok(StoreKey::Passphrase(secrets::read_file(file)?));
    }
    let asked = secrets::ask_new("Passphrase for messages and keys on this disk (empty: none): ")?;
    match asked.filter(|passphrase| !passphrase.expose().is_empty()) {
        Some(passphrase) => Ok(StoreKey::Passphrase(passphrase)),
        None => StoreKey::random().map_err(cannot_open),
    }
}

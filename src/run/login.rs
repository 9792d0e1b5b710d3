//! `login`: finds the server, logs in over its stream, makes the encrypted store and brings the
//! device to where others can write to it. What fails on the way is undone.

use std::time::Duration;

use serde::Serialize;
use tokio::{
    runtime::Builder,
    time::{Instant, timeout, timeout_at},
};

use super::{
    account::{Chosen, cannot_open},
    commands::verdict,
    context::Context,
    doors::{Way, Whereabouts, gateway_options},
    failure::Failure,
    holder::Ground,
    login_call::{CallError, Credentials, LoggedIn, Registration, log_in, log_out},
    process::EndSignals,
    secrets::{self, warn},
    start,
};
use crate::{
    cli::{Exit, LoginArgs, LoginTarget},
    config::AccountConfig,
    gateway::{DiscoverError, discover},
    headless::{Errand, settle},
    matrix::SafeText,
    secret::Secret,
    store::{Account, Store, StoreKey},
};

/// How long the server may take to end a login that came to nothing.
const UNDO_TIME: Duration = Duration::from_secs(10);

/// What is printed.
#[derive(Serialize)]
struct Done {
    user_id: String,
    device_id: String,
    stream: String,
}

/// Logs in.
///
/// # Errors
/// With words and exit code; then nothing is left of the attempt, here or on the server.
pub(super) fn run(context: &Context, arguments: &LoginArgs) -> Result<(), Failure> {
    if let LoginTarget::User(user) = &arguments.target {
        refuse_second(&Chosen::new(context, user.as_str()))?;
    }
    let credentials = credentials(arguments)?;
    let key = store_key(context)?;
    let login = Login { context, arguments, credentials, key };
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut signals = EndSignals::install()?;
        let give_up = Instant::now() + context.global.timeout;
        let called = async {
            let server = login.find().await?;
            let logged_in = login.call(&server).await?;
            Ok::<_, Failure>((server, logged_in))
        };
        let (server, logged_in) = tokio::select! {
            called = timeout_at(give_up, called) => called.map_err(|_elapsed| login.too_late())??,
            () = signals.wait() => return Err(interrupted()),
        };
        let made = login.make(&server, &logged_in, &mut signals).await;
        if made.is_err() {
            login.undo(&server, &logged_in).await;
        }
        made
    })
}

/// What logging in needs.
struct Login<'a> {
    context: &'a Context,
    arguments: &'a LoginArgs,
    credentials: Credentials,
    key: StoreKey,
}

impl Login<'_> {
    /// Finds the server.
    async fn find(&self) -> Result<Whereabouts, Failure> {
        let settings = self.settings();
        let configured = settings.homeserver.as_ref();
        let name = match (self.arguments.homeserver.as_ref().or(configured), &self.arguments.target)
        {
            (Some(url), _) => url.clone(),
            (None, LoginTarget::User(user)) => user.server_name().to_string(),
            (None, LoginTarget::Server(server)) => server.clone(),
        };
        let options = gateway_options("", &settings, &self.context.config.limits);
        let found = discover(&name, &options).await.map_err(no_server)?;
        let given = self.arguments.stream_url.clone().or(settings.stream_url);
        let stream_url = given.or(found.stream_url);
        Ok(Whereabouts { homeserver: found.homeserver, stream_url })
    }

    /// Logs in on the server.
    async fn call(&self, server: &Whereabouts) -> Result<LoggedIn, Failure> {
        let ground = self.ground(server)?;
        let logged_in = log_in(ground.route(), &self.credentials).await;
        ground.leave();
        logged_in.map_err(|error| self.refused(error))
    }

    /// Makes the store and waits until others can write to this device. When that fails, the
    /// store is removed.
    async fn make(
        &self,
        server: &Whereabouts,
        logged_in: &LoggedIn,
        signals: &mut EndSignals,
    ) -> Result<(), Failure> {
        let chosen = Chosen::new(self.context, logged_in.user_id.as_str());
        refuse_second(&chosen)?;
        let account = Account {
            user_id: logged_in.user_id.clone(),
            device_id: logged_in.device_id.clone(),
            homeserver: server.homeserver.clone(),
            stream_url: server.stream_url.clone(),
            access_token: logged_in.access_token.clone(),
        };
        let made = match Store::create(&chosen.dir, &self.key, &account) {
            Ok(store) => self.settle(server, store, signals).await,
            Err(error) => Err(cannot_open(error)),
        };
        if made.is_err()
            && let Err(error) = Store::destroy(&chosen.dir)
        {
            warn(&cannot_open(error).words());
        }
        made?;
        self.tell(server, logged_in)
    }

    /// Runs the engine until the device is ready.
    async fn settle(
        &self,
        server: &Whereabouts,
        store: Store,
        signals: &mut EndSignals,
    ) -> Result<(), Failure> {
        let warning = store.protection().warning();
        let (holder, handle) = self.ground(server)?.hold(store)?;
        let mut errand = Errand::new(handle, self.context.global.timeout);
        let settled = tokio::select! {
            settled = settle(&mut errand) => verdict(settled.map(drop)),
            () = signals.wait() => Err(interrupted()),
        };
        let ended = holder.finish(errand.into_handle()).await;
        if let Some(warning) = warning.filter(|_| settled.is_ok()) {
            warn(warning);
        }
        settled.and(ended)
    }

    fn tell(&self, server: &Whereabouts, logged_in: &LoggedIn) -> Result<(), Failure> {
        let done = Done {
            user_id: logged_in.user_id.to_string(),
            device_id: logged_in.device_id.to_string(),
            stream: server.stream_url.clone().unwrap_or_else(|| "in-process".to_owned()),
        };
        let shown = start::output(&self.context.global).show(&done, |done| {
            let Done { user_id, device_id, stream } = done;
            let words = format!("{user_id} is logged in as device {device_id}, stream: {stream}");
            Some(SafeText::line(&words).into_string())
        });
        verdict(shown)
    }

    /// Ends the login on the server; what fails is said.
    async fn undo(&self, server: &Whereabouts, logged_in: &LoggedIn) {
        let Ok(ground) = self.ground(server) else { return };
        let undone = timeout(UNDO_TIME, log_out(ground.route(), &logged_in.access_token)).await;
        ground.leave();
        if !matches!(undone, Ok(Ok(()))) {
            warn(&format!(
                "the device {} is still logged in at the server; remove it with another client",
                SafeText::line(logged_in.device_id.as_str()).as_str()
            ));
        }
    }

    fn ground(&self, server: &Whereabouts) -> Result<Ground, Failure> {
        let way = Way::to(server, &self.settings(), &self.context.config.limits)?;
        Ground::prepare(way, None)
    }

    fn settings(&self) -> AccountConfig {
        match &self.arguments.target {
            LoginTarget::User(user) => Chosen::new(self.context, user.as_str()).settings,
            LoginTarget::Server(_) => AccountConfig::default(),
        }
    }

    fn refused(&self, error: CallError) -> Failure {
        let exit = if error.is_unreachable() { Exit::Unreachable } else { Exit::Failed };
        let is_wrong =
            matches!(&error, CallError::Matrix(refusal) if refusal.errcode == "M_FORBIDDEN");
        let words = match (self.arguments.register, is_wrong) {
            (true, _) => "cannot make the account",
            (false, true) => "wrong user name or password",
            (false, false) => "cannot log in",
        };
        Failure::new(exit, anyhow::Error::new(error).context(words))
    }

    fn too_late(&self) -> Failure {
        let seconds = self.context.global.timeout.as_secs_f64();
        let words = format!(
            "no answer from the homeserver within {seconds} s; check the address, or give more \
             --timeout"
        );
        Failure::say(Exit::Unreachable, words)
    }
}

/// One login a user: the second would be another device, in the same folder.
fn refuse_second(chosen: &Chosen) -> Result<(), Failure> {
    let exists = chosen.dir.join("store.key").exists();
    if !exists {
        return Ok(());
    }
    Err(Failure::say(
        Exit::Failed,
        format!(
            "{user} is logged in already; just run grotto, or log out first with: grotto \
             --account {user} logout",
            user = chosen.user_id
        ),
    ))
}

fn credentials(arguments: &LoginArgs) -> Result<Credentials, Failure> {
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
        None => asked(arguments, &user)?.ok_or_else(|| {
            Failure::say(
                Exit::Usage,
                "standard input is no terminal: give the password with --password-file FILE, or - \
                 to read it from standard input",
            )
        })?,
    };
    let registration = if arguments.register { Some(registration(arguments)?) } else { None };
    Ok(Credentials { user, password, device_name: arguments.device_name.clone(), registration })
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
fn store_key(context: &Context) -> Result<StoreKey, Failure> {
    if let Some(file) = &context.global.passphrase_file {
        return Ok(StoreKey::Passphrase(secrets::read_file(file)?));
    }
    let asked = secrets::ask_new("Passphrase for messages and keys on this disk (empty: none): ")?;
    match asked.filter(|passphrase| !passphrase.expose().is_empty()) {
        Some(passphrase) => Ok(StoreKey::Passphrase(passphrase)),
        None => StoreKey::random().map_err(cannot_open),
    }
}

fn interrupted() -> Failure {
    Failure::say(Exit::Failed, "interrupted; nothing was kept")
}

fn no_server(error: DiscoverError) -> Failure {
    let exit = match error {
        DiscoverError::NoHomeserver { .. } => Exit::Unreachable,
        DiscoverError::Name(_) | DiscoverError::WellKnown { .. } | DiscoverError::Setup(_) => {
            Exit::Failed
        }
    };
    Failure::new(exit, error)
}

//! `login`: finds the server, logs in over its stream, makes the encrypted store and brings the
//! device to where others can write to it. What fails on the way is undone.

use std::time::Duration;

use serde::Serialize;
use tokio::{
    runtime::Builder,
    time::{Instant, error::Elapsed, timeout, timeout_at},
};

use super::{
    account::{Chosen, cannot_open},
    caller::CallError,
    commands::verdict,
    context::Context,
    doors::{Way, Whereabouts, gateway_options},
    failure::Failure,
    holder::Ground,
    login_again::{self, refuse_second},
    login_call::{Credentials, LoggedIn, NewDevice, log_in, log_in_by_token, log_out},
    login_device::{DeviceCode, give_back},
    login_offers::{Means, Offers, Question},
    login_questions::{credentials, refuse_silence, store_key},
    login_recovery,
    login_sso::SignOn,
    process::EndSignals,
    recovery::Ticker,
    secrets::{self, warn},
    start,
};
use crate::{
    cli::{Exit, LoginArgs, LoginTarget},
    config::AccountConfig,
    engine::{RecoveryState, SecretText},
    gateway::{DiscoverError, GatewayOptions, Metadata, OAuth, discover},
    headless::{Errand, can_be_typed, look, settle},
    matrix::SafeText,
    secret::Secret,
    store::{Account, Pending, Store, StoreKey, Writes},
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
    refuse_silence(arguments)?;
    let expired = match &arguments.target {
        LoginTarget::User(user) => {
            login_again::find(context, &Chosen::new(context, user.as_str()))?
        }
        LoginTarget::Server(_) => None,
    };
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let login =
        Login { context, arguments, expired: expired.as_ref().map(|it| it.account().clone()) };
    let give_up = Instant::now() + context.global.timeout;
    // While questions are asked, Ctrl-C ends the program as ever: nothing was made yet.
    let (server, offers) = runtime
        .block_on(async { timeout_at(give_up, login.look()).await })
        .map_err(|_elapsed| login.too_late())??;
    let means = offers.choose(arguments)?;
    let place = || match expired {
        Some(store) => Ok(Place::There(store)),
        None => store_key(context).map(Place::New),
    };
    let hidden = secrets::hidden();
    let (proof, place) = if matches!(means, Means::Password) {
        (login.gather(means, &server)?, place()?)
    } else {
        // What a browser gives holds for seconds: everything else is asked before.
        let place = place()?;
        (login.gather(means, &server)?, place)
    };
    drop(hidden);
    let key = place.key();
    let (user, state) = runtime.block_on(async {
        let mut signals = EndSignals::install()?;
        let logged_in = tokio::select! {
            called = login.call(&server, &proof) => called?,
            () = signals.wait() => return Err(interrupted()),
        };
        let kept = match login.check(&logged_in) {
            Ok(()) => login.keep(&server, &logged_in, place, &mut signals).await,
            Err(wrong) => Err((wrong, Kept::No)),
        };
        match kept {
            Ok(state) => Ok((logged_in.user_id, state)),
            Err((failure, Kept::Yes)) => Err(failure),
            Err((failure, Kept::No)) => {
                login.undo(&server, &logged_in).await;
                Err(failure)
            }
        }
    })?;
    if let Some(key) = key {
        let chosen = Chosen::new(context, user.as_str());
        login_recovery::ask(context, &runtime, state.as_ref(), || {
            let store = Store::open(&chosen.dir, Some(&key)).map_err(cannot_open)?;
            Ok((login.ground(&server)?, store))
        });
    }
    Ok(())
}

/// What logging in needs.
struct Login<'a> {
    context: &'a Context,
    arguments: &'a LoginArgs,
    /// The login that this one goes on with.
    expired: Option<Account>,
}

/// What proves who logs in.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
enum Proof {
    Password(Credentials),
    Token(Secret<String>),
    /// Somebody allows it in a browser.
    Grant(Metadata),
}

/// Where the login is kept.
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
enum Place {
    /// In a new store, with this key.
    New(StoreKey),
    /// In the store of the login before it.
    There(Store),
}

impl Place {
    /// The key of a new store.
    fn key(&self) -> Option<StoreKey> {
        match self {
            Self::New(key) => Some(key.clone()),
            Self::There(_) => None,
        }
    }
}

/// Whether what failed left a login behind that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Yes,
    No,
}

impl Login<'_> {
    /// Finds the server, and asks what it offers.
    async fn look(&self) -> Result<(Whereabouts, Offers), Failure> {
        let server = self.find().await?;
        let ground = self.ground(&server)?;
        let is_given = self.arguments.register || self.arguments.password_file.is_some();
        let question = if is_given { Question::Password } else { Question::Everything };
        let offers = Offers::ask(ground.route(), &server.homeserver, question).await;
        ground.leave();
        Ok((server, offers.map_err(|error| self.refused(error, "cannot log in"))?))
    }

    /// Finds the server.
    async fn find(&self) -> Result<Whereabouts, Failure> {
        let settings = self.settings();
        let known = self.expired.as_ref();
        let homeserver = self.arguments.homeserver.as_ref().or(settings.homeserver.as_ref());
        let name = match (homeserver.or(known.map(|it| &it.homeserver)), &self.arguments.target) {
            (Some(url), _) => url.clone(),
            (None, LoginTarget::User(user)) => user.server_name().to_string(),
            (None, LoginTarget::Server(server)) => server.clone(),
        };
        let options = gateway_options("", &settings, &self.context.config.limits);
        let found = discover(&name, &options).await.map_err(no_server)?;
        let given = self.arguments.stream_url.clone().or(settings.stream_url);
        let given = given.or_else(|| known.and_then(|it| it.stream_url.clone()));
        Ok(Whereabouts { homeserver: found.homeserver, stream_url: given.or(found.stream_url) })
    }

    /// Asks for what the server wants to know.
    fn gather(&self, means: Means, server: &Whereabouts) -> Result<Proof, Failure> {
        Ok(match means {
            Means::Password => Proof::Password(credentials(self.arguments, self.device())?),
            Means::SingleSignOn(provider) => {
                let attempt = SignOn::begin(&server.homeserver, provider.as_ref())?;
                Proof::Token(attempt.converse()?)
            }
            Means::DeviceCode(metadata) => Proof::Grant(metadata),
        })
    }

    fn device(&self) -> NewDevice {
        NewDevice {
            name: self.arguments.device_name.clone(),
            id: self.expired.as_ref().map(|it| it.device_id.clone()),
        }
    }

    /// Logs in on the server.
    async fn call(&self, server: &Whereabouts, proof: &Proof) -> Result<LoggedIn, Failure> {
        let ground = self.ground(server)?;
        let patience = self.context.global.timeout;
        let logged_in = match proof {
            Proof::Password(credentials) => {
                let called = timeout(patience, log_in(ground.route(), credentials)).await;
                let password = Some(credentials.password.clone());
                let logged_in = self.in_time(called, "wrong user name or password");
                logged_in.map(|logged_in| LoggedIn { password, ..logged_in })
            }
            Proof::Token(token) => {
                let device = self.device();
                let called = log_in_by_token(ground.route(), token, &device);
                let words = "the login token is not valid any more; it holds for a short time only";
                self.in_time(timeout(patience, called).await, words)
            }
            Proof::Grant(metadata) => {
                let (device, options) = (self.device(), self.options(server));
                let grant = DeviceCode { server: metadata, options: &options, device: &device };
                grant.log_in(ground.route()).await
            }
        };
        ground.leave();
        logged_in
    }

    fn in_time(
        &self,
        called: Result<Result<LoggedIn, CallError>, Elapsed>,
        forbidden: &'static str,
    ) -> Result<LoggedIn, Failure> {
        let called = called.map_err(|_elapsed| self.too_late())?;
        called.map_err(|error| self.refused(error, forbidden))
    }

    /// Whether this is who and what was meant.
    fn check(&self, logged_in: &LoggedIn) -> Result<(), Failure> {
        let wrong = |words: String| Err(Failure::say(Exit::Failed, words));
        if let LoginTarget::User(user) = &self.arguments.target
            && *user != logged_in.user_id
        {
            return wrong(format!("that is the login of {}, not of {user}", logged_in.user_id));
        }
        match &self.expired {
            Some(account) if account.device_id != logged_in.device_id => {
                wrong(format!("the homeserver did not go on with the device {}", account.device_id))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Keeps the login and waits until others can write to this device.
    async fn keep(
        &self,
        server: &Whereabouts,
        logged_in: &LoggedIn,
        place: Place,
        signals: &mut EndSignals,
    ) -> Result<Option<RecoveryState>, (Failure, Kept)> {
        let state = match place {
            Place::New(key) => {
                let made = self.make(server, logged_in, &key, signals).await;
                made.map_err(|failure| (failure, Kept::No))?
            }
            Place::There(mut store) => {
                let writes = Writes {
                    access_token: Some(logged_in.access_token.clone()),
                    lease: Some(logged_in.lease.clone()),
                    ..Writes::default()
                };
                let written = store.commit(Pending::new(writes, ()));
                written.map_err(|error| (Failure::new(Exit::Failed, error), Kept::No))?;
                let settled = self.settle((server, logged_in), store, signals).await;
                settled.map_err(|failure| (failure, Kept::Yes))?
            }
        };
        let told = self.tell(server, logged_in).map_err(|failure| (failure, Kept::Yes));
        told.map(|()| state)
    }

    /// Makes the store. When that fails, or the device does not get ready, it is removed.
    async fn make(
        &self,
        server: &Whereabouts,
        logged_in: &LoggedIn,
        key: &StoreKey,
        signals: &mut EndSignals,
    ) -> Result<Option<RecoveryState>, Failure> {
        let chosen = Chosen::new(self.context, logged_in.user_id.as_str());
        refuse_second(&chosen)?;
        let account = Account {
            user_id: logged_in.user_id.clone(),
            device_id: logged_in.device_id.clone(),
            homeserver: server.homeserver.clone(),
            stream_url: server.stream_url.clone(),
            access_token: logged_in.access_token.clone(),
        };
        let lease = Writes { lease: Some(logged_in.lease.clone()), ..Writes::default() };
        let created = Store::create(&chosen.dir, key, &account).map_err(cannot_open);
        let made = match created.and_then(|mut store| {
            let written = store.commit(Pending::new(lease, ()));
            written.map_err(|error| Failure::new(Exit::Failed, error)).map(|()| store)
        }) {
            Ok(store) => self.settle((server, logged_in), store, signals).await,
            Err(failure) => Err(failure),
        };
        if made.is_err()
            && let Err(error) = Store::destroy(&chosen.dir)
        {
            warn(&cannot_open(error).words());
        }
        made
    }

    /// Runs the engine until the device is ready.
    async fn settle(
        &self,
        (server, logged_in): (&Whereabouts, &LoggedIn),
        store: Store,
        signals: &mut EndSignals,
    ) -> Result<Option<RecoveryState>, Failure> {
        let warning = store.protection().warning();
        let (holder, handle) = self.ground(server)?.hold(store, &self.context.config.encryption)?;
        let mut errand = Errand::new(handle, self.context.global.timeout);
        // Kept no longer than the login: the server may want it before it takes our identity.
        let password = logged_in.password.clone().map(SecretText::from);
        let mut unverified = None;
        let mut ticker = Ticker::new(&self.context.global);
        let settled = tokio::select! {
            never = ticker.show_late("Loading the account's rooms …") => match never {},
            settled = settle(&mut errand, password) => {
                verdict(settled.map(|settled| unverified = settled.warning))
            }
            () = signals.wait() => Err(interrupted()),
        };
        drop(ticker);
        let mut state = None;
        if settled.is_ok() && secrets::can_ask() && !self.context.global.json {
            tokio::select! {
                looked = look(&mut errand) => state = looked.unwrap_or_default(),
                () = signals.wait() => {}
            }
        }
        let ended = holder.finish(errand.into_handle()).await;
        if let Some(warning) = warning.filter(|_| settled.is_ok()) {
            warn(warning);
        }
        // Where the recovery key is asked for next, that says it.
        let is_asked_for = state.as_ref().is_some_and(can_be_typed);
        if let Some(warning) = unverified.filter(|_| !is_asked_for) {
            warn(&warning);
        }
        settled.and(ended).map(|()| state)
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
        if let Some(client) = &logged_in.lease.oauth {
            let options = self.options(server);
            if let Ok(oauth) = OAuth::new(&options) {
                give_back(&oauth, &options, client, &logged_in.access_token).await;
            }
            return;
        }
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

    fn options(&self, server: &Whereabouts) -> GatewayOptions {
        gateway_options(&server.homeserver, &self.settings(), &self.context.config.limits)
    }

    fn settings(&self) -> AccountConfig {
        match &self.arguments.target {
            LoginTarget::User(user) => Chosen::new(self.context, user.as_str()).settings,
            LoginTarget::Server(_) => AccountConfig::default(),
        }
    }

    /// `forbidden` says what it most likely means that the server forbids it.
    fn refused(&self, error: CallError, forbidden: &'static str) -> Failure {
        let exit = if error.is_unreachable() { Exit::Unreachable } else { Exit::Failed };
        let is_wrong =
            matches!(&error, CallError::Matrix(refusal) if refusal.errcode == "M_FORBIDDEN");
        let words = match (self.arguments.register, is_wrong) {
            (true, _) => "cannot make the account",
            (false, true) => forbidden,
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

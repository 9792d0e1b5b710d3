//! Login by a code that is allowed in a browser anywhere: shows address, code and, where there is
//! room, a QR code; then waits for somebody to say yes.
//!
//! # Spec
//! Client-Server API, "Device authorisation flow"; RFC 8628.

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{
    failure::Failure,
    login_call::{LoggedIn, NewDevice, who_am_i},
    screen, secrets,
};
use crate::{
    cli::Exit,
    engine::{self, driver::Clock, renew_at},
    gateway::{
        DeviceGrant, GatewayOptions, Metadata, OAuth, OAuthError, Poll, Registered, Tokens,
        WhichScope, scope,
    },
    link::Route,
    matrix::OwnedDeviceId,
    qr::{Ink, QrPicture},
    store::{Lease, OAuthClient},
    tui::ColorMode,
};

/// What `slow_down` adds to the pause (RFC 8628, section 3.5).
const SLOWER: Duration = Duration::from_secs(5);
/// Longest pause between two polls.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What the conversation is about.
#[derive(Debug)]
pub(super) struct DeviceCode<'a> {
    /// The homeserver's authorization server.
    pub server: &'a Metadata,
    /// For the calls of it; its `homeserver` is the one logged in to.
    pub options: &'a GatewayOptions,
    /// The device that is to be.
    pub device: &'a NewDevice,
}

impl DeviceCode<'_> {
    /// Begins a grant, shows it, waits for it, and asks the homeserver who that is.
    ///
    /// # Errors
    /// When nobody allows it in time, somebody does not, or a server is of no use.
    pub(super) async fn log_in(&self, route: &Route) -> Result<LoggedIn, Failure> {
        let oauth = OAuth::new(self.options).map_err(failed)?;
        let registered = oauth.register(self.server).await.map_err(failed)?;
        let device_id = match &self.device.id {
            Some(id) => id.clone(),
            None => fresh_device_id()?,
        };
        let grant = self.begin(&oauth, &registered, &device_id).await.map_err(failed)?;
        show(&grant);
        let tokens = self.wait(&oauth, &registered, &grant).await?;
        let found = self.identify(route, &registered, &tokens).await;
        let found =
            found.and_then(|it| if it.device_id == device_id { Ok(it) } else { Err(other(&it)) });
        if found.is_err() {
            give_back(&oauth, self.options, &self.client(&registered), &tokens.access_token).await;
        }
        found
    }

    async fn begin(
        &self,
        oauth: &OAuth,
        registered: &Registered,
        device_id: &OwnedDeviceId,
    ) -> Result<DeviceGrant, OAuthError> {
        let ask = async |which| {
            let scope = scope(which, device_id.as_str());
            oauth.begin(self.server, registered, &scope).await
        };
        match ask(WhichScope::Stable).await {
            Err(error) if error.is("invalid_scope") => ask(WhichScope::Unstable).await,
            begun => begun,
        }
    }

    /// Polls until there is an answer, or time is up: however often the server says to wait.
    async fn wait(
        &self,
        oauth: &OAuth,
        registered: &Registered,
        grant: &DeviceGrant,
    ) -> Result<Tokens, Failure> {
        let give_up = Instant::now() + grant.expires_in;
        let mut pause = grant.interval;
        loop {
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Failure::say(Exit::Failed, EXPIRED));
            }
            sleep(pause.min(left)).await;
            match oauth.poll(self.server, registered, grant).await {
                Ok(Poll::Granted(tokens)) => return Ok(tokens),
                Ok(Poll::Pending) => {}
                Ok(Poll::SlowDown) => pause = (pause + SLOWER).min(LONGEST_PAUSE),
                Ok(Poll::Denied) => {
                    return Err(Failure::say(Exit::Failed, "the login was refused in the browser"));
                }
                Ok(Poll::Expired) => return Err(Failure::say(Exit::Failed, EXPIRED)),
                Err(error) if error.is_unreachable() => pause = (pause * 2).min(LONGEST_PAUSE),
                Err(error) => return Err(failed(error)),
            }
        }
    }

    async fn identify(
        &self,
        route: &Route,
        registered: &Registered,
        tokens: &Tokens,
    ) -> Result<LoggedIn, Failure> {
        let lease = Lease {
            refresh_token: tokens.refresh_token.clone(),
            renew_at: renew_at(Clock::start().now(), tokens.expires_in),
            oauth: Some(self.client(registered)),
            ..Lease::default()
        };
        let tokens = engine::Tokens {
            access_token: tokens.access_token.clone(),
            refresh_token: None,
            expires_in: None,
        };
        who_am_i(route, &tokens, lease).await.map_err(|error| {
            let exit = if error.is_unreachable() { Exit::Unreachable } else { Exit::Failed };
            let words = "the homeserver does not take the token of its authorization server";
            Failure::new(exit, anyhow::Error::new(error).context(words))
        })
    }

    fn client(&self, registered: &Registered) -> OAuthClient {
        let text = |url: &Option<url::Url>| url.as_ref().map(ToString::to_string);
        OAuthClient {
            client_id: registered.client_id.clone(),
            token_endpoint: self.server.token_endpoint.to_string(),
            revocation_endpoint: text(&self.server.revocation_endpoint),
            account_management_uri: text(&self.server.account_management_uri),
        }
    }
}

const EXPIRED: &str = "nobody allowed the login in time; try again";

/// Ends a login of OAuth at its authorization server; what fails is said.
pub(super) async fn give_back(
    oauth: &OAuth,
    options: &GatewayOptions,
    client: &OAuthClient,
    token: &crate::secret::Secret<String>,
) {
    let Some(endpoint) = &client.revocation_endpoint else { return };
    let place = (endpoint.as_str(), options.homeserver.as_str());
    if let Err(error) = oauth.revoke(place, &client.client_id, ("access_token", token)).await {
        secrets::warn(&format!("the login could not be ended: {}", failed(error).words()));
    }
}

fn other(found: &LoggedIn) -> Failure {
    let words =
        format!("the homeserver made another device than was asked for: {}", found.device_id);
    Failure::say(Exit::Failed, words)
}

pub(super) fn failed(error: OAuthError) -> Failure {
    let exit = if error.is_unreachable() { Exit::Unreachable } else { Exit::Failed };
    Failure::new(exit, error)
}

/// Says where to go and what to type. Addresses are ASCII, the code is printable: both were checked.
fn show(grant: &DeviceGrant) {
    let minutes = grant.expires_in.as_secs().div_ceil(60);
    secrets::say(&format!(
        "Open this address in a browser, on any machine, and type the code:\n\n{}\n\nCode: {}\n",
        grant.verification_uri, grant.user_code
    ));
    if let Some(uri) = &grant.verification_uri_complete
        && let Some(picture) = picture(uri.as_str())
    {
        secrets::say(&format!("Or scan this:\n\n{picture}"));
    }
    secrets::say(&format!("Waiting for {minutes} minutes; Ctrl-C gives up."));
}

/// The QR code of an address, if standard error is a terminal with room for it.
fn picture(address: &str) -> Option<String> {
    let size = io::stderr().is_terminal().then(rows_and_columns).flatten()?;
    // Some rows for what stands above and below.
    let (columns, rows) = (size.1, size.0.saturating_sub(8));
    let picture = QrPicture::within(address.as_bytes(), (columns, rows)).ok()?;
    let fits = picture.rows() <= rows && picture.columns() <= columns;
    fits.then(|| {
        if screen::colors() == ColorMode::None {
            return picture.lines(Ink::Light).join("\n") + "\n";
        }
        let row = |line: String| format!("\u{1b}[30;107m{line}\u{1b}[0m\n");
        picture.lines(Ink::Dark).into_iter().map(row).collect()
    })
}

fn rows_and_columns() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok()?;
    Some((size.ws_row.into(), size.ws_col.into()))
}

/// Ten letters, as Synapse makes them.
fn fresh_device_id() -> Result<OwnedDeviceId, Failure> {
    let mut bytes = [0_u8; 10];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::say(Exit::Failed, format!("no random bytes: {error}")))?;
    // 256 is no multiple of 26: that some letters are a little likelier costs less than a bit.
    let id: String = bytes.iter().map(|byte| char::from(b'A' + byte % 26)).collect();
    Ok(id.as_str().into())
}

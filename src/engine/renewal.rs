//! The access token: when it is renewed, and what becomes of the login when it is refused.
//!
//! A new token is on disk before it is used. Until then the old refresh token holds, so an answer
//! that was lost, or a crash before the commit, costs another question and no login.
//!
//! # Spec
//! Client-Server API, "Refreshing access tokens", "Soft logout" and "Refresh token grant".

use std::time::Duration;

use crate::{
    secret::Secret,
    store::{Lease, OAuthClient, Standing},
    time::{Backoff, Timestamp},
    wire::{ClientFrame, TokenFrame},
};

use super::{Engine, Update, core::Connection, turn::Turn};

/// How long before its end a token is renewed; a third of its life if that is less.
const MARGIN: Duration = Duration::from_secs(60);
/// However short a life the server names.
const SHORTEST_LIFE: Duration = Duration::from_secs(1);
/// Pause after a renewal that failed, doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A token that was renewed so often without ever being accepted will not be.
const MOST_REFUSALS: u32 = 3;

/// A question for a new access token.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// What it is asked for with.
    pub refresh_token: Secret<String>,
    /// Whom to ask; `None`: the homeserver.
    pub oauth: Option<OAuthClient>,
}

/// The answer.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// The new access token.
    pub access_token: Secret<String>,
    /// The new refresh token; `None`: the old one stays.
    pub refresh_token: Option<Secret<String>>,
    /// How long the access token lives; `None`: until it is refused.
    pub expires_in: Option<Duration>,
}

/// Why there is no new token.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RenewError {
    /// Nobody could be asked; the old refresh token still holds.
    #[error("the access token could not be renewed: {0}")]
    Later(String),
    /// The server takes the refresh token no longer.
    #[error("the server does not renew this login: {1}")]
    Refused(Standing, String),
}

/// When a token that lives for so long is to be renewed.
pub fn renew_at(now: Timestamp, expires_in: Option<Duration>) -> Option<Timestamp> {
    let life = expires_in?;
    Some(now.plus(life.saturating_sub(MARGIN.min(life / 3)).max(SHORTEST_LIFE)))
}

/// The access token and what renews it.
#[derive(Debug)]
pub(super) struct Token {
    present: Secret<String>,
    lease: Lease,
    /// Whether a renewal is under way.
    is_asked: bool,
    backoff: Backoff,
    /// After a renewal that failed.
    retry_at: Option<Timestamp>,
    /// When the present token came; the epoch for one that was on disk.
    since: Timestamp,
    /// How often in a row it was refused.
    refusals: u32,
    /// What the last refusal said of the login.
    refused_as: Standing,
    /// The server takes the refresh token no longer.
    is_last: bool,
}

impl Token {
    pub(super) fn new(present: Secret<String>, lease: Lease) -> Self {
        Self {
            present,
            lease,
            is_asked: false,
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            retry_at: None,
            since: Timestamp::default(),
            refusals: 0,
            refused_as: Standing::Active,
            is_last: false,
        }
    }

    /// The token to present.
    pub(super) fn present(&self) -> Secret<String> {
        self.present.clone()
    }

    /// When it is to be renewed.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let due = self.retry_at.or(self.lease.renew_at);
        due.filter(|_| self.lease.refresh_token.is_some() && !self.is_asked && !self.is_last)
    }

    /// The server takes it.
    pub(super) fn accepted(&mut self) {
        self.refusals = 0;
    }
}

/// Whether a new token is to be expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Yes,
    No,
}

impl Engine {
    pub(super) fn tick_token(&mut self, turn: &mut Turn<'_>) {
        if self.token.deadline().is_some_and(|due| due <= turn.now) {
            self.ask_for_token(turn);
        }
    }

    /// Asks for a new token, unless that is done already.
    fn ask_for_token(&mut self, turn: &mut Turn<'_>) -> Expected {
        let refresh_token = self.token.lease.refresh_token.clone();
        let Some(refresh_token) = refresh_token.filter(|_| !self.token.is_last) else {
            return Expected::No;
        };
        if !self.token.is_asked {
            self.token.is_asked = true;
            self.token.retry_at = None;
            tracing::debug!("renewing the access token");
            let oauth = self.token.lease.oauth.clone();
            turn.out.renew = Some(Renewal { refresh_token, oauth });
        }
        Expected::Yes
    }

    /// The server does not take the token: of a call and since when that was under way, or of the
    /// stream as a whole.
    pub(super) fn on_token_refused(
        &mut self,
        standing: Standing,
        call: Option<(u64, Timestamp)>,
        turn: &mut Turn<'_>,
    ) {
        if let Some((id, _)) = call {
            self.requests.put_back(id);
        }
        if call.is_some_and(|(_, since)| since <= self.token.since) {
            // It left with the token before this one; the link presents the new one already.
            return;
        }
        self.token.refusals += 1;
        self.token.refused_as = standing;
        let is_hopeless = MOST_REFUSALS < self.token.refusals;
        if is_hopeless || self.ask_for_token(turn) == Expected::No {
            self.end_login(standing, turn);
            return;
        }
        self.link.hold();
        self.drop_link(turn);
        turn.out.hang_up = Some("the access token expired".to_owned());
    }

    pub(super) fn on_renewed(&mut self, result: Result<Tokens, RenewError>, turn: &mut Turn<'_>) {
        self.token.is_asked = false;
        match result {
            Ok(tokens) => self.take_tokens(tokens, turn),
            Err(RenewError::Later(reason)) => {
                let retry_at = turn.now.plus(self.token.backoff.next_pause(1.0));
                self.token.retry_at = Some(retry_at);
                self.link.wait(retry_at, &reason);
            }
            Err(RenewError::Refused(standing, _)) => {
                tracing::warn!(held = self.link.is_held(), "the access token is not renewed");
                self.on_not_renewed(standing, turn);
            }
        }
    }

    /// While the present token holds, it is used to its end, which says what becomes of the login.
    /// That the device is kept is enough said once.
    fn on_not_renewed(&mut self, standing: Standing, turn: &mut Turn<'_>) {
        self.token.is_last = true;
        if !self.link.is_held() {
            return;
        }
        let is_kept = [standing, self.token.refused_as].contains(&Standing::Expired);
        self.end_login(if is_kept { Standing::Expired } else { standing }, turn);
    }

    /// Writes the new tokens; the step that does so presents them.
    fn take_tokens(&mut self, tokens: Tokens, turn: &mut Turn<'_>) {
        let Tokens { access_token, refresh_token, expires_in } = tokens;
        let token = &mut self.token;
        token.backoff.reset();
        token.retry_at = None;
        token.since = turn.now;
        token.present = access_token.clone();
        token.lease.standing = Standing::Active;
        token.lease.renew_at = renew_at(turn.now, expires_in);
        if refresh_token.is_some() {
            token.lease.refresh_token = refresh_token;
        }
        turn.writes.lease = Some(token.lease.clone());
        let frame = TokenFrame { token: access_token.expose().clone().into() };
        turn.writes.access_token = Some(access_token);
        if self.link.is_held() {
            self.link.release();
        } else if self.connection != Connection::Down {
            turn.out.frames.push(ClientFrame::Token(frame));
        }
    }

    /// The login is over; keys and messages stay until somebody says otherwise.
    fn end_login(&mut self, standing: Standing, turn: &mut Turn<'_>) {
        self.token.lease.standing = standing;
        turn.writes.lease = Some(self.token.lease.clone());
        let me = &self.me;
        let reason = match standing {
            Standing::Active | Standing::Expired => format!(
                "the server asks you to log in again; your keys and messages are kept, go on \
                 with: grotto login {me}"
            ),
            Standing::Ended => format!(
                "this login was ended on the server or by another client; keys and messages here \
                 are kept until you say otherwise. To begin anew, as another device: grotto \
                 --account {me} logout, then: grotto login {me}"
            ),
        };
        if standing == Standing::Ended {
            // The link's last word: whoever logs out has nothing more to wait for.
            self.link.end("ended on the server or by another client; its keys are still here");
            self.tell_link(turn);
        }
        turn.tell_all(Update::Ended { reason });
        turn.out.ended = true;
    }
}

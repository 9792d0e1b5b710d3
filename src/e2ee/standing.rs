//! The bookkeeping of our account: how this device stands with the server, and when keys are due.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    matrix::{DeviceId, OwnedDeviceId, OwnedUserId, UserId},
    time::Timestamp,
};

/// vodozemac keeps the current and the previous fallback key only: two changes in quick
/// succession lose messages that are under way.
pub(super) const FALLBACK_FLOOR: Duration = Duration::from_secs(60 * 60);
const FALLBACK_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// One-time keys made in an hour: a server that always says it has none must not keep us making
/// them. Beyond that the fallback key serves.
const KEYS_PER_WINDOW: u64 = 1_000;
const WINDOW: Duration = Duration::from_secs(60 * 60);

/// How our device stands with the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Standing {
    /// The device keys are to be uploaded.
    #[default]
    Unpublished,
    /// They are there.
    Published,
    /// They were there, were missing in an answer, and are to be uploaded once more.
    Again,
    /// They were uploaded once more.
    PublishedAgain,
    /// The server shows other keys for this device, or none whatever we upload: the end.
    Replaced,
}

/// The account's bookkeeping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) user: OwnedUserId,
    pub(super) device: OwnedDeviceId,
    pub(super) created: Timestamp,
    #[serde(default)]
    pub(super) standing: Standing,
    /// One-time keys on the server, last it said.
    #[serde(default)]
    pub(super) one_time_keys: u64,
    /// When the current fallback key was made.
    #[serde(default)]
    pub(super) fallback_made: Option<Timestamp>,
    /// Whether the server handed it out.
    #[serde(default)]
    pub(super) fallback_use: FallbackUse,
    /// From when on the previous fallback key may be forgotten.
    #[serde(default)]
    pub(super) forget_previous: Option<Timestamp>,
    /// Uploads in a row that the server refused because it has the key ids already.
    #[serde(default)]
    pub(super) conflicts: u32,
    /// Key id and signature of our self-signing key over our device keys.
    #[serde(default)]
    pub(super) cross_signature: Option<(String, String)>,
    #[serde(default)]
    pub(super) ration: Ration,
}

/// How many one-time keys were made in the current window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ration {
    since: Timestamp,
    made: u64,
}

impl Ration {
    /// Takes up to `wanted` keys out of the ration.
    pub(super) fn take(&mut self, wanted: u64, now: Timestamp) -> u64 {
        if self.since > now || now.since(self.since) >= WINDOW {
            *self = Self { since: now, made: 0 };
        }
        let granted = wanted.min(KEYS_PER_WINDOW.saturating_sub(self.made));
        self.made = self.made.saturating_add(granted);
        granted
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FallbackUse {
    #[default]
    Unused,
    Used,
}

impl State {
    pub(super) fn new(user: &UserId, device: &DeviceId, now: Timestamp) -> Self {
        Self {
            user: user.to_owned(),
            device: device.to_owned(),
            created: now,
            standing: Standing::Unpublished,
            one_time_keys: 0,
            fallback_made: None,
            fallback_use: FallbackUse::Unused,
            forget_previous: None,
            conflicts: 0,
            cross_signature: None,
            ration: Ration::default(),
        }
    }

    /// Brings times that lie ahead back to now: the clock was set back since, and no key may wait
    /// for it to catch up. Whether there were any.
    pub(super) fn not_from_the_future(&mut self, now: Timestamp) -> bool {
        let before = (self.fallback_made, self.forget_previous);
        self.fallback_made = self.fallback_made.map(|at| at.min(now));
        self.forget_previous = self.forget_previous.map(|at| at.min(now.plus(FALLBACK_FLOOR)));
        before != (self.fallback_made, self.forget_previous)
    }

    pub(super) fn fallback_life(&self) -> Duration {
        match self.fallback_use {
            FallbackUse::Unused => FALLBACK_AGE,
            FallbackUse::Used => FALLBACK_FLOOR,
        }
    }

    pub(super) fn is_fallback_due(&self, now: Timestamp) -> bool {
        self.fallback_made.is_none_or(|made| now.since(made) >= self.fallback_life())
    }
}

//! The devices that the messages of a room are for, and what forbids to write to them at all.
//!
//! # Spec
//! Client-Server API, "Recommended client behaviour"; MSC4153.

use std::collections::BTreeSet;

use super::share::{Candidate, targets};
use crate::{
    e2ee::{
        DevicePolicy, IdentityState, LeftOut, Machine, MachineError, OwnIdentity, Recipients,
        ShareError, devices::devices_of, identity::Identity, lookup::Table, room_settings,
        step::Step,
    },
    matrix::RoomId,
};

/// Why nothing is encrypted now.
#[derive(Debug)]
pub(super) enum Stop {
    /// Our identity is being made.
    Wait,
    /// The user must do something.
    Error(ShareError),
}

impl Machine {
    /// What forbids to encrypt for `to`: an identity that changed, or that nobody could tell this
    /// device from one that the server made up.
    pub(super) fn stop(
        &self,
        room: &RoomId,
        to: &Recipients,
        step: &Step<'_>,
    ) -> Result<Option<Stop>, MachineError> {
        let changed = self.core.cross_signing.violations();
        if !changed.is_empty()
            && let Some((user, state)) = targets(to).find_map(|user| changed.get_key_value(user))
        {
            let user = user.clone();
            return Ok(Some(Stop::Error(match state {
                IdentityState::VerificationViolation => ShareError::NotVerifiedAnyMore(user),
                IdentityState::None
                | IdentityState::Pinned
                | IdentityState::PinViolation
                | IdentityState::Verified => ShareError::IdentityChanged(user),
            })));
        }
        match room_settings::devices(Some(room), step)? {
            DevicePolicy::All => Ok(None),
            DevicePolicy::Signed => self.own_stop(step),
        }
    }

    /// What is missing of our own identity.
    fn own_stop(&self, step: &Step<'_>) -> Result<Option<Stop>, MachineError> {
        if self.is_cross_signed(step)? {
            return Ok(None);
        }
        if self.is_setting_up(step)? || Self::is_signing(step)? {
            return Ok(Some(Stop::Wait));
        }
        Ok(Some(Stop::Error(match self.own_identity(step)? {
            OwnIdentity::None => ShareError::NoOwnIdentity,
            OwnIdentity::Theirs | OwnIdentity::Verified { .. } => ShareError::NotSigned,
        })))
    }

    /// The devices of all recipients but this one, each with what it is to get.
    pub(super) fn candidates(
        &self,
        room: &RoomId,
        to: &Recipients,
        step: &Step<'_>,
    ) -> Result<Vec<Candidate>, MachineError> {
        let rule = room_settings::devices(Some(room), step)?;
        let mut all = Vec::new();
        for user in targets(to).collect::<BTreeSet<_>>() {
            let rule = if to.unsigned_of.contains(user) { DevicePolicy::All } else { rule };
            let identity: Option<Identity> = step.get(Table::Identity, user.as_str(), "")?;
            let own = *user == self.core.user;
            let devices = devices_of(user, step)?;
            all.extend(
                devices
                    .into_iter()
                    .filter(|it| !own || it.device_id != self.core.device)
                    .map(|device| Candidate::new(device, identity.as_ref(), rule)),
            );
        }
        Ok(all)
    }

    /// How many devices the recipients have, and which get no keys.
    pub(in crate::e2ee) fn devices_left_out(
        &self,
        room: &RoomId,
        to: &Recipients,
        step: &Step<'_>,
    ) -> Result<(usize, Vec<LeftOut>), MachineError> {
        let all = self.candidates(room, to, step)?;
        let known = all.len();
        let left_out = all.into_iter().filter_map(|it| {
            let reason = it.left_out()?;
            Some(LeftOut { user_id: it.device.user, device_id: it.device.device_id, reason })
        });
        Ok((known, left_out.collect()))
    }
}

//! How the identity of a user stands: pinned at first sight, changed, verified, changed after that.
//!
//! ```text
//!           another key                        acknowledged
//!  Pinned ──────────────▶ PinViolation ──────────────────────▶ Pinned
//!    │    ◀────────────── (the old key again)
//!    │ signed by us                   another key
//!    ▼                             ─────────────────▶
//!  Verified                                           VerificationViolation ─▶ Pinned (withdrawn)
//!           ◀─────────────────────────────────────────
//!             signed by us anew, or the verified key again
//! ```
//!
//! That a user was once verified is latched; nothing that a server shows clears it.
//!
//! # Spec
//! Client-Server API, "Recommended client behaviour"; MSC4153.

use serde::{Deserialize, Serialize};

use super::record::{OwnRecord, identity};
use crate::{
    e2ee::{
        Machine, MachineError,
        core::Core,
        identity::Identity,
        lookup::Table,
        step::Step,
        types::{Alarm, Notice},
    },
    matrix::{OwnedUserId, SignedJson, UserId, ed25519_from_base64},
};

/// How the identity of a user stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdentityState {
    /// They show none.
    None,
    /// The one that was seen first, or that the user acknowledged.
    Pinned,
    /// Another than the one seen first.
    PinViolation,
    /// Verified by us.
    Verified,
    /// They were verified once; the identity they show now is not.
    VerificationViolation,
}

impl IdentityState {
    /// Whether somebody must settle it before messages go out.
    pub fn is_violation(self) -> bool {
        match self {
            Self::PinViolation | Self::VerificationViolation => true,
            Self::None | Self::Pinned | Self::Verified => false,
        }
    }

    /// The state in one word, as scripts have it; a promise, never renamed.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pinned => "pinned",
            Self::PinViolation => "pin_violation",
            Self::Verified => "verified",
            Self::VerificationViolation => "verification_violation",
        }
    }

    /// The state for people, to follow the name of the user.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::None => "has no identity",
            Self::Pinned => "has the identity that was seen first or accepted",
            Self::PinViolation => "has ANOTHER identity than before; nothing is sent",
            Self::Verified => "is verified",
            Self::VerificationViolation => {
                "was verified and has ANOTHER identity now; nothing is sent"
            }
        }
    }
}

/// The identity of a user, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityStatus {
    /// Whose.
    pub user: OwnedUserId,
    /// How it stands.
    pub state: IdentityState,
    /// The master key that the server shows, unpadded base64; the fingerprint.
    pub master_key: Option<String>,
}

/// How the identity of its user stands.
pub(in crate::e2ee) fn state_of(
    shown: &Identity,
    own_user: &UserId,
    step: &Step<'_>,
) -> Result<IdentityState, MachineError> {
    Ok(if is_verified(shown, own_user, step)? {
        IdentityState::Verified
    } else if shown.was_verified {
        IdentityState::VerificationViolation
    } else if shown.master_key != shown.pinned_master_key {
        IdentityState::PinViolation
    } else {
        IdentityState::Pinned
    })
}

/// Whether `shown` is verified: ours by this device, another's by our identity, which this device
/// must have verified (CVE-2024-40648).
fn is_verified(shown: &Identity, own_user: &UserId, step: &Step<'_>) -> Result<bool, MachineError> {
    let record = OwnRecord::read(step)?;
    if *shown.user == *own_user {
        return Ok(record.verifies(shown));
    }
    if record.verified.is_none() || shown.is_confused() {
        return Ok(false);
    }
    let Some(own) = identity(own_user, step)?.filter(|own| record.verifies(own)) else {
        return Ok(false);
    };
    Ok(is_signed_by(shown, &own))
}

/// Whether our user-signing key signed the master key that is shown now: the server says so, or we
/// did it and it has not said so yet.
fn is_signed_by(shown: &Identity, own: &Identity) -> bool {
    let Some(name) = &own.user_signing_key else { return false };
    let Some(key) = ed25519_from_base64(name) else { return false };
    let Ok(json) = SignedJson::parse(shown.master.get()) else { return false };
    let kept = shown.our_signature.as_ref();
    json.verify(&own.user, &format!("ed25519:{name}"), &key).is_ok()
        || kept.is_some_and(|signature| json.verify_apart(signature, &key).is_ok())
}

impl Machine {
    /// How the identity of `user` stands.
    ///
    /// # Errors
    /// When the store fails.
    pub fn identity_status(
        &self,
        user: &UserId,
        step: &Step<'_>,
    ) -> Result<IdentityStatus, MachineError> {
        let shown = identity(user, step)?;
        let state = match &shown {
            Some(shown) => state_of(shown, &self.core.user, step)?,
            None => IdentityState::None,
        };
        let master_key = shown.map(|shown| shown.master_key);
        Ok(IdentityStatus { user: user.to_owned(), state, master_key })
    }

    /// Users whose identity changed, and nobody settled it.
    pub fn changed_identities(&self) -> impl Iterator<Item = (&OwnedUserId, IdentityState)> {
        self.core.cross_signing.violations.iter().map(|(user, state)| (user, *state))
    }

    /// The user accepts the identity that `user` shows now in the place of another that was never
    /// verified. `false` when there is nothing to accept.
    ///
    /// # Errors
    /// When the store fails.
    pub fn acknowledge_identity(
        &mut self,
        user: &UserId,
        step: &mut Step<'_>,
    ) -> Result<bool, MachineError> {
        self.core.repin(user, IdentityState::PinViolation, step)
    }

    /// The user no longer insists that `user`, verified once, be verified. `false` when there is
    /// nothing to withdraw.
    ///
    /// # Errors
    /// When the store fails.
    pub fn withdraw_verification(
        &mut self,
        user: &UserId,
        step: &mut Step<'_>,
    ) -> Result<bool, MachineError> {
        self.core.repin(user, IdentityState::VerificationViolation, step)
    }
}

impl Core {
    /// Notes which identities changed in an earlier run.
    pub(in crate::e2ee) fn open_identities(
        &mut self,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        for (_, shown) in step.scan::<Identity>(Table::Identity, None)? {
            let state = state_of(&shown, &self.user, step)?;
            if state.is_violation() {
                self.cross_signing.violations.insert(shown.user, state);
            }
        }
        if let Some(master_key) = OwnRecord::read(step)?.replaced_by {
            step.tell(Notice::Alarm(Alarm::OwnIdentityReplaced { master_key }));
        }
        Ok(())
    }

    /// Takes the present identity of `user` for the one to expect, if it stands as `from`.
    fn repin(
        &mut self,
        user: &UserId,
        from: IdentityState,
        step: &mut Step<'_>,
    ) -> Result<bool, MachineError> {
        let Some(mut shown) = identity(user, step)? else { return Ok(false) };
        if state_of(&shown, &self.user, step)? != from {
            return Ok(false);
        }
        shown.pinned_master_key.clone_from(&shown.master_key);
        shown.was_verified = false;
        self.put_identity(shown, step)?;
        if *user == self.user {
            let mut record = OwnRecord::read(step)?;
            record.replaced_by = None;
            record.write(step)?;
        }
        Ok(true)
    }

    /// Writes an identity, latches that it is verified, and tells when it stands otherwise than
    /// before.
    pub(in crate::e2ee) fn put_identity(
        &mut self,
        mut shown: Identity,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let state = state_of(&shown, &self.user, step)?;
        if state == IdentityState::Verified {
            shown.was_verified = true;
            shown.pinned_master_key.clone_from(&shown.master_key);
        }
        self.tracker.note_change();
        step.put(Table::Identity, shown.user.as_str(), "", &shown)?;
        self.note_state(shown.user, state, step);
        Ok(())
    }

    fn note_state(&mut self, user: OwnedUserId, state: IdentityState, step: &mut Step<'_>) {
        let violations = &mut self.cross_signing.violations;
        let before = if state.is_violation() {
            violations.insert(user.clone(), state)
        } else {
            violations.remove(&user)
        };
        if state.is_violation() && before != Some(state) && user != self.user {
            step.tell(Notice::Alarm(Alarm::IdentityChanged { user: user.clone(), state }));
        }
        step.tell(Notice::IdentityChanged { user, state });
    }

    /// Our own identity became verified or ceased to be: everybody stands otherwise.
    pub(super) fn recompute_identities(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        for (_, shown) in step.scan::<Identity>(Table::Identity, None)? {
            let state = state_of(&shown, &self.user, step)?;
            let matters = shown.was_verified || state == IdentityState::Verified;
            if matters && shown.user != self.user {
                self.put_identity(shown, step)?;
            }
        }
        Ok(())
    }
}

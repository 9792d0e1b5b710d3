//! What is kept of our identity, and what is remembered of it while we run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    bootstrap::AuthNeeded,
    keys::{NewKeys, PrivateKeys},
    states::IdentityState,
};
use crate::{
    e2ee::{MachineError, identity::Identity, lookup::Table, step::Step},
    matrix::{OwnedUserId, UserId},
};

/// How far this device came with the account's identity.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(super) enum Setup {
    /// Nothing was tried.
    #[default]
    Untried,
    /// An identity is to be made if the account has none: the answer to a fresh query decides.
    Asked,
    /// New keys are on their way to the server; they count for nothing before it has them.
    Uploading {
        /// The keys.
        keys: Box<NewKeys>,
        /// Whether they are to replace an identity.
        how: How,
    },
    /// There is nothing more to do: the account has an identity.
    Settled,
    /// The server takes no keys; its error code.
    Refused {
        /// The code.
        code: String,
    },
}

/// Why new keys are uploaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum How {
    /// The account has no identity.
    First,
    /// The user said so, knowing what it breaks.
    Reset,
}

/// The record of our identity.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct OwnRecord {
    /// The private keys of the identity in force, as far as they are here.
    #[serde(default)]
    pub(super) keys: PrivateKeys,
    /// The master key that this device verified, unpadded base64.
    #[serde(default)]
    pub(super) verified: Option<String>,
    #[serde(default)]
    pub(super) setup: Setup,
    /// The master key that the server put in the place of ours; the user is told of it until they
    /// settle it.
    #[serde(default)]
    pub(super) replaced_by: Option<String>,
}

impl OwnRecord {
    pub(super) fn read(step: &Step<'_>) -> Result<Self, MachineError> {
        Ok(step.get(Table::CrossSigning, "", "")?.unwrap_or_default())
    }

    pub(super) fn write(&self, step: &mut Step<'_>) -> Result<(), MachineError> {
        step.put(Table::CrossSigning, "", "", self)
    }

    /// Whether this device verified the identity.
    pub(super) fn verifies(&self, identity: &Identity) -> bool {
        self.verified.as_deref() == Some(&identity.master_key) && !identity.is_confused()
    }
}

/// What is remembered of identities while we run.
#[derive(Debug, Default)]
pub(in crate::e2ee) struct CrossSigning {
    /// What the server wants before it takes our keys.
    pub(super) auth: Option<AuthNeeded>,
    /// Signatures of our own that the server did not take.
    pub(super) failures: u32,
    /// Users whose identity changed, and nobody settled it.
    pub(super) violations: BTreeMap<OwnedUserId, IdentityState>,
    /// Our identity is another: the sessions in use are to end.
    pub(super) is_new: bool,
}

impl CrossSigning {
    /// Whether our identity became another since this was asked last.
    pub(in crate::e2ee) fn take_is_new(&mut self) -> bool {
        std::mem::take(&mut self.is_new)
    }

    /// Users whose identity changed, and nobody settled it.
    pub(in crate::e2ee) fn violations(&self) -> &BTreeMap<OwnedUserId, IdentityState> {
        &self.violations
    }
}

/// The identity of `user`, as last shown.
pub(super) fn identity(user: &UserId, step: &Step<'_>) -> Result<Option<Identity>, MachineError> {
    step.get(Table::Identity, user.as_str(), "")
}

/// Whether this device verified `identity`, which is our own.
pub(in crate::e2ee) fn is_verified_master(
    identity: &Identity,
    step: &Step<'_>,
) -> Result<bool, MachineError> {
    Ok(OwnRecord::read(step)?.verifies(identity))
}

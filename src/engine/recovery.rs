//! The way of a new login to the account's keys, as one flow: the recovery key, or another device,
//! or a new start; this device signed; the backup connected; old keys restored.
//!
//! ```text
//!  NeedsSetup ──── set up ───▶ SettingUp ───────────────────────────────┐
//!  NeedsRecovery ─ recover ──▶ Unlocking ─▶ Signing ─▶ ConnectingBackup ─▶ Restoring ─▶ Ready
//!        │ ▲                      │ refused
//!        │ └──────────────────────┘
//!        └─ another device sends the secrets ─▶ Signing …
//! ```
//!
//! The state is worked out anew from what the session layer has on disk, each time something of it
//! changed. So it is the same after a crash, and nothing has to be remembered to go on; only what
//! was typed is gone.

use serde::{Deserialize, Serialize};

/// Where a device is on its way to the account's keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum RecoveryState {
    /// The account has no identity, or no recovery key: one can be made here.
    NeedsSetup,
    /// The account has both, and this device is not part of it yet.
    NeedsRecovery {
        /// What can be done about it.
        ways: Vec<RecoveryWay>,
    },
    /// The identity, the recovery key or the backup is being made.
    SettingUp,
    /// What was typed is being tried.
    Unlocking,
    /// This device is being signed.
    Signing,
    /// The backup is being looked for.
    ConnectingBackup,
    /// Old keys are coming down.
    Restoring {
        /// How many are here.
        done: u64,
        /// How many the backup has.
        total: u64,
    },
    /// There is nothing to do.
    Ready,
}

/// A way to the account's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecoveryWay {
    /// The recovery key, as written down.
    RecoveryKey,
    /// The passphrase that the recovery key was made of.
    Passphrase,
    /// Another device of the account that is signed: verify it, and it sends them.
    OtherDevice,
    /// A new identity: whoever verified the account must do it again, and what only the old keys
    /// open stays closed.
    StartFresh,
}

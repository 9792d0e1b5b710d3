//! The way of a new login to the account's keys, as one flow: the recovery key, or another device,
//! or a new start; this device signed; the backup connected; old keys restored.
//!
//! ```text
//!  NeedsSetup ──── set up ───▶ SettingUp ─▶ KeyToKeep ─ confirm ────────┐
//!  NeedsRecovery ─ recover ──▶ Unlocking ─▶ Signing ─▶ ConnectingBackup ─▶ Restoring ─▶ TakingOver ─▶ Ready
//!        │ ▲                      │ refused                                                            │ ▲
//!        │ └──────────────────────┘                                         OutOfDate ◀── keys changed ┘ │
//!        └─ another device sends the secrets ─▶ Signing …                       └─ recover ─▶ Saving ────┘
//! ```
//!
//! The state is worked out anew from what the session layer has on disk, each time something of it
//! changed. So it is the same after a crash, and nothing has to be remembered to go on. What was
//! typed is in memory only: it must be typed again if the program dies while it is `Unlocking`,
//! which is some round trips long; all secrets are taken in the one step that ends it, and from
//! there on nothing needs the recovery key. It is not kept for those moments: it would open the
//! account for whoever gets hold of this device's store, for as long as the account has it.

use serde::{Deserialize, Serialize};

use super::{
    CommandError, Engine, Outcome, SecretText, Update,
    error::EngineError,
    faces::{Asker, answer, refusal},
    setup::Setup,
    turn::Turn,
};
use crate::e2ee::{
    BackupState, CreationStatus, OwnIdentity, RecoverySecret, StorageRefusal, StorageStatus,
};

/// Where a device is on its way to the account's keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum RecoveryState {
    /// The account has no identity, or no recovery key that the user has: one can be made here.
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
    /// Old keys are coming down, conversation by conversation.
    Restoring {
        /// Conversations whose keys are here.
        done: u64,
        /// Conversations whose keys were not when it began.
        total: u64,
    },
    /// What was sent while nobody was logged in is being read.
    TakingOver,
    /// A recovery key was made here, and the user did not say yet that they have it:
    /// [`super::Request::SetUpRecovery`] gives it again.
    KeyToKeep,
    /// What the recovery key opens is not what the account's keys are now, because they changed
    /// while it was not at hand. Typed once ([`super::Request::Recover`]), or replaced
    /// ([`super::Request::RenewRecoveryKey`]), all is well again.
    OutOfDate,
    /// What changed is being put where the recovery key opens it.
    Saving,
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

/// What is remembered of the flow while we run.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// What the faces were told.
    told: Option<RecoveryState>,
    /// Something of it may have changed.
    changed: bool,
    /// Who waits for the end of an attempt to recover.
    waiting: Vec<Asker>,
    /// Who said that they have the recovery key, and waits until it is the account's.
    pub(super) confirming: Vec<Asker>,
    /// A setup under way.
    pub(super) setup: Option<Setup>,
}

impl Recovery {
    /// What the faces are told is to be worked out anew.
    pub(super) fn note_change(&mut self) {
        self.changed = true;
    }
}

/// What the state is worked out from.
struct Facts {
    own: OwnIdentity,
    cross_signed: bool,
    storage: StorageStatus,
    backup: BackupState,
    /// Whether the keys of a device that waited are being taken over.
    taking_over: bool,
}

impl Facts {
    fn read(engine: &Engine, turn: &Turn<'_>) -> Result<Self, EngineError> {
        let Engine { machine, .. } = engine;
        Ok(Self {
            own: machine.own_identity(&turn.step)?,
            cross_signed: machine.is_cross_signed(&turn.step)?,
            storage: machine.storage_status(&turn.step)?,
            backup: machine.backup_state(&turn.step)?,
            taking_over: machine.is_taking_over(),
        })
    }

    /// Where this device is, with what it can do when it is outside.
    fn state(&self, other_device: bool) -> RecoveryState {
        if self.storage.is_opening {
            return RecoveryState::Unlocking;
        }
        match self.own {
            OwnIdentity::None => RecoveryState::NeedsSetup,
            OwnIdentity::Theirs => self.outside(other_device),
            // The opening of the storage was interrupted between two secrets, or another device has
            // yet to sign this one.
            OwnIdentity::Verified { has_self_signing: false, .. } if !self.cross_signed => {
                self.outside(other_device)
            }
            OwnIdentity::Verified { .. } if !self.cross_signed => RecoveryState::Signing,
            OwnIdentity::Verified { .. } if self.lacks_storage() => RecoveryState::NeedsSetup,
            OwnIdentity::Verified { .. } => self.with_backup(other_device),
        }
    }

    /// Whether the storage is not there, or its making or a start anew was interrupted.
    fn lacks_storage(&self) -> bool {
        let StorageStatus { exists, is_fresh_start, creation, .. } = self.storage;
        !exists || is_fresh_start || creation == CreationStatus::Writing
    }

    fn with_backup(&self, other_device: bool) -> RecoveryState {
        let BackupState { version, checked, connected, connecting, restoring, problem, .. } =
            &self.backup;
        if *connecting || !checked && problem.is_none() {
            return RecoveryState::ConnectingBackup;
        }
        match restoring {
            Some((done, total)) if *connected => {
                RecoveryState::Restoring { done: *done, total: *total }
            }
            Some(_) | None if version.is_some() && !connected && problem.is_none() => {
                self.outside(other_device)
            }
            Some(_) | None if self.taking_over => RecoveryState::TakingOver,
            Some(_) | None => self.with_all_keys(),
        }
    }

    /// This device has what it needs; whether a recovery key opens the same.
    fn with_all_keys(&self) -> RecoveryState {
        let StorageStatus { creation, unwritten, is_writing, .. } = self.storage;
        match creation {
            CreationStatus::Unconfirmed => RecoveryState::KeyToKeep,
            CreationStatus::Replacing if is_writing => RecoveryState::SettingUp,
            CreationStatus::Replacing => RecoveryState::OutOfDate,
            CreationStatus::None | CreationStatus::Writing if is_writing => RecoveryState::Saving,
            CreationStatus::None | CreationStatus::Writing if 0 < unwritten => {
                RecoveryState::OutOfDate
            }
            CreationStatus::None | CreationStatus::Writing => RecoveryState::Ready,
        }
    }

    fn outside(&self, other_device: bool) -> RecoveryState {
        let ways = [
            (RecoveryWay::RecoveryKey, self.storage.exists),
            (RecoveryWay::Passphrase, self.storage.has_passphrase),
            (RecoveryWay::OtherDevice, other_device),
            (RecoveryWay::StartFresh, true),
        ];
        let open = ways.into_iter().filter(|(_, is_open)| *is_open);
        RecoveryState::NeedsRecovery { ways: open.map(|(way, _)| way).collect() }
    }
}

impl Engine {
    /// Where this device is; `None` while that is not known.
    pub(super) fn recovery_state(
        &self,
        turn: &Turn<'_>,
    ) -> Result<Option<RecoveryState>, EngineError> {
        if !self.rooms.synced || !self.machine.knows_itself() {
            return Ok(None);
        }
        if self.recovery.setup.is_some() {
            return Ok(Some(RecoveryState::SettingUp));
        }
        let other_device = self.machine.has_other_signed_device(&turn.step)?;
        Ok(Some(Facts::read(self, turn)?.state(other_device)))
    }

    /// Tells a face that comes.
    pub(super) fn greet_recovery(&self) -> Option<Update> {
        self.recovery.told.clone().map(Update::Recovery)
    }

    /// Tells what changed, and answers who waited for it.
    pub(super) fn settle_recovery(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        while std::mem::take(&mut self.recovery.changed) {
            self.proceed_setup(turn)?;
            self.end_confirming(turn)?;
            self.tell_recovery(turn)?;
            self.act_on_notices(turn)?;
        }
        Ok(())
    }

    fn tell_recovery(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        let Some(state) = self.recovery_state(turn)? else { return Ok(()) };
        match &state {
            RecoveryState::NeedsRecovery { .. } => {
                let words = "the account's secret storage does not hold what this device needs; \
                             verify it with another device, or start fresh";
                self.end_waiting(&Err(refusal("not_recovered", words)), turn);
            }
            RecoveryState::Ready
            | RecoveryState::KeyToKeep
            | RecoveryState::OutOfDate
            | RecoveryState::NeedsSetup => {
                let facts = Facts::read(self, turn)?;
                let recovered = Outcome::Recovered {
                    cross_signed: facts.cross_signed,
                    backup_version: facts.backup.version.filter(|_| facts.backup.connected),
                    keys_restored: facts.backup.restored,
                };
                self.end_waiting(&Ok(recovered), turn);
            }
            RecoveryState::SettingUp
            | RecoveryState::Unlocking
            | RecoveryState::Signing
            | RecoveryState::ConnectingBackup
            | RecoveryState::Restoring { .. }
            | RecoveryState::TakingOver
            | RecoveryState::Saving => {}
        }
        if self.recovery.told.as_ref() != Some(&state) {
            self.recovery.told = Some(state.clone());
            turn.tell_all(Update::Recovery(state));
        }
        Ok(())
    }

    fn end_waiting(&mut self, result: &Result<Outcome, CommandError>, turn: &mut Turn<'_>) {
        for (face, id) in std::mem::take(&mut self.recovery.waiting) {
            answer((face, id), result.clone(), turn);
        }
    }

    /// [`super::Request::Recover`].
    pub(super) fn recover(
        &mut self,
        from: Asker,
        secret: SecretText,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let newer = refusal("canceled", "another attempt was begun");
        self.end_waiting(&Err(newer), turn);
        self.recovery.waiting.push(from);
        self.recovery.changed = true;
        // The backup is found in the step that opens it, and its first room asked for at once.
        self.machine.restore_first(&self.rooms_by_interest());
        let secret = RecoverySecret::typed(secret.into_secret());
        Ok(self.machine.open_secret_storage(secret, &mut turn.step)?)
    }

    pub(super) fn on_storage_refused(&mut self, why: &StorageRefusal, turn: &mut Turn<'_>) {
        let error = refusal(code(why), why.to_string());
        self.end_waiting(&Err(error.clone()), turn);
        self.fail_confirming(&error, turn);
        self.fail_setup(&error, turn);
    }
}

/// The refusal in one word, for scripts.
fn code(why: &StorageRefusal) -> &str {
    match why {
        StorageRefusal::NotAKey(_) | StorageRefusal::NoPassphrase => "not_a_recovery_key",
        StorageRefusal::NoStorage => "no_secret_storage",
        StorageRefusal::Unsupported => "unsupported",
        StorageRefusal::WrongKey | StorageRefusal::WrongPassphrase => "wrong_recovery_key",
        StorageRefusal::PassphraseTooWeak | StorageRefusal::PassphraseTooSlow => "bad_passphrase",
        StorageRefusal::Server(error) => &error.errcode,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> Facts {
        let own = OwnIdentity::Verified {
            has_master: true,
            has_self_signing: true,
            has_user_signing: true,
        };
        let storage = StorageStatus { exists: true, ..StorageStatus::default() };
        let backup = BackupState { checked: true, connected: true, ..BackupState::default() };
        Facts { own, cross_signed: true, storage, backup, taking_over: false }
    }

    #[test]
    fn what_the_recovery_key_does_not_open_is_said() {
        let mut facts = ready();
        facts.storage.unwritten = 1;
        assert_eq!(facts.state(false), RecoveryState::OutOfDate);
        facts.storage.is_writing = true;
        assert_eq!(facts.state(false), RecoveryState::Saving);
        facts.storage.creation = CreationStatus::Replacing;
        assert_eq!(facts.state(false), RecoveryState::SettingUp);
        // The server refused: the old key opens what it opened, and all can be tried again.
        facts.storage.is_writing = false;
        assert_eq!(facts.state(false), RecoveryState::OutOfDate);
    }

    #[test]
    fn a_key_that_was_made_and_not_confirmed_is_still_to_be_kept() {
        let mut facts = ready();
        assert_eq!(facts.state(false), RecoveryState::Ready);
        facts.taking_over = true;
        assert_eq!(facts.state(false), RecoveryState::TakingOver);
        facts.taking_over = false;
        facts.storage.creation = CreationStatus::Unconfirmed;
        assert_eq!(facts.state(false), RecoveryState::KeyToKeep);
        facts.storage.is_fresh_start = true;
        assert_eq!(facts.state(false), RecoveryState::NeedsSetup, "the backup is the old one");
        facts.storage.is_fresh_start = false;
        facts.storage.exists = false;
        assert_eq!(facts.state(false), RecoveryState::NeedsSetup, "the server has none of it");
    }

    #[test]
    fn a_device_that_has_but_the_master_key_asks_for_the_recovery_key_again() {
        let verified = |has_self_signing| OwnIdentity::Verified {
            has_master: true,
            has_self_signing,
            has_user_signing: false,
        };
        let storage = StorageStatus { exists: true, ..StorageStatus::default() };
        let backup = BackupState::default();
        let own = verified(false);
        let mut facts = Facts { own, cross_signed: false, storage, backup, taking_over: false };
        let RecoveryState::NeedsRecovery { ways } = facts.state(true) else { panic!("it waits") };
        assert!(
            ways.contains(&RecoveryWay::RecoveryKey) && ways.contains(&RecoveryWay::OtherDevice)
        );
        facts.own = verified(true);
        assert_eq!(facts.state(true), RecoveryState::Signing, "its signature is on its way");
    }
}

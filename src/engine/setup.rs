//! Making what an account lacks: identity, secret storage, backup, in this order; or all of it anew.
//! What was done is on disk, and that all is made anew: after a crash, asking again goes on from
//! there, with the same recovery key until the user has it.

use super::{
    CommandError, Engine, Outcome, SecretText,
    error::EngineError,
    faces::{Asker, answer, refusal},
    turn::Turn,
};
use crate::{
    e2ee::{
        BackupState, Bootstrap, CreationStatus, Derivation, DerivedKey, OwnIdentity, RequestKind,
        StorageStatus,
    },
    secret::Secret,
};

/// A setup under way.
#[derive(Debug)]
pub(super) struct Setup {
    from: Asker,
    extent: Extent,
    passphrase: Passphrase,
    /// The recovery key, once there is one.
    made: Option<Secret<String>>,
    backup: BackupStep,
}

/// How much is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// What is lacking.
    Missing,
    /// A recovery key in the place of the one there is, and what is lacking.
    NewKey,
    /// All, and the identity is on its way.
    Everything,
}

/// What the recovery key is made of.
#[derive(Debug)]
enum Passphrase {
    None,
    Deriving(Derivation),
    Derived(DerivedKey),
}

/// How far the backup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BackupStep {
    ToDo,
    /// A new one was asked for.
    Asked,
}

/// What becomes of a setup.
enum Next {
    Wait,
    Done(Secret<String>),
    Fail(CommandError),
}

/// A key that was made here is not the account's.
fn overtaken() -> CommandError {
    let words = "another client made a recovery key meanwhile: that one counts, and the one made here \
                 opens nothing; `grotto setup-recovery --new-key` makes another";
    refusal("recovery_exists", words)
}

impl Engine {
    /// [`super::Request::SetUpRecovery`].
    pub(super) fn set_up_recovery(
        &mut self,
        from: Asker,
        passphrase: Option<SecretText>,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let storage = self.machine.storage_status(&turn.step)?;
        let BackupState { checked, version, .. } = self.machine.backup_state(&turn.step)?;
        let lacks_backup = checked && version.is_none();
        let is_ours = storage.creation != CreationStatus::None || storage.is_open && lacks_backup;
        if storage.exists && !is_ours {
            let words = if self.machine.can_renew_storage(&turn.step)? {
                "this account has a recovery key already, and this device its keys; `grotto \
                 setup-recovery --new-key` makes a new one in the place of one that is lost"
            } else {
                "this account has a recovery key already: use it with `grotto recover`, or verify \
                 this device with another one"
            };
            answer(from, Err(refusal("recovery_exists", words)), turn);
            return Ok(());
        }
        let extent = if storage.is_fresh_start { Extent::Everything } else { Extent::Missing };
        self.begin_making(from, (extent, storage.creation), passphrase, turn)
    }

    /// [`super::Request::RenewRecoveryKey`].
    pub(super) fn renew_key(
        &mut self,
        from: Asker,
        passphrase: Option<SecretText>,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let storage = self.machine.storage_status(&turn.step)?;
        if storage.exists && !self.machine.can_renew_storage(&turn.step)? {
            let words = "this device does not have all of the account's keys, so a new recovery key \
                         would not open them all: use the present one with `grotto recover`, or \
                         verify this device with another one";
            answer(from, Err(refusal("keys_missing", words)), turn);
            return Ok(());
        }
        let extent = if storage.is_fresh_start { Extent::Everything } else { Extent::NewKey };
        self.begin_making(from, (extent, storage.creation), passphrase, turn)
    }

    fn begin_making(
        &mut self,
        from: Asker,
        (extent, creation): (Extent, CreationStatus),
        passphrase: Option<SecretText>,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let passphrase = match passphrase.filter(|_| creation == CreationStatus::None) {
            None => Passphrase::None,
            Some(passphrase) => {
                let derivation = Derivation::of_new(passphrase.into_secret())?;
                turn.out.derive = Some(derivation.clone());
                Passphrase::Deriving(derivation)
            }
        };
        self.begin_setup(from, extent, passphrase, turn);
        Ok(())
    }

    /// [`super::Request::StartFresh`].
    pub(super) fn start_fresh(
        &mut self,
        from: Asker,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        self.machine.begin_fresh_start(&mut turn.step)?;
        self.begin_setup(from, Extent::Everything, Passphrase::None, turn);
        Ok(())
    }

    fn begin_setup(
        &mut self,
        from: Asker,
        extent: Extent,
        passphrase: Passphrase,
        turn: &mut Turn<'_>,
    ) {
        self.fail_setup(&refusal("canceled", "another attempt was begun"), turn);
        let setup = Setup { from, extent, passphrase, made: None, backup: BackupStep::ToDo };
        self.recovery.setup = Some(setup);
        self.recovery.note_change();
    }

    /// [`super::Request::ConfirmRecoveryKey`].
    pub(super) fn confirm_recovery_key(
        &mut self,
        from: Asker,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        self.machine.confirm_recovery_key(&mut turn.step)?;
        self.recovery.confirming.push(from);
        self.recovery.note_change();
        Ok(())
    }

    /// Answers who confirmed a recovery key: it opens everything now.
    pub(super) fn end_confirming(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        if self.recovery.confirming.is_empty() {
            return Ok(());
        }
        let StorageStatus { creation, is_overtaken, .. } =
            self.machine.storage_status(&turn.step)?;
        match creation {
            CreationStatus::Replacing => {}
            CreationStatus::None if is_overtaken => self.fail_confirming(&overtaken(), turn),
            CreationStatus::None | CreationStatus::Writing | CreationStatus::Unconfirmed => {
                for (face, id) in std::mem::take(&mut self.recovery.confirming) {
                    answer((face, id), Ok(Outcome::Done), turn);
                }
            }
        }
        Ok(())
    }

    /// The server does not take the storage.
    pub(super) fn fail_confirming(&mut self, error: &CommandError, turn: &mut Turn<'_>) {
        for (face, id) in std::mem::take(&mut self.recovery.confirming) {
            answer((face, id), Err(error.clone()), turn);
        }
    }

    /// The setup cannot go on.
    pub(super) fn fail_setup(&mut self, error: &CommandError, turn: &mut Turn<'_>) {
        if let Some(Setup { from: (face, id), .. }) = self.recovery.setup.take() {
            answer((face, id), Err(error.clone()), turn);
            self.recovery.note_change();
        }
    }

    /// A passphrase was made a key: for the setup that waits for it, or for the storage that is opened.
    pub(super) fn on_derived(
        &mut self,
        derived: DerivedKey,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        self.recovery.note_change();
        if let Some(setup) = &mut self.recovery.setup
            && let Passphrase::Deriving(derivation) = &setup.passphrase
            && derived.is_of(derivation)
        {
            setup.passphrase = Passphrase::Derived(derived);
            return Ok(());
        }
        Ok(self.machine.receive_derived_key(derived, &mut turn.step)?)
    }

    /// Does the next step of a setup, if the last one is done.
    pub(super) fn proceed_setup(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        let Some(mut setup) = self.recovery.setup.take() else { return Ok(()) };
        let (face, id) = setup.from;
        match self.next_of_setup(&mut setup, turn)? {
            Next::Wait => self.recovery.setup = Some(setup),
            Next::Done(key) => {
                self.machine.end_fresh_start(&mut turn.step)?;
                let recovery_key = SecretText::from(key);
                answer((face, id), Ok(Outcome::RecoveryKey { recovery_key }), turn);
            }
            Next::Fail(error) => answer((face, id), Err(error), turn),
        }
        Ok(())
    }

    fn next_of_setup(
        &mut self,
        setup: &mut Setup,
        turn: &mut Turn<'_>,
    ) -> Result<Next, EngineError> {
        let unanswered = self.machine.unanswered(&turn.step)?;
        if unanswered.iter().any(|it| it.kind == RequestKind::SigningKeysUpload) {
            return Ok(Next::Wait);
        }
        match self.machine.own_identity(&turn.step)? {
            OwnIdentity::None => {
                let _: Bootstrap = self.machine.bootstrap_cross_signing(&mut turn.step)?;
                return Ok(Next::Wait);
            }
            OwnIdentity::Theirs => {
                let words = "this device is not part of the account's identity yet: use `grotto \
                             recover`, or verify it with another device";
                return Ok(Next::Fail(refusal("not_verified", words)));
            }
            OwnIdentity::Verified { .. } => {}
        }
        if setup.extent == Extent::Everything && setup.made.is_none() {
            // What it holds opens nothing any more.
            self.machine.give_up_secret_storage(&mut turn.step)?;
        }
        let key = match (&setup.made, &setup.passphrase) {
            (Some(key), _) => key.clone(),
            (None, Passphrase::Deriving(_)) => return Ok(Next::Wait),
            (None, passphrase) => {
                let derived = match passphrase {
                    Passphrase::Derived(derived) => Some(derived.clone()),
                    Passphrase::None | Passphrase::Deriving(_) => None,
                };
                match setup.extent {
                    Extent::NewKey => self.machine.renew_secret_storage(derived, &mut turn.step)?,
                    Extent::Missing | Extent::Everything => {
                        self.machine.create_secret_storage(derived, &mut turn.step)?
                    }
                }
            }
        };
        setup.made = Some(key.clone());
        let storage = self.machine.storage_status(&turn.step)?;
        match storage.creation {
            CreationStatus::Unconfirmed => {}
            CreationStatus::Writing | CreationStatus::Replacing => return Ok(Next::Wait),
            // The key was confirmed before, and is in its place now.
            CreationStatus::None if storage.is_open => return Ok(Next::Done(key)),
            CreationStatus::None => return Ok(Next::Fail(overtaken())),
        }
        let is_whole = storage.unwritten == 0 && !self.machine.is_dehydrating();
        if self.is_backup_settled(setup, turn)? && is_whole {
            return Ok(Next::Done(key));
        }
        Ok(Next::Wait)
    }

    /// Whether there is a backup whose key is here, or none can be had.
    fn is_backup_settled(
        &mut self,
        setup: &mut Setup,
        turn: &mut Turn<'_>,
    ) -> Result<bool, EngineError> {
        let BackupState { checked, connected, connecting, problem, .. } =
            self.machine.backup_state(&turn.step)?;
        let is_old = setup.extent == Extent::Everything
            && setup.backup == BackupStep::ToDo
            && !self.machine.has_fresh_backup(&turn.step)?;
        Ok(match setup.backup {
            _ if connecting => false,
            _ if connected && !is_old => true,
            BackupStep::Asked => true,
            BackupStep::ToDo if !checked && problem.is_none() => false,
            BackupStep::ToDo => {
                setup.backup = BackupStep::Asked;
                self.machine.create_backup(&mut turn.step)?;
                false
            }
        })
    }
}

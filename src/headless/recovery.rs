//! `recover` and `setup-recovery`: the account's keys, and the key to them.

use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout;

use super::{
    errand::Errand, error::HeadlessError, output::Output, people::safe, resolve::unexpected,
};
use crate::engine::{Outcome, RecoveryState, RecoveryWay, Request, SecretText, Update};

/// How long a login waits to learn how the account stands.
const LOOK: Duration = Duration::from_secs(5);

/// What `recover` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Recovered {
    cross_signed: bool,
    backup_version: Option<String>,
    keys_restored: u64,
}

/// What `setup-recovery` prints. It is the one secret that a command prints: nobody else has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Made {
    recovery_key: SecretText,
}

/// What `setup-recovery` makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Making {
    /// What the account lacks.
    Missing,
    /// A recovery key in the place of the one there is.
    NewKey,
}

/// Opens the account's secret storage: signs this device, connects the backup, restores its keys.
/// `progress` is told how far it is, in words, and `None` before the result is shown.
///
/// # Errors
/// When the key is not the account's, or something does not come in time.
pub async fn recover(
    errand: &mut Errand,
    output: &mut Output,
    secret: SecretText,
    progress: &mut dyn FnMut(Option<&str>),
) -> Result<(), HeadlessError> {
    errand.ready().await?;
    let asked = errand
        .ask_watching(Request::Recover { secret }, |update| {
            if let Update::Recovery(state) = update
                && let Some(words) = going_on(state)
            {
                progress(Some(&words));
            }
        })
        .await;
    progress(None);
    let outcome = asked?;
    let Outcome::Recovered { cross_signed, backup_version, keys_restored } = outcome else {
        return Err(unexpected(&outcome).into());
    };
    let recovered = Recovered { cross_signed, backup_version, keys_restored };
    output.show(&recovered, |recovered| Some(words(recovered)))
}

/// Makes what the account lacks of identity, secret storage and backup, or a recovery key in the
/// place of the one there is, and prints the recovery key; only then does the engine forget it.
///
/// # Errors
/// When the account has a recovery key already and that was not to be replaced, or something does
/// not come in time.
pub async fn set_up_recovery(
    errand: &mut Errand,
    output: &mut Output,
    making: Making,
    progress: &mut dyn FnMut(Option<&str>),
) -> Result<(), HeadlessError> {
    errand.ready().await?;
    progress(Some("Making a recovery key …"));
    let request = match making {
        Making::Missing => Request::SetUpRecovery { passphrase: None },
        Making::NewKey => Request::RenewRecoveryKey { passphrase: None },
    };
    let asked = errand.ask_watching(request, |_| {}).await;
    progress(None);
    let outcome = asked?;
    let Outcome::RecoveryKey { recovery_key } = outcome else {
        return Err(unexpected(&outcome).into());
    };
    let made = Made { recovery_key };
    output.show(&made, |made| {
        Some(format!(
            "{}\n\nThis is the account's recovery key. Keep it where you keep passwords: it opens \
             your messages\non new devices when no other device is at hand, and nobody can give it \
             to you again.",
            made.recovery_key.expose()
        ))
    })?;
    errand.ask(Request::ConfirmRecoveryKey).await?;
    Ok(())
}

/// How the account stands, for a login that is about to end; `None` when it is not known in time.
///
/// # Errors
/// When the engine ended.
pub async fn look(errand: &mut Errand) -> Result<Option<RecoveryState>, HeadlessError> {
    let looked = timeout(LOOK, async {
        loop {
            match errand.recovery() {
                Some(RecoveryState::SettingUp | RecoveryState::Signing) | None => {}
                Some(state) => return Ok(state.clone()),
            }
            errand.next().await?;
        }
    });
    looked.await.map_or(Ok(None), |state| state.map(Some))
}

/// Whether something that was typed can help.
pub fn can_be_typed(state: &RecoveryState) -> bool {
    match state {
        RecoveryState::NeedsRecovery { ways } => {
            ways.iter().any(|way| matches!(way, RecoveryWay::RecoveryKey | RecoveryWay::Passphrase))
        }
        RecoveryState::NeedsSetup
        | RecoveryState::SettingUp
        | RecoveryState::Unlocking
        | RecoveryState::Signing
        | RecoveryState::ConnectingBackup
        | RecoveryState::Restoring { .. }
        | RecoveryState::TakingOver
        | RecoveryState::KeyToKeep
        | RecoveryState::OutOfDate
        | RecoveryState::Saving
        | RecoveryState::Ready => false,
    }
}

fn going_on(state: &RecoveryState) -> Option<String> {
    Some(match state {
        RecoveryState::NeedsSetup
        | RecoveryState::NeedsRecovery { .. }
        | RecoveryState::KeyToKeep
        | RecoveryState::OutOfDate
        | RecoveryState::Ready => return None,
        RecoveryState::Saving => "Saving what changed …".to_owned(),
        RecoveryState::SettingUp => "Making a recovery key …".to_owned(),
        RecoveryState::Unlocking => "Trying the recovery key …".to_owned(),
        RecoveryState::Signing => "Signing this device …".to_owned(),
        RecoveryState::ConnectingBackup => "Connecting the key backup …".to_owned(),
        RecoveryState::Restoring { done, total } => {
            format!("{done} of {total} conversations' keys restored")
        }
        RecoveryState::TakingOver => "Reading what came while you were logged out …".to_owned(),
    })
}

fn words(recovered: &Recovered) -> String {
    let Recovered { cross_signed, backup_version, keys_restored } = recovered;
    let signed = if *cross_signed {
        "this device is signed: others see that it is yours"
    } else {
        "this device is NOT signed"
    };
    let backup = match backup_version {
        Some(version) => {
            let keys = if *keys_restored == 1 { "key" } else { "keys" };
            format!("key backup {} is connected, {keys_restored} {keys} restored", safe(version))
        }
        None => "no key backup is connected".to_owned(),
    };
    format!("{signed}\n{backup}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_in_conversations() {
        let state = RecoveryState::Restoring { done: 3, total: 12 };
        assert_eq!(going_on(&state).unwrap(), "3 of 12 conversations' keys restored");
        assert_eq!(going_on(&RecoveryState::Ready), None);
    }
}

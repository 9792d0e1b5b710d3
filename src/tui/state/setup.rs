//! The way of this device to the account's keys, in words: what stands above the screen meanwhile, and
//! what is asked.

use super::overlay::Answer;
use crate::engine::{AuthPrompt, BackupState, RecoveryState, RecoveryWay};

/// What to say above the screen; nothing once there is nothing to do.
pub(in crate::tui) fn bar(recovery: &RecoveryState) -> Option<String> {
    Some(match recovery {
        RecoveryState::NeedsSetup => {
            "Without a recovery key, losing this device loses your messages".to_owned()
        }
        RecoveryState::NeedsRecovery { .. } => {
            "Old messages are locked on this new device".to_owned()
        }
        RecoveryState::SettingUp => "Making your recovery key …".to_owned(),
        RecoveryState::Unlocking => "Unlocking your keys …".to_owned(),
        RecoveryState::Signing => "Signing this device …".to_owned(),
        RecoveryState::ConnectingBackup => "Looking for the key backup …".to_owned(),
        RecoveryState::Restoring { done, total } => {
            format!("Unlocking old messages: {done} of {total} conversations' keys restored")
        }
        RecoveryState::TakingOver => "Reading what came while you were logged out …".to_owned(),
        RecoveryState::KeyToKeep => "Your recovery key waits to be written down".to_owned(),
        RecoveryState::OutOfDate => {
            "Recovery is out of date: type the recovery key once".to_owned()
        }
        RecoveryState::Saving => "Bringing recovery up to date …".to_owned(),
        RecoveryState::Ready => return None,
    })
}

/// What to say above the screen while the server wants to know who the user is.
pub(super) fn auth_bar(prompt: &AuthPrompt) -> String {
    let is_password = prompt.takes_password || prompt.page.is_none();
    let words = match (is_password, &prompt.refused) {
        (true, None) => "The server asks for your password before it takes your keys",
        (true, Some(_)) => "The server refused the password, and asks for it again",
        (false, _) => "The server asks who you are before it takes your keys",
    };
    words.to_owned()
}

/// Fewer keys than these are saved before anybody has read that they are.
const MANY_KEYS: u64 = 200;

/// What to say above the screen while many keys are saved.
pub(in crate::tui) fn saving_bar(backup: &BackupState) -> Option<String> {
    let is_saving = backup.trusted && backup.problem.is_none() && MANY_KEYS <= backup.to_upload;
    let words = format!("Saving keys to the backup: {} to go", backup.to_upload);
    is_saving.then_some(words)
}

/// A recovery key in two lines, to be copied by hand.
pub(super) fn written_out(key: &str) -> String {
    let groups: Vec<&str> = key.split_whitespace().collect();
    let lines = groups.chunks(groups.len().div_ceil(2).max(1)).map(|line| line.join(" "));
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether the user can do something now.
pub(super) fn is_waiting_for_user(recovery: &RecoveryState) -> bool {
    match recovery {
        RecoveryState::NeedsSetup
        | RecoveryState::NeedsRecovery { .. }
        | RecoveryState::KeyToKeep
        | RecoveryState::OutOfDate => true,
        RecoveryState::SettingUp
        | RecoveryState::Unlocking
        | RecoveryState::Signing
        | RecoveryState::ConnectingBackup
        | RecoveryState::Restoring { .. }
        | RecoveryState::TakingOver
        | RecoveryState::Saving
        | RecoveryState::Ready => false,
    }
}

/// The ways to the keys, to choose from.
pub(super) fn ways(ways: &[RecoveryWay]) -> Vec<(Answer, &'static str)> {
    let has = |way| ways.contains(&way);
    let secret = match (has(RecoveryWay::RecoveryKey), has(RecoveryWay::Passphrase)) {
        (true, false) => Some("Type the recovery key"),
        (false, true) => Some("Type the recovery passphrase"),
        (true, true) => Some("Type the recovery key or passphrase"),
        (false, false) => None,
    };
    let secret = secret.map(|words| (Answer::TypeSecret, words));
    let other = has(RecoveryWay::OtherDevice)
        .then_some((Answer::OtherDevice, "Verify with another device of mine"));
    let fresh = has(RecoveryWay::StartFresh)
        .then_some((Answer::StartFresh, "Neither is left: start fresh …"));
    let later = Some((Answer::Cancel, "Decide later"));
    [secret, other, fresh, later].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ways_that_lead_somewhere_are_offered_and_later_always_is() {
        let words = |list: &[RecoveryWay]| -> Vec<Answer> {
            ways(list).into_iter().map(|(answer, _)| answer).collect()
        };
        assert_eq!(words(&[]), [Answer::Cancel]);
        assert_eq!(
            words(&[RecoveryWay::Passphrase, RecoveryWay::StartFresh]),
            [Answer::TypeSecret, Answer::StartFresh, Answer::Cancel]
        );
    }
}

//! `keys status`, `keys why`, and what login and logout ask of the engine.

use std::{collections::BTreeMap, io::Write as _, time::Duration};

use serde::Serialize;

use super::{
    errand::Errand,
    error::HeadlessError,
    output::Output,
    resolve::{resolve, unexpected},
    trust::{auth_needed, done, own_state},
};
use crate::{
    engine::{
        BackupProblem, BackupState, KeyForwarding, KeyRequestStatus, KeyStatus, Outcome,
        OwnIdentity, RecoveryState, Request, SecretText, Update,
    },
    matrix::OwnedEventId,
};

/// How often it is asked whether the keys are on the server.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// What `keys status` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Status {
    #[serde(flatten)]
    keys: Box<KeyStatus>,
    identity: OwnIdentity,
    cross_signed: bool,
    backup: BackupState,
    recovery: Option<RecoveryState>,
    undecryptable: BTreeMap<String, u64>,
}

/// Prints this device's fingerprint and counts of keys.
///
/// # Errors
/// When the engine cannot say in time.
pub async fn key_status(errand: &mut Errand, output: &mut Output) -> Result<(), HeadlessError> {
    errand.ready().await?;
    let status = status(errand).await?;
    output.show(&status, |status| Some(words(status)))
}

/// Prints how a message was encrypted, and why it cannot be read if it cannot.
///
/// # Errors
/// When the room or the event is not here, or the engine cannot say in time.
pub async fn key_story(
    errand: &mut Errand,
    output: &mut Output,
    room: &str,
    event: OwnedEventId,
) -> Result<(), HeadlessError> {
    errand.ready().await?;
    let room = resolve(errand, room).await?;
    let outcome = errand.ask(Request::KeyStory { room, event }).await?;
    let Outcome::KeyStory(story) = outcome else { return Err(unexpected(&outcome).into()) };
    output.show(&story, |story| {
        let lines = story.lines().into_iter();
        let lines = lines.map(|(about, words)| format!("{about:<13} {}", words.as_str()));
        Some(lines.collect::<Vec<_>>().join("\n"))
    })
}

/// Proof that other devices can write to this one.
#[derive(Clone, Copy, Debug)]
pub struct KeysUploaded(());

/// How a new login stands.
#[derive(Clone, Debug)]
pub struct Settled {
    /// This device can be written to.
    pub keys: KeysUploaded,
    /// What the user is to know: why their identity does not vouch for this device.
    pub warning: Option<String>,
}

/// After a login: waits until the first sync is done, this device's keys are on the server and an
/// account without an identity has one. `password` is offered once, should the server want it.
///
/// # Errors
/// When that does not come in time.
pub async fn settle(
    errand: &mut Errand,
    mut password: Option<SecretText>,
) -> Result<Settled, HeadlessError> {
    errand.ready().await?;
    while !status(errand).await?.keys.uploaded {
        tokio::time::sleep(ASK_AGAIN).await;
    }
    let keys = KeysUploaded(());
    loop {
        let state = own_state(errand, None).await?;
        if let Some(prompt) = &state.auth {
            let proof = password.take().filter(|_| prompt.takes_password);
            if proof.is_none() {
                let words = auth_needed(prompt).message;
                let warning =
                    format!("your account has no identity yet: {words} (grotto reset-identity)");
                return Ok(Settled { keys, warning: Some(warning) });
            }
            done(errand, Request::Authenticate { password: proof }).await?;
        } else if !state.under_way {
            let warning = match state.own {
                OwnIdentity::Verified { .. } => None,
                OwnIdentity::Theirs => Some(
                    "this device is not verified yet: run grotto recover with your recovery key, \
                     or grotto verify with another device of yours"
                        .to_owned(),
                ),
                OwnIdentity::None => {
                    Some("your account has no identity: the server did not take one".to_owned())
                }
            };
            return Ok(Settled { keys, warning });
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// Ends this device on the server, when the key backup has what only this device may have.
///
/// # Errors
/// When the server refuses or cannot be reached in time.
pub async fn logout(errand: &mut Errand) -> Result<(), HeadlessError> {
    errand.ready().await?;
    back_up_keys(errand).await?;
    errand.be_patient();
    let outcome = errand.ask(Request::Logout).await?;
    if outcome == Outcome::Done { Ok(()) } else { Err(unexpected(&outcome).into()) }
}

/// Waits until the key backup has all keys, as far as there is one that takes them; says how many
/// are left.
async fn back_up_keys(errand: &mut Errand) -> Result<(), HeadlessError> {
    errand.be_patient();
    let mut left = 0;
    let watch = |update: &Update| {
        if let Update::Backup(backup) = update
            && backup.trusted
            && backup.to_upload != left
        {
            left = backup.to_upload;
            writeln!(std::io::stderr(), "{left} keys left to back up").unwrap_or_default();
        }
    };
    errand.ask_watching(Request::FlushBackup, watch).await.map(drop)
}

/// Where this device is on its way to the account's keys.
pub(super) async fn recovery(errand: &mut Errand) -> Result<Option<RecoveryState>, HeadlessError> {
    Ok(status(errand).await?.recovery)
}

async fn status(errand: &mut Errand) -> Result<Status, HeadlessError> {
    let outcome = errand.ask(Request::KeyStatus).await?;
    let Outcome::KeyStatus { keys, identity, cross_signed, backup, recovery, undecryptable } =
        outcome
    else {
        return Err(unexpected(&outcome).into());
    };
    let undecryptable = undecryptable.into_iter().collect();
    let (backup, recovery) = (*backup, recovery.map(|state| *state));
    Ok(Status { keys, identity, cross_signed, backup, recovery, undecryptable })
}

fn words(status: &Status) -> String {
    let keys = &status.keys;
    let on_server = if keys.uploaded { "on the server" } else { "NOT on the server yet" };
    let mut lines = vec![
        format!("fingerprint    {}", keys.ed25519),
        format!("device keys    {on_server}, {} one-time keys left", keys.one_time_keys),
        format!("cross-signing  {}", identity_words(status)),
        format!("room keys      {}", keys.room_keys),
        format!("key backup     {}", backup_words(&status.backup)),
        format!("key requests   {}", request_words(&keys.key_requests)),
        format!("recovery       {}", recovery_words(status.recovery.as_ref())),
        format!("known          {} users, {} devices", keys.tracked_users, keys.devices),
    ];
    if status.undecryptable.is_empty() {
        lines.push("undecryptable  none".to_owned());
    }
    for (reason, count) in &status.undecryptable {
        lines.push(format!("undecryptable  {count} ({})", super::people::safe(reason)));
    }
    lines.join("\n")
}

fn request_words(requests: &KeyRequestStatus) -> String {
    match requests.policy {
        KeyForwarding::Off => {
            "off: no other device is asked for keys (key_requests in config.toml)".to_owned()
        }
        KeyForwarding::OwnDevices => {
            let KeyRequestStatus { asked, open, .. } = requests;
            format!("to our verified devices; {asked} asked for lately, {open} of them open")
        }
    }
}

/// Whether a new login could read everything, and what is to be done if not.
pub(super) fn recovery_words(recovery: Option<&RecoveryState>) -> &'static str {
    match recovery {
        None => "not known yet",
        Some(RecoveryState::NeedsSetup) => "no recovery key; make one with: grotto setup-recovery",
        Some(RecoveryState::NeedsRecovery { .. }) => {
            "this device does not have the account's keys; get them with: grotto recover"
        }
        Some(
            RecoveryState::SettingUp
            | RecoveryState::Unlocking
            | RecoveryState::Signing
            | RecoveryState::ConnectingBackup
            | RecoveryState::Restoring { .. }
            | RecoveryState::TakingOver
            | RecoveryState::Saving,
        ) => "under way",
        Some(RecoveryState::KeyToKeep) => {
            "the recovery key was not written down; see it again with: grotto setup-recovery"
        }
        Some(RecoveryState::OutOfDate) => {
            "OUT OF DATE: type the recovery key once with grotto recover, or replace it with \
             grotto setup-recovery --new-key"
        }
        Some(RecoveryState::Ready) => "the recovery key opens everything",
    }
}

fn identity_words(status: &Status) -> &'static str {
    match (status.identity, status.cross_signed) {
        (OwnIdentity::None, _) => "the account has no identity yet",
        (OwnIdentity::Theirs, _) => "this device is not verified",
        (OwnIdentity::Verified { .. }, true) => "this device is signed",
        (OwnIdentity::Verified { .. }, false) => "this device is NOT signed yet",
    }
}

fn backup_words(backup: &BackupState) -> String {
    let problem = backup.problem.as_ref().map(problem_words).unwrap_or_default();
    let Some(version) = &backup.version else {
        let none = if backup.checked { "none" } else { "not known yet" };
        return format!("{none}{problem}");
    };
    let trusted = if backup.trusted { "trusted" } else { "NOT trusted, nothing goes there" };
    let connected = if backup.connected { "connected" } else { "not connected" };
    let left = match backup.to_upload {
        0 => "all uploaded".to_owned(),
        count => format!("{count} to upload"),
    };
    let version = super::people::safe(version);
    format!("version {version}, {connected}, {trusted}, {left}{problem}")
}

fn problem_words(problem: &BackupProblem) -> String {
    match problem {
        BackupProblem::Deleted => "; it was deleted".to_owned(),
        BackupProblem::Untrusted => "; nobody whom this device trusts made it".to_owned(),
        BackupProblem::WrongKey => "; the key that was given is not its key".to_owned(),
        BackupProblem::TurnedOff => "; another client turned it off".to_owned(),
        BackupProblem::Unsupported => "; its format is not supported".to_owned(),
        BackupProblem::Refused(code) => {
            format!("; the server refused ({})", super::people::safe(code))
        }
    }
}

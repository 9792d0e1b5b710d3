//! `policy`, `devices`, `trust` and `reset-identity`.

use std::time::Duration;

use serde::Serialize;

use super::{
    errand::Errand,
    error::HeadlessError,
    keys,
    output::Output,
    people::safe,
    resolve::{resolve, unexpected},
};
use crate::{
    engine::{
        AuthPrompt, CommandError, DeviceLine, DevicePolicy, IdentityStatus, LeftOutReason, Outcome,
        OwnIdentity, RecoveryState, Request, RoomTrust, SecretText,
    },
    matrix::{OwnedDeviceId, OwnedUserId},
};

/// How often it is asked whether an identity is there.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// What `trust` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustAct {
    /// Shows what changed.
    ShowChanged,
    /// Shows how a user stands.
    Show(OwnedUserId),
    /// Accepts the identity that a user shows now.
    Accept(OwnedUserId),
    /// Insists no longer that a user be verified.
    Withdraw(OwnedUserId),
}

/// How our identity stands, and what the server wants before it takes a new one.
#[derive(Clone, Debug)]
pub(super) struct OwnState {
    pub(super) own: OwnIdentity,
    pub(super) cross_signed: bool,
    pub(super) under_way: bool,
    pub(super) auth: Option<AuthPrompt>,
    users: Vec<IdentityStatus>,
}

/// What `trust` prints.
#[derive(Serialize)]
struct Shown {
    own: &'static str,
    cross_signed: bool,
    users: Vec<ShownUser>,
}

#[derive(Serialize)]
struct ShownUser {
    user: OwnedUserId,
    state: &'static str,
    master_key: Option<String>,
}

/// What `reset-identity` prints.
#[derive(Serialize)]
struct Reset {
    cross_signed: bool,
    recovery: Option<RecoveryState>,
}

/// Shows whose devices get keys; sets it first if asked to.
///
/// # Errors
/// When the room is not known or the engine does not answer in time.
pub async fn policy(
    errand: &mut Errand,
    output: &mut Output,
    (room, devices): (Option<&str>, Option<DevicePolicy>),
) -> Result<(), HeadlessError> {
    errand.ready().await?;
    let room = match room {
        Some(room) => Some(resolve(errand, room).await?),
        None => None,
    };
    let outcome = errand.ask(Request::Policy { room, devices }).await?;
    let Outcome::RoomTrust(trust) = outcome else { return Err(unexpected(&outcome).into()) };
    output.show(&trust, |trust| Some(policy_words(trust)))
}

fn policy_words(trust: &RoomTrust) -> String {
    let mut words = match trust.devices {
        DevicePolicy::Signed => "Only devices that their owner has cross-signed get keys.",
        DevicePolicy::All => "ALL devices get keys, those that nobody vouches for too.",
    }
    .to_owned();
    if trust.room_id.is_some() {
        let left = trust.left_out.len();
        words.extend(["\n".to_owned(), format!("{left} of {} devices left out", trust.known)]);
    }
    for left in &trust.left_out {
        let why = match left.reason {
            LeftOutReason::NoIdentity => "its owner has no identity",
            LeftOutReason::Unsigned => "its owner did not sign it",
            LeftOutReason::Blocked => "you blocked it",
            LeftOutReason::Unable => "it does not speak our algorithms",
        };
        let (user, device) = (safe(left.user_id.as_str()), safe(left.device_id.as_str()));
        words.extend(["\n  ", &user, " ", &device, ": ", why]);
    }
    for status in &trust.changed {
        words.extend(["\n", &user_words(status)]);
    }
    for user in &trust.newcomers {
        words.extend(["\nnew since you last wrote: ", &safe(user.as_str())]);
    }
    words
}

/// Lists devices.
///
/// # Errors
/// When the server does not answer in time.
pub async fn devices(
    errand: &mut Errand,
    output: &mut Output,
    user: Option<OwnedUserId>,
) -> Result<(), HeadlessError> {
    errand.ready().await?;
    let outcome = errand.ask(Request::Devices { user }).await?;
    let Outcome::Devices { devices } = outcome else { return Err(unexpected(&outcome).into()) };
    for device in devices {
        output.show(&device, |device| Some(device_words(device)))?;
    }
    Ok(())
}

fn device_words(device: &DeviceLine) -> String {
    let name = device.name.as_deref().map(safe).unwrap_or_default();
    let trust = match (device.blocked, device.verified) {
        (true, _) => "blocked",
        (false, true) => "verified",
        (false, false) => "NOT verified",
    };
    let this = match (device.this, device.dehydrated) {
        (true, _) => ", this device",
        (false, true) => ", waits for the next login (dehydrated)",
        (false, false) => "",
    };
    let key = device.fingerprint.as_deref().unwrap_or("no keys");
    format!("{}  {trust}{this}  {key}  {name}", safe(device.device_id.as_str()))
}

/// Gives a device of ours another name.
///
/// # Errors
/// When the server refuses or does not answer in time.
pub async fn rename_device(
    errand: &mut Errand,
    device: OwnedDeviceId,
    name: String,
) -> Result<(), HeadlessError> {
    errand.ready().await?;
    done(errand, Request::RenameDevice { device, name }).await
}

/// Ends a device of ours.
///
/// # Errors
/// With the code `password_needed` when the server wants a password and none is given.
pub async fn delete_device(
    errand: &mut Errand,
    device: OwnedDeviceId,
    password: Option<SecretText>,
) -> Result<(), HeadlessError> {
    errand.ready().await?;
    done(errand, Request::DeleteDevice { device, password }).await
}

/// Keeps a device from getting keys, or no longer.
///
/// # Errors
/// When the device is not known.
pub async fn block_device(
    errand: &mut Errand,
    (user, device): (OwnedUserId, OwnedDeviceId),
    blocked: bool,
) -> Result<(), HeadlessError> {
    errand.ready().await?;
    done(errand, Request::BlockDevice { user, device, blocked }).await
}

/// Shows how identities stand, or settles one that changed.
///
/// # Errors
/// When there is nothing to settle, or the engine does not answer in time.
pub async fn trust(
    errand: &mut Errand,
    output: &mut Output,
    act: TrustAct,
) -> Result<(), HeadlessError> {
    errand.ready().await?;
    let user = match act {
        TrustAct::ShowChanged => None,
        TrustAct::Show(user) => Some(user),
        TrustAct::Accept(user) => {
            done(errand, Request::AcknowledgeIdentity { user: user.clone() }).await?;
            Some(user)
        }
        TrustAct::Withdraw(user) => {
            done(errand, Request::WithdrawVerification { user: user.clone() }).await?;
            Some(user)
        }
    };
    let state = own_state(errand, user).await?;
    let shown = Shown {
        own: match state.own {
            OwnIdentity::None => "none",
            OwnIdentity::Theirs => "unverified",
            OwnIdentity::Verified { .. } => "verified",
        },
        cross_signed: state.cross_signed,
        users: state.users.iter().map(ShownUser::of).collect(),
    };
    output.show(&shown, |_| Some(trust_words(&state)))
}

impl ShownUser {
    fn of(status: &IdentityStatus) -> Self {
        let IdentityStatus { user, state, master_key } = status.clone();
        Self { user, state: state.word(), master_key }
    }
}

fn trust_words(state: &OwnState) -> String {
    let own = match state.own {
        OwnIdentity::None => "your account has no identity",
        OwnIdentity::Theirs => "your account has an identity that this device did not verify",
        OwnIdentity::Verified { .. } => "your identity is verified on this device",
    };
    let device = if state.cross_signed { "signed by it" } else { "NOT signed by it" };
    let mut words = format!("{own}; this device is {device}");
    for status in &state.users {
        words.extend(["\n", &user_words(status)]);
    }
    words
}

fn user_words(status: &IdentityStatus) -> String {
    let user = safe(status.user.as_str());
    let key = status.master_key.as_deref().map(safe).unwrap_or_default();
    format!("{user} {}  {key}", status.state.meaning())
}

/// Replaces our identity. `ask` is asked for the password when the server wants one.
///
/// # Errors
/// When the server refuses, or does not answer in time.
pub async fn reset_identity(
    errand: &mut Errand,
    output: &mut Output,
    mut password: Option<SecretText>,
) -> Result<(), HeadlessError> {
    errand.ready().await?;
    done(errand, Request::ResetIdentity).await?;
    let cross_signed = loop {
        let state = own_state(errand, None).await?;
        if let Some(prompt) = &state.auth {
            let proof = password.take().filter(|_| prompt.takes_password);
            if proof.is_none() {
                return Err(auth_needed(prompt).into());
            }
            done(errand, Request::Authenticate { password: proof }).await?;
        } else if !state.under_way {
            break state.cross_signed;
        }
        tokio::time::sleep(ASK_AGAIN).await;
    };
    let recovery = keys::recovery(errand).await?;
    output.show(&Reset { cross_signed, recovery }, |reset| {
        Some(if reset.cross_signed {
            format!(
                "You have a new identity, and this device is signed by it\nrecovery: {}",
                keys::recovery_words(reset.recovery.as_ref())
            )
        } else {
            "The server did not take the new identity".to_owned()
        })
    })
}

/// What to do when the server wants to know who the user is.
pub(super) fn auth_needed(prompt: &AuthPrompt) -> CommandError {
    let words = match (prompt.takes_password, &prompt.refused, &prompt.page) {
        (true, Some(refused), _) => format!("the server did not take the password: {refused}"),
        (true, None, _) => {
            "the server wants your password; give it with --password-file".to_owned()
        }
        (false, _, Some(page)) => {
            format!("the server wants you to confirm it; open {page} and repeat the command")
        }
        (false, _, None) => "the server wants a proof that grotto cannot give".to_owned(),
    };
    CommandError { code: "auth_needed".to_owned(), message: words }
}

/// How our identity stands, and that of a user or of those who changed.
pub(super) async fn own_state(
    errand: &mut Errand,
    user: Option<OwnedUserId>,
) -> Result<OwnState, HeadlessError> {
    let outcome = errand.ask(Request::Identity { user }).await?;
    let Outcome::Identity { own, cross_signed, under_way, auth, users } = outcome else {
        return Err(unexpected(&outcome).into());
    };
    Ok(OwnState { own, cross_signed, under_way, auth, users })
}

pub(super) async fn done(errand: &mut Errand, request: Request) -> Result<(), HeadlessError> {
    let outcome = errand.ask(request).await?;
    if outcome == Outcome::Done { Ok(()) } else { Err(unexpected(&outcome).into()) }
}

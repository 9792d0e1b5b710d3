//! `policy`, `devices`, `trust` and `reset-identity`: what they need is read, then done at an engine.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use super::{failure::Failure, secrets};
use crate::{
    cli::{
        DevicesArg, DevicesArgs, DevicesCommand, Exit, FileOrStdin, OneDevice, PolicyArgs,
        ResetIdentityArgs, TrustArgs,
    },
    engine::{DevicePolicy, SecretText},
    headless::{self, Errand, HeadlessError, Output, TrustAct},
    matrix::{OwnedDeviceId, OwnedUserId},
};

const BREAKS: &str = "A new identity replaces the old one: everybody you write with is told and \
                      must accept it, whom you verified you must verify again, and your other \
                      devices must be verified again. Go on? [y/N] ";

/// Work for an engine.
pub(super) enum TrustWork {
    Policy(Option<String>, Option<DevicePolicy>),
    Devices(Option<OwnedUserId>),
    Rename(OwnedDeviceId, String),
    Delete(OwnedDeviceId, Option<SecretText>),
    Block(OneDevice, bool),
    Trust(TrustAct),
    Reset(Option<SecretText>),
}

impl TrustWork {
    pub(super) fn policy(arguments: PolicyArgs) -> Self {
        let devices = arguments.devices.map(|devices| match devices {
            DevicesArg::Signed => DevicePolicy::Signed,
            DevicesArg::All => DevicePolicy::All,
        });
        Self::Policy(arguments.room, devices)
    }

    pub(super) fn devices(arguments: DevicesArgs) -> Result<Self, Failure> {
        Ok(match arguments.command {
            None => Self::Devices(arguments.user),
            Some(DevicesCommand::Rename { device, name }) => Self::Rename(device, name),
            Some(DevicesCommand::Delete { device, password_file }) => {
                Self::Delete(device, password(password_file.as_ref())?)
            }
            Some(DevicesCommand::Block(device)) => Self::Block(device, true),
            Some(DevicesCommand::Unblock(device)) => Self::Block(device, false),
        })
    }

    pub(super) fn trust(arguments: TrustArgs) -> Self {
        let TrustArgs { user, withdraw, show } = arguments;
        Self::Trust(match (user, withdraw, show) {
            (None, _, _) => TrustAct::ShowChanged,
            (Some(user), true, _) => TrustAct::Withdraw(user),
            (Some(user), false, true) => TrustAct::Show(user),
            (Some(user), false, false) => TrustAct::Accept(user),
        })
    }

    /// Asks whether that is meant, and for the password.
    pub(super) fn reset(arguments: &ResetIdentityArgs) -> Result<Self, Failure> {
        if !arguments.yes && std::io::stdin().is_terminal() && !is_meant()? {
            return Err(Failure::say(Exit::Failed, "nothing was changed"));
        }
        Ok(Self::Reset(password(arguments.password_file.as_ref())?))
    }

    /// Whether doing it twice is the same as once.
    pub(super) fn may_be_repeated(&self) -> bool {
        match self {
            Self::Policy(..) | Self::Devices(_) | Self::Rename(..) | Self::Block(..) => true,
            Self::Delete(..) | Self::Trust(_) | Self::Reset(_) => false,
        }
    }

    pub(super) async fn perform(
        &self,
        errand: &mut Errand,
        output: &mut Output,
    ) -> Result<(), HeadlessError> {
        match self {
            Self::Policy(room, devices) => {
                headless::policy(errand, output, (room.as_deref(), *devices)).await
            }
            Self::Devices(user) => headless::devices(errand, output, user.clone()).await,
            Self::Rename(device, name) => {
                headless::rename_device(errand, device.clone(), name.clone()).await
            }
            Self::Delete(device, password) => {
                headless::delete_device(errand, device.clone(), password.clone()).await
            }
            Self::Block(OneDevice { user, device }, blocked) => {
                headless::block_device(errand, (user.clone(), device.clone()), *blocked).await
            }
            Self::Trust(act) => headless::trust(errand, output, act.clone()).await,
            Self::Reset(password) => {
                headless::reset_identity(errand, output, password.clone()).await
            }
        }
    }
}

/// The password from a file, or asked for; `None` where nobody can be asked.
fn password(from: Option<&FileOrStdin>) -> Result<Option<SecretText>, Failure> {
    let given = match from {
        Some(from) => Some(secrets::read(from)?),
        None => secrets::ask("Password of your account (empty: none): ")?,
    };
    Ok(given.filter(|password| !password.expose().is_empty()).map(SecretText::from))
}

fn is_meant() -> Result<bool, Failure> {
    let mut stderr = std::io::stderr();
    stderr.write_all(BREAKS.as_bytes())?;
    stderr.flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

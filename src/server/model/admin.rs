//! What whoever runs the server does: invitations, accounts, passwords. It works on the records of
//! a server, whether that runs at this moment or not.

use std::time::Duration;

use ruma::ServerName;
use serde::Serialize;
use serde_json::Value;

use super::{
    accounts::{
        devices::{self, NewDevice},
        invites,
        tokens::Refreshing,
        users,
    },
    records::{DEVICES, NAME, REPORTS, USERS},
    refusal::Refusal,
    step::Step,
    table::Broken,
};
use crate::{
    matrix::{OwnedDeviceId, OwnedUserId},
    secret::Secret,
    time::Timestamp,
};

/// Name of a server that is given none.
const DEFAULT_NAME: &str = "localhost";

/// Something to do.
pub enum AdminJob {
    /// Settle the server's name: the first one given stays, because all ids end with it.
    Settle {
        /// The name, if one is given.
        name: Option<String>,
    },
    /// Invite one person to register.
    Invite {
        /// How long the invitation holds.
        holds: Duration,
    },
    /// List all accounts.
    Users,
    /// Give an account another password, and log it out everywhere.
    ResetPassword {
        /// User id, or what stands before its colon.
        user: String,
        /// The new password's hash, by [`Work::Hash`](super::refusal::Work).
        hash: String,
    },
    /// List what members reported.
    Reports,
    /// Make an account without a password, with one device that is logged in.
    Enroll {
        /// What stands before the colon of its id.
        name: String,
        /// What others see as the device's name.
        device: String,
    },
}

impl std::fmt::Debug for AdminJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Settle { .. } => "Settle",
            Self::Invite { .. } => "Invite",
            Self::Users => "Users",
            Self::ResetPassword { .. } => "ResetPassword",
            Self::Reports => "Reports",
            Self::Enroll { .. } => "Enroll",
        })
    }
}

/// What came of it.
#[derive(Debug)]
pub enum AdminDone {
    /// The server's name, and whether anybody has an account.
    Settled {
        /// The name.
        name: String,
        /// Whether nobody has an account yet.
        is_new: bool,
    },
    /// The invitation, which is stored nowhere in clear.
    Invited(Secret<String>),
    /// All accounts, by name.
    Users(Vec<UserLine>),
    /// Whose password it is.
    Reset(OwnedUserId),
    /// All reports, the oldest first, each with reporter, subject, reason and time.
    Reports(Vec<Value>),
    /// Who was enrolled.
    Enrolled(Enrolled),
}

/// A new account and its device.
#[derive(Clone, Debug)]
pub struct Enrolled {
    /// Its id.
    pub user_id: OwnedUserId,
    /// Its only device.
    pub device_id: OwnedDeviceId,
    /// What proves the device, stored nowhere in clear.
    pub access_token: Secret<String>,
}

/// An account, for a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UserLine {
    /// Its id.
    pub user_id: String,
    /// When it was made.
    pub created: Timestamp,
    /// How many devices are logged in.
    pub devices: usize,
    /// When one of them was last seen.
    pub last_seen: Option<Timestamp>,
    /// Whether it was closed.
    pub deactivated: bool,
}

/// Does it.
pub(super) fn perform(step: &mut Step<'_>, job: AdminJob) -> Result<AdminDone, Refusal> {
    match job {
        AdminJob::Settle { name } => settle(step, name),
        AdminJob::Invite { holds } => {
            let expires = Some(step.now.plus(holds));
            Ok(AdminDone::Invited(invites::create(step, expires)?))
        }
        AdminJob::Users => users(step),
        AdminJob::ResetPassword { user, hash } => reset(step, &user, hash),
        AdminJob::Reports => reports(step),
        AdminJob::Enroll { name, device } => enroll(step, &name, device),
    }
}

fn enroll(step: &mut Step<'_>, name: &str, device: String) -> Result<AdminDone, Refusal> {
    let user_id = users::available(step, name)?;
    users::create(step, &user_id, None)?;
    let device = NewDevice { id: None, name: Some(device), refreshing: Refreshing::No };
    let (device_id, tokens) = devices::log_in(step, &user_id, device)?;
    Ok(AdminDone::Enrolled(Enrolled { user_id, device_id, access_token: tokens.access }))
}

fn settle(step: &mut Step<'_>, given: Option<String>) -> Result<AdminDone, Refusal> {
    let known = step.get(NAME, ())?;
    let name = match (known, given) {
        (Some(known), Some(given)) if known != given => {
            return Err(Refusal::invalid(format!(
                "this server's name is {known}, and all ids end with it: it cannot become {given}"
            )));
        }
        (Some(known), _) => known,
        (None, given) => {
            let name = given.unwrap_or_else(|| DEFAULT_NAME.to_owned());
            if ServerName::parse(&name).is_err() {
                return Err(Refusal::invalid(format!("{name:?} cannot be the name of a server")));
            }
            step.put(NAME, (), &name)?;
            name
        }
    };
    let is_new = step.scan_after(USERS, (), None, 1)?.is_empty();
    Ok(AdminDone::Settled { name, is_new })
}

fn users(step: &Step<'_>) -> Result<AdminDone, Refusal> {
    let mut lines = Vec::new();
    for (mut key, user) in step.scan(USERS, ())? {
        let user_id = key.text()?;
        let devices = step.scan(DEVICES, (&user_id,))?;
        lines.push(UserLine {
            created: user.created,
            devices: devices.len(),
            last_seen: devices.iter().map(|(_, device)| device.last_seen).max(),
            deactivated: user.is_deactivated,
            user_id,
        });
    }
    Ok(AdminDone::Users(lines))
}

fn reports(step: &Step<'_>) -> Result<AdminDone, Refusal> {
    let mut reports = Vec::new();
    for (_, report) in step.scan(REPORTS, ())? {
        reports.push(serde_json::to_value(&report).map_err(|error| Broken(error.to_string()))?);
    }
    Ok(AdminDone::Reports(reports))
}

fn reset(step: &mut Step<'_>, name: &str, hash: String) -> Result<AdminDone, Refusal> {
    let (user, mut record) = users::find(step, name)?
        .ok_or_else(|| Refusal::not_found(format!("nobody here has the name {name}")))?;
    if record.is_deactivated {
        return Err(Refusal::forbidden(format!("{user} was closed, and stays so")));
    }
    record.password_hash = Some(hash);
    step.put(USERS, (&*user,), &record)?;
    for (mut key, _) in step.scan(DEVICES, (&*user,))? {
        key.text()?;
        let device = key.text()?;
        devices::delete(step, &user, device.as_str().into())?;
    }
    Ok(AdminDone::Reset(user))
}

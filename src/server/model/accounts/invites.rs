//! Invitations to register: each for one person.

use crate::{
    secret::Secret,
    server::model::{
        accounts::tokens::{random_token, token_hash},
        records::{INVITES, InviteRecord},
        step::Step,
        table::Broken,
    },
    time::Timestamp,
};

/// Makes an invitation; its text is not stored and cannot be had again.
pub(crate) fn create(
    step: &mut Step<'_>,
    expires: Option<Timestamp>,
) -> Result<Secret<String>, Broken> {
    let token = random_token(step);
    let record = InviteRecord { created: step.now, expires };
    step.put(INVITES, (token_hash(token.expose()),), &record)?;
    Ok(token)
}

/// Whether somebody may register with this.
pub(crate) fn is_valid(step: &Step<'_>, token: &str) -> Result<bool, Broken> {
    let record = step.get(INVITES, (token_hash(token),))?;
    Ok(record.is_some_and(|record| record.expires.is_none_or(|expires| step.now < expires)))
}

/// Uses it up.
pub(crate) fn consume(step: &mut Step<'_>, token: &str) {
    step.delete(INVITES, (token_hash(token),));
}

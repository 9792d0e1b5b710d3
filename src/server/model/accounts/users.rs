//! Users: their names, and what is known of them.

use serde_json::{Map, Value};

use crate::{
    matrix::{OwnedRoomId, OwnedUserId, UserId},
    server::model::{
        accounts::devices,
        records::{
            ACCOUNT_DATA, ACCOUNT_DATA_SIZES, BACKUP_KEYS, BACKUPS, CROSS_SIGNING_KEYS, FILTERS,
            KEY_SIGNATURES, MEMBERSHIPS, PROFILES, USERS, UserRecord,
        },
        refusal::Refusal,
        rooms::{Action, MemberChange},
        step::Step,
        table::Broken,
    },
};

/// Longest user id, in bytes.
const MAX_USER_ID: usize = 255;
/// Longest password, in characters.
pub(crate) const MAX_PASSWORD: usize = 512;
/// What no password has: a comparison with it takes as long as with any other.
const NOBODYS_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$\
                            AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The id of somebody who may still register under this name.
///
/// # Errors
/// `M_INVALID_USERNAME`, `M_USER_IN_USE`.
pub(crate) fn available(step: &Step<'_>, name: &str) -> Result<OwnedUserId, Refusal> {
    let name = name.to_lowercase();
    let invalid = |text: &str| Refusal::new(400, "M_INVALID_USERNAME", text);
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "=_-./+".contains(c);
    if !name.chars().all(is_allowed) {
        return Err(invalid("a user name may only contain a-z, 0-9 and =_-./+"));
    }
    if name.is_empty() {
        return Err(invalid("a user name cannot be empty"));
    }
    if name.starts_with('_') {
        return Err(invalid("a user name may not begin with _"));
    }
    let id = format!("@{name}:{}", step.settings.name);
    if MAX_USER_ID < id.len() {
        return Err(invalid("the user name is too long"));
    }
    let user = UserId::parse(&id).map_err(|error| invalid(&error.to_string()))?;
    if step.get(USERS, (&*user,))?.is_some() {
        return Err(Refusal::new(400, "M_USER_IN_USE", "the user name is taken"));
    }
    if name.chars().all(|c| c.is_ascii_digit()) {
        return Err(invalid("user names of digits are reserved"));
    }
    Ok(user)
}

/// Makes an account, with its name as the name to show. It must be [`available`].
pub(crate) fn create(
    step: &mut Step<'_>,
    user: &UserId,
    password_hash: Option<String>,
) -> Result<(), Broken> {
    let record =
        UserRecord { password_hash, created: step.now, is_admin: false, is_deactivated: false };
    step.put(USERS, (user,), &record)?;
    let name = user.localpart().to_owned();
    let profile = Map::from_iter([("displayname".to_owned(), name.into())]);
    step.put(PROFILES, (user,), &profile)
}

/// Closes an account: it leaves all rooms, its devices and everything that was only its own go.
/// Its name is never given to another.
///
/// # Errors
/// When the records are broken.
pub(crate) fn deactivate(step: &mut Step<'_>, user: &UserId) -> Result<(), Refusal> {
    for (mut key, record) in step.scan(MEMBERSHIPS, (user,))? {
        key.text()?;
        let room = OwnedRoomId::try_from(key.text()?);
        let room = room.map_err(|error| Broken(error.to_string()))?;
        if ["join", "invite", "knock"].contains(&record.membership.as_str()) {
            let change = MemberChange::new(room, (user, Action::Leave, user), None);
            if let Err(refusal) = change.apply(step)
                && 500 <= refusal.status
            {
                return Err(refusal);
            }
        }
    }
    for (device, _) in devices::of(step, user)? {
        devices::delete(step, user, &device)?;
    }
    step.clear(ACCOUNT_DATA, (user,))?;
    step.clear(FILTERS, (user,))?;
    step.clear(CROSS_SIGNING_KEYS, (user,))?;
    step.clear(KEY_SIGNATURES, (user,))?;
    step.clear(BACKUPS, (user,))?;
    step.clear(BACKUP_KEYS, (user,))?;
    step.delete(ACCOUNT_DATA_SIZES, (user,));
    step.delete(PROFILES, (user,));
    step.forget_user(user);
    if let Some(record) = step.get(USERS, (user,))? {
        let record = UserRecord { password_hash: None, is_deactivated: true, ..record };
        step.put(USERS, (user,), &record)?;
    }
    Ok(())
}

/// The account of this name: a user id, or what stands before its colon. Case does not matter.
pub(crate) fn find(
    step: &Step<'_>,
    name: &str,
) -> Result<Option<(OwnedUserId, UserRecord)>, Broken> {
    let name = name.to_lowercase();
    let id = if name.starts_with('@') { name } else { format!("@{name}:{}", step.settings.name) };
    let Ok(user) = UserId::parse(&id) else {
        return Ok(None);
    };
    Ok(step.get(USERS, (&*user,))?.map(|record| (user, record)))
}

/// What to compare a password with; for nobody, and those without a password, one that none has.
pub(crate) fn hash_of(record: Option<&UserRecord>) -> String {
    record
        .filter(|record| !record.is_deactivated)
        .and_then(|record| record.password_hash.clone())
        .unwrap_or_else(|| NOBODYS_HASH.to_owned())
}

/// Whom somebody says to be, to log in or in a proof: the `identifier`, or the older `user`.
///
/// # Errors
/// As other servers have it: `M_INVALID_PARAM` when nobody is named, `M_UNKNOWN` when not by a
/// Matrix name.
pub(crate) fn named(body: &Map<String, Value>) -> Result<String, Refusal> {
    let refuse = |text: &str| Refusal::new(400, "M_UNKNOWN", text);
    let name = match body.get("identifier") {
        None if !body.contains_key("user") => {
            return Err(Refusal::invalid("nobody is named"));
        }
        None => body.get("user"),
        Some(Value::Object(identifier)) => match identifier.get("type").and_then(Value::as_str) {
            Some("m.id.user") => identifier.get("user"),
            Some("m.id.thirdparty" | "m.id.phone") => {
                return Err(Refusal::forbidden("wrong user name or password"));
            }
            Some(_) => return Err(refuse("unknown kind of identifier")),
            None => return Err(refuse("the identifier has no type")),
        },
        Some(_) => return Err(refuse("the identifier is not an object")),
    };
    let name = name.and_then(Value::as_str).filter(|name| !name.is_empty());
    name.map(str::to_owned).ok_or_else(|| refuse("nobody is named"))
}

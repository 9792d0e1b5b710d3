//! What somebody set up for themselves that each new event is held against, kept ready: their push
//! rules, and whom they ignore.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ruma::push::Ruleset;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    matrix::{OwnedUserId, UserId},
    server::model::{account_data, push_rules, step::Step, table::Broken},
};

/// Most people whose rules are kept ready; those of one are some kilobytes.
const MOST_KEPT: usize = 2_000;

/// What somebody set up for themselves.
#[derive(Debug)]
pub(in crate::server::model) struct Personal {
    pub(in crate::server::model) rules: Ruleset,
    /// Those whose messages they do not want.
    pub(in crate::server::model) ignored: BTreeSet<OwnedUserId>,
}

/// What was read of it.
#[derive(Debug, Default)]
pub(in crate::server::model) struct PersonalCache {
    by_user: BTreeMap<OwnedUserId, Arc<Personal>>,
}

impl PersonalCache {
    /// To be called when somebody's account data changes.
    pub(in crate::server::model) fn forget(&mut self, user: &UserId) {
        self.by_user.remove(user);
    }
}

/// What somebody set up for themselves.
///
/// # Errors
/// When the records are broken.
pub(in crate::server::model) fn personal(
    step: &mut Step<'_>,
    user: &UserId,
) -> Result<Arc<Personal>, Broken> {
    if let Some(known) = step.volatile.personal.by_user.get(user) {
        return Ok(Arc::clone(known));
    }
    let personal =
        Arc::new(Personal { rules: push_rules::of(step, user)?, ignored: ignored(step, user)? });
    let kept = &mut step.volatile.personal.by_user;
    if MOST_KEPT <= kept.len() {
        kept.clear();
    }
    kept.insert(user.to_owned(), Arc::clone(&personal));
    Ok(personal)
}

/// Whom somebody ignores.
fn ignored(step: &Step<'_>, user: &UserId) -> Result<BTreeSet<OwnedUserId>, Broken> {
    #[derive(Default, Deserialize)]
    struct Content {
        ignored_users: Map<String, Value>,
    }
    let content = account_data::get(step, user, None, "m.ignored_user_list")?;
    let content: Option<Content> =
        content.and_then(|content| serde_json::from_str(content.get()).ok());
    let users = content.unwrap_or_default().ignored_users;
    let users = users.keys().filter_map(|other| OwnedUserId::try_from(other.as_str()).ok());
    // Nobody ignores themselves, whatever their list says.
    Ok(users.filter(|other| other != user).collect())
}

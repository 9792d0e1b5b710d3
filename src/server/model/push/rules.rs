//! What somebody set up for themselves that each new event is held against, kept ready: their push
//! rules, and whom they ignore.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use ruma::push::Ruleset;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    matrix::{OwnedUserId, UserId},
    server::model::{account_data, push_rules, step::Step, table::Broken},
};

/// Most weight of what is kept ready: an entry weighs one, and as much as it has rules and people.
const MOST_KEPT: usize = 100_000;
/// What the rules of somebody weigh, who has their own: the default ones are among them.
const RULES_WEIGHT: usize = 20;

/// What somebody set up for themselves.
#[derive(Debug)]
pub(crate) struct Personal {
    /// Their push rules; `None`: the default ones, which most people have.
    pub(crate) rules: Option<Ruleset>,
    /// Those whose messages they do not want.
    pub(crate) ignored: BTreeSet<OwnedUserId>,
}

/// What was read of it.
#[derive(Debug, Default)]
pub(crate) struct PersonalCache {
    by_user: HashMap<OwnedUserId, Arc<Personal>>,
    weight: usize,
}

impl PersonalCache {
    /// To be called when somebody's account data changes.
    pub(crate) fn forget(&mut self, user: &UserId) {
        let gone = self.by_user.remove(user).map_or(0, |personal| personal.weight());
        self.weight = self.weight.saturating_sub(gone);
    }

    fn keep(&mut self, user: &UserId, personal: Arc<Personal>) {
        let weight = personal.weight();
        if MOST_KEPT < self.weight.saturating_add(weight) {
            *self = Self::default();
        }
        self.weight += weight;
        self.by_user.insert(user.to_owned(), personal);
    }
}

impl Personal {
    fn weight(&self) -> usize {
        let own = |rules: &Ruleset| {
            let Ruleset { content, override_, room, sender, underride, .. } = rules;
            let own = [content.len(), override_.len(), room.len(), sender.len(), underride.len()];
            RULES_WEIGHT + own.iter().sum::<usize>()
        };
        1 + self.ignored.len() + self.rules.as_ref().map_or(0, own)
    }
}

/// What somebody set up for themselves.
///
/// # Errors
/// When the records are broken.
pub(crate) fn personal(step: &mut Step<'_>, user: &UserId) -> Result<Arc<Personal>, Broken> {
    if let Some(known) = step.volatile.personal.by_user.get(user) {
        return Ok(Arc::clone(known));
    }
    let personal =
        Arc::new(Personal { rules: push_rules::own(step, user)?, ignored: ignored(step, user)? });
    step.volatile.personal.keep(user, Arc::clone(&personal));
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

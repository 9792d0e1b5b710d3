//! Who among those that share a room said that they are there, or no longer.

use ruma::serde::Raw;
use serde_json::{json, value::to_raw_value};

use super::{Question, device_lists::share_a_room, filter::allows};
use crate::server::model::{presence, step::Step, table::Broken};

/// What others said about themselves since the device asked last, and what its owner said
/// elsewhere.
///
/// # Errors
/// When the records are broken.
pub(crate) fn read<T>(step: &Step<'_>, question: &Question<'_>) -> Result<Vec<Raw<T>>, Broken> {
    let me = &question.caller.user;
    let mut events = Vec::new();
    for (user, said) in presence::all(step) {
        let is_new = question.since_serial() < said.serial;
        if !is_new
            || !allows(&question.filter.presence, "m.presence", Some(user))
            || (user != me && !share_a_room(step, me, user)?)
        {
            continue;
        }
        let mut content = json!({
            "presence": said.state,
            "last_active_ago": u64::try_from(step.now.since(said.since).as_millis()).ok(),
            "currently_active": said.state == "online",
        });
        if let (Some(status), Some(content)) = (&said.status, content.as_object_mut()) {
            content.insert("status_msg".to_owned(), status.as_str().into());
        }
        let event = json!({ "type": "m.presence", "sender": user, "content": content });
        let text = to_raw_value(&event).map_err(|error| Broken(error.to_string()))?;
        events.push(Raw::from_json(text));
    }
    Ok(events)
}

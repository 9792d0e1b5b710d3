//! The replay ledger: which event used which index of a session.
//!
//! A ciphertext may be shown once. The server can send it again under another event id, in another
//! room or after a restart; what was seen first owns the index for good. (A
//! payload names its room, so other rooms need no check here.)
//!
//! # Spec
//! End-to-End Encryption, `m.megolm.v1.aes-sha2`, on replay attacks.

use serde::{Deserialize, Serialize};

use crate::{
    e2ee::{MachineError, lookup::Table, step::Step},
    matrix::EventId,
    time::Timestamp,
};

/// Where a decrypted message stands: the part of its event that a replay would change.
#[derive(Clone, Copy, Debug)]
pub(in crate::e2ee) struct Place<'a> {
    pub(in crate::e2ee) event: &'a EventId,
    pub(in crate::e2ee) at: Timestamp,
}

/// What the ledger knows of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::e2ee) enum Use {
    /// Unseen until now; it is written down in this step.
    First,
    /// This very event again.
    Repeated,
    /// Another event had it: a replay.
    Taken,
}

/// A value of the ledger, as short as JSON allows: `["$event",1700000000000]`.
#[derive(Serialize)]
struct Written<'a>(&'a str, Timestamp);
#[derive(Deserialize)]
struct Read(String, Timestamp);

/// Looks `index` of `session` up and claims it for `place` if nobody has.
pub(in crate::e2ee) fn claim(
    session: &str,
    index: u32,
    place: Place<'_>,
    step: &mut Step<'_>,
) -> Result<Use, MachineError> {
    let index = index.to_string();
    let seen: Option<Read> = step.get(Table::MessageIndex, session, &index)?;
    Ok(match seen {
        None => {
            let value = Written(place.event.as_str(), place.at);
            step.put(Table::MessageIndex, session, &index, &value)?;
            Use::First
        }
        Some(Read(event, at)) if event == place.event.as_str() && at == place.at => Use::Repeated,
        Some(_) => Use::Taken,
    })
}

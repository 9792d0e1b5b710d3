//! Verifications in a timeline: that one was asked for and how it ended are lines like those of
//! state events; what the devices say in between is nobody's reading.

use serde_json::{Map, Value};

use super::{
    change::{Change, ChangeKind},
    event::StoredEvent,
};
use crate::{
    e2ee::CancelCode,
    matrix::{EventId, UserId},
};

/// What all types of verification events begin with.
const PREFIX: &str = "m.key.verification.";
/// The `msgtype` of a request.
const REQUEST: &str = "m.key.verification.request";

/// Whether an event with this type and content belongs to a verification: it is no message, whatever
/// type it has.
pub fn is_verification(kind: &str, content: &Map<String, Value>) -> bool {
    let is_request = || content.get("msgtype").and_then(Value::as_str) == Some(REQUEST);
    kind.starts_with(PREFIX) || (kind == "m.room.message" && is_request())
}

impl StoredEvent {
    /// Whether it belongs to a verification.
    pub fn is_verification(&self) -> bool {
        self.event.state_key.is_none() && is_verification(self.kind(), self.content())
    }

    /// The request that an event of a verification refers to.
    pub(super) fn verification_request(&self) -> Option<&EventId> {
        let id = self.content().get("m.relates_to")?.get("event_id")?.as_str()?;
        <&EventId>::try_from(id).ok()
    }

    /// With whom the verification is that this event asks for, as `own` sees it.
    pub(super) fn verification_partner(&self, own: &UserId) -> Option<&UserId> {
        let asks = self.is_verification() && self.kind() == "m.room.message";
        let sender = self.sender().filter(|_| asks)?;
        if sender == own { self.asked_user() } else { Some(sender) }
    }

    fn asked_user(&self) -> Option<&UserId> {
        <&UserId>::try_from(self.content().get("to")?.as_str()?).ok()
    }
}

/// The line of a verification event as `own` sees it; `None` when it shows nothing. That it went
/// well is our own device's word only: the other side's says nothing about what we trust.
pub(super) fn verification<'a>(
    stored: &'a StoredEvent,
    own: Option<&UserId>,
) -> Option<Change<'a>> {
    if !stored.is_verification() {
        return None;
    }
    let sender = stored.sender()?;
    let kind = match stored.kind() {
        "m.room.message" => {
            let to = stored.asked_user()?;
            ChangeKind::VerificationAsked { to, is_us: Some(to) == own }
        }
        "m.key.verification.done" if Some(sender) == own => ChangeKind::Verified { with: None },
        "m.key.verification.cancel" => {
            let code = stored.content().get("code").and_then(Value::as_str).unwrap_or_default();
            ChangeKind::VerificationCancelled(CancelCode::parse(code).words())
        }
        _ => return None,
    };
    Some(Change { event_id: stored.id(), sender, ts: stored.event.origin_server_ts, kind })
}

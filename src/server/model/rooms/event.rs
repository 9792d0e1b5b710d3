//! An event of a room as it is stored, read.

use ruma::{
    MilliSecondsSinceUnixEpoch, events::TimelineEventType, state_res::Event as StateResEvent,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    matrix::{EventId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId},
    server::model::{
        records::{EVENTS, EventRecord},
        step::Step,
        table::Broken,
    },
};

/// An event of a room.
#[derive(Clone, Debug)]
pub(crate) struct RoomEvent {
    pub(crate) id: OwnedEventId,
    /// Its record: its room, its number, its whole PDU.
    pub(crate) record: EventRecord,
    pub(crate) fields: Fields,
    kind: TimelineEventType,
}

/// The fields of a PDU that somebody here asks for.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Fields {
    /// Nothing in the first event of a room of version 12.
    pub(crate) room_id: Option<OwnedRoomId>,
    pub(crate) sender: OwnedUserId,
    /// When the server took it, in milliseconds.
    pub(crate) origin_server_ts: MilliSecondsSinceUnixEpoch,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) content: Box<RawValue>,
    /// Whether it is state, and of whom or what.
    pub(crate) state_key: Option<String>,
    pub(crate) prev_events: Vec<OwnedEventId>,
    pub(crate) auth_events: Vec<OwnedEventId>,
    /// What it redacts, in rooms before version 11.
    pub(crate) redacts: Option<OwnedEventId>,
}

impl RoomEvent {
    /// Reads an event.
    ///
    /// # Errors
    /// When the records are broken.
    pub(crate) fn load(step: &Step<'_>, id: &EventId) -> Result<Option<Self>, Broken> {
        step.get(EVENTS, (id,))?.map(|record| Self::new(id.to_owned(), record)).transpose()
    }

    /// Reads an event that another record names.
    ///
    /// # Errors
    /// When the records are broken; also when it is not there.
    pub(crate) fn expect(step: &Step<'_>, id: &EventId) -> Result<Self, Broken> {
        Self::load(step, id)?.ok_or_else(|| Broken("an event is named and not there".to_owned()))
    }

    /// From its record.
    ///
    /// # Errors
    /// When the PDU is none.
    pub(crate) fn new(id: OwnedEventId, record: EventRecord) -> Result<Self, Broken> {
        let fields: Fields =
            serde_json::from_str(record.pdu.get()).map_err(|error| Broken(error.to_string()))?;
        let kind = TimelineEventType::from(fields.kind.as_str());
        Ok(Self { id, record, fields, kind })
    }

    /// Its number, which is its place in the room too.
    pub(crate) fn number(&self) -> u64 {
        self.record.number
    }

    /// Its type.
    pub(crate) fn kind(&self) -> &str {
        &self.fields.kind
    }

    /// Whether it is state.
    pub(crate) fn is_state(&self) -> bool {
        self.fields.state_key.is_some()
    }

    /// Whether it is the state event of this type and key.
    pub(crate) fn is(&self, kind: &str, state_key: &str) -> bool {
        self.fields.kind == kind && self.fields.state_key.as_deref() == Some(state_key)
    }

    /// Its content, as far as it looks like `C`.
    pub(crate) fn content<'a, C: Deserialize<'a>>(&'a self) -> Option<C> {
        serde_json::from_str(self.fields.content.get()).ok()
    }
}

impl StateResEvent for RoomEvent {
    type Id = OwnedEventId;

    fn event_id(&self) -> &OwnedEventId {
        &self.id
    }

    fn room_id(&self) -> Option<&RoomId> {
        self.fields.room_id.as_deref()
    }

    fn sender(&self) -> &UserId {
        &self.fields.sender
    }

    fn origin_server_ts(&self) -> MilliSecondsSinceUnixEpoch {
        self.fields.origin_server_ts
    }

    fn event_type(&self) -> &TimelineEventType {
        &self.kind
    }

    fn content(&self) -> &RawValue {
        &self.fields.content
    }

    fn state_key(&self) -> Option<&str> {
        self.fields.state_key.as_deref()
    }

    fn prev_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.fields.prev_events.iter())
    }

    fn auth_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.fields.auth_events.iter())
    }

    fn redacts(&self) -> Option<&OwnedEventId> {
        self.fields.redacts.as_ref()
    }

    /// No event that was rejected is stored.
    fn rejected(&self) -> bool {
        false
    }
}

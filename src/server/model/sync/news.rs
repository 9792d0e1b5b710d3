//! Where something happened since a device asked last.

use std::collections::BTreeSet;

use super::Question;
use crate::{
    matrix::{OwnedRoomId, OwnedUserId, RoomId, UserId},
    server::model::{
        records::{Change, MEMBERSHIPS, STREAM},
        step::{Span, Step},
        table::{Broken, Order},
    },
};

/// Entries of the stream that are read for one sync. Who was away for longer has all of their
/// rooms looked at instead, which costs as much as they have rooms.
const MAX_ENTRIES: usize = 1_000;

/// Where something may be new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) rooms: BTreeSet<OwnedRoomId>,
    pub(crate) account_data: AccountNews,
    /// Whether devices of somebody may be.
    pub(crate) devices: bool,
    /// Where somebody may have read on; nothing when nobody knows.
    receipts: Option<BTreeSet<OwnedRoomId>>,
    /// Whose keys the device's owner signed.
    pub(crate) signed: BTreeSet<OwnedUserId>,
}

/// Which account data is new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AccountNews {
    /// All of it may be.
    All,
    /// That of these rooms, or of none, and of these types.
    Of(BTreeSet<(Option<OwnedRoomId>, String)>),
}

impl Default for AccountNews {
    fn default() -> Self {
        Self::Of(BTreeSet::new())
    }
}

impl News {
    /// Reads it from the stream.
    ///
    /// # Errors
    /// When the records are broken.
    pub(crate) fn read(step: &Step<'_>, question: &Question<'_>) -> Result<Self, Broken> {
        let user = &*question.caller.user;
        if question.wants_all() {
            return Self::everywhere(step, user);
        }
        let mut news = Self::since(step, user, question.since_number())?;
        let typing = step.volatile.typing.rooms();
        let typing = typing.filter(|(_, serial)| question.since_serial() < *serial);
        news.rooms.extend(typing.map(|(room, _)| room.clone()));
        Ok(news)
    }

    /// As if everything were new, beside rooms.
    pub(crate) fn all() -> Self {
        Self { account_data: AccountNews::All, ..Self::default() }
    }

    /// Whether somebody may have read on in a room.
    pub(super) fn has_receipts(&self, room: &RoomId) -> bool {
        self.receipts.as_ref().is_none_or(|receipts| receipts.contains(room))
    }

    fn since(step: &Step<'_>, user: &UserId, since: u64) -> Result<Self, Broken> {
        let limit = MAX_ENTRIES + 1;
        let span = Span { after: since, up_to: u64::MAX, order: Order::Ascending, limit };
        let entries = step.scan_numbers(STREAM, (), &span)?;
        if MAX_ENTRIES < entries.len() {
            return Self::everywhere(step, user);
        }
        let mut news = Self { receipts: Some(BTreeSet::new()), ..Self::default() };
        for (_, change) in entries {
            news.add(user, change);
        }
        Ok(news)
    }

    /// All rooms of somebody.
    fn everywhere(step: &Step<'_>, user: &UserId) -> Result<Self, Broken> {
        let rooms = step.scan(MEMBERSHIPS, (user,))?;
        let rooms: Result<_, Broken> = rooms
            .into_iter()
            .map(|(mut key, _)| {
                key.text()?;
                OwnedRoomId::try_from(key.text()?).map_err(|error| Broken(error.to_string()))
            })
            .collect();
        Ok(Self {
            rooms: rooms?,
            account_data: AccountNews::All,
            devices: true,
            receipts: None,
            signed: BTreeSet::new(),
        })
    }

    fn add(&mut self, me: &UserId, change: Change) {
        match change {
            Change::Event { room, .. } => {
                self.rooms.insert(room);
            }
            Change::Receipt { room, .. } => {
                if let Some(receipts) = &mut self.receipts {
                    receipts.insert(room.clone());
                }
                self.rooms.insert(room);
            }
            Change::AccountData { user, room, kind } if user == me => {
                self.rooms.extend(room.clone());
                if let AccountNews::Of(places) = &mut self.account_data {
                    places.insert((room, kind));
                }
            }
            Change::Devices { .. } => self.devices = true,
            Change::Signed { user, other } if user == me => {
                self.signed.insert(other);
            }
            // To-device messages are looked for in any case.
            Change::AccountData { .. } | Change::Signed { .. } | Change::ToDevice { .. } => {}
        }
    }
}

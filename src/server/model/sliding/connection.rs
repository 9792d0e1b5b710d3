//! What each connection was sent. Lost with the process: then clients are told that their place is
//! not known, and begin anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::Wish;
use crate::{
    matrix::{OwnedDeviceId, OwnedRoomId, OwnedUserId},
    server::model::{refusal::Refusal, token::SyncToken},
};

/// Connections that are remembered; the one that was used least recently goes first.
const MOST_CONNECTIONS: usize = 2_000;
/// Most of them that are remembered of one user.
const MOST_OF_A_USER: usize = 32;

/// A connection of a device: there may be some, told apart by `conn_id`.
pub(crate) type Line = (OwnedUserId, OwnedDeviceId, String);

/// All connections.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    lines: BTreeMap<Line, Connection>,
    /// Counts answers, over all connections.
    last: u64,
}

/// A connection.
#[derive(Debug, Default)]
struct Connection {
    /// What the client had after an answer: after the one that it has seen for sure, and after the
    /// last one.
    answers: BTreeMap<u64, Arc<Memory>>,
}

/// What a client was sent, up to an answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) rooms: BTreeMap<OwnedRoomId, Arc<SentRoom>>,
    /// How many rooms each list has.
    pub(crate) counts: BTreeMap<String, u64>,
    /// The rooms of each list that were asked for.
    pub(crate) lists: BTreeMap<String, BTreeSet<OwnedRoomId>>,
    /// The rooms that were asked for, and what was wanted of each.
    pub(crate) wishes: BTreeMap<OwnedRoomId, Wish>,
    /// A hash of the lists and subscriptions of the request.
    pub(crate) request: String,
}

/// What a client was sent of a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SentRoom {
    /// It has everything up to here, if it has not everything up to its place.
    pub(crate) missing_after: Option<u64>,
    pub(crate) wish: Wish,
    /// The members it was sent because they spoke.
    pub(crate) members: BTreeSet<String>,
}

impl Connections {
    /// What the client had at this place, `None` for a new connection. What it had before is
    /// forgotten: it will not come back there.
    ///
    /// # Errors
    /// `M_UNKNOWN_POS` when the place is not known (any more).
    pub(crate) fn resume(
        &mut self,
        line: &Line,
        place: Option<&str>,
    ) -> Result<Option<(SyncToken, Arc<Memory>)>, Refusal> {
        let Some(place) = place else {
            self.lines.remove(line);
            return Ok(None);
        };
        let unknown = || Refusal::new(400, "M_UNKNOWN_POS", "this place is not known: begin anew");
        let (number, token) = place.split_once('/').ok_or_else(unknown)?;
        let number: u64 = number.parse().map_err(|_error| unknown())?;
        let token = SyncToken::parse(token)?;
        let connection = self.lines.get_mut(line).ok_or_else(unknown)?;
        let memory = connection.answers.get(&number).cloned().ok_or_else(unknown)?;
        connection.answers.retain(|answer, _| number <= *answer);
        Ok(Some((token, memory)))
    }

    /// Notes what a client has once it has the answer, and gives the answer's place.
    pub(crate) fn advance(&mut self, line: &Line, token: &SyncToken, memory: Memory) -> String {
        if !self.lines.contains_key(line) {
            if MOST_OF_A_USER <= self.of_user(&line.0).count() {
                self.forget_oldest(Some(&line.0));
            } else if MOST_CONNECTIONS <= self.lines.len() {
                self.forget_oldest(None);
            }
        }
        self.last = self.last.max(token.serial) + 1;
        let connection = self.lines.entry(line.clone()).or_default();
        // An answer that was asked for again takes the place of the one that was lost.
        while 1 < connection.answers.len() {
            connection.answers.pop_last();
        }
        connection.answers.insert(self.last, Arc::new(memory));
        format!("{}/{token}", self.last)
    }

    fn of_user(&self, user: &OwnedUserId) -> impl Iterator<Item = (&Line, &Connection)> {
        let first = (user.clone(), OwnedDeviceId::from(""), String::new());
        self.lines.range(first..).take_while(move |((owner, ..), _)| owner == user)
    }

    /// Forgets the connection that was used least recently: of a user, or of all.
    fn forget_oldest(&mut self, user: Option<&OwnedUserId>) {
        let newest = |connection: &Connection| connection.answers.keys().next_back().copied();
        let oldest = match user {
            Some(user) => self.of_user(user).min_by_key(|(_, connection)| newest(connection)),
            None => self.lines.iter().min_by_key(|(_, connection)| newest(connection)),
        };
        if let Some(line) = oldest.map(|(line, _)| line.clone()) {
            self.lines.remove(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_opens_many_connections_loses_only_their_own() {
        let mut connections = Connections::default();
        let line = |user: &str, id: usize| {
            (user.try_into().unwrap(), OwnedDeviceId::from("A"), id.to_string())
        };
        let token = SyncToken::default();
        let friend: Line = line("@friend:x", 0);
        let place = connections.advance(&friend, &token, Memory::default());
        for id in 0..MOST_CONNECTIONS {
            connections.advance(&line("@eve:x", id), &token, Memory::default());
        }
        assert!(connections.resume(&friend, Some(&place)).unwrap().is_some());
        assert_eq!(connections.lines.len(), MOST_OF_A_USER + 1);
        assert!(connections.lines.contains_key(&line("@eve:x", MOST_CONNECTIONS - 1)));
    }
}

//! One line of the room list.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use crate::{
    matrix::{Membership, OwnedRoomId},
    time::Timestamp,
};

/// What a room is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoomKind {
    /// A direct chat (`m.direct`).
    Dm,
    /// Any other room.
    Group,
    /// A space.
    Space,
}

/// One line of the room list; all text is as the network sent it (make it safe before drawing).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomSummary {
    /// The room.
    pub room_id: OwnedRoomId,
    /// Name by the spec's algorithm ("Calculating the display name for a room").
    pub name: String,
    /// Direct chat, group or space.
    pub kind: RoomKind,
    /// Our membership.
    pub membership: Membership,
    /// Whether it was ever seen encrypted.
    pub encrypted: bool,
    /// Unread notifications.
    pub unread: u64,
    /// Unread mentions.
    pub highlights: u64,
    /// Joined members.
    pub members: u64,
    /// Topic, if any.
    pub topic: Option<String>,
    /// Time of the last event that counts as activity.
    pub last_activity: Timestamp,
    /// Who invited us, while invited.
    pub inviter: Option<String>,
}

impl RoomSummary {
    /// The order of the room list, to sort by: invites, then rooms that mention us, then unread
    /// ones, then the rest; the most recent first in each.
    pub fn order(&self) -> impl Ord + use<> {
        let rank = match (self.membership, self.highlights, self.unread) {
            (Membership::Invite, ..) => 0,
            (Membership::Join, 1.., _) => 1,
            (Membership::Join, 0, 1..) => 2,
            (Membership::Join, 0, 0) => 3,
            (Membership::Knock, ..) => 4,
            (Membership::Leave, ..) => 5,
        };
        (rank, Reverse(self.last_activity), self.room_id.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::RoomId;

    #[test]
    fn invites_come_first_then_mentions_then_unread_then_recent() {
        let room = |id: &str, membership, (highlights, unread), at| RoomSummary {
            room_id: RoomId::parse(id).expect("a room id"),
            name: String::new(),
            kind: RoomKind::Group,
            membership,
            encrypted: true,
            unread,
            highlights,
            members: 2,
            topic: None,
            last_activity: Timestamp(at),
            inviter: None,
        };
        let mut rooms = [
            room("!old:x", Membership::Join, (0, 0), 1),
            room("!left:x", Membership::Leave, (9, 9), 99),
            room("!recent:x", Membership::Join, (0, 0), 50),
            room("!unread:x", Membership::Join, (0, 3), 5),
            room("!mention:x", Membership::Join, (1, 1), 2),
            room("!invite:x", Membership::Invite, (0, 0), 0),
        ];
        rooms.sort_by_key(RoomSummary::order);
        let names: Vec<&str> = rooms.iter().map(|room| room.room_id.as_str()).collect();
        assert_eq!(
            names,
            ["!invite:x", "!mention:x", "!unread:x", "!recent:x", "!old:x", "!left:x"]
        );
    }
}

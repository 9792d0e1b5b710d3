//! Where the line above what is new stands. While a room is open it stays where it was when the
//! room was entered, or it would run away from the eyes; what comes in while somebody watches is
//! not new.

use crate::{
    matrix::OwnedEventId,
    rooms::{ItemId, StoredEvent, Timeline, TimelineDelta},
};

/// Where the line stands, and whether somebody watches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ReadLine {
    place: Place,
    watched: Watched,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Place {
    /// The room is not open: the line follows what was read.
    #[default]
    Following,
    /// It was entered, and where the line is was not told yet.
    Entered,
    /// The line stays; where it should be now.
    Held(Option<OwnedEventId>),
    /// All was read: what comes while somebody watches is not new.
    Live,
}

/// Whether the end of the messages is before somebody's eyes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::tui) enum Watched {
    /// It is.
    Yes,
    /// Nobody looks, or at something else.
    #[default]
    No,
}

impl ReadLine {
    /// The room is looked at from now on.
    pub(super) fn enter(&mut self, timeline: &Timeline) {
        self.place = if timeline.item(&ItemId::Unread).is_some() {
            Place::Held(None)
        } else if timeline.is_empty() {
            Place::Entered
        } else {
            Place::Live
        };
    }

    /// Nobody looks any more: the line goes where it should be.
    pub(super) fn leave(&mut self, timeline: &mut Timeline) {
        if let Place::Held(Some(event)) = std::mem::take(&mut self.place) {
            timeline.apply(TimelineDelta::FullyRead(event));
        }
        self.watched = Watched::No;
    }

    /// Everything here was read: the line goes away until something new comes unseen.
    pub(super) fn finish(&mut self, timeline: &mut Timeline) {
        self.place = Place::Live;
        move_to_end(timeline);
    }

    /// A frame was drawn: whether somebody saw it.
    pub(super) fn watch(&mut self, watched: Watched) {
        self.watched = watched;
    }

    /// Something was marked as read. In a room of which nothing was ever read that is no line.
    pub(super) fn on_marked(&mut self, timeline: &mut Timeline) {
        if self.place == Place::Entered {
            self.finish(timeline);
        }
    }

    /// Whether the line may go to `event`, which was read here or on another device.
    pub(super) fn lets_through(&mut self, timeline: &Timeline, event: &OwnedEventId) -> bool {
        match &mut self.place {
            Place::Following => true,
            Place::Entered => {
                self.place = Place::Held(None);
                true
            }
            Place::Held(held) => {
                *held = Some(event.clone());
                false
            }
            // What we saw ourselves may be ahead of what comes back.
            Place::Live => timeline.position(event) >= timeline.fully_read_position(),
        }
    }

    /// Events came.
    pub(super) fn on_events(&mut self, timeline: &mut Timeline, newest_before: Option<i64>) {
        let is_newer = newest_before < timeline.newest().map(|event| event.position);
        if self.place != Place::Live || !is_newer {
            return;
        }
        match self.watched {
            Watched::Yes => move_to_end(timeline),
            Watched::No => self.place = Place::Held(None),
        }
    }
}

fn move_to_end(timeline: &mut Timeline) {
    if let Some(event) = timeline.newest().and_then(StoredEvent::id).map(ToOwned::to_owned) {
        timeline.apply(TimelineDelta::FullyRead(event));
    }
}

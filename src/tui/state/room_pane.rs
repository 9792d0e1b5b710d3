//! An open room: its messages and where one stands in them, its draft, who types, what was read.

use std::{collections::BTreeMap, time::Duration};

use super::{
    composer::{Composer, Direction, Purpose},
    facts::{Facts, is_selectable},
    look::Look,
    message_list::{Cache, MessageList},
    scroll::{Anchor, Heights, Window},
};
use crate::{
    matrix::{EventId, OwnedEventId, OwnedTransactionId, OwnedUserId, SafeText, UserId},
    rooms::{Item, ItemId, Items, Timeline, TimelineDelta},
    time::Timestamp,
    tui::wrap::Row,
};

/// How long an answer with older messages is waited for before it is asked for again.
const LOADING: Duration = Duration::from_secs(15);
/// Older messages are asked for when this few items are above what is visible.
const NEAR_START: usize = 20;

/// An open room.
#[derive(Debug, Default)]
pub(in crate::tui) struct RoomPane {
    timeline: Timeline,
    /// What is written.
    pub composer: Composer,
    /// The message given to the engine last, in case it was refused.
    pub last_given: Option<(OwnedTransactionId, String, Purpose)>,
    /// Who types, ourselves left out.
    pub typing: Vec<OwnedUserId>,
    /// The message that keys act on.
    pub selected: Option<ItemId>,
    names: BTreeMap<OwnedUserId, SafeText>,
    read_by: BTreeMap<OwnedUserId, OwnedEventId>,
    anchor: Anchor<ItemId>,
    /// The selected message must be brought into view.
    must_reveal: bool,
    visible: Visible,
    cache: Cache,
    oldest: Option<i64>,
    has_start: bool,
    loading: Option<Loading>,
    read: ReadUpTo,
    /// Position of the newest event that was marked as read.
    marked: Option<i64>,
}

/// What is drawn of the messages.
#[derive(Clone, Debug, Default)]
pub(in crate::tui) struct Visible {
    /// Rows from the top.
    pub rows: Vec<Row>,
    /// Rows at the top that stay empty.
    pub blank: usize,
    /// How many items are below.
    pub below: usize,
    window: Window,
}

/// A request for older messages that is not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Loading {
    before: i64,
    until: Timestamp,
}

/// How far we have read, for the line above what is new. While the room is open the line stays
/// where it was when the room was entered, or it would run away from the eyes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum ReadUpTo {
    /// The room is not open: the line follows.
    #[default]
    Following,
    /// It was entered, and where the line is was not told yet.
    Entered,
    /// The line stays; where it should be now.
    Held(Option<OwnedEventId>),
}

impl RoomPane {
    /// Takes a change of the timeline.
    pub(in crate::tui) fn take(&mut self, delta: TimelineDelta) {
        match &delta {
            TimelineDelta::Events(events) => {
                let oldest = events.iter().map(|event| event.position).min();
                self.oldest = self.oldest.into_iter().chain(oldest).min();
                if self.loading.is_some_and(|loading| oldest < Some(loading.before)) {
                    self.loading = None;
                }
            }
            TimelineDelta::ReachedStart => {
                self.has_start = true;
                self.loading = None;
            }
            TimelineDelta::GapClosed { .. } => self.loading = None,
            TimelineDelta::FullyRead(event) => match &mut self.read {
                ReadUpTo::Following => {}
                ReadUpTo::Entered => self.read = ReadUpTo::Held(None),
                ReadUpTo::Held(held) => {
                    *held = Some(event.clone());
                    return;
                }
            },
            TimelineDelta::Gap { .. }
            | TimelineDelta::Echo(_)
            | TimelineDelta::EchoDiscarded(_) => {}
        }
        self.timeline.apply(delta);
    }

    /// Takes names of members.
    pub(in crate::tui) fn take_names(&mut self, names: Vec<(OwnedUserId, String)>) {
        let safe = names.into_iter().map(|(user, name)| (user, SafeText::line(&name)));
        self.names = safe.filter(|(_, name)| !name.is_blank()).collect();
        self.cache.clear();
    }

    /// Takes what others read.
    pub(in crate::tui) fn take_receipts(&mut self, read: Vec<(OwnedUserId, OwnedEventId)>) {
        self.read_by.extend(read);
    }

    /// The name of a user, safe to draw.
    pub(in crate::tui) fn name_of(&self, user: &UserId) -> SafeText {
        self.names.get(user).cloned().unwrap_or_else(|| SafeText::line(user.as_str()))
    }

    /// The room was entered.
    pub(in crate::tui) fn on_entered(&mut self) {
        let is_known = self.timeline.items().position(&ItemId::Unread).is_some();
        self.read = if is_known { ReadUpTo::Held(None) } else { ReadUpTo::Entered };
    }

    /// The room was left for another.
    pub(in crate::tui) fn on_left(&mut self) {
        if let ReadUpTo::Held(Some(event)) = std::mem::take(&mut self.read) {
            self.timeline.apply(TimelineDelta::FullyRead(event));
        }
        self.selected = None;
        self.typing.clear();
    }

    /// The engine no longer tells us about this room: only the draft stays.
    pub(in crate::tui) fn forget_messages(&mut self) {
        let composer = std::mem::take(&mut self.composer);
        let last_given = self.last_given.take();
        *self = Self { composer, last_given, ..Self::default() };
    }

    /// What was laid out to be drawn.
    pub(in crate::tui) fn visible(&self) -> &Visible {
        &self.visible
    }

    /// Whether older messages are on their way.
    pub(in crate::tui) fn loading_until(&self) -> Option<Timestamp> {
        self.loading.map(|loading| loading.until)
    }

    /// Lays out what is visible in `height` rows.
    pub(in crate::tui) fn lay_out(&mut self, look: &Look, height: usize) {
        let selected = self.selected.as_ref().filter(|_| self.must_reveal).cloned();
        self.must_reveal = false;
        let mut anchor = std::mem::take(&mut self.anchor);
        let mut list = self.list(look);
        if let Some(index) = selected.and_then(|id| list.index(&id)) {
            anchor.reveal(&mut list, index, height);
        }
        let window = anchor.window(&mut list, height);
        let mut rows = Vec::with_capacity(height);
        for part in &window.parts {
            rows.extend(list.rows(part.index).iter().skip(part.first).take(part.rows).cloned());
        }
        let last = window.parts.last().map_or(0, |part| part.index + 1);
        let below = if anchor == Anchor::End { 0 } else { list.len().saturating_sub(last) };
        self.visible = Visible { rows, blank: window.blank, below, window };
        self.anchor = anchor;
    }

    /// The place to load older messages from, if one is in view (or nearly) and it was not asked
    /// for just now.
    pub(in crate::tui) fn wanted_history(&mut self, now: Timestamp) -> Option<i64> {
        let parts = &self.visible.window.parts;
        let items = self.timeline.items();
        let gap = parts.iter().rev().find_map(|part| match items.get(part.index)?.id {
            ItemId::Gap(position) => Some(position),
            ItemId::Start | ItemId::Event(_) | ItemId::Unread | ItemId::Echo(_) => None,
        });
        let is_near_start = parts.first().is_none_or(|part| part.index < NEAR_START);
        let start = self.oldest.filter(|_| is_near_start && !self.has_start);
        let before = gap.or(start)?;
        let is_asked = self.loading.is_some_and(|l| l.before == before && now < l.until);
        if is_asked {
            return None;
        }
        self.loading = Some(Loading { before, until: now.plus(LOADING) });
        Some(before)
    }

    /// The newest event that is visible, if it is newer than what was marked as read.
    pub(in crate::tui) fn newly_read(&mut self) -> Option<OwnedEventId> {
        let items = self.timeline.items();
        let (position, event) = self.visible.window.parts.iter().rev().find_map(|part| {
            let item = items.get(part.index)?;
            let ItemId::Event(position) = item.id else { return None };
            Some((position, Facts::of(&item).event?))
        })?;
        if Some(position) <= self.marked {
            return None;
        }
        self.marked = Some(position);
        Some(event)
    }

    /// The receipt was not sent.
    pub(in crate::tui) fn forget_mark(&mut self) {
        self.marked = None;
    }

    /// Scrolls by rows.
    pub(in crate::tui) fn scroll(&mut self, look: &Look, to: Direction, rows: usize) {
        let mut anchor = std::mem::take(&mut self.anchor);
        let mut list = self.list(look);
        match to {
            Direction::Back => anchor.up(&mut list, rows),
            Direction::Forward => anchor.down(&mut list, rows),
        }
        self.anchor = anchor;
    }

    /// Goes to the end.
    pub(in crate::tui) fn to_newest(&mut self) {
        self.anchor = Anchor::End;
        self.must_reveal = false;
    }

    /// Goes to the line above what is new; `false` when there is none.
    pub(in crate::tui) fn to_unread(&mut self) -> bool {
        let is_known = self.timeline.items().position(&ItemId::Unread).is_some();
        if is_known {
            self.anchor = Anchor::At { key: ItemId::Unread, below: 0 };
        }
        is_known
    }

    /// Selects another message, above or below; `false` when there is none.
    pub(in crate::tui) fn select_step(&mut self, to: Direction) -> bool {
        let Some(selected) = self.selected_index() else {
            self.select_end(Direction::Forward);
            return self.selected.is_some();
        };
        let items = self.timeline.items();
        let found = match to {
            Direction::Back => find(&items, (0..selected).rev()),
            Direction::Forward => find(&items, selected + 1..items.len()),
        };
        let has_moved = found.is_some();
        if has_moved {
            self.selected = found;
            self.must_reveal = true;
        }
        has_moved
    }

    /// Selects the first or the last message.
    pub(in crate::tui) fn select_end(&mut self, to: Direction) {
        let items = self.timeline.items();
        self.selected = match to {
            Direction::Back => find(&items, 0..items.len()),
            Direction::Forward => find(&items, (0..items.len()).rev()),
        };
        self.must_reveal = true;
    }

    /// What can be done with the selected item.
    pub(in crate::tui) fn selected_facts(&self) -> Option<Facts> {
        self.timeline.items().get(self.selected_index()?).as_ref().map(Facts::of)
    }

    /// Event and text of the newest message of ours that can be edited.
    pub(in crate::tui) fn last_own(&self) -> Option<(OwnedEventId, String)> {
        self.newest_first().map(|item| Facts::of(&item)).find_map(|f| Some((f.event?, f.editable?)))
    }

    /// Who sent an event, if it is loaded.
    pub(in crate::tui) fn sender_of(&self, event: &EventId) -> Option<OwnedUserId> {
        let facts = self.newest_first().map(|item| Facts::of(&item));
        facts.into_iter().find(|facts| facts.event.as_deref() == Some(event))?.sender
    }

    fn newest_first(&self) -> impl Iterator<Item = Item<'_>> {
        let items = self.timeline.items();
        (0..items.len()).rev().filter_map(move |index| items.get(index))
    }

    fn selected_index(&self) -> Option<usize> {
        self.timeline.items().position(self.selected.as_ref()?)
    }

    fn list<'a>(&'a mut self, look: &'a Look) -> MessageList<'a> {
        MessageList {
            items: self.timeline.items(),
            cache: &mut self.cache,
            look,
            names: &self.names,
            selected: self.selected.as_ref(),
        }
    }
}

/// The first of these items that keys can act on.
fn find(items: &Items<'_>, mut indices: impl Iterator<Item = usize>) -> Option<ItemId> {
    indices.find_map(|index| items.get(index).filter(is_selectable)).map(|item| item.id)
}

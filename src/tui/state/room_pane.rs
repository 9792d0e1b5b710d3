//! An open room: its messages and where one stands in them, its draft, who types, what was read.

use std::{collections::BTreeMap, time::Duration};

use super::{
    composer::{Composer, Direction, Purpose},
    facts::{Facts, editable, event_id, is_event, is_of_other, is_selectable},
    look::Look,
    message_list::{Cache, MessageList},
    scroll::{Anchor, Heights, Window},
    stub::{Item, ItemId, ItemKind},
};
use crate::{
    matrix::{EventId, OwnedEventId, OwnedTransactionId, OwnedUserId, SafeText, UserId},
    rooms::{Timeline, TimelineDelta},
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
    items: Vec<Item>,
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
    unread: UnreadLine,
    marked: Option<OwnedEventId>,
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

/// Where the line above the first unread message is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum UnreadLine {
    /// Nowhere.
    #[default]
    None,
    /// Above the last so many messages of others, once they are there.
    Above(u64),
    /// Above this item.
    At(ItemId),
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

    /// The room was entered; so many messages are unread.
    pub(in crate::tui) fn on_entered(&mut self, unread: u64) {
        if unread > 0 {
            self.unread = UnreadLine::Above(unread);
        }
    }

    /// The room was left for another.
    pub(in crate::tui) fn on_left(&mut self) {
        self.unread = UnreadLine::None;
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
        self.place_unread_line(look);
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
        let in_view = |item: &Item| match item.kind {
            ItemKind::Gap { position } => Some(position),
            _ => None,
        };
        let gap =
            parts.iter().rev().find_map(|part| self.items().get(part.index).and_then(in_view));
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

    /// The newest message that is visible, if it was not marked as read yet.
    pub(in crate::tui) fn newly_read(&mut self) -> Option<OwnedEventId> {
        let items = self.items();
        let known = self.marked.as_ref().and_then(|id| items.iter().rposition(|i| is_event(i, id)));
        let newest = self.visible.window.parts.iter().rev().find_map(|part| {
            let id = event_id(items.get(part.index)?)?;
            (known < Some(part.index)).then(|| id.clone())
        })?;
        if self.marked.as_ref() == Some(&newest) {
            return None;
        }
        self.marked = Some(newest.clone());
        Some(newest)
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

    /// Goes to the first unread message; `false` when there is none.
    pub(in crate::tui) fn to_unread(&mut self) -> bool {
        let UnreadLine::At(id) = &self.unread else { return false };
        self.anchor = Anchor::At { key: id.clone(), below: 0 };
        true
    }

    /// Selects another message: `by` places further; `false` when there is none.
    pub(in crate::tui) fn select_step(&mut self, by: isize) -> bool {
        let index = self.selected_index();
        let mut next = match index {
            Some(index) => index.checked_add_signed(by),
            None => self.items().len().checked_sub(1),
        };
        while let Some(index) = next {
            let Some(item) = self.items().get(index) else { return false };
            if is_selectable(item) {
                self.selected = Some(item.id.clone());
                self.must_reveal = true;
                return true;
            }
            next = index.checked_add_signed(if by == 0 { -1 } else { by });
        }
        false
    }

    /// Selects the first or the last message.
    pub(in crate::tui) fn select_end(&mut self, to: Direction) {
        let found = match to {
            Direction::Back => self.items().iter().find(|item| is_selectable(item)),
            Direction::Forward => self.items().iter().rev().find(|item| is_selectable(item)),
        };
        self.selected = found.map(|item| item.id.clone());
        self.must_reveal = true;
    }

    /// The selected item.
    pub(in crate::tui) fn selected_item(&self) -> Option<&Item> {
        self.items().get(self.selected_index()?)
    }

    /// The newest message of ours that can be edited.
    pub(in crate::tui) fn last_own(&self, user_id: &str) -> Option<(OwnedEventId, String)> {
        self.items().iter().rev().find_map(|item| editable(item, user_id))
    }

    /// The items, oldest first.
    pub(in crate::tui) fn items(&self) -> &[Item] {
        &self.items
    }

    /// Who sent an event, if it is loaded.
    pub(in crate::tui) fn sender_of(&self, event: &EventId) -> Option<OwnedUserId> {
        let item = self.items().iter().rev().find(|item| is_event(item, event))?;
        Facts::of(item).sender
    }

    fn selected_index(&self) -> Option<usize> {
        let id = self.selected.as_ref()?;
        self.items().iter().rposition(|item| item.id == *id)
    }

    fn list<'a>(&'a mut self, look: &'a Look) -> MessageList<'a> {
        MessageList {
            items: &self.items,
            cache: &mut self.cache,
            look,
            names: &self.names,
            first_unread: match &self.unread {
                UnreadLine::At(id) => Some(id),
                UnreadLine::None | UnreadLine::Above(_) => None,
            },
            selected: self.selected.as_ref(),
        }
    }

    fn place_unread_line(&mut self, look: &Look) {
        let UnreadLine::Above(count) = self.unread else { return };
        let of_others = self.items().iter().rev().filter(|item| is_of_other(item, &look.user_id));
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let found = of_others.take(count).last().map(|item| item.id.clone());
        if let Some(id) = found {
            self.unread = UnreadLine::At(id);
        }
    }
}

//! An open room: its messages and where one stands in them, its draft, who types, what was read.

use std::{collections::BTreeMap, time::Duration};

use super::{
    composer::{Composer, Direction, Purpose},
    facts::{Facts, is_selectable},
    look::Look,
    message_list::{Cache, MessageList},
    read_line::{ReadLine, Watched},
    scroll::{Anchor, Edge, Window},
};
use crate::{
    matrix::{EventId, OwnedEventId, OwnedTransactionId, OwnedUserId, SafeText, UserId},
    rooms::{ItemId, StoredEvent, Timeline, TimelineDelta},
    time::Timestamp,
    tui::wrap::Row,
};

/// How long an answer with older messages is waited for before it is asked for again.
const LOADING: Duration = Duration::from_secs(15);
/// Older messages are asked for when this few items are above what is visible.
const NEAR_START: usize = 20;

/// Most messages that are counted below what is visible.
pub(in crate::tui) const MOST_COUNTED: usize = 100;

/// An open room.
#[derive(Debug)]
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
    must_reveal: Option<Edge>,
    visible: Visible,
    cache: Cache,
    loading: Option<Loading>,
    read_line: ReadLine,
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
    window: Window<ItemId>,
}

/// A request for older messages that is not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Loading {
    before: i64,
    until: Timestamp,
}

impl RoomPane {
    /// A room as `own` sees it, before anything was told.
    pub(in crate::tui) fn new(own: &UserId) -> Self {
        Self {
            timeline: Timeline::new(own),
            composer: Composer::default(),
            last_given: None,
            typing: Vec::new(),
            selected: None,
            names: BTreeMap::new(),
            read_by: BTreeMap::new(),
            anchor: Anchor::End,
            must_reveal: None,
            visible: Visible::default(),
            cache: Cache::default(),
            loading: None,
            read_line: ReadLine::default(),
            marked: None,
        }
    }

    /// Takes a change of the timeline.
    pub(in crate::tui) fn take(&mut self, delta: TimelineDelta) {
        match &delta {
            TimelineDelta::Events(events) => {
                let oldest = events.iter().map(|event| event.position).min();
                if self.loading.is_some_and(|loading| oldest < Some(loading.before)) {
                    self.loading = None;
                }
            }
            TimelineDelta::ReachedStart => {
                self.loading = None;
            }
            TimelineDelta::GapClosed { .. } => self.loading = None,
            TimelineDelta::FullyRead(event) => {
                if !self.read_line.lets_through(&self.timeline, event) {
                    return;
                }
            }
            TimelineDelta::Gap { .. }
            | TimelineDelta::Echo(_)
            | TimelineDelta::EchoDiscarded(_) => {}
        }
        let (held, sent) = (self.held_echoes(), sent_as(&delta));
        let newest = self.timeline.newest().map(|event| event.position);
        self.timeline.apply(delta);
        self.read_line.on_events(&mut self.timeline, newest);
        self.follow_echoes(held, &sent);
    }

    /// The messages on their way that are selected, or that the window stands at, with their events
    /// if they have one.
    fn held_echoes(&self) -> Vec<(ItemId, Option<OwnedEventId>)> {
        let anchored = match &self.anchor {
            Anchor::At { key, .. } => Some(key),
            Anchor::End => None,
        };
        let held = self.selected.iter().chain(anchored);
        let echoes = held.filter(|id| matches!(id, ItemId::Echo(_)));
        echoes
            .map(|id| {
                let item = self.timeline.item(id);
                (id.clone(), item.and_then(|item| Facts::of(&item).event))
            })
            .collect()
    }

    /// A message that came back from the server as an event stays what it was: selected, in place.
    fn follow_echoes(
        &mut self,
        held: Vec<(ItemId, Option<OwnedEventId>)>,
        sent: &BTreeMap<OwnedTransactionId, OwnedEventId>,
    ) {
        for (echo, known) in held {
            if self.timeline.item(&echo).is_some() {
                continue;
            }
            let told = if let ItemId::Echo(txn) = &echo { sent.get(txn) } else { None };
            let event = known.as_ref().or(told);
            let Some(position) = event.and_then(|event| self.timeline.position(event)) else {
                continue;
            };
            let now = ItemId::Event(position);
            if self.selected.as_ref() == Some(&echo) {
                self.selected = Some(now.clone());
            }
            if let Anchor::At { key, .. } = &mut self.anchor
                && *key == echo
            {
                *key = now;
            }
        }
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
        self.cache.clear();
    }

    /// The name of a user, safe to draw.
    pub(in crate::tui) fn name_of(&self, user: &UserId) -> SafeText {
        self.names.get(user).cloned().unwrap_or_else(|| SafeText::line(user.as_str()))
    }

    /// The room was entered, or is looked at again.
    pub(in crate::tui) fn on_entered(&mut self) {
        self.read_line.enter(&self.timeline);
    }

    /// The room was left for another.
    pub(in crate::tui) fn on_left(&mut self) {
        self.on_looked_away();
        self.selected = None;
        self.typing.clear();
    }

    /// The room is open, and nobody looks.
    pub(in crate::tui) fn on_looked_away(&mut self) {
        self.read_line.leave(&mut self.timeline);
    }

    /// Somebody writes: what is above was read.
    pub(in crate::tui) fn on_answered(&mut self) {
        self.read_line.finish(&mut self.timeline);
    }

    /// A frame was drawn: whether somebody saw its end.
    pub(in crate::tui) fn watch(&mut self, watched: Watched) {
        let is_at_end = self.anchor == Anchor::End;
        self.read_line.watch(if is_at_end { watched } else { Watched::No });
    }

    /// The engine no longer tells us about this room: only the draft stays.
    pub(in crate::tui) fn forget_messages(&mut self, own: &UserId) {
        let composer = std::mem::take(&mut self.composer);
        let last_given = self.last_given.take();
        *self = Self { composer, last_given, ..Self::new(own) };
    }

    /// What was laid out to be drawn.
    pub(in crate::tui) fn visible(&self) -> &Visible {
        &self.visible
    }

    /// Whether older messages are on their way.
    pub(in crate::tui) fn loading_until(&self) -> Option<Timestamp> {
        self.loading.map(|loading| loading.until)
    }

    /// Whether what is above the first visible row is on its way.
    pub(in crate::tui) fn is_loading_above(&self, now: Timestamp) -> bool {
        let is_asked = self.loading.is_some_and(|loading| now < loading.until);
        let first = self.visible.window.parts.first();
        is_asked && first.is_some_and(|part| self.timeline.items_before(&part.key).next().is_none())
    }

    /// Lays out what is visible in `height` rows.
    pub(in crate::tui) fn lay_out(&mut self, look: &Look, height: usize) {
        let reveal = self.selected.clone().zip(self.must_reveal.take());
        let mut anchor = std::mem::take(&mut self.anchor);
        let mut list = self.list(look);
        if let Some((id, edge)) = reveal {
            anchor.reveal(&mut list, (&id, edge), height);
        }
        let window = anchor.window(&mut list, height);
        let mut rows = Vec::with_capacity(height);
        for part in &window.parts {
            rows.extend(list.rows(&part.key).iter().skip(part.first).take(part.rows).cloned());
        }
        let below = match window.parts.last() {
            Some(part) if anchor != Anchor::End => {
                self.timeline.items_from(&part.key).skip(1).take(MOST_COUNTED).count()
            }
            Some(_) | None => 0,
        };
        self.visible = Visible { rows, blank: window.blank, below, window };
        self.anchor = anchor;
    }

    /// The place to load older messages from, if one is in view (or nearly) and it was not asked
    /// for just now.
    pub(in crate::tui) fn wanted_history(&mut self, now: Timestamp) -> Option<i64> {
        let parts = &self.visible.window.parts;
        let gap = parts.iter().rev().find_map(|part| match part.key {
            ItemId::Gap(position) => Some(position),
            ItemId::Start | ItemId::Event(_) | ItemId::Unread | ItemId::Echo(_) => None,
        });
        let above = parts
            .first()
            .map_or(0, |part| self.timeline.items_before(&part.key).rev().take(NEAR_START).count());
        let has_more = above < NEAR_START && !self.timeline.reached_start();
        let start = self.timeline.oldest().filter(|_| has_more);
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
        let (position, event) = self.visible.window.parts.iter().rev().find_map(|part| {
            let item = self.timeline.item(&part.key)?;
            let ItemId::Event(position) = item.id else { return None };
            Some((position, Facts::of(&item).event?))
        })?;
        if Some(position) <= self.marked {
            return None;
        }
        self.marked = Some(position);
        self.read_line.on_marked(&mut self.timeline);
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
    pub(in crate::tui) fn go_to_newest(&mut self) {
        self.anchor = Anchor::End;
        self.must_reveal = None;
    }

    /// Goes to the line above what is new; `false` when there is none.
    pub(in crate::tui) fn go_to_unread(&mut self) -> bool {
        let is_known = self.timeline.item(&ItemId::Unread).is_some();
        if is_known {
            self.anchor = Anchor::At { key: ItemId::Unread, below: 0 };
        }
        is_known
    }

    /// Selects another message, above or below; `false` when there is none.
    pub(in crate::tui) fn select_step(&mut self, to: Direction) -> bool {
        let Some(selected) = self.selected.clone() else {
            self.select_end(Direction::Forward);
            return self.selected.is_some();
        };
        let (found, edge) = match to {
            Direction::Back => {
                let mut above = self.timeline.items_before(&selected).rev();
                (above.find(is_selectable), Edge::Top)
            }
            Direction::Forward => {
                let mut below = self.timeline.items_from(&selected).skip(1);
                (below.find(is_selectable), Edge::Bottom)
            }
        };
        let Some(id) = found.map(|item| item.id) else { return false };
        self.selected = Some(id);
        self.must_reveal = Some(edge);
        true
    }

    /// Selects the first or the last message.
    pub(in crate::tui) fn select_end(&mut self, to: Direction) {
        let mut items = self.timeline.items();
        let (found, edge) = match to {
            Direction::Back => (items.find(is_selectable), Edge::Top),
            Direction::Forward => (items.rfind(is_selectable), Edge::Bottom),
        };
        self.selected = found.map(|item| item.id);
        self.must_reveal = Some(edge);
    }

    /// What can be done with the selected item.
    pub(in crate::tui) fn selected_facts(&self) -> Option<Facts> {
        self.timeline.item(self.selected.as_ref()?).as_ref().map(Facts::of)
    }

    /// Event and text of the newest message of ours that can be edited.
    pub(in crate::tui) fn last_own(&self) -> Option<(OwnedEventId, String)> {
        self.timeline
            .items()
            .rev()
            .map(|item| Facts::of(&item))
            .find_map(|f| Some((f.event?, f.editable?)))
    }

    /// Who sent an event, if it is loaded.
    pub(in crate::tui) fn sender_of(&self, event: &EventId) -> Option<OwnedUserId> {
        self.timeline.event(event)?.sender().map(ToOwned::to_owned)
    }

    fn list<'a>(&'a mut self, look: &'a Look) -> MessageList<'a> {
        MessageList {
            timeline: &self.timeline,
            cache: &mut self.cache,
            look,
            names: &self.names,
            read_by: &self.read_by,
            selected: self.selected.as_ref(),
        }
    }
}

/// Which of our messages these events are, by what the server says of them.
fn sent_as(delta: &TimelineDelta) -> BTreeMap<OwnedTransactionId, OwnedEventId> {
    let TimelineDelta::Events(events) = delta else { return BTreeMap::new() };
    let pair = |stored: &StoredEvent| {
        Some((stored.event.unsigned.transaction_id.clone()?, stored.id()?.to_owned()))
    };
    events.iter().filter_map(pair).collect()
}

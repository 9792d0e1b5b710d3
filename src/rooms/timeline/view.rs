//! Building items: what the screen looks at is put together when it looks.

use std::{cmp::Reverse, ops::Bound};

use super::{
    change::{Change, ChangeKind, change},
    content::{MessageContent, message_content, without_fallback},
    delta::SendState,
    event::{EventBody, Relation, StoredEvent, is_valid_edit, new_content, relation},
    fold::{EchoEntry, Entry, Row, RowKind, Timeline, echo_target, sent_as},
    item::{Item, ItemId, ItemKind, Message, Quote, Reaction, Removed, Reply, Sending, Unreadable},
    verification::{is_verification, verification},
};
use crate::{
    e2ee::Shield,
    matrix::{EventId, UserId},
    time::Timestamp,
};

/// Most different reactions that are shown at one message.
const MAX_REACTIONS: usize = 50;

impl Timeline {
    /// One item. Of folded changes any position names the item.
    pub fn item(&self, id: &ItemId) -> Option<Item<'_>> {
        self.run(self.row(id)?).and_then(|(first, last)| self.build(first, last))
    }

    pub(super) fn row(&self, id: &ItemId) -> Option<Row> {
        let row = match id {
            ItemId::Start => Row::START,
            ItemId::Gap(position) => Row { position: *position, kind: RowKind::Gap },
            ItemId::Event(position) => Row::event(*position),
            ItemId::Unread => Row::unread(self.fully_read_position()?),
            ItemId::Echo(txn) => {
                Row::echo(*self.echoes.iter().find(|(_, entry)| entry.echo.txn == *txn)?.0)
            }
        };
        self.rows.contains(&row).then_some(row)
    }

    /// First and last row of the item that `row` belongs to.
    pub(super) fn run(&self, row: Row) -> Option<(Row, Row)> {
        if !self.is_change(row) {
            return Some((row, row));
        }
        let before = self.rows.range(..=row).rev().take_while(|row| self.is_change(**row)).last();
        let after = self.rows.range(row..).take_while(|row| self.is_change(**row)).last();
        before.copied().zip(after.copied())
    }

    fn is_change(&self, row: Row) -> bool {
        row.kind == RowKind::Event
            && self
                .entries
                .get(&row.position)
                .map(|entry| &entry.stored)
                .is_some_and(|it| it.event.state_key.is_some() || it.is_verification())
    }

    pub(super) fn build(&self, first: Row, last: Row) -> Option<Item<'_>> {
        let mark = |id, kind| Some(Item { id, version: 0, ts: Timestamp(0), kind });
        match first.kind {
            RowKind::Start => mark(ItemId::Start, ItemKind::Start),
            RowKind::Gap => mark(ItemId::Gap(first.position), ItemKind::Gap),
            RowKind::Unread => {
                let below = (Bound::Excluded(first), Bound::Unbounded);
                let by_others = |row: &Row| {
                    let entry = self.entries.get(&row.position);
                    entry.is_some_and(|entry| entry.stored.sender() != self.own.as_deref())
                };
                self.rows.range(below).any(by_others).then_some(())?;
                mark(ItemId::Unread, ItemKind::UnreadMarker)
            }
            RowKind::Echo(place) => self.build_echo(self.echoes.get(&place)?),
            RowKind::Event if self.is_change(first) => self.build_changes(first, last),
            RowKind::Event => self.build_event(self.entries.get(&first.position)?),
        }
    }

    fn build_changes(&self, first: Row, last: Row) -> Option<Item<'_>> {
        let entries = || {
            let rows = self.rows.range(first..=last);
            rows.filter_map(|row| self.entries.get(&row.position))
        };
        let changes: Vec<Change<'_>> =
            entries().filter_map(|entry| self.change(&entry.stored)).collect();
        Some(Item {
            id: ItemId::Event(first.position),
            version: entries().map(|entry| entry.version.max(self.request_version(entry))).max()?,
            ts: changes.first()?.ts,
            kind: ItemKind::Changes(changes),
        })
    }

    /// When the request of the verification that an event belongs to last looked different: it says
    /// with whom.
    fn request_version(&self, entry: &Entry) -> u64 {
        let stored = Some(&entry.stored).filter(|it| it.is_verification());
        let request = stored.and_then(|it| self.entry(it.verification_request()?));
        request.map_or(0, |request| request.version)
    }

    /// The line of a state event or a verification; a redacted one says nothing any more.
    fn change<'a>(&'a self, stored: &'a StoredEvent) -> Option<Change<'a>> {
        if self.is_redacted(stored) {
            return None;
        }
        let own = self.own.as_deref();
        let mut line = change(stored).or_else(|| verification(stored, own))?;
        if let ChangeKind::Verified { with } = &mut line.kind {
            let request = stored.verification_request().and_then(|id| self.event(id));
            *with = request.zip(own).and_then(|(request, own)| request.verification_partner(own));
        }
        Some(line)
    }

    fn build_event<'a>(&'a self, entry: &'a Entry) -> Option<Item<'a>> {
        let stored = &entry.stored;
        let kind = if let Some(removed) = self.removed(stored) {
            ItemKind::Removed(removed)
        } else if let EventBody::Undecryptable(why) = &stored.body {
            ItemKind::Unreadable(Unreadable {
                event_id: stored.id(),
                sender: stored.sender(),
                session_id: why.session_id.as_deref(),
                reason: &why.reason,
                removal: self.removal(stored),
            })
        } else {
            ItemKind::Message(self.message(stored)?)
        };
        Some(Item {
            id: ItemId::Event(stored.position),
            version: entry.version.max(self.quote_version(stored.relation())),
            ts: stored.event.origin_server_ts,
            kind,
        })
    }

    fn message<'a>(&'a self, stored: &'a StoredEvent) -> Option<Message<'a>> {
        let (content, edit) = self.current(stored)?;
        let own_edit = self.echo_of(stored, "m.replace");
        let echo = own_edit
            .and_then(|entry| message_content(&entry.echo.kind, new_content(&entry.echo.content)?));
        let (reply, thread) = self.placed(relation(stored.kind(), stored.content()));
        let related = stored.id().and_then(|id| self.relations.of(id));
        let edited_shield = edit.map_or(Shield::None, StoredEvent::shield);
        Some(Message {
            event_id: stored.id(),
            sender: stored.sender(),
            is_ours: stored.sender().is_some() && stored.sender() == self.own.as_deref(),
            content: plain(echo.unwrap_or(content), reply.is_some()),
            is_encrypted: stored.was_encrypted(),
            shield: stored.shield().worse(edited_shield),
            shared_by: stored.shared_by(),
            is_edited: edit.is_some() || echo.is_some(),
            reactions: self.reactions(stored),
            reply,
            thread,
            thread_len: related.map_or(0, |related| related.thread.len()),
            send: own_edit.map(sending).or_else(|| self.failed_reaction(stored)),
            removal: self.removal(stored),
        })
    }

    /// The edit that stands in the place of an event now.
    pub fn edit(&self, id: &EventId) -> Option<&StoredEvent> {
        self.current(self.event(id)?)?.1
    }

    /// What a readable message says now, and the edit that says it.
    fn current<'a>(
        &'a self,
        stored: &'a StoredEvent,
    ) -> Option<(MessageContent<'a>, Option<&'a StoredEvent>)> {
        let related = stored.id().and_then(|id| self.relations.of(id));
        let mut edits = related.into_iter().flat_map(|related| related.edits_for(stored));
        let edit = edits.find_map(|id| {
            let edit = &self.entry(id)?.stored;
            (is_valid_edit(stored, edit) && !self.is_redacted(edit)).then_some(edit)
        });
        let content =
            edit.and_then(|edit| message_content(stored.kind(), new_content(edit.content())?));
        match content {
            Some(content) => Some((content, edit)),
            None => Some((message_content(stored.kind(), stored.content())?, None)),
        }
    }

    fn is_redacted(&self, stored: &StoredEvent) -> bool {
        let related = stored.id().and_then(|id| self.relations.of(id));
        let here = related.is_some_and(|related| !related.redactions.is_empty());
        here || stored.event.unsigned.redacted_because.is_some()
    }

    fn removed<'a>(&'a self, stored: &'a StoredEvent) -> Option<Removed<'a>> {
        let because = stored.event.unsigned.redacted_because.as_ref();
        let related = stored.id().and_then(|id| self.relations.of(id));
        let redaction = related.and_then(|related| related.redactions.first());
        let redaction = redaction.and_then(|(_, id)| self.event(id));
        let echo = self.echo_of(stored, "m.room.redaction");
        // Only what the server took is gone; a removal on its way may still fail.
        let ours = echo.is_some_and(|entry| sent_as(&entry.echo).is_some());
        if because.is_none() && redaction.is_none() && !ours {
            return None;
        }
        let own = self.own.as_deref().filter(|_| ours);
        let told_by = because.and_then(|because| because.get("sender")?.as_str());
        let told_why = because.and_then(|because| because.get("content")?.get("reason")?.as_str());
        let by = redaction.and_then(StoredEvent::sender);
        Some(Removed {
            event_id: stored.id(),
            sender: stored.sender(),
            by: by.or_else(|| <&UserId>::try_from(told_by?).ok()).or(own),
            reason: redaction
                .and_then(|redaction| redaction.event.content_str("reason"))
                .or(told_why),
        })
    }

    /// Our removal of an event that the server does not have.
    fn removal(&self, stored: &StoredEvent) -> Option<Sending<'_>> {
        self.echo_of(stored, "m.room.redaction").map(sending)
    }

    /// A reaction of ours that was given up, to be tried again or taken back at its message.
    fn failed_reaction(&self, stored: &StoredEvent) -> Option<Sending<'_>> {
        let failed = |entry: &&EchoEntry| matches!(entry.echo.state, SendState::Failed(_));
        self.echo_of(stored, "m.reaction").filter(failed).map(sending)
    }

    fn reactions<'a>(&'a self, stored: &'a StoredEvent) -> Vec<Reaction<'a>> {
        let related = stored.id().and_then(|id| self.relations.of(id));
        let mut shown: Vec<Reaction<'a>> = Vec::new();
        for (key, users) in related.into_iter().flat_map(|related| &related.reactions) {
            let live =
                |id: &&'a EventId| self.event(id).is_some_and(|event| !self.is_redacted(event));
            let mut by = users.iter().filter_map(|(user, events)| {
                Some((user, events.iter().map(AsRef::as_ref).find(live)?))
            });
            let (mut count, mut ours) = (0, None);
            by.by_ref().for_each(|(user, event)| {
                count += 1;
                ours = ours.or((Some(user) == self.own.as_ref()).then_some(event));
            });
            if count > 0 {
                shown.push(Reaction { key, count, ours, send: None });
            }
        }
        self.add_own_reactions(stored, &mut shown);
        shown.sort_by_key(|reaction| (Reverse(reaction.count), reaction.key));
        shown.truncate(MAX_REACTIONS);
        shown
    }

    /// Counts reactions of ours that are on their way.
    fn add_own_reactions<'a>(&'a self, stored: &StoredEvent, shown: &mut Vec<Reaction<'a>>) {
        for entry in self.echoes.values() {
            let Some(Relation::Reaction { target, key }) =
                relation(&entry.echo.kind, &entry.echo.content)
            else {
                continue;
            };
            if Some(target) != stored.id() {
                continue;
            }
            let send = Some(sending(entry));
            match shown.iter_mut().find(|reaction| reaction.key == key) {
                Some(known) if known.ours.is_some() || known.send.is_some() => {}
                Some(known) => (known.count, known.send) = (known.count + 1, send),
                None => shown.push(Reaction { key, count: 1, ours: None, send }),
            }
        }
    }

    /// Reply and thread root of a relation.
    fn placed<'a>(
        &'a self,
        relation: Option<Relation<'a>>,
    ) -> (Option<Reply<'a>>, Option<&'a EventId>) {
        let reply = |event_id| Reply { event_id, quote: self.quote(event_id) };
        match relation {
            Some(Relation::Reply(target)) => (Some(reply(target)), None),
            Some(Relation::Thread { root, reply: target }) => (target.map(reply), Some(root)),
            Some(Relation::Edit(_) | Relation::Reaction { .. }) | None => (None, None),
        }
    }

    /// When what a message answers last said something else.
    fn quote_version(&self, relation: Option<Relation<'_>>) -> u64 {
        let target = match relation {
            Some(Relation::Reply(target)) => Some(target),
            Some(Relation::Thread { reply, .. }) => reply,
            Some(Relation::Edit(_) | Relation::Reaction { .. }) | None => None,
        };
        target.and_then(|id| self.relations.of(id)).map_or(0, |related| related.said)
    }

    fn quote(&self, id: &EventId) -> Quote<'_> {
        let Some(stored) = self.event(id) else { return Quote::Unknown };
        let Some(sender) = stored.sender() else { return Quote::Unknown };
        if self.is_redacted(stored) {
            return Quote::Removed;
        }
        if let EventBody::Undecryptable(_) = stored.body {
            return Quote::Unreadable { sender };
        }
        let is_reply = matches!(
            stored.relation(),
            Some(Relation::Reply(_) | Relation::Thread { reply: Some(_), .. })
        );
        self.current(stored).map_or(Quote::Unknown, |(content, _)| Quote::Message {
            sender,
            content: plain(content, is_reply),
        })
    }

    /// The newest echo that edits, redacts or reacts to an event.
    fn echo_of(&self, stored: &StoredEvent, how: &str) -> Option<&EchoEntry> {
        self.echoes.values().rev().find(|entry| {
            let echo = &entry.echo;
            let does = match relation(&echo.kind, &echo.content) {
                Some(Relation::Edit(_)) => how == "m.replace",
                Some(Relation::Reaction { .. } | Relation::Thread { .. } | Relation::Reply(_))
                | None => how == echo.kind,
            };
            does && stored.id().is_some() && echo_target(echo) == stored.id()
        })
    }

    /// An echo, unless it is shown at the event it is about, or is a verification's.
    fn build_echo<'a>(&'a self, entry: &'a EchoEntry) -> Option<Item<'a>> {
        let echo = &entry.echo;
        let is_at_target = echo_target(echo).is_some_and(|target| self.entry(target).is_some());
        if is_at_target || is_verification(&echo.kind, &echo.content) {
            return None;
        }
        let content = new_content(&echo.content).unwrap_or(&echo.content);
        let content = message_content(&echo.kind, content)
            .unwrap_or(MessageContent::Unknown { kind: &echo.kind, body: None });
        let placed = relation(&echo.kind, &echo.content);
        let (reply, thread) = self.placed(placed);
        Some(Item {
            id: ItemId::Echo(echo.txn.clone()),
            version: entry.version.max(self.quote_version(placed)),
            ts: echo.at,
            kind: ItemKind::Message(Message {
                event_id: None,
                sender: self.own.as_deref(),
                is_ours: true,
                content,
                is_encrypted: false,
                shield: Shield::None,
                shared_by: None,
                is_edited: false,
                reactions: Vec::new(),
                reply,
                thread,
                thread_len: 0,
                send: Some(sending(entry)),
                removal: None,
            }),
        })
    }
}

fn sending(entry: &EchoEntry) -> Sending<'_> {
    Sending { txn: &entry.echo.txn, state: &entry.echo.state }
}

/// A reply's content without the old quotation before it.
fn plain(content: MessageContent<'_>, is_reply: bool) -> MessageContent<'_> {
    match content {
        MessageContent::Text(body) if is_reply => MessageContent::Text(without_fallback(body)),
        MessageContent::Notice(body) if is_reply => MessageContent::Notice(without_fallback(body)),
        MessageContent::Emote(body) if is_reply => MessageContent::Emote(without_fallback(body)),
        MessageContent::Text(_)
        | MessageContent::Notice(_)
        | MessageContent::Emote(_)
        | MessageContent::File(_)
        | MessageContent::Location { .. }
        | MessageContent::Poll(_)
        | MessageContent::Unknown { .. } => content,
    }
}

//! Older events: from the store as far as it is whole, then from the server through the gap's
//! token. What a fill brings is read back from the store in the next turn, once it is committed.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    matrix::{Event, EventId, MatrixError, OwnedEventId, OwnedRoomId, RoomId},
    rooms::{Relation, StoredEvent, TimelineDelta},
    store::{self, GapWrite},
    time::Timestamp,
};

use super::{
    Audience, CommandError, CommandId, Engine, FaceId, Outcome, Page, Update,
    error::EngineError,
    faces::{Asker, answer, refusal, tell_timeline},
    request::{Call, Origin},
    turn::Turn,
};

/// Events asked of the server at once, at least and at most.
const FEWEST: u32 = 30;
const MOST: u32 = 250;

/// Events of the first page of an opened room.
const FIRST_PAGE: u32 = 100;

/// Events a page may have.
const LARGEST_PAGE: u32 = 10_000;

/// Somebody who wants older events.
#[derive(Clone, Debug)]
struct Wish {
    face: FaceId,
    room: OwnedRoomId,
    /// Only events before this place.
    before: i64,
    limit: u32,
    answer: Answer,
}

impl Wish {
    /// How many events are wanted.
    fn events(&self) -> usize {
        usize::try_from(self.limit).unwrap_or(usize::MAX)
    }
}

/// How a wish is fulfilled.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// As timeline deltas.
    Delta,
    /// As one outcome.
    Outcome(CommandId),
}

/// Wishes that wait.
#[derive(Debug, Default)]
pub(super) struct History {
    /// For a fill of the gap at this place of a room.
    waiting: Vec<(i64, Wish)>,
    /// To be looked at in the next turn.
    due: Vec<Wish>,
    due_at: Timestamp,
}

impl History {
    /// At once, when a wish can be looked at again.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        (!self.due.is_empty()).then_some(self.due_at)
    }

    /// Those who waited for this gap.
    fn take(&mut self, room: &RoomId, gap: i64) -> Vec<Wish> {
        let is_for = |(at, wish): &mut (i64, Wish)| *at == gap && wish.room == *room;
        self.waiting.extract_if(.., is_for).map(|(_, wish)| wish).collect()
    }
}

/// The answer of `/messages`.
#[derive(Debug, Deserialize)]
struct Messages {
    #[serde(default)]
    chunk: Vec<Value>,
    /// Member events of who speaks in it.
    #[serde(default)]
    state: Vec<Value>,
    #[serde(default)]
    end: Option<String>,
    /// Only in the answer about one event: where to load from what is before it.
    #[serde(default)]
    event: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    start: Option<String>,
}

impl Messages {
    /// The answer about one event as an empty page: what is before it is at `start`.
    fn before_event(self) -> Self {
        match self.event {
            Some(_) => Self { chunk: Vec::new(), end: self.start.clone(), ..self },
            None => self,
        }
    }
}

impl Engine {
    pub(super) fn on_load_older(
        &mut self,
        face: FaceId,
        (room, before): (OwnedRoomId, i64),
        limit: u32,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let wish =
            Wish { face, room, before, limit: limit.min(LARGEST_PAGE), answer: Answer::Delta };
        self.fulfil(wish, turn)
    }

    /// A page for a command: the newest events, or those before one.
    pub(super) fn on_history_request(
        &mut self,
        (face, id): Asker,
        room: OwnedRoomId,
        (limit, before): (u32, Option<OwnedEventId>),
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let before = match before {
            None => i64::MAX,
            Some(event) => {
                let Some(stored) = turn.store.event(&room, &event)? else {
                    let message = "this event is not known here; load what is after it first";
                    answer((face, id), Err(refusal("unknown_event", message)), turn);
                    return Ok(());
                };
                stored.position
            }
        };
        let limit = limit.min(LARGEST_PAGE);
        self.fulfil(Wish { face, room, before, limit, answer: Answer::Outcome(id) }, turn)
    }

    /// Fulfils a wish from the store, or asks the server for what is missing.
    fn fulfil(&mut self, wish: Wish, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        let limit = wish.events();
        let mut events = turn.store.before(&wish.room, wish.before, limit)?;
        let gap = last_gap(&wish, events.first(), turn)?;
        if let Some(gap) = &gap {
            events.retain(|stored| stored.position >= gap.position);
        }
        let enough = match wish.answer {
            Answer::Delta => !events.is_empty(),
            Answer::Outcome(_) => events.len() >= limit,
        };
        match gap {
            Some(gap) if !enough && self.may_ask(&wish.room) => self.ask_history(&gap, wish, turn),
            gap => {
                self.want_keys(&wish.room, &events, turn)?;
                Self::give(&wish, (events, gap), turn)
            }
        }
    }

    /// Whether the server would answer for the room.
    fn may_ask(&self, room: &RoomId) -> bool {
        self.rooms.line(room).is_some()
    }

    /// Hands out what is there.
    fn give(
        wish: &Wish,
        (mut events, gap): (Vec<StoredEvent>, Option<store::Gap>),
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let reached_start = gap.is_none() && events.len() < wish.events();
        let related = relations_outside(&wish.room, &events, turn)?;
        match wish.answer {
            Answer::Outcome(id) => {
                let mut related = related;
                related.extend(edited(&wish.room, &events, turn)?);
                let page = Outcome::History(Page { events, related, reached_start });
                answer((wish.face, id), Ok(page), turn);
            }
            Answer::Delta => {
                events.extend(related);
                tell_timeline(wish.face, &wish.room, TimelineDelta::Events(events), turn);
                if let Some(gap) = gap {
                    let delta = TimelineDelta::Gap { position: gap.position };
                    tell_timeline(wish.face, &wish.room, delta, turn);
                } else if reached_start {
                    tell_timeline(wish.face, &wish.room, TimelineDelta::ReachedStart, turn);
                }
            }
        }
        Ok(())
    }

    fn ask_history(
        &mut self,
        gap: &store::Gap,
        wish: Wish,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let (room, at) = (wish.room.clone(), gap.position);
        let under_way = Origin::History(room.clone(), at);
        if !self.requests.has(|origin| *origin == under_way) {
            let Some(call) = history_call(gap, &wish, turn)? else {
                // Nothing to load from: what is there is all there will be.
                turn.writes.gaps.push(GapWrite::Close { room: room.clone(), position: at });
                return Self::give(&wish, (Vec::new(), None), turn);
            };
            self.requests.ask(under_way, call);
        }
        self.history.waiting.push((at, wish));
        Ok(())
    }

    /// The server gave a page before the gap at `at`.
    pub(super) fn on_history(
        &mut self,
        room: &RoomId,
        at: i64,
        result: Result<&str, MatrixError>,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let wishes = self.history.take(room, at);
        let page = match result.map(serde_json::from_str::<Messages>) {
            Ok(Ok(page)) => page,
            Ok(Err(_)) => return Self::no_history(wishes, &malformed(), turn),
            Err(error) => return Self::no_history(wishes, &CommandError::from(&error), turn),
        };
        let page = page.before_event();
        self.learn_names(room, &page.state, turn)?;
        self.fill(room, at, page, turn)?;
        self.history.due.extend(wishes);
        self.history.due_at = turn.now;
        Ok(())
    }

    /// Puts a page, newest first, before the gap; what is left of the gap moves down.
    fn fill(
        &mut self,
        room: &RoomId,
        at: i64,
        page: Messages,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        let owned: OwnedRoomId = room.to_owned();
        // The place of the newest event before the gap.
        let floor = turn.store.before(room, at, 1)?.first().map(|stored| stored.position);
        let mut position = at;
        let mut met = false;
        for value in page.chunk {
            let Ok(event) = serde_json::from_value::<Event>(value) else { continue };
            let Some(id) = &event.event_id else { continue };
            if let Some(known) = turn.store.event(room, id)? {
                met |= known.position < at;
                continue;
            }
            if met {
                break;
            }
            position = position.saturating_sub(1);
            met |= floor.is_some_and(|floor| floor >= position);
            let body = self.decrypt(room, &event, turn)?;
            turn.writes.events.push((owned.clone(), StoredEvent { position, event, body }));
        }
        turn.writes.gaps.push(GapWrite::Close { room: owned.clone(), position: at });
        self.faces.tell_viewers(room, &TimelineDelta::GapClosed { position: at }, turn);
        match page.end {
            Some(token) if !met => {
                let gap = store::Gap { position, token: Some(token) };
                turn.writes.gaps.push(GapWrite::Open { room: owned, gap });
                self.faces.tell_viewers(room, &TimelineDelta::Gap { position }, turn);
            }
            None if !met && floor.is_none() => turn.writes.reached_start.push(owned),
            Some(_) | None => {}
        }
        Ok(())
    }

    /// The server gives nothing: commands are told, a screen keeps its gap and may ask again.
    fn no_history(
        wishes: Vec<Wish>,
        error: &CommandError,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        for wish in wishes {
            match wish.answer {
                Answer::Outcome(id) => answer((wish.face, id), Err(error.clone()), turn),
                Answer::Delta => {
                    let gap = last_gap(&wish, None, turn)?;
                    Self::give(&wish, (Vec::new(), gap), turn)?;
                }
            }
        }
        Ok(())
    }

    /// The room is gone, and with it what somebody wanted of it.
    pub(super) fn forget_history(&mut self, room: &RoomId, turn: &mut Turn<'_>) {
        let waiting = self.history.waiting.iter().map(|(_, wish)| wish);
        for wish in waiting.chain(&self.history.due).filter(|wish| wish.room == *room) {
            if let Answer::Outcome(id) = wish.answer {
                let message = "you are not in this room any more";
                answer((wish.face, id), Err(refusal("unknown_room", message)), turn);
            }
        }
        self.history.waiting.retain(|(_, wish)| wish.room != *room);
        self.history.due.retain(|wish| wish.room != *room);
    }

    /// Looks again at the wishes whose fill is committed.
    pub(super) fn tick_history(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        for wish in std::mem::take(&mut self.history.due) {
            self.fulfil(wish, turn)?;
        }
        Ok(())
    }

    /// A face opens a room: its newest page, the gap before it, what is on its way, who is there.
    pub(super) fn on_open(
        &mut self,
        face: FaceId,
        room: &RoomId,
        turn: &mut Turn<'_>,
    ) -> Result<(), EngineError> {
        self.faces.follow(face, room);
        let wish = Wish {
            face,
            room: room.to_owned(),
            before: i64::MAX,
            limit: FIRST_PAGE,
            answer: Answer::Delta,
        };
        self.fulfil(wish, turn)?;
        if let Some(read) = self.rooms.line(room).and_then(|(_, record)| record.read.clone()) {
            tell_timeline(face, room, TimelineDelta::FullyRead(read), turn);
        }
        for echo in self.outbox.echoes(room) {
            tell_timeline(face, room, TimelineDelta::Echo(echo), turn);
        }
        let users = self.rooms.typing(room);
        let one = Audience::One(face);
        turn.tell(one, Update::Typing { room: room.to_owned(), users });
        let names = self.rooms.state(room, turn.store)?.names();
        turn.tell(one, Update::Members { room: room.to_owned(), names });
        self.tell_trust(face, room, turn)?;
        self.look_for_newcomers(room, turn)
    }
}

/// The call that loads what is before a gap. Without a token the server is asked for one, at the
/// event after the gap; the page of that answer is empty.
fn history_call(
    gap: &store::Gap,
    wish: &Wish,
    turn: &Turn<'_>,
) -> Result<Option<Call>, EngineError> {
    let room = wish.room.as_str();
    let filter = json!({ "lazy_load_members": true }).to_string();
    if let Some(token) = &gap.token {
        let limit = wish.limit.clamp(FEWEST, MOST).to_string();
        let call = Call::get(&["rooms", room, "messages"]).with("dir", "b").with("from", token);
        return Ok(Some(call.with("limit", limit).with("filter", filter)));
    }
    let after = turn.store.before(&wish.room, gap.position.saturating_add(1), 1)?;
    let id = after.first().filter(|it| it.position == gap.position).and_then(StoredEvent::id);
    Ok(id.map(|id| {
        let call = Call::get(&["rooms", room, "context", id.as_str()]);
        call.with("limit", "0").with("filter", filter)
    }))
}

/// The newest gap that a page down to `oldest` crosses or ends at.
fn last_gap(
    wish: &Wish,
    oldest: Option<&StoredEvent>,
    turn: &Turn<'_>,
) -> Result<Option<store::Gap>, EngineError> {
    let from = oldest.map_or(i64::MIN, |stored| stored.position);
    let gaps = turn.store.gaps(&wish.room)?;
    Ok(gaps.into_iter().rfind(|gap| from <= gap.position && gap.position <= wish.before))
}

/// What changes the events of a page and stands after it: edits, reactions, redactions, and
/// redactions of those.
fn relations_outside(
    room: &RoomId,
    events: &[StoredEvent],
    turn: &Turn<'_>,
) -> Result<Vec<StoredEvent>, EngineError> {
    let Some(last) = events.last().map(|stored| stored.position) else { return Ok(Vec::new()) };
    let after = |targets: &[StoredEvent]| {
        let mut outside = Vec::new();
        for id in targets.iter().filter_map(StoredEvent::id) {
            let relations = turn.store.relations(room, id)?.into_iter();
            outside.extend(relations.filter(|it| it.position > last && changes_another(it)));
        }
        Ok::<_, EngineError>(outside)
    };
    let mut outside = after(events)?;
    let further = after(&outside)?;
    outside.extend(further.into_iter().filter(|it| it.redacts().is_some()));
    Ok(outside)
}

/// What edits among `events` are about, as far as it is on disk and not among them, and that it was
/// taken back: whether an edit is valid depends on it.
pub(super) fn edited(
    room: &RoomId,
    events: &[StoredEvent],
    turn: &Turn<'_>,
) -> Result<Vec<StoredEvent>, EngineError> {
    let targets: BTreeSet<&EventId> = events
        .iter()
        .filter_map(|stored| match stored.relation() {
            Some(Relation::Edit(target)) => Some(target),
            Some(Relation::Reply(_) | Relation::Thread { .. } | Relation::Reaction { .. })
            | None => None,
        })
        .collect();
    let here: BTreeSet<&EventId> = events.iter().filter_map(StoredEvent::id).collect();
    let mut context = Vec::new();
    for target in targets {
        if !here.contains(target) {
            context.extend(turn.store.event(room, target)?);
        }
        context.extend(turn.store.redaction(room, target)?);
    }
    Ok(context)
}

/// Whether an event is shown only through the one it changes.
fn changes_another(stored: &StoredEvent) -> bool {
    let relation = stored.event.content.get("m.relates_to").and_then(|it| it.get("rel_type"));
    stored.event.kind == "m.room.redaction"
        || matches!(relation.and_then(Value::as_str), Some("m.replace" | "m.annotation"))
}

fn malformed() -> CommandError {
    refusal("M_BAD_JSON", "the server's page of history is not one; try again")
}

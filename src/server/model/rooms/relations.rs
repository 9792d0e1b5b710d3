//! Events that relate to others: what may relate, what is filed of it, and what of it comes with
//! the event that they relate to.
//!
//! # Spec
//! Client-Server API, "Forming relationships between events".

use ruma::api::Direction;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::client_event::{Reader, shown};
use crate::{
    matrix::{EventId, OwnedEventId},
    server::model::{
        records::{
            ANNOTATIONS, RELATIONS, THREAD_MEMBERS, THREADS, THREADS_BY_NEWEST, ThreadRecord,
        },
        refusal::Refusal,
        rooms::RoomEvent,
        step::{Span, Step},
        table::{Broken, Order},
    },
};

const ANNOTATION: &str = "m.annotation";
const REFERENCE: &str = "m.reference";
const REPLACE: &str = "m.replace";
const THREAD: &str = "m.thread";
/// Longest key of an annotation, in bytes.
const MAX_KEY_BYTES: usize = 500;
/// Relations that are looked through for one event.
const MAX_LOOKED_AT: usize = 1000;
/// Most edits of an event that are looked at for one that counts: anybody can send those of
/// others' events, which count for nothing.
const MAX_EDITS_LOOKED_AT: usize = 100;
/// References that come with an event.
const MAX_REFERENCES: usize = 100;

/// What an event says about another.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Relation {
    pub(crate) rel_type: String,
    pub(crate) event_id: OwnedEventId,
    /// The reaction, for annotations.
    key: Option<String>,
}

impl Relation {
    /// The relation that an event has.
    pub(crate) fn of(event: &RoomEvent) -> Option<Self> {
        #[derive(Deserialize)]
        struct Content {
            #[serde(rename = "m.relates_to")]
            relation: Option<Relation>,
        }
        event.content::<Content>()?.relation
    }

    fn annotation(&self, event: &RoomEvent) -> Option<String> {
        let key = self.key.as_deref()?;
        (self.rel_type == ANNOTATION).then(|| format!("{} {key}", event.kind()))
    }
}

/// Whether an event may relate to what it relates to.
///
/// # Errors
/// 400 for an unknown event or one of another room, for a thread that begins within another, and
/// for a second reaction alike (`M_DUPLICATE_ANNOTATION`).
pub(super) fn check(step: &Step<'_>, event: &RoomEvent) -> Result<(), Refusal> {
    let Some(relation) = Relation::of(event) else {
        return Ok(());
    };
    let refuse = |error: &str| Err(Refusal::new(400, "M_UNKNOWN", error));
    let Some(target) = RoomEvent::load(step, &relation.event_id)? else {
        return refuse("the event relates to one that is not known");
    };
    if target.record.room != event.record.room {
        return refuse("the event relates to one of another room");
    }
    match relation.rel_type.as_str() {
        ANNOTATION => {
            let Some(annotation) = relation.annotation(event) else {
                return refuse("the reaction has no key");
            };
            if MAX_KEY_BYTES < relation.key.as_deref().map_or(0, str::len) {
                return refuse("the reaction's key is too long");
            }
            let place = (&target.id, &event.fields.sender, &annotation);
            if step.get(ANNOTATIONS, place)?.is_some() {
                let error = "the same reaction cannot be sent twice";
                return Err(Refusal::new(400, "M_DUPLICATE_ANNOTATION", error));
            }
            Ok(())
        }
        THREAD if Relation::of(&target).is_some() => {
            refuse("a thread cannot begin with an event that relates to another")
        }
        _ => Ok(()),
    }
}

/// Files the relation of a new event.
pub(super) fn file(step: &mut Step<'_>, event: &RoomEvent) -> Result<(), Broken> {
    let Some(relation) = Relation::of(event) else {
        return Ok(());
    };
    let target = &relation.event_id;
    step.put(RELATIONS, (target, &relation.rel_type, event.number()), &event.id)?;
    if let Some(annotation) = relation.annotation(event) {
        step.put(ANNOTATIONS, (target, &event.fields.sender, &annotation), &event.id)?;
    }
    if relation.rel_type == THREAD {
        step.put(THREAD_MEMBERS, (target, &event.fields.sender), &())?;
        let old = step.get(THREADS, (target,))?;
        let count = old.as_ref().map_or(0, |old| old.count) + 1;
        let new = ThreadRecord { count, newest: event.number(), event: event.id.clone() };
        put_thread(step, event, (target, old.as_ref()), Some(&new))?;
    }
    Ok(())
}

/// Takes the relation of a redacted event away.
pub(super) fn unfile(step: &mut Step<'_>, event: &RoomEvent) -> Result<(), Broken> {
    let Some(relation) = Relation::of(event) else {
        return Ok(());
    };
    let target = &relation.event_id;
    step.delete(RELATIONS, (target, &relation.rel_type, event.number()));
    if let Some(annotation) = relation.annotation(event) {
        step.delete(ANNOTATIONS, (target, &event.fields.sender, &annotation));
    }
    if relation.rel_type == THREAD
        && let Some(old) = step.get(THREADS, (target,))?
    {
        let newest = newest(step, target, THREAD, 1)?;
        let new = newest.first().map(|newest| ThreadRecord {
            count: old.count.saturating_sub(1),
            newest: newest.number(),
            event: newest.id.clone(),
        });
        put_thread(step, event, (target, Some(&old)), new.as_ref())?;
    }
    Ok(())
}

fn put_thread(
    step: &mut Step<'_>,
    event: &RoomEvent,
    (first, old): (&EventId, Option<&ThreadRecord>),
    new: Option<&ThreadRecord>,
) -> Result<(), Broken> {
    let room = &event.record.room;
    if let Some(old) = old {
        step.delete(THREADS_BY_NEWEST, (room, old.newest));
        step.delete(THREADS, (first,));
    }
    if let Some(new) = new {
        step.put(THREADS_BY_NEWEST, (room, new.newest), &first.to_owned())?;
        step.put(THREADS, (first,), new)?;
    }
    Ok(())
}

/// Events that relate to one, with the type of their relation, in no order; a thousand at most.
///
/// # Errors
/// When the records are broken.
pub(crate) fn of(step: &Step<'_>, event: &EventId) -> Result<Vec<(String, RoomEvent)>, Broken> {
    let rows = step.scan_after(RELATIONS, (event,), None, MAX_LOOKED_AT)?;
    rows.into_iter()
        .map(|(mut key, id)| {
            key.text()?;
            Ok((key.text()?, RoomEvent::expect(step, &id)?))
        })
        .collect()
}

fn newest(
    step: &Step<'_>,
    event: &EventId,
    rel_type: &str,
    limit: usize,
) -> Result<Vec<RoomEvent>, Broken> {
    let span = Span { after: 0, up_to: u64::MAX, order: Order::Descending, limit };
    let rows = step.scan_numbers(RELATIONS, (event, rel_type), &span)?;
    rows.iter().map(|(_, id)| RoomEvent::expect(step, id)).collect()
}

/// What comes with an event of those that relate to it: `m.relations`; nothing when none do.
///
/// # Errors
/// When the records are broken.
pub(super) fn bundle(
    step: &Step<'_>,
    event: &RoomEvent,
    reader: Reader<'_>,
) -> Result<Option<Map<String, Value>>, Broken> {
    if event.is_state() || step.scan_after(RELATIONS, (&event.id,), None, 1)?.is_empty() {
        return Ok(None);
    }
    // To a reaction or an edit nothing else may relate.
    let own = Relation::of(event).map(|relation| relation.rel_type);
    if matches!(own.as_deref(), Some(ANNOTATION | REPLACE)) {
        return Ok(None);
    }
    let mut bundle = Map::new();
    if let Some(edit) = edit(step, event, reader)? {
        bundle.insert(REPLACE.to_owned(), edit);
    }
    if let Some(thread) = thread(step, event, reader)? {
        bundle.insert(THREAD.to_owned(), thread);
    }
    let references: Vec<Value> = newest(step, &event.id, REFERENCE, MAX_REFERENCES)?
        .iter()
        .filter(|reference| reader.sight.sees(reference))
        .map(|reference| json!({"event_id": reference.id}))
        .rev()
        .collect();
    if !references.is_empty() {
        bundle.insert(REFERENCE.to_owned(), json!({"chunk": references}));
    }
    Ok((!bundle.is_empty()).then_some(bundle))
}

/// The newest edit.
fn edit(step: &Step<'_>, event: &RoomEvent, reader: Reader<'_>) -> Result<Option<Value>, Broken> {
    if event.record.redacted_because.is_some() {
        return Ok(None);
    }
    let span =
        Span { after: 0, up_to: u64::MAX, order: Order::Descending, limit: MAX_EDITS_LOOKED_AT };
    for (_, id) in step.scan_numbers(RELATIONS, (&event.id, REPLACE), &span)? {
        let edit = RoomEvent::expect(step, &id)?;
        if is_edit(&edit, event) && reader.sight.sees(&edit) {
            return shown(step, &edit, reader, None).map(Some);
        }
    }
    Ok(None)
}

/// Whether an event is an edit of another, not only says so.
///
/// # Spec
/// Client-Server API, "Validity of replacement events".
fn is_edit(edit: &RoomEvent, event: &RoomEvent) -> bool {
    #[derive(Deserialize)]
    struct Edit {
        #[serde(rename = "m.new_content")]
        new_content: Option<serde::de::IgnoredAny>,
    }
    let says_what = || edit.content::<Edit>().is_some_and(|content| content.new_content.is_some());
    edit.fields.sender == event.fields.sender
        && edit.kind() == event.kind()
        && !edit.is_state()
        && (edit.kind() == "m.room.encrypted" || says_what())
}

/// What a client needs to show that a thread begins here.
fn thread(step: &Step<'_>, event: &RoomEvent, reader: Reader<'_>) -> Result<Option<Value>, Broken> {
    let Some(thread) = step.get(THREADS, (&event.id,))? else {
        return Ok(None);
    };
    let newest = RoomEvent::expect(step, &thread.event)?;
    if !reader.sight.sees(&newest) {
        return Ok(None);
    }
    let edit = edit(step, &newest, reader)?;
    let relations = edit.map(|edit| Map::from_iter([(REPLACE.to_owned(), edit)]));
    Ok(Some(json!({
        "latest_event": shown(step, &newest, reader, relations)?,
        "count": thread.count,
        "current_user_participated": is_in_thread(step, event, reader)?,
    })))
}

/// Whether the reader began this thread, or wrote in it.
///
/// # Errors
/// When the records are broken.
pub(crate) fn is_in_thread(
    step: &Step<'_>,
    first: &RoomEvent,
    reader: Reader<'_>,
) -> Result<bool, Broken> {
    let user = &reader.caller.user;
    Ok(first.fields.sender == *user || step.get(THREAD_MEMBERS, (&first.id, user))?.is_some())
}

/// Which relations to an event are asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) rel_type: Option<String>,
    pub(crate) kind: Option<String>,
    /// How far to go: 1 for what relates to the event itself.
    pub(crate) depth: u32,
    pub(crate) direction: Direction,
    /// Only what comes after this number, and before or at that one.
    pub(crate) numbers: (u64, u64),
}

/// Events that relate to one, directly or by others, in the order that is asked for.
///
/// # Errors
/// When the records are broken.
pub(crate) fn find(
    step: &Step<'_>,
    event: &EventId,
    wanted: &Wanted,
) -> Result<Vec<RoomEvent>, Broken> {
    let mut found = Vec::new();
    let mut targets = vec![event.to_owned()];
    for _ in 0..wanted.depth {
        let mut next = Vec::new();
        for target in &targets {
            if MAX_LOOKED_AT <= found.len() {
                break;
            }
            for (rel_type, related) in of(step, target)? {
                next.push(related.id.clone());
                found.push((rel_type, related));
            }
        }
        targets = next;
    }
    let (after, up_to) = wanted.numbers;
    let mut found: Vec<RoomEvent> = found
        .into_iter()
        .filter(|(rel_type, _)| wanted.rel_type.as_ref().is_none_or(|wanted| wanted == rel_type))
        .map(|(_, related)| related)
        .filter(|related| wanted.kind.as_ref().is_none_or(|kind| kind == related.kind()))
        .filter(|related| after < related.number() && related.number() <= up_to)
        .collect();
    found.sort_by_key(RoomEvent::number);
    found.dedup_by_key(|related| related.number());
    if wanted.direction == Direction::Backward {
        found.reverse();
    }
    Ok(found)
}

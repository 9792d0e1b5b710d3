//! The rooms of a space, and those of the spaces in it.

use std::collections::BTreeSet;

use ruma::api::client::space::get_hierarchy::v1 as get_hierarchy;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    matrix::{OwnedRoomId, RoomId},
    server::model::{
        body::{LooseResponse, Plain},
        records::STATE,
        refusal::{Refusal, Stop},
        rooms::{
            RoomEvent,
            summary::{Summary, may_know},
        },
        route::{Caller, Context, Routes},
        step::Step,
        table::Broken,
    },
};

pub(super) fn add(routes: &mut Routes) {
    routes.add(hierarchy);
}

/// Rooms of a page at most, and where the call names no number.
const MAX_LIMIT: usize = 50;
/// Rooms that are gone through at most; those after them are not shown.
const MAX_ROOMS: usize = 1000;
/// Longest `order` that counts.
const MAX_ORDER: usize = 50;

/// By hand, as ruma's type takes only names of rooms that it likes.
fn hierarchy(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Plain<get_hierarchy::Request>,
) -> Result<LooseResponse, Stop> {
    let room = OwnedRoomId::try_from(request.argument(0))
        .map_err(|error| Refusal::invalid(error.to_string()))?;
    let number = |name: &str| -> Result<Option<usize>, Refusal> {
        let parsed = request.query(name).map(|number| number.parse()).transpose();
        parsed.map_err(|_none| Refusal::invalid(format!("{name} is no number")))
    };
    let (limit, max_depth) = (number("limit")?, number("max_depth")?);
    let limit = limit.unwrap_or(MAX_LIMIT).clamp(1, MAX_LIMIT);
    let is_suggested_only = request.query("suggested_only").as_deref() == Some("true");
    let choice = format!("{is_suggested_only}-{}", max_depth.unwrap_or(MAX_ROOMS));
    let start = match request.query("from") {
        None => 0,
        Some(token) => read_token(&token, &choice)?,
    };
    let caller = context.caller()?;
    if !may_know(step, &room, Some(&caller.user))? {
        return Err(Refusal::forbidden("you are not in this room, nor may you know it").into());
    }
    let mut walk = Walk { step, caller, max_depth, is_suggested_only, found: Vec::new() };
    walk.go(room)?;
    let page: Vec<&Value> = walk.found.iter().skip(start).take(limit).collect();
    let mut answer = json!({"rooms": page});
    let end = start.saturating_add(limit);
    if let Value::Object(answer) = &mut answer
        && end < walk.found.len()
    {
        answer.insert("next_batch".to_owned(), format!("{end}-{choice}").into());
    }
    Ok(LooseResponse(answer))
}

/// A token is the number of rooms before its page, and what else the call must say as before.
fn read_token(token: &str, choice: &str) -> Result<usize, Refusal> {
    let wrong = || Refusal::invalid("the token is of another call");
    let (start, rest) = token.split_once('-').ok_or_else(wrong)?;
    if rest != choice {
        return Err(wrong());
    }
    start.parse().map_err(|_none| wrong())
}

/// A way through the rooms of a space: each with its children after it.
struct Walk<'a, 'b> {
    step: &'a Step<'b>,
    caller: &'a Caller,
    max_depth: Option<usize>,
    is_suggested_only: bool,
    found: Vec<Value>,
}

impl Walk<'_, '_> {
    fn go(&mut self, first: OwnedRoomId) -> Result<(), Broken> {
        let mut seen = BTreeSet::new();
        let mut next = vec![(first, 0)];
        while let Some((room, depth)) = next.pop() {
            if MAX_ROOMS <= self.found.len() {
                break;
            }
            if !seen.insert(room.clone()) || !may_know(self.step, &room, Some(&self.caller.user))? {
                continue;
            }
            let Some(summary) = Summary::read(self.step, &room)? else {
                continue;
            };
            let is_deep = self.max_depth.is_some_and(|max_depth| max_depth <= depth);
            let is_space = summary.room_type.as_deref() == Some("m.space");
            let children = if is_space { self.children(&room)? } else { Vec::new() };
            if !is_deep {
                let rooms = children.iter().rev().map(|child| (child.room.clone(), depth + 1));
                next.extend(rooms);
            }
            let stripped: Vec<Value> = children.iter().map(Child::stripped).collect();
            let mut entry = json!(summary);
            if let Value::Object(entry) = &mut entry {
                entry.insert("children_state".to_owned(), stripped.into());
            }
            self.found.push(entry);
        }
        Ok(())
    }

    /// The children of a space, in their order.
    fn children(&self, space: &RoomId) -> Result<Vec<Child>, Broken> {
        let mut children = Vec::new();
        for (mut key, place) in self.step.scan(STATE, (space, "m.space.child"))? {
            key.text()?;
            key.text()?;
            let Ok(room) = OwnedRoomId::try_from(key.text()?) else {
                continue;
            };
            let event = RoomEvent::expect(self.step, &place.event)?;
            children.extend(Child::read(room, event));
        }
        children.retain(|child| child.is_suggested || !self.is_suggested_only);
        children.sort_by(|a, b| a.rank().cmp(&b.rank()));
        Ok(children)
    }
}

/// A room of a space.
struct Child {
    room: OwnedRoomId,
    event: RoomEvent,
    order: Option<String>,
    is_suggested: bool,
}

impl Child {
    /// `None` for a child that was taken away.
    fn read(room: OwnedRoomId, event: RoomEvent) -> Option<Self> {
        #[derive(Deserialize)]
        struct Content {
            via: Vec<String>,
            order: Option<Value>,
            suggested: Option<Value>,
        }
        let Content { via, order, suggested } = event.content()?;
        if via.is_empty() {
            return None;
        }
        let is_order = |text: &String| {
            text.len() <= MAX_ORDER && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        };
        let order = order.and_then(|order| order.as_str().map(str::to_owned)).filter(is_order);
        let is_suggested = suggested == Some(Value::Bool(true));
        Some(Self { room, event, order, is_suggested })
    }

    /// Those with an order come first.
    fn rank(&self) -> (bool, Option<&str>, ruma::MilliSecondsSinceUnixEpoch, &RoomId) {
        let time = self.event.fields.origin_server_ts;
        (self.order.is_none(), self.order.as_deref(), time, &self.room)
    }

    fn stripped(&self) -> Value {
        let fields = &self.event.fields;
        json!({
            "type": fields.kind,
            "state_key": fields.state_key,
            "content": &fields.content,
            "sender": fields.sender,
            "origin_server_ts": fields.origin_server_ts,
        })
    }
}

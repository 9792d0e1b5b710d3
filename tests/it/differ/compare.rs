//! Two answers to one call, compared: status, errcode, and the body but for what has to differ.

use serde_json::{Map, Value};

use super::call::{Call, Depth};

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl Answer {
    fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether only one of the two did what was asked for.
    pub(super) fn has_parted_from(&self, other: &Self) -> bool {
        self.is_good() != other.is_good()
    }

    /// Status and errcode.
    fn kind(&self) -> String {
        if self.is_good() {
            return self.status.to_string();
        }
        format!("{} {}", self.status, self.body["errcode"].as_str().unwrap_or("-"))
    }
}

/// Something that is not the same in both answers.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    /// Where: `answer` for status and errcode, else the path of the field.
    pub(super) place: String,
    pub(super) synapse: String,
    pub(super) serve: String,
}

/// Fields whose values are each server's own: only their being there is compared.
const OWN: [&str; 33] = [
    "bump_stamp",
    "origin_server_ts",
    "age",
    "next_batch",
    "prev_batch",
    "start",
    "end",
    "error",
    "access_token",
    "ts",
    "last_seen_ts",
    "replaces_state",
    "next_token",
    "prev_token",
    "hashes",
    "signatures",
    "auth_events",
    "prev_events",
    "depth",
    "retry_after_ms",
    "session",
    "etag",
    "last_seen_ip",
    "last_seen_user_agent",
    "user_agent",
    "age_local_ts",
    "creation_ts",
    "refresh_token",
    "expires_in_ms",
    "pos",
    "event_id",
    "filter_id",
    "received_ts",
];

/// Lists whose order means nothing, by the field that holds them.
const SETS: [&str; 20] = [
    "invite_state",
    "required_state",
    "heroes",
    "joined_rooms",
    "changed",
    "left",
    "algorithms",
    "flows",
    "state",
    "account_data",
    "ephemeral",
    "events!",
    "devices",
    "results",
    "device_unused_fallback_key_types",
    "members",
    "tags",
    "threepids",
    "aliases",
    "pushers",
];

/// Push rules of Synapse that the specification does not have, or no longer.
const RULES: [&str; 4] = [
    ".m.rule.contains_display_name",
    ".m.rule.contains_user_name",
    ".m.rule.roomnotif",
    ".im.vector.jitsi",
];

/// State that a room has from the one whose place it takes.
pub(super) const COPIED: [&str; 9] = [
    "m.room.join_rules",
    "m.room.name",
    "m.room.topic",
    "m.room.history_visibility",
    "m.room.guest_access",
    "m.room.avatar",
    "m.room.encryption",
    "m.room.server_acl",
    "m.space.child",
];

/// Everything that differs.
pub(super) fn compare(call: &Call, synapse: &Answer, serve: &Answer) -> Vec<Finding> {
    let mut findings = Vec::new();
    if synapse.kind() != serve.kind() {
        let place = "answer".to_owned();
        return vec![Finding { place, synapse: synapse.kind(), serve: serve.kind() }];
    }
    if call.depth == Depth::Whole && synapse.is_good() {
        let top = call.template.rsplit('/').next().unwrap_or_default();
        let (mut a, mut b) = (synapse.body.clone(), serve.body.clone());
        drop_renamed(&mut a, &b);
        let left = [left_rooms(&a), left_rooms(&b)].concat();
        if top == "sync" {
            let parted = [parted(&a), parted(&b)].concat();
            drop_parted(&mut a, &parted);
            drop_parted(&mut b, &parted);
        }
        for answer in [&mut a, &mut b] {
            unify_push_rules(answer);
            sort_copies(answer);
            if top == "sync" {
                use_stable_names(answer);
                drop_rooms(answer, &left);
                prune(answer);
            }
        }
        if top == "sync" {
            even_timelines(&a, &mut b);
        }
        if top == "members" {
            sort_chunk(&mut a);
            sort_chunk(&mut b);
        }
        differ("", top, (&a, &b), &mut findings);
    }
    findings
}

/// Gives what Synapse has under the name of a proposal the name that it has now.
fn use_stable_names(answer: &mut Value) {
    for rooms in answer["rooms"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        for room in rooms.as_object_mut().into_iter().flat_map(Map::values_mut) {
            let Some(room) = room.as_object_mut() else { continue };
            if let Some(state) = room.remove("org.matrix.msc4222.state_after") {
                room.insert("state_after".to_owned(), state);
            }
        }
    }
}

/// The rooms of a sliding sync that were left. What of them is seen by whom is compared in other
/// syncs; here Synapse also shows their state to those who were never in. And invitations that it
/// tells again.
fn left_rooms(answer: &Value) -> Vec<String> {
    let rooms = answer["rooms"].as_object().into_iter().flatten();
    let is_left = |room: &Value| {
        let has_left = room["initial"] == true && room["joined_count"].is_null();
        has_left && room["invite_state"].is_null()
            || !room["invite_state"].is_null() && room["initial"] != true
    };
    rooms.filter(|(_, room)| is_left(room)).map(|(id, _)| id.clone()).collect()
}

/// Cuts the timelines of a sliding sync that go further back here: Synapse asks for so many events
/// and gives fewer when some of them are not for the reader, here others come in their place.
fn even_timelines(synapse: &Value, serve: &mut Value) {
    let rooms = serve.get_mut("rooms").and_then(Value::as_object_mut);
    for (id, room) in rooms.into_iter().flatten() {
        let length = synapse["rooms"][id]["timeline"].as_array().map(Vec::len);
        if let (Some(length), Some(events)) =
            (length, room.get_mut("timeline").and_then(Value::as_array_mut))
        {
            events.drain(..events.len().saturating_sub(length));
        }
    }
}

fn drop_rooms(answer: &mut Value, left: &[String]) {
    if let Some(rooms) = answer["rooms"].as_object_mut() {
        rooms.retain(|id, _| !left.contains(id));
    }
}

/// Takes out of a sync what says nothing, all but in contents: a list without entries, a count of
/// nothing. A client takes what is not there for that.
fn prune(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(prune),
        Value::Object(fields) => {
            for (_, value) in fields.iter_mut().filter(|(field, _)| *field != "content") {
                prune(value);
            }
            fields.retain(|field, value| match value {
                Value::Array(values) => !values.is_empty(),
                Value::Object(inner) => field == "content" || !inner.is_empty(),
                Value::Null => false,
                Value::Bool(is_so) => *is_so,
                Value::Number(number) => number.as_u64() != Some(0),
                Value::String(_) => true,
            });
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Takes out of push rules what means nothing: rules of Synapse that the specification does not
/// have, and that something is no highlight.
fn unify_push_rules(value: &mut Value) {
    match value {
        Value::Array(values) => {
            values.retain(|value| {
                let is_no_highlight = value["set_tweak"] == "highlight" && value["value"] == false;
                let rule = value["rule_id"].as_str().unwrap_or_default();
                let rule = rule.rsplit('/').next().unwrap_or_default();
                !is_no_highlight && !rule.starts_with(".org.matrix.") && !RULES.contains(&rule)
            });
            values.iter_mut().for_each(unify_push_rules);
        }
        Value::Object(fields) => {
            fields.remove("postcontent");
            for field in ["actions", "conditions"] {
                // Their order means nothing.
                if let Some(Value::Array(values)) = fields.get_mut(field) {
                    values.sort_by_key(Value::to_string);
                }
            }
            fields.values_mut().for_each(unify_push_rules);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Takes those out of the changed device lists with whom no room is shared any more: Synapse names
/// some in both.
fn drop_parted(answer: &mut Value, parted: &[Value]) {
    let Some(lists) = answer.get_mut("device_lists").and_then(Value::as_object_mut) else {
        return;
    };
    let Some(changed) = lists.get_mut("changed").and_then(Value::as_array_mut) else {
        return;
    };
    changed.retain(|user| !parted.contains(user));
    if changed.is_empty() {
        lists.remove("changed");
    }
}

/// Takes those out of Synapse's changed device lists who only have another name or picture: it names
/// everybody whose membership the answer tells.
fn drop_renamed(synapse: &mut Value, serve: &Value) {
    let mut renamed = Vec::new();
    for room in synapse["rooms"]["join"].as_object().into_iter().flat_map(Map::values) {
        let lists = [&room["timeline"]["events"], &room["state"]["events"]];
        for event in lists.into_iter().filter_map(Value::as_array).flatten() {
            let memberships = [&event["content"], &event["unsigned"]["prev_content"]];
            if memberships.iter().all(|content| content["membership"] == "join") {
                renamed.push(event["state_key"].clone());
            }
        }
    }
    let named = serve["device_lists"]["changed"].as_array().cloned().unwrap_or_default();
    let changed = synapse.pointer_mut("/device_lists/changed").and_then(Value::as_array_mut);
    if let Some(changed) = changed {
        changed.retain(|user| named.contains(user) || !renamed.contains(user));
    }
}

/// Sorts what was copied into spaces that take the place of others: Synapse copies it as its database
/// gives it.
fn sort_copies(value: &mut Value) {
    let is_copied = |event: &Value| {
        event["type"].as_str().is_some_and(|kind| COPIED.contains(&kind))
            && event["state_key"].is_string()
    };
    match value {
        Value::Array(events) => {
            let is_first = |event: &Value| {
                let content = &event["content"];
                content["type"] == "m.space" && content["predecessor"].is_object()
            };
            if events.iter().any(|event| event["type"] == "m.room.create" && is_first(event)) {
                for run in events.chunk_by_mut(|a, b| is_copied(a) && is_copied(b)) {
                    run.sort_by_key(rank);
                }
            }
        }
        Value::Object(fields) => fields.values_mut().for_each(sort_copies),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// With whom no room is shared any more.
fn parted(answer: &Value) -> Vec<Value> {
    answer["device_lists"]["left"].as_array().cloned().unwrap_or_default()
}

fn sort_chunk(answer: &mut Value) {
    if let Some(chunk) = answer["chunk"].as_array_mut() {
        chunk.sort_by_key(rank);
    }
}

fn differ(path: &str, field: &str, both: (&Value, &Value), findings: &mut Vec<Finding>) {
    match both {
        (Value::Object(a), Value::Object(b)) => objects(path, (a, b), findings),
        (Value::Array(a), Value::Array(b)) => lists(path, field, (a, b), findings),
        (Value::String(a), Value::String(b)) if is_own_id(a) && is_own_id(b) => {}
        (a, b) if a == b => {}
        (Value::Number(a), Value::Number(b)) if field == "notification_count" => {
            let place = if b.as_u64() < a.as_u64() { "[fewer]" } else { "[more]" };
            let (synapse, serve) = (a.to_string(), b.to_string());
            findings.push(Finding { place: format!("{path}{place}"), synapse, serve });
        }
        (a, b) if OWN.contains(&field) && is_alike(a, b) => {}
        (a, b) => {
            findings.push(Finding { place: path.to_owned(), synapse: short(a), serve: short(b) })
        }
    }
}

/// Whether an id is one that nobody gave a name.
fn is_own_id(text: &str) -> bool {
    text.starts_with('$') && text.len() > 20 || text.starts_with("mxc://localhost/")
}

fn is_alike(a: &Value, b: &Value) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

fn objects(
    path: &str,
    (a, b): (&Map<String, Value>, &Map<String, Value>),
    findings: &mut Vec<Finding>,
) {
    let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    // What is wrong with an event is the same wherever it is.
    let is_event = ["type", "sender", "content"].iter().all(|field| a.contains_key(*field));
    let path = if is_event && !path.ends_with("redacted_because") { "event" } else { path };
    for key in keys {
        let inner = format!("{path}.{}", step(key));
        match (a.get(key), b.get(key)) {
            (Some(a), Some(b)) => differ(&inner, key, (a, b), findings),
            (a, b) => {
                let text = |it: Option<&Value>| it.map_or_else(|| "-".to_owned(), short);
                findings.push(Finding { place: inner, synapse: text(a), serve: text(b) });
            }
        }
    }
}

/// A key as a part of a path: ids are all the same.
fn step(key: &str) -> &str {
    match key.as_bytes().first() {
        Some(b'@' | b'!' | b'$' | b'{') => "*",
        _ => key,
    }
}

fn lists(path: &str, field: &str, (a, b): (&[Value], &[Value]), findings: &mut Vec<Finding>) {
    let (mut a, mut b) = (a.to_vec(), b.to_vec());
    if SETS.contains(&field)
        || path.ends_with("state.events")
        || path.ends_with("_data.events")
        || path.ends_with("_state.events")
        || path.ends_with("ephemeral.events")
    {
        a.sort_by_key(rank);
        b.sort_by_key(rank);
    }
    if a.len() != b.len() {
        let ranks = |it: &[Value]| {
            let it: Vec<String> = it.iter().map(rank).collect();
            let text = format!("{} of {}", it.len(), it.join(" ; "));
            text.chars().take(1200).collect()
        };
        let place = format!("{path}[{}]", if b.len() < a.len() { "fewer" } else { "more" });
        findings.push(Finding { place, synapse: ranks(&a), serve: ranks(&b) });
        return;
    }
    for (a, b) in a.iter().zip(&b) {
        differ(&format!("{path}[]"), "", (a, b), findings);
    }
}

/// What to sort an unordered list by.
fn rank(value: &Value) -> String {
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    if !value.is_object() {
        return value.to_string();
    }
    let fields = ["type", "state_key", "user_id", "room_id", "device_id", "sender", "app_id"];
    let mut rank = fields.map(text).join(" ");
    for field in ["membership", "body", "name"] {
        rank += value["content"][field].as_str().unwrap_or_default();
    }
    rank
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(300).collect()
}

/// A value with other texts, also as keys.
pub(super) fn map_texts(value: &Value, map: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(map(text)),
        Value::Array(values) => values.iter().map(|value| map_texts(value, map)).collect(),
        Value::Object(fields) => Value::Object(
            fields.iter().map(|(key, value)| (map(key), map_texts(value, map))).collect(),
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

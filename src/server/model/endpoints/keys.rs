//! Keys of devices: upload, query, claim.

use std::collections::BTreeSet;

use ruma::api::client::{
    filter::FilterDefinition,
    keys::{claim_keys, get_key_changes, get_keys, upload_keys},
};
use serde_json::{Map, Value, json};

use crate::{
    matrix::{DeviceId, OwnedUserId, UserId},
    server::model::{
        accounts::devices,
        body::{LooseResponse, Plain},
        keys::{
            cross_signing::{self, Usage},
            device_keys, one_time,
        },
        refusal::{Refusal, Stop},
        route::{Context, Routes},
        step::Step,
        sync::{Extent, News, Placing, Question, device_lists},
        table::Broken,
        token::SyncToken,
    },
};

pub(super) fn add(routes: &mut Routes) {
    routes.add(upload);
    routes.add(query);
    routes.add(claim);
    routes.add(changes);
}

/// Loose, because keys are kept as they came: what is signed must not be written anew.
fn upload(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Plain<upload_keys::v3::Request>,
) -> Result<LooseResponse, Stop> {
    let caller = context.caller()?;
    if let Some(keys) = request.body.get("device_keys") {
        if keys.is_null() {
            return Err(Refusal::invalid("device_keys is null").into());
        }
        device_keys::upload(step, caller, keys)?;
    }
    if let Some(keys) = map(&request.body, "one_time_keys")? {
        one_time::upload(step, caller, keys)?;
    }
    if let Some(keys) = map(&request.body, "fallback_keys")? {
        one_time::upload_fallback(step, caller, keys)?;
    }
    let supply = one_time::supply(step, &caller.user, &caller.device)?;
    Ok(LooseResponse(json!({ "one_time_key_counts": supply.one_time_keys })))
}

fn map<'a>(
    body: &'a Map<String, Value>,
    name: &str,
) -> Result<Option<&'a Map<String, Value>>, Refusal> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(map)) => Ok(Some(map)),
        Some(_) => Err(Refusal::bad_json(format!("{name} is not an object"))),
    }
}

/// Loose for the same reason.
fn query(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Plain<get_keys::v3::Request>,
) -> Result<LooseResponse, Stop> {
    let viewer = &context.caller()?.user;
    let asked = map(&request.body, "device_keys")?
        .ok_or_else(|| Refusal::bad_json("device_keys is not an object"))?;
    let mut answer = QueryAnswer::default();
    for (user, devices) in asked {
        let devices: BTreeSet<&str> = devices
            .as_array()
            .and_then(|devices| devices.iter().map(Value::as_str).collect())
            .ok_or_else(|| Refusal::bad_json("the devices are no list of texts"))?;
        // Who is no user has no keys.
        let Ok(user) = OwnedUserId::try_from(user.as_str()) else {
            continue;
        };
        if is_local(step, &user) {
            answer.add(step, viewer, (&user, &devices))?;
        } else {
            answer.failures.insert(user.server_name().to_string(), unreachable());
        }
    }
    Ok(LooseResponse(answer.into_value()))
}

fn is_local(step: &Step<'_>, user: &UserId) -> bool {
    user.server_name().as_str() == step.settings.name
}

/// Why nothing is known of the users of other servers.
fn unreachable() -> Value {
    json!({ "status": 503, "message": "this server talks to no others" })
}

#[derive(Default)]
struct QueryAnswer {
    device_keys: Map<String, Value>,
    /// In the order of [`Usage::ALL`].
    cross_signing: [Map<String, Value>; 3],
    failures: Map<String, Value>,
}

impl QueryAnswer {
    fn add(
        &mut self,
        step: &Step<'_>,
        viewer: &UserId,
        (user, devices): (&UserId, &BTreeSet<&str>),
    ) -> Result<(), Broken> {
        let mut keys = Map::new();
        let mut add = |device: &DeviceId| -> Result<(), Broken> {
            if let Some(found) = device_keys::of_device(step, user, device)? {
                keys.insert(device.to_string(), found);
            }
            Ok(())
        };
        if devices.is_empty() {
            for (device, _) in devices::of(step, user)? {
                add(&device)?;
            }
        }
        for device in devices {
            add((*device).into())?;
        }
        self.device_keys.insert(user.to_string(), keys.into());
        for (usage, list) in Usage::ALL.into_iter().zip(&mut self.cross_signing) {
            if let Some(key) = cross_signing::seen_by(step, viewer, user, usage)? {
                list.insert(user.to_string(), key);
            }
        }
        Ok(())
    }

    fn into_value(self) -> Value {
        let mut answer = Map::new();
        answer.insert("device_keys".to_owned(), self.device_keys.into());
        answer.insert("failures".to_owned(), self.failures.into());
        for (usage, list) in Usage::ALL.into_iter().zip(self.cross_signing) {
            answer.insert(usage.list().to_owned(), list.into());
        }
        answer.into()
    }
}

/// Loose for the same reason.
fn claim(
    step: &mut Step<'_>,
    _context: &Context<'_>,
    request: Plain<claim_keys::v3::Request>,
) -> Result<LooseResponse, Stop> {
    let (mut found, mut failures) = (Map::new(), Map::new());
    let malformed = || Refusal::bad_json("one_time_keys is user, device, algorithm");
    for (user, devices) in map(&request.body, "one_time_keys")?.into_iter().flatten() {
        let user = OwnedUserId::try_from(user.as_str())
            .map_err(|error| Refusal::invalid(error.to_string()))?;
        if !is_local(step, &user) {
            failures.insert(user.server_name().to_string(), unreachable());
            continue;
        }
        let mut of_user = Map::new();
        for (device, algorithm) in devices.as_object().ok_or_else(malformed)? {
            let algorithm = algorithm.as_str().ok_or_else(malformed)?;
            let claimed = one_time::claim(step, (&user, device.as_str().into()), algorithm)?;
            if let Some((id, key)) = claimed {
                of_user.insert(device.clone(), json!({ id: key }));
            }
        }
        if !of_user.is_empty() {
            found.insert(user.to_string(), of_user.into());
        }
    }
    Ok(LooseResponse(json!({ "one_time_keys": found, "failures": failures })))
}

/// Whose devices changed between two syncs, by the same reckoning as in a sync.
fn changes(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: get_key_changes::v3::Request,
) -> Result<get_key_changes::v3::Response, Stop> {
    let position = step.position()?;
    let token = |text: &str| {
        SyncToken::parse(text)
            .map(|token| SyncToken { number: token.number.min(position), ..token })
    };
    let question = Question {
        caller: context.caller()?,
        filter: FilterDefinition::default(),
        since: Some(token(&request.from)?),
        now: token(&request.to)?,
        extent: Extent::Changes,
        placing: Placing::Before,
    };
    let news = News::read(step, &question)?;
    let lists = device_lists::read(step, &question, &news)?;
    Ok(get_key_changes::v3::Response::new(lists.changed, lists.left))
}

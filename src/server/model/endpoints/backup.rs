//! Key backups: their versions, and keys all together, of a room, or one by one. All are read and
//! answered loosely, because ruma's types have only the algorithm of today.

use ruma::api::{
    IncomingRequest,
    client::backup::{
        add_backup_keys, add_backup_keys_for_room, add_backup_keys_for_session,
        create_backup_version, delete_backup_keys, delete_backup_keys_for_room,
        delete_backup_keys_for_session, delete_backup_version, get_backup_info, get_backup_keys,
        get_backup_keys_for_room, get_backup_keys_for_session, get_latest_backup_info,
        update_backup_version,
    },
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::server::model::{
    backup::{self, Backup, Part},
    body::{self, Given, LooseResponse, Plain},
    records::BackupKeyRecord,
    refusal::{Refusal, Stop},
    route::{Context, Routes},
    step::Step,
};

pub(super) fn add(routes: &mut Routes) {
    routes.add(create);
    routes.add(newest);
    routes.add(info);
    routes.add(update);
    routes.add(delete);
    routes.add(put_keys::<add_backup_keys::v3::Request>);
    routes.add(put_keys::<add_backup_keys_for_room::v3::Request>);
    routes.add(put_keys::<add_backup_keys_for_session::v3::Request>);
    routes.add(keys::<get_backup_keys::v3::Request>);
    routes.add(keys::<get_backup_keys_for_room::v3::Request>);
    routes.add(keys::<get_backup_keys_for_session::v3::Request>);
    routes.add(remove_keys::<delete_backup_keys::v3::Request>);
    routes.add(remove_keys::<delete_backup_keys_for_room::v3::Request>);
    routes.add(remove_keys::<delete_backup_keys_for_session::v3::Request>);
}

#[derive(Deserialize)]
struct Info {
    algorithm: String,
    auth_data: Value,
    version: Option<String>,
}

fn create(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Plain<create_backup_version::v3::Request>,
) -> Result<LooseResponse, Stop> {
    let user = &context.caller()?.user;
    let Info { algorithm, auth_data, .. } = request.read()?;
    let version = backup::create(step, user, (algorithm, auth_data))?;
    Ok(LooseResponse(json!({ "version": version.to_string() })))
}

fn describe(backup: &Backup) -> LooseResponse {
    LooseResponse(json!({
        "algorithm": backup.record.algorithm,
        "auth_data": backup.record.auth_data,
        "count": backup.record.count,
        "etag": backup.record.etag.to_string(),
        "version": backup.version(),
    }))
}

fn newest(
    step: &mut Step<'_>,
    context: &Context<'_>,
    _request: Plain<get_latest_backup_info::v3::Request>,
) -> Result<LooseResponse, Stop> {
    Ok(describe(&Backup::newest(step, &context.caller()?.user)?))
}

fn info(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Plain<get_backup_info::v3::Request>,
) -> Result<LooseResponse, Stop> {
    Ok(describe(&Backup::find(step, &context.caller()?.user, request.argument(0))?))
}

fn update(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Plain<update_backup_version::v3::Request>,
) -> Result<LooseResponse, Stop> {
    let Info { algorithm, auth_data, version } = request.read()?;
    let backup = Backup::find(step, &context.caller()?.user, request.argument(0))?;
    if version.is_some_and(|version| version != request.argument(0)) {
        return Err(Refusal::invalid("path and body name different versions").into());
    }
    backup.update(step, (&algorithm, auth_data))?;
    Ok(LooseResponse(json!({})))
}

fn delete(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Plain<delete_backup_version::v3::Request>,
) -> Result<LooseResponse, Stop> {
    let backup = Backup::find(step, &context.caller()?.user, request.argument(0))?;
    backup.delete(step)?;
    Ok(LooseResponse(json!({})))
}

/// The backup that the query names.
fn named(step: &Step<'_>, context: &Context<'_>, request: &Given) -> Result<Backup, Refusal> {
    let version = request.query("version");
    let version = version.ok_or_else(|| Refusal::missing("no version is named"))?;
    Backup::find(step, &context.caller()?.user, &version)
}

fn part(request: &Given) -> Part<'_> {
    match request.arguments.as_slice() {
        [] => Part::All,
        [room] => Part::Room(room),
        [room, session, ..] => Part::Session(room, session),
    }
}

/// How many keys there are now.
fn count(backup: &Backup) -> LooseResponse {
    let (count, etag) = (backup.record.count, backup.record.etag.to_string());
    LooseResponse(json!({ "count": count, "etag": etag }))
}

fn put_keys<R: IncomingRequest>(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Plain<R>,
) -> Result<LooseResponse, Stop> {
    let mut backup = named(step, context, &request)?;
    let mut keys = Vec::new();
    match part(&request) {
        Part::All => {
            for (room, of_room) in objects(&request.body, "rooms")? {
                let of_room = of_room.as_object().ok_or_else(malformed)?;
                read_room(room, of_room, &mut keys)?;
            }
        }
        Part::Room(room) => read_room(room, &request.body, &mut keys)?,
        Part::Session(room, session) => keys.push((room, session, request.read()?)),
    }
    backup.add(step, keys)?;
    Ok(count(&backup))
}

fn malformed() -> Refusal {
    Refusal::bad_json("keys are rooms, sessions, keys")
}

fn objects<'a>(
    body: &'a Map<String, Value>,
    name: &str,
) -> Result<&'a Map<String, Value>, Refusal> {
    let value = body.get(name).ok_or_else(|| Refusal::missing(format!("there are no {name}")))?;
    value.as_object().ok_or_else(malformed)
}

fn read_room<'a>(
    room: &'a str,
    of_room: &'a Map<String, Value>,
    keys: &mut Vec<(&'a str, &'a str, BackupKeyRecord)>,
) -> Result<(), Refusal> {
    for (session, key) in objects(of_room, "sessions")? {
        keys.push((room, session, body::read(key.clone())?));
    }
    Ok(())
}

fn keys<R: IncomingRequest>(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Plain<R>,
) -> Result<LooseResponse, Stop> {
    let part = part(&request);
    let found = named(step, context, &request)?.keys(step, part)?;
    let value = match part {
        Part::All => {
            let mut rooms: Map<String, Value> = Map::new();
            for (room, session, key) in found {
                let of_room = rooms.entry(room).or_insert_with(|| json!({ "sessions": {} }));
                if let Some(sessions) = of_room.get_mut("sessions").and_then(Value::as_object_mut) {
                    sessions.insert(session, json!(key));
                }
            }
            json!({ "rooms": rooms })
        }
        Part::Room(_) => {
            let sessions = found.into_iter().map(|(_, session, key)| (session, json!(key)));
            json!({ "sessions": sessions.collect::<Map<_, _>>() })
        }
        Part::Session(..) => {
            let found = found.into_iter().next();
            json!(found.ok_or_else(|| Refusal::not_found("there is no such key"))?.2)
        }
    };
    Ok(LooseResponse(value))
}

fn remove_keys<R: IncomingRequest>(
    step: &mut Step<'_>,
    context: &Context<'_>,
    request: Plain<R>,
) -> Result<LooseResponse, Stop> {
    let mut backup = named(step, context, &request)?;
    backup.remove(step, part(&request))?;
    Ok(count(&backup))
}

//! Targets of the session layer that need nothing but a machine with a backup and an encrypted room.

use std::{cell::RefCell, io::Cursor};

use grotto::{
    e2ee::{CryptoSync, EncryptedFile, KeyFileReader, Machine, RequestFailure, RequestKind, Step},
    matrix::{
        DeviceLists, Event, KeyCounts, MatrixError, OwnedDeviceId, OwnedRoomId, OwnedUserId,
        SyncDelta, ToDeviceEvent,
    },
};
use serde_json::{Value, json};

use super::{
    super::world::{Client, Memory, commit},
    NOW, text,
};

const ROOM: &str = "!room:x";

pub(super) fn room() -> OwnedRoomId {
    OwnedRoomId::try_from(ROOM).unwrap()
}

fn open(store: Memory) -> Client {
    let user = OwnedUserId::try_from("@ann:x").unwrap();
    let device = OwnedDeviceId::from("DEVICE");
    let mut step = Step::new(&store, NOW);
    let machine = Machine::open(&user, &device, &mut step).unwrap();
    let outgoing = machine.unanswered(&step).unwrap();
    let (changes, requests, notices) = step.finish();
    let mut client = Client { user, device, machine, store, outgoing, notices };
    commit(&mut client.store, changes);
    client.outgoing.extend(requests);
    client
}

/// Answers what a client asks until nothing is left; the first request of `kind` stays.
fn settle(client: &mut Client, kind: Option<RequestKind>) {
    for _ in 0..50 {
        let place = client.outgoing.iter().position(|it| Some(it.kind) != kind);
        let Some(place) = place else { return };
        let request = client.outgoing.remove(place);
        let answer = match (request.kind, request.method.as_str()) {
            (RequestKind::KeysUpload, _) => json!({ "one_time_key_counts": {
                "signed_curve25519": 50 } }),
            (RequestKind::BackupWrite, "POST") => json!({ "version": "1" }),
            _ => json!({}),
        };
        let is_read = request.method == "GET";
        let missing = MatrixError::parse(404, br#"{"errcode":"M_NOT_FOUND"}"#);
        let text = answer.to_string();
        let answer =
            if is_read { Err(RequestFailure::Refused(missing)) } else { Ok(text.as_str()) };
        client.step(NOW, |it, step| it.receive_response(&request.id, answer, step)).unwrap();
    }
}

/// Somebody with a backup and an encrypted room, made once; a target works on a copy.
fn client() -> Client {
    thread_local! { static STORE: RefCell<Option<Memory>> = const { RefCell::new(None) }; }
    let kept = STORE.with_borrow(Clone::clone);
    if let Some(store) = kept {
        return open(store);
    }
    let mut client = open(Memory::default());
    settle(&mut client, None);
    client.step(NOW, Machine::create_backup).unwrap();
    settle(&mut client, None);
    let on = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
    let event = Event::state("m.room.encryption", "", on.as_object().unwrap().clone());
    client.step(NOW, |it, step| it.receive_state(&room(), &event, step)).unwrap();
    STORE.with_borrow_mut(|store| *store = Some(client.store.clone()));
    open(client.store)
}

/// What came by to-device messages, as the engine hands it over.
pub(super) fn receive(client: &mut Client, to_device: &[ToDeviceEvent], lists: &DeviceLists) {
    let sync = CryptoSync {
        to_device,
        device_lists: lists,
        key_counts: KeyCounts::Absolute(50),
        unused_fallback_keys: None,
        is_initial: false,
    };
    client.step(NOW, |it, step| it.receive_sync(sync, step)).unwrap();
    client.step(NOW, Machine::tick).unwrap();
}

/// One to-device event.
pub(super) fn to_device(data: &[u8]) {
    let Some(event) = text(data) else { return };
    let answer = format!(r#"{{"to_device":{{"events":[{event}]}}}}"#);
    let Ok(delta) = SyncDelta::parse_v2(&answer) else { return };
    receive(&mut client(), &delta.to_device, &DeviceLists::default());
}

/// The body of a sync answer.
pub(super) fn sync_answer(data: &[u8]) {
    let Some(delta) = text(data).and_then(|text| SyncDelta::parse_v2(text).ok()) else { return };
    let mut client = client();
    client.step(NOW, |it, step| it.receive_sync(CryptoSync::of(&delta, false), step)).unwrap();
}

/// An event of a room, and the files in it.
pub(super) fn room_event(data: &[u8]) {
    let Some(event) = text(data).and_then(|text| Event::parse(text).ok()) else { return };
    let mut client = client();
    client.step(NOW, |it, step| it.receive_state(&room(), &event, step)).unwrap();
    drop(client.step(NOW, |it, step| it.decrypt_event(&room(), &event, step)).unwrap());
    for place in ["file", "info"] {
        if let Some(file) = event.content.get(place) {
            drop(EncryptedFile::parse(file));
        }
    }
}

/// What the server says of the one-time keys that were uploaded.
pub(super) fn keys_uploaded(data: &[u8]) {
    let Some(answer) = text(data) else { return };
    let mut client = open(Memory::default());
    let place = client.outgoing.iter().position(|it| it.kind == RequestKind::KeysUpload);
    let request = client.outgoing.remove(place.expect("keys are uploaded first of all"));
    client.step(NOW, |it, step| it.receive_response(&request.id, Ok(answer), step)).unwrap();
}

/// The answer to a question for devices and identities.
pub(super) fn device_lists(data: &[u8]) {
    let Some(answer) = text(data) else { return };
    let mut client = client();
    let changed = vec![client.user.clone()];
    receive(&mut client, &[], &DeviceLists { changed, left: Vec::new() });
    settle(&mut client, Some(RequestKind::KeysQuery));
    let Some(request) = client.outgoing.pop() else { return };
    client.step(NOW, |it, step| it.receive_response(&request.id, Ok(answer), step)).unwrap();
}

/// A bundle of history, as it was uploaded.
pub(super) fn history_bundle(data: &[u8]) {
    let inviter = OwnedUserId::try_from("@bob:x").unwrap();
    let mut client = client();
    client.step(NOW, |it, step| it.import_history((&room(), &inviter), data, step)).unwrap();
}

/// What the server has of a session, and what may be sealed in it.
pub(super) fn backup_entry(data: &[u8]) {
    let Some(entry) = text(data) else { return };
    let mut client = client();
    client.step(NOW, |it, step| it.want_room_key(&room(), "session", step)).unwrap();
    settle(&mut client, Some(RequestKind::BackupRead));
    let Some(request) = client.outgoing.pop() else { return };
    client.step(NOW, |it, step| it.receive_response(&request.id, Ok(entry), step)).unwrap();
    if let Ok(session) = serde_json::from_slice::<Value>(data) {
        let texts = [session.to_string()];
        let texts = texts.iter().map(String::as_str);
        client.step(NOW, |it, step| it.import_sessions(texts, step)).unwrap();
    }
}

/// An exported key file.
pub(super) fn key_file(data: &[u8]) {
    let Ok(mut reader) = KeyFileReader::open(Cursor::new(data), "passphrase") else { return };
    while let Ok(Some(session)) = reader.next() {
        let Ok(session) = std::str::from_utf8(&session) else { continue };
        let texts = std::iter::once(session);
        client().step(NOW, |it, step| it.import_sessions(texts, step)).unwrap();
    }
}

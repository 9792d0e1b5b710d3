//! What the fuzzer feeds: for each kind of input that comes from elsewhere a function, by its name.
//!
//! The package in `fuzz/` runs them on inputs that it makes up; the test here runs them on those
//! kept in `tests/data/fuzz`. A target says nothing of what it reads: it must come to an end
//! without a panic. Only public items are named. (The bytes of scanned codes, whose reader is not
//! public, are replayed by the session layer's own tests of verification.)

use std::{cell::RefCell, io::Cursor};

use grotto::{
    e2ee::{
        CryptoSync, EncryptedFile, KeyFileReader, Machine, RecoverySecret, RequestFailure,
        RequestKind, Step,
    },
    matrix::{
        CanonicalText, CanonicalValue, DeviceLists, Event, KeyCounts, MatrixError, OwnedDeviceId,
        OwnedRoomId, OwnedUserId, SyncDelta, ToDeviceEvent,
    },
    secret::Secret,
    time::Timestamp,
    wire::{ClientFrame, ServerFrame},
};
use serde_json::{Value, json};

use super::world::{Client, Memory, commit};

/// What is done with one input.
type Target = fn(&[u8]);

/// Every target, by the name of its folder of seeds.
pub(crate) const TARGETS: [(&str, Target); 10] = [
    ("backup_entry", backup_entry),
    ("canonical_json", canonical_json),
    ("device_lists", device_lists),
    ("history_bundle", history_bundle),
    ("key_file", key_file),
    ("recovery_key", recovery_key),
    ("room_event", room_event),
    ("sync_answer", sync_answer),
    ("to_device", to_device),
    ("wire_frame", wire_frame),
];

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const ROOM: &str = "!room:x";

/// Runs the target of this name.
///
/// # Panics
/// When there is none, and when it finds what is wrong.
pub(crate) fn run(name: &str, data: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(it, _)| *it == name).expect("a target");
    target(data);
}

fn room() -> OwnedRoomId {
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

fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// What came by to-device messages, as the engine hands it over.
fn receive(client: &mut Client, to_device: &[ToDeviceEvent], lists: &DeviceLists) {
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

fn to_device(data: &[u8]) {
    let Some(event) = text(data) else { return };
    let answer = format!(r#"{{"to_device":{{"events":[{event}]}}}}"#);
    let Ok(delta) = SyncDelta::parse_v2(&answer) else { return };
    receive(&mut client(), &delta.to_device, &DeviceLists::default());
}

fn sync_answer(data: &[u8]) {
    let Some(delta) = text(data).and_then(|text| SyncDelta::parse_v2(text).ok()) else { return };
    let mut client = client();
    client.step(NOW, |it, step| it.receive_sync(CryptoSync::of(&delta, false), step)).unwrap();
}

fn room_event(data: &[u8]) {
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

/// The answer to a question for devices and identities.
fn device_lists(data: &[u8]) {
    let Some(answer) = text(data) else { return };
    let mut client = client();
    let changed = vec![client.user.clone()];
    receive(&mut client, &[], &DeviceLists { changed, left: Vec::new() });
    settle(&mut client, Some(RequestKind::KeysQuery));
    let Some(request) = client.outgoing.pop() else { return };
    client.step(NOW, |it, step| it.receive_response(&request.id, Ok(answer), step)).unwrap();
}

fn history_bundle(data: &[u8]) {
    let inviter = OwnedUserId::try_from("@bob:x").unwrap();
    let mut client = client();
    client.step(NOW, |it, step| it.import_history((&room(), &inviter), data, step)).unwrap();
}

/// What the server has of a session, and what may be sealed in it.
fn backup_entry(data: &[u8]) {
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

fn key_file(data: &[u8]) {
    let Ok(mut reader) = KeyFileReader::open(Cursor::new(data), "passphrase") else { return };
    while let Ok(Some(session)) = reader.next() {
        let Ok(session) = std::str::from_utf8(&session) else { continue };
        let texts = std::iter::once(session);
        client().step(NOW, |it, step| it.import_sessions(texts, step)).unwrap();
    }
}

fn recovery_key(data: &[u8]) {
    let Some(text) = text(data) else { return };
    drop(RecoverySecret::typed(Secret::new(text.to_owned())));
}

/// What is read is written as it must be, and read again as the same.
fn canonical_json(data: &[u8]) {
    let Some(value) = text(data).and_then(|text| CanonicalValue::parse_object(text).ok()) else {
        return;
    };
    let written = CanonicalText(&value).to_string();
    let again = CanonicalValue::parse_object(&written).expect("our own text is canonical");
    assert_eq!(CanonicalText(&again).to_string(), written);
}

fn wire_frame(data: &[u8]) {
    drop(ServerFrame::decode_binary(data));
    drop(ClientFrame::decode_binary(data));
    let Some(text) = text(data) else { return };
    if let Ok(frame) = ServerFrame::decode_text(text) {
        frame.encode().expect("what was read can be written");
    }
    if let Ok(frame) = ClientFrame::decode_text(text) {
        frame.encode().expect("what was read can be written");
    }
}

#[test]
fn every_seed_is_read_without_a_panic() {
    let seeds = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/fuzz"));
    for (name, _) in TARGETS {
        let files = std::fs::read_dir(seeds.join(name)).unwrap();
        let read = files.map(|file| run(name, &std::fs::read(file.unwrap().path()).unwrap()));
        assert!(2 < read.count(), "{name} has hardly any seeds");
    }
}

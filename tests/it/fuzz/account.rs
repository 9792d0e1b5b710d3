//! Targets of an account that is set up: what its homeserver answers while somebody logs in anew,
//! and what another device of it says.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use grotto::{
    e2ee::{
        Decryption, DevicePolicy, KeyForwarding, OutgoingRequest, Recipients, RequestKind,
        RoomVerification, Scan, UndecryptableReason, VerificationAct, VerificationId,
        VerificationStage, VerificationView,
    },
    matrix::{DeviceLists, Event, OwnedDeviceId, ToDeviceEvent},
    rooms::{EventBody, StoredEvent, Timeline, TimelineDelta},
};
use serde_json::{Map, Value, json, value::to_raw_value};
use vodozemac::{
    Curve25519PublicKey,
    megolm::{GroupSession, SessionConfig},
    pk_encryption::PkEncryption,
};

use super::{
    NOW,
    house::{Device, USER, recovering, verified},
    machine::{receive, room},
    peer::{PEER, Peer, peered},
    text,
};

fn object(data: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(data).ok()
}

/// Answers requests of a kind, of which there is at least one, and what follows from them.
fn answer_each(device: &mut Device, answer: &str, is_wanted: impl Fn(&OutgoingRequest) -> bool) {
    let mut count = 0;
    while count < 3
        && let Some(request) = device.wait_for(&is_wanted)
    {
        device.answer(&request, Ok(answer));
        count += 1;
    }
    assert!(0 < count, "nobody asks for it");
    go_on(device);
}

/// Runs what follows from an input to its end, as far as it has one.
fn go_on(device: &mut Device) {
    drop(device.wait_for(|_| false));
}

/// One-time keys of another device, as the homeserver hands them out.
pub(super) fn keys_claimed(data: &[u8]) {
    let Some(answer) = text(data) else { return };
    let (mut device, _) = peered();
    device.step(|it, step| it.set_device_policy(None, DevicePolicy::All, step)).unwrap();
    encrypt(&mut device);
    let to = Recipients { joined: vec![device.client.user.clone()], ..Recipients::default() };
    drop(device.step(|it, step| it.prepare_room(&room(), &to, step).map(drop)));
    answer_each(&mut device, answer, |it| it.kind == RequestKind::KeysClaim);
}

fn encrypt(device: &mut Device) {
    let on = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
    let event = Event::state("m.room.encryption", "", on.as_object().unwrap().clone());
    device.step(|it, step| it.receive_state(&room(), &event, step)).unwrap();
}

/// What the homeserver keeps as account data: `{"m.secret_storage.key.x": {…}, …}` in the place of
/// what is there, or one thing for all.
pub(super) fn secret_storage(data: &[u8]) {
    let Some(answer) = text(data) else { return };
    let kept = object(data).unwrap_or_default();
    let mut device = recovering();
    let is_read = |it: &OutgoingRequest| it.kind == RequestKind::AccountData && it.method == "GET";
    for count in 0..12 {
        let Some(request) = device.wait_for(is_read) else {
            assert!(0 < count, "nobody asks for it");
            break;
        };
        let kind = request.path.rsplit('/').next().unwrap_or_default();
        match kept.get(kind) {
            Some(content) => device.answer(&request, Ok(&content.to_string())),
            None if kept.is_empty() => device.answer(&request, Ok(answer)),
            None => device.pass_on(&request),
        }
    }
    go_on(&mut device);
}

/// What the homeserver says of the key backup, while its key is read from secret storage.
pub(super) fn backup_version(data: &[u8]) {
    let Some(answer) = text(data) else { return };
    let mut device = recovering();
    let is_version = |it: &OutgoingRequest| {
        it.kind == RequestKind::BackupRead && it.path.ends_with("/room_keys/version")
    };
    answer_each(&mut device, answer, is_version);
}

/// What is sealed in an entry of the backup: whoever has its public key can seal.
pub(super) fn backup_session(data: &[u8]) {
    let mut device = verified();
    let path = "/_matrix/client/v3/room_keys/version";
    let token = device.token.clone();
    let about = device.house.ask(("GET", path), &token, &Value::Null);
    let key = about["auth_data"]["public_key"].as_str().unwrap_or_default();
    let key = Curve25519PublicKey::from_base64(key).expect("the key of the backup");
    let sealed = PkEncryption::from(key).encrypt(data);
    let Ok(sealed) = sealed else { return };
    let base64 = |bytes: &[u8]| vodozemac::base64_encode(bytes);
    let entry = json!({ "first_message_index": 0, "forwarded_count": 0, "is_verified": true,
        "session_data": { "ciphertext": base64(&sealed.ciphertext), "mac": base64(&sealed.mac),
            "ephemeral": sealed.ephemeral_key.to_base64() } });
    device.step(|it, step| it.want_room_key(&room(), "session", step)).unwrap();
    let is_key = |it: &OutgoingRequest| it.kind == RequestKind::BackupRead;
    let request = device.wait_for(is_key).expect("the key is asked for");
    device.answer(&request, Ok(&entry.to_string()));
}

/// What the homeserver says that waits for the login.
pub(super) fn dehydrated_device(data: &[u8]) {
    let Some(answer) = text(data) else { return };
    dehydrated(answer, |path| path.ends_with("/dehydrated_device"));
}

/// A page of what came for the device that waited.
pub(super) fn dehydrated_events(data: &[u8]) {
    let Some(answer) = text(data) else { return };
    dehydrated(answer, |path| path.ends_with("/events"));
}

fn dehydrated(answer: &str, is_place: impl Fn(&str) -> bool) {
    let mut device = recovering();
    let is_wanted = |it: &OutgoingRequest| {
        it.kind == RequestKind::DehydratedDevice && it.method == "GET" && is_place(&it.path)
    };
    answer_each(&mut device, answer, is_wanted);
}

/// What another device of ours says in a verification that we began: `[["key", {…}], "confirm", …]`.
/// Events have the type without `m.key.verification.`; what we do stands as a word between them.
pub(super) fn verification(data: &[u8]) {
    let Ok(Value::Array(story)) = serde_json::from_slice(data) else { return };
    let (mut device, _) = peered();
    let (id, transaction) = begin(&mut device);
    for part in story.into_iter().take(12) {
        match part {
            Value::String(word) => act(&mut device, id, &word),
            Value::Array(event) => {
                let mut event = event.into_iter();
                let kind = event.next().unwrap_or_default();
                let Some(Value::Object(content)) = event.next() else { continue };
                let kind = format!("m.key.verification.{}", kind.as_str().unwrap_or_default());
                hear(&mut device, &kind, content.clone(), &transaction);
                let Some(event) = Event::parse(
                    &json!({ "type": kind, "content": content, "event_id": "$e",
                    "sender": "@bob:house", "origin_server_ts": NOW })
                    .to_string(),
                )
                .ok() else {
                    continue;
                };
                hear_in_room(&mut device, &event);
            }
            _ => {}
        }
    }
    go_on(&mut device);
}

fn hear(device: &mut Device, kind: &str, mut content: Map<String, Value>, transaction: &str) {
    content.entry("transaction_id").or_insert_with(|| json!(transaction));
    content.entry("from_device").or_insert_with(|| json!(PEER));
    let event = ToDeviceEvent {
        kind: kind.to_owned(),
        sender: USER.try_into().unwrap(),
        content: to_raw_value(&content).unwrap(),
    };
    receive(&mut device.client, &[event], &DeviceLists::default());
}

fn hear_in_room(device: &mut Device, event: &Event) {
    let (Some(id), Some(sender)) = (&event.event_id, &event.sender) else { return };
    let said = RoomVerification {
        room: &room(),
        event: id,
        sender,
        at: NOW,
        txn: None,
        kind: &event.kind,
        content: &event.content,
    };
    device.step(|it, step| it.receive_verification(&said, step)).unwrap();
}

/// Begins a verification with the other device; its name there.
fn begin(device: &mut Device) -> (VerificationId, String) {
    let peer = OwnedDeviceId::from(PEER);
    let user = device.client.user.clone();
    let view = device
        .step(|it, step| it.start_verification((&user, Some(&peer)), None, Scan::Yes, step))
        .unwrap()
        .expect("a verification begins");
    let request = device.wait_for(|it| it.kind == RequestKind::Verification);
    let request = request.expect("the other device is asked");
    let body: Value = serde_json::from_str(&request.body).unwrap();
    let transaction = body["messages"][USER][PEER]["transaction_id"].as_str().unwrap().to_owned();
    device.pass_on(&request);
    (view.id, transaction)
}

fn act(device: &mut Device, id: VerificationId, word: &str) {
    let act = match word {
        "accept" => VerificationAct::Accept { scan: Scan::Yes },
        "sas" => VerificationAct::StartSas,
        "confirm" => VerificationAct::Confirm,
        "mismatch" => VerificationAct::Mismatch,
        "cancel" => VerificationAct::Cancel,
        code => VerificationAct::Scanned { code: code.to_owned() },
    };
    drop(device.step(|it, step| it.act_on_verification(id, act, step)).unwrap());
}

/// The bytes of a code that another device of ours shows.
pub(super) fn scanned_code(data: &[u8]) {
    let (mut device, _) = peered();
    let (id, transaction) = begin(&mut device);
    let methods = json!({ "methods": ["m.sas.v1", "m.qr_code.show.v1", "m.qr_code.scan.v1",
        "m.reciprocate.v1"] });
    let content = methods.as_object().unwrap().clone();
    hear(&mut device, "m.key.verification.ready", content, &transaction);
    let is_ready =
        |it: &VerificationView| matches!(it.stage, VerificationStage::Ready { scan: true, .. });
    assert!(device.step(|it, _| it.verifications().iter().any(is_ready)), "it is ready");
    act(&mut device, id, &STANDARD.encode(data));
    go_on(&mut device);
}

/// What is inside an Olm message of another device of ours. Who wrote it for whom is filled in.
pub(super) fn olm_plaintext(data: &[u8]) {
    let (mut device, peer) = peered();
    device.step(|it, step| it.set_key_forwarding(KeyForwarding::OwnDevices, step)).unwrap();
    tell(&mut device, &peer, data);
    go_on(&mut device);
}

fn tell(device: &mut Device, peer: &Peer, inside: &[u8]) {
    let inside = match object(inside) {
        Some(inside) => peer.signed_off(inside).to_string().into_bytes(),
        None => inside.to_vec(),
    };
    let Some(event) = peer.seal(&inside) else { return };
    receive(&mut device.client, &[event], &DeviceLists::default());
}

/// What is inside a Megolm message. The room is filled in.
pub(super) fn megolm_plaintext(data: &[u8]) {
    let (mut device, peer) = peered();
    let mut group = GroupSession::new(SessionConfig::version_1());
    encrypt(&mut device);
    let key = json!({ "type": "m.room_key", "content": { "algorithm": "m.megolm.v1.aes-sha2",
        "room_id": room(), "session_id": group.session_id(),
        "session_key": group.session_key().to_base64() } });
    tell(&mut device, &peer, key.to_string().as_bytes());
    let plaintext = match object(data) {
        Some(mut inside) => {
            inside.entry("room_id").or_insert_with(|| json!(room()));
            Value::Object(inside).to_string().into_bytes()
        }
        None => data.to_vec(),
    };
    let sealed = group.encrypt(&plaintext).to_base64();
    let content = json!({ "algorithm": "m.megolm.v1.aes-sha2", "ciphertext": sealed,
        "session_id": group.session_id() });
    let event = json!({ "type": "m.room.encrypted", "event_id": "$e", "sender": USER,
        "origin_server_ts": NOW, "content": content });
    let event = Event::parse(&event.to_string()).unwrap();
    let read = device.step(|it, step| it.decrypt_event(&room(), &event, step)).unwrap();
    match read {
        Decryption::Undecryptable(why) => assert_eq!(why.reason, UndecryptableReason::Malformed),
        Decryption::Decrypted(inside) => {
            show(StoredEvent { position: 1, event, body: EventBody::Decrypted(inside) })
        }
    }
}

/// Builds the lines of a timeline with an event in it.
pub(super) fn show(event: StoredEvent) {
    let mut timeline = Timeline::new(USER.try_into().unwrap());
    timeline.apply(TimelineDelta::Events(vec![event]));
    for item in timeline.items() {
        drop(format!("{item:?}"));
    }
}

//! Devices of one account, their backup, and sessions to put into it.

use serde_json::json;
use vodozemac::{
    megolm::{GroupSession, InboundGroupSession, SessionConfig},
    pk_encryption::PkDecryption,
};

use crate::{
    e2ee::{
        BackupState, Decryption, Machine, OutgoingRequest, RequestFailure, RequestId, RequestKind,
        cross_signing::Imported,
        tests::{account_server::Backup, harness::World},
    },
    matrix::{Event, OwnedRoomId, OwnedUserId, RoomId},
    secret::Secret,
};

/// Whose devices they are.
pub(super) const ME: &str = "@a:x";

type EarlyAnswer = (RequestId, Result<String, RequestFailure>);

pub(super) fn me() -> OwnedUserId {
    OwnedUserId::try_from(ME).unwrap()
}

pub(super) fn room(number: usize) -> OwnedRoomId {
    RoomId::parse(format!("!room{number}:x")).unwrap()
}

/// A session as a key file holds it, from this index on.
pub(super) fn exported(group: &GroupSession, room: &RoomId, index: u32) -> String {
    let mut session = InboundGroupSession::new(&group.session_key(), SessionConfig::version_1());
    json!({
        "algorithm": "m.megolm.v1.aes-sha2",
        "room_id": room,
        "session_id": group.session_id(),
        "sender_key": "claimed",
        "sender_claimed_keys": { "ed25519": "claimed" },
        "forwarding_curve25519_key_chain": [],
        "session_key": session.export_at(index).unwrap(),
        "shared_history": true,
    })
    .to_string()
}

pub(super) fn group() -> GroupSession {
    GroupSession::new(SessionConfig::version_1())
}

/// Sessions of nobody in particular, in three rooms by turns.
pub(super) fn sessions(count: usize) -> Vec<String> {
    (0..count).map(|i| exported(&group(), &room(i % 3), 0)).collect()
}

/// A session in the first room, and the message that it began with.
pub(super) struct Talk {
    pub(super) id: String,
    pub(super) event: Event,
    /// As it is exported by whoever can read the message.
    pub(super) whole: String,
    /// As it is exported by whoever came later.
    pub(super) end: String,
}

impl Talk {
    pub(super) fn of(sender: &str) -> Self {
        let (mut group, room) = (group(), room(0));
        let whole = exported(&group, &room, 0);
        let event = message(&mut group, &room, sender);
        Self { id: group.session_id(), event, whole, end: exported(&group, &room, 1) }
    }
}

/// A message of `sender` in `room`.
pub(super) fn message(group: &mut GroupSession, room: &RoomId, sender: &str) -> Event {
    let plain = json!({ "type": "m.room.message", "content": { "body": "hi" }, "room_id": room });
    serde_json::from_value(json!({
        "type": "m.room.encrypted",
        "event_id": format!("$event{}", group.message_index()),
        "sender": sender,
        "origin_server_ts": 1_900_000_000_000_u64,
        "content": {
            "algorithm": "m.megolm.v1.aes-sha2",
            "session_id": group.session_id(),
            "ciphertext": group.encrypt(plain.to_string()).to_base64(),
        },
    }))
    .unwrap()
}

impl World {
    pub(super) fn import(&mut self, client: usize, sessions: &[String]) {
        let texts = sessions.iter().map(String::as_str);
        self.at(client, |machine, step| machine.import_sessions(texts, step)).unwrap();
    }

    pub(super) fn state(&mut self, client: usize) -> BackupState {
        self.at(client, |machine, step| machine.backup_state(step).unwrap())
    }

    pub(super) fn backup(&mut self) -> &mut Backup {
        self.server.backups.get_mut(&me()).unwrap().last_mut().unwrap()
    }

    pub(super) fn uploads(&self) -> Vec<&OutgoingRequest> {
        let served = self.server.served.iter().map(|(_, request)| request);
        served.filter(|it| it.kind == RequestKind::BackupWrite && it.method == "PUT").collect()
    }

    pub(super) fn key(&self, client: usize) -> Secret<[u8; 32]> {
        self.clients[client].machine.backup_key().unwrap()
    }

    pub(super) fn give_key(&mut self, client: usize, key: Secret<[u8; 32]>) -> Imported {
        self.at(client, |machine, step| machine.import_backup_key(key, step).unwrap())
    }

    /// A device that knows its account is given the key.
    pub(super) fn connect(&mut self, client: usize) {
        self.settle();
        let key = self.key(0);
        self.give_key(client, key);
    }

    /// What the server says now to a client that asks which backup there is; it comes later.
    pub(super) fn early_answer(&mut self, client: usize) -> EarlyAnswer {
        let is_version = |it: &OutgoingRequest| it.path.ends_with("/room_keys/version");
        let outbox = &mut self.clients[client].outbox;
        let place = outbox.iter().position(is_version).unwrap();
        let request = outbox.remove(place).unwrap();
        let answer = self.server.serve(&self.clients[client].name(), &request);
        (request.id, answer)
    }

    pub(super) fn decrypt(&mut self, client: usize, room: &RoomId, event: &Event) -> Decryption {
        self.at(client, |machine, step| machine.decrypt_event(room, event, step).unwrap())
    }
}

/// One device with a backup and these many sessions, all uploaded.
pub(super) fn backed_up(sessions: usize) -> World {
    let mut world = World::new(&[ME]);
    world.at(0, Machine::create_backup).unwrap();
    world.settle();
    world.import(0, &self::sessions(sessions));
    world.rest();
    world
}

pub(super) fn attackers_backup() -> Backup {
    let key = PkDecryption::new().public_key().to_base64();
    let about = json!({
        "algorithm": "m.megolm_backup.v1.curve25519-aes-sha2",
        "auth_data": { "public_key": key, "signatures": {} },
    });
    Backup { about, ..Backup::default() }
}

//! An account that was long in use: rooms, messages, and the keys of all of them in its backup.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use grotto::e2ee::KeyFileWriter;
use serde_json::{Value, json};
use tokio::task::{LocalSet, spawn_local};
use vodozemac::megolm::{GroupSession, InboundGroupSession, SessionConfig};

use crate::served::{Client, PASSWORD};

pub(crate) const GROTTO: &str = env!("CARGO_BIN_EXE_grotto");
/// Messages of one session.
const OF_A_SESSION: usize = 5;
/// Rooms that are filled at once.
const AT_ONCE: usize = 8;
const V3: &str = "/_matrix/client/v3";

/// How much there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) rooms: usize,
    /// Of each room.
    pub(crate) messages: usize,
}

/// What was made.
#[derive(Debug)]
pub(crate) struct Account {
    base: String,
    user: String,
    pub(crate) recovery_key: String,
    pub(crate) sessions: usize,
    /// The last one is on screen.
    pub(crate) rooms: Vec<String>,
    /// Messages of each.
    pub(crate) messages: usize,
}

/// A device with a data folder of its own.
#[derive(Debug)]
pub(crate) struct Device {
    home: PathBuf,
}

impl Device {
    fn log_in(home: PathBuf, base: &str, user: &str) -> Self {
        std::fs::create_dir_all(&home).unwrap();
        let device = Self { home };
        let login = ["login", user, "--homeserver", base, "--password-file", "-"];
        device.run(&login, PASSWORD);
        device
    }

    fn run(&self, arguments: &[&str], input: &str) -> Vec<Value> {
        let mut command = Command::new(GROTTO);
        command.arg("--json").args(arguments);
        for name in ["DATA_HOME", "CONFIG_HOME", "STATE_HOME", "CACHE_HOME", "RUNTIME_DIR"] {
            let folder = self.home.join(name);
            std::fs::create_dir_all(&folder).unwrap();
            command.env(format!("XDG_{name}"), folder);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        let words = String::from_utf8_lossy(&stderr);
        assert!(status.success(), "{arguments:?}: {words}");
        let lines = String::from_utf8(stdout).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The folder of its store.
    pub(crate) fn store(&self) -> PathBuf {
        let mut open = vec![self.home.join("DATA_HOME")];
        while let Some(folder) = open.pop() {
            if folder.join("store.db").exists() {
                return folder;
            }
            let inside = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
            open.extend(inside.filter(|path| path.is_dir()));
        }
        panic!("there is no store")
    }
}

impl Account {
    /// Logs in on another device.
    pub(crate) fn log_in_again(&self, folder: &Path) -> Device {
        Device::log_in(folder.join("new"), &self.base, &self.user)
    }
}

/// Lives it.
pub(crate) async fn make(base: &str, folder: &Path, size: Size) -> Account {
    let client = Client::register(base, "longlife").await;
    let old = Device::log_in(folder.join("old"), base, &client.user);
    let made = old.run(&["setup-recovery"], "");
    let recovery_key = made[0]["recovery_key"].as_str().unwrap().to_owned();
    // A connection that was idle meanwhile may be closed.
    let client = Client { http: Client::stranger(base).http, ..client };
    let mut writer = KeyFileWriter::new(Vec::new(), "passphrase").unwrap();
    let mut sessions = 0;
    let mut all = Vec::new();
    for start in (0..size.rooms).step_by(AT_ONCE) {
        let rooms = size.rooms.min(start + AT_ONCE) - start;
        for (id, keys) in LocalSet::new().run_until(fill_some(&client, rooms, size.messages)).await
        {
            all.push(id);
            sessions += keys.len();
            for key in &keys {
                writer.push(key).unwrap();
            }
        }
    }
    let (keys, words) = (folder.join("keys"), folder.join("words"));
    std::fs::write(&keys, writer.finish().unwrap()).unwrap();
    std::fs::write(&words, "passphrase").unwrap();
    let (keys, words) = (keys.to_str().unwrap(), words.to_str().unwrap());
    let counts = old.run(&["keys", "import", keys, "--file-passphrase-file", words], "");
    assert_eq!(counts[0]["improved"], sessions);
    while old.run(&["keys", "status"], "")[0]["backup"]["to_upload"] != 0 {}
    let (base, user, messages) = (base.to_owned(), client.user, size.messages);
    Account { base, user, recovery_key, sessions, rooms: all, messages }
}

/// Makes rooms at once.
async fn fill_some(client: &Client, rooms: usize, messages: usize) -> Vec<(String, Vec<String>)> {
    let tasks: Vec<_> = (0..rooms).map(|_| spawn_local(fill(client.clone(), messages))).collect();
    let mut filled = Vec::new();
    for task in tasks {
        filled.push(task.await.unwrap());
    }
    filled
}

/// Makes a room with messages; its id, and the keys as a key file holds them.
async fn fill(client: Client, messages: usize) -> (String, Vec<String>) {
    let encryption = json!({
        "type": "m.room.encryption", "state_key": "",
        "content": { "algorithm": "m.megolm.v1.aes-sha2" },
    });
    let room = client.create(&json!({ "initial_state": [encryption] })).await;
    let mut keys = Vec::new();
    let mut group = GroupSession::new(SessionConfig::version_1());
    for number in 0..messages {
        if number % OF_A_SESSION == 0 {
            group = GroupSession::new(SessionConfig::version_1());
            let mut copy =
                InboundGroupSession::new(&group.session_key(), SessionConfig::version_1());
            let key = json!({
                "algorithm": "m.megolm.v1.aes-sha2", "room_id": room,
                "session_id": group.session_id(), "sender_key": "key",
                "sender_claimed_keys": {}, "forwarding_curve25519_key_chain": [],
                "session_key": copy.export_at(0).unwrap(),
            });
            keys.push(key.to_string());
        }
        let plain = json!({
            "type": "m.room.message", "room_id": room,
            "content": { "msgtype": "m.text", "body": format!("old {number}") },
        });
        let sealed = json!({
            "algorithm": "m.megolm.v1.aes-sha2", "session_id": group.session_id(),
            "ciphertext": group.encrypt(plain.to_string()).to_base64(),
        });
        let path = format!("{V3}/rooms/{room}/send/m.room.encrypted/{number}");
        assert_eq!(client.put(&path, &sealed).await.status, 200);
    }
    (room, keys)
}

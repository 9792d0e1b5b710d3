//! What a peer on matrix-sdk-crypto can do besides messages: identities, verification, secret storage, backup, key files,
//! attachments, history and dehydrated devices. The commands are described in `tests/interop/src`.

use std::time::Instant;

use serde_json::{Value, json};

use crate::rig::{PATIENCE, Peer, Stack};

/// One verification as a peer sees it.
#[derive(Clone, Debug)]
pub(crate) struct Flow(pub(crate) String);

/// What a peer shows of a SAS: two representations of the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShortCode {
    /// Seven symbols.
    pub(crate) emoji: Vec<String>,
    /// Their English names.
    pub(crate) names: Vec<String>,
    /// Three numbers.
    pub(crate) decimals: Vec<u64>,
}

/// On matrix-sdk-crypto only.
impl Peer {
    /// A client on matrix-sdk-crypto whose account has an identity.
    pub(crate) fn cross_signed(base: &str, name: &str) -> Self {
        Self::cross_signed_with(base, name, &[])
    }

    /// The same with options of the program.
    pub(crate) fn cross_signed_with(base: &str, name: &str, options: &[&str]) -> Self {
        let mut peer = Self::start_with(Stack::Sdk, base, name, options);
        peer.bootstrap();
        peer
    }

    /// Another device of an account, on matrix-sdk-crypto.
    pub(crate) fn another_device(base: &str, user: &str) -> Self {
        Self::on(Stack::Sdk, base, user.to_owned(), &[])
    }

    /// Gives a command that must succeed.
    pub(crate) fn order(&mut self, command: Value) -> Value {
        let told = command.to_string();
        let answer = self.ask(command);
        assert!(answer["error"].is_null(), "{told}: {answer}");
        answer
    }

    /// Makes the account's identity, signed by this device.
    pub(crate) fn bootstrap(&mut self) -> Value {
        self.order(json!({"do": "bootstrap"}))
    }

    /// Throws the account's identity away and makes another.
    pub(crate) fn reset_identity(&mut self) -> Value {
        self.order(json!({"do": "reset_identity"}))
    }

    /// What it knows of its own identity.
    pub(crate) fn own_identity(&mut self) -> Value {
        self.order(json!({"do": "own"}))
    }

    /// What it thinks of a user, freshly asked of the server.
    pub(crate) fn opinion_of(&mut self, user: &str) -> Value {
        self.order(json!({"do": "user", "user": user}))
    }

    /// Waits until a user is verified for it: a dialogue is done a moment before its signature.
    pub(crate) fn comes_to_verify(&mut self, user: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let opinion = self.opinion_of(user);
            if opinion["verified"] == true {
                return;
            }
            assert!(Instant::now() < until, "{user} is not verified: {opinion}");
        }
    }

    /// What it thinks of one device of a user.
    pub(crate) fn opinion_of_device(&mut self, user: &str, device: &str) -> Value {
        let opinion = self.opinion_of(user);
        let found = opinion["devices"].as_array().unwrap().iter().find(|it| it["device"] == device);
        found.unwrap_or_else(|| panic!("no device {device}: {opinion}")).clone()
    }

    /// Takes a changed identity for the user's.
    pub(crate) fn acknowledge(&mut self, user: &str) -> Value {
        self.order(json!({"do": "acknowledge", "user": user}))
    }

    /// Waits until it has every secret of its identity.
    pub(crate) fn has_secrets(&mut self) {
        self.order(json!({"do": "await_secrets"}));
    }

    /// Device and shield of an encrypted event that it has decrypted, as of now.
    pub(crate) fn look_at(&mut self, event: &str) -> Value {
        self.order(json!({"do": "look", "event": event}))
    }

    /// Invites a user.
    pub(crate) fn invite(&mut self, room: &str, user: &str) {
        self.order(json!({"do": "invite", "room": room, "user": user}));
    }

    /// Waits until a user's joining has come.
    pub(crate) fn sees_join(&mut self, room: &str, user: &str) {
        self.find(&format!("{user} in {room}"), |line| {
            line["room"] == room
                && line["content"]["membership"] == "join"
                && (line["sender"] == user || line["state_key"] == user)
        });
    }

    /// Waits until it was asked to verify; accepts.
    pub(crate) fn accepts_verification(&mut self, from: &str) -> Flow {
        let line = self.find(&format!("verification asked by {from}"), |line| {
            line["k"] == "verification" && line["state"] == "requested" && line["user"] == from
        });
        let flow = Flow(line["flow"].as_str().unwrap().to_owned());
        self.order(json!({"do": "verify_accept", "flow": flow.0}));
        flow
    }

    /// Asks a user, in a room, to verify.
    pub(crate) fn asks_to_verify(&mut self, user: &str, room: &str) -> Flow {
        self.begins(json!({"do": "verify", "user": user, "room": room}))
    }

    /// Asks all other devices of its own user to verify.
    pub(crate) fn asks_own_devices_to_verify(&mut self) -> Flow {
        let user = self.user.clone();
        self.begins(json!({"do": "verify", "user": user}))
    }

    fn begins(&mut self, command: Value) -> Flow {
        let answer = self.order(command);
        Flow(answer["flow"].as_str().unwrap().to_owned())
    }

    /// Waits until a verification is in a state; gives the line that told it.
    pub(crate) fn reaches(&mut self, flow: &Flow, state: &str) -> Value {
        self.find(&format!("verification {state}"), |line| {
            line["k"] == "verification" && line["flow"] == flow.0.as_str() && line["state"] == state
        })
    }

    /// Starts SAS, once the other has accepted.
    pub(crate) fn starts_sas(&mut self, flow: &Flow) {
        self.reaches(flow, "ready");
        self.order(json!({"do": "verify_start", "flow": flow.0}));
    }

    /// Waits for the emoji.
    pub(crate) fn compares(&mut self, flow: &Flow) -> ShortCode {
        let line = self.reaches(flow, "sas.compare");
        let texts =
            |name: &str| -> Vec<String> { serde_json::from_value(line[name].clone()).unwrap() };
        ShortCode {
            emoji: texts("emoji"),
            names: texts("names"),
            decimals: serde_json::from_value(line["decimals"].clone()).unwrap(),
        }
    }

    /// Says that the emoji are the same, or that the other has scanned.
    pub(crate) fn confirms(&mut self, flow: &Flow) {
        self.order(json!({"do": "verify_confirm", "flow": flow.0}));
    }

    /// Says that the emoji differ.
    pub(crate) fn rejects(&mut self, flow: &Flow) {
        self.order(json!({"do": "verify_mismatch", "flow": flow.0}));
    }

    /// Breaks a verification off.
    pub(crate) fn cancels(&mut self, flow: &Flow) {
        self.order(json!({"do": "verify_cancel", "flow": flow.0}));
    }

    /// Shows a QR code, once the other has accepted: its bytes in base64.
    pub(crate) fn shows_code(&mut self, flow: &Flow) -> String {
        self.reaches(flow, "ready");
        let answer = self.order(json!({"do": "qr_show", "flow": flow.0}));
        answer["bytes"].as_str().unwrap().to_owned()
    }

    /// Scans a QR code with these bytes.
    pub(crate) fn scans_code(&mut self, flow: &Flow, bytes: &str) {
        self.order(json!({"do": "qr_scan", "flow": flow.0, "bytes": bytes}));
    }

    /// Makes a secret storage with every secret that it has; its recovery key.
    pub(crate) fn creates_storage(&mut self, passphrase: Option<&str>) -> String {
        let answer = self.order(json!({"do": "storage_create", "passphrase": passphrase}));
        answer["recovery_key"].as_str().unwrap().to_owned()
    }

    /// Opens the secret storage by a recovery key or passphrase: what it then has.
    pub(crate) fn opens_storage(&mut self, secret: &str) -> Value {
        self.order(json!({"do": "storage_open", "secret": secret}))
    }

    /// Makes a new backup version; its number.
    pub(crate) fn creates_backup(&mut self) -> String {
        let answer = self.order(json!({"do": "backup_create"}));
        answer["version"].as_str().unwrap().to_owned()
    }

    /// Uploads every key that is not in the backup yet; how many.
    pub(crate) fn backs_up(&mut self) -> u64 {
        self.order(json!({"do": "backup_upload"}))["keys"].as_u64().unwrap()
    }

    /// Takes everything from the backup: total, imported, failed.
    pub(crate) fn restores_backup(&mut self) -> Value {
        self.order(json!({"do": "backup_restore"}))
    }

    /// What it thinks of the backup on the server.
    pub(crate) fn backup_state(&mut self) -> Value {
        self.order(json!({"do": "backup_state"}))
    }

    /// The text of a key file with all keys.
    pub(crate) fn exports_keys(&mut self, passphrase: &str) -> String {
        let command = json!({"do": "keys_export", "passphrase": passphrase, "rounds": 1000});
        self.order(command)["text"].as_str().unwrap().to_owned()
    }

    /// Imports a key file; how many keys were new.
    pub(crate) fn imports_keys(&mut self, text: &str, passphrase: &str) -> u64 {
        let command = json!({"do": "keys_import", "text": text, "passphrase": passphrase});
        self.order(command)["imported"].as_u64().unwrap()
    }

    /// Sends an encrypted file of this size; the SHA-256 of its clear bytes, in hexadecimal.
    pub(crate) fn sends_file(&mut self, room: &str, name: &str, size: usize) -> String {
        let command = json!({"do": "upload", "room": room, "name": name, "size": size});
        self.order(command)["sha256"].as_str().unwrap().to_owned()
    }

    /// Downloads the encrypted file of a message; the SHA-256 of its clear bytes, in hexadecimal.
    pub(crate) fn fetches_file(&mut self, content: &Value) -> String {
        let command = json!({"do": "download", "content": content});
        self.order(command)["sha256"].as_str().unwrap().to_owned()
    }

    /// Gives a user whom it is about to invite the keys of the room's history.
    pub(crate) fn shares_history(&mut self, room: &str, user: &str) -> Value {
        self.order(json!({"do": "history_share", "room": room, "user": user}))
    }

    /// Waits for the keys that its inviter shares and takes them; how many.
    pub(crate) fn takes_history(&mut self, room: &str) -> u64 {
        self.order(json!({"do": "history_take", "room": room}))["keys"].as_u64().unwrap()
    }
}

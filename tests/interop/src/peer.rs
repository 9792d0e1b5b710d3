//! The peer itself: its machine, what it remembers between commands, and its login.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Result, anyhow};
use matrix_sdk_crypto::{
    DecryptionSettings, EncryptionSettings, OlmMachine, VerificationRequest,
    secret_storage::SecretStorageKey,
};
use ruma::{DeviceId, OwnedRoomId, OwnedTransactionId, OwnedUserId, UserId};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::options::Options;

/// A client, logged in on a device of its own.
pub struct Peer {
    pub http: reqwest::Client,
    pub token: String,
    pub machine: OlmMachine,
    pub options: Options,
    /// Events whose key is missing.
    pub waiting: RefCell<Vec<(OwnedRoomId, Value)>>,
    /// Every encrypted event by its id, to look at it again.
    pub seen: RefCell<BTreeMap<String, (OwnedRoomId, Value)>>,
    /// Settings of the rooms that said some.
    pub rooms: RefCell<BTreeMap<OwnedRoomId, EncryptionSettings>>,
    /// Who invited it where.
    pub inviters: RefCell<BTreeMap<OwnedRoomId, OwnedUserId>>,
    /// Verifications by flow, each with what was last told of it.
    pub flows: RefCell<BTreeMap<String, (VerificationRequest, Value)>>,
    /// The open secret storage.
    pub storage: RefCell<Option<SecretStorageKey>>,
    /// One permit: to send the requests of the machine.
    pub sending: Semaphore,
    /// Messages of verifications on their way into rooms.
    pub in_flight: RefCell<BTreeSet<OwnedTransactionId>>,
    /// Whether it has logged out: there is nothing to follow any more.
    pub gone: Cell<bool>,
    transactions: Cell<u64>,
}

impl Peer {
    /// Logs in on a new device.
    pub async fn log_in(options: Options) -> Result<Self> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let body = json!({
            "type": "m.login.password", "password": options.password, "initial_device_display_name": "sdk-peer",
            "identifier": {"type": "m.id.user", "user": options.user},
        });
        let request =
            http.post(format!("{}/_matrix/client/v3/login", options.base)).body(body.to_string());
        let text = request.timeout(Duration::from_secs(60)).send().await?.text().await?;
        let login: Value = serde_json::from_str(&text)?;
        let part = |name: &str| login[name].as_str().ok_or_else(|| anyhow!("login failed: {text}"));
        let user = <&UserId>::try_from(part("user_id")?)?;
        let machine = OlmMachine::new(user, <&DeviceId>::from(part("device_id")?)).await;
        machine.set_room_key_requests_enabled(options.ask_keys);
        machine.set_room_key_forwarding_enabled(options.forward_keys);
        Ok(Self {
            http,
            token: part("access_token")?.to_owned(),
            machine,
            options,
            waiting: RefCell::default(),
            seen: RefCell::default(),
            rooms: RefCell::default(),
            inviters: RefCell::default(),
            flows: RefCell::default(),
            storage: RefCell::default(),
            sending: Semaphore::new(1),
            in_flight: RefCell::default(),
            gone: Cell::default(),
            transactions: Cell::default(),
        })
    }

    /// Whose messages it decrypts.
    pub fn reading(&self) -> DecryptionSettings {
        DecryptionSettings { sender_device_trust_requirement: self.options.read }
    }

    /// A transaction id that it did not use yet.
    pub fn transaction(&self) -> String {
        self.transactions.set(self.transactions.get() + 1);
        format!("sdk{}", self.transactions.get())
    }
}

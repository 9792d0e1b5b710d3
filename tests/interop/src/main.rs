//! An end-to-end encrypted peer on matrix-sdk-crypto, the stack inside Element; speaks what `tests/rig/peer.py` speaks.
//!
//! `sdk-peer BASE USER PASSWORD DIR [--echo]`: joins whatever it is invited to, prints a JSON line for each room event, takes
//! JSON commands on standard input, and lives as long as that is open. Keys are kept in memory only.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, anyhow, bail};
use matrix_sdk_crypto::{
    DecryptionSettings, EncryptionSettings, EncryptionSyncChanges, OlmMachine, TrustRequirement,
    types::requests::{AnyOutgoingRequest, ToDeviceRequest},
};
use reqwest::Method;
use ruma::{
    DeviceId, OneTimeKeyAlgorithm, OwnedRoomId, OwnedUserId, RoomId, UInt, UserId,
    api::{
        IncomingResponse,
        client::{keys, sync::sync_events::DeviceLists, to_device},
    },
    serde::Raw,
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

const TRUST: DecryptionSettings =
    DecryptionSettings { sender_device_trust_requirement: TrustRequirement::Untrusted };

struct Peer {
    http: reqwest::Client,
    base: String,
    token: String,
    machine: OlmMachine,
    echo: bool,
    waiting: RefCell<Vec<(OwnedRoomId, Value)>>,
    transactions: RefCell<u64>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [base, user, password, ..] = &arguments[..] else {
        bail!("usage: sdk-peer BASE USER PASSWORD DIR [--echo]")
    };
    let peer =
        Rc::new(Peer::log_in(base, user, password, arguments.iter().any(|a| a == "--echo")).await?);
    let since = peer.sync(None).await?;
    say(json!({"k": "ready", "user": peer.machine.user_id(), "device": peer.machine.device_id()}));
    tokio::select! {
        ended = peer.follow(since) => ended,
        ended = peer.obey_all() => ended,
    }
}

fn now() -> f64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0.0, |since| since.as_secs_f64())
}

fn say(mut line: Value) {
    line["t"] = json!(now());
    println!("{line}");
}

impl Peer {
    async fn log_in(base: &str, user: &str, password: &str, echo: bool) -> Result<Self> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let body = json!({
            "type": "m.login.password", "password": password, "initial_device_display_name": "sdk-peer",
            "identifier": {"type": "m.id.user", "user": user},
        });
        let text = http
            .post(format!("{base}/_matrix/client/v3/login"))
            .body(body.to_string())
            .send()
            .await?
            .text()
            .await?;
        let login: Value = serde_json::from_str(&text)?;
        let part = |name: &str| login[name].as_str().ok_or_else(|| anyhow!("login failed: {text}"));
        let machine = OlmMachine::new(
            <&UserId>::try_from(part("user_id")?)?,
            <&DeviceId>::from(part("device_id")?),
        )
        .await;
        Ok(Self {
            http,
            base: base.to_owned(),
            token: part("access_token")?.to_owned(),
            machine,
            echo,
            waiting: RefCell::default(),
            transactions: RefCell::default(),
        })
    }

    /// One call, repeated while the server cannot be reached or asks to wait.
    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        loop {
            let url = format!("{}/_matrix/client/v3{path}", self.base);
            let mut request = self
                .http
                .request(method.clone(), url)
                .bearer_auth(&self.token)
                .timeout(Duration::from_secs(60));
            if let Some(body) = body {
                request = request.header("content-type", "application/json").body(body.to_string());
            }
            let pause = match request.send().await {
                Ok(answer) if answer.status().is_success() => match answer.text().await {
                    Ok(text) => return serde_json::from_str(&text).context("not JSON"),
                    Err(_) => Duration::from_millis(200),
                },
                Ok(answer) if answer.status().is_server_error() => Duration::from_millis(200),
                Ok(answer) if answer.status() == 429 => {
                    let text = answer.text().await.unwrap_or_default();
                    let wait = serde_json::from_str::<Value>(&text)
                        .ok()
                        .and_then(|v| v["retry_after_ms"].as_u64());
                    Duration::from_millis(wait.unwrap_or(500))
                }
                Ok(answer) => bail!("{path}: {}", answer.text().await.unwrap_or_default()),
                Err(_) => Duration::from_millis(200),
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn follow(&self, mut since: String) -> Result<()> {
        loop {
            since = self.sync(Some(&since)).await?;
        }
    }

    /// One sync: keys first, then invites, then room events.
    async fn sync(&self, since: Option<&str>) -> Result<String> {
        let path = since.map_or("/sync?timeout=0".to_owned(), |since| {
            format!("/sync?timeout=30000&since={since}")
        });
        let answer = self.call(Method::GET, &path, None).await?;
        let next = answer["next_batch"].as_str().context("no next_batch")?.to_owned();
        self.take_keys(&answer, &next).await?;
        self.flush().await?;
        for (room, _) in answer["rooms"]["invite"].as_object().into_iter().flatten() {
            self.call(Method::POST, &format!("/join/{room}"), Some(&json!({}))).await?;
            say(json!({"k": "joined", "room": room}));
        }
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        for (room, event) in waiting {
            self.show(&room, event, "late").await?;
        }
        for (room, delta) in answer["rooms"]["join"].as_object().into_iter().flatten() {
            let room = RoomId::parse(room)?;
            for event in delta["timeline"]["events"].as_array().into_iter().flatten() {
                self.show(&room, event.clone(), "decrypted").await?;
            }
        }
        self.flush().await?;
        Ok(next)
    }

    async fn take_keys(&self, answer: &Value, next: &str) -> Result<()> {
        let lists: DeviceLists =
            serde_json::from_value(answer["device_lists"].clone()).unwrap_or_default();
        let counts: BTreeMap<OneTimeKeyAlgorithm, UInt> =
            serde_json::from_value(answer["device_one_time_keys_count"].clone())
                .unwrap_or_default();
        let unused: Option<Vec<OneTimeKeyAlgorithm>> =
            serde_json::from_value(answer["device_unused_fallback_key_types"].clone())
                .unwrap_or_default();
        let events =
            serde_json::from_value(answer["to_device"]["events"].clone()).unwrap_or_default();
        let changes = EncryptionSyncChanges {
            to_device_events: events,
            changed_devices: &lists,
            one_time_keys_counts: &counts,
            unused_fallback_keys: unused.as_deref(),
            next_batch_token: Some(next.to_owned()),
        };
        self.machine.receive_sync_changes(changes, &TRUST).await?;
        Ok(())
    }

    /// Sends what the machine wants sent, until it wants nothing.
    async fn flush(&self) -> Result<()> {
        for request in self.machine.outgoing_requests().await? {
            let id = request.request_id();
            match request.request() {
                AnyOutgoingRequest::KeysUpload(upload) => {
                    let mut body = json!({"one_time_keys": upload.one_time_keys, "fallback_keys": upload.fallback_keys});
                    if let Some(keys) = &upload.device_keys {
                        body["device_keys"] = serde_json::to_value(keys)?;
                    }
                    let answer = self.call(Method::POST, "/keys/upload", Some(&body)).await?;
                    self.machine
                        .mark_request_as_sent(
                            id,
                            &typed::<keys::upload_keys::v3::Response>(&answer)?,
                        )
                        .await?;
                }
                AnyOutgoingRequest::KeysQuery(query) => {
                    let body = json!({"device_keys": query.device_keys});
                    let answer = self.call(Method::POST, "/keys/query", Some(&body)).await?;
                    self.machine
                        .mark_request_as_sent(id, &typed::<keys::get_keys::v3::Response>(&answer)?)
                        .await?;
                }
                AnyOutgoingRequest::KeysClaim(claim) => {
                    let body = json!({"one_time_keys": claim.one_time_keys});
                    let answer = self.call(Method::POST, "/keys/claim", Some(&body)).await?;
                    self.machine
                        .mark_request_as_sent(
                            id,
                            &typed::<keys::claim_keys::v3::Response>(&answer)?,
                        )
                        .await?;
                }
                AnyOutgoingRequest::ToDeviceRequest(request) => self.to_device(request).await?,
                AnyOutgoingRequest::SignatureUpload(_) | AnyOutgoingRequest::RoomMessage(_) => {
                    bail!("not asked for")
                }
            }
        }
        Ok(())
    }

    async fn to_device(&self, request: &ToDeviceRequest) -> Result<()> {
        let path = format!("/sendToDevice/{}/{}", request.event_type, request.txn_id);
        let answer =
            self.call(Method::PUT, &path, Some(&json!({"messages": request.messages}))).await?;
        let answer = typed::<to_device::send_event_to_device::v3::Response>(&answer)?;
        Ok(self.machine.mark_request_as_sent(&request.txn_id, &answer).await?)
    }

    async fn show(&self, room: &RoomId, event: Value, kind: &str) -> Result<()> {
        let (id, sender) = (event["event_id"].clone(), event["sender"].clone());
        if event["type"] != "m.room.encrypted" {
            say(
                json!({"k": "plain", "room": room, "event": id, "sender": sender, "type": event["type"],
                "content": event["content"]}),
            );
            return Ok(());
        }
        let raw = Raw::from_json(serde_json::value::to_raw_value(&event)?);
        let Ok(decrypted) = self.machine.decrypt_room_event(&raw, room, &TRUST).await else {
            if kind != "late" {
                say(json!({"k": "undecryptable", "room": room, "event": id, "sender": sender,
                    "session": event["content"]["session_id"]}));
            }
            self.waiting.borrow_mut().push((room.to_owned(), event));
            return Ok(());
        };
        let inner: Value = decrypted.event.deserialize_as_unchecked()?;
        let content = inner["content"].clone();
        say(
            json!({"k": kind, "room": room, "event": id, "sender": sender, "type": inner["type"], "content": content}),
        );
        let own = sender == self.machine.user_id().as_str();
        if self.echo
            && !own
            && content["msgtype"] == "m.text"
            && content.get("m.new_content").is_none()
        {
            let body = format!("echo: {}", content["body"].as_str().unwrap_or_default());
            self.send(room, "m.room.message", &json!({"msgtype": "m.notice", "body": body}))
                .await?;
        }
        Ok(())
    }

    async fn members(&self, room: &RoomId) -> Result<Vec<OwnedUserId>> {
        let answer = self
            .call(Method::GET, &format!("/rooms/{room}/members?not_membership=leave"), None)
            .await?;
        let events = answer["chunk"].as_array().context("no members")?;
        Ok(events
            .iter()
            .filter(|event| {
                matches!(event["content"]["membership"].as_str(), Some("join" | "invite"))
            })
            .filter_map(|event| UserId::parse(event["state_key"].as_str()?).ok())
            .collect())
    }

    async fn send(&self, room: &RoomId, kind: &str, content: &Value) -> Result<Value> {
        let members = self.members(room).await?;
        let members = || members.iter().map(|user| &**user);
        self.machine.update_tracked_users(members()).await?;
        self.flush().await?;
        if let Some((id, claim)) = self.machine.get_missing_sessions(members()).await? {
            let body = json!({"one_time_keys": claim.one_time_keys});
            let answer = self.call(Method::POST, "/keys/claim", Some(&body)).await?;
            self.machine
                .mark_request_as_sent(&id, &typed::<keys::claim_keys::v3::Response>(&answer)?)
                .await?;
        }
        for request in
            self.machine.share_room_key(room, members(), EncryptionSettings::default()).await?
        {
            self.to_device(&request).await?;
        }
        let raw = Raw::from_json(serde_json::value::to_raw_value(content)?);
        let encrypted = self.machine.encrypt_room_event_raw(room, kind, &raw).await?;
        let content = serde_json::to_value(&encrypted.content)?;
        let txn = {
            let mut transactions = self.transactions.borrow_mut();
            *transactions += 1;
            *transactions
        };
        let path = format!("/rooms/{room}/send/m.room.encrypted/sdk{txn}");
        Ok(self.call(Method::PUT, &path, Some(&content)).await?["event_id"].clone())
    }

    async fn obey_all(&self) -> Result<()> {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Some(line) = lines.next_line().await? {
            let command: Value = serde_json::from_str(&line)?;
            let mut answer = match self.obey(&command).await {
                Ok(answer) => answer,
                Err(error) => json!({"error": format!("{error:#}")}),
            };
            answer["k"] = json!("answer");
            answer["id"] = command["id"].clone();
            say(answer);
        }
        Ok(())
    }

    async fn obey(&self, command: &Value) -> Result<Value> {
        let text = |name: &str| command[name].as_str().with_context(|| format!("no {name}"));
        let what = text("do")?;
        if what == "create" {
            return self.create(command).await;
        }
        let room = RoomId::parse(text("room")?)?;
        let user = json!({"user_id": command["user"]});
        match what {
            "send" => {
                let kind = command["type"].as_str().unwrap_or("m.room.message");
                let called = now();
                let event = self.send(&room, kind, &command["content"]).await?;
                Ok(json!({"event": event, "called": called}))
            }
            "burst" => {
                let mut events = Vec::new();
                for content in command["contents"].as_array().into_iter().flatten() {
                    events.push(self.send(&room, "m.room.message", content).await?);
                }
                Ok(json!({"events": events}))
            }
            "rotate" => Ok(json!({"rotated": self.machine.discard_room_key(&room).await?})),
            "invite" | "kick" => {
                self.call(Method::POST, &format!("/rooms/{room}/{what}"), Some(&user)).await
            }
            "join" | "leave" => {
                self.call(Method::POST, &format!("/rooms/{room}/{what}"), Some(&json!({}))).await
            }
            other => Err(anyhow!("unknown command {other}")),
        }
    }

    async fn create(&self, command: &Value) -> Result<Value> {
        let mut body = json!({"preset": "private_chat", "invite": command["invite"], "initial_state": [{
            "type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}]});
        if command["name"].is_string() {
            body["name"] = command["name"].clone();
        }
        let answer = self.call(Method::POST, "/createRoom", Some(&body)).await?;
        Ok(json!({"room": answer["room_id"]}))
    }
}

/// Reads an answer as the type the machine wants.
fn typed<R: IncomingResponse>(answer: &Value) -> Result<R> {
    let response = http::Response::builder().status(200).body(answer.to_string().into_bytes())?;
    R::try_from_http_response(response).map_err(|error| anyhow!("unexpected answer: {error}"))
}

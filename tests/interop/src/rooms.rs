//! Rooms: their events in and out.
//!
//! * `{"do": "create", "name"?, "invite", "visibility"?, "encrypted"?, "state"?}` -> `{"room"}`
//! * `{"do": "send", "room", "type"?, "content"}` -> `{"event", "called"}` · `{"do": "burst", "room", "contents"}` -> `{"events"}`
//! * `{"do": "rotate" | "join" | "leave", "room"}` · `{"do": "invite" | "kick", "room", "user"}` ·
//!   `{"do": "redact", "room", "event"}`
//! * `{"do": "look", "event"}` -> `{"device", "shield"}`: where an encrypted event comes from, as of now; or `{"undecryptable"}`

use anyhow::{Context, Result};
use matrix_sdk_common::deserialized_responses::{DecryptedRoomEvent, VerificationState};
use matrix_sdk_crypto::{EncryptionSettings, MegolmError};
use reqwest::Method;
use ruma::{OwnedUserId, RoomId, UserId, events::AnyMessageLikeEvent, serde::Raw};
use serde_json::{Value, json};

use crate::{command::Command, now, peer::Peer, say};

impl Peer {
    /// Tells of an event, decrypted if it can be; answers it if that is wanted.
    pub async fn show(&self, room: &RoomId, event: Value, kind: &str) -> Result<()> {
        let (id, sender) = (event["event_id"].clone(), event["sender"].clone());
        if event["type"] != "m.room.encrypted" {
            say(
                json!({"k": "plain", "room": room, "event": id, "sender": sender, "type": event["type"],
                "content": event["content"]}),
            );
            return Ok(());
        }
        let name = id.as_str().unwrap_or_default().to_owned();
        self.seen.borrow_mut().insert(name, (room.to_owned(), event.clone()));
        let decrypted = match self.decrypt(room, &event).await? {
            Ok(decrypted) => decrypted,
            Err(why) => {
                if kind != "late" {
                    say(json!({"k": "undecryptable", "room": room, "event": id, "sender": sender,
                        "session": event["content"]["session_id"], "why": why.to_string(), "withheld": withheld(&why)}));
                    self.request_key(room, &event).await?;
                }
                self.waiting.borrow_mut().push((room.to_owned(), event));
                return Ok(());
            }
        };
        let inner: Value = decrypted.event.deserialize_as_unchecked()?;
        if let Ok(event) = decrypted.event.deserialize_as_unchecked::<AnyMessageLikeEvent>() {
            self.machine.receive_verification_event(&event).await?;
        }
        let content = inner["content"].clone();
        say(
            json!({"k": kind, "room": room, "event": id, "sender": sender, "type": inner["type"], "content": content,
            "session": event["content"]["session_id"], "device": decrypted.encryption_info.sender_device,
            "shield": shield(&decrypted)}),
        );
        let own = sender == self.machine.user_id().as_str();
        if self.options.echo
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

    async fn decrypt(
        &self,
        room: &RoomId,
        event: &Value,
    ) -> Result<Result<DecryptedRoomEvent, MegolmError>> {
        let raw = Raw::from_json(serde_json::value::to_raw_value(event)?);
        Ok(self.machine.decrypt_room_event(&raw, room, &self.reading()).await)
    }

    /// Asks own devices for a key, if that is wanted at all.
    async fn request_key(&self, room: &RoomId, event: &Value) -> Result<()> {
        if self.options.ask_keys {
            let raw = Raw::from_json(serde_json::value::to_raw_value(event)?);
            self.machine.request_room_key(&raw, room).await?;
            self.flush().await?;
        }
        Ok(())
    }

    /// Decrypts what can be decrypted by now.
    pub async fn retry(&self) -> Result<()> {
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        for (room, event) in waiting {
            self.show(&room, event, "late").await?;
        }
        Ok(())
    }

    /// Where an event comes from, as of now.
    pub async fn look(&self, command: &Command) -> Result<Value> {
        let seen = self.seen.borrow().get(command.text("event")?).cloned();
        let (room, event) = seen.context("no such encrypted event came")?;
        Ok(match self.decrypt(&room, &event).await? {
            Ok(event) => {
                json!({"device": event.encryption_info.sender_device, "shield": shield(&event),
                "forwarder": event.encryption_info.forwarder.as_ref().map(|it| it.user_id.clone())})
            }
            Err(why) => json!({"undecryptable": why.to_string(), "withheld": withheld(&why)}),
        })
    }

    async fn members(&self, room: &RoomId) -> Result<Vec<OwnedUserId>> {
        let path = format!("/rooms/{room}/members?not_membership=leave");
        let answer = self.call(Method::GET, &path, None).await?;
        let events = answer["chunk"].as_array().context("no members")?;
        let inside = |event: &&Value| {
            matches!(event["content"]["membership"].as_str(), Some("join" | "invite"))
        };
        let users = events.iter().filter(inside).filter_map(|event| event["state_key"].as_str());
        Ok(users.filter_map(|user| UserId::parse(user).ok()).collect())
    }

    /// Gives these users' devices sessions with this one.
    pub async fn reach(&self, users: &[OwnedUserId]) -> Result<()> {
        let users = || users.iter().map(|user| &**user);
        self.machine.update_tracked_users(users()).await?;
        self.flush().await?;
        if let Some((id, claim)) = self.machine.get_missing_sessions(users()).await? {
            self.keys_claim(&id, &claim).await?;
        }
        Ok(())
    }

    fn settings(&self, room: &RoomId) -> EncryptionSettings {
        let known = self.rooms.borrow().get(room).cloned();
        let sharing_strategy = self.options.share_with.clone();
        known.unwrap_or_else(|| EncryptionSettings {
            sharing_strategy,
            ..EncryptionSettings::default()
        })
    }

    /// Encrypts an event for all members and sends it.
    pub async fn send(&self, room: &RoomId, kind: &str, content: &Value) -> Result<Value> {
        let members = self.members(room).await?;
        self.reach(&members).await?;
        let users = members.iter().map(|user| &**user);
        for request in self.machine.share_room_key(room, users, self.settings(room)).await? {
            self.to_device(&request).await?;
        }
        let raw = Raw::from_json(serde_json::value::to_raw_value(content)?);
        let encrypted = self.machine.encrypt_room_event_raw(room, kind, &raw).await?;
        let content = serde_json::to_value(&encrypted.content)?;
        let path = format!("/rooms/{room}/send/m.room.encrypted/{}", self.transaction());
        Ok(self.call(Method::PUT, &path, Some(&content)).await?["event_id"].clone())
    }

    /// Joins; keys of the room's history are taken from whoever invited it.
    pub async fn join(&self, room: &RoomId) -> Result<Value> {
        let inviter = self.inviters.borrow().get(room).cloned();
        if let Some(inviter) = inviter {
            self.machine.store().store_room_pending_key_bundle(room, &inviter).await?;
        }
        let answer = self.call(Method::POST, &format!("/join/{room}"), Some(&json!({}))).await?;
        say(json!({"k": "joined", "room": room}));
        Ok(answer)
    }

    pub async fn create(&self, command: &Command) -> Result<Value> {
        let mut state = command["state"].as_array().cloned().unwrap_or_default();
        if command["encrypted"] != false {
            state.push(json!({"type": "m.room.encryption", "state_key": "",
                "content": {"algorithm": "m.megolm.v1.aes-sha2"}}));
        }
        if command["visibility"].is_string() {
            state.push(json!({"type": "m.room.history_visibility", "state_key": "",
                "content": {"history_visibility": command["visibility"]}}));
        }
        let mut body =
            json!({"preset": "private_chat", "invite": command["invite"], "initial_state": state});
        if command["preset"].is_string() {
            body["preset"] = command["preset"].clone();
        }
        if command["name"].is_string() {
            body["name"] = command["name"].clone();
        }
        let answer = self.call(Method::POST, "/createRoom", Some(&body)).await?;
        Ok(json!({"room": answer["room_id"]}))
    }

    pub async fn send_commanded(&self, command: &Command) -> Result<Value> {
        let kind = command["type"].as_str().unwrap_or("m.room.message");
        let called = now();
        let event = self.send(command.room()?, kind, &command["content"]).await?;
        Ok(json!({"event": event, "called": called}))
    }

    pub async fn burst(&self, command: &Command) -> Result<Value> {
        let mut events = Vec::new();
        for content in command["contents"].as_array().into_iter().flatten() {
            events.push(self.send(command.room()?, "m.room.message", content).await?);
        }
        Ok(json!({"events": events}))
    }

    pub async fn redact(&self, command: &Command) -> Result<Value> {
        let (room, event) = (command.room()?, command.text("event")?);
        let path = format!("/rooms/{room}/redact/{event}/{}", self.transaction());
        self.call(Method::PUT, &path, Some(&json!({}))).await
    }
}

/// What the machine thinks of an event's sender, in a word.
fn shield(event: &DecryptedRoomEvent) -> String {
    match &event.encryption_info.verification_state {
        VerificationState::Verified => "verified".to_owned(),
        VerificationState::Unverified(level) => format!("{level:?}"),
    }
}

fn withheld(why: &MegolmError) -> Option<String> {
    match why {
        MegolmError::MissingRoomKey(code) => code.as_ref().map(|code| code.as_str().to_owned()),
        _ => None,
    }
}

//! Commands on standard input, one JSON object a line; each gets one answer, in order.

use std::ops::Deref;

use anyhow::{Context, Result, anyhow};
use reqwest::Method;
use ruma::{DeviceId, RoomId, UserId};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{peer::Peer, say};

/// One order.
pub struct Command(Value);

impl Deref for Command {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.0
    }
}

impl Command {
    pub fn text(&self, name: &str) -> Result<&str> {
        self[name].as_str().with_context(|| format!("no {name}"))
    }

    pub fn room(&self) -> Result<&RoomId> {
        Ok(<&RoomId>::try_from(self.text("room")?)?)
    }

    pub fn user(&self) -> Result<&UserId> {
        Ok(<&UserId>::try_from(self.text("user")?)?)
    }

    pub fn device(&self) -> Result<&DeviceId> {
        Ok(<&DeviceId>::from(self.text("device")?))
    }
}

impl Peer {
    /// Obeys until there are no more orders.
    pub async fn obey_all(&self) -> Result<()> {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Some(line) = lines.next_line().await? {
            let command = Command(serde_json::from_str(&line)?);
            let mut answer = match self.obey(&command).await {
                Ok(answer) => answer,
                Err(error) => json!({"error": format!("{error:#}")}),
            };
            answer["k"] = json!("answer");
            answer["id"] = command["id"].clone();
            self.tell_flows().await?;
            say(answer);
        }
        Ok(())
    }

    async fn obey(&self, command: &Command) -> Result<Value> {
        match command.text("do")? {
            "create" => self.create(command).await,
            "send" => self.send_commanded(command).await,
            "burst" => self.burst(command).await,
            "rotate" => {
                Ok(json!({"rotated": self.machine.discard_room_key(command.room()?).await?}))
            }
            "redact" => self.redact(command).await,
            "join" => self.join(command.room()?).await,
            "leave" => {
                let path = format!("/rooms/{}/leave", command.room()?);
                self.call(Method::POST, &path, Some(&json!({}))).await
            }
            what @ ("invite" | "kick") => {
                let path = format!("/rooms/{}/{what}", command.room()?);
                self.call(Method::POST, &path, Some(&json!({"user_id": command["user"]}))).await
            }
            "look" => self.look(command).await,
            "name" => {
                let path = format!("/profile/{}/displayname", self.machine.user_id());
                self.call(Method::PUT, &path, Some(&json!({"displayname": command["name"]}))).await
            }
            "log_out" => {
                self.gone.set(true);
                self.call(Method::POST, "/logout", Some(&json!({}))).await
            }
            "bootstrap" | "reset_identity" | "own" | "user" | "acknowledge" | "withdraw"
            | "trust" | "ask_secrets" | "await_secrets" | "sign_device" => {
                self.obey_identity(command).await
            }
            "verify" | "verify_accept" | "verify_start" | "verify_confirm" | "verify_mismatch"
            | "verify_cancel" | "qr_show" | "qr_scan" => self.obey_verification(command).await,
            "storage_create" | "storage_open" | "storage_put" | "storage_get" => {
                self.obey_storage(command).await
            }
            "backup_create" | "backup_connect" | "backup_upload" | "backup_restore"
            | "backup_state" => self.obey_backup(command).await,
            "keys_export" | "keys_import" => self.obey_keys(command).await,
            "upload" | "download" => self.obey_files(command).await,
            "history_share" | "history_take" => self.obey_history(command).await,
            "dehydrate" | "rehydrate" => self.obey_dehydrated(command).await,
            other => Err(anyhow!("unknown command {other}")),
        }
    }
}

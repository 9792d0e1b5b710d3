//! Keys of a room's history for whom one invites (MSC4268).
//!
//! * `{"do": "history_share", "room", "user"}` -> `{"keys", "withheld", "devices"}`: to be called before the invitation
//! * `{"do": "history_take", "room"}` -> `{"keys"}`: waits for what the inviter shares, and takes it

use std::time::Duration;

use anyhow::{Context, Result, bail};
use matrix_sdk_crypto::types::{
    events::room_key_bundle::RoomKeyBundleContent, room_history::RoomKeyBundle,
};
use serde_json::{Value, json};

use crate::{command::Command, peer::Peer};

impl Peer {
    pub async fn obey_history(&self, command: &Command) -> Result<Value> {
        match command.text("do")? {
            "history_share" => self.share_history(command).await,
            "history_take" => self.take_history(command).await,
            other => bail!("unknown command {other}"),
        }
    }

    async fn share_history(&self, command: &Command) -> Result<Value> {
        let (room, user) = (command.room()?, command.user()?);
        let bundle = self.machine.store().build_room_key_bundle(room).await?;
        let (keys, withheld) = (bundle.room_keys.len(), bundle.withheld.len());
        let file = self.upload_encrypted(&serde_json::to_vec(&bundle)?).await?;
        self.reach(&[user.to_owned()]).await?;
        let content = RoomKeyBundleContent { room_id: room.to_owned(), file };
        let requests = self
            .machine
            .share_room_key_bundle_data(user, &self.options.share_with, content)
            .await?;
        let mut devices = 0;
        for request in &requests {
            devices += request.message_count();
            self.to_device(request).await?;
        }
        Ok(json!({"keys": keys, "withheld": withheld, "devices": devices}))
    }

    async fn take_history(&self, command: &Command) -> Result<Value> {
        let room = command.room()?;
        let inviter = self.inviters.borrow().get(room).cloned().context("not invited")?;
        let give_up = tokio::time::Instant::now() + Duration::from_secs(60);
        let store = self.machine.store();
        let data = loop {
            match store.get_received_room_key_bundle_data(room, &inviter).await? {
                Some(data) => break data,
                None if tokio::time::Instant::now() > give_up => bail!("no history came"),
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        let clear = self.download_encrypted(data.bundle_data.file.clone()).await?;
        let bundle: RoomKeyBundle = serde_json::from_slice(&clear)?;
        let keys = bundle.room_keys.len();
        self.refresh(std::iter::once(&*inviter)).await?;
        store.receive_room_key_bundle(&data, bundle, |_, _| {}).await?;
        store.clear_room_pending_key_bundle(room).await?;
        self.retry().await?;
        Ok(json!({"keys": keys}))
    }
}

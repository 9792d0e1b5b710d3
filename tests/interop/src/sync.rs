//! Follows the server: keys first, then invitations, then room events.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use matrix_sdk_crypto::{EncryptionSettings, EncryptionSyncChanges};
use reqwest::Method;
use ruma::{
    OneTimeKeyAlgorithm, RoomId, UInt, UserId,
    api::client::sync::sync_events::DeviceLists,
    events::room::{encryption::RoomEncryptionEventContent, history_visibility::HistoryVisibility},
};
use serde_json::{Value, json};

use crate::{peer::Peer, say};

/// `{"room":{"timeline":{"limit":1000}}}`: what a limited timeline leaves out is not asked for here, so
/// that a slow machine would look like a loss.
const WHOLE: &str = "%7B%22room%22%3A%7B%22timeline%22%3A%7B%22limit%22%3A1000%7D%7D%7D";

impl Peer {
    /// Syncs for ever.
    pub async fn follow(&self, mut since: String) -> Result<()> {
        loop {
            match self.sync(Some(&since)).await {
                Ok(next) => since = next,
                Err(_) if self.gone.get() => return std::future::pending().await,
                Err(error) => return Err(error),
            }
        }
    }

    /// One sync.
    pub async fn sync(&self, since: Option<&str>) -> Result<String> {
        let moment =
            since.map_or("timeout=0".to_owned(), |since| format!("timeout=30000&since={since}"));
        let path = format!("/sync?filter={WHOLE}&{moment}");
        let answer = self.call(Method::GET, &path, None).await?;
        let next = answer["next_batch"].as_str().context("no next_batch")?.to_owned();
        self.take_keys(&answer, &next).await?;
        self.flush().await?;
        for (room, delta) in answer["rooms"]["invite"].as_object().into_iter().flatten() {
            self.take_invite(<&RoomId>::try_from(room.as_str())?, delta).await?;
        }
        self.retry().await?;
        for (room, delta) in answer["rooms"]["join"].as_object().into_iter().flatten() {
            let room = RoomId::parse(room)?;
            let state = delta["state"]["events"].as_array().into_iter().flatten();
            let timeline = delta["timeline"]["events"].as_array().into_iter().flatten();
            self.take_state(&room, state.chain(timeline.clone())).await?;
            for event in timeline {
                self.show(&room, event.clone(), "decrypted").await?;
            }
        }
        self.flush().await?;
        self.tell_flows().await?;
        Ok(next)
    }

    async fn take_invite(&self, room: &RoomId, delta: &Value) -> Result<()> {
        let events = delta["invite_state"]["events"].as_array().into_iter().flatten();
        let mut own = events.filter(|event| event["state_key"] == self.machine.user_id().as_str());
        if let Some(inviter) = own.find_map(|event| UserId::parse(event["sender"].as_str()?).ok()) {
            self.inviters.borrow_mut().insert(room.to_owned(), inviter);
        }
        say(json!({"k": "invited", "room": room}));
        if self.options.join {
            self.join(room).await?;
        }
        Ok(())
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
        self.machine.receive_sync_changes(changes, &self.reading()).await?;
        Ok(())
    }

    /// What the room's state says of its keys: its settings, and whose devices to follow.
    async fn take_state<'a>(
        &self,
        room: &RoomId,
        events: impl Iterator<Item = &'a Value>,
    ) -> Result<()> {
        let mut members = Vec::new();
        for event in events.filter(|event| event["state_key"].is_string()) {
            let content = &event["content"];
            match event["type"].as_str() {
                Some("m.room.member") => {
                    members.extend(event["state_key"].as_str().map(UserId::parse))
                }
                Some("m.room.encryption") => {
                    let content: RoomEncryptionEventContent =
                        serde_json::from_value(content.clone())?;
                    self.set(room, |settings| {
                        let (history, sharing) = (
                            settings.history_visibility.clone(),
                            settings.sharing_strategy.clone(),
                        );
                        *settings = EncryptionSettings::new(content, history, sharing);
                    });
                }
                Some("m.room.history_visibility") => {
                    let visibility: HistoryVisibility =
                        serde_json::from_value(content["history_visibility"].clone())?;
                    self.set(room, |settings| settings.history_visibility = visibility);
                }
                _ => {}
            }
        }
        let members: Vec<_> = members.into_iter().flatten().collect();
        self.machine.update_tracked_users(members.iter().map(|user| &**user)).await?;
        self.flush().await
    }

    fn set(&self, room: &RoomId, change: impl FnOnce(&mut EncryptionSettings)) {
        let sharing_strategy = self.options.share_with.clone();
        let fresh = || EncryptionSettings { sharing_strategy, ..EncryptionSettings::default() };
        change(self.rooms.borrow_mut().entry(room.to_owned()).or_insert_with(fresh));
    }
}

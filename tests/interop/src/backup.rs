//! Key backup on the server.
//!
//! * `{"do": "backup_create"}` -> `{"version", "recovery_key"}`: a new version, signed by device and identity
//! * `{"do": "backup_connect", "key"?}` -> `{"connected"}`: by this key (base58 or base64), or by the one that another device sent
//! * `{"do": "backup_upload"}` -> `{"keys"}`: everything · `{"do": "backup_restore"}` -> `{"total", "imported", "failed"}`
//! * `{"do": "backup_state"}` -> `{"version"?, "trusted", "total", "backed_up", "has_key"}`, of the server's newest version

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use matrix_sdk_crypto::{
    olm::ExportedRoomKey,
    store::types::BackupDecryptionKey,
    types::{RoomKeyBackupInfo, requests::AnyIncomingResponse},
};
use reqwest::Method;
use ruma::{
    OwnedRoomId,
    api::client::backup::{EncryptedSessionData, add_backup_keys},
    events::secret::request::SecretName,
};
use serde_json::{Value, json};

use crate::{command::Command, http::typed, peer::Peer};

impl Peer {
    pub async fn obey_backup(&self, command: &Command) -> Result<Value> {
        match command.text("do")? {
            "backup_create" => self.create_backup().await,
            "backup_connect" => {
                let connected = match command["key"].as_str() {
                    Some(key) => self.connect_backup(key).await?,
                    None => self.connect_by_gossip().await?,
                };
                Ok(json!({"connected": connected}))
            }
            "backup_upload" => self.upload_backup().await,
            "backup_restore" => self.restore_backup().await,
            "backup_state" => self.backup_state().await,
            other => bail!("unknown command {other}"),
        }
    }

    async fn create_backup(&self) -> Result<Value> {
        let key = BackupDecryptionKey::new();
        let mut info = key.to_backup_info();
        self.machine.backup_machine().sign_backup(&mut info).await?;
        let body = serde_json::to_value(&info)?;
        let answer = self.call(Method::POST, "/room_keys/version", Some(&body)).await?;
        let version = answer["version"].as_str().context("no version")?.to_owned();
        let recovery_key = key.to_base58();
        self.use_backup(key, version.clone()).await?;
        Ok(json!({"version": version, "recovery_key": recovery_key}))
    }

    async fn use_backup(&self, key: BackupDecryptionKey, version: String) -> Result<()> {
        let public = key.megolm_v1_public_key();
        public.set_version(version.clone());
        let machine = self.machine.backup_machine();
        machine.enable_backup_v1(public).await?;
        Ok(machine.save_decryption_key(Some(key), Some(version)).await?)
    }

    /// The newest version on the server.
    pub async fn version(&self) -> Result<Option<(String, RoomKeyBackupInfo)>> {
        let path = "/_matrix/client/v3/room_keys/version";
        let (found, answer) = self.try_call(Method::GET, path, None).await?;
        if !found {
            return Ok(None);
        }
        let version = answer["version"].as_str().context("no version")?.to_owned();
        Ok(Some((version, serde_json::from_value(answer)?)))
    }

    /// Uses the newest version, if this is its key.
    pub async fn connect_backup(&self, key: &str) -> Result<bool> {
        let key = BackupDecryptionKey::from_base64(key)
            .or_else(|_| BackupDecryptionKey::from_base58(key))?;
        let Some((version, info)) = self.version().await? else { return Ok(false) };
        if !key.backup_key_matches(&info) {
            return Ok(false);
        }
        self.use_backup(key, version).await?;
        Ok(true)
    }

    /// Uses a key that a verified device of its own sent.
    pub async fn connect_by_gossip(&self) -> Result<bool> {
        for key in self.machine.store().get_secrets_from_inbox(&SecretName::RecoveryKey).await? {
            if self.connect_backup(&key).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn upload_backup(&self) -> Result<Value> {
        let mut keys = 0;
        while let Some((id, request)) = self.machine.backup_machine().backup().await? {
            keys += request.rooms.values().map(|room| room.sessions.len()).sum::<usize>();
            let path = format!("/room_keys/keys?version={}", request.version);
            let body = json!({"rooms": request.rooms});
            let answer = self.call(Method::PUT, &path, Some(&body)).await?;
            let answer = typed::<add_backup_keys::v3::Response>(&answer)?;
            self.machine
                .mark_request_as_sent(&id, AnyIncomingResponse::KeysBackup(&answer))
                .await?;
        }
        Ok(json!({"keys": keys}))
    }

    async fn restore_backup(&self) -> Result<Value> {
        let keys = self.machine.backup_machine().get_backup_keys().await?;
        let key = keys.decryption_key.context("not connected")?;
        let version = keys.backup_version.context("no version")?;
        let answer =
            self.call(Method::GET, &format!("/room_keys/keys?version={version}"), None).await?;
        let rooms: BTreeMap<OwnedRoomId, Value> = serde_json::from_value(answer["rooms"].clone())?;
        let (mut good, mut failed) = (Vec::new(), 0);
        for (room, content) in rooms {
            for (session, entry) in content["sessions"].as_object().into_iter().flatten() {
                let data: EncryptedSessionData =
                    serde_json::from_value(entry["session_data"].clone())?;
                match key.decrypt_session_data(data) {
                    Ok(found) => {
                        good.push(ExportedRoomKey::from_backed_up_room_key(
                            room.clone(),
                            session.clone(),
                            found,
                        ));
                    }
                    Err(_) => failed += 1,
                }
            }
        }
        let imported =
            self.machine.store().import_room_keys(good, Some(&version), |_, _| {}).await?;
        self.retry().await?;
        Ok(
            json!({"total": imported.total_count, "imported": imported.imported_count, "failed": failed}),
        )
    }

    async fn backup_state(&self) -> Result<Value> {
        let machine = self.machine.backup_machine();
        let counts = machine.room_key_counts().await?;
        let has_key = machine.get_backup_keys().await?.decryption_key.is_some();
        let (version, trusted) = match self.version().await? {
            Some((version, info)) => {
                (Some(version), machine.verify_backup(info, true).await?.trusted())
            }
            None => (None, false),
        };
        Ok(
            json!({"version": version, "trusted": trusted, "total": counts.total, "backed_up": counts.backed_up,
            "has_key": has_key}),
        )
    }
}

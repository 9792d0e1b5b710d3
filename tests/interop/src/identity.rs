//! Cross-signing: one's own identity, and what is thought of others'.
//!
//! * `{"do": "bootstrap"}`, `{"do": "reset_identity"}` -> as `own`
//! * `{"do": "own"}` -> `{"master", "has": {"master", "self_signing", "user_signing", "backup"}, "verified", "device_signed"}`
//! * `{"do": "user", "user"}` -> `{"master"?, "verified", "changed", "violation", "was_verified", "devices": [{"device",
//!   "cross_signed", "verified", "dehydrated", "ed25519"}]}`, freshly asked of the server
//! * `{"do": "acknowledge" | "withdraw", "user"}`: takes a changed identity for the user's; no longer wants it verified
//! * `{"do": "trust", "user", "device", "state": "blocked" | "ignored" | "verified" | "unset"}`: of this device alone
//! * `{"do": "ask_secrets"}` -> `{"asked"}`: asks own verified devices for what is missing
//! * `{"do": "await_secrets"}` -> as `own`, once all of the identity has come, and the key of the backup if there is one
//! * `{"do": "sign_device", "device"}`: signs another device of its own, without verification

use std::time::Duration;

use anyhow::{Context, Result, bail};
use matrix_sdk_crypto::{
    LocalTrust, UserIdentity,
    types::requests::{AnyIncomingResponse, UploadSigningKeysRequest},
};
use ruma::{TransactionId, UserId, api::client::keys::upload_signing_keys};
use serde_json::{Value, json};

use crate::{command::Command, peer::Peer};

impl Peer {
    pub async fn obey_identity(&self, command: &Command) -> Result<Value> {
        match command.text("do")? {
            "bootstrap" => self.bootstrap(false).await,
            "reset_identity" => self.bootstrap(true).await,
            "own" => self.own().await,
            "user" => self.user(command.user()?).await,
            "acknowledge" => {
                self.identity(command.user()?).await?.pin().await?;
                self.user(command.user()?).await
            }
            "withdraw" => {
                self.identity(command.user()?).await?.withdraw_verification().await?;
                self.user(command.user()?).await
            }
            "trust" => self.trust(command).await,
            "ask_secrets" => {
                let asked = self.machine.query_missing_secrets_from_other_sessions().await?;
                self.flush().await?;
                Ok(json!({"asked": asked}))
            }
            "await_secrets" => self.await_secrets().await,
            "sign_device" => {
                let user = self.machine.user_id();
                self.refresh(std::iter::once(user)).await?;
                let device = self.machine.get_device(user, command.device()?, None).await?;
                self.signatures_upload(&device.context("no such device")?.verify().await?).await?;
                self.own().await
            }
            other => bail!("unknown command {other}"),
        }
    }

    async fn bootstrap(&self, reset: bool) -> Result<Value> {
        let requests = self.machine.bootstrap_cross_signing(reset).await?;
        self.flush().await?;
        self.upload_identity(&requests.upload_signing_keys_req).await?;
        self.signatures_upload(&requests.upload_signatures_req).await?;
        self.refresh(std::iter::once(self.machine.user_id())).await?;
        self.own().await
    }

    async fn upload_identity(&self, keys: &UploadSigningKeysRequest) -> Result<()> {
        let body = json!({"master_key": keys.master_key, "self_signing_key": keys.self_signing_key,
            "user_signing_key": keys.user_signing_key});
        self.call_with_password("/keys/device_signing/upload", &body).await?;
        let answer = upload_signing_keys::v3::Response::new();
        let answer = AnyIncomingResponse::SigningKeysUpload(&answer);
        Ok(self.machine.mark_request_as_sent(&TransactionId::new(), answer).await?)
    }

    /// What this device knows of its own identity, freshly asked of the server.
    pub async fn own(&self) -> Result<Value> {
        let user = self.machine.user_id();
        self.refresh(std::iter::once(user)).await?;
        let has = self.machine.cross_signing_status().await;
        let backup =
            self.machine.backup_machine().get_backup_keys().await?.decryption_key.is_some();
        let identity = self.machine.get_identity(user, None).await?;
        let device = self.machine.get_device(user, self.machine.device_id(), None).await?;
        Ok(json!({
            "master": identity.as_ref().map(master_key),
            "has": {"master": has.has_master, "self_signing": has.has_self_signing,
                "user_signing": has.has_user_signing, "backup": backup},
            "verified": identity.is_some_and(|identity| identity.is_verified()),
            "device_signed": device.is_some_and(|device| device.is_cross_signed_by_owner()),
        }))
    }

    pub async fn identity(&self, user: &UserId) -> Result<UserIdentity> {
        self.machine
            .get_identity(user, None)
            .await?
            .with_context(|| format!("{user} has no identity"))
    }

    async fn user(&self, user: &UserId) -> Result<Value> {
        self.refresh(std::iter::once(user)).await?;
        let devices = self.machine.get_user_devices(user, None).await?;
        let devices: Vec<Value> = devices
            .devices()
            .map(|device| {
                json!({"device": device.device_id(), "cross_signed": device.is_cross_signed_by_owner(),
                    "verified": device.is_verified(), "dehydrated": device.is_dehydrated(),
                    "ed25519": device.ed25519_key().map(|key| key.to_base64())})
            })
            .collect();
        let Some(identity) = self.machine.get_identity(user, None).await? else {
            return Ok(json!({"master": null, "devices": devices}));
        };
        let changed = match &identity {
            UserIdentity::Own(_) => false,
            UserIdentity::Other(other) => other.identity_needs_user_approval(),
        };
        Ok(
            json!({"master": master_key(&identity), "verified": identity.is_verified(), "changed": changed,
            "violation": identity.has_verification_violation(), "was_verified": identity.was_previously_verified(),
            "devices": devices}),
        )
    }

    async fn await_secrets(&self) -> Result<Value> {
        let give_up = tokio::time::Instant::now() + Duration::from_secs(60);
        let backup = self.version().await?.is_some();
        loop {
            let complete = self.machine.cross_signing_status().await.is_complete();
            if complete && (!backup || self.connect_by_gossip().await?) {
                return self.own().await;
            }
            if tokio::time::Instant::now() > give_up {
                bail!("no secrets came: {}", self.own().await?);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn trust(&self, command: &Command) -> Result<Value> {
        let state = match command.text("state")? {
            "blocked" => LocalTrust::BlackListed,
            "ignored" => LocalTrust::Ignored,
            "verified" => LocalTrust::Verified,
            "unset" => LocalTrust::Unset,
            other => bail!("unknown state {other}"),
        };
        let device = self.machine.get_device(command.user()?, command.device()?, None).await?;
        device.context("no such device")?.set_local_trust(state).await?;
        Ok(json!({}))
    }
}

fn master_key(identity: &UserIdentity) -> Option<String> {
    let key = match identity {
        UserIdentity::Own(own) => own.master_key().get_first_key(),
        UserIdentity::Other(other) => other.master_key().get_first_key(),
    };
    key.map(|key| key.to_base64())
}

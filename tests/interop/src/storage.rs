//! Secret storage: the secrets of an account, encrypted in its account data.
//!
//! * `{"do": "storage_create", "passphrase"?}` -> `{"recovery_key", "stored": [names]}`: a new key, made the default; every
//!   secret that this device has goes in
//! * `{"do": "storage_open", "secret": recovery key or passphrase}` -> as `own`, and `{"read": [names], "backup"}`: takes the
//!   secrets, signs this device and connects the backup
//! * `{"do": "storage_put", "name", "value"}` · `{"do": "storage_get", "name"}` -> `{"value"}`: in the storage that is open

use anyhow::{Context, Result, bail};
use matrix_sdk_crypto::{
    CrossSigningKeyExport,
    secret_storage::{AesHmacSha2EncryptedData, SecretStorageKey},
};
use reqwest::Method;
use ruma::events::{
    EventContentFromType, secret::request::SecretName,
    secret_storage::key::SecretStorageKeyEventContent,
};
use serde_json::{Value, json};

use crate::{command::Command, peer::Peer};

const SECRETS: [SecretName; 4] = [
    SecretName::CrossSigningMasterKey,
    SecretName::CrossSigningSelfSigningKey,
    SecretName::CrossSigningUserSigningKey,
    SecretName::RecoveryKey,
];

impl Peer {
    pub async fn obey_storage(&self, command: &Command) -> Result<Value> {
        match command.text("do")? {
            "storage_create" => self.create_storage(command["passphrase"].as_str()).await,
            "storage_open" => self.open_storage(command.text("secret")?).await,
            "storage_put" => {
                self.put_secret(&command.text("name")?.into(), command.text("value")?).await?;
                Ok(json!({}))
            }
            "storage_get" => {
                Ok(json!({"value": self.get_secret(&command.text("name")?.into()).await?}))
            }
            other => bail!("unknown command {other}"),
        }
    }

    async fn create_storage(&self, passphrase: Option<&str>) -> Result<Value> {
        let key =
            passphrase.map_or_else(SecretStorageKey::new, SecretStorageKey::new_from_passphrase);
        let recovery_key = key.to_base58();
        let (name, content) =
            (key.event_type().to_string(), serde_json::to_value(key.event_content())?);
        let id = key.key_id().to_owned();
        self.put_account_data(&name, &content).await?;
        *self.storage.borrow_mut() = Some(key);
        let mut stored = Vec::new();
        for name in SECRETS {
            if let Some(secret) = self.machine.store().export_secret(&name).await? {
                self.put_secret(&name, &secret).await?;
                stored.push(name);
            }
        }
        self.put_account_data("m.secret_storage.default_key", &json!({"key": id})).await?;
        Ok(json!({"recovery_key": recovery_key, "stored": stored}))
    }

    async fn open_storage(&self, secret: &str) -> Result<Value> {
        let default =
            self.account_data("m.secret_storage.default_key").await?.context("no storage")?;
        let id = default["key"].as_str().context("no default key")?;
        let name = format!("m.secret_storage.key.{id}");
        let content = self.account_data(&name).await?.context("no such key")?;
        let raw = serde_json::value::to_raw_value(&content)?;
        let content = SecretStorageKeyEventContent::from_parts(&name, &raw)?;
        *self.storage.borrow_mut() = Some(SecretStorageKey::from_account_data(secret, content)?);
        let mut read = Vec::new();
        let mut secrets = Vec::new();
        for name in SECRETS {
            let secret = self.get_secret(&name).await?;
            if secret.is_some() {
                read.push(name);
            }
            secrets.push(secret);
        }
        let [master_key, self_signing_key, user_signing_key, backup] =
            <[Option<String>; 4]>::try_from(secrets).ok().context("four secrets")?;
        self.refresh(std::iter::once(self.machine.user_id())).await?;
        let keys = CrossSigningKeyExport { master_key, self_signing_key, user_signing_key };
        self.machine.import_cross_signing_keys(keys).await?;
        self.sign_this_device().await?;
        let connected = match backup {
            Some(key) => self.connect_backup(&key).await?,
            None => false,
        };
        let mut answer = self.own().await?;
        answer["read"] = json!(read);
        answer["backup"] = json!(connected);
        Ok(answer)
    }

    async fn sign_this_device(&self) -> Result<()> {
        let device =
            self.machine.get_device(self.machine.user_id(), self.machine.device_id(), None).await?;
        self.signatures_upload(&device.context("no device")?.verify().await?).await?;
        Ok(())
    }

    async fn put_secret(&self, name: &SecretName, secret: &str) -> Result<()> {
        let content = {
            let storage = self.storage.borrow();
            let key = storage.as_ref().context("the secret storage is not open")?;
            let encrypted = key.encrypt(secret.as_bytes().to_vec(), name);
            json!({"encrypted": {key.key_id(): encrypted}})
        };
        self.put_account_data(name.as_str(), &content).await
    }

    async fn get_secret(&self, name: &SecretName) -> Result<Option<String>> {
        let Some(content) = self.account_data(name.as_str()).await? else { return Ok(None) };
        let storage = self.storage.borrow();
        let key = storage.as_ref().context("the secret storage is not open")?;
        let encrypted = &content["encrypted"][key.key_id()];
        if encrypted.is_null() {
            return Ok(None);
        }
        let encrypted: AesHmacSha2EncryptedData = serde_json::from_value(encrypted.clone())?;
        Ok(Some(String::from_utf8(key.decrypt(&encrypted, name)?)?))
    }

    async fn put_account_data(&self, name: &str, content: &Value) -> Result<()> {
        let path = format!("/user/{}/account_data/{name}", self.machine.user_id());
        self.call(Method::PUT, &path, Some(content)).await?;
        Ok(())
    }

    async fn account_data(&self, name: &str) -> Result<Option<Value>> {
        let user = self.machine.user_id();
        let path = format!("/_matrix/client/v3/user/{user}/account_data/{name}");
        let (found, content) = self.try_call(Method::GET, &path, None).await?;
        Ok(found.then_some(content))
    }
}

//! Key files.
//!
//! * `{"do": "keys_export", "passphrase", "rounds"?}` -> `{"text", "keys"}` · `{"do": "keys_import", "text", "passphrase"}` ->
//!   `{"total", "imported"}`

use anyhow::{Result, bail};
use matrix_sdk_crypto::{decrypt_room_key_export, encrypt_room_key_export};
use serde_json::{Value, json};

use crate::{command::Command, peer::Peer};

impl Peer {
    pub async fn obey_keys(&self, command: &Command) -> Result<Value> {
        let passphrase = command.text("passphrase")?;
        match command.text("do")? {
            "keys_export" => {
                let keys = self.machine.store().export_room_keys(|_| true).await?;
                let rounds = u32::try_from(command["rounds"].as_u64().unwrap_or(100_000))?;
                let text = encrypt_room_key_export(&keys, passphrase, rounds)?;
                Ok(json!({"text": text, "keys": keys.len()}))
            }
            "keys_import" => {
                let keys = decrypt_room_key_export(command.text("text")?.as_bytes(), passphrase)?;
                let imported =
                    self.machine.store().import_exported_room_keys(keys, |_, _| {}).await?;
                self.retry().await?;
                Ok(json!({"total": imported.total_count, "imported": imported.imported_count}))
            }
            other => bail!("unknown command {other}"),
        }
    }
}

//! Dehydrated devices (MSC3814): one that receives keys while no other is there.
//!
//! * `{"do": "dehydrate", "key"?: base64}` -> `{"device", "key"}` · `{"do": "rehydrate", "key"}` -> `{"device", "keys"}`: takes the
//!   room keys that came meanwhile
//!
//! The key is the secret `org.matrix.msc3814` where there is a secret storage: see `storage_put`.

use anyhow::{Context, Result, bail};
use matrix_sdk_crypto::{store::types::DehydratedDeviceKey, vodozemac};
use reqwest::Method;
use ruma::{DeviceId, serde::Raw};
use serde_json::{Value, json};

use crate::{command::Command, peer::Peer};

const PATH: &str = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device";

impl Peer {
    pub async fn obey_dehydrated(&self, command: &Command) -> Result<Value> {
        match command.text("do")? {
            "dehydrate" => self.dehydrate(command).await,
            "rehydrate" => self.rehydrate(command).await,
            other => bail!("unknown command {other}"),
        }
    }

    async fn dehydrate(&self, command: &Command) -> Result<Value> {
        let key = match command["key"].as_str() {
            Some(key) => DehydratedDeviceKey::from_slice(&vodozemac::base64_decode(key)?)?,
            None => DehydratedDeviceKey::new(),
        };
        let device = self.machine.dehydrated_devices().create().await?;
        let request = device.keys_for_upload("dehydrated".to_owned(), &key).await?;
        let body = json!({
            "device_id": request.device_id, "device_data": request.device_data, "device_keys": request.device_keys,
            "one_time_keys": request.one_time_keys, "fallback_keys": request.fallback_keys,
            "initial_device_display_name": request.initial_device_display_name,
        });
        match self.try_call(Method::PUT, PATH, Some(&body)).await? {
            (true, _) => Ok(json!({"device": request.device_id, "key": key.to_base64()})),
            (false, answer) => bail!("{answer}"),
        }
    }

    async fn rehydrate(&self, command: &Command) -> Result<Value> {
        let key =
            DehydratedDeviceKey::from_slice(&vodozemac::base64_decode(command.text("key")?)?)?;
        let (found, answer) = self.try_call(Method::GET, PATH, None).await?;
        if !found {
            bail!("{answer}");
        }
        let device = <&DeviceId>::from(answer["device_id"].as_str().context("no device")?);
        let data = Raw::from_json(serde_json::value::to_raw_value(&answer["device_data"])?);
        let rehydrated = self.machine.dehydrated_devices().rehydrate(&key, device, data).await?;
        let mut keys = 0;
        let mut body = json!({});
        // The id is a key in base64, which has what a path may not have.
        let escaped = device.as_str().replace('/', "%2F").replace('+', "%2B");
        loop {
            let path = format!("{PATH}/{escaped}/events");
            let (found, answer) = self.try_call(Method::POST, &path, Some(&body)).await?;
            if !found {
                bail!("{answer}");
            }
            let events: Vec<_> = serde_json::from_value(answer["events"].clone())?;
            if events.is_empty() {
                break;
            }
            keys += rehydrated.receive_events(events, &self.reading()).await?.len();
            body = json!({"next_batch": answer["next_batch"]});
        }
        self.retry().await?;
        Ok(json!({"device": device, "keys": keys}))
    }
}

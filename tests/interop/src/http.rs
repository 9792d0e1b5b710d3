//! Calls of the homeserver.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use reqwest::Method;
use ruma::api::IncomingResponse;
use serde_json::{Value, json};

use crate::peer::Peer;

const PAUSE: Duration = Duration::from_millis(200);

impl Peer {
    /// One call below `/_matrix/client/v3`, repeated while the server cannot be reached or asks to wait.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        match self.try_call(method, &format!("/_matrix/client/v3{path}"), body).await? {
            (true, answer) => Ok(answer),
            (false, answer) => bail!("{path}: {answer}"),
        }
    }

    /// The same with the whole path; gives whether it succeeded, with the answer either way.
    pub async fn try_call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(bool, Value)> {
        loop {
            let url = format!("{}{path}", self.options.base);
            let mut request = self
                .http
                .request(method.clone(), url)
                .bearer_auth(&self.token)
                .timeout(Duration::from_secs(60));
            if let Some(body) = body {
                request = request.header("content-type", "application/json").body(body.to_string());
            }
            let pause = match request.send().await {
                Ok(answer) if answer.status().is_server_error() => PAUSE,
                Ok(answer) => {
                    let status = answer.status();
                    match answer.text().await {
                        Ok(text) if status == 429 => asked_pause(&text),
                        Ok(text) => {
                            let answer = serde_json::from_str(&text)
                                .with_context(|| format!("{path}: {text}"))?;
                            return Ok((status.is_success(), answer));
                        }
                        Err(_) => PAUSE,
                    }
                }
                Err(_) => PAUSE,
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// A call that the server wants confirmed by the password.
    pub async fn call_with_password(&self, path: &str, body: &Value) -> Result<Value> {
        let path = format!("/_matrix/client/v3{path}");
        let (done, answer) = self.try_call(Method::POST, &path, Some(body)).await?;
        if done {
            return Ok(answer);
        }
        let mut body = body.clone();
        body["auth"] = json!({
            "type": "m.login.password", "session": answer["session"], "password": self.options.password,
            "identifier": {"type": "m.id.user", "user": self.machine.user_id()},
        });
        match self.try_call(Method::POST, &path, Some(&body)).await? {
            (true, answer) => Ok(answer),
            (false, answer) => bail!("{path}: {answer}"),
        }
    }

    /// Uploads a file; gives its address.
    pub async fn upload(&self, bytes: Vec<u8>) -> Result<String> {
        let url = format!("{}/_matrix/media/v3/upload", self.options.base);
        let request = self
            .http
            .post(url)
            .bearer_auth(&self.token)
            .header("content-type", "application/octet-stream")
            .header("content-length", bytes.len());
        let text =
            request.timeout(Duration::from_secs(60)).body(bytes).send().await?.text().await?;
        let answer: Value = serde_json::from_str(&text)?;
        Ok(answer["content_uri"]
            .as_str()
            .with_context(|| format!("not uploaded: {text}"))?
            .to_owned())
    }

    /// Downloads a file.
    pub async fn download(&self, uri: &str) -> Result<Vec<u8>> {
        let address = uri.strip_prefix("mxc://").context("no mxc address")?;
        let url = format!("{}/_matrix/client/v1/media/download/{address}", self.options.base);
        let request = self.http.get(url).bearer_auth(&self.token).timeout(Duration::from_secs(60));
        Ok(request.send().await?.error_for_status()?.bytes().await?.to_vec())
    }
}

fn asked_pause(text: &str) -> Duration {
    let wait = serde_json::from_str::<Value>(text)
        .ok()
        .and_then(|answer| answer["retry_after_ms"].as_u64());
    Duration::from_millis(wait.unwrap_or(500))
}

/// Reads an answer as the type the machine wants.
pub fn typed<R: IncomingResponse>(answer: &Value) -> Result<R> {
    let response = http::Response::builder().status(200).body(answer.to_string().into_bytes())?;
    R::try_from_http_response(response).map_err(|error| anyhow!("unexpected answer: {error}"))
}

//! Makes an account, before the first login to it.
//!
//! # Spec
//! Client-Server API, "Account registration" and "User-interactive authentication".

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{
    caller::{CallError, Caller, wiped},
    login_call::{Credentials, Registration},
};
use crate::matrix::MatrixError;

/// Makes an account, proving what the server asks for as far as an invitation does.
///
/// # Errors
/// When the server refuses, or asks for more.
pub(super) async fn register(
    caller: &mut Caller,
    credentials: &Credentials,
    registration: &Registration,
) -> Result<Value, CallError> {
    let mut proof: Option<Value> = None;
    // Each round trip proves one stage; no flow that we can do has more than two.
    for _ in 0..4 {
        let body = new_account(credentials, proof.as_ref())?;
        let answer = caller.ask("POST", "/_matrix/client/v3/register", Some(&body)).await?;
        let open: Stages = match answer.status {
            200..300 => return Ok(serde_json::from_str(answer.body.get())?),
            401 => serde_json::from_str(answer.body.get())?,
            status => return Err(MatrixError::parse(status, answer.body.get().as_bytes()).into()),
        };
        let tried = proof.as_ref().and_then(|proof| proof.get("type")?.as_str());
        if tried == Some(TOKEN_STAGE) && open.errcode.is_some() {
            return Err(CallError::BadInvite);
        }
        if let Some(errcode) = open.errcode {
            let error = json!({"errcode": errcode, "error": open.error}).to_string();
            return Err(MatrixError::parse(401, error.as_bytes()).into());
        }
        let next = open.next().ok_or(CallError::Stages)?;
        proof = Some(match &registration.invite {
            Some(invite) if next == TOKEN_STAGE => {
                json!({"type": next, "session": open.session, "token": invite.expose()})
            }
            None if next == TOKEN_STAGE => return Err(CallError::NoInvite),
            Some(_) | None => json!({"type": next, "session": open.session}),
        });
    }
    Err(CallError::Stages)
}

/// The stage that takes an invitation.
const TOKEN_STAGE: &str = "m.login.registration_token";
/// The stages that we can do.
const STAGES: &[&str] = &[TOKEN_STAGE, "m.login.dummy"];

/// What a server still wants proved.
#[derive(Deserialize)]
struct Stages {
    #[serde(default)]
    flows: Vec<Flow>,
    #[serde(default)]
    completed: Vec<String>,
    #[serde(default)]
    session: Option<String>,
    #[serde(default)]
    errcode: Option<String>,
    #[serde(default)]
    error: String,
}

#[derive(Deserialize)]
struct Flow {
    #[serde(default)]
    stages: Vec<String>,
}

impl Stages {
    /// The next stage of the first flow that we can do.
    fn next(&self) -> Option<&str> {
        let flow = self
            .flows
            .iter()
            .find(|flow| flow.stages.iter().all(|stage| STAGES.contains(&stage.as_str())))?;
        let is_open = |stage: &&String| !self.completed.contains(stage);
        flow.stages.iter().find(is_open).map(String::as_str)
    }
}

/// The body of a registration, in memory that is wiped.
fn new_account(
    credentials: &Credentials,
    proof: Option<&Value>,
) -> Result<Zeroizing<String>, serde_json::Error> {
    #[derive(Serialize)]
    struct Body<'a> {
        username: &'a str,
        password: &'a str,
        initial_device_display_name: &'a str,
        refresh_token: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        auth: Option<&'a Value>,
    }
    let name = credentials.user.trim_start_matches('@').split(':').next().unwrap_or_default();
    let body = Body {
        username: name,
        password: credentials.password.expose(),
        initial_device_display_name: &credentials.device.name,
        refresh_token: true,
        auth: proof,
    };
    let proof_bytes = proof.map_or(0, |proof| proof.to_string().len());
    wiped(&body, name.len() + credentials.password.expose().len() + proof_bytes)
}

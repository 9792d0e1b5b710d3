//! Verification of users and devices, by emoji and by QR code, in either role.
//!
//! * `{"do": "verify", "user", "room"?, "device"?, "methods"?}` -> `{"flow"}`: asks a user in a room, a device, or with
//!   one's own user id and no device, all other devices of one's own. Methods: of "sas", "show", "scan"; all, if not said
//! * `{"do": "verify_accept", "flow", "methods"?}` · `{"do": "verify_start", "flow"}`: begins SAS
//! * `{"do": "verify_confirm", "flow"}`: the emoji are the same, or the other has scanned · `{"do": "verify_mismatch", "flow"}` ·
//!   `{"do": "verify_cancel", "flow"}`
//! * `{"do": "qr_show", "flow"}` -> `{"bytes": base64}` · `{"do": "qr_scan", "flow", "bytes"}`
//!
//! Each step of a flow prints `{"k": "verification", "flow", "user", "room"?, "state", …}`; states are requested (by the other),
//! created (by us), ready, sas.started, sas.accepted, sas.compare (with "emoji", "names", "decimals"), sas.confirmed, qr.shown,
//! qr.scanned (by the other), qr.reciprocated, qr.confirmed, done, cancelled (with "code", "by_us"). A SAS that the other
//! starts is accepted at once, as Element does.

use anyhow::{Context, Result, bail};
use matrix_sdk_crypto::{
    CancelInfo, QrVerification, QrVerificationState, Sas, SasState, UserIdentity, Verification,
    VerificationRequest, VerificationRequestState, matrix_sdk_qrcode::QrVerificationData,
    types::requests::OutgoingVerificationRequest, vodozemac,
};
use ruma::{
    EventId,
    events::key::verification::{VerificationMethod, cancel::CancelCode},
};
use serde_json::{Value, json};

use crate::{command::Command, peer::Peer, say};

impl Peer {
    pub async fn obey_verification(&self, command: &Command) -> Result<Value> {
        let what = command.text("do")?;
        if what == "verify" {
            return self.verify(command).await;
        }
        let flow = self.flow(command.text("flow")?)?;
        match what {
            "verify_accept" => {
                self.dispatch(flow.accept_with_methods(methods(command)).into_iter()).await?
            }
            "verify_start" => {
                let (_, request) = flow.start_sas().await?.context("SAS cannot be started now")?;
                self.dispatch(std::iter::once(request)).await?;
            }
            "verify_confirm" => self.confirm(&flow).await?,
            "verify_mismatch" => {
                let Verification::SasV1(sas) = method(&flow)? else { bail!("no SAS") };
                self.dispatch(sas.cancel_with_code(CancelCode::MismatchedSas).into_iter()).await?;
            }
            "verify_cancel" => {
                let request = match method(&flow) {
                    Ok(Verification::SasV1(sas)) => sas.cancel(),
                    Ok(Verification::QrV1(qr)) => qr.cancel(),
                    _ => flow.cancel(),
                };
                self.dispatch(request.into_iter()).await?;
            }
            "qr_show" => {
                let code = flow.generate_qr_code().await?.context("no QR code can be shown now")?;
                return Ok(json!({"bytes": vodozemac::base64_encode(code.to_bytes()?)}));
            }
            "qr_scan" => {
                let bytes = vodozemac::base64_decode(command.text("bytes")?)?;
                let scanned = flow.scan_qr_code(QrVerificationData::from_bytes(bytes)?).await?;
                let scanned = scanned.context("no QR code can be scanned now")?;
                self.dispatch(scanned.reciprocate().into_iter()).await?;
            }
            other => bail!("unknown command {other}"),
        }
        Ok(json!({}))
    }

    async fn verify(&self, command: &Command) -> Result<Value> {
        let user = command.user()?;
        self.refresh(std::iter::once(user)).await?;
        let methods = methods(command);
        let (flow, request) = if command["device"].is_string() {
            let device = self.machine.get_device(user, command.device()?, None).await?;
            device.context("no such device")?.request_verification_with_methods(methods)
        } else {
            match self.identity(user).await? {
                UserIdentity::Own(own) => own.request_verification_with_methods(methods).await?,
                UserIdentity::Other(other) => {
                    let content = other.verification_request_content(Some(methods.clone()));
                    let content = serde_json::to_value(&content)?;
                    let event = self.send(command.room()?, "m.room.message", &content).await?;
                    let event = <&EventId>::try_from(event.as_str().context("not sent")?)?;
                    let flow = other.request_verification(command.room()?, event, Some(methods));
                    return self.remember(flow);
                }
            }
        };
        self.dispatch(std::iter::once(request)).await?;
        self.remember(flow)
    }

    fn remember(&self, flow: VerificationRequest) -> Result<Value> {
        let id = flow.flow_id().as_str().to_owned();
        self.flows.borrow_mut().insert(id.clone(), (flow, Value::Null));
        Ok(json!({"flow": id}))
    }

    fn flow(&self, id: &str) -> Result<VerificationRequest> {
        Ok(self.flows.borrow().get(id).with_context(|| format!("no verification {id}"))?.0.clone())
    }

    async fn dispatch(
        &self,
        requests: impl Iterator<Item = OutgoingVerificationRequest>,
    ) -> Result<()> {
        for request in requests {
            self.verification_request(&request).await?;
        }
        self.flush().await
    }

    async fn confirm(&self, flow: &VerificationRequest) -> Result<()> {
        match method(flow)? {
            Verification::SasV1(sas) => {
                let (requests, signatures) = sas.confirm().await?;
                self.dispatch(requests.into_iter()).await?;
                if let Some(upload) = signatures {
                    self.signatures_upload(&upload).await?;
                }
                Ok(())
            }
            Verification::QrV1(qr) => self.dispatch(qr.confirm_scanning().into_iter()).await,
            other => bail!("unknown method {other:?}"),
        }
    }

    /// Tells of every flow that took a step, and accepts each SAS that the other began.
    pub async fn tell_flows(&self) -> Result<()> {
        for user in self.machine.tracked_users().await? {
            for flow in self.machine.get_verification_requests(&user) {
                let id = flow.flow_id().as_str().to_owned();
                self.flows.borrow_mut().entry(id).or_insert((flow, Value::Null));
            }
        }
        let flows: Vec<VerificationRequest> =
            self.flows.borrow().values().map(|(flow, _)| flow.clone()).collect();
        for flow in flows {
            self.accept_sas(&flow).await?;
            let now = describe(&flow);
            if let Some((_, told)) = self.flows.borrow_mut().get_mut(flow.flow_id().as_str())
                && *told != now
            {
                told.clone_from(&now);
                say(now);
            }
        }
        Ok(())
    }

    async fn accept_sas(&self, flow: &VerificationRequest) -> Result<()> {
        if let Ok(Verification::SasV1(sas)) = method(flow)
            && !sas.we_started()
            && matches!(sas.state(), SasState::Started { .. })
        {
            self.dispatch(sas.accept().into_iter()).await?;
        }
        Ok(())
    }
}

/// The method that a flow has come to.
fn method(flow: &VerificationRequest) -> Result<Verification> {
    match flow.state() {
        VerificationRequestState::Transitioned { verification, .. } => Ok(verification),
        other => bail!("no method yet: {other:?}"),
    }
}

fn methods(command: &Command) -> Vec<VerificationMethod> {
    let named = |name: &Value| match name.as_str() {
        Some("sas") => vec![VerificationMethod::SasV1],
        Some("show") => vec![VerificationMethod::QrCodeShowV1, VerificationMethod::ReciprocateV1],
        Some("scan") => vec![VerificationMethod::QrCodeScanV1, VerificationMethod::ReciprocateV1],
        _ => vec![],
    };
    let all = || vec![json!("sas"), json!("show"), json!("scan")];
    let names = command["methods"].as_array().cloned().unwrap_or_else(all);
    let mut methods: Vec<_> = names.iter().flat_map(named).collect();
    methods.dedup();
    methods
}

fn describe(flow: &VerificationRequest) -> Value {
    let state = match flow.state() {
        VerificationRequestState::Created { .. } => json!({"state": "created"}),
        VerificationRequestState::Requested { their_methods, .. } => {
            json!({"state": "requested", "methods": their_methods})
        }
        VerificationRequestState::Ready { their_methods, .. } => {
            json!({"state": "ready", "methods": their_methods})
        }
        VerificationRequestState::Transitioned {
            verification: Verification::SasV1(sas), ..
        } => of_sas(&sas),
        VerificationRequestState::Transitioned { verification: Verification::QrV1(qr), .. } => {
            of_qr(&qr)
        }
        VerificationRequestState::Transitioned { .. } => json!({"state": "unknown"}),
        VerificationRequestState::Done => json!({"state": "done"}),
        VerificationRequestState::Cancelled(info) => cancelled(&info),
    };
    let mut line = json!({"k": "verification", "flow": flow.flow_id().as_str(), "user": flow.other_user(),
        "device": flow.other_device_id(), "room": flow.room_id()});
    for (name, value) in state.as_object().into_iter().flatten() {
        line[name] = value.clone();
    }
    line
}

fn of_sas(sas: &Sas) -> Value {
    match sas.state() {
        SasState::Created { .. } | SasState::Started { .. } => json!({"state": "sas.started"}),
        SasState::Accepted { .. } => json!({"state": "sas.accepted"}),
        SasState::KeysExchanged { emojis, decimals } => {
            let emojis = emojis.map(|emojis| emojis.emojis);
            let symbols = emojis.as_ref().map(|all| all.each_ref().map(|emoji| emoji.symbol));
            let names = emojis.as_ref().map(|all| all.each_ref().map(|emoji| emoji.description));
            json!({"state": "sas.compare", "emoji": symbols, "names": names, "decimals": decimals})
        }
        SasState::Confirmed => json!({"state": "sas.confirmed"}),
        SasState::Done { .. } => json!({"state": "done"}),
        SasState::Cancelled(info) => cancelled(&info),
    }
}

fn of_qr(qr: &QrVerification) -> Value {
    match qr.state() {
        QrVerificationState::Started => json!({"state": "qr.shown"}),
        QrVerificationState::Scanned => json!({"state": "qr.scanned"}),
        QrVerificationState::Confirmed => json!({"state": "qr.confirmed"}),
        QrVerificationState::Reciprocated => json!({"state": "qr.reciprocated"}),
        QrVerificationState::Done { .. } => json!({"state": "done"}),
        QrVerificationState::Cancelled(info) => cancelled(&info),
    }
}

fn cancelled(info: &CancelInfo) -> Value {
    json!({"state": "cancelled", "code": info.cancel_code(), "by_us": info.cancelled_by_us()})
}

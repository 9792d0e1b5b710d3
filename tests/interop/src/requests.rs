//! Sends what the machine wants sent.

use anyhow::Result;
use matrix_sdk_crypto::types::requests::{
    AnyIncomingResponse, AnyOutgoingRequest, KeysQueryRequest, OutgoingVerificationRequest,
    RoomMessageRequest, ToDeviceRequest,
};
use reqwest::Method;
use ruma::{
    TransactionId,
    api::client::{
        keys::{claim_keys, get_keys, upload_keys, upload_signatures},
        message::send_message_event,
        to_device,
    },
    events::MessageLikeEventContent,
};
use serde_json::json;

use crate::{http::typed, peer::Peer};

impl Peer {
    /// Sends what the machine wants sent now.
    pub async fn flush(&self) -> Result<()> {
        let mut messages = Vec::new();
        {
            let _sending = self.sending.acquire().await?;
            for request in self.machine.outgoing_requests().await? {
                let id = request.request_id();
                match request.request() {
                    AnyOutgoingRequest::KeysUpload(upload) => self.keys_upload(id, upload).await?,
                    AnyOutgoingRequest::KeysQuery(query) => self.keys_query(id, query).await?,
                    AnyOutgoingRequest::KeysClaim(claim) => self.keys_claim(id, claim).await?,
                    AnyOutgoingRequest::ToDeviceRequest(request) => self.to_device(request).await?,
                    AnyOutgoingRequest::SignatureUpload(upload) => {
                        let answer = self.signatures_upload(upload).await?;
                        self.machine.mark_request_as_sent(id, &answer).await?;
                    }
                    AnyOutgoingRequest::RoomMessage(message) => messages.push(message.clone()),
                }
            }
        }
        for message in messages {
            Box::pin(self.room_message(&message)).await?;
        }
        Ok(())
    }

    async fn keys_upload(
        &self,
        id: &TransactionId,
        upload: &upload_keys::v3::Request,
    ) -> Result<()> {
        let mut body =
            json!({"one_time_keys": upload.one_time_keys, "fallback_keys": upload.fallback_keys});
        if let Some(keys) = &upload.device_keys {
            body["device_keys"] = serde_json::to_value(keys)?;
        }
        let answer = self.call(Method::POST, "/keys/upload", Some(&body)).await?;
        Ok(self
            .machine
            .mark_request_as_sent(id, &typed::<upload_keys::v3::Response>(&answer)?)
            .await?)
    }

    async fn keys_query(&self, id: &TransactionId, query: &KeysQueryRequest) -> Result<()> {
        let body = json!({"device_keys": query.device_keys});
        let answer = self.call(Method::POST, "/keys/query", Some(&body)).await?;
        Ok(self
            .machine
            .mark_request_as_sent(id, &typed::<get_keys::v3::Response>(&answer)?)
            .await?)
    }

    pub async fn keys_claim(
        &self,
        id: &TransactionId,
        claim: &claim_keys::v3::Request,
    ) -> Result<()> {
        let body = json!({"one_time_keys": claim.one_time_keys});
        let answer = self.call(Method::POST, "/keys/claim", Some(&body)).await?;
        Ok(self
            .machine
            .mark_request_as_sent(id, &typed::<claim_keys::v3::Response>(&answer)?)
            .await?)
    }

    pub async fn to_device(&self, request: &ToDeviceRequest) -> Result<()> {
        let path = format!("/sendToDevice/{}/{}", request.event_type, request.txn_id);
        let body = json!({"messages": request.messages});
        let answer = self.call(Method::PUT, &path, Some(&body)).await?;
        let answer = typed::<to_device::send_event_to_device::v3::Response>(&answer)?;
        Ok(self.machine.mark_request_as_sent(&request.txn_id, &answer).await?)
    }

    pub async fn signatures_upload(
        &self,
        upload: &upload_signatures::v3::Request,
    ) -> Result<upload_signatures::v3::Response> {
        let body = serde_json::to_value(&upload.signed_keys)?;
        typed(&self.call(Method::POST, "/keys/signatures/upload", Some(&body)).await?)
    }

    /// Sends a message of a verification, once.
    pub async fn room_message(&self, message: &RoomMessageRequest) -> Result<()> {
        if !self.in_flight.borrow_mut().insert(message.txn_id.clone()) {
            return Ok(());
        }
        let content = serde_json::to_value(&message.content)?;
        let kind = message.content.event_type().to_string();
        let event = self.send(&message.room_id, &kind, &content).await?;
        let answer = typed::<send_message_event::v3::Response>(&json!({"event_id": event}))?;
        Ok(self
            .machine
            .mark_request_as_sent(&message.txn_id, AnyIncomingResponse::RoomMessage(&answer))
            .await?)
    }

    pub async fn verification_request(&self, request: &OutgoingVerificationRequest) -> Result<()> {
        match request {
            OutgoingVerificationRequest::ToDevice(request) => self.to_device(request).await,
            OutgoingVerificationRequest::InRoom(message) => self.room_message(message).await,
        }
    }

    /// Asks the server for the keys of these users, whatever is known of them.
    pub async fn refresh<'a>(&self, users: impl Iterator<Item = &'a ruma::UserId>) -> Result<()> {
        let _sending = self.sending.acquire().await?;
        let (id, query) = self.machine.query_keys_for_users(users);
        self.keys_query(&id, &query).await
    }
}

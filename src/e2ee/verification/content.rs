//! The events of a verification as they come: read from canonical JSON, so that what a commitment
//! covers is exactly what was received.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::code::CancelCode;
use crate::{
    matrix::{CanonicalText, CanonicalValue, OwnedDeviceId, OwnedUserId},
    time::Timestamp,
};

/// Largest content that is read, in bytes; servers take events of 64 KiB.
const MAX_CONTENT_BYTES: usize = 64 << 10;
/// Most MACs of one event that are looked at; two are usual.
const MAX_MACS: usize = 64;

/// What all event types of to-device verification begin with.
pub(in crate::e2ee) const PREFIX: &str = "m.key.verification.";

/// The `msgtype` of a request in a room.
pub(super) const REQUEST: &str = "m.key.verification.request";

/// The one agreement that is spoken. (`curve25519` alone does not bind the short string to the
/// keys.)
pub(super) const AGREEMENT: &str = "curve25519-hkdf-sha256";
/// The one hash.
pub(super) const HASH: &str = "sha256";
/// The MAC as it should be.
pub(super) const MAC_V2: &str = "hkdf-hmac-sha256.v2";
/// The MAC in the base64 that libolm got wrong.
pub(super) const MAC_V1: &str = "hkdf-hmac-sha256";

/// Ways of verifying.
pub(super) const SAS: &str = "m.sas.v1";
pub(super) const SHOW: &str = "m.qr_code.show.v1";
pub(super) const SCAN: &str = "m.qr_code.scan.v1";
pub(super) const RECIPROCATE: &str = "m.reciprocate.v1";

/// Which event it is, by the last part of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    Ready,
    Start,
    Accept,
    Key,
    Mac,
    Done,
    Cancel,
}

impl Kind {
    /// Reads a type; `None` for one that is not known.
    pub(super) fn parse(kind: &str) -> Option<Self> {
        Some(match kind.strip_prefix(PREFIX)? {
            "request" => Self::Request,
            "ready" => Self::Ready,
            "start" => Self::Start,
            "accept" => Self::Accept,
            "key" => Self::Key,
            "mac" => Self::Mac,
            "done" => Self::Done,
            "cancel" => Self::Cancel,
            _ => return None,
        })
    }

    /// The whole type.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Request => REQUEST,
            Self::Ready => "m.key.verification.ready",
            Self::Start => "m.key.verification.start",
            Self::Accept => "m.key.verification.accept",
            Self::Key => "m.key.verification.key",
            Self::Mac => "m.key.verification.mac",
            Self::Done => "m.key.verification.done",
            Self::Cancel => "m.key.verification.cancel",
        }
    }
}

/// Ways of verifying that one side knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Methods(pub(super) Vec<String>);

impl Methods {
    pub(super) fn has(&self, method: &str) -> bool {
        self.0.iter().any(|name| name == method)
    }
}

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Request(Request),
    Ready { from_device: OwnedDeviceId, methods: Methods },
    Start(Start),
    Accept(Accept),
    Key { key: String },
    Mac { macs: BTreeMap<String, String>, keys: String },
    Done,
    Cancel(CancelCode),
}

/// `m.key.verification.request`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) from_device: OwnedDeviceId,
    pub(super) methods: Methods,
    /// To-device only; in rooms it is the event's.
    pub(super) timestamp: Option<Timestamp>,
    /// In rooms only.
    pub(super) to: Option<OwnedUserId>,
}

/// `m.key.verification.start`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) from_device: OwnedDeviceId,
    pub(super) method: StartMethod,
    /// The whole content, canonical: what the commitment covers.
    pub(super) canonical: String,
}

/// How a start wants to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StartMethod {
    Sas(Offer),
    /// The other side scanned our code; base64 of the secret in it.
    Reciprocate(String),
    Unknown,
}

/// What a side offers for the short string.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Offer {
    #[serde(rename = "key_agreement_protocols")]
    pub(super) agreements: Vec<String>,
    pub(super) hashes: Vec<String>,
    #[serde(rename = "message_authentication_codes")]
    pub(super) macs: Vec<String>,
    #[serde(rename = "short_authentication_string")]
    pub(super) short: Vec<String>,
}

/// What the accepting side chose.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Accept {
    #[serde(rename = "key_agreement_protocol")]
    pub(super) agreement: String,
    pub(super) hash: String,
    #[serde(rename = "message_authentication_code")]
    pub(super) mac: String,
    #[serde(rename = "short_authentication_string")]
    pub(super) short: Vec<String>,
    pub(super) commitment: String,
}

#[derive(Deserialize)]
struct RequestContent {
    from_device: OwnedDeviceId,
    methods: Vec<String>,
    timestamp: Option<u64>,
    to: Option<OwnedUserId>,
}

#[derive(Deserialize)]
struct ReadyContent {
    from_device: OwnedDeviceId,
    methods: Vec<String>,
}

#[derive(Deserialize)]
struct StartContent {
    from_device: OwnedDeviceId,
    method: String,
    secret: Option<String>,
}

#[derive(Deserialize)]
struct KeyContent {
    key: String,
}

#[derive(Deserialize)]
struct MacContent {
    mac: BTreeMap<String, String>,
    keys: String,
}

#[derive(Deserialize)]
struct CancelContent {
    code: String,
}

#[derive(Deserialize)]
struct Relation {
    rel_type: String,
    event_id: String,
}

/// The content of a verification event, strict JSON in canonical form.
#[derive(Clone, Debug)]
pub(super) struct Content(String);

impl Content {
    /// Takes a JSON object; `None` when it is too large or not strict.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if MAX_CONTENT_BYTES < text.len() {
            return None;
        }
        let object = CanonicalValue::parse_object(text).ok()?;
        Some(Self(CanonicalText(&object).to_string()))
    }

    /// To-device: which verification it belongs to.
    pub(super) fn transaction(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Transaction {
            transaction_id: String,
        }
        let id = self.read::<Transaction>()?.transaction_id;
        (!id.is_empty() && id.len() <= 255).then_some(id)
    }

    /// In rooms: the request's event.
    pub(super) fn request_event(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Related {
            #[serde(rename = "m.relates_to")]
            relation: Relation,
        }
        let relation = self.read::<Related>()?.relation;
        (relation.rel_type == "m.reference").then_some(relation.event_id)
    }

    fn read<T: for<'de> Deserialize<'de>>(&self) -> Option<T> {
        serde_json::from_str(&self.0).ok()
    }

    /// What the event says; `None` when it is not whole.
    pub(super) fn message(&self, kind: Kind) -> Option<Message> {
        Some(match kind {
            Kind::Request => {
                let it = self.read::<RequestContent>()?;
                Message::Request(Request {
                    from_device: it.from_device,
                    methods: Methods(it.methods),
                    timestamp: it.timestamp.map(Timestamp),
                    to: it.to,
                })
            }
            Kind::Ready => {
                let it = self.read::<ReadyContent>()?;
                Message::Ready { from_device: it.from_device, methods: Methods(it.methods) }
            }
            Kind::Start => self.start()?,
            Kind::Accept => Message::Accept(self.read()?),
            Kind::Key => Message::Key { key: self.read::<KeyContent>()?.key },
            Kind::Mac => {
                let it = self.read::<MacContent>()?;
                if MAX_MACS < it.mac.len() {
                    return None;
                }
                Message::Mac { macs: it.mac, keys: it.keys }
            }
            Kind::Done => Message::Done,
            Kind::Cancel => Message::Cancel(CancelCode::parse(&self.read::<CancelContent>()?.code)),
        })
    }

    fn start(&self) -> Option<Message> {
        let it = self.read::<StartContent>()?;
        let method = match it.method.as_str() {
            SAS => StartMethod::Sas(self.read()?),
            RECIPROCATE => StartMethod::Reciprocate(it.secret?),
            _ => StartMethod::Unknown,
        };
        let canonical = self.0.clone();
        Some(Message::Start(Start { from_device: it.from_device, method, canonical }))
    }
}

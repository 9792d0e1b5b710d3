//! The events of a verification as we write them, without what says which verification they
//! belong to.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    code::CancelCode,
    content::{AGREEMENT, HASH, Kind, MAC_V1, MAC_V2, RECIPROCATE, SAS, SCAN, SHOW},
    short::{MacVersion, Macs},
};
use crate::{
    matrix::{DeviceId, UserId},
    time::Timestamp,
};

/// One event to send.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outgoing {
    pub(super) kind: Kind,
    pub(super) content: Map<String, Value>,
}

/// Whether this side can read a code that the other shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scan {
    /// It cannot: there is no camera at a terminal.
    #[default]
    No,
    /// The bytes of the code are given by other means.
    Yes,
}

fn outgoing(kind: Kind, content: Value) -> Outgoing {
    let Value::Object(content) = content else { return Outgoing { kind, content: Map::new() } };
    Outgoing { kind, content }
}

/// What we can do.
pub(super) fn methods(scan: Scan) -> Vec<&'static str> {
    let mut methods = vec![SAS, SHOW, RECIPROCATE];
    if scan == Scan::Yes {
        methods.push(SCAN);
    }
    methods
}

/// A request to devices.
pub(super) fn request(device: &DeviceId, scan: Scan, now: Timestamp) -> Outgoing {
    let content = json!({ "from_device": device, "methods": methods(scan), "timestamp": now.0 });
    outgoing(Kind::Request, content)
}

/// A request in a room, as a message that clients without verification show.
pub(super) fn room_request(
    device: &DeviceId,
    (from, to): (&UserId, &UserId),
    scan: Scan,
) -> Outgoing {
    let body = format!(
        "{from} asks to verify keys with you, but your client does not support verification in \
         chats. Use another client to verify."
    );
    let content = json!({
        "msgtype": Kind::Request.as_str(),
        "body": body,
        "from_device": device,
        "methods": methods(scan),
        "to": to,
    });
    outgoing(Kind::Request, content)
}

pub(super) fn ready(device: &DeviceId, methods: &[String]) -> Outgoing {
    outgoing(Kind::Ready, json!({ "from_device": device, "methods": methods }))
}

pub(super) fn start_sas(device: &DeviceId) -> Outgoing {
    let content = json!({
        "from_device": device,
        "method": SAS,
        "key_agreement_protocols": [AGREEMENT],
        "hashes": [HASH],
        "message_authentication_codes": [MAC_V2, MAC_V1],
        "short_authentication_string": ["decimal", "emoji"],
    });
    outgoing(Kind::Start, content)
}

pub(super) fn start_reciprocate(device: &DeviceId, secret: &str) -> Outgoing {
    let content = json!({ "from_device": device, "method": RECIPROCATE, "secret": secret });
    outgoing(Kind::Start, content)
}

pub(super) fn accept(mac: MacVersion, short: &[&str], commitment: &str) -> Outgoing {
    let content = json!({
        "method": SAS,
        "key_agreement_protocol": AGREEMENT,
        "hash": HASH,
        "message_authentication_code": mac.as_str(),
        "short_authentication_string": short,
        "commitment": commitment,
    });
    outgoing(Kind::Accept, content)
}

pub(super) fn key(key: &str) -> Outgoing {
    outgoing(Kind::Key, json!({ "key": key }))
}

pub(super) fn mac(macs: &Macs) -> Outgoing {
    outgoing(Kind::Mac, json!({ "mac": macs.macs, "keys": macs.keys }))
}

pub(super) fn done() -> Outgoing {
    outgoing(Kind::Done, json!({}))
}

pub(super) fn cancel(code: &CancelCode) -> Outgoing {
    outgoing(Kind::Cancel, json!({ "code": code.as_str(), "reason": code.words() }))
}

//! Requests the machine wants sent, and their answers.
//!
//! A request is stored before it is sent and repeated byte for byte until it is answered; the
//! answer comes back by its id. Beside each request stands its [`Purpose`]: what an answer means,
//! so that nothing about it has to be remembered across a restart.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    matrix::{MatrixError, OwnedDeviceId, OwnedUserId, UserId},
    time::Timestamp,
};

use super::{
    backup::BackupPurpose,
    claim::ClaimPurpose,
    cross_signing::{SignaturesPurpose, SigningKeysPurpose},
    dehydrated::DehydratedPurpose,
    error::MachineError,
    lookup::Table,
    megolm::SharePurpose,
    secret_storage::WritePurpose,
    step::{Step, encode_text, raw},
    tracking::QueryPurpose,
    upload::UploadPurpose,
};

/// Most devices that one to-device request is sent to.
pub(super) const DEVICES_PER_REQUEST: usize = 250;

const FIRST_RETRY: Duration = Duration::from_secs(2);
const LAST_RETRY: Duration = Duration::from_secs(5 * 60);

/// Names one request across restarts; doubles as the transaction id of to-device requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub String);

impl RequestId {
    /// Draws an id that no other request has: 128 random bits.
    pub(super) fn random() -> Result<Self, MachineError> {
        let mut bytes = [0_u8; 16];
        getrandom::fill(&mut bytes).map_err(MachineError::NoRandomness)?;
        Ok(Self(URL_SAFE_NO_PAD.encode(bytes)))
    }
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestKind {
    /// `POST /keys/upload`; strictly one at a time.
    KeysUpload,
    /// `POST /keys/query`.
    KeysQuery,
    /// `POST /keys/claim`; strictly one at a time.
    KeysClaim,
    /// `PUT /sendToDevice/{type}/{txn}`.
    ToDevice,
    /// The same of a verification; strictly one at a time, in order: what overtakes another message
    /// of it ends it at the other side.
    Verification,
    /// `POST /keys/device_signing/upload`; the server may want the user to authenticate first.
    SigningKeysUpload,
    /// `POST /keys/signatures/upload`; strictly one at a time.
    SignaturesUpload,
    /// `GET` and `PUT /user/{user}/account_data/{type}`; strictly one at a time, in order.
    AccountData,
    /// Everything below `/room_keys` that changes the backup; strictly one at a time, in order.
    BackupWrite,
    /// What is read below `/room_keys`; strictly one at a time.
    BackupRead,
    /// Everything below `/dehydrated_device`; strictly one at a time, in order.
    DehydratedDevice,
}

impl RequestKind {
    /// Its name in one word, for the log.
    pub fn word(self) -> &'static str {
        match self {
            Self::KeysUpload => "keys_upload",
            Self::KeysQuery => "keys_query",
            Self::KeysClaim => "keys_claim",
            Self::ToDevice => "to_device",
            Self::Verification => "verification",
            Self::SigningKeysUpload => "signing_keys_upload",
            Self::SignaturesUpload => "signatures_upload",
            Self::AccountData => "account_data",
            Self::BackupWrite => "backup_write",
            Self::BackupRead => "backup_read",
            Self::DehydratedDevice => "dehydrated_device",
        }
    }

    /// Whether two of the kind may be under way at once.
    pub fn goes_alone(self) -> bool {
        match self {
            Self::KeysQuery | Self::ToDevice => false,
            Self::KeysUpload
            | Self::KeysClaim
            | Self::Verification
            | Self::SigningKeysUpload
            | Self::SignaturesUpload
            | Self::AccountData
            | Self::BackupWrite
            | Self::BackupRead
            | Self::DehydratedDevice => true,
        }
    }
}

/// One request of the client-server API, ready to send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutgoingRequest {
    /// Its name.
    pub id: RequestId,
    /// What it is for.
    pub kind: RequestKind,
    /// `GET`, `POST`, `PUT` or `DELETE`.
    pub method: String,
    /// Path below the server's address, percent-encoded, for instance
    /// `/_matrix/client/v3/keys/query`.
    pub path: String,
    /// Names and values of the query, not encoded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<(String, String)>,
    /// JSON text of the body; empty when there is none.
    pub body: String,
}

/// Why a request got no good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestFailure {
    /// The server refused it for good: a status below 500 other than 408 and 429.
    Refused(MatrixError),
    /// Not now: rate limit, server fault. (A lost link is no answer: the request just stays.)
    Later(MatrixError),
}

/// What an answer to a request means; stored beside it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Purpose {
    /// Our keys were published.
    KeysUpload(UploadPurpose),
    /// Device lists of these users.
    KeysQuery(QueryPurpose),
    /// One-time keys of these devices.
    KeysClaim(ClaimPurpose),
    /// The key of an outbound group session, for some devices.
    ShareRoomKey(SharePurpose),
    /// Our new cross-signing keys.
    SigningKeys(SigningKeysPurpose),
    /// Signatures of ours.
    Signatures(SignaturesPurpose),
    /// Something of the key backup.
    Backup(BackupPurpose),
    /// Something of the dehydrated device.
    Dehydrated(DehydratedPurpose),
    /// A to-device message whose delivery changes nothing here: `m.dummy`, `m.no_olm`.
    Notice,
    /// Where history lies, for devices of somebody whom we are about to invite.
    HistoryBundle,
    /// Something read of secret storage, for the attempt to open it that waits for the answer.
    StorageRead,
    /// Something written to secret storage.
    StorageWrite(WritePurpose),
}

/// A request and what its answer means.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RequestRecord {
    pub(super) request: OutgoingRequest,
    pub(super) purpose: Purpose,
    /// Place in the order of requests.
    order: u64,
    /// How often the server said "later".
    postponed: u32,
}

impl RequestRecord {
    /// How often the server put it off.
    pub(super) fn postponed(&self) -> u32 {
        self.postponed
    }
}

/// One content for one device.
#[derive(Clone, Debug)]
pub(super) struct ToDeviceMessage {
    pub(super) user: OwnedUserId,
    pub(super) device_id: OwnedDeviceId,
    pub(super) content: Box<RawValue>,
}

/// Where the calls of the specification are.
const STABLE: &str = "/_matrix/client/v3";

/// What a path segment keeps as it is (RFC 3986, unreserved).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A call of the client-server API, to be made into a request.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) kind: RequestKind,
    /// `GET`, `POST`, `PUT` or `DELETE`.
    pub(super) method: &'static str,
    /// Path segments, not encoded; below `/_matrix/client/v3` where nothing else is said.
    pub(super) path: &'a [&'a str],
    /// Names and values, not encoded.
    pub(super) query: Vec<(String, String)>,
    /// JSON text; empty for none.
    pub(super) body: String,
}

/// The requests that were not answered yet.
#[derive(Debug)]
pub(super) struct Requests {
    next_order: u64,
    /// When to repeat those that the server put off.
    retries: BTreeMap<RequestId, Timestamp>,
}

impl Requests {
    /// Counts what an earlier run left behind.
    pub(super) fn open(step: &Step<'_>) -> Result<Self, MachineError> {
        let last = records(step)?.last().map(|record| record.order);
        Ok(Self { next_order: last.map_or(0, |order| order + 1), retries: BTreeMap::new() })
    }

    /// Stores a call below `/_matrix/client/v3` and queues it for sending.
    pub(super) fn call(
        &mut self,
        call: Call<'_>,
        purpose: Purpose,
        step: &mut Step<'_>,
    ) -> Result<RequestId, MachineError> {
        self.call_below(STABLE, call, purpose, step)
    }

    /// Stores a call below `root`, which is encoded, and queues it for sending.
    pub(super) fn call_below(
        &mut self,
        root: &str,
        call: Call<'_>,
        purpose: Purpose,
        step: &mut Step<'_>,
    ) -> Result<RequestId, MachineError> {
        let Call { kind, method, path, query, body } = call;
        let segments = path.iter().map(|it| utf8_percent_encode(it, SEGMENT).to_string());
        let request = OutgoingRequest {
            id: RequestId::random()?,
            kind,
            method: method.to_owned(),
            path: format!("{root}/{}", segments.collect::<Vec<_>>().join("/")),
            query,
            body,
        };
        self.queue(request, purpose, step)
    }

    /// Reads (`GET`, without a body) or writes (`PUT`) global account data, see [`Requests::call`].
    pub(super) fn account_data(
        &mut self,
        (method, user, kind): (&'static str, &UserId, &str),
        body: String,
        purpose: Purpose,
        step: &mut Step<'_>,
    ) -> Result<RequestId, MachineError> {
        let path = &["user", user.as_str(), "account_data", kind];
        let call = Call { kind: RequestKind::AccountData, method, path, query: Vec::new(), body };
        self.call(call, purpose, step)
    }

    /// Stores a `POST` without a query, see [`Requests::call`].
    pub(super) fn post(
        &mut self,
        (kind, path): (RequestKind, &[&str]),
        body: String,
        purpose: Purpose,
        step: &mut Step<'_>,
    ) -> Result<RequestId, MachineError> {
        let call = Call { kind, method: "POST", path, query: Vec::new(), body };
        self.call(call, purpose, step)
    }

    /// Stores and queues one to-device request for at most [`DEVICES_PER_REQUEST`] devices; its
    /// id is the transaction id. `kind` is an event type of ours, free of reserved characters.
    #[expect(clippy::wrong_self_convention, reason = "to-device is the spec's word")]
    pub(super) fn to_device(
        &mut self,
        kind: &str,
        messages: &[ToDeviceMessage],
        purpose: Purpose,
        step: &mut Step<'_>,
    ) -> Result<RequestId, MachineError> {
        let mut by_user = BTreeMap::<_, BTreeMap<_, _>>::new();
        for message in messages {
            by_user.entry(&message.user).or_default().insert(&message.device_id, &message.content);
        }
        let body = encode_text(Table::Request, &BTreeMap::from([("messages", by_user)]))?;
        let id = RequestId::random()?;
        let path = format!("/_matrix/client/v3/sendToDevice/{kind}/{}", id.0);
        let method = "PUT".to_owned();
        let is_verification = kind.starts_with("m.key.verification.");
        let kind = if is_verification { RequestKind::Verification } else { RequestKind::ToDevice };
        let request = OutgoingRequest { id, kind, method, path, query: Vec::new(), body };
        self.queue(request, purpose, step)
    }

    /// Sends one content to some devices of a user, in clear, as the specification wants it for all
    /// that holds no secret; nobody waits for its delivery.
    pub(super) fn notify_devices(
        &mut self,
        kind: &str,
        (user, devices): (&UserId, &[OwnedDeviceId]),
        content: &impl Serialize,
        step: &mut Step<'_>,
    ) -> Result<(), MachineError> {
        let content = raw(Table::Request, &encode_text(Table::Request, content)?)?;
        for devices in devices.chunks(DEVICES_PER_REQUEST) {
            let messages = devices.iter().map(|device| ToDeviceMessage {
                user: user.to_owned(),
                device_id: device.clone(),
                content: content.clone(),
            });
            let messages: Vec<ToDeviceMessage> = messages.collect();
            self.to_device(kind, &messages, Purpose::Notice, step)?;
        }
        Ok(())
    }

    fn queue(
        &mut self,
        request: OutgoingRequest,
        purpose: Purpose,
        step: &mut Step<'_>,
    ) -> Result<RequestId, MachineError> {
        let id = request.id.clone();
        let record = RequestRecord {
            request: request.clone(),
            purpose,
            order: self.next_order,
            postponed: 0,
        };
        self.next_order += 1;
        step.put(Table::Request, &id.0, "", &record)?;
        step.send(request);
        Ok(id)
    }

    /// Looks up an unanswered request.
    pub(super) fn find(
        id: &RequestId,
        step: &Step<'_>,
    ) -> Result<Option<RequestRecord>, MachineError> {
        step.get(Table::Request, &id.0, "")
    }

    /// The request was answered for good.
    pub(super) fn settle(&mut self, id: &RequestId, step: &mut Step<'_>) {
        self.retries.remove(id);
        step.delete(Table::Request, &id.0, "");
    }

    /// The server said "later": repeats the request after its pause, or after ours, which doubles.
    /// Gives how often it said so.
    pub(super) fn postpone(
        &mut self,
        mut record: RequestRecord,
        error: &MatrixError,
        step: &mut Step<'_>,
    ) -> Result<u32, MachineError> {
        let factor = 2_u32.saturating_pow(record.postponed.min(16));
        let pause = FIRST_RETRY.saturating_mul(factor).min(LAST_RETRY);
        let pause =
            error.retry_after().map_or(pause, |asked| asked.max(Duration::from_millis(100)));
        record.postponed = record.postponed.saturating_add(1);
        let tries = record.postponed;
        let id = record.request.id.clone();
        step.put(Table::Request, &id.0, "", &record)?;
        self.retries.insert(id, step.now().plus(pause));
        Ok(tries)
    }

    /// Repeats the requests whose pause is over.
    pub(super) fn tick(&mut self, step: &mut Step<'_>) -> Result<(), MachineError> {
        let now = step.now();
        let due: Vec<RequestId> =
            self.retries.iter().filter(|(_, at)| **at <= now).map(|(id, _)| id.clone()).collect();
        for id in due {
            self.retries.remove(&id);
            if let Some(record) = Self::find(&id, step)? {
                step.send(record.request);
            }
        }
        Ok(())
    }

    /// When the next request is to be repeated.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.retries.values().min().copied()
    }
}

/// All unanswered requests, oldest first.
pub(super) fn records(step: &Step<'_>) -> Result<Vec<RequestRecord>, MachineError> {
    let mut records: Vec<RequestRecord> =
        step.scan(Table::Request, None)?.into_iter().map(|(_, record)| record).collect();
    records.sort_by_key(|record| record.order);
    Ok(records)
}
